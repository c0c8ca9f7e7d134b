//! Does what the gateway wants done, as `src/daemon.rs` and `src/io` do on a real machine.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use keyferry::error::{Error, Reason};
use keyferry::gateway::{Direction, FlowEnd, FlowId, HandoverKind, Input, Now, Output, Step, Ticket};
use keyferry_parsers::tls::RecordHeader;

use super::peer::Peer;
use super::{Disk, Workers, World};

/// One TCP connection of a device, as the driver sees it.
pub struct Wire {
    pub terminal: SocketAddr,
    pub remote: SocketAddr,
    pub peer: Option<Peer>,
    /// The gateway wanted a connection to the terminal.
    pub reached: bool,
    /// The gateway asked for a record and none is there yet.
    reading: bool,
    pub handed_over: bool,
    /// What the terminal sends may pass.
    pub open: bool,
    pub reset: bool,
    /// What the gateway said to the peer last.
    pub last_words: Vec<u8>,
}

/// What a device does with a connection that comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    Yes,
    Refuses,
    /// Never answers the SYN.
    Silent,
}

impl World {
    /// Opens TCP for a device, as the kernel would after its SYN.
    pub fn open_tcp(&mut self, local: SocketAddr, remote: SocketAddr) -> FlowId {
        let flow = self.new_wire(local, remote, None);
        self.tell(Input::FlowOpened { flow, terminal: local, peer: remote, direction: Direction::Outbound });
        flow
    }

    /// A peer opens TCP towards a device.
    pub fn call_tcp(&mut self, local: SocketAddr, remote: SocketAddr, peer: Peer) -> FlowId {
        let flow = self.new_wire(local, remote, Some(peer));
        self.tell(Input::FlowOpened { flow, terminal: local, peer: remote, direction: Direction::Inbound });
        flow
    }

    /// A connection that the gateway need not know.
    pub(super) fn new_wire(&mut self, local: SocketAddr, remote: SocketAddr, peer: Option<Peer>) -> FlowId {
        self.next += 1;
        let flow = FlowId(self.next);
        let wire = Wire {
            terminal: local,
            remote,
            peer,
            reached: false,
            reading: false,
            handed_over: false,
            open: false,
            reset: false,
            last_words: Vec::new(),
        };
        self.wires.insert(flow, wire);
        flow
    }

    /// Ends a handed-over flow, as when both ends have closed.
    pub fn end_flow(&mut self, flow: FlowId) {
        self.tell(Input::FlowEnded { flow, end: FlowEnd { up: 1, down: 2 } });
    }

    /// The writes that a hanging disk was asked for.
    pub fn frozen(&self) -> Vec<Ticket> {
        self.frozen.iter().map(|(ticket, ..)| *ticket).collect()
    }

    /// The disk works again and does what it was asked meanwhile.
    pub fn thaw(&mut self) {
        self.disk = Disk::Works;
        for (ticket, kid, state) in std::mem::take(&mut self.frozen) {
            self.stored.insert(kid, state);
            self.tell(Input::Persisted { ticket, durable: true });
        }
    }

    /// The workers do all that they were given meanwhile.
    pub fn release_workers(&mut self) -> usize {
        self.workers = Workers::Work;
        let held = std::mem::take(&mut self.held);
        let count = held.len();
        for step in held {
            let input = self.run_step(step);
            self.tell(input);
        }
        count
    }

    fn run_step(&self, step: Step) -> Input {
        let stepped = Box::new(step.run(self.unix));
        Input::Stepped { stepped, queue_time: Duration::ZERO, crypto_time: Duration::from_micros(200) }
    }

    /// The resolver answers all that it was asked.
    pub fn answer_lookups(&mut self) {
        for (lookup, name) in std::mem::take(&mut self.lookups) {
            let addresses = self.names.get(&name).cloned().unwrap_or_default();
            self.tell(Input::Resolved { lookup, addresses });
        }
    }

    /// Gives an event to the gateway and does what it wants done.
    pub fn tell(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.gateway.handle_input(Now { monotonic: self.now, unix: self.unix }, input);
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

    fn act(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Datagram { path, bytes } => {
                self.send(path, false, bytes);
                None
            }
            Output::Resolve { lookup, name } if self.resolver_hangs => {
                self.lookups.push((lookup, name));
                None
            }
            Output::Resolve { lookup, name } => {
                let addresses = self.names.get(&name).cloned().unwrap_or_default();
                Some(Input::Resolved { lookup, addresses })
            }
            Output::Persist { ticket, kid, state } => {
                match self.disk {
                    Disk::Works => self.stored.insert(kid, state.to_vec()),
                    Disk::Full => None,
                    Disk::Hangs => {
                        self.frozen.push((ticket, kid, state.to_vec()));
                        return None;
                    }
                };
                Some(Input::Persisted { ticket, durable: self.disk == Disk::Works })
            }
            Output::ConnectPeer(flow) => {
                self.connects += 1;
                self.connect_peer(flow)
            }
            Output::ConnectTerminal(flow) => {
                self.reached += 1;
                self.connect_terminal(flow)
            }
            Output::ReadPeer(flow) => {
                self.wires.get_mut(&flow)?.reading = true;
                self.read_peer(flow)
            }
            Output::Step(step) => match self.workers {
                Workers::Work => Some(self.run_step(step)),
                Workers::Overloaded => Some(step.overloaded()),
                Workers::Hang => {
                    self.held.push(step);
                    None
                }
            },
            Output::WritePeer { flow, bytes } => {
                self.wires.get_mut(&flow)?.peer.as_mut()?.receive(&bytes);
                self.read_peer(flow)
            }
            Output::HandOver(flow) => Some(self.hand_over(flow)),
            Output::Open(flow) => {
                self.wires.get_mut(&flow)?.open = true;
                None
            }
            Output::Reset { flow, last_words } => {
                let wire = self.wires.get_mut(&flow)?;
                assert!(!wire.reset, "reset twice");
                wire.reset = true;
                if let Some(peer) = &mut wire.peer {
                    peer.receive(&last_words);
                }
                wire.last_words = last_words;
                None
            }
            Output::Bind { terminal, address } => {
                self.kernel.insert(address);
                self.bound.insert((terminal, address));
                None
            }
            Output::Unbind { terminal, address } => {
                self.kernel.remove(&address);
                self.bound.remove(&(terminal, address));
                None
            }
            Output::Timeout(..) => None,
        }
    }

    fn connect_peer(&mut self, flow: FlowId) -> Option<Input> {
        let remote = self.wires.get(&flow)?.remote;
        match self.peers.get(&remote).map(|behaviour| behaviour.unreachable) {
            None => {
                let error = Error::new(Reason::PEER_REFUSED, "nobody listens there");
                Some(Input::FlowFailed { flow, error })
            }
            Some(true) => None,
            Some(false) => {
                let peer = self.server_at(remote);
                self.wires.get_mut(&flow)?.peer = peer;
                Some(Input::PeerConnected(flow))
            }
        }
    }

    fn connect_terminal(&mut self, flow: FlowId) -> Option<Input> {
        let wire = self.wires.get_mut(&flow)?;
        assert!(!wire.handed_over && !wire.reached, "the terminal was reached twice");
        wire.reached = true;
        let terminal = wire.terminal;
        let device = self.devices.iter().find(|device| device.address.ip() == terminal.ip());
        match device.map_or(Accepts::Refuses, |device| device.accepts) {
            Accepts::Yes => Some(Input::TerminalConnected(flow)),
            Accepts::Refuses => {
                let error = Error::new(Reason::NOT_LISTENING, "the terminal accepts no TCP there");
                Some(Input::FlowFailed { flow, error })
            }
            Accepts::Silent => None,
        }
    }

    /// A new connection at the server of that address, if there is one. It remembers its earlier ones.
    pub(super) fn server_at(&mut self, address: SocketAddr) -> Option<Peer> {
        let behaviour = self.peers.get(&address)?;
        if self.servers.get(&address).is_none_or(|(of, _)| of != behaviour) {
            self.servers.insert(address, (behaviour.clone(), behaviour.config(&self.pki)));
        }
        let (_, config) = self.servers.get(&address)?;
        Some(Peer::server(config, behaviour))
    }

    fn read_peer(&mut self, flow: FlowId) -> Option<Input> {
        let wire = self.wires.get_mut(&flow)?;
        if !wire.reading || wire.reset {
            return None;
        }
        let peer = wire.peer.as_mut()?;
        if let Some(header) = peer.header().filter(|header| RecordHeader::parse(header).is_err()) {
            wire.reading = false;
            return Some(Input::PeerRecord { flow, record: header.to_vec() });
        }
        if let Some(record) = peer.next_record() {
            wire.reading = false;
            return Some(Input::PeerRecord { flow, record });
        }
        if peer.is_closed() {
            wire.reading = false;
            return Some(Input::PeerClosed(flow));
        }
        None
    }

    fn hand_over(&mut self, flow: FlowId) -> Input {
        let wire = self.wires.get_mut(&flow).unwrap();
        wire.handed_over = true;
        let peer = wire.peer.as_mut().filter(|_| self.drains_prefix);
        let prefix = peer.map(Peer::drain).unwrap_or_default();
        Input::HandedOver { flow, kind: HandoverKind::Relay("relay"), prefix }
    }
}
