//! The sans-IO heart of the gateway. Datagrams of the channel, TCP flows, worker results and operator
//! commands come in through [`Gateway::handle_input`]; [`Gateway::poll_output`] says what the driver
//! has to do about them. No socket, clock, file or thread is named here.
//!
//! ```text
//! connect   /kf/connect: policy, address, quota -> offer
//! offers    what a terminal is about to open
//! flow      TCP opened -> peer connected -> handshake on workers -> hand-over
//! handover  keys to the terminal over the channel, and what comes back
//! step      the part that runs on a worker thread
//! ```

mod connect;
mod flow;
mod handover;
mod links;
mod offers;
mod operator;
mod step;
mod timers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use keyferry_channel::{Id, Instant, RequestId, State};
use keyferry_parsers::messages::SessionId;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::policy::{AddressGuard, Network, Policy, Rule};
use crate::stats::Stats;
use crate::terminals::{Path, TerminalId, TerminalRecord, Terminals};
use crate::tls;

use self::connect::Lookup;
use self::flow::Flow;
use self::offers::Offers;
use self::timers::{Timer, Timers};

pub use self::flow::{FlowEnd, HandoverKind};
pub use self::operator::{TerminalView, View};
pub use self::step::{Step, Stepped};

/// One TCP connection of a terminal, numbered by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// One name lookup under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LookupId(pub u64);

/// One write of a terminal's channel state, numbered so that its confirmation can be matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Fills a slice with unpredictable bytes.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// What the operator set, in the core's own terms.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This gateway's OSCORE sender id.
    pub gateway_id: keyferry_channel::Id,
    /// Hand-overs under one channel key before it advances, 1 to 8.
    pub handovers_per_epoch: u8,
    /// Age at which a channel key advances in any case.
    pub epoch_lifetime: Duration,
    /// From the opening of TCP to the keys' departure.
    pub handshake_time: Duration,
    /// How long an offer waits for the terminal to open TCP.
    pub offer_time: Duration,
    /// How long a name may take to resolve; shorter than the terminal's patience of 2.8 s.
    pub lookup_time: Duration,
    /// How long the terminal may take to acknowledge its keys.
    pub delivery_time: Duration,
    /// Handshakes per second and terminal.
    pub handshakes_per_second: u32,
    /// Handshakes open at once per terminal.
    pub pending_per_terminal: u32,
    /// Handshakes open at once in all.
    pub pending: usize,
    /// Sessions handed over and still carried, per terminal.
    pub sessions_per_terminal: u32,
}

/// What happens to the gateway.
pub enum Input {
    /// A channel datagram arrived.
    Datagram {
        /// Where from, and at which of our addresses.
        path: Path,
        /// The whole UDP payload.
        bytes: Vec<u8>,
    },
    /// A name lookup ended.
    Resolved {
        /// The lookup of [`Output::Resolve`].
        lookup: LookupId,
        /// Addresses in the resolver's order; empty when the name does not exist.
        addresses: Vec<IpAddr>,
    },
    /// A terminal opened TCP; the driver accepted it and sends nothing on.
    FlowOpened {
        /// A number never used before.
        flow: FlowId,
        /// The terminal's end.
        terminal: SocketAddr,
        /// The address it dialled.
        peer: SocketAddr,
    },
    /// The connection to the peer stands.
    PeerConnected(FlowId),
    /// One whole TLS record came from the peer.
    PeerRecord {
        /// The flow it belongs to.
        flow: FlowId,
        /// Header and body; of a record that cannot be, the header.
        record: Vec<u8>,
    },
    /// The peer closed instead of sending the record that was asked for.
    PeerClosed(FlowId),
    /// The flow cannot go on: refused, unreachable, lost.
    FlowFailed {
        /// The flow.
        flow: FlowId,
        /// Whose fault it was.
        error: Error,
    },
    /// A worker finished a step.
    Stepped {
        /// What came out.
        stepped: Box<Stepped>,
        /// How long the step waited for a worker.
        queue_time: Duration,
        /// How long it computed.
        crypto_time: Duration,
    },
    /// The flow passed the point of no return; ciphertext now moves without the gateway core.
    HandedOver {
        /// The flow.
        flow: FlowId,
        /// Which way it was done.
        kind: HandoverKind,
        /// Peer bytes that were drained on the way and must reach the terminal with its keys.
        prefix: Vec<u8>,
    },
    /// A handed-over flow ended.
    FlowEnded {
        /// The flow.
        flow: FlowId,
        /// What it carried.
        end: FlowEnd,
    },
    /// A channel state is durable, or could not be made so.
    Persisted {
        /// The ticket of [`Output::Persist`].
        ticket: Ticket,
        /// False when the store failed: the gateway tries again.
        durable: bool,
    },
    /// A terminal was admitted (or changed) in the store.
    Admit {
        /// What the store holds of it.
        record: Box<TerminalRecord>,
        /// Its channel state.
        state: Box<State>,
    },
    /// A terminal was revoked in the store.
    Revoke(TerminalId),
    /// A deadline of [`Output::Timeout`] may have passed.
    Timeout,
}

/// What the driver has to do. Outputs are in order and stay in order per flow and per terminal.
pub enum Output {
    /// Send a channel datagram.
    Datagram {
        /// Where to, and from which of our addresses.
        path: Path,
        /// The UDP payload.
        bytes: Vec<u8>,
    },
    /// Resolve a name.
    Resolve {
        /// To be named in [`Input::Resolved`].
        lookup: LookupId,
        /// A DNS name.
        name: String,
    },
    /// Make a channel state durable, then answer [`Input::Persisted`].
    Persist {
        /// To be named in the answer.
        ticket: Ticket,
        /// The OSCORE id of the terminal whose state it is.
        kid: Id,
        /// The state, encoded.
        state: Zeroizing<Vec<u8>>,
    },
    /// Open the connection to the peer, with the terminal's address and port.
    ConnectPeer(FlowId),
    /// Read exactly one TLS record of the peer, then answer [`Input::PeerRecord`]. Nothing is read unasked:
    /// what follows the handshake belongs to the terminal.
    ReadPeer(FlowId),
    /// Run this on a worker, then answer [`Input::Stepped`].
    Step(Step),
    /// Send bytes to the peer.
    WritePeer {
        /// The flow.
        flow: FlowId,
        /// TLS records.
        bytes: Vec<u8>,
    },
    /// Take the gateway out of the path, then answer [`Input::HandedOver`]. What the terminal sends waits for
    /// [`Output::Open`]: before it has its keys that could only be plaintext.
    HandOver(FlowId),
    /// The terminal has its keys: what it sends may pass from now on.
    Open(FlowId),
    /// End the flow: last words to the peer, then reset towards the terminal.
    Reset {
        /// The flow.
        flow: FlowId,
        /// The alert that tells the peer why; may be empty.
        last_words: Vec<u8>,
    },
    /// Packets with this source address are this terminal's from now on.
    Bind {
        /// The terminal.
        terminal: TerminalId,
        /// Its learnt address.
        address: IpAddr,
    },
    /// Packets with this source address are nobody's any more.
    Unbind {
        /// The terminal that had it.
        terminal: TerminalId,
        /// The address.
        address: IpAddr,
    },
    /// Nothing more to do until then. The name says what for.
    Timeout(Option<Instant>, &'static str),
}

/// Time as the driver sees it: one that only grows, and the calendar for certificates.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For deadlines.
    pub monotonic: Instant,
    /// Since 1970, for validity periods.
    pub unix: Duration,
}

/// The gateway. After every input drain [`poll_output`](Self::poll_output) until it answers
/// [`Output::Timeout`].
pub struct Gateway {
    settings: Settings,
    policy: Policy,
    guard: AddressGuard,
    /// One prepared TLS client for each rule of the policy, in its order.
    clients: Vec<Arc<tls::Client>>,
    terminals: Terminals,
    lookups: BTreeMap<LookupId, Lookup>,
    offers: Offers,
    flows: BTreeMap<FlowId, Flow>,
    by_session: BTreeMap<SessionId, FlowId>,
    /// The terminal's and the peer's end of every flow.
    connections: BTreeSet<(SocketAddr, SocketAddr)>,
    /// Flows before their keys were acknowledged: what the quotas count beside the offers.
    pending_flows: usize,
    deliveries: BTreeMap<(TerminalId, RequestId), FlowId>,
    tickets: BTreeMap<Ticket, TerminalId>,
    timers: Timers,
    stats: Stats,
    random: Random,
    next: u64,
    outputs: VecDeque<Output>,
    /// Links with something to say, drained before `poll_output` reports idleness.
    talkative: BTreeSet<TerminalId>,
}

impl Gateway {
    /// A gateway without terminals. `random` fills a slice with unpredictable bytes; `key_log` is for the
    /// operator's explicit flag alone.
    ///
    /// # Errors
    /// A rule of the policy cannot be served: unusable trust, unknown group or suite.
    pub fn new(
        settings: Settings,
        policy: Policy,
        guard: AddressGuard,
        key_log: Option<Arc<dyn tls::KeyLog>>,
        random: Random,
    ) -> Result<Self, Error> {
        let clients = policy.rules().iter().map(|rule| client(rule, key_log.clone())).collect::<Result<_, _>>()?;
        Ok(Self {
            settings,
            policy,
            guard,
            clients,
            terminals: Terminals::default(),
            lookups: BTreeMap::new(),
            offers: Offers::default(),
            flows: BTreeMap::new(),
            by_session: BTreeMap::new(),
            connections: BTreeSet::new(),
            pending_flows: 0,
            deliveries: BTreeMap::new(),
            tickets: BTreeMap::new(),
            timers: Timers::default(),
            stats: Stats::new(),
            random,
            next: 0,
            outputs: VecDeque::new(),
            talkative: BTreeSet::new(),
        })
    }

    /// Takes one event. Nothing it carries can make the gateway fail; what is wrong with it is counted
    /// and, where somebody is entitled to an answer, answered.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        match input {
            Input::Datagram { path, bytes } => self.datagram(now.monotonic, path, bytes),
            Input::Resolved { lookup, addresses } => self.resolved(now.monotonic, lookup, addresses),
            Input::FlowOpened { flow, terminal, peer } => self.flow_opened(now.monotonic, flow, terminal, peer),
            Input::PeerConnected(flow) => self.peer_connected(now.monotonic, flow),
            Input::PeerRecord { flow, record } => self.peer_record(flow, record),
            Input::PeerClosed(flow) => self.peer_closed(now.monotonic, flow),
            Input::FlowFailed { flow, error } => self.fail_flow(now.monotonic, flow, error, Vec::new()),
            Input::Stepped { stepped, queue_time, crypto_time } => {
                self.stepped(now.monotonic, *stepped, queue_time, crypto_time);
            }
            Input::HandedOver { flow, kind, prefix } => self.handed_over(now.monotonic, flow, kind, prefix),
            Input::FlowEnded { flow, end } => self.flow_ended(now.monotonic, flow, end),
            Input::Persisted { ticket, durable } => self.persisted(now.monotonic, ticket, durable),
            Input::Admit { record, state } => self.admit(now.monotonic, *record, *state),
            Input::Revoke(terminal) => self.revoke(now.monotonic, &terminal),
            Input::Timeout => self.run_timers(now.monotonic),
        }
        self.drain_links(now.monotonic);
    }

    /// The next thing to do. [`Output::Timeout`] ends the round.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| {
            let (at, why) = self.timers.next();
            Output::Timeout(at, why)
        })
    }

    /// The host's own addresses and the networks its terminals are in: nobody is led there.
    pub fn set_host(&mut self, addresses: Vec<IpAddr>, terminal_networks: Vec<Network>) {
        self.guard.set_gateway(addresses);
        self.guard.set_terminal_networks(terminal_networks);
    }

    /// The driver found its packet rules gone and put them back.
    pub fn rules_were_restored(&mut self) {
        self.stats.rules_restored = self.stats.rules_restored.saturating_add(1);
    }

    /// The figures so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    fn run_timers(&mut self, now: Instant) {
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Link(terminal) => self.link_timeout(now, &terminal),
                Timer::Lookup(lookup) => self.resolved(now, lookup, Vec::new()),
                Timer::Offer(session) => self.offer_lapsed(now, session),
                Timer::Flow(flow) => self.flow_timeout(now, flow),
                Timer::Sweep => self.sweep(now),
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }
}

/// What a rule needs of the engine, prepared once.
fn client(rule: &Rule, key_log: Option<Arc<dyn tls::KeyLog>>) -> Result<Arc<tls::Client>, Error> {
    let profile = tls::Profile {
        trust: tls::Trust {
            anchors: rule.trust.anchors.clone(),
            pins: rule.trust.pins.iter().copied().map(tls::Pin).collect(),
        },
        groups: rule.key_exchange.clone(),
        suites: rule.cipher_suites.clone(),
        key_log,
    };
    Ok(Arc::new(tls::Client::new(&profile)?))
}
