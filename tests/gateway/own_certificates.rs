//! Terminals that prove to servers who they are, with keys that only the signer has.

use std::sync::Arc;

use keyferry::error::{Error, Reason};
use keyferry::signer::{Credential, LocalSigner, Opened, Signer, SigningRequest};
use keyferry_channel::RequestId;

use crate::world::{
    A_WHILE, Caller, Clients, Leaf, PeerBehaviour, TERMINAL, Versions, World, both_versions, server_address, serving,
};

const BOTH: [Versions; 2] = [Versions::Tls12, Versions::Tls13];

fn demanding(versions: Versions) -> PeerBehaviour {
    PeerBehaviour { versions, clients: Clients::Demanded, ..Default::default() }
}

/// A terminal with a certificate, and a server that demands one.
fn world(seed: u64, server: PeerBehaviour) -> (World, usize) {
    let mut world = World::new(seed);
    let device = world.add_device();
    world.give_certificate(device, "own", &Leaf::of(TERMINAL));
    world.peers.insert(server_address(), server);
    (world, device)
}

fn ask(world: &mut World, device: usize, port: u16) -> RequestId {
    let request = world.request(device, both_versions(port));
    world.run(A_WHILE);
    request
}

/// The certificate that the server saw.
fn shown(world: &mut World, device: usize, request: RequestId) -> Option<Vec<u8>> {
    world.wire(device, request).peer.as_ref().unwrap().certificate().map(<[u8]>::to_vec)
}

#[test]
fn the_server_sees_who_the_terminal_is() {
    for versions in BOTH {
        let (mut world, device) = world(311, demanding(versions));
        let request = ask(&mut world, device, 40_001);
        world.assert_session(device, request);
        let own = world.devices[device].credentials[0].chain[0].clone();
        assert_eq!(shown(&mut world, device, request), Some(own));
        world.talk(device, request, b"up", b"down");

        let request = world.establish_assisted(device, 40_002);
        assert!(shown(&mut world, device, request).is_some());
        world.talk(device, request, b"up", b"down");
    }
}

#[test]
fn a_server_that_does_not_ask_sees_nothing() {
    let (mut world, device) = world(312, PeerBehaviour::default());
    let request = ask(&mut world, device, 40_001);
    assert_eq!(shown(&mut world, device, request), None);
}

#[test]
fn a_terminal_without_certificate() {
    for versions in BOTH {
        let mut world = World::new(313);
        let device = world.add_device();
        world.peers.insert(server_address(), demanding(versions));
        let request = ask(&mut world, device, 40_001);
        // In TLS 1.3 the server says so after the client's Finished: the terminal's session ends with its alert.
        if versions == Versions::Tls12 {
            assert_eq!(world.devices[device].reason(request), "client-certificate-required");
        }
        assert!(world.wire(device, request).peer.as_ref().unwrap().failure.is_some());
        let asking = PeerBehaviour { clients: Clients::Asked, ..demanding(versions) };
        world.peers.insert(server_address(), asking);
        let request = ask(&mut world, device, 40_002);
        world.talk(device, request, b"up", b"down");
    }
}

#[test]
fn a_rule_that_keeps_it_secret() {
    for versions in BOTH {
        let mut world = World::with(314, |_| {}, |rule| rule.client_certificate = false);
        let device = world.add_device();
        world.give_certificate(device, "own", &Leaf::of(TERMINAL));
        world.peers.insert(server_address(), PeerBehaviour { clients: Clients::Asked, ..demanding(versions) });
        let request = ask(&mut world, device, 40_001);
        world.assert_session(device, request);
        assert_eq!(shown(&mut world, device, request), None);
    }
}

/// One terminal's certificate is not another's.
#[test]
fn of_another_terminal() {
    let (mut world, device) = world(315, demanding(Versions::Tls13));
    let other = world.add_device();
    let request = ask(&mut world, other, 40_001);
    assert_eq!(shown(&mut world, other, request), None);
    let request = ask(&mut world, device, 40_001);
    assert!(shown(&mut world, device, request).is_some());
}

/// Refuses at one of its two doors.
struct Refusing {
    inner: Arc<LocalSigner>,
    opens: bool,
    reason: Reason,
}

impl Signer for Refusing {
    fn open(&self, owner: &str) -> Result<Opened, Error> {
        if self.opens { self.inner.open(owner) } else { Err(Error::new(self.reason, "no")) }
    }

    fn sign(&self, _: &SigningRequest) -> Result<Vec<u8>, Error> {
        Err(Error::new(self.reason, "no"))
    }

    fn close(&self, handshake: u64) {
        self.inner.close(handshake);
    }
}

/// Knows which handshakes are open at the signer.
struct Counting {
    inner: Arc<LocalSigner>,
    open: std::sync::Mutex<std::collections::BTreeSet<u64>>,
}

impl Signer for Counting {
    fn open(&self, owner: &str) -> Result<Opened, Error> {
        let opened = self.inner.open(owner)?;
        self.open.lock().unwrap().insert(opened.handshake);
        Ok(opened)
    }

    fn sign(&self, request: &SigningRequest) -> Result<Vec<u8>, Error> {
        self.open.lock().unwrap().remove(&request.handshake);
        self.inner.sign(request)
    }

    fn close(&self, handshake: u64) {
        self.open.lock().unwrap().remove(&handshake);
        self.inner.close(handshake);
    }
}

/// Whoever begins handshakes and leaves would fill the signer with them.
#[test]
fn handshakes_that_come_to_nothing_do_not_stay_open_at_the_signer() {
    let (mut world, device) = crate::world::serving(348);
    let signer = Arc::new(Counting { inner: Arc::clone(&world.signer), open: Default::default() });
    world.gateway.set_signer(signer.clone());
    for after in 0..3 {
        let leaves = crate::world::Caller {
            stops_after: Some((after, crate::world::Stop::Stall)),
            ..crate::world::Caller::of(crate::world::TERMINAL)
        };
        world.call(device, 50_001 + after as u16, &leaves);
    }
    // A server that asks for no certificate.
    world.establish(device, 40_001);
    world.run(std::time::Duration::from_secs(12));
    assert!(signer.open.lock().unwrap().is_empty());
}

fn refusing(world: &mut World, opens: bool, reason: Reason) {
    let inner = Arc::clone(&world.signer);
    world.gateway.set_signer(Arc::new(Refusing { inner, opens, reason }));
}

#[test]
fn a_signer_that_refuses_ends_it_without_a_key() {
    for reason in [Reason::SIGNER_REFUSED, Reason::SIGNER_UNAVAILABLE] {
        for opens in [false, true] {
            for versions in BOTH {
                let (mut world, device) = world(316, demanding(versions));
                refusing(&mut world, opens, reason);
                let request = ask(&mut world, device, 40_001);
                assert_eq!(world.devices[device].reason(request), reason.to_string(), "{opens} {versions:?}");
                let assisted = world.assist(device, 40_002);
                world.run(A_WHILE);
                assert_eq!(world.devices[device].reason(assisted), reason.to_string(), "{opens} {versions:?}");
                assert!(world.devices[device].keys.is_empty());
                assert_eq!(world.gateway.view().handshakes, 0);

                let (mut world, device) = serving(317);
                refusing(&mut world, opens, reason);
                let flow = world.call(device, 50_001, &Caller { versions, ..Caller::of(TERMINAL) });
                world.run(A_WHILE);
                let wire = &world.wires[&flow];
                assert!(wire.reset && !wire.reached && world.devices[device].keys.is_empty());
                let counted = &world.gateway.stats().handshakes;
                assert!(counted.keys().any(|kind| kind.failure == Some(reason)), "{counted:?}");
            }
        }
    }
}

/// The gateway knows a certificate whose key the signer has not, or no longer.
#[test]
fn a_key_that_the_signer_has_not() {
    let (mut world, device) = world(318, demanding(Versions::Tls13));
    world.signer.remove("meter-0", "own");
    let request = ask(&mut world, device, 40_001);
    assert_eq!(world.devices[device].reason(request), "signer-refused");

    let (credential, _): (Arc<Credential>, _) = world.pki.credential("stolen", &Leaf::of(TERMINAL));
    world.give_certificate(device, "own", &Leaf::of(TERMINAL));
    world.devices[device].credentials = vec![credential];
    world.tell_credentials(device);
    let request = ask(&mut world, device, 40_002);
    assert_eq!(world.devices[device].reason(request), "signer-refused");
    assert!(world.devices[device].keys.is_empty());
}

/// Sessions that run do not end with the certificate they began with.
#[test]
fn a_new_certificate_counts_from_the_next_handshake_on() {
    let (mut world, device) = world(319, demanding(Versions::Tls13));
    let first = ask(&mut world, device, 40_001);
    let before = shown(&mut world, device, first);
    world.give_certificate(device, "own", &Leaf { serial: 4712, ..Leaf::of(TERMINAL) });
    let second = ask(&mut world, device, 40_002);
    let after = shown(&mut world, device, second);
    assert!(before.is_some() && after.is_some() && before != after);
    world.talk(device, first, b"up", b"down");
}
