//! Assisted mode: the terminal holds TCP and carries the bytes of the handshake over its channel. Time is virtual, the
//! peer answers at once, so that every moment that passes is a round trip of the channel.

use std::time::Duration;

use keyferry::crypto::GROUPS;
use keyferry::stats::HandshakeKind;
use keyferry_channel::RequestId;
use keyferry_parsers::messages::{Connect, Listen, ProofMethod, Role, Step};
use keyferry_parsers::tls::ProtocolVersion;

use crate::world::{
    A_WHILE, Caller, Leaf, PORT, PeerBehaviour, SERVER, TERMINAL, Versions, World, both_versions, caller_address, read,
    server_address, serving, serving_with, trust,
};

const MS: Duration = Duration::from_millis(1);
/// There and back over the slow link of these tests.
const ROUND_TRIP: Duration = Duration::from_millis(200);

/// A link of 100 ms each way, and a channel that is warm: of what is new to each other since the last restart, gateway and
/// terminal challenge the first request.
fn slow(world: &mut World, device: usize) {
    world.establish(device, 30_000);
    world.link.delay = 100 * MS;
}

fn listen() -> Listen {
    Listen { oldest_version: ProtocolVersion::TLS_1_2, ..Listen::new(PORT) }
}

#[track_caller]
fn serve(world: &mut World, device: usize, port: u16, caller: &Caller) -> RequestId {
    let request = world.assist_server(device, caller_address(port), listen(), caller);
    world.run(A_WHILE);
    world.assert_session(device, request);
    request
}

#[test]
fn a_terminal_talks_to_a_server_and_the_gateway_is_not_on_the_path() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        let mut world = World::new(351);
        let device = world.add_device();
        world.peers.insert(server_address(), PeerBehaviour { versions, ..Default::default() });
        let request = world.establish_assisted(device, 40_001);
        world.talk(device, request, b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n");

        let keys = &world.devices[device].keys[&request];
        assert_eq!((keys.peer.as_str(), keys.method, keys.role), (SERVER, ProofMethod::CA_VERIFIED_NAME, Role::CLIENT));
        assert_eq!((keys.local, keys.remote), ("10.7.1.10:40001".parse().unwrap(), server_address()));
        let assist = &world.devices[device].assists[&request];
        assert_eq!(assist.address, Some(server_address().ip()));
        assert_eq!(assist.steps.last(), Some(&Step::KEY));
        assert_eq!(assist.steps[..2], [Step::AUTHENTICATION, Step::KEY_GENERATION]);

        assert_eq!(world.connects, 0);
        let view = world.gateway.view();
        assert_eq!((view.offers, view.handshakes, view.sessions), (0, 0, 0));
        let id = &world.devices[device].record.id;
        assert_eq!(world.gateway.terminal_view(id, world.now).unwrap().pending, 0);
        assert_eq!(world.gateway.stats().sessions_delivered, 1);
        assert_eq!(world.gateway.stats().handovers["assisted"], 1);
        let protocol = if versions == Versions::Tls12 { "tls1.2" } else { "tls1.3" };
        let kind = HandshakeKind { protocol, role: "client", failure: None };
        assert_eq!(world.gateway.stats().handshakes[&kind], 1);
    }
}

/// The promise: at most two round trips of the channel beyond the first request.
#[test]
fn a_client_of_tls_1_3_waits_for_three_round_trips() {
    for groups in [vec![keyferry_parsers::tls::NamedGroup::X25519], GROUPS.to_vec()] {
        let mut world = World::with(352, |_| {}, |rule| rule.key_exchange = groups);
        let device = world.add_device();
        slow(&mut world, device);
        let request = world.assist(device, 40_001);
        world.run(A_WHILE);
        world.assert_session(device, request);
        let (start, rest) = world.devices[device].assists[&request].times();
        assert_eq!(start, ROUND_TRIP);
        assert!(rest <= 2 * ROUND_TRIP, "{rest:?}");
        world.talk(device, request, b"up", b"down");
    }
}

/// A terminal that has just started challenges the first request of the gateway, which is that with the keys.
#[test]
fn a_terminal_that_has_just_started_waits_for_one_more() {
    let mut world = World::new(361);
    let device = world.add_device();
    world.link.delay = 100 * MS;
    let request = world.assist(device, 40_001);
    world.run(A_WHILE);
    world.assert_session(device, request);
    let (start, rest) = world.devices[device].assists[&request].times();
    assert!(start <= 2 * ROUND_TRIP && rest <= 3 * ROUND_TRIP, "{start:?}, {rest:?}");
}

#[test]
fn a_client_of_tls_1_2_waits_for_one_more() {
    let mut world = World::new(353);
    let device = world.add_device();
    slow(&mut world, device);
    world.peers.insert(server_address(), PeerBehaviour::tls12());
    let request = world.assist(device, 40_001);
    world.run(A_WHILE);
    world.assert_session(device, request);
    let (start, rest) = world.devices[device].assists[&request].times();
    assert_eq!(start, ROUND_TRIP);
    assert!(rest <= 3 * ROUND_TRIP, "{rest:?}");
}

#[test]
fn a_server_waits_for_three_round_trips() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        let (mut world, device) = serving(354);
        slow(&mut world, device);
        let request = serve(&mut world, device, 50_001, &Caller { versions, ..Caller::of(TERMINAL) });
        let assist = &world.devices[device].assists[&request];
        let (start, rest) = assist.times();
        assert_eq!((start, assist.steps[0]), (ROUND_TRIP, Step::KEY_GENERATION));
        assert!(rest <= 2 * ROUND_TRIP, "{versions:?}: {rest:?}");
        let keys = &world.devices[device].keys[&request];
        assert_eq!((keys.role, keys.method), (Role::SERVER, ProofMethod::ANONYMOUS));
        assert_eq!((keys.remote, keys.server_name.as_deref()), (caller_address(50_001), Some(TERMINAL)));
        world.talk(device, request, b"up", b"down");
        assert_eq!(world.reached, 0);
    }
}

#[test]
fn a_server_that_demands_a_certificate() {
    let (mut world, device) =
        serving_with(355, |_| {}, |service, pki| service.clients = Some(trust(pki, "clients").into()));
    for (port, versions) in [(50_001, Versions::Tls12), (50_002, Versions::Tls13)] {
        let certificate = Some(Leaf::of("control.example"));
        let request = serve(&mut world, device, port, &Caller { versions, certificate, ..Caller::of(TERMINAL) });
        assert_eq!(world.devices[device].keys[&request].peer, "control.example");
        let steps = &world.devices[device].assists[&request].steps;
        assert_eq!(steps[..2], [Step::AUTHENTICATION, Step::KEY_GENERATION]);
        world.talk(device, request, b"up", b"down");
    }
    let request = world.assist_server(device, caller_address(50_009), listen(), &Caller::of(TERMINAL));
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(request), "client-certificate-required");
    let flow = world.devices[device].flows[&request];
    assert!(world.wires[&flow].peer.as_ref().unwrap().failure.is_some(), "the client heard why");
}

/// Whether the terminal reads on while the keys are on their way or not, nothing of the peer's is lost.
#[test]
fn what_the_peer_says_meanwhile_reaches_the_terminal() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        for reads_on in [false, true] {
            for greeting in [b"220 server.example ESMTP\r\n".to_vec(), vec![0x42; 9_000]] {
                let mut world = World::new(356);
                let device = world.add_device();
                let behaviour = PeerBehaviour { versions, greeting: greeting.clone(), ..Default::default() };
                world.peers.insert(server_address(), behaviour);
                let request = world.assist(device, 40_001);
                world.devices[device].assists.get_mut(&request).unwrap().reads_on = reads_on;
                world.run(A_WHILE);
                world.assert_session(device, request);
                let stream = world.wire(device, request).peer.as_mut().unwrap().drain();
                let now = world.now;
                let session = world.devices[device].sessions.get_mut(&request).unwrap();
                assert!(read(session, now, &stream) == greeting, "{versions:?}, {reads_on}");
                world.talk(device, request, b"up", b"down");
            }
        }
    }
}

#[test]
fn what_the_client_says_behind_its_finished_reaches_the_terminal() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        let (mut world, device) = serving(357);
        let greeting = b"GET / HTTP/1.1\r\n\r\n".to_vec();
        let request =
            serve(&mut world, device, 50_001, &Caller { versions, greeting: greeting.clone(), ..Caller::of(TERMINAL) });
        let stream = world.wire(device, request).peer.as_mut().unwrap().drain();
        let now = world.now;
        let session = world.devices[device].sessions.get_mut(&request).unwrap();
        assert_eq!(read(session, now, &stream), greeting);
    }
}

/// A chain that takes many pieces side by side still takes one round trip.
#[test]
fn a_long_flight_goes_side_by_side() {
    let mut world = World::new(358);
    let device = world.add_device();
    let mut names: Vec<String> = (0..150).map(|number| format!("name-{number}.server.example")).collect();
    names.push(SERVER.to_owned());
    slow(&mut world, device);
    world.peers.insert(server_address(), PeerBehaviour { names, ..Default::default() });
    let request = world.assist(device, 40_001);
    world.run(A_WHILE);
    world.assert_session(device, request);
    let (_, rest) = world.devices[device].assists[&request].times();
    assert!(rest <= 2 * ROUND_TRIP, "{rest:?}");
}

#[test]
fn alpn_is_what_the_peer_chose() {
    let mut world = World::new(359);
    let device = world.add_device();
    world.peers.insert(server_address(), PeerBehaviour { alpn: vec![b"mqtt".to_vec()], ..Default::default() });
    let alpn = vec!["h2".to_owned(), "mqtt".to_owned()];
    let request = world.assist_as(device, Connect { alpn, ..both_versions(40_001) });
    world.run(A_WHILE);
    assert_eq!(world.devices[device].keys[&request].alpn.as_deref(), Some("mqtt"));
}

/// Many at once over one channel.
#[test]
fn side_by_side() {
    let (mut world, device) = serving(360);
    let mut requests = Vec::new();
    for number in 0..8 {
        requests.push(world.assist(device, 40_000 + number));
        let caller = caller_address(50_000 + number);
        requests.push(world.assist_server(device, caller, listen(), &Caller::of(TERMINAL)));
        world.connect(device, 41_000 + number);
    }
    world.run(Duration::from_secs(10));
    for request in requests {
        world.assert_session(device, request);
        world.talk(device, request, b"up", b"down");
    }
    assert_eq!(world.gateway.stats().sessions_delivered, 24);
}
