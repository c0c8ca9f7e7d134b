//! What policy forbids is refused before a packet leaves, whatever the resolver says.

use std::net::IpAddr;
use std::time::Duration;

use keyferry::error::Reason;
use keyferry::policy::TerminalPattern;
use keyferry_channel::RequestId;
use keyferry_parsers::messages::{Connect, PeerName};

use crate::world::{A_WHILE, SERVER, World, ip, rule_for, server_address};

fn ask(name: &str, port: u16) -> Connect {
    Connect::new(PeerName::Name(name.to_owned()), port, 40_001)
}

/// The request of the first device must be refused with `reason`, without a trace anywhere.
#[track_caller]
fn refused(world: &mut World, request: RequestId, reason: Reason) {
    world.run(A_WHILE);
    let device = &world.devices[0];
    assert_eq!(device.reason(request), reason.to_string());
    assert!(device.offers.is_empty() && device.keys.is_empty());
    assert!(world.wires.is_empty() && world.connects == 0, "a packet would have left for the peer");
    let view = world.gateway.view();
    assert_eq!((view.offers, view.handshakes, view.sessions), (0, 0, 0));
    assert_eq!(world.gateway.terminal_view(&device.record.id, world.now).unwrap().pending, 0);
    assert_eq!(world.gateway.stats().requests_refused.get(&reason), Some(&1));
    assert!(world.gateway.stats().handshakes.is_empty());
}

#[test]
fn a_peer_a_port_or_a_protocol_that_no_rule_allows() {
    let cases = [
        (ask("other.example", 443), Reason::FORBIDDEN_PEER),
        (ask("server.example.evil", 443), Reason::FORBIDDEN_PEER),
        (Connect::new(PeerName::Address(ip("10.7.2.2")), 443, 40_001), Reason::FORBIDDEN_PEER),
        (ask(SERVER, 22), Reason::FORBIDDEN_PORT),
        (Connect { alpn: vec!["h2".to_owned()], ..ask(SERVER, 443) }, Reason::FORBIDDEN_ALPN),
        (Connect { sni: Some("other.example".to_owned()), ..ask(SERVER, 443) }, Reason::FORBIDDEN_PEER),
    ];
    for (request, reason) in cases {
        let mut world = World::with(21, |_| {}, |rule| rule.alpn = vec!["http/1.1".to_owned()]);
        world.add_device();
        let request = world.request(0, request);
        refused(&mut world, request, reason);
    }
}

#[test]
fn a_terminal_that_the_rule_does_not_name() {
    for pattern in [TerminalPattern::Id("meter-7".to_owned()), TerminalPattern::Group("pumps".to_owned())] {
        let mut world = World::with(22, |_| {}, |rule| rule.terminals = vec![pattern]);
        world.add_device();
        let request = world.connect(0, 40_001);
        refused(&mut world, request, Reason::FORBIDDEN_PEER);
    }
}

#[test]
fn a_name_that_does_not_exist() {
    let mut world = World::new(23);
    world.add_device();
    world.names.clear();
    let request = world.connect(0, 40_001);
    refused(&mut world, request, Reason::NAME_NOT_FOUND);
}

#[test]
fn a_resolver_that_hangs() {
    let mut world = World::new(24);
    world.add_device();
    world.resolver_hangs = true;
    let request = world.connect(0, 40_001);
    let waited = world.run_until(Duration::from_millis(2_700), |world| world.devices[0].is_done(request));
    assert!(waited >= Duration::from_secs(2));
    refused(&mut world, request, Reason::NAME_NOT_FOUND);
    // The answer that comes in the end has nobody waiting.
    world.answer_lookups();
    refused(&mut world, request, Reason::NAME_NOT_FOUND);
    world.resolver_hangs = false;
    world.establish(0, 40_002);
}

/// Whoever answers for the peer's name, by mistake or malice, cannot lead a terminal inside.
#[test]
fn an_address_that_no_terminal_may_reach() {
    let addresses = [
        "127.0.0.1",       // loopback
        "0.0.0.0",         // unspecified: the gateway itself
        "169.254.169.254", // link-local
        "10.7.1.1",        // the gateway
        "10.7.2.1",        // the gateway, on the other side
        "10.7.1.11",       // another terminal
        "10.7.1.10",       // the terminal itself
        "10.7.1.200",      // the terminals' network
        "10.99.0.7",       // another terminal outside of it
        "192.168.77.5",    // a closed network
        "224.0.0.1",       // multicast
        "255.255.255.255",
    ];
    for address in addresses {
        for lie in [ip(address), mapped(address)] {
            let mut world = World::new(25);
            world.add_device_at("10.7.1.10:5683".parse().unwrap(), |record| {
                record.addresses = vec![ip("10.7.1.10"), ip("fd07:1::10")];
            });
            world.add_device();
            world.add_device_at("10.99.0.7:5683".parse().unwrap(), |record| record.addresses = vec![ip("10.99.0.7")]);
            world.names.insert(SERVER.to_owned(), vec![lie]);
            let request = world.connect(0, 40_001);
            refused(&mut world, request, Reason::FORBIDDEN_ADDRESS);
        }
    }
}

/// The address as IPv4-mapped IPv6, for a guard that looks only at what it sees.
fn mapped(address: &str) -> IpAddr {
    match ip(address) {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        v6 => v6,
    }
}

#[test]
fn a_forbidden_address_by_number() {
    let mut world = World::with(26, |_| {}, |rule| rule.addresses = vec![ip("127.0.0.1")]);
    world.add_device();
    let request = world.request(0, Connect::new(PeerName::Address(ip("127.0.0.1")), 443, 40_001));
    refused(&mut world, request, Reason::FORBIDDEN_ADDRESS);
}

#[test]
fn of_several_addresses_the_first_that_is_allowed() {
    let mut world = World::new(27);
    world.add_device();
    world.names.insert(SERVER.to_owned(), vec![ip("127.0.0.1"), ip("fd07:2::2"), ip("10.7.2.2")]);
    let request = world.establish(0, 40_001);
    assert_eq!(world.devices[0].keys[&request].remote, server_address());
}

#[test]
fn a_peer_of_another_address_family() {
    let mut world = World::new(28);
    world.add_device();
    world.names.insert(SERVER.to_owned(), vec![ip("fd07:2::2")]);
    let request = world.connect(0, 40_001);
    refused(&mut world, request, Reason::ADDRESS_NOT_BOUND);
}

/// Between offer and TCP the resolver may change its mind: the terminal goes where the offer says.
#[test]
fn the_address_is_pinned() {
    let mut world = World::new(29);
    world.add_device();
    world.devices[0].opens_tcp = false;
    let request = world.connect(0, 40_001);
    world.run(Duration::from_millis(100));
    assert_eq!(world.devices[0].offers[&request].address, ip("10.7.2.2"));
    let elsewhere = "10.7.2.99:443".parse().unwrap();
    let flow = world.open_tcp("10.7.1.10:40001".parse().unwrap(), elsewhere);
    assert!(world.wires[&flow].reset && world.connects == 0);
    let other_port = world.open_tcp("10.7.1.10:40002".parse().unwrap(), server_address());
    assert!(world.wires[&other_port].reset && world.connects == 0);
    assert_eq!(world.gateway.stats().flows_refused["neither asked for nor mapped by policy"], 2);
}

#[test]
fn the_first_rule_that_fits_decides() {
    let pki = crate::world::Pki::new();
    let mut first = rule_for(&pki);
    first.terminals = vec![TerminalPattern::Id("meter-0".to_owned())];
    first.addresses = vec![ip("10.7.2.2")];
    let mut second = rule_for(&pki);
    second.addresses = vec![ip("10.7.2.3")];
    let mut world = World::with_rules(30, |_| {}, pki, vec![first, second]);
    world.peers.insert("10.7.2.3:443".parse().unwrap(), crate::world::PeerBehaviour::default());
    for (device, remote) in [(0, "10.7.2.2:443"), (1, "10.7.2.3:443")] {
        world.add_device();
        let request = world.establish(device, 40_001);
        assert_eq!(world.devices[device].keys[&request].remote, remote.parse().unwrap());
    }
}
