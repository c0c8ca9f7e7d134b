//! Peers that no session can be had with: the terminal hears why within the deadline and gets no key, the peer
//! gets the alert that belongs to it, and the terminal's place is free again.

use std::time::Duration;

use keyferry::error::Reason;
use keyferry::stats::HandshakeKind;
use keyferry_parsers::messages::{Connect, PeerName};
use keyferry_parsers::tls::CipherSuite;

use crate::world::{A_WHILE, PeerBehaviour, SERVER, Stop, Versions, World, both_versions, server_address};

const AES_256: u16 = CipherSuite::TLS_AES_256_GCM_SHA384.0;
/// What the handshake may take, and the notice of its failure.
const DEADLINE: Duration = Duration::from_millis(10_100);

fn ask() -> Connect {
    Connect::new(PeerName::Name(SERVER.to_owned()), 443, 40_001)
}

/// A server that speaks one version, and a terminal that can both.
fn each_version() -> [(PeerBehaviour, Connect); 2] {
    [Versions::Tls12, Versions::Tls13]
        .map(|versions| (PeerBehaviour { versions, ..Default::default() }, both_versions(40_001)))
}

/// Asks for a session with such a peer; it must fail with `reason`. Returns the world afterwards and how long
/// the terminal had to wait.
#[track_caller]
fn refuse(behaviour: PeerBehaviour, request: Connect, reason: Reason) -> (World, Duration) {
    let mut world = World::new(11);
    let device = world.add_device();
    world.peers.insert(server_address(), behaviour);
    let waited = refuse_in(&mut world, device, request, reason);
    (world, waited)
}

#[track_caller]
fn refuse_in(world: &mut World, device: usize, request: Connect, reason: Reason) -> Duration {
    let request = world.request(device, request);
    let waited = world.run_until(DEADLINE, |world| world.devices[device].is_done(request));
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(request), reason.to_string());
    assert!(world.devices[device].keys.is_empty(), "a key was handed over");
    assert!(world.wire(device, request).reset);
    assert!(!world.wire(device, request).handed_over);

    let view = world.gateway.view();
    assert_eq!((view.offers, view.handshakes, view.sessions), (0, 0, 0));
    let id = &world.devices[device].record.id;
    assert_eq!(world.gateway.terminal_view(id, world.now).unwrap().pending, 0, "its place is taken still");
    let kind = HandshakeKind { protocol: "tls", role: "client", failure: Some(reason) };
    assert_eq!(world.gateway.stats().handshakes.get(&kind), Some(&1));
    assert_eq!(world.gateway.stats().sessions_delivered, 0);
    // Nothing of it stands in the way of the next try.
    world.peers.insert(server_address(), PeerBehaviour::default());
    world.establish(device, 40_001);
    world.devices[device].keys.clear();
    waited
}

/// What the peer said of the alert it got.
fn alert(world: &World) -> String {
    let first = world.wires.values().next().unwrap();
    first.peer.as_ref().unwrap().failure.clone().unwrap_or_default()
}

#[test]
fn certificates() {
    for (good, request) in each_version() {
        let good = || good.clone();
        let cases = [
            (PeerBehaviour { stranger: true, ..good() }, Reason::CERTIFICATE_UNKNOWN_CA, "UnknownCA"),
            (PeerBehaviour { validity: (2020, 2021), ..good() }, Reason::CERTIFICATE_EXPIRED, "CertificateExpired"),
            (
                PeerBehaviour { validity: (2035, 2036), ..good() },
                Reason::CERTIFICATE_NOT_YET_VALID,
                "CertificateExpired",
            ),
            (
                PeerBehaviour { names: vec!["other.example".to_owned()], ..good() },
                Reason::CERTIFICATE_NAME_MISMATCH,
                "BadCertificate",
            ),
        ];
        for (behaviour, reason, expected) in cases {
            let (world, waited) = refuse(behaviour, request.clone(), reason);
            assert!(alert(&world).contains(expected), "{reason}: the peer heard: {}", alert(&world));
            assert!(waited < Duration::from_millis(100), "{reason} was known at once");
        }
    }
}

#[test]
fn nothing_in_common() {
    let one_suite = PeerBehaviour { cipher_suites: vec![AES_256], ..Default::default() };
    let mut request = ask();
    request.cipher_suites = vec![CipherSuite::TLS_AES_128_GCM_SHA256];
    refuse(one_suite, request, Reason::NO_COMMON_SUITE);

    for (good, mut request) in each_version() {
        let one_protocol = PeerBehaviour { alpn: vec![b"h2".to_vec()], ..good };
        request.alpn = vec!["mqtt".to_owned()];
        refuse(one_protocol, request, Reason::NO_COMMON_ALPN);
    }
}

#[test]
fn a_peer_without_a_version_that_the_terminal_can() {
    let body = [&[3, 3][..], &[7; 32], &[0, 0xc0, 0x2b, 0]].concat();
    let message = [&[2, 0, 0, body.len() as u8][..], &body].concat();
    let hello = [&[22, 3, 3, 0, message.len() as u8][..], &message].concat();
    for (said, last_words) in [(hello, &[21, 3, 3, 0, 2, 2, 70][..]), (vec![21, 3, 3, 0, 2, 2, 70], &[])] {
        let behaviour = PeerBehaviour { garbage: Some(said), ..Default::default() };
        let (world, _) = refuse(behaviour, ask(), Reason::PEER_VERSION);
        assert_eq!(world.wires.values().next().unwrap().last_words, last_words, "protocol_version, unless it said so");
    }
}

#[test]
fn what_is_not_tls() {
    let said = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec();
    let (world, _) = refuse(PeerBehaviour { garbage: Some(said), ..Default::default() }, ask(), Reason::PEER_MALFORMED);
    let last_words = &world.wires.values().next().unwrap().last_words;
    assert_eq!(last_words.get(..5), Some(&[21, 3, 3, 0, 2][..]), "an alert");

    // Looks like a record, and is none of TLS 1.3.
    let said = vec![22, 3, 3, 0, 8, 2, 0, 0, 4, 3, 3, 0x11, 0x11];
    let behaviour = PeerBehaviour { garbage: Some(said), ..Default::default() };
    let (world, _) = refuse(behaviour, ask(), Reason::PEER_MALFORMED);
    let alert = &world.wires.values().next().unwrap().last_words;
    assert_eq!(alert.get(..6), Some(&[21, 3, 3, 0, 2, 2][..]), "a fatal alert");
}

#[test]
fn an_oversized_record() {
    let said = [&[22, 3, 3, 0x48, 0x01][..], &[0; 0x4801]].concat();
    let behaviour = PeerBehaviour { garbage: Some(said), ..Default::default() };
    let (world, _) = refuse(behaviour, ask(), Reason::PEER_OVERSIZED);
    let alert = &world.wires.values().next().unwrap().last_words;
    assert_eq!(alert.get(..5), Some(&[21, 3, 3, 0, 2][..]), "an alert");
}

/// Records of the server up to its Finished.
fn flight(behaviour: PeerBehaviour) -> usize {
    let mut world = World::new(12);
    let device = world.add_device();
    world.peers.insert(server_address(), behaviour);
    let request = world.request(device, both_versions(40_001));
    world.run(A_WHILE);
    world.wire(device, request).peer.as_ref().unwrap().records_given
}

#[test]
fn a_peer_that_closes_after_any_record() {
    for (good, request) in each_version() {
        let flight = flight(good.clone());
        assert!(flight >= 3, "ServerHello, ChangeCipherSpec, the rest");
        for after in 0..flight {
            let behaviour = PeerBehaviour { stops_after: Some((after, Stop::Close)), ..good.clone() };
            let (_, waited) = refuse(behaviour, request.clone(), Reason::PEER_CLOSED);
            assert!(waited < Duration::from_millis(100), "closed after {after} records");
        }
    }
}

#[test]
fn a_peer_that_falls_silent_after_any_record() {
    for (good, request) in each_version() {
        for after in 0..flight(good.clone()) {
            let behaviour = PeerBehaviour { stops_after: Some((after, Stop::Stall)), ..good.clone() };
            let (_, waited) = refuse(behaviour, request.clone(), Reason::PEER_STALLED);
            assert!(waited > Duration::from_secs(10), "the peer had its time");
        }
    }
}

#[test]
fn a_peer_that_is_not_there() {
    let (_, waited) =
        refuse(PeerBehaviour { unreachable: true, ..Default::default() }, ask(), Reason::PEER_UNREACHABLE);
    assert!(waited > Duration::from_secs(10));

    let mut world = World::new(13);
    let device = world.add_device();
    world.peers.clear();
    let waited = refuse_in(&mut world, device, ask(), Reason::PEER_REFUSED);
    assert!(waited < Duration::from_millis(100));
}
