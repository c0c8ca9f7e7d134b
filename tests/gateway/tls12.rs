//! Servers that speak TLS 1.2: a terminal that says it can protect its records gets their keys, and no other does.

use keyferry_channel::RequestId;
use keyferry_parsers::messages::{Connect, ProofMethod, Role};
use keyferry_parsers::tls::{CipherSuite, ProtocolVersion};
use keyferry_terminal::{Fault, Session};

use crate::world::{A_WHILE, PeerBehaviour, SERVER, Versions, World, both_versions, read, server_address};

const SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

fn world(seed: u64, behaviour: PeerBehaviour) -> (World, usize) {
    let mut world = World::new(seed);
    let device = world.add_device();
    world.peers.insert(server_address(), behaviour);
    (world, device)
}

#[track_caller]
fn establish(world: &mut World, device: usize, request: Connect) -> RequestId {
    let request = world.request(device, request);
    world.run(A_WHILE);
    world.assert_session(device, request);
    request
}

#[test]
fn a_terminal_talks_to_a_server_without_tls_1_3() {
    let (mut world, device) = world(201, PeerBehaviour::tls12());
    let request = establish(&mut world, device, both_versions(40_001));
    world.talk(device, request, b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n");

    let keys = &world.devices[device].keys[&request];
    assert_eq!((keys.version, keys.role, keys.suite), (ProtocolVersion::TLS_1_2, Role::CLIENT, SUITES[0].0));
    assert_eq!((keys.peer.as_str(), keys.method), (SERVER, ProofMethod::CA_VERIFIED_NAME));
    assert!(!keys.resumable && keys.server_name.is_none());
    assert_eq!(world.gateway.stats().sessions_delivered, 1);
    let kind = keyferry::stats::HandshakeKind { protocol: "tls1.2", role: "client", failure: None };
    assert_eq!(world.gateway.stats().handshakes[&kind], 1);
}

#[test]
fn every_suite() {
    for suite in SUITES {
        let (mut world, device) = world(202, PeerBehaviour { cipher_suites: vec![suite.0], ..PeerBehaviour::tls12() });
        let request = establish(&mut world, device, both_versions(40_001));
        assert_eq!(world.devices[device].keys[&request].suite, suite.0, "{suite}");
        let long = vec![0xab; 100_000];
        world.talk(device, request, &long, &long);
        for round in 0..50u8 {
            world.talk(device, request, &[round; 20], &[round; 30]);
        }
    }
}

#[test]
fn a_server_that_speaks_both_speaks_tls_1_3() {
    let (mut world, device) = world(203, PeerBehaviour::default());
    let request = establish(&mut world, device, both_versions(40_001));
    assert_eq!(world.devices[device].keys[&request].version, ProtocolVersion::TLS_1_3);
    world.talk(device, request, b"up", b"down");
}

#[test]
fn a_terminal_that_does_not_announce_it_never_gets_it() {
    let (mut world, device) = world(204, PeerBehaviour::tls12());
    let request = world.connect(device, 40_001);
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(request), "peer-version");
    assert!(world.devices[device].keys.is_empty());
    assert!(world.wire(device, request).reset);

    // Not even in assisted mode, or where policy maps the destination.
    let request =
        world.assist_as(device, Connect { oldest_version: ProtocolVersion::TLS_1_3, ..both_versions(40_002) });
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(request), "peer-version");
    let mut world = World::with(
        205,
        |_| {},
        |rule| {
            rule.without_request = true;
            rule.addresses = vec![server_address().ip()];
        },
    );
    let device = world.add_device();
    world.peers.insert(server_address(), PeerBehaviour::tls12());
    world.echo(device);
    world.run(A_WHILE);
    let request = world.expect(device, 40_001, server_address());
    world.run(A_WHILE);
    assert!(world.wire(device, request).reset);
    assert!(world.devices[device].keys.is_empty());
}

/// Suites are named for TLS 1.3; what is not named is not negotiated in TLS 1.2 either.
#[test]
fn a_terminal_that_can_do_one_cipher_gets_that_one() {
    let mut request = both_versions(40_001);
    request.cipher_suites = vec![CipherSuite::TLS_CHACHA20_POLY1305_SHA256];
    let (mut world, device) = world(206, PeerBehaviour::tls12());
    let established = establish(&mut world, device, request.clone());
    assert_eq!(world.devices[device].keys[&established].suite, SUITES[2].0);
    world.talk(device, established, b"up", b"down");

    let only_aes = PeerBehaviour { cipher_suites: vec![SUITES[0].0, SUITES[1].0], ..PeerBehaviour::tls12() };
    world.peers.insert(server_address(), only_aes);
    let refused = world.request(device, Connect { source_port: 40_002, ..request });
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(refused), "no-common-suite");
}

#[test]
fn a_rule_that_names_tls_1_3_suites_alone() {
    let mut world =
        World::with(207, |_| {}, |rule| rule.cipher_suites.retain(|suite| suite.tls13_equivalent() == Some(*suite)));
    let device = world.add_device();
    world.peers.insert(server_address(), PeerBehaviour::tls12());
    let request = world.request(device, both_versions(40_001));
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(request), "peer-version");
}

#[test]
fn alpn_is_what_the_peer_chose() {
    let alpn = vec![b"http/1.1".to_vec()];
    let (mut world, device) = world(208, PeerBehaviour { alpn, ..PeerBehaviour::tls12() });
    let mut request = both_versions(40_001);
    request.alpn = vec!["h2".to_owned(), "http/1.1".to_owned()];
    let request = establish(&mut world, device, request);
    assert_eq!(world.devices[device].keys[&request].alpn.as_deref(), Some("http/1.1"));
}

/// The server speaks first, right behind its Finished.
#[test]
fn what_the_peer_sends_behind_its_finished_reaches_the_terminal() {
    for drains_prefix in [false, true] {
        let greeting = b"220 server.example ESMTP\r\n".to_vec();
        let (mut world, device) = world(209, PeerBehaviour { greeting: greeting.clone(), ..PeerBehaviour::tls12() });
        world.drains_prefix = drains_prefix;
        let request = establish(&mut world, device, both_versions(40_001));
        let stream = world.wire(device, request).peer.as_mut().unwrap().drain();
        assert_eq!(stream.is_empty(), drains_prefix);
        let now = world.now;
        let session = world.devices[device].sessions.get_mut(&request).unwrap();
        assert_eq!(read(session, now, &stream), greeting);
        world.talk(device, request, b"EHLO meter\r\n", b"250 OK\r\n");
    }
}

/// TLS 1.2 has no KeyUpdate: where TLS 1.3 would change its keys, the session ends, and nobody asks for more.
#[test]
fn the_keys_are_never_changed() {
    let (mut world, device) = world(210, PeerBehaviour::tls12());
    let request = establish(&mut world, device, both_versions(40_001));
    let limits = world.devices[device].keys[&request].limits;
    assert_eq!((limits.records, limits.seconds), (1 << 24, 86_400));
    let now = world.now;
    let session = world.devices[device].sessions.get_mut(&request).unwrap();
    assert!(matches!(session, Session::Tls12(_)));
    assert!(!session.key_update(now, &mut Vec::new()).unwrap());
    world.talk(device, request, b"up", b"down");
}

#[test]
fn a_session_ends_with_its_lifetime() {
    let mut world = World::with(211, |_| {}, |rule| rule.session_seconds = 60);
    let device = world.add_device();
    world.peers.insert(server_address(), PeerBehaviour::tls12());
    let request = establish(&mut world, device, both_versions(40_001));
    world.run(std::time::Duration::from_secs(61));
    let now = world.now;
    let session = world.devices[device].sessions.get_mut(&request).unwrap();
    assert!(matches!(session.seal(now, b"late", &mut Vec::new()), Err(Fault::SessionExpired)));
    world.run(std::time::Duration::from_secs(60));
    assert!(world.wire(device, request).reset);
    assert_eq!(world.gateway.view().sessions, 0);
}

/// close_notify is not lost among the records.
#[test]
fn a_close_of_the_peer_is_heard() {
    let (mut world, device) = world(212, PeerBehaviour { versions: Versions::Tls12, ..PeerBehaviour::default() });
    let request = establish(&mut world, device, both_versions(40_001));
    let peer = world.wire(device, request).peer.as_mut().unwrap();
    peer.say(b"bye");
    peer.close();
    let stream = peer.drain();
    let now = world.now;
    let session = world.devices[device].sessions.get_mut(&request).unwrap();
    assert_eq!(read(session, now, &stream), b"bye");
    assert!(session.is_closed_by_peer());
}
