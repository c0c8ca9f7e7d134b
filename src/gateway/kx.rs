//! `/kf/kx`, assisted mode: the terminal carries the peer's bytes to the gateway and the gateway's bytes to the
//! peer. The same engine runs on the same workers as for a flow; only who carries the bytes differs.
//!
//! ```text
//! start                            policy, quota -> what to send, which steps are needed
//! key generation, authentication   a piece of the peer's stream -> what to send, which step is next
//! key                              the keys, pushed to /kf/session like all others
//! ```

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use keyferry_channel::{Code, ExchangeId, Instant};
use keyferry_parsers::messages::{
    Binding, Connect, KxAnswer, KxRequest, Listen, PeerName, Reason, SessionId, Step as KxStep,
};
use zeroize::Zeroizing;

use super::connect::{Lookup, answer_code, failure, unreadable};
use super::listen::common_alpn;
use super::pieces::Pieces;
use super::session::{Carrier, Session, Wanted, computable};
use super::step::{Step, Stepped, Work};
use super::timers::Timer;
use super::{Gateway, Output};
use crate::error::Error;
use crate::stats::count;
use crate::terminals::TerminalId;
use crate::tls::{Established, Handshake, Progress};

/// Requests of one session that may wait for their answers at once; the channel carries no more.
const MAX_WAITING: usize = 16;
/// A session is forgotten after so much silence of its terminal, and after so long in any case.
const SILENCE: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(300);

/// An assisted handshake.
pub(super) struct Assisted {
    pub(super) session: Session,
    phase: Phase,
    connection: Connection,
    /// What came of the peer's stream.
    pieces: Pieces,
    /// The requests that wait for their answers, oldest first.
    waiting: VecDeque<ExchangeId>,
    /// What the answer to the start says beside, until it is given.
    start: Option<Start>,
    to_peer: Vec<u8>,
    /// When it ends in any case.
    deadline: Instant,
}

/// The TCP connection that the terminal said it has, or will have: keys are for no other.
#[derive(Clone, Copy)]
enum Connection {
    Client { source_port: u16, port: u16, address: Option<IpAddr> },
    Server(Binding),
}

impl Connection {
    /// Whether the peer opened it.
    fn is_callers(self) -> bool {
        matches!(self, Self::Server(_))
    }

    fn is(self, binding: Binding) -> bool {
        match self {
            Self::Client { source_port, port, address } => {
                binding.local.port() == source_port
                    && binding.remote.port() == port
                    && address.is_none_or(|address| address == binding.remote.ip())
            }
            Self::Server(announced) => announced == binding,
        }
    }
}

struct Start {
    needed: Vec<KxStep>,
    address: Option<IpAddr>,
}

/// How far it has come.
enum Phase {
    /// The handshake waits for a record of the peer.
    Waiting(Box<dyn Handshake>),
    /// The handshake is on a worker.
    Stepping,
    /// The keys are there and wait to be asked for.
    Established(Box<Established>),
    /// The keys are on their way.
    Delivering,
}

impl Assisted {
    /// Whether the keys have left.
    pub(super) fn is_delivering(&self) -> bool {
        matches!(self.phase, Phase::Delivering)
    }

    fn take_piece(&mut self, insert: impl FnOnce(&mut Pieces) -> Result<(), Error>) -> Result<(), Error> {
        if self.is_delivering() {
            return Err(Error::new(Reason::STALE, "the keys have left already"));
        }
        if self.waiting.len() >= MAX_WAITING {
            return Err(Error::new(Reason::QUOTA, "too many pieces under way; wait for their answers"));
        }
        insert(&mut self.pieces)
    }

    /// The keys, and what the peer sent behind its handshake. They leave once, for the connection that was announced,
    /// and only when all `length` bytes of the peer's are here.
    fn take_keys(&mut self, length: u32, binding: Binding) -> Result<(Established, Vec<u8>), Error> {
        if !self.connection.is(binding) {
            return Err(Error::new(
                Reason::ADDRESS_NOT_BOUND,
                "the keys are for another connection than was announced",
            ));
        }
        if !self.pieces.is_whole(length) {
            return Err(Error::new(Reason::STALE, "not all that the peer sent has arrived"));
        }
        match std::mem::replace(&mut self.phase, Phase::Delivering) {
            Phase::Established(established) => Ok((*established, self.pieces.take_rest())),
            other => {
                self.phase = other;
                Err(Error::new(Reason::STALE, "the keys are not there, or have left already"))
            }
        }
    }
}

impl Gateway {
    /// A request on `/kf/kx`. What is not understood is discarded: it changes nothing.
    pub(super) fn key_exchange(
        &mut self,
        now: Instant,
        id: &TerminalId,
        exchange: ExchangeId,
        payload: &[u8],
    ) -> Result<(), Error> {
        let request = KxRequest::decode(payload).map_err(|error| unreadable(&error))?;
        match request {
            KxRequest::Start { connect: Some(connect), .. } => self.start_client(now, id, exchange, connect),
            KxRequest::Start { listen: Some(listen), binding: Some(binding), bytes, .. } => {
                self.start_server(now, id, exchange, &listen, binding, bytes)
            }
            KxRequest::Start { .. } => Err(Error::new(Reason::MALFORMED_REQUEST, "a start without what is wanted")),
            KxRequest::Carry { session, offset, bytes, closed, .. } => {
                self.carry(now, id, exchange, session, |pieces| pieces.insert(offset, bytes, closed))
            }
            KxRequest::Key { session, length, binding } => self.key(now, id, exchange, session, length, binding),
        }
    }

    fn start_client(
        &mut self,
        now: Instant,
        id: &TerminalId,
        exchange: ExchangeId,
        request: Connect,
    ) -> Result<(), Error> {
        let decision = self.decide(id, &request)?;
        self.admit_handshake(now, id)?;
        let addresses = decision.rule.pinned_addresses();
        let name = match &request.peer {
            PeerName::Name(name) if addresses.is_empty() => Some(name.clone()),
            _ => None,
        };
        let pending = Lookup { terminal: id.clone(), exchange, request, decision, assisted: true };
        match name {
            Some(name) => self.look_up(now, name, pending),
            None => self.assist(now, pending, &addresses),
        }
        Ok(())
    }

    /// The peer's addresses are known, or not to be known.
    pub(super) fn assist(&mut self, now: Instant, pending: Lookup, addresses: &[IpAddr]) {
        let Lookup { terminal, exchange, request, decision, .. } = pending;
        let address = match self.assisted_address(&request.peer, addresses) {
            Ok(address) => address,
            Err(error) => {
                self.release(&terminal);
                return self.refuse(now, &terminal, exchange, &error);
            }
        };
        let cipher_suites = computable(&request.cipher_suites, request.oldest_version);
        let wanted = Wanted::Peer { decision, cipher_suites };
        let connection = Connection::Client { source_port: request.source_port, port: request.port, address };
        let start = Start { needed: vec![KxStep::AUTHENTICATION, KxStep::KEY_GENERATION], address };
        let session = Session::new(self.new_session(), terminal, wanted, now);
        self.start(now, exchange, session, connection, start, Pieces::default());
    }

    /// Where the terminal shall connect to; `None` where nobody here knows. What is closed is closed in this way, too.
    fn assisted_address(&self, peer: &PeerName, addresses: &[IpAddr]) -> Result<Option<IpAddr>, Error> {
        let candidates = match peer {
            PeerName::Address(address) => std::slice::from_ref(address),
            PeerName::Name(_) => addresses,
        };
        let mut refusal = None;
        for address in candidates {
            match self.check_address(*address) {
                Ok(()) => return Ok(Some(*address)),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        refusal.map_or(Ok(None), Err)
    }

    fn start_server(
        &mut self,
        now: Instant,
        id: &TerminalId,
        exchange: ExchangeId,
        listen: &Listen,
        binding: Binding,
        bytes: Vec<u8>,
    ) -> Result<(), Error> {
        let who = self.terminal_ref(id).ok_or_else(|| Error::new(Reason::INTERNAL, "terminal is gone"))?;
        let decision = self.policy.lookup_service(&who, listen.port, binding.remote.ip())?;
        let alpn = common_alpn(&decision.service, &listen.alpn, &who)?;
        let mut pieces = Pieces::default();
        pieces.insert(0, bytes, false)?;
        if binding.local.port() != listen.port {
            return Err(Error::new(Reason::ADDRESS_NOT_BOUND, "the connection is not to the port that is served"));
        }
        // A place among those of strangers: they do not spend what the terminal may ask for itself.
        self.admit_caller(now, id, binding.remote.ip(), &decision.service)
            .map_err(|cause| Error::new(Reason::QUOTA, cause))?;
        let needed = match decision.service.clients {
            Some(_) => vec![KxStep::AUTHENTICATION, KxStep::KEY_GENERATION],
            None => vec![KxStep::KEY_GENERATION],
        };
        let cipher_suites = computable(&listen.cipher_suites, listen.oldest_version);
        let wanted = Wanted::Service { peer: binding.remote.ip(), decision, cipher_suites, alpn };
        let session = Session::new(self.new_session(), id.clone(), wanted, now);
        let start = Start { needed, address: None };
        self.start(now, exchange, session, Connection::Server(binding), start, pieces);
        Ok(())
    }

    /// A place was taken for it.
    fn start(
        &mut self,
        now: Instant,
        exchange: ExchangeId,
        session: Session,
        connection: Connection,
        start: Start,
        pieces: Pieces,
    ) {
        let number = session.number;
        let work = self.begin(&session, true);
        if !connection.is_callers() {
            self.pending = self.pending.saturating_add(1);
        }
        self.sessions.insert(number);
        let deadline = now + LONGEST;
        let assisted = Assisted {
            session,
            phase: Phase::Stepping,
            connection,
            pieces,
            waiting: VecDeque::from([exchange]),
            start: Some(start),
            to_peer: Vec::new(),
            deadline,
        };
        self.assisted.insert(number, assisted);
        self.rearm(now, number);
        match work {
            Ok(work) => self.assisted_step(number, work),
            Err(error) => self.fail_assisted(now, number, error, Vec::new()),
        }
    }

    /// Each request gives the terminal's link time for the next, up to the deadline.
    fn rearm(&mut self, now: Instant, number: SessionId) {
        let Some(assisted) = self.assisted.get(&number) else { return };
        let at = (now + SILENCE).min(assisted.deadline);
        self.timers.set(Timer::Assisted(number), Some(at));
    }

    fn assisted_step(&mut self, number: SessionId, work: Work) {
        let strangers = self.assisted.get(&number).is_some_and(|assisted| assisted.connection.is_callers());
        self.outputs.push_back(Output::Step(Step { carrier: Carrier::Terminal(number), strangers, work }));
    }

    /// The session, if it is this terminal's.
    fn assisted_of(&mut self, id: &TerminalId, number: SessionId) -> Result<&mut Assisted, Error> {
        let assisted = self.assisted.get_mut(&number).filter(|assisted| assisted.session.terminal == *id);
        assisted.ok_or_else(|| Error::new(Reason::STALE, "there is no such assisted session (any more); start again"))
    }

    fn carry(
        &mut self,
        now: Instant,
        id: &TerminalId,
        exchange: ExchangeId,
        number: SessionId,
        insert: impl FnOnce(&mut Pieces) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let assisted = self.assisted_of(id, number)?;
        let taken = assisted.take_piece(insert);
        assisted.waiting.push_back(exchange);
        match taken {
            Ok(()) => {
                self.rearm(now, number);
                self.advance(now, number);
            }
            Err(error) => self.fail_assisted(now, number, error, Vec::new()),
        }
        Ok(())
    }

    /// Feeds the next record, or answers what waits.
    fn advance(&mut self, now: Instant, number: SessionId) {
        let Some(assisted) = self.assisted.get_mut(&number) else { return };
        match std::mem::replace(&mut assisted.phase, Phase::Stepping) {
            Phase::Waiting(mut handshake) => match assisted.pieces.take_record() {
                Some(record) => self.assisted_step(number, Work::Feed { handshake, record }),
                None if assisted.pieces.is_closed() => {
                    let error = handshake.peer_closed();
                    let mut last_words = Vec::new();
                    handshake.drain(&mut last_words);
                    self.fail_assisted(now, number, error, last_words);
                }
                None => {
                    let next = if handshake.peer_proved() { KxStep::KEY_GENERATION } else { KxStep::AUTHENTICATION };
                    assisted.phase = Phase::Waiting(handshake);
                    self.answer(now, number, next);
                }
            },
            Phase::Established(established) => {
                assisted.phase = Phase::Established(established);
                self.answer(now, number, KxStep::KEY);
            }
            other => assisted.phase = other,
        }
    }

    /// Answers every request that waits; the first answer has all that is to be sent.
    fn answer(&mut self, now: Instant, number: SessionId, next: KxStep) {
        let Some(assisted) = self.assisted.get_mut(&number) else { return };
        if assisted.to_peer.len() > KxAnswer::MAX_SEND {
            assisted.to_peer.clear();
            let error = Error::new(Reason::INTERNAL, "the terminal's certificate chain is too long to be carried");
            return self.fail_assisted(now, number, error, Vec::new());
        }
        let terminal = assisted.session.terminal.clone();
        let mut answers = Vec::new();
        while let Some(exchange) = assisted.waiting.pop_front() {
            let (needed, address) = match assisted.start.take() {
                Some(start) => (start.needed, start.address),
                None => (Vec::new(), None),
            };
            let send = std::mem::take(&mut assisted.to_peer);
            answers.push((exchange, KxAnswer { session: number, next, needed, send, address }));
        }
        for (exchange, answer) in answers {
            self.respond(now, &terminal, exchange, Code::CONTENT, answer.encode());
        }
    }

    pub(super) fn assisted_stepped(
        &mut self,
        now: Instant,
        number: SessionId,
        stepped: Stepped,
        crypto_time: Duration,
    ) {
        let Stepped { handshake, mut to_peer, outcome, .. } = stepped;
        let Some(assisted) = self.assisted.get_mut(&number) else { return };
        assisted.session.crypto_time = assisted.session.crypto_time.saturating_add(crypto_time);
        match (outcome, handshake) {
            (Ok(Progress::Handshaking), Some(handshake)) => {
                assisted.to_peer.append(&mut to_peer);
                assisted.phase = Phase::Waiting(handshake);
            }
            (Ok(Progress::Established(established)), _) => {
                assisted.to_peer.append(&mut to_peer);
                assisted.session.version = Some(established.version);
                assisted.phase = Phase::Established(established);
            }
            (Ok(Progress::Handshaking), None) => {
                let error = Error::new(Reason::INTERNAL, "a handshake step lost its session");
                return self.fail_assisted(now, number, error, to_peer);
            }
            (Err(error), _) => return self.fail_assisted(now, number, error, to_peer),
        }
        self.advance(now, number);
    }

    /// The terminal asks for the keys, having carried `length` bytes of the peer's in all.
    fn key(
        &mut self,
        now: Instant,
        id: &TerminalId,
        exchange: ExchangeId,
        number: SessionId,
        length: u32,
        binding: Binding,
    ) -> Result<(), Error> {
        let assisted = self.assisted_of(id, number)?;
        match assisted.take_keys(length, binding) {
            Ok((established, prefix)) => {
                self.respond(now, id, exchange, Code::CHANGED, Zeroizing::default());
                self.deliver_keys(now, Carrier::Terminal(number), established, binding, prefix);
            }
            Err(error) => {
                assisted.waiting.push_back(exchange);
                self.fail_assisted(now, number, error, Vec::new());
            }
        }
        Ok(())
    }

    /// The terminal has the keys.
    pub(super) fn assisted_keys_arrived(&mut self, now: Instant, number: SessionId) {
        if let Some(assisted) = self.remove_assisted(now, number) {
            tracing::info!(session = number.0, "session handed over");
            tracing::debug!(session = number.0, terminal = %assisted.session.terminal, "of this terminal");
            self.stats.sessions_delivered = self.stats.sessions_delivered.saturating_add(1);
            self.stats.sessions_ended = self.stats.sessions_ended.saturating_add(1);
            self.stats.handshake(assisted.session.kind(None));
            count(&mut self.stats.handovers, "assisted");
        }
    }

    /// Ends an assisted handshake: whoever waits hears why, and what to tell the peer.
    pub(super) fn fail_assisted(&mut self, now: Instant, number: SessionId, error: Error, last_words: Vec<u8>) {
        let Some(mut assisted) = self.remove_assisted(now, number) else { return };
        let terminal = &assisted.session.terminal;
        tracing::info!(session = number.0, %error, "handshake failed");
        tracing::debug!(session = number.0, %terminal, "of this terminal");
        self.stats.handshake(assisted.session.kind(Some(error.reason)));
        if assisted.waiting.is_empty() {
            return self.tell_failure(now, terminal, number, &error);
        }
        // What was to be sent before still goes first. Whichever answer comes first ends the session, so each has it.
        assisted.to_peer.extend(last_words);
        while let Some(exchange) = assisted.waiting.pop_front() {
            let failure = failure(Some(number), &error, assisted.to_peer.clone());
            self.respond(now, terminal, exchange, answer_code(&error), failure.encode());
        }
    }

    pub(super) fn assisted_timeout(&mut self, now: Instant, number: SessionId) {
        let Some(assisted) = self.assisted.get(&number) else { return };
        let error = match assisted.phase {
            Phase::Waiting(_) => Error::new(Reason::PEER_STALLED, "nothing of the peer was carried for too long"),
            Phase::Stepping => {
                Error::new(Reason::OVERLOADED, "the gateway had no time for this handshake; try again later")
            }
            Phase::Established(_) => Error::new(Reason::STALE, "nobody asked for the keys; they are gone"),
            Phase::Delivering => {
                Error::new(Reason::NOT_ACKNOWLEDGED, "the terminal did not acknowledge its session keys in time")
            }
        };
        self.fail_assisted(now, number, error, Vec::new());
    }

    /// Takes it out of every table and gives its place back.
    pub(super) fn remove_assisted(&mut self, now: Instant, number: SessionId) -> Option<Assisted> {
        let assisted = self.assisted.remove(&number)?;
        self.timers.set(Timer::Assisted(number), None);
        self.sessions.remove(&number);
        self.forget_delivery(now, Carrier::Terminal(number));
        let terminal = &assisted.session.terminal;
        match assisted.connection {
            Connection::Client { .. } => self.settle_own(terminal),
            Connection::Server(binding) => self.settle_caller(terminal, binding.remote.ip()),
        }
        Some(assisted)
    }
}
