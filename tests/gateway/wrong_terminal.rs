//! Keys go to the terminal that owns the connection and to nobody else, however alike the connections look.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keyferry::error::Reason;
use keyferry_channel::RequestId;

use crate::world::{A_WHILE, Link, World, assert_no_nonce_twice, ip, server_address};

/// What a terminal has under way at once.
const AT_ONCE: usize = 12;

/// Two terminals, 500 sessions each, from the same source ports to the same peer at the same time, over a
/// lossy link.
#[test]
fn two_terminals_with_500_sessions_each() {
    let mut world = World::new(71);
    world.link = Link {
        loss_percent: 5,
        duplicate_percent: 5,
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(30),
    };
    world.add_device();
    world.add_device();
    let mut asked: [Vec<RequestId>; 2] = Default::default();
    let mut failed = 0;
    while (0..2).any(|device| world.devices[device].sessions.len() < 500) {
        for (device, asked) in asked.iter_mut().enumerate() {
            let done = |id: &&RequestId| world.devices[device].is_done(**id);
            let under_way = asked.len() - asked.iter().filter(done).count();
            let wanted = 500usize.saturating_sub(world.devices[device].sessions.len()).min(AT_ONCE);
            for _ in under_way..wanted {
                asked.push(world.connect(device, 20_000 + asked.len() as u16));
            }
        }
        world.run(Duration::from_millis(20));
        failed = world.devices.iter().map(|device| device.failures.len()).sum();
        assert!(failed < 200, "the link is not that bad");
    }
    println!("{failed} requests failed by name");

    let mut secrets = BTreeSet::new();
    let mut sessions = BTreeSet::new();
    for device in 0..2 {
        let requests: Vec<RequestId> = world.devices[device].sessions.keys().copied().collect();
        assert_eq!(requests.len(), 500);
        for request in requests {
            let keys = &world.devices[device].keys[&request];
            assert_eq!(keys.local.ip(), world.devices[device].address.ip(), "keys of another's connection");
            assert_eq!(keys.remote, server_address());
            assert!(sessions.insert(keys.session), "one session id twice");
            assert!(secrets.insert(keys.tx_secret.clone()) && secrets.insert(keys.rx_secret.clone()));
            let (up, down) = (format!("{device} {request:?} up"), format!("{device} {request:?} down"));
            world.talk(device, request, up.as_bytes(), down.as_bytes());
        }
    }
    assert_no_nonce_twice(&world.recorded);
    // Whatever was lost on the way is forgotten in time.
    world.run(Duration::from_secs(120));
    let view = world.gateway.view();
    assert_eq!((view.offers, view.handshakes), (0, 0));
}

/// Behind a router of their own, two terminals come with one address.
fn neighbours() -> World {
    let mut world = World::new(72);
    for port in [5683, 5684] {
        let address = format!("10.99.0.1:{port}").parse().unwrap();
        world.add_device_at(address, |record| {
            record.addresses = vec![ip("10.99.0.1")];
            record.shared_address = true;
        });
    }
    world
}

#[test]
fn neighbours_behind_one_address_are_told_apart_by_their_source_ports() {
    let mut world = neighbours();
    let first = world.connect(0, 40_001);
    let second = world.connect(1, 40_002);
    world.run(A_WHILE);
    for (device, request) in [(0, first), (1, second)] {
        world.assert_session(device, request);
        assert_eq!(world.devices[device].keys.len(), 1);
        world.talk(device, request, b"up", b"down");
    }
}

#[test]
fn neighbours_with_one_source_port() {
    for opens_tcp in [true, false] {
        let mut world = neighbours();
        world.devices[0].opens_tcp = opens_tcp;
        world.connect(0, 40_001);
        world.run(Duration::from_millis(200));
        let second = world.connect(1, 40_001);
        world.run(A_WHILE);
        assert_eq!(world.devices[1].reason(second), Reason::SOURCE_PORT_IN_USE.to_string());
        assert!(world.devices[1].keys.is_empty());
        assert_eq!(world.devices[0].keys.len(), usize::from(opens_tcp));
    }
}

/// Once the first one's connection has ended, the port is free.
#[test]
fn a_source_port_comes_free() {
    let mut world = neighbours();
    let first = world.establish(0, 40_001);
    let flow = world.devices[0].flows[&first];
    world.end_flow(flow);
    let second = world.establish(1, 40_001);
    world.talk(1, second, b"up", b"down");
}

/// Nobody could say whose keys they are.
#[test]
fn tcp_without_a_request_from_a_shared_address() {
    let mut world = World::with(
        73,
        |_| {},
        |rule| {
            rule.without_request = true;
            rule.addresses = vec![server_address().ip()];
        },
    );
    for port in [5683, 5684] {
        let address = format!("10.99.0.1:{port}").parse().unwrap();
        world.add_device_at(address, |record| {
            record.addresses = vec![ip("10.99.0.1")];
            record.shared_address = true;
        });
    }
    let flow = world.open_tcp("10.99.0.1:40001".parse().unwrap(), server_address());
    assert!(world.wires[&flow].reset && world.connects == 0);
    assert_eq!(world.gateway.stats().flows_refused["several terminals may share this address"], 1);

    // Also while only one of them is known: the connection may be the other's.
    let known = world.add_device_at("10.99.0.2:5683".parse().unwrap(), |record| record.shared_address = true);
    world.echo(known);
    world.run(A_WHILE);
    let flow = world.open_tcp("10.99.0.2:40001".parse().unwrap(), server_address());
    assert!(world.wires[&flow].reset && world.connects == 0);
}

/// A hostile terminal knows what another is about to open, and opens it first, from its own address: the kernel
/// lets it use no other.
#[test]
fn a_connection_in_place_of_another_terminal() {
    let mut world = World::new(74);
    let (victim, thief) = (world.add_device(), world.add_device());
    world.devices[victim].opens_tcp = false;
    let request = world.connect(victim, 40_001);
    world.run(Duration::from_millis(200));
    assert_eq!(world.gateway.view().offers, 1);
    let flow = world.open_tcp("10.7.1.11:40001".parse().unwrap(), server_address());
    world.run(A_WHILE);
    assert!(world.wires[&flow].reset && world.connects == 0);
    assert!(world.devices[thief].keys.is_empty());

    // The victim's offer stands.
    let flow = world.open_tcp("10.7.1.10:40001".parse().unwrap(), server_address());
    world.devices[victim].flows.insert(request, flow);
    world.run(A_WHILE);
    world.assert_session(victim, request);
    world.talk(victim, request, b"up", b"down");
    assert!(world.devices[thief].keys.is_empty());
}

/// One offer is one connection: a second one from the same port gets nothing.
#[test]
fn an_offer_is_taken_once() {
    let mut world = World::new(75);
    let device = world.add_device();
    let request = world.connect(device, 40_001);
    world.run(Duration::from_millis(100));
    let again = world.open_tcp("10.7.1.10:40001".parse().unwrap(), server_address());
    world.run(A_WHILE);
    assert!(world.wires[&again].reset);
    world.assert_session(device, request);
    assert_eq!(world.devices[device].keys.len(), 1);
}

/// A terminal that asks twice for one connection is served once, by the later request.
#[test]
fn a_request_repeated_for_the_same_connection() {
    let mut world = World::new(76);
    let device = world.add_device();
    world.devices[device].opens_tcp = false;
    let first = world.connect(device, 40_001);
    world.run(Duration::from_millis(100));
    world.devices[device].opens_tcp = true;
    let second = world.connect(device, 40_001);
    world.run(Duration::from_secs(30));
    world.assert_session(device, second);
    assert!(world.devices[device].failures.contains_key(&first));
    let id = world.devices[device].record.id.clone();
    assert_eq!(world.gateway.terminal_view(&id, world.now).unwrap().pending, 0);
    let keys: BTreeMap<_, _> = world.devices[device].keys.iter().collect();
    assert_eq!(keys.len(), 1);
}
