//! Terminals as servers: unmodified TLS clients connect, the gateway does the handshake, the terminal talks to them.

use keyferry::error::Reason;
use keyferry::gateway::{FlowEnd, Input};
use keyferry::stats::HandshakeKind;
use keyferry_parsers::messages::{Listen, ProofMethod, Role};
use keyferry_parsers::tls::{CipherSuite, ProtocolVersion};

use crate::world::{
    A_WHILE, Caller, Leaf, PORT, Stop, TERMINAL, Versions, caller_address, read, serving, serving_with,
};

const BOTH: [(Versions, ProtocolVersion); 2] =
    [(Versions::Tls12, ProtocolVersion::TLS_1_2), (Versions::Tls13, ProtocolVersion::TLS_1_3)];

fn caller(versions: Versions) -> Caller {
    Caller { versions, ..Caller::of(TERMINAL) }
}

#[test]
fn a_client_talks_to_a_terminal() {
    for (versions, version) in BOTH {
        let (mut world, device) = serving(221);
        let session = world.answer(device, 50_001, &caller(versions));
        world.talk(device, session, b"HTTP/1.1 200 OK\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n");

        let keys = &world.devices[device].keys[&session];
        assert_eq!((keys.version, keys.role), (version, Role::SERVER));
        assert_eq!((keys.local.port(), keys.remote), (PORT, caller_address(50_001)));
        assert_eq!((keys.method, keys.peer.as_str()), (ProofMethod::ANONYMOUS, "10.7.2.9"));
        assert_eq!(keys.server_name.as_deref(), Some(TERMINAL));
        let wire = world.wire(device, session);
        assert!(wire.reached && wire.handed_over && wire.open);
        assert_eq!(world.gateway.stats().sessions_delivered, 1);
        let protocol = if version == ProtocolVersion::TLS_1_3 { "tls1.3" } else { "tls1.2" };
        let kind = HandshakeKind { protocol, role: "server", failure: None };
        assert_eq!(world.gateway.stats().handshakes[&kind], 1);
        let view = world.gateway.view();
        assert_eq!((view.handshakes, view.sessions), (0, 1));
        let flow = world.devices[device].flows[&session];
        world.tell(Input::FlowEnded { flow, end: FlowEnd { up: 1, down: 2 } });
        assert_eq!(world.gateway.view().sessions, 0);
    }
}

#[test]
fn every_suite() {
    let suites = keyferry::crypto::SUITES;
    // The terminal's certificate has an ECDSA key.
    let rsa = [
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    for suite in suites.into_iter().filter(|suite| !rsa.contains(suite)) {
        let (mut world, device) = serving(222);
        let session = world.answer(device, 50_001, &Caller { cipher_suites: vec![suite.0], ..caller_of_suite(suite) });
        assert_eq!(world.devices[device].keys[&session].suite, suite.0, "{suite}");
        let long = vec![0xab; 100_000];
        world.talk(device, session, &long, &long);
    }
}

fn caller_of_suite(suite: CipherSuite) -> Caller {
    caller(if suite.tls13_equivalent() == Some(suite) { Versions::Tls13 } else { Versions::Tls12 })
}

/// Whoever has not finished a handshake does not get a SYN through to the terminal.
#[test]
fn nothing_reaches_the_terminal_before_the_handshake_is_done() {
    for (versions, _) in BOTH {
        let (mut world, device) = serving(223);
        let flow = world.call(device, 50_001, &Caller { stops_after: Some((0, Stop::Stall)), ..caller(versions) });
        world.run(A_WHILE);
        assert!(!world.wires[&flow].reached);
        // How many records a client has.
        let session = world.answer(device, 50_002, &caller(versions));
        let records = world.wire(device, session).peer.as_ref().unwrap().records_given;
        assert!(records >= 3, "{records}");
        let reached = world.reached;
        for after in 0..records {
            for stop in [Stop::Close, Stop::Stall] {
                let stopping = Caller { stops_after: Some((after, stop)), ..caller(versions) };
                let flow = world.call(device, 51_000 + after as u16, &stopping);
                world.run(world_limit());
                let wire = &world.wires[&flow];
                assert!(wire.reset && !wire.reached && !wire.handed_over, "{versions:?}, {stop:?} after {after}");
            }
        }
        assert_eq!(world.reached, reached);
        assert_eq!(world.devices[device].incoming.len(), 1);
        let kind = |reason| HandshakeKind { protocol: "tls", role: "server", failure: Some(reason) };
        assert_eq!(world.gateway.stats().handshakes[&kind(Reason::PEER_CLOSED)], records as u64);
        assert_eq!(world.gateway.stats().handshakes[&kind(Reason::PEER_STALLED)], records as u64 + 1);
        assert_eq!(world.gateway.view().handshakes, 0);
    }
}

fn world_limit() -> std::time::Duration {
    std::time::Duration::from_secs(11)
}

#[test]
fn what_is_not_tls() {
    let (mut world, device) = serving(224);
    let garbage = Some(b"GET / HTTP/1.0\r\n\r\n".to_vec());
    let flow = world.call(device, 50_001, &Caller { garbage, ..Caller::of(TERMINAL) });
    let wire = &world.wires[&flow];
    assert!(wire.reset && !wire.reached);
    assert_eq!(wire.last_words.first(), Some(&21), "an alert");
    // A warning alert, and a hello that ends within.
    for garbage in [vec![21, 3, 3, 0, 2, 1, 0], vec![22, 3, 1, 0, 4, 1, 0, 0, 0]] {
        let flow = world.call(device, 50_002, &Caller { garbage: Some(garbage), ..Caller::of(TERMINAL) });
        world.run(world_limit());
        assert!(world.wires[&flow].reset && !world.wires[&flow].reached);
    }
    world.answer(device, 50_003, &Caller::of(TERMINAL));
}

/// A client that speaks in the flight of its Finished: the records are the terminal's.
#[test]
fn what_the_client_sends_behind_its_finished_reaches_the_terminal() {
    for (versions, _) in BOTH {
        for drains_prefix in [false, true] {
            let (mut world, device) = serving(225);
            world.drains_prefix = drains_prefix;
            let request = b"GET / HTTP/1.1\r\n\r\n".to_vec();
            let session = world.answer(device, 50_001, &Caller { greeting: request.clone(), ..caller(versions) });
            let stream = world.wire(device, session).peer.as_mut().unwrap().drain();
            assert_eq!(stream.is_empty(), drains_prefix);
            let now = world.now;
            let receiving = world.devices[device].sessions.get_mut(&session).unwrap();
            assert_eq!(read(receiving, now, &stream), request);
            world.talk(device, session, b"HTTP/1.1 200 OK\r\n\r\n", b"GET /2 HTTP/1.1\r\n\r\n");
        }
    }
}

#[test]
fn both_sides_change_their_keys() {
    let (mut world, device) = serving(226);
    let session = world.answer(device, 50_001, &caller(Versions::Tls13));
    for round in 0..5u8 {
        world.wire(device, session).peer.as_mut().unwrap().update_key();
        world.talk(device, session, &[round; 30], &[round; 40]);
        let now = world.now;
        let mut records = Vec::new();
        assert!(world.devices[device].sessions.get_mut(&session).unwrap().key_update(now, &mut records).unwrap());
        world.wire(device, session).peer.as_mut().unwrap().receive(&records);
        world.talk(device, session, &[round; 50], &[round; 60]);
    }
}

#[test]
fn a_terminal_that_cannot_do_tls_1_2_is_not_asked_to() {
    let (mut world, device) = serving(227);
    let listening = *world.devices[device].listening.first_key_value().unwrap().0;
    world.cancel(device, listening);
    world.listen_as(device, Listen::new(PORT));
    world.run(A_WHILE);
    let flow = world.call(device, 50_001, &caller(Versions::Tls12));
    world.run(A_WHILE);
    assert!(world.wires[&flow].reset && !world.wires[&flow].reached);
    assert!(world.wires[&flow].peer.as_ref().unwrap().failure.as_ref().unwrap().contains("ProtocolVersion"));
    let session = world.answer(device, 50_002, &caller(Versions::Both));
    assert_eq!(world.devices[device].keys[&session].version, ProtocolVersion::TLS_1_3);

    let one = vec![CipherSuite::TLS_CHACHA20_POLY1305_SHA256];
    let listening = *world.devices[device].listening.last_key_value().unwrap().0;
    world.cancel(device, listening);
    world.listen_as(device, Listen { cipher_suites: one, ..Listen::new(PORT) });
    world.run(A_WHILE);
    let session = world.answer(device, 50_003, &caller(Versions::Both));
    assert_eq!(world.devices[device].keys[&session].suite, CipherSuite::TLS_CHACHA20_POLY1305_SHA256.0);
}

#[test]
fn the_application_protocol() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let offer = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
    // Policy's, the terminal's, the client's: what is chosen; `None`: refused.
    let cases = [
        (&["h2", "http/1.1"][..], &["http/1.1"][..], &["h2", "http/1.1"][..], Some(Some("http/1.1"))),
        (&["h2", "http/1.1"], &[], &["http/1.1", "h2"], Some(Some("h2"))),
        (&[], &["mqtt"], &["mqtt"], Some(Some("mqtt"))),
        (&["h2"], &["h2"], &[], Some(None)),
        (&["h2"], &["h2"], &["mqtt"], None),
    ];
    for (allowed, spoken, offered, chosen) in cases {
        let (mut world, device) = serving_with(228, |_| {}, |service, _| service.alpn = names(allowed));
        let listening = *world.devices[device].listening.first_key_value().unwrap().0;
        world.cancel(device, listening);
        world.listen_as(device, Listen { alpn: names(spoken), ..Listen::new(PORT) });
        world.run(A_WHILE);
        let calling = Caller { alpn: offer(offered), ..Caller::of(TERMINAL) };
        match chosen {
            Some(chosen) => {
                let session = world.answer(device, 50_001, &calling);
                assert_eq!(world.devices[device].keys[&session].alpn.as_deref(), chosen, "{allowed:?} {spoken:?}");
                let peer = world.wire(device, session).peer.as_ref().unwrap();
                assert_eq!(peer.alpn(), chosen.map(str::as_bytes));
            }
            None => {
                let flow = world.call(device, 50_001, &calling);
                world.run(A_WHILE);
                assert!(world.wires[&flow].reset && !world.wires[&flow].reached);
                let said = world.wires[&flow].peer.as_ref().unwrap().failure.clone().unwrap();
                assert!(said.contains("NoApplicationProtocol"), "{said}");
            }
        }
    }
}

#[test]
fn a_protocol_that_policy_does_not_allow_is_refused_when_the_terminal_listens() {
    let (mut world, device) = serving_with(229, |_| {}, |service, _| service.alpn = vec!["h2".to_owned()]);
    let listening = *world.devices[device].listening.first_key_value().unwrap().0;
    world.cancel(device, listening);
    let refused = world.listen_as(device, Listen { alpn: vec!["mqtt".to_owned()], ..Listen::new(PORT) });
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(refused), "forbidden-alpn");
}

#[test]
fn the_certificate_is_chosen_by_the_name_that_the_client_asks_for() {
    let (mut world, device) = serving(230);
    world.give_certificate(device, "second", &Leaf::of("second.example"));
    for (port, name) in [(50_001, TERMINAL), (50_002, "second.example")] {
        let session = world.answer(device, port, &Caller::of(name));
        let expected = name == TERMINAL;
        let chain = &world.devices[device].credentials[usize::from(!expected)].chain;
        let leaf = chain[0].clone();
        let wire = world.wire(device, session);
        assert_eq!(wire.peer.as_ref().unwrap().certificate(), Some(leaf.as_slice()));
        assert_eq!(world.devices[device].keys[&session].server_name.as_deref(), Some(name));
    }
    let flow = world.call(device, 50_003, &Caller::of("other.example"));
    world.run(A_WHILE);
    let said = world.wires[&flow].peer.as_ref().unwrap().failure.clone().unwrap();
    assert!(said.contains("UnrecognisedName"), "{said}");
    assert!(world.wires[&flow].reset && !world.wires[&flow].reached);
    // Without a name anybody is served.
    let session = world.answer(device, 50_004, &Caller { sends_name: false, ..Caller::of(TERMINAL) });
    assert_eq!(world.devices[device].keys[&session].server_name, None);
}

/// A rule may serve a terminal that does not announce anything.
#[test]
fn a_service_without_request() {
    let (mut world, device) = serving_with(231, |_| {}, |service, _| service.without_request = true);
    let session = world.answer(device, 50_001, &caller(Versions::Both));
    assert_eq!(world.devices[device].keys[&session].version, ProtocolVersion::TLS_1_3);
    let listening = *world.devices[device].listening.first_key_value().unwrap().0;
    world.cancel(device, listening);
    world.run(A_WHILE);
    // The gateway serves, with what every terminal can; this terminal's library wants no keys that nobody waits for.
    let flow = world.call(device, 50_002, &caller(Versions::Both));
    world.run(A_WHILE);
    assert!(world.wires[&flow].reached && world.wires[&flow].reset);
}

/// A client that comes again from the same port begins a session of its own.
#[test]
fn a_port_that_is_used_again() {
    let (mut world, device) = serving(232);
    for _ in 0..3 {
        let session = world.answer(device, 50_001, &Caller::of(TERMINAL));
        world.talk(device, session, b"up", b"down");
        let flow = world.devices[device].flows[&session];
        world.end_flow(flow);
        world.wires.remove(&flow);
        // For a while the terminal would take them for keys of the connection it knows.
        world.run(std::time::Duration::from_secs(10));
    }
}
