//! A disk that is full, slow or lost: nothing leaves that relies on what is not durable, what was handed over
//! lives on, and all goes on by itself when the disk does.

use std::time::Duration;

use keyferry::gateway::Input;
use keyferry_channel::{ChannelKey, Id, State};

use crate::world::{A_WHILE, Disk, Link, World, assert_no_nonce_twice};

/// One session, whose terminal the gateway knows by now: what comes next needs no write before the hand-over.
fn after_a_session(seed: u64) -> World {
    let mut world = World::new(seed);
    let device = world.add_device();
    world.establish(device, 40_001);
    world
}

#[test]
fn no_key_leaves_before_its_hand_over_is_counted() {
    for disk in [Disk::Full, Disk::Hangs] {
        let mut world = after_a_session(101);
        world.disk = disk;
        let stored = world.stored.clone();
        let request = world.connect(0, 40_002);
        world.run_until(A_WHILE, |world| !world.devices[0].flows.is_empty() && world.gateway.view().handshakes == 1);
        let sent = world.sent();
        world.run(Duration::from_secs(5));
        assert_eq!(world.sent(), sent, "{disk:?}: something left without being durable");
        assert!(!world.devices[0].keys.contains_key(&request));
        assert_eq!(world.stored, stored);

        // Nobody does anything; the disk just works again.
        world.thaw();
        world.run(Duration::from_secs(5));
        world.assert_session(0, request);
        world.talk(0, request, b"up", b"down");
        assert_no_nonce_twice(&world.recorded);
    }
}

#[test]
fn sessions_that_were_handed_over_live_on() {
    let mut world = World::new(102);
    let device = world.add_device();
    let request = world.establish(device, 40_001);
    world.disk = Disk::Full;
    world.connect(device, 40_002);
    world.run(Duration::from_secs(300));
    world.talk(device, request, b"still", b"here");
    assert_eq!(world.gateway.view().sessions, 1);
    assert!(!world.wire(device, request).reset);
}

#[test]
fn a_request_that_the_disk_kept_waiting_fails_by_name_and_frees_its_place() {
    let mut world = after_a_session(103);
    world.disk = Disk::Full;
    let request = world.connect(0, 40_002);
    world.run(Duration::from_secs(120));
    assert!(world.devices[0].failures.contains_key(&request));
    let view = world.gateway.view();
    assert_eq!((view.offers, view.handshakes), (0, 0));
    world.thaw();
    world.run(Duration::from_secs(2));
    assert!(!world.devices[0].keys.contains_key(&request), "keys that nobody waits for");
    let again = world.establish(0, 40_003);
    world.talk(0, again, b"up", b"down");
}

/// The machine dies while the disk fails, again and again: what it says afterwards repeats no nonce.
#[test]
fn crashes_while_the_disk_fails() {
    for seed in 0..100 {
        let mut world = World::new(1_000 + seed);
        world.link = Link { loss_percent: 10, jitter: Duration::from_millis(50), ..world.link };
        world.add_device();
        for number in 0..6 {
            world.disk = [Disk::Works, Disk::Full, Disk::Hangs][world.roll(3) as usize];
            world.connect(0, 40_000 + number);
            let time = Duration::from_millis(u64::from(world.roll(400)));
            world.run(time);
            if world.roll(2) == 0 {
                world.thaw();
                let time = Duration::from_millis(u64::from(world.roll(400)));
                world.run(time);
            }
            world.restart_gateway();
        }
        world.thaw();
        world.link.loss_percent = 0;
        world.run(Duration::from_secs(100));
        assert_no_nonce_twice(&world.recorded);
        let last = world.establish(0, 50_000);
        world.talk(0, last, b"up", b"down");
    }
}

/// While one terminal's channel waits for the disk, what arrives for it waits too, up to a limit.
#[test]
fn what_arrives_meanwhile_is_bounded() {
    let mut world = after_a_session(104);
    world.disk = Disk::Hangs;
    world.connect(0, 40_002);
    world.run(Duration::from_secs(1));
    let (path, bytes) = world.recorded.iter().find(|it| it.to_gateway).map(|it| (it.path, it.bytes.clone())).unwrap();
    for _ in 0..10_000 {
        world.tell(Input::Datagram { path, bytes: bytes.clone() });
    }
    let dropped = world.gateway.stats().channel_refused.get("store too slow").copied().unwrap_or_default();
    assert!(dropped >= 10_000 - 64, "{dropped} dropped");
    world.thaw();
    world.run(Duration::from_secs(5));
    world.establish(0, 40_003);
}

/// The confirmation of a write for the terminal's former self must not release what its new self has to say.
#[test]
fn a_terminal_admitted_anew_while_its_old_state_is_written() {
    let mut world = after_a_session(105);
    world.disk = Disk::Hangs;
    world.connect(0, 40_002);
    world.run(Duration::from_millis(500));
    let frozen = world.frozen();
    assert_eq!(frozen.len(), 1);

    // Provisioned with another key, under another id of the channel.
    let mut record = world.devices[0].record.clone();
    record.kid = Id::try_from([9, 9].as_slice()).unwrap();
    let key = ChannelKey::from_bytes([0x77; 32]);
    world.tell(Input::Admit { record: Box::new(record.clone()), state: Box::new(State::new(key.clone())) });
    let device = world.replace_device(0, record, key);
    world.connect(device, 40_003);
    world.run(Duration::from_millis(500));
    let sent = world.sent();
    world.tell(Input::Persisted { ticket: frozen[0], durable: true });
    world.run(Duration::from_millis(500));
    assert_eq!(world.sent(), sent, "released by another's confirmation");
}
