//! Over a bad link every request ends in time, in a session or in a failure with a name; never in wrong keys.

use std::time::Duration;

use keyferry::gateway::{FlowEnd, Input};

use crate::world::{Link, World, assert_no_nonce_twice};

/// What the terminal's library waits for: the answer, then the offer's time twice and a little.
const DEADLINE: Duration = Duration::from_millis(2_800 + 22_000);

#[test]
fn a_thousand_requests_with_a_fifth_of_all_datagrams_lost() {
    let mut sessions = 0;
    for seed in 0..1_000 {
        let mut world = World::new(seed);
        world.link = Link {
            loss_percent: 20,
            duplicate_percent: 10,
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(200),
        };
        let device = world.add_device();
        let request = world.connect(device, 40_001);
        world.run_until(DEADLINE, |world| world.devices[device].is_done(request));
        if world.devices[device].sessions.contains_key(&request) {
            sessions += 1;
            world.talk(device, request, b"up", b"down");
        } else {
            assert!(world.devices[device].keys.is_empty(), "failed, and has keys");
        }
        world.run(Duration::from_secs(100));
        let view = world.gateway.view();
        assert_eq!((view.offers, view.handshakes), (0, 0), "seed {seed}");
        let id = &world.devices[device].record.id;
        assert_eq!(world.gateway.terminal_view(id, world.now).unwrap().pending, 0, "seed {seed}");
        assert_no_nonce_twice(&world.recorded);
    }
    assert!(sessions > 500, "{sessions} of 1000 requests became sessions");
    println!("{sessions} of 1000 requests became sessions");
}

/// The same channel throughout: what one request leaves behind must not hurt the next.
#[test]
fn one_terminal_asking_again_and_again() {
    let mut world = World::new(92);
    world.link = Link {
        loss_percent: 20,
        duplicate_percent: 10,
        delay: Duration::from_millis(50),
        jitter: Duration::from_millis(400),
    };
    let device = world.add_device();
    let mut sessions = 0;
    for number in 0..300 {
        let request = world.connect(device, 20_000 + number);
        world.run_until(DEADLINE, |world| world.devices[device].is_done(request));
        if world.devices[device].sessions.contains_key(&request) {
            sessions += 1;
            world.talk(device, request, b"up", b"down");
        }
    }
    assert!(sessions > 180, "{sessions} of 300 requests became sessions");
    assert_no_nonce_twice(&world.recorded);
    // The link heals, and so does the channel.
    world.link = Link { delay: Duration::from_millis(10), ..Link::default() };
    world.run(Duration::from_secs(300));
    world.establish(device, 50_000);
}

/// Keys that were delivered although the acknowledgement was lost: the gateway gives up by name.
#[test]
fn the_terminal_is_gone_after_its_request() {
    let mut world = World::new(93);
    let device = world.add_device();
    let request = world.connect(device, 40_001);
    world.run_until(Duration::from_secs(1), |world| !world.devices[device].flows.is_empty());
    world.link.loss_percent = 100;
    world.run(Duration::from_secs(70));
    assert_eq!(world.gateway.view().handshakes, 0);
    assert!(world.wire(device, request).reset);
    let kind = keyferry::stats::HandshakeKind {
        protocol: "tls1.3",
        role: "client",
        failure: Some(keyferry::error::Reason::NOT_ACKNOWLEDGED),
    };
    assert_eq!(world.gateway.stats().handshakes.get(&kind), Some(&1));
    assert!(world.devices[device].keys.is_empty());
    assert_eq!(world.gateway.stats().sessions_delivered, 0);
}

/// The peer hangs up between hand-over and acknowledgement: the terminal is told, and its place is free.
#[test]
fn the_connection_ends_while_the_keys_are_on_their_way() {
    let mut world = World::new(94);
    let device = world.add_device();
    let request = world.connect(device, 40_001);
    world.run_until(Duration::from_secs(1), |world| !world.devices[device].flows.is_empty());
    world.link.loss_percent = 100;
    world.run(Duration::from_secs(1));
    world.link.loss_percent = 0;
    let flow = world.devices[device].flows[&request];
    // Without keys the terminal has sent nothing.
    world.tell(Input::FlowEnded { flow, end: FlowEnd::default() });
    world.run(Duration::from_secs(20));
    assert_eq!(world.devices[device].reason(request), "peer-closed");
    assert!(world.devices[device].keys.is_empty());
    let id = world.devices[device].record.id.clone();
    assert_eq!(world.gateway.terminal_view(&id, world.now).unwrap().pending, 0);
    assert_eq!(world.gateway.view().handshakes, 0);
}
