//! Assisted handshakes that fail: the terminal hears why, the peer gets the alert through it, the place is free again.

use std::time::Duration;

use keyferry::gateway::{Input, Settings};
use keyferry_channel::RequestId;
use keyferry_parsers::messages::{Connect, Listen, PeerName};

use crate::world::{
    A_WHILE, Caller, PORT, PeerBehaviour, SERVER, Stop, TERMINAL, Versions, World, both_versions, caller_address, ip,
    server_address, serving, serving_with,
};

const BOTH: [Versions; 2] = [Versions::Tls12, Versions::Tls13];

#[track_caller]
fn failed(world: &World, device: usize, request: RequestId, reason: &str) {
    assert_eq!(world.devices[device].reason(request), reason);
    nothing_left(world, device);
}

#[track_caller]
fn nothing_left(world: &World, device: usize) {
    assert!(world.devices[device].keys.is_empty(), "keys were handed over");
    assert_eq!(world.gateway.view().handshakes, 0);
    let id = &world.devices[device].record.id;
    assert_eq!(world.gateway.terminal_view(id, world.now).unwrap().pending, 0, "its place is taken still");
    assert_eq!(world.gateway.stats().sessions_delivered, 0);
}

/// What the peer heard.
fn said(world: &World) -> String {
    let wire = world.wires.values().next().unwrap();
    wire.peer.as_ref().unwrap().failure.clone().unwrap_or_default()
}

fn with_server(seed: u64, behaviour: PeerBehaviour) -> (World, usize, RequestId) {
    let mut world = World::new(seed);
    let device = world.add_device();
    world.peers.insert(server_address(), behaviour);
    let request = world.assist(device, 40_001);
    world.run(A_WHILE);
    (world, device, request)
}

#[test]
fn certificates() {
    for versions in BOTH {
        let good = || PeerBehaviour { versions, ..Default::default() };
        let cases = [
            (PeerBehaviour { stranger: true, ..good() }, "certificate-unknown-ca", "UnknownCA"),
            (PeerBehaviour { validity: (2020, 2021), ..good() }, "certificate-expired", "CertificateExpired"),
            (
                PeerBehaviour { names: vec!["other.example".to_owned()], ..good() },
                "certificate-name-mismatch",
                "BadCertificate",
            ),
        ];
        for (behaviour, reason, alert) in cases {
            let (world, device, request) = with_server(371, behaviour);
            failed(&world, device, request, reason);
            assert!(said(&world).contains(alert), "{versions:?}: {}", said(&world));
        }
    }
}

#[test]
fn a_peer_that_closes_after_any_record() {
    for versions in BOTH {
        for after in 0..3 {
            let stops_after = Some((after, Stop::Close));
            let (world, device, request) =
                with_server(372, PeerBehaviour { versions, stops_after, ..Default::default() });
            failed(&world, device, request, "peer-closed");
        }
        for after in 0..2 {
            let (mut world, device) = serving(373);
            let caller = Caller { versions, stops_after: Some((after, Stop::Close)), ..Caller::of(TERMINAL) };
            let request = world.assist_server(device, caller_address(50_001), Listen::new(PORT), &caller);
            world.close_assisted(device, request);
            world.run(A_WHILE);
            let reason = world.devices[device].reason(request);
            let is_expected = reason == "peer-closed" || (versions == Versions::Tls12 && reason == "peer-version");
            assert!(is_expected, "{reason} after {after}");
            nothing_left(&world, device);
        }
    }
}

#[test]
fn a_peer_that_falls_silent() {
    for versions in BOTH {
        for after in 0..3 {
            let stops_after = Some((after, Stop::Stall));
            let (mut world, device, request) =
                with_server(374, PeerBehaviour { versions, stops_after, ..Default::default() });
            assert!(!world.devices[device].is_done(request), "it had no time");
            world.run(Duration::from_secs(30));
            let reason = world.devices[device].reason(request);
            assert!(reason.starts_with("the peer's fault"), "{reason}");
            // The gateway cannot see that the terminal has given up.
            world.run(Duration::from_secs(40));
            nothing_left(&world, device);
        }
    }
}

#[test]
fn a_peer_that_says_an_alert() {
    // internal_error
    let garbage = Some(vec![21, 3, 3, 0, 2, 2, 80]);
    let (world, device, request) = with_server(375, PeerBehaviour { garbage, ..Default::default() });
    failed(&world, device, request, "peer-alert");
}

#[test]
fn a_peer_that_speaks_something_else() {
    let garbage = Some(b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec());
    let (world, device, request) = with_server(376, PeerBehaviour { garbage, ..Default::default() });
    failed(&world, device, request, "peer-malformed");
    let words = world.devices[device].failures[&request].clone();
    let keyferry_terminal::client::Why::Failure(failure) = words else { panic!("a failure") };
    assert_eq!(failure.last_words.first(), Some(&21), "an alert for the peer");
}

/// What waits to be sent when it fails goes before the alert, or the failure still says its reason.
#[test]
fn a_client_that_goes_wrong_in_its_first_bytes() {
    let (mut world, device) = serving(377);
    let mut peer = crate::world::Peer::client(&world.pki, &Caller::of(TERMINAL));
    let mut bytes = peer.drain();
    bytes.extend([22, 3, 3, 0, 4, 99, 0, 0, 0]);
    let caller = Caller { garbage: Some(bytes), ..Caller::of(TERMINAL) };
    let request = world.assist_server(device, caller_address(50_001), Listen::new(PORT), &caller);
    world.run(A_WHILE);
    nothing_left(&world, device);
    let reason = world.devices[device].reason(request);
    assert!(["peer-protocol", "peer-malformed"].contains(&reason.as_str()), "{reason}");
}

#[test]
fn what_policy_forbids() {
    let mut world = World::new(378);
    let device = world.add_device();
    let other = Connect::new(PeerName::Name("other.example".to_owned()), 443, 40_001);
    let request = world.assist_as(device, other);
    world.run(A_WHILE);
    failed(&world, device, request, "forbidden-peer");
    let request = world.assist_as(device, Connect { port: 444, ..both_versions(40_001) });
    world.run(A_WHILE);
    failed(&world, device, request, "forbidden-port");
    let request = world.assist_server(device, caller_address(50_001), Listen::new(PORT), &Caller::of(TERMINAL));
    world.run(A_WHILE);
    failed(&world, device, request, "forbidden-port");

    let (mut world, device) =
        serving_with(379, |_| {}, |service, _| service.peers = vec!["10.7.3.0/24".parse().unwrap()]);
    let request = world.assist_server(device, caller_address(50_001), Listen::new(PORT), &Caller::of(TERMINAL));
    world.run(A_WHILE);
    failed(&world, device, request, "forbidden-client");
    let other = world.add_device();
    let request =
        world.assist_server(other, "10.7.3.1:5000".parse().unwrap(), Listen::new(PORT), &Caller::of(TERMINAL));
    world.run(A_WHILE);
    failed(&world, other, request, "no-certificate");
}

#[test]
fn the_quota_counts_them() {
    let few = |settings: &mut Settings| settings.pending_per_terminal = 3;
    let mut world = World::with(380, few, |_| {});
    let device = world.add_device();
    let stops_after = Some((0, Stop::Stall));
    world.peers.insert(server_address(), PeerBehaviour { stops_after, ..Default::default() });
    let requests: Vec<_> = (0..8).map(|number| world.assist(device, 40_000 + number)).collect();
    world.run(A_WHILE);
    assert_eq!(world.gateway.view().handshakes, 3);
    let refused = requests.iter().filter(|id| world.devices[device].reason(**id) == "quota").count();
    assert_eq!(refused, 5);
    world.run(Duration::from_secs(61));
    nothing_left(&world, device);
    world.peers.insert(server_address(), PeerBehaviour::default());
    world.establish_assisted(device, 41_000);
}

#[test]
fn a_terminal_that_is_revoked_meanwhile() {
    let stops_after = Some((1, Stop::Stall));
    let (mut world, device, _) = with_server(381, PeerBehaviour { stops_after, ..Default::default() });
    assert_eq!(world.gateway.view().handshakes, 1);
    let id = world.devices[device].record.id.clone();
    world.tell(Input::Revoke(id));
    assert_eq!(world.gateway.view().handshakes, 0);
    world.run(Duration::from_secs(70));
    assert!(world.devices[device].keys.is_empty());
    // And others go on.
    let other = world.add_device();
    world.peers.insert(server_address(), PeerBehaviour::default());
    world.establish_assisted(other, 40_001);
}

/// A resolver that does not know the name: the terminal may know by itself where the peer is, so it goes on without.
#[test]
fn a_name_that_does_not_resolve() {
    let mut world = World::new(382);
    let device = world.add_device();
    world.names.clear();
    let request = world.assist(device, 40_001);
    world.run(A_WHILE);
    assert_eq!(world.devices[device].assists[&request].address, None);
    assert!(world.devices[device].assists[&request].started.is_some());
    world.run(Duration::from_secs(61));
    assert!(world.devices[device].is_done(request));
    nothing_left(&world, device);
}

#[test]
fn a_name_that_resolves_to_where_nobody_may_go() {
    for address in ["127.0.0.1", "10.7.1.1", "192.168.77.5", "10.7.1.10"] {
        let mut world = World::new(386);
        let device = world.add_device();
        world.names.insert(SERVER.to_owned(), vec![ip(address)]);
        let request = world.assist(device, 40_001);
        world.run(A_WHILE);
        failed(&world, device, request, "forbidden-address");
        world.names.insert(SERVER.to_owned(), vec![ip(address), server_address().ip()]);
        world.establish_assisted(device, 40_002);
    }
}

#[test]
fn a_resolver_that_hangs() {
    let mut world = World::new(385);
    let device = world.add_device();
    world.resolver_hangs = true;
    let request = world.assist(device, 40_001);
    world.run(Duration::from_millis(2_500));
    assert!(world.devices[device].assists[&request].started.is_some(), "the terminal would have given up");
    world.answer_lookups();
    world.run(Duration::from_secs(61));
    nothing_left(&world, device);
}

/// The gateway restarts in the middle: the next piece is refused by name, and nothing else happens.
#[test]
fn a_gateway_that_restarts() {
    let mut world = World::new(383);
    let device = world.add_device();
    let request = world.assist(device, 40_001);
    world.run_until(A_WHILE, |world| world.devices[device].assists[&request].started.is_some());
    world.restart_gateway();
    world.run(Duration::from_secs(5));
    assert_eq!(world.devices[device].reason(request), "stale");
    assert!(world.devices[device].keys.is_empty());
    world.establish_assisted(device, 40_002);
}

/// Keys that come when the terminal has given up are for nobody, also where it listens at that port.
#[test]
fn keys_that_come_too_late() {
    let (mut world, device) = serving(384);
    let request = world.assist_server(device, caller_address(50_001), Listen::new(PORT), &Caller::of(TERMINAL));
    world.run_until(A_WHILE, |world| world.devices[device].assists[&request].key_needed.is_some());
    // The question for the keys is on its way.
    world.run(Duration::from_millis(5));
    world.run_until(A_WHILE, |world| world.recorded.last().is_some_and(|last| !last.to_gateway));
    world.link.loss_percent = 100;
    world.run_until(Duration::from_secs(30), |world| world.devices[device].is_done(request));
    world.link.loss_percent = 0;
    world.run(Duration::from_secs(70));
    assert!(world.devices[device].sessions.is_empty() && world.devices[device].strays == 0);
    assert_eq!(world.gateway.stats().sessions_delivered, 0);
    assert_eq!(world.gateway.view().handshakes, 0);
}
