//! The main job in memory: a terminal asks, the gateway does the handshake, the terminal talks to the server.

use std::time::Duration;

use keyferry::gateway::{FlowEnd, Input};
use keyferry_parsers::messages::{Connect, PeerName};
use keyferry_parsers::tls::CipherSuite;

use crate::world::{A_WHILE, PeerBehaviour, SERVER, World, read, server_address};

#[test]
fn a_terminal_talks_to_an_unmodified_server() {
    let mut world = World::new(1);
    let device = world.add_device();
    let request = world.establish(device, 40_001);
    world.talk(device, request, b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n");

    let keys = &world.devices[device].keys[&request];
    assert_eq!((keys.local, keys.remote), ("10.7.1.10:40001".parse().unwrap(), server_address()));
    assert_eq!(keys.peer, SERVER);
    assert_eq!(world.gateway.stats().sessions_delivered, 1);
    let view = world.gateway.view();
    assert_eq!((view.offers, view.handshakes, view.sessions), (0, 0, 1));

    let flow = world.devices[device].flows[&request];
    world.end_flow(flow);
    assert_eq!(world.gateway.view().sessions, 0);
    let stats = world.gateway.stats();
    assert_eq!((stats.sessions_ended, stats.bytes_up, stats.bytes_down), (1, 1, 2));
}

/// Before it has its keys a terminal can only speak in the clear: nothing of that passes, and a connection that
/// ends then was no session.
#[test]
fn nothing_passes_upwards_before_the_keys_are_acknowledged() {
    let mut world = World::new(9);
    let device = world.add_device();
    let request = world.connect(device, 40_001);
    world.run_until(A_WHILE, |world| world.wires.values().any(|wire| wire.handed_over));
    let flow = world.devices[device].flows[&request];
    assert!(!world.wires[&flow].open);
    world.run(A_WHILE);
    assert!(world.wires[&flow].open);

    let request = world.connect(device, 40_002);
    world.run_until(A_WHILE, |world| world.wires.values().filter(|wire| wire.handed_over).count() == 2);
    let flow = world.devices[device].flows[&request];
    world.tell(Input::FlowEnded { flow, end: FlowEnd { up: 100, down: 100 } });
    world.run(A_WHILE);
    assert!(!world.wires[&flow].open);
    assert_eq!(world.gateway.stats().sessions_delivered, 1);
}

/// A terminal that ignores the lifetime it was told is cut off; one that closes in time is not.
#[test]
fn a_session_ends_with_its_lifetime() {
    let mut world = World::with(10, |_| {}, |rule| rule.session_seconds = 60);
    let device = world.add_device();
    let request = world.establish(device, 40_001);
    let flow = world.devices[device].flows[&request];
    world.run(Duration::from_secs(60));
    assert!(!world.wires[&flow].reset);
    world.run(Duration::from_secs(60));
    assert!(world.wires[&flow].reset);
    assert_eq!(world.gateway.view().sessions, 0);
}

#[test]
fn a_terminal_has_only_so_many_sessions() {
    let mut world = World::with(11, |settings| settings.sessions_per_terminal = 3, |_| {});
    let device = world.add_device();
    let first = world.establish(device, 40_001);
    world.establish(device, 40_002);
    world.establish(device, 40_003);
    let refused = world.connect(device, 40_004);
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(refused), "quota");
    let flow = world.devices[device].flows[&first];
    world.end_flow(flow);
    world.establish(device, 40_005);
}

#[test]
fn every_suite() {
    for suite in Connect::DEFAULT_CIPHER_SUITES {
        let mut world = World::new(2);
        let device = world.add_device();
        world.peers.insert(server_address(), PeerBehaviour { cipher_suites: vec![suite.0], ..Default::default() });
        let request = world.establish(device, 40_001);
        assert_eq!(world.devices[device].keys[&request].suite, suite.0, "{suite}");
        let long = vec![0xab; 100_000];
        world.talk(device, request, &long, &long);
    }
}

#[test]
fn a_terminal_that_can_do_one_suite_gets_that_one() {
    let mut world = World::new(3);
    let device = world.add_device();
    let mut request = Connect::new(PeerName::Name(SERVER.to_owned()), 443, 40_001);
    request.cipher_suites = vec![CipherSuite::TLS_CHACHA20_POLY1305_SHA256];
    let request = world.request(device, request);
    world.run(A_WHILE);
    world.assert_session(device, request);
    assert_eq!(world.devices[device].keys[&request].suite, CipherSuite::TLS_CHACHA20_POLY1305_SHA256.0);
    world.talk(device, request, b"up", b"down");
}

#[test]
fn alpn_is_what_the_peer_chose() {
    let mut world = World::new(4);
    let device = world.add_device();
    let alpn = vec![b"http/1.1".to_vec()];
    world.peers.insert(server_address(), PeerBehaviour { alpn, ..Default::default() });
    let mut request = Connect::new(PeerName::Name(SERVER.to_owned()), 443, 40_001);
    request.alpn = vec!["h2".to_owned(), "http/1.1".to_owned()];
    let request = world.request(device, request);
    world.run(A_WHILE);
    world.assert_session(device, request);
    assert_eq!(world.devices[device].keys[&request].alpn.as_deref(), Some("http/1.1"));
}

/// The server speaks first, in the flight of its Finished. Those records are the terminal's: the gateway must
/// neither read nor lose them, whether they wait on the wire or were drained on its way out.
#[test]
fn what_the_peer_sends_behind_its_finished_reaches_the_terminal() {
    for drains_prefix in [false, true] {
        let mut world = World::new(5);
        world.drains_prefix = drains_prefix;
        let device = world.add_device();
        let greeting = b"220 server.example ESMTP\r\n".to_vec();
        world.peers.insert(server_address(), PeerBehaviour { greeting: greeting.clone(), ..Default::default() });
        let request = world.establish(device, 40_001);
        let stream = world.wire(device, request).peer.as_mut().unwrap().drain();
        assert_eq!(stream.is_empty(), drains_prefix);
        let now = world.now;
        let session = world.devices[device].sessions.get_mut(&request).unwrap();
        assert_eq!(read(session, now, &stream), greeting);
        world.talk(device, request, b"EHLO meter\r\n", b"250 OK\r\n");
    }
}

/// A prefix that takes several blocks on the channel.
#[test]
fn a_long_prefix_travels_with_the_keys() {
    let mut world = World::new(6);
    world.drains_prefix = true;
    let device = world.add_device();
    let greeting = vec![0x42; 9_000];
    world.peers.insert(server_address(), PeerBehaviour { greeting: greeting.clone(), ..Default::default() });
    let request = world.establish(device, 40_001);
    let now = world.now;
    let session = world.devices[device].sessions.get_mut(&request).unwrap();
    assert_eq!(read(session, now, &[]), greeting);
    world.talk(device, request, b"up", b"down");
}

#[test]
fn a_prefix_beyond_the_limit_ends_the_session_without_keys() {
    let mut world = World::new(7);
    world.drains_prefix = true;
    let device = world.add_device();
    world.peers.insert(server_address(), PeerBehaviour { greeting: vec![0x42; 17_000], ..Default::default() });
    let request = world.connect(device, 40_001);
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(request), "peer-oversized");
    assert!(world.devices[device].keys.is_empty());
    assert!(world.wire(device, request).reset);
}

#[test]
fn both_sides_change_their_keys() {
    for suite in Connect::DEFAULT_CIPHER_SUITES {
        let mut world = World::new(8);
        let device = world.add_device();
        world.peers.insert(server_address(), PeerBehaviour { cipher_suites: vec![suite.0], ..Default::default() });
        let request = world.establish(device, 40_001);
        for round in 0..5u8 {
            world.wire(device, request).peer.as_mut().unwrap().update_key();
            world.talk(device, request, &[round; 30], &[round; 40]);
            let now = world.now;
            let mut records = Vec::new();
            world.devices[device].sessions.get_mut(&request).unwrap().key_update(now, &mut records).unwrap();
            assert!(!records.is_empty());
            world.wire(device, request).peer.as_mut().unwrap().receive(&records);
            world.talk(device, request, &[round; 50], &[round; 60]);
        }
    }
}
