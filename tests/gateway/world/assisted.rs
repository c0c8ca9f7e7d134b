//! Terminals that hold TCP themselves and carry the bytes of the handshake over their channel. The peer answers at once:
//! all the time that passes is the channel's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use keyferry_channel::{Instant, RequestId};
use keyferry_parsers::messages::{Binding, Connect, Listen, PeerName, SessionId, Step};
use keyferry_terminal::client::{Input, Start};

use super::peer::{Caller, Peer};
use super::{A_WHILE, PORT, SERVER, World};

/// What became of one handshake, and when.
#[derive(Debug)]
pub struct Assistance {
    pub asked: Instant,
    pub started: Option<Instant>,
    pub key_needed: Option<Instant>,
    pub done: Option<Instant>,
    pub session: Option<SessionId>,
    /// The steps that the gateway said it needs, with those of the start.
    pub steps: Vec<Step>,
    pub address: Option<IpAddr>,
    /// Off: nothing more is read from the peer once the keys can be asked for.
    pub reads_on: bool,
    closed: bool,
    due: bool,
}

impl Assistance {
    fn new(asked: Instant) -> Self {
        Self {
            asked,
            started: None,
            key_needed: None,
            done: None,
            session: None,
            steps: Vec::new(),
            address: None,
            reads_on: true,
            closed: false,
            due: false,
        }
    }

    pub(super) fn needs(&mut self, step: Step, now: Instant) {
        self.steps.push(step);
        if step == Step::KEY {
            self.key_needed = Some(now);
        }
    }

    pub(super) fn done(&mut self, now: Instant) {
        self.done = Some(now);
    }

    /// The peer may have said something.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    pub(super) fn carried(&mut self) {
        self.due = false;
    }

    /// From the request to the consent, and from there to the keys.
    pub fn times(&self) -> (Duration, Duration) {
        let started = self.started.expect("it started");
        let done = self.done.expect("it is done");
        (started.saturating_duration_since(self.asked), done.saturating_duration_since(started))
    }
}

impl World {
    /// A device that speaks both versions wants [`SERVER`]:443 and holds TCP itself.
    pub fn assist(&mut self, device: usize, source_port: u16) -> RequestId {
        self.assist_as(device, both_versions(source_port))
    }

    pub fn assist_as(&mut self, device: usize, connect: Connect) -> RequestId {
        let id = self.number(device, (connect.source_port, connect.port));
        self.devices[device].assists.insert(id, Assistance::new(self.now));
        self.tell_device(device, Input::Assist { id, start: Start::Client(connect) });
        id
    }

    /// A device has accepted a connection by itself.
    pub fn assist_server(&mut self, device: usize, remote: SocketAddr, listen: Listen, caller: &Caller) -> RequestId {
        let local = SocketAddr::new(self.devices[device].address.ip(), PORT);
        let id = self.number(device, (PORT, remote.port()));
        let mut peer = Peer::client(&self.pki, caller);
        let bytes = peer.flow();
        let flow = self.new_wire(local, remote, Some(peer));
        self.devices[device].flows.insert(id, flow);
        self.devices[device].assists.insert(id, Assistance::new(self.now));
        let start = Start::Server { listen, binding: Binding { local, remote }, bytes };
        self.tell_device(device, Input::Assist { id, start });
        id
    }

    /// Runs a request for a session that must come to be.
    #[track_caller]
    pub fn establish_assisted(&mut self, device: usize, source_port: u16) -> RequestId {
        let request = self.assist(device, source_port);
        self.run(A_WHILE);
        self.assert_session(device, request);
        request
    }

    /// The device sees that its peer has closed, if it has.
    pub fn close_assisted(&mut self, device: usize, id: RequestId) {
        self.carry(device, id);
    }

    pub(super) fn assisted(
        &mut self,
        device: usize,
        id: RequestId,
        session: SessionId,
        needed: Vec<Step>,
        address: Option<IpAddr>,
    ) {
        let (now, own) = (self.now, self.devices[device].address.ip());
        let assist = self.devices[device].assists.get_mut(&id).unwrap();
        assist.started = Some(now);
        assist.session = Some(session);
        assist.steps = needed;
        assist.address = address;
        let Some(address) = address else { return };
        let (source_port, port) = self.devices[device].asked(id);
        let (local, remote) = (SocketAddr::new(own, source_port), SocketAddr::new(address, port));
        let peer = self.server_at(remote);
        let flow = self.new_wire(local, remote, peer);
        self.devices[device].flows.insert(id, flow);
        self.tell_device(device, Input::PeerOpened { id, binding: Binding { local, remote } });
    }

    pub(super) fn write_to_peer(&mut self, device: usize, id: RequestId, bytes: &[u8]) {
        // Without an address there is no connection.
        let Some(flow) = self.devices[device].flows.get(&id).copied() else { return };
        if let Some(peer) = self.wires.get_mut(&flow).and_then(|wire| wire.peer.as_mut()) {
            peer.receive(bytes);
        }
        self.devices[device].assists.get_mut(&id).unwrap().due = true;
    }

    /// What the peer has to say goes to the device's library.
    pub(super) fn carry(&mut self, device: usize, id: RequestId) {
        let assist = &self.devices[device].assists[&id];
        if assist.done.is_some() || (assist.key_needed.is_some() && !assist.reads_on) {
            return;
        }
        let flow = self.devices[device].flows[&id];
        let Some(peer) = self.wires.get_mut(&flow).and_then(|wire| wire.peer.as_mut()) else { return };
        let (bytes, closed) = (peer.flow(), peer.is_closed());
        if !bytes.is_empty() {
            self.tell_device(device, Input::PeerBytes { id, bytes: &bytes });
        }
        let assist = self.devices[device].assists.get_mut(&id).unwrap();
        if closed && !std::mem::replace(&mut assist.closed, true) {
            self.tell_device(device, Input::PeerClosed { id });
        }
    }
}

/// The request of a device that speaks both versions.
pub fn both_versions(source_port: u16) -> Connect {
    let mut connect = Connect::new(PeerName::Name(SERVER.to_owned()), 443, source_port);
    connect.oldest_version = keyferry_parsers::tls::ProtocolVersion::TLS_1_2;
    connect
}
