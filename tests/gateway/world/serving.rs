//! Terminals as servers: their certificates and ports, and the peers that connect to them.

use std::net::SocketAddr;
use std::sync::Arc;

use keyferry::crypto::SUITES;
use keyferry::gateway::{FlowId, Input, Settings};
use keyferry::policy::{Service, TerminalPattern};
use keyferry_channel::RequestId;
use keyferry_parsers::messages::{Handover, Listen};
use keyferry_parsers::tls::{NamedGroup, ProtocolVersion};
use keyferry_terminal::Session;
use keyferry_terminal::client::Input as DeviceInput;

use super::device::Keys;
use super::peer::{Caller, Peer};
use super::{A_WHILE, Leaf, Pki, World, ip, rule_for};

/// What terminals are called in their certificates.
pub const TERMINAL: &str = "meter.example";
/// Where they serve.
pub const PORT: u16 = 8443;

/// A world with one service on [`PORT`], and a terminal that has a certificate for [`TERMINAL`] and listens there.
pub fn serving(seed: u64) -> (World, usize) {
    serving_with(seed, |_| {}, |_, _| {})
}

/// The same, with settings and the service adjusted.
pub fn serving_with(
    seed: u64,
    adjust: impl FnOnce(&mut Settings),
    change: impl FnOnce(&mut Service, &Pki),
) -> (World, usize) {
    let pki = Pki::new();
    let mut service = service();
    change(&mut service, &pki);
    let rule = rule_for(&pki);
    let mut world = World::with_services(seed, adjust, pki, vec![rule], vec![service]);
    let device = world.add_device();
    world.give_certificate(device, "own", &Leaf::of(TERMINAL));
    let listening = world.listen(device);
    world.run(A_WHILE);
    assert_eq!(world.devices[device].listening[&listening].len(), 1);
    (world, device)
}

fn service() -> Service {
    Service {
        terminals: vec![TerminalPattern::Any],
        ports: vec![PORT],
        peers: Vec::new(),
        names: Vec::new(),
        clients: None,
        client_names: Vec::new(),
        alpn: Vec::new(),
        without_request: false,
        key_exchange: vec![NamedGroup::X25519],
        cipher_suites: SUITES.to_vec(),
        session_seconds: 86_400,
    }
}

/// Where callers are, unless a test says otherwise.
pub fn caller_address(port: u16) -> SocketAddr {
    SocketAddr::new(ip("10.7.2.9"), port)
}

impl World {
    /// The operator gives a terminal a certificate.
    pub fn give_certificate(&mut self, device: usize, label: &str, leaf: &Leaf) {
        let (credential, key) = self.pki.credential(label, leaf);
        let owner = self.devices[device].record.id.to_string();
        self.signer.insert(&owner, Arc::clone(&credential), &key).unwrap();
        self.private_keys.push(key.as_bytes().to_vec());
        let credentials = &mut self.devices[device].credentials;
        credentials.retain(|old| old.name != label);
        credentials.push(credential);
        self.tell_credentials(device);
    }

    pub fn give_rogue_certificate(&mut self, rogue: usize, leaf: &Leaf) {
        let terminal = self.rogues[rogue].record.id.clone();
        let (credential, key) = self.pki.credential("own", leaf);
        self.signer.insert(terminal.as_str(), Arc::clone(&credential), &key).unwrap();
        self.tell(Input::Credentials { terminal, credentials: vec![credential] });
    }

    /// The gateway hears from its store which certificates a terminal has.
    pub fn tell_credentials(&mut self, device: usize) {
        let terminal = self.devices[device].record.id.clone();
        let credentials = self.devices[device].credentials.clone();
        self.tell(Input::Credentials { terminal, credentials });
    }

    /// A device that speaks both versions listens on [`PORT`].
    pub fn listen(&mut self, device: usize) -> RequestId {
        self.listen_as(device, Listen { oldest_version: ProtocolVersion::TLS_1_2, ..Listen::new(PORT) })
    }

    pub fn listen_as(&mut self, device: usize, listen: Listen) -> RequestId {
        let id = self.number(device, (listen.port, 0));
        self.tell_device(device, DeviceInput::Listen { id, listen });
        id
    }

    /// A device gives up a port or a request.
    pub fn cancel(&mut self, device: usize, id: RequestId) {
        self.tell_device(device, DeviceInput::Cancel { id });
    }

    /// A peer connects to a terminal's [`PORT`].
    pub fn call(&mut self, device: usize, port: u16, caller: &Caller) -> FlowId {
        self.call_from(device, caller_address(port), caller)
    }

    pub fn call_from(&mut self, device: usize, remote: SocketAddr, caller: &Caller) -> FlowId {
        let local = SocketAddr::new(self.devices[device].address.ip(), PORT);
        let peer = Peer::client(&self.pki, caller);
        self.call_tcp(local, remote, peer)
    }

    /// A call that must become a session; its number.
    #[track_caller]
    pub fn answer(&mut self, device: usize, port: u16, caller: &Caller) -> RequestId {
        let before = self.devices[device].incoming.len();
        let flow = self.call(device, port, caller);
        self.run(A_WHILE);
        let said = self.wires[&flow].peer.as_ref().and_then(|peer| peer.failure.clone());
        assert_eq!(self.devices[device].incoming.len(), before + 1, "no session; the caller says {said:?}");
        self.devices[device].incoming[before]
    }

    pub(super) fn incoming(&mut self, device: usize, handover: Handover) {
        let keys = Keys::of(&handover);
        let mut wires = self.wires.iter();
        let is_its = |(_, wire): &(&FlowId, &super::Wire)| {
            wire.terminal == keys.local && wire.remote == keys.remote && wire.reached && !wire.reset
        };
        let Some((flow, _)) = wires.find(is_its) else {
            self.devices[device].strays += 1;
            return;
        };
        let flow = *flow;
        let id = self.number(device, (keys.local.port(), keys.remote.port()));
        let session = Session::new(handover, self.now).unwrap();
        let device = &mut self.devices[device];
        device.incoming.push(id);
        device.flows.insert(id, flow);
        device.keys.insert(id, keys);
        device.sessions.insert(id, session);
    }
}
