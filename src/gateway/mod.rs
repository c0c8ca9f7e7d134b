//! The sans-IO heart of the gateway. Datagrams of the channel, TCP flows, worker results and operator
//! commands come in through [`Gateway::handle_input`]; [`Gateway::poll_output`] says what the driver
//! has to do about them. No socket, clock, file or thread is named here.
//!
//! ```text
//! connect   /kf/connect: policy, address, quota -> offer
//! offers    what a terminal is about to open
//! listen    /kf/listen, and peers that connect to terminals; callers: how many of them, from where;
//! reaching  and how many a terminal is reached for at once
//! flow      TCP opened -> peer connected -> handshake on workers -> hand-over
//! kx        /kf/kx: the same with the terminal as carrier of the bytes; pieces: the stream it carries
//! resumption  tickets of TLS 1.3, each for one terminal and rule
//! session   what is known of a session before there are keys, and how its handshake begins
//! handover  keys to the terminal over the channel, and what comes back
//! step      the part that runs on a worker thread
//! ```

mod callers;
mod connect;
mod flow;
mod handover;
mod kx;
mod links;
mod listen;
mod offers;
mod operator;
mod pieces;
mod reaching;
mod resumption;
mod session;
mod step;
mod timers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use keyferry_channel::{Id, Instant, RequestId, State};
use keyferry_parsers::messages::SessionId;
use keyferry_parsers::tls::NamedGroup;
use zeroize::Zeroizing;

use crate::crypto::GROUPS;
use crate::error::Error;
use crate::policy::{AddressGuard, Network, Policy, Revocation, Rule, Service, Trust};
use crate::signer::{Credential, Signer};
use crate::stats::Stats;
use crate::terminals::{Path, TerminalId, TerminalRecord, Terminals};
use crate::tls;

use self::callers::Callers;
use self::connect::Lookup;
use self::flow::Flow;
use self::kx::Assisted;
use self::listen::Listening;
use self::offers::Offers;
use self::reaching::Reaching;
use self::resumption::Resumption;
use self::session::Carrier;
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

/// Who opened a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// The terminal.
    Outbound,
    /// The peer.
    Inbound,
}

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
    /// A terminal, or a peer that wants a terminal, opened TCP; the driver accepted it and sends nothing on.
    FlowOpened {
        /// A number never used before.
        flow: FlowId,
        /// The terminal's end.
        terminal: SocketAddr,
        /// The peer's end.
        peer: SocketAddr,
        /// Who opened it.
        direction: Direction,
    },
    /// The connection to the peer stands.
    PeerConnected(FlowId),
    /// The connection to the terminal stands.
    TerminalConnected(FlowId),
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
    /// The certificates of a terminal are these from now on.
    Credentials {
        /// The terminal.
        terminal: TerminalId,
        /// All that it has.
        credentials: Vec<Arc<Credential>>,
    },
    /// The operator put new revocation lists in place.
    RevocationLists {
        /// The trust they belong to.
        trust: String,
        /// All its lists, DER.
        lists: Vec<Vec<u8>>,
    },
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
    /// Open the connection to the terminal, with the peer's address and port; then answer
    /// [`Input::TerminalConnected`].
    ConnectTerminal(FlowId),
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
    key_log: Option<Arc<dyn tls::KeyLog>>,
    /// Has the terminals' private keys; `None`: no terminal can prove who it is.
    signer: Option<Arc<dyn Signer>>,
    /// What each rule of the policy needs of the engine, in its order.
    clients: Vec<Clients>,
    /// The same for what terminals serve.
    services: Vec<Arc<tls::Service>>,
    resumption: Resumption,
    terminals: Terminals,
    listening: Listening,
    lookups: BTreeMap<LookupId, Lookup>,
    offers: Offers,
    flows: BTreeMap<FlowId, Flow>,
    assisted: BTreeMap<SessionId, Assisted>,
    /// The numbers in use.
    sessions: BTreeSet<SessionId>,
    /// The terminal's and the peer's end of every flow.
    connections: BTreeSet<(SocketAddr, SocketAddr)>,
    /// Handshakes that terminals asked for, before their keys were acknowledged: what the quotas count beside the
    /// offers.
    pending: usize,
    /// Handshakes that peers began.
    callers: Callers,
    reaching: Reaching,
    deliveries: BTreeMap<(TerminalId, RequestId), Carrier>,
    tickets: BTreeMap<Ticket, TerminalId>,
    timers: Timers,
    stats: Stats,
    random: Random,
    /// The calendar, as of the input in hand.
    unix_now: Duration,
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
        let clients = clients(&policy, key_log.as_ref())?;
        let services = services(&policy, key_log.as_ref())?;
        Ok(Self {
            settings,
            policy,
            guard,
            key_log,
            signer: None,
            clients,
            services,
            resumption: Resumption::default(),
            terminals: Terminals::default(),
            listening: Listening::default(),
            lookups: BTreeMap::new(),
            offers: Offers::default(),
            flows: BTreeMap::new(),
            assisted: BTreeMap::new(),
            sessions: BTreeSet::new(),
            connections: BTreeSet::new(),
            pending: 0,
            callers: Callers::default(),
            reaching: Reaching::default(),
            deliveries: BTreeMap::new(),
            tickets: BTreeMap::new(),
            timers: Timers::default(),
            stats: Stats::new(),
            random,
            unix_now: Duration::ZERO,
            next: 0,
            outputs: VecDeque::new(),
            talkative: BTreeSet::new(),
        })
    }

    /// Takes one event. Nothing it carries can make the gateway fail; what is wrong with it is counted
    /// and, where somebody is entitled to an answer, answered.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        self.unix_now = now.unix;
        match input {
            Input::Datagram { path, bytes } => self.datagram(now.monotonic, path, bytes),
            Input::Resolved { lookup, addresses } => self.resolved(now.monotonic, lookup, addresses),
            Input::FlowOpened { flow, terminal, peer, direction } => {
                self.flow_opened(now.monotonic, flow, (terminal, peer), direction);
            }
            Input::PeerConnected(flow) => self.peer_connected(now.monotonic, flow),
            Input::TerminalConnected(flow) => self.terminal_connected(now.monotonic, flow),
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
            Input::Credentials { terminal, credentials } => self.set_credentials(&terminal, credentials),
            Input::RevocationLists { trust, lists } => self.set_revocation_lists(now.monotonic, &trust, &lists),
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

    /// Whom to ask for signatures with the terminals' private keys.
    pub fn set_signer(&mut self, signer: Arc<dyn Signer>) {
        self.signer = Some(signer);
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
                Timer::Assisted(session) => self.assisted_timeout(now, session),
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
struct Clients {
    inline: Arc<tls::Client>,
    /// For hellos that cross the terminal's link.
    assisted: Arc<tls::Client>,
}

fn clients(policy: &Policy, key_log: Option<&Arc<dyn tls::KeyLog>>) -> Result<Vec<Clients>, Error> {
    policy.rules().iter().map(|rule| Clients::new(rule, key_log.cloned())).collect()
}

fn services(policy: &Policy, key_log: Option<&Arc<dyn tls::KeyLog>>) -> Result<Vec<Arc<tls::Service>>, Error> {
    policy.services().iter().map(|service| prepared(service, key_log.cloned())).collect()
}

impl Clients {
    fn new(rule: &Rule, key_log: Option<Arc<dyn tls::KeyLog>>) -> Result<Self, Error> {
        let mut profile = tls::Profile {
            trust: trust(&rule.trust),
            groups: rule.key_exchange.clone(),
            suites: rule.cipher_suites.clone(),
            key_log,
        };
        let inline = Arc::new(tls::Client::new(&profile)?);
        if profile.groups != GROUPS {
            return Ok(Self { assisted: Arc::clone(&inline), inline });
        }
        // By default the first share of an assisted hello is a small one: a hybrid one has over a kilobyte. An
        // operator who names the groups gets the order that he names.
        profile.groups.sort_by_key(|group| *group == NamedGroup::X25519_MLKEM768);
        Ok(Self { inline, assisted: Arc::new(tls::Client::new(&profile)?) })
    }
}

fn prepared(service: &Service, key_log: Option<Arc<dyn tls::KeyLog>>) -> Result<Arc<tls::Service>, Error> {
    let profile = tls::ServiceProfile {
        clients: service.clients.as_deref().map(trust),
        client_names: service.client_names.clone(),
        groups: service.key_exchange.clone(),
        suites: service.cipher_suites.clone(),
        alpn: service.alpn.clone(),
        names: service.names.clone(),
        key_log,
    };
    Ok(Arc::new(tls::Service::new(&profile)?))
}

fn trust(trust: &Trust) -> tls::Trust {
    tls::Trust {
        anchors: trust.anchors.clone(),
        pins: trust.pins.iter().copied().map(tls::Pin).collect(),
        crls: trust.crls.clone(),
        revocation: match trust.revocation {
            Revocation::Chain => tls::Revocation::Chain,
            Revocation::EndEntity => tls::Revocation::EndEntity,
        },
    }
}
