//! Services that demand certificates of their clients.

use keyferry::error::Reason;
use keyferry::gateway::FlowId;
use keyferry::policy::Trust;
use keyferry::stats::HandshakeKind;
use keyferry_parsers::messages::ProofMethod;

use crate::world::{A_WHILE, Caller, Leaf, TERMINAL, Versions, World, serving_with, trust};

const CLIENT: &str = "control.example";

fn demanding(seed: u64, change: impl FnOnce(&mut Trust, &crate::world::Pki)) -> (World, usize) {
    serving_with(
        seed,
        |_| {},
        |service, pki| {
            let mut clients = trust(pki, "clients");
            change(&mut clients, pki);
            service.clients = Some(clients.into());
            service.client_names = vec![CLIENT.to_owned()];
        },
    )
}

fn caller(versions: Versions, certificate: Option<Leaf>) -> Caller {
    Caller { versions, certificate, ..Caller::of(TERMINAL) }
}

#[track_caller]
fn refused(world: &mut World, flow: FlowId, reason: Reason) {
    world.run(A_WHILE);
    let wire = &world.wires[&flow];
    let said = wire.peer.as_ref().unwrap().failure.as_deref();
    let counted = &world.gateway.stats().handshakes;
    let kind = HandshakeKind { protocol: "tls", role: "server", failure: Some(reason) };
    assert_eq!(counted.get(&kind), Some(&1), "{counted:?}, the client says {said:?}");
    assert!(wire.reset && !wire.reached && !wire.handed_over);
    assert!(said.is_some(), "the client got no alert");
    assert!(world.devices[0].keys.is_empty());
    assert_eq!(world.gateway.view().handshakes, 0);
}

#[test]
fn a_client_with_a_good_certificate() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        let (mut world, device) = demanding(261, |_, _| {});
        let session = world.answer(device, 50_001, &caller(versions, Some(Leaf::of(CLIENT))));
        let keys = &world.devices[device].keys[&session];
        assert_eq!((keys.method, keys.peer.as_str()), (ProofMethod::CA_VERIFIED_NAME, CLIENT));
        world.talk(device, session, b"up", b"down");
    }
}

#[test]
fn certificates_that_prove_nothing() {
    let good = || Leaf::of(CLIENT);
    let cases = [
        (None, Reason::CLIENT_CERTIFICATE_REQUIRED),
        (Some(Leaf { stranger: true, ..good() }), Reason::CERTIFICATE_UNKNOWN_CA),
        (Some(Leaf { validity: (2020, 2021), ..good() }), Reason::CERTIFICATE_EXPIRED),
        (Some(Leaf { validity: (2035, 2036), ..good() }), Reason::CERTIFICATE_NOT_YET_VALID),
        (Some(Leaf::of("somebody.example")), Reason::CLIENT_NOT_ALLOWED),
    ];
    for versions in [Versions::Tls12, Versions::Tls13] {
        for (certificate, reason) in &cases {
            let (mut world, device) = demanding(262, |_, _| {});
            let flow = world.call(device, 50_001, &caller(versions, certificate.clone()));
            refused(&mut world, flow, *reason);
        }
    }
}

#[test]
fn revoked_by_a_list() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        let (mut world, device) = demanding(263, |trust, pki| trust.crls = vec![pki.revocation_list(&[66], 2040)]);
        let flow = world.call(device, 50_001, &caller(versions, Some(Leaf { serial: 66, ..Leaf::of(CLIENT) })));
        refused(&mut world, flow, Reason::CERTIFICATE_REVOKED);
        world.answer(device, 50_002, &caller(versions, Some(Leaf { serial: 67, ..Leaf::of(CLIENT) })));
    }
}

#[test]
fn a_list_that_has_expired_speaks_for_nobody() {
    let (mut world, device) = demanding(264, |trust, pki| trust.crls = vec![pki.revocation_list(&[], 2026)]);
    let flow = world.call(device, 50_001, &caller(Versions::Both, Some(Leaf::of(CLIENT))));
    refused(&mut world, flow, Reason::REVOCATION_UNKNOWN);
}

/// Where nobody is named, whoever the CA proves may come.
#[test]
fn any_client_of_the_ca() {
    let (mut world, device) =
        serving_with(265, |_| {}, |service, pki| service.clients = Some(trust(pki, "clients").into()));
    let session = world.answer(device, 50_001, &caller(Versions::Both, Some(Leaf::of("anybody.example"))));
    assert_eq!(world.devices[device].keys[&session].peer, "anybody.example");
}
