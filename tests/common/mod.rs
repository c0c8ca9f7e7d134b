//! Gateway, terminals and TLS peers in memory, with virtual time and a lossy link between gateway and
//! terminals. The world is the driver that `src/daemon.rs` is on a real machine.
#![allow(dead_code)] // each test uses its own part of it

mod peer;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use keyferry::gateway::{FlowEnd, FlowId, Gateway, HandoverKind, Input, Now, Output, Settings};
use keyferry::error::{Error, Reason};
use keyferry::policy::{AddressGuard, Network, Policy, Rule, TerminalPattern, Trust};
use keyferry::terminals::{Path, TerminalId, TerminalRecord};
use keyferry_channel::{ChannelKey, Endpoint, Id, Instant, RequestId, State};
use keyferry_parsers::messages::{Connect, PeerName};
use keyferry_parsers::tls::{CipherSuite, NamedGroup};
use keyferry_terminal::client::{Event, Input as TerminalInput, Output as TerminalOutput, Terminal, Why};
use keyferry_terminal::tls13::Session;

pub use peer::{Peer, PeerBehaviour, Pki};

pub const GATEWAY_ID: &[u8] = &[0];
pub const SERVER: &str = "server.example";

/// One device: the terminal library and what it has been told.
pub struct Device {
    pub id: TerminalId,
    pub address: SocketAddr,
    pub terminal: Terminal,
    /// The state as last persisted, for restarts and for attackers.
    pub stored: Vec<u8>,
    pub offers: BTreeMap<RequestId, SocketAddr>,
    pub sessions: BTreeMap<RequestId, Session>,
    pub failures: BTreeMap<RequestId, Why>,
    pub handover_bytes: Vec<(RequestId, Vec<u8>)>,
    next: u64,
}

/// What happens to datagrams between terminals and gateway.
#[derive(Clone, Copy, Default)]
pub struct Link {
    pub loss_percent: u8,
    pub duplicate_percent: u8,
    pub delay: Duration,
    /// On top of `delay`, at random.
    pub jitter: Duration,
}

/// One TCP connection of a device, as the driver sees it.
pub struct Wire {
    pub terminal: SocketAddr,
    pub remote: SocketAddr,
    pub peer: Option<Peer>,
    /// The gateway asked for a record and none is there yet.
    reading: bool,
    pub handed_over: bool,
    pub reset: bool,
    /// What the gateway said to the peer last.
    pub last_words: Vec<u8>,
}

pub struct World {
    pub now: Instant,
    pub unix: Duration,
    pub gateway: Gateway,
    pub devices: Vec<Device>,
    pub wires: BTreeMap<FlowId, Wire>,
    /// Which server is at which address.
    pub peers: BTreeMap<SocketAddr, PeerBehaviour>,
    pub names: BTreeMap<String, Vec<IpAddr>>,
    pub link: Link,
    /// The gateway's store: channel states, encoded.
    pub stored: BTreeMap<Id, Vec<u8>>,
    /// False: the disk is full.
    pub store_works: bool,
    /// Every channel datagram that was sent, by whom: true from a terminal.
    pub recorded: Vec<(bool, SocketAddr, Vec<u8>)>,
    pub bound: Vec<(TerminalId, IpAddr)>,
    pub pki: Pki,
    in_flight: BTreeMap<(Instant, u64), (Path, bool, Vec<u8>)>,
    deadline: Option<Instant>,
    random: u64,
    next: u64,
}

impl World {
    /// A gateway with one rule: every terminal may reach [`SERVER`] at 10.7.2.2:443, where a server waits.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, |_| {}, |_| {})
    }

    /// The same, with settings and the rule adjusted.
    pub fn with(seed: u64, settings: impl FnOnce(&mut Settings), rule: impl FnOnce(&mut Rule)) -> Self {
        let pki = Pki::new();
        let mut first = rule_for(&pki);
        rule(&mut first);
        Self::with_rules(seed, settings, pki, vec![first])
    }

    pub fn with_rules(seed: u64, adjust: impl FnOnce(&mut Settings), pki: Pki, rules: Vec<Rule>) -> Self {
        let mut settings = Settings {
            gateway_id: Id::try_from(GATEWAY_ID).unwrap(),
            handovers_per_epoch: 8,
            epoch_lifetime: Duration::from_secs(86_400),
            handshake_time: Duration::from_secs(10),
            offer_time: Duration::from_secs(10),
            lookup_time: Duration::from_secs(2),
            delivery_time: Duration::from_secs(60),
            handshakes_per_second: 1000,
            pending_per_terminal: 1000,
            pending: 4096,
        };
        adjust(&mut settings);
        let mut guard = AddressGuard::new(vec!["192.168.77.0/24".parse::<Network>().unwrap()]);
        guard.set_gateway([ip("10.7.1.1"), ip("10.7.2.1")]);
        guard.set_terminal_networks(["10.7.1.0/24".parse::<Network>().unwrap()]);
        let mut counter = seed;
        let random = Box::new(move |out: &mut [u8]| out.iter_mut().for_each(|byte| *byte = (next_random(&mut counter) >> 24) as u8));
        let gateway = Gateway::new(settings, Policy::new(1, rules), guard, None, random).unwrap();
        let peers = BTreeMap::from([(SocketAddr::new(ip("10.7.2.2"), 443), PeerBehaviour::default())]);
        Self {
            now: Instant::from_micros(1),
            unix: Duration::from_secs(1_800_000_000),
            gateway,
            devices: Vec::new(),
            wires: BTreeMap::new(),
            peers,
            names: BTreeMap::from([(SERVER.to_owned(), vec![ip("10.7.2.2")])]),
            link: Link { delay: Duration::from_millis(10), ..Link::default() },
            stored: BTreeMap::new(),
            store_works: true,
            recorded: Vec::new(),
            bound: Vec::new(),
            pki,
            in_flight: BTreeMap::new(),
            deadline: None,
            random: seed ^ 0x5eed,
            next: 0,
        }
    }

    /// Admits a terminal `meter-N` at 10.7.1.(10+N) and returns its index.
    pub fn add_device(&mut self) -> usize {
        let index = self.devices.len();
        let key = [index as u8 + 1; 32];
        let name = format!("meter-{index}");
        let id = TerminalId::try_from(name.as_str()).unwrap();
        let address = SocketAddr::new(ip(&format!("10.7.1.{}", 10 + index)), 5683);
        let kid = Id::try_from([1, index as u8].as_slice()).unwrap();
        let record = TerminalRecord {
            id: id.clone(),
            kid,
            group: None,
            addresses: vec![address.ip()],
            interface: None,
            mac: None,
            shared_address: false,
            created: 0,
            revoked: None,
        };
        let state = State::new(ChannelKey::from_bytes(key));
        self.stored.insert(kid, state.encode().to_vec());
        self.tell(Input::Admit { record: Box::new(record), state: Box::new(state) });
        let state = State::new(ChannelKey::from_bytes(key));
        let stored = state.encode().to_vec();
        let terminal = device_terminal(kid, state, index as u64, self.now);
        self.devices.push(Device {
            id,
            address,
            terminal,
            stored,
            offers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            failures: BTreeMap::new(),
            handover_bytes: Vec::new(),
            next: 0,
        });
        index
    }

    /// A device asks for [`SERVER`]:443 from `source_port`.
    pub fn connect(&mut self, device: usize, source_port: u16) -> RequestId {
        self.request(device, Connect::new(PeerName::Name(SERVER.to_owned()), 443, source_port))
    }

    pub fn request(&mut self, device: usize, request: Connect) -> RequestId {
        let port = request.source_port;
        let it = &mut self.devices[device];
        it.next += 1;
        let id = RequestId(it.next);
        it.offers.insert(id, SocketAddr::new(it.address.ip(), port));
        it.terminal.handle_input(self.now, TerminalInput::Connect { id, request }).unwrap();
        self.drain_device(device);
        id
    }

    /// Opens TCP for a device, as the kernel would after its SYN.
    pub fn open_tcp(&mut self, local: SocketAddr, remote: SocketAddr) -> FlowId {
        self.next += 1;
        let flow = FlowId(self.next);
        let wire = Wire {
            terminal: local,
            remote,
            peer: None,
            reading: false,
            handed_over: false,
            reset: false,
            last_words: Vec::new(),
        };
        self.wires.insert(flow, wire);
        self.tell(Input::FlowOpened { flow, terminal: local, peer: remote });
        flow
    }

    /// The flow of a session that was handed over or is on its way.
    pub fn wire_from(&mut self, port: u16) -> &mut Wire {
        self.wires.values_mut().find(|wire| wire.terminal.port() == port).expect("a flow from this port")
    }

    /// Runs until nothing is left to do, at most `limit` of virtual time.
    pub fn run(&mut self, limit: Duration) {
        let end = self.now + limit;
        loop {
            let next = [self.in_flight.keys().next().map(|(at, _)| *at), self.deadline, self.next_device_deadline()];
            let Some(at) = next.into_iter().flatten().min().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.advance_to(at);
        }
    }

    /// Gives an event to the gateway and does what it wants done.
    pub fn tell(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = Now { monotonic: self.now, unix: self.unix };
            self.gateway.handle_input(now, input);
            loop {
                match self.gateway.poll_output() {
                    Output::Timeout(at, _) => {
                        self.deadline = at;
                        break;
                    }
                    output => inputs.extend(self.act(output)),
                }
            }
        }
    }

    /// Sends bytes from a device to the gateway, or back, over the link.
    pub fn send(&mut self, path: Path, to_gateway: bool, bytes: Vec<u8>) {
        self.recorded.push((to_gateway, path.remote, bytes.clone()));
        let copies = 1 + u8::from(self.chance(self.link.duplicate_percent));
        for _ in 0..copies {
            if self.chance(self.link.loss_percent) {
                continue;
            }
            let jitter = self.link.jitter.mul_f64(f64::from(self.roll(1000)) / 1000.0);
            self.next += 1;
            self.in_flight.insert((self.now + self.link.delay + jitter, self.next), (path, to_gateway, bytes.clone()));
        }
    }

    fn act(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Datagram { path, bytes } => {
                self.send(path, false, bytes);
                None
            }
            Output::Resolve { lookup, name } => {
                let addresses = self.names.get(&name).cloned().unwrap_or_default();
                Some(Input::Resolved { lookup, addresses })
            }
            Output::Persist { ticket, kid, state } => {
                if self.store_works {
                    self.stored.insert(kid, state.to_vec());
                }
                Some(Input::Persisted { ticket, durable: self.store_works })
            }
            Output::ConnectPeer(flow) => self.connect_peer(flow),
            Output::ReadPeer(flow) => {
                let wire = self.wires.get_mut(&flow)?;
                wire.reading = true;
                self.read_peer(flow)
            }
            Output::Step(step) => {
                let stepped = Box::new(step.run(self.unix));
                Some(Input::Stepped { stepped, queue_time: Duration::ZERO, crypto_time: Duration::from_micros(200) })
            }
            Output::WritePeer { flow, bytes } => {
                self.wires.get_mut(&flow)?.peer.as_mut()?.receive(&bytes);
                self.read_peer(flow)
            }
            Output::HandOver(flow) => {
                self.wires.get_mut(&flow)?.handed_over = true;
                Some(Input::HandedOver { flow, kind: HandoverKind::Relay("relay"), prefix: Vec::new() })
            }
            Output::Reset { flow, last_words } => {
                let wire = self.wires.get_mut(&flow)?;
                wire.reset = true;
                if let Some(peer) = &mut wire.peer {
                    peer.receive(&last_words);
                }
                wire.last_words = last_words;
                None
            }
            Output::Bind { terminal, address } => {
                self.bound.push((terminal, address));
                None
            }
            Output::Unbind { terminal, address } => {
                self.bound.retain(|bound| *bound != (terminal.clone(), address));
                None
            }
            Output::Timeout(..) => None,
        }
    }

    fn connect_peer(&mut self, flow: FlowId) -> Option<Input> {
        let wire = self.wires.get_mut(&flow)?;
        let Some(behaviour) = self.peers.get(&wire.remote) else {
            let error = Error::new(Reason::PEER_REFUSED, "nobody listens there");
            return Some(Input::FlowFailed { flow, error });
        };
        wire.peer = Some(Peer::new(&self.pki, behaviour));
        Some(Input::PeerConnected(flow))
    }

    fn read_peer(&mut self, flow: FlowId) -> Option<Input> {
        let wire = self.wires.get_mut(&flow)?;
        if !wire.reading || wire.reset {
            return None;
        }
        let peer = wire.peer.as_mut()?;
        if let Some(record) = peer.next_record() {
            wire.reading = false;
            return Some(Input::PeerRecord { flow, record });
        }
        if peer.is_closed() {
            wire.reading = false;
            let error = Error::new(Reason::PEER_CLOSED, "the peer closed");
            return Some(Input::FlowFailed { flow, error });
        }
        None
    }

    /// Ends a handed-over flow, as when both ends have closed.
    pub fn end_flow(&mut self, flow: FlowId) {
        self.tell(Input::FlowEnded { flow, end: FlowEnd::default() });
    }

    fn advance_to(&mut self, at: Instant) {
        self.unix += at.saturating_duration_since(self.now);
        self.now = self.now.max(at);
        while let Some(entry) = self.in_flight.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (path, to_gateway, bytes) = entry.remove();
            if to_gateway {
                self.tell(Input::Datagram { path, bytes });
            } else if let Some(device) = self.devices.iter().position(|device| device.address == path.remote) {
                // A device drops what it cannot use.
                let _ = self.devices[device].terminal.handle_input(self.now, TerminalInput::Datagram(&bytes));
                self.drain_device(device);
            }
        }
        if self.deadline.is_some_and(|deadline| deadline <= self.now) {
            self.tell(Input::Timeout);
        }
        for device in 0..self.devices.len() {
            let _ = self.devices[device].terminal.handle_input(self.now, TerminalInput::Timeout);
            self.drain_device(device);
        }
    }

    fn next_device_deadline(&mut self) -> Option<Instant> {
        // Drained already, so that polling again only tells the deadline.
        let deadlines = self.devices.iter_mut().filter_map(|device| match device.terminal.poll_output() {
            TerminalOutput::Timeout(at, _) => at,
            _ => panic!("a device was not drained"),
        });
        let earliest = deadlines.min()?;
        Some(earliest.max(self.now))
    }

    pub fn drain_device(&mut self, index: usize) {
        loop {
            let device = &mut self.devices[index];
            match device.terminal.poll_output() {
                TerminalOutput::Timeout(..) => return,
                TerminalOutput::Persist(state) => device.stored = state.to_vec(),
                TerminalOutput::Transmit(bytes) => {
                    let path = Path { remote: device.address, local: channel_address() };
                    self.send(path, true, bytes);
                }
                TerminalOutput::Event(event) => self.device_event(index, event),
            }
        }
    }

    fn device_event(&mut self, index: usize, event: Event) {
        let device = &mut self.devices[index];
        match event {
            Event::Offer { id, answer } => {
                let local = device.offers[&id];
                self.open_tcp(local, SocketAddr::new(answer.address, 443));
            }
            Event::Session { id, handover } => {
                device.handover_bytes.push((id, handover.encode().to_vec()));
                let session = Session::new(*handover, self.now).unwrap();
                assert!(device.sessions.insert(id, session).is_none(), "keys delivered twice");
            }
            Event::Failed { id, why } => {
                device.failures.insert(id, why);
            }
            Event::Echoed { .. } | Event::Advanced { .. } => {}
        }
    }

    fn chance(&mut self, percent: u8) -> bool {
        percent > 0 && self.roll(100) < u32::from(percent)
    }

    fn roll(&mut self, sides: u32) -> u32 {
        (next_random(&mut self.random) >> 32) as u32 % sides
    }
}

impl Device {
    /// The reason of a failed request, as its stable name.
    pub fn reason(&self, id: RequestId) -> String {
        match self.failures.get(&id) {
            Some(Why::Failure(failure)) => failure.reason.to_string(),
            Some(other) => other.to_string(),
            None => "no failure".to_owned(),
        }
    }
}

/// The gateway's channel address.
pub fn channel_address() -> SocketAddr {
    SocketAddr::new(ip("10.7.1.1"), 5683)
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The rule that every world begins with.
pub fn rule_for(pki: &Pki) -> Rule {
    Rule {
        name: SERVER.to_owned(),
        addresses: Vec::new(),
        ports: vec![443],
        terminals: vec![TerminalPattern::Any],
        trust: Trust { name: "lab".to_owned(), anchors: vec![pki.anchor()], pins: Vec::new() }.into(),
        alpn: Vec::new(),
        without_request: false,
        key_exchange: vec![NamedGroup::X25519],
        cipher_suites: vec![
            CipherSuite::TLS_AES_128_GCM_SHA256,
            CipherSuite::TLS_AES_256_GCM_SHA384,
            CipherSuite::TLS_CHACHA20_POLY1305_SHA256,
        ],
        session_seconds: 86_400,
    }
}

/// The terminal library with a state of its own.
pub fn device_terminal(kid: Id, state: State, seed: u64, now: Instant) -> Terminal {
    let settings = keyferry_channel::Settings {
        own: kid,
        peer: Id::try_from(GATEWAY_ID).unwrap(),
        handovers_per_epoch: 8,
        epoch_lifetime: Duration::from_secs(86_400),
    };
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    Terminal::new(Endpoint::new(settings, state, bytes, now), 2048, now)
}

/// splitmix64: repeatable, and good enough to lose packets by.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
