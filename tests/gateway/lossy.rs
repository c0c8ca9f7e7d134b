//! Over a bad link every request ends in time, in a session or in a failure with a name; never in wrong keys.

use std::time::Duration;

use keyferry::gateway::{FlowEnd, Input};
use keyferry_channel::RequestId;
use keyferry_parsers::messages::Listen;

use crate::world::{
    Caller, Link, PORT, PeerBehaviour, SERVER, TERMINAL, Versions, World, assert_no_nonce_twice, both_versions,
    caller_address, read, server_address, serving,
};

/// What the terminal's library waits for: the answer, then the offer's time twice and a little.
const DEADLINE: Duration = Duration::from_millis(2_800 + 22_000);

#[test]
fn a_thousand_requests_with_a_fifth_of_all_datagrams_lost() {
    let mut sessions = 0;
    for seed in 0..1_000 {
        let mut world = World::new(seed);
        world.link = bad_link();
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

/// A fifth of all datagrams lost, some doubled, most out of order.
fn bad_link() -> Link {
    Link {
        loss_percent: 20,
        duplicate_percent: 10,
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(200),
    }
}

/// Nothing is left of what failed, and what succeeded has the right keys.
#[track_caller]
fn settled(world: &mut World, device: usize, session: Option<RequestId>, seed: u64) {
    if let Some(session) = session {
        world.talk(device, session, b"up", b"down");
    } else {
        assert!(world.devices[device].keys.is_empty(), "failed, and has keys");
    }
    assert_eq!(world.devices[device].strays, 0, "keys for nobody");
    world.run(Duration::from_secs(400));
    let view = world.gateway.view();
    assert_eq!((view.offers, view.handshakes), (0, 0), "seed {seed}");
    let id = &world.devices[device].record.id;
    assert_eq!(world.gateway.terminal_view(id, world.now).unwrap().pending, 0, "seed {seed}");
    assert_no_nonce_twice(&world.recorded);
}

#[test]
fn servers_of_tls_1_2() {
    let mut sessions = 0;
    for seed in 0..200 {
        let mut world = World::new(seed);
        world.link = bad_link();
        let device = world.add_device();
        world.peers.insert(server_address(), PeerBehaviour::tls12());
        let request = world.request(device, both_versions(40_001));
        world.run_until(DEADLINE, |world| world.devices[device].is_done(request));
        let session = Some(request).filter(|id| world.devices[device].sessions.contains_key(id));
        sessions += usize::from(session.is_some());
        settled(&mut world, device, session, seed);
    }
    assert!(sessions > 100, "{sessions} of 200 requests became sessions");
}

/// Pieces that are lost, doubled and overtake each other: a few hundred handshakes of either version and role.
#[test]
fn assisted_handshakes() {
    let mut sessions = 0;
    for seed in 0..400 {
        let (mut world, device) = serving(seed);
        // Nobody but the request itself may take the keys.
        let listening = *world.devices[device].listening.first_key_value().unwrap().0;
        world.cancel(device, listening);
        world.run(Duration::from_secs(1));
        world.link = bad_link();
        let versions = if seed % 2 == 0 { Versions::Tls12 } else { Versions::Tls13 };
        let request = if seed % 4 < 2 {
            let names = (0..60).map(|number| format!("{number}.server.example")).chain([SERVER.to_owned()]).collect();
            world.peers.insert(server_address(), PeerBehaviour { versions, names, ..Default::default() });
            world.assist(device, 40_001)
        } else {
            let listen = Listen { oldest_version: both_versions(1).oldest_version, ..Listen::new(PORT) };
            let caller = Caller { versions, greeting: vec![7; 3_000], ..Caller::of(TERMINAL) };
            world.assist_server(device, caller_address(50_001), listen, &caller)
        };
        world.run_until(Duration::from_secs(60), |world| world.devices[device].is_done(request));
        let session = Some(request).filter(|id| world.devices[device].sessions.contains_key(id));
        sessions += usize::from(session.is_some());
        if let (Some(session), true) = (session, seed % 4 >= 2) {
            let stream = world.wire(device, session).peer.as_mut().unwrap().drain();
            let now = world.now;
            let session = world.devices[device].sessions.get_mut(&session).unwrap();
            assert!(read(session, now, &stream) == [7; 3_000], "seed {seed}");
        }
        settled(&mut world, device, session, seed);
    }
    assert!(sessions > 200, "{sessions} of 400 requests became sessions");
    println!("{sessions} of 400 assisted requests became sessions");
}

#[test]
fn callers() {
    let mut sessions = 0;
    for seed in 0..200 {
        let (mut world, device) = serving(seed);
        world.link = bad_link();
        let versions = if seed % 2 == 0 { Versions::Tls12 } else { Versions::Tls13 };
        let flow = world.call(device, 50_001, &Caller { versions, ..Caller::of(TERMINAL) });
        let open = |world: &World| world.wires[&flow].open || world.wires[&flow].reset;
        world.run_until(Duration::from_secs(70), open);
        let session = world.devices[device].incoming.first().copied();
        if world.wires[&flow].open {
            sessions += 1;
            settled(&mut world, device, session, seed);
        }
    }
    assert!(sessions > 150, "{sessions} of 200 calls became sessions");
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
