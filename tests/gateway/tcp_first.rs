//! TCP opened without asking: served where policy maps the destination to an identity, reset elsewhere.

use std::time::Duration;

use keyferry::policy::TerminalPattern;

use crate::world::{A_WHILE, PeerBehaviour, World, ip, server_address};

fn mapped(seed: u64) -> World {
    World::with(
        seed,
        |_| {},
        |rule| {
            rule.without_request = true;
            rule.addresses = vec![server_address().ip()];
        },
    )
}

/// The gateway must know where to push keys: a terminal that was never heard has to speak first.
fn heard(world: &mut World) -> usize {
    let device = world.add_device();
    world.echo(device);
    world.run(Duration::from_secs(1));
    device
}

#[test]
fn keys_are_pushed_and_known_by_their_connection() {
    let mut world = mapped(131);
    let device = heard(&mut world);
    let first = world.expect(device, 40_001, server_address());
    let second = world.expect(device, 40_002, server_address());
    world.run(A_WHILE);
    for (request, port) in [(first, 40_001), (second, 40_002)] {
        world.assert_session(device, request);
        assert_eq!(world.devices[device].keys[&request].local.port(), port);
        world.talk(device, request, b"up", b"down");
    }
}

#[test]
fn what_policy_does_not_map_is_reset_before_a_packet_leaves() {
    let destinations = ["10.7.2.3:443", "10.7.2.2:80", "127.0.0.1:443", "10.7.1.11:443", "10.7.1.1:5683"];
    for destination in destinations {
        let mut world = mapped(132);
        let device = heard(&mut world);
        let request = world.expect(device, 40_001, destination.parse().unwrap());
        assert!(world.wire(device, request).reset);
        assert_eq!(world.connects, 0);
        world.run(A_WHILE);
        assert!(world.devices[device].keys.is_empty());
        assert_eq!(world.gateway.stats().flows_refused.values().sum::<u64>(), 1);
    }
}

#[test]
fn a_rule_that_asks_for_a_request() {
    let mut world = World::with(133, |_| {}, |rule| rule.addresses = vec![server_address().ip()]);
    let device = heard(&mut world);
    let request = world.expect(device, 40_001, server_address());
    assert!(world.wire(device, request).reset && world.connects == 0);
}

#[test]
fn a_terminal_that_the_rule_does_not_name() {
    let mut world = World::with(
        134,
        |_| {},
        |rule| {
            rule.without_request = true;
            rule.addresses = vec![server_address().ip()];
            rule.terminals = vec![TerminalPattern::Id("meter-7".to_owned())];
        },
    );
    let device = heard(&mut world);
    let request = world.expect(device, 40_001, server_address());
    assert!(world.wire(device, request).reset && world.connects == 0);
}

#[test]
fn an_address_that_is_nobodys() {
    let mut world = mapped(135);
    heard(&mut world);
    let flow = world.open_tcp("10.7.1.99:40001".parse().unwrap(), server_address());
    assert!(world.wires[&flow].reset && world.connects == 0);
    assert_eq!(world.gateway.stats().flows_refused["no terminal has this address"], 1);
}

#[test]
fn a_mapped_address_that_is_forbidden() {
    for address in ["127.0.0.1", "10.7.1.1", "192.168.77.5"] {
        let mut world = World::with(
            136,
            |_| {},
            |rule| {
                rule.without_request = true;
                rule.addresses = vec![ip(address)];
            },
        );
        let device = heard(&mut world);
        let request = world.expect(device, 40_001, format!("{address}:443").parse().unwrap());
        assert!(world.wire(device, request).reset && world.connects == 0);
        assert_eq!(world.gateway.stats().flows_refused["forbidden address"], 1);
    }
}

#[test]
fn the_quota_counts_them() {
    let mut world = World::with(
        137,
        |settings| settings.pending_per_terminal = 3,
        |rule| {
            rule.without_request = true;
            rule.addresses = vec![server_address().ip()];
        },
    );
    let device = heard(&mut world);
    world.peers.insert(server_address(), PeerBehaviour { unreachable: true, ..Default::default() });
    for number in 0..10 {
        world.expect(device, 40_000 + number, server_address());
    }
    assert_eq!(world.connects, 3);
    assert_eq!(world.gateway.stats().flows_refused["quota"], 7);
    world.run(Duration::from_secs(60));
    assert_eq!(world.gateway.view().handshakes, 0);
    world.peers.insert(server_address(), PeerBehaviour::default());
    let request = world.expect(device, 40_100, server_address());
    world.run(A_WHILE);
    world.assert_session(device, request);
}

/// A request and a connection without one, side by side.
#[test]
fn beside_a_request() {
    let mut world = mapped(138);
    let device = heard(&mut world);
    let asked = world.connect(device, 40_001);
    let unasked = world.expect(device, 40_002, server_address());
    world.run(A_WHILE);
    for request in [asked, unasked] {
        world.assert_session(device, request);
        world.talk(device, request, b"up", b"down");
    }
}
