//! New revocation lists count from the next handshake on, for servers and clients alike.

use keyferry::error::Reason;
use keyferry::gateway::Input;

use crate::world::{
    A_WHILE, Caller, Leaf, PeerBehaviour, Stop, TERMINAL, Versions, World, both_versions, server_address, serving_with,
    trust,
};

const SERIAL: u64 = 66;

fn publish(world: &mut World, trust: &str, lists: Vec<Vec<u8>>) {
    world.tell(Input::RevocationLists { trust: trust.to_owned(), lists });
}

#[test]
fn a_server_that_is_revoked_meanwhile() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        let mut world = World::new(321);
        let device = world.add_device();
        world.peers.insert(server_address(), PeerBehaviour { versions, serial: SERIAL, ..Default::default() });
        let request = world.request(device, both_versions(40_001));
        world.run(A_WHILE);
        world.assert_session(device, request);

        let list = world.pki.revocation_list(&[SERIAL], 2040);
        publish(&mut world, "lab", vec![list]);
        let refused = world.request(device, both_versions(40_002));
        world.run(A_WHILE);
        assert_eq!(world.devices[device].reason(refused), Reason::CERTIFICATE_REVOKED.to_string());
        let refused = world.assist(device, 40_003);
        world.run(A_WHILE);
        assert_eq!(world.devices[device].reason(refused), Reason::CERTIFICATE_REVOKED.to_string());
        // The session that runs is the terminal's.
        world.talk(device, request, b"up", b"down");

        // Pardoned.
        let list = world.pki.revocation_list(&[1], 2040);
        publish(&mut world, "lab", vec![list]);
        let request = world.request(device, both_versions(40_004));
        world.run(A_WHILE);
        world.assert_session(device, request);
    }
}

/// Whoever was judged by the old list and has no keys yet is judged anew.
#[test]
fn a_server_that_is_revoked_in_the_middle() {
    for (after, other_trust) in [(0, false), (1, false), (1, true)] {
        let mut world = World::new(326);
        let device = world.add_device();
        let stalls = PeerBehaviour { serial: SERIAL, stops_after: Some((after, Stop::Stall)), ..Default::default() };
        world.peers.insert(server_address(), stalls);
        let inline = world.request(device, both_versions(40_001));
        let assisted = world.assist(device, 40_002);
        world.run(A_WHILE);
        let list = world.pki.revocation_list(&[SERIAL], 2040);
        publish(&mut world, if other_trust { "other" } else { "lab" }, vec![list]);
        world.run(A_WHILE);
        for request in [inline, assisted] {
            let reason = world.devices[device].reason(request);
            assert_eq!(reason == Reason::REVOCATION_UNKNOWN.to_string(), !other_trust, "{reason}");
        }
    }
}

#[test]
fn no_lists_at_all_leave_the_old_ones_in_force() {
    let mut world = World::new(327);
    let device = world.add_device();
    world.peers.insert(server_address(), PeerBehaviour { serial: SERIAL, ..Default::default() });
    let list = world.pki.revocation_list(&[SERIAL], 2040);
    publish(&mut world, "lab", vec![list]);
    publish(&mut world, "lab", vec![]);
    let refused = world.connect(device, 40_001);
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(refused), "certificate-revoked");
}

#[test]
fn lists_of_another_trust_change_nothing() {
    let mut world = World::new(322);
    let device = world.add_device();
    world.peers.insert(server_address(), PeerBehaviour { serial: SERIAL, ..Default::default() });
    let list = world.pki.revocation_list(&[SERIAL], 2040);
    publish(&mut world, "other", vec![list]);
    world.establish(device, 40_001);
}

#[test]
fn lists_that_are_none_leave_the_old_ones_in_force() {
    let mut world = World::new(323);
    let device = world.add_device();
    world.peers.insert(server_address(), PeerBehaviour { serial: SERIAL, ..Default::default() });
    let list = world.pki.revocation_list(&[SERIAL], 2040);
    publish(&mut world, "lab", vec![list]);
    publish(&mut world, "lab", vec![b"not a list".to_vec()]);
    let refused = world.connect(device, 40_001);
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(refused), "certificate-revoked");
}

#[test]
fn a_list_that_runs_out() {
    let mut world = World::new(324);
    let device = world.add_device();
    let list = world.pki.revocation_list(&[1], 2028);
    publish(&mut world, "lab", vec![list]);
    world.establish(device, 40_001);
    world.unix += std::time::Duration::from_secs(366 * 86_400);
    let refused = world.connect(device, 40_002);
    world.run(A_WHILE);
    assert_eq!(world.devices[device].reason(refused), "revocation-unknown");
}

#[test]
fn a_client_that_is_revoked_meanwhile() {
    let (mut world, device) =
        serving_with(325, |_| {}, |service, pki| service.clients = Some(trust(pki, "clients").into()));
    let certificate = Some(Leaf { serial: SERIAL, ..Leaf::of("control.example") });
    let caller = Caller { certificate, ..Caller::of(TERMINAL) };
    let session = world.answer(device, 50_001, &caller);
    let list = world.pki.revocation_list(&[SERIAL], 2040);
    publish(&mut world, "clients", vec![list]);
    let flow = world.call(device, 50_002, &caller);
    world.run(A_WHILE);
    assert!(world.wires[&flow].reset && !world.wires[&flow].reached);
    let said = world.wires[&flow].peer.as_ref().unwrap().failure.clone().unwrap();
    assert!(said.contains("CertificateRevoked"), "{said}");
    world.talk(device, session, b"up", b"down");
}
