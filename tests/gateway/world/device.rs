//! A terminal: the device library, and what its user was told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keyferry::gateway::FlowId;
use keyferry::signer::Credential;
use keyferry::terminals::{Path, TerminalRecord};
use keyferry_channel::{Endpoint, Id, Instant, RequestId, State};
use keyferry_parsers::messages::{
    Connect, ConnectAnswer, Echo, Handover, Limits, PeerName, ProofMethod, Role, SessionId,
};
use keyferry_parsers::tls::ProtocolVersion;
use keyferry_terminal::client::{Event, Input, Output, Terminal, Why};
use keyferry_terminal::{Event as SessionEvent, Session};

use super::assisted::Assistance;
use super::driver::Accepts;
use super::{GATEWAY_ID, SERVER, Wire, World, from};

/// One device: the terminal library and what it has been told.
pub struct Device {
    pub record: TerminalRecord,
    pub address: SocketAddr,
    pub terminal: Terminal,
    /// Off: it takes offers and never opens TCP.
    pub opens_tcp: bool,
    pub accepts: Accepts,
    /// What the operator gave it, by its chain alone.
    pub credentials: Vec<Arc<Credential>>,
    /// Every consent to its listening: seconds granted.
    pub listening: BTreeMap<RequestId, Vec<u32>>,
    /// The sessions that peers began, in order; numbered like requests.
    pub incoming: Vec<RequestId>,
    /// Keys that its library took for a connection that never came.
    pub strays: usize,
    pub assists: BTreeMap<RequestId, Assistance>,
    /// Tickets that came in its sessions.
    pub tickets: Vec<(SessionId, Vec<u8>)>,
    pub offers: BTreeMap<RequestId, ConnectAnswer>,
    pub flows: BTreeMap<RequestId, FlowId>,
    pub sessions: BTreeMap<RequestId, Session>,
    pub keys: BTreeMap<RequestId, Keys>,
    pub failures: BTreeMap<RequestId, Why>,
    pub echoed: Vec<RequestId>,
    /// Source and destination port of each request.
    asked: BTreeMap<RequestId, (u16, u16)>,
    next: u64,
}

/// What a hand-over said, kept for comparison.
pub struct Keys {
    pub session: u32,
    pub tx_secret: Vec<u8>,
    pub rx_secret: Vec<u8>,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub suite: u16,
    pub alpn: Option<String>,
    pub peer: String,
    pub method: ProofMethod,
    pub version: ProtocolVersion,
    pub role: Role,
    pub server_name: Option<String>,
    pub limits: Limits,
    pub resumable: bool,
}

impl Device {
    pub(super) fn new(record: TerminalRecord, address: SocketAddr, state: State, seed: u64, now: Instant) -> Self {
        let settings = keyferry_channel::Settings {
            own: record.kid,
            peer: Id::try_from(GATEWAY_ID).unwrap(),
            handovers_per_epoch: 8,
            epoch_lifetime: Duration::MAX,
        };
        let mut bytes = [0x5a; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let endpoint = Endpoint::new(settings, state, bytes, now);
        Self {
            record,
            address,
            terminal: Terminal::new(endpoint, 2048, now),
            opens_tcp: true,
            accepts: Accepts::Yes,
            credentials: Vec::new(),
            listening: BTreeMap::new(),
            incoming: Vec::new(),
            strays: 0,
            assists: BTreeMap::new(),
            tickets: Vec::new(),
            offers: BTreeMap::new(),
            flows: BTreeMap::new(),
            sessions: BTreeMap::new(),
            keys: BTreeMap::new(),
            failures: BTreeMap::new(),
            echoed: Vec::new(),
            asked: BTreeMap::new(),
            next: 0,
        }
    }

    /// The reason of a failed request, as its stable name.
    pub fn reason(&self, id: RequestId) -> String {
        match self.failures.get(&id) {
            Some(Why::Failure(failure)) => failure.reason.to_string(),
            Some(other) => other.to_string(),
            None => "no failure".to_owned(),
        }
    }

    pub(super) fn asked(&self, id: RequestId) -> (u16, u16) {
        self.asked[&id]
    }

    /// Whether a request came to its end, one way or the other.
    pub fn is_done(&self, id: RequestId) -> bool {
        self.sessions.contains_key(&id) || self.failures.contains_key(&id)
    }

    /// Called when all else was drained, so that polling only tells the deadline.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        match self.terminal.poll_output() {
            Output::Timeout(at, _) => at,
            _ => panic!("a device was not drained"),
        }
    }
}

impl World {
    /// A device asks for [`SERVER`]:443 from `source_port`.
    pub fn connect(&mut self, device: usize, source_port: u16) -> RequestId {
        self.request(device, Connect::new(PeerName::Name(SERVER.to_owned()), 443, source_port))
    }

    /// A device asks for a session.
    pub fn request(&mut self, device: usize, request: Connect) -> RequestId {
        let ports = (request.source_port, request.port);
        let id = self.number(device, ports);
        self.tell_device(device, Input::Connect { id, request });
        id
    }

    /// A device opens TCP without asking, and waits for keys.
    pub fn expect(&mut self, device: usize, source_port: u16, remote: SocketAddr) -> RequestId {
        let id = self.number(device, (source_port, remote.port()));
        let local = SocketAddr::new(self.devices[device].address.ip(), source_port);
        self.tell_device(device, Input::Expect { id, local, remote });
        let flow = self.open_tcp(local, remote);
        self.devices[device].flows.insert(id, flow);
        id
    }

    /// A device asks for an echo.
    pub fn echo(&mut self, device: usize) -> RequestId {
        let id = self.number(device, (0, 0));
        self.tell_device(device, Input::Echo { id, echo: Echo(vec![7; 16]) });
        id
    }

    /// Runs a request for a session that must come to be.
    #[track_caller]
    pub fn establish(&mut self, device: usize, source_port: u16) -> RequestId {
        let request = self.connect(device, source_port);
        self.run(super::A_WHILE);
        self.assert_session(device, request);
        request
    }

    #[track_caller]
    pub fn assert_session(&self, device: usize, request: RequestId) {
        let device = &self.devices[device];
        assert!(device.sessions.contains_key(&request), "no session: {}", device.reason(request));
    }

    /// The connection of a request that was answered with an offer.
    #[track_caller]
    pub fn wire(&mut self, device: usize, request: RequestId) -> &mut Wire {
        let flow = self.devices[device].flows.get(&request).expect("TCP was opened");
        self.wires.get_mut(flow).unwrap()
    }

    /// A text each way over a session: only its own keys and its own peer can do that.
    #[track_caller]
    pub fn talk(&mut self, device: usize, request: RequestId, up: &[u8], down: &[u8]) {
        let now = self.now;
        let device = &mut self.devices[device];
        let session = device.sessions.get_mut(&request).expect("a session");
        let peer = self.wires.get_mut(&device.flows[&request]).unwrap().peer.as_mut().unwrap();
        let mut records = Vec::new();
        session.seal(now, up, &mut records).unwrap();
        peer.received.clear();
        peer.receive(&records);
        assert!(peer.received == up, "the peer received something else: {:?}", peer.failure);
        peer.say(down);
        let answer = peer.drain();
        let number = SessionId(device.keys[&request].session);
        let keep = |ticket| device.tickets.push((number, ticket));
        assert!(read_with(session, now, &answer, keep) == down, "the terminal received something else");
    }

    /// The device gives the gateway the tickets that came in its sessions.
    pub fn return_tickets(&mut self, device: usize) -> usize {
        let tickets = std::mem::take(&mut self.devices[device].tickets);
        let count = tickets.len();
        for (session, body) in tickets {
            self.tell_device(device, Input::Ticket { session, body });
        }
        count
    }

    pub(super) fn number(&mut self, device: usize, ports: (u16, u16)) -> RequestId {
        let device = &mut self.devices[device];
        device.next += 1;
        let id = RequestId(device.next);
        device.asked.insert(id, ports);
        id
    }

    pub(super) fn tell_device(&mut self, device: usize, input: Input<'_>) {
        self.devices[device].terminal.handle_input(self.now, input).unwrap();
        self.drain_device(device);
    }

    /// A datagram comes to whoever has the address.
    pub(super) fn arrive(&mut self, path: Path, bytes: &[u8]) {
        if let Some(device) = self.devices.iter().position(|device| device.address == path.remote) {
            // A device drops what it cannot use.
            let _ = self.devices[device].terminal.handle_input(self.now, Input::Datagram(bytes));
            self.drain_device(device);
        }
        self.arrive_at_rogue(path, bytes);
    }

    pub(super) fn wake_devices(&mut self) {
        let now = self.now;
        for device in 0..self.devices.len() {
            if self.devices[device].deadline().is_some_and(|at| at <= now) {
                self.tell_device(device, Input::Timeout);
                let later = self.devices[device].deadline().is_none_or(|at| at > now);
                assert!(later, "a terminal wants to be woken again at the moment it was woken");
            }
        }
    }

    fn drain_device(&mut self, index: usize) {
        loop {
            let device = &mut self.devices[index];
            match device.terminal.poll_output() {
                Output::Timeout(..) => match device.assists.iter_mut().find(|(_, assist)| assist.is_due()) {
                    Some((id, assist)) => {
                        let id = *id;
                        assist.carried();
                        self.carry(index, id);
                    }
                    None => return,
                },
                Output::Persist(_) => {}
                Output::Transmit(bytes) => {
                    let path = from(device.address);
                    self.send(path, true, bytes);
                }
                Output::Event(event) => self.device_event(index, event),
            }
        }
    }

    fn device_event(&mut self, index: usize, event: Event) {
        let device = &mut self.devices[index];
        match event {
            Event::Offer { id, answer } => {
                let (source_port, port) = device.asked[&id];
                let local = SocketAddr::new(device.address.ip(), source_port);
                let remote = SocketAddr::new(answer.address, port);
                assert!(device.offers.insert(id, answer).is_none(), "offered twice");
                if device.opens_tcp {
                    let flow = self.open_tcp(local, remote);
                    self.devices[index].flows.insert(id, flow);
                }
            }
            Event::Session { id, handover } => {
                device.keys.insert(id, Keys::of(&handover));
                let session = Session::new(*handover, self.now).unwrap();
                if let Some(assist) = device.assists.get_mut(&id) {
                    assist.done(self.now);
                }
                assert!(device.sessions.insert(id, session).is_none(), "keys delivered twice");
            }
            Event::Failed { id, why } => {
                assert!(device.failures.insert(id, why).is_none(), "failed twice");
            }
            Event::Echoed { id } => device.echoed.push(id),
            Event::Listening { id, seconds } => device.listening.entry(id).or_default().push(seconds),
            Event::Incoming { handover, .. } => self.incoming(index, *handover),
            Event::Assisted { id, session, needed, address } => self.assisted(index, id, session, needed, address),
            Event::ToPeer { id, bytes } => self.write_to_peer(index, id, &bytes),
            Event::Needs { id, step } => device.assists.get_mut(&id).unwrap().needs(step, self.now),
            Event::Advanced { .. } => {}
        }
    }
}

impl Keys {
    pub(super) fn of(handover: &Handover) -> Self {
        Self {
            session: handover.session.0,
            tx_secret: handover.tx_secret.as_bytes().to_vec(),
            rx_secret: handover.rx_secret.as_bytes().to_vec(),
            local: handover.binding.local,
            remote: handover.binding.remote,
            suite: handover.suite.0,
            alpn: handover.alpn.clone(),
            peer: handover.peer.identity.clone(),
            method: handover.peer.method,
            version: handover.tls_version,
            role: handover.role,
            server_name: handover.server_name.clone(),
            limits: handover.limits,
            resumable: handover.resumable,
        }
    }
}

/// All data that a session finds in its prefix and `stream`.
#[track_caller]
pub fn read(session: &mut Session, now: Instant, stream: &[u8]) -> Vec<u8> {
    read_with(session, now, stream, drop)
}

#[track_caller]
fn read_with(session: &mut Session, now: Instant, mut stream: &[u8], mut keep: impl FnMut(Vec<u8>)) -> Vec<u8> {
    let mut heard = Vec::new();
    while let Some(event) = session.open(now, &mut stream).unwrap() {
        match event {
            SessionEvent::Data(data) => heard.extend_from_slice(data),
            SessionEvent::Ticket(ticket) => keep(ticket),
            SessionEvent::Closed => {}
        }
    }
    heard
}
