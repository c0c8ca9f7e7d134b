//! `/kf/connect`: a terminal names a peer. Policy decides on the name, then on the resolved address; the
//! answer pins that address and opens an offer. Nothing leaves the gateway before.

use std::net::{IpAddr, SocketAddr};

use keyferry_channel::{self as channel, Code, ExchangeId, Instant, Method};
use keyferry_parsers::messages::{
    Connect, ConnectAnswer, Echo, Failure, MessageError, PeerName, Problem, Protocol, Reason, SessionId,
};
use zeroize::Zeroizing;

use super::offers::Offer;
use super::session::{Wanted, computable};
use super::timers::Timer;
use super::{Gateway, LookupId, Output};
use crate::error::{Error, Fault};
use crate::policy::{Decision, PeerQuery};
use crate::stats::{HandshakeKind, count};
use crate::terminals::TerminalId;

/// A request that waits for its peer's address.
pub(super) struct Lookup {
    pub(super) terminal: TerminalId,
    pub(super) exchange: ExchangeId,
    pub(super) request: Connect,
    pub(super) decision: Decision,
    /// Who will carry the bytes: the terminal, or the gateway on the path.
    pub(super) assisted: bool,
}

impl Lookup {
    pub(super) fn is_of(&self, terminal: &TerminalId) -> bool {
        self.terminal == *terminal
    }
}

impl Gateway {
    /// A request of a terminal, authenticated and fresh.
    pub(super) fn request(
        &mut self,
        now: Instant,
        terminal: &TerminalId,
        exchange: ExchangeId,
        code: Method,
        path: &str,
        payload: &[u8],
    ) {
        match (code, path) {
            (Method::POST, "/kf/connect") => {
                if let Err(error) = self.connect(now, terminal, exchange, payload) {
                    self.refuse(now, terminal, exchange, &error);
                }
            }
            (Method::POST, "/kf/kx") => {
                if let Err(error) = self.key_exchange(now, terminal, exchange, payload) {
                    self.refuse(now, terminal, exchange, &error);
                }
            }
            (Method::POST, "/kf/listen") => match self.listen(now, terminal, payload) {
                Ok(answer) => self.respond(now, terminal, exchange, Code::CONTENT, answer.encode()),
                Err(error) => self.refuse(now, terminal, exchange, &error),
            },
            (Method::POST, "/kf/ticket") => match self.ticket(now, terminal, payload) {
                Ok(()) => self.respond(now, terminal, exchange, Code::CHANGED, Zeroizing::default()),
                Err(error) => self.refuse(now, terminal, exchange, &error),
            },
            (Method::POST, "/kf/echo") => match Echo::decode(payload) {
                Ok(echo) => self.respond(now, terminal, exchange, Code::CONTENT, echo.encode()),
                Err(error) => {
                    let error = Error::new(Reason::MALFORMED_REQUEST, format!("echo: {error}"));
                    self.refuse(now, terminal, exchange, &error);
                }
            },
            (_, "/kf/connect" | "/kf/kx" | "/kf/listen" | "/kf/ticket" | "/kf/echo") => {
                let error = Error::new(Reason::MALFORMED_REQUEST, "this resource takes POST only");
                self.refuse(now, terminal, exchange, &error);
            }
            _ => {
                let error = Error::new(Reason::UNSUPPORTED, "no such resource on this gateway");
                self.refuse(now, terminal, exchange, &error);
            }
        }
    }

    fn connect(&mut self, now: Instant, id: &TerminalId, exchange: ExchangeId, payload: &[u8]) -> Result<(), Error> {
        let request = Connect::decode(payload).map_err(|error| unreadable(&error))?;
        self.check_whereabouts(id)?;
        let decision = self.decide(id, &request)?;
        self.admit_handshake(now, id)?;
        let addresses = match (&request.peer, decision.rule.addresses.is_empty()) {
            (PeerName::Address(address), _) => vec![*address],
            (PeerName::Name(_), false) => decision.rule.addresses.clone(),
            (PeerName::Name(name), true) => {
                let name = name.clone();
                let pending = Lookup { terminal: id.clone(), exchange, request, decision, assisted: false };
                self.look_up(now, name, pending);
                return Ok(());
            }
        };
        let offered = self.offer(now, id, exchange, &request, decision, &addresses);
        if offered.is_err() {
            self.release(id);
        }
        offered
    }

    /// A terminal that speaks from an address of another one has none that it could open a connection from.
    fn check_whereabouts(&self, id: &TerminalId) -> Result<(), Error> {
        match self.terminals.get(id) {
            Some(terminal) if terminal.answering != terminal.path => Err(Error::new(
                Reason::ADDRESS_NOT_BOUND,
                "the request came from an address that is another terminal's; use one of its own",
            )),
            _ => Ok(()),
        }
    }

    /// What policy says to a request.
    pub(super) fn decide(&self, id: &TerminalId, request: &Connect) -> Result<Decision, Error> {
        if request.protocol != Protocol::TLS {
            return Err(Error::new(Reason::UNSUPPORTED, "this gateway serves TLS only"));
        }
        let who = self.terminal_ref(id).ok_or_else(|| Error::new(Reason::INTERNAL, "terminal is gone"))?;
        let query = PeerQuery {
            peer: &request.peer,
            port: request.port,
            server_name: request.sni.as_deref(),
            alpn: &request.alpn,
        };
        self.policy.lookup(&who, &query)
    }

    pub(super) fn look_up(&mut self, now: Instant, name: String, pending: Lookup) {
        let lookup = LookupId(self.number());
        self.lookups.insert(lookup, pending);
        self.timers.set(Timer::Lookup(lookup), Some(now + self.settings.lookup_time));
        self.outputs.push_back(Output::Resolve { lookup, name });
    }

    /// A name lookup ended, or its time is over (no addresses).
    pub(super) fn resolved(&mut self, now: Instant, lookup: LookupId, addresses: Vec<IpAddr>) {
        let Some(pending) = self.lookups.remove(&lookup) else {
            return;
        };
        self.timers.set(Timer::Lookup(lookup), None);
        if pending.assisted {
            // The terminal opens the connection, and may know by itself where to.
            return self.assist(now, pending, &addresses);
        }
        let Lookup { terminal, exchange, request, decision, .. } = pending;
        let offered = if addresses.is_empty() {
            Err(Error::new(
                Reason::NAME_NOT_FOUND,
                "the peer's name does not resolve on the gateway; check its resolver or give addresses in the rule",
            ))
        } else {
            self.offer(now, &terminal, exchange, &request, decision, &addresses)
        };
        if let Err(error) = offered {
            self.release(&terminal);
            self.refuse(now, &terminal, exchange, &error);
        }
    }

    fn offer(
        &mut self,
        now: Instant,
        id: &TerminalId,
        exchange: ExchangeId,
        request: &Connect,
        decision: Decision,
        addresses: &[IpAddr],
    ) -> Result<(), Error> {
        let peer = SocketAddr::new(self.choose_address(id, addresses)?, request.port);
        self.check_source_port(id, request.source_port, peer)?;
        let session = self.new_session();
        let cipher_suites = computable(&request.cipher_suites, request.oldest_version);
        let wanted = Wanted::Peer { decision, cipher_suites };
        let offer = Offer { session, terminal: id.clone(), source_port: request.source_port, peer, wanted };
        if let Some(replaced) = self.offers.insert(offer) {
            self.timers.set(Timer::Offer(replaced.session), None);
            self.release(id);
        }
        self.timers.set(Timer::Offer(session), Some(now + self.settings.offer_time));
        let seconds = u32::try_from(self.settings.offer_time.as_secs()).unwrap_or(u32::MAX);
        let answer = ConnectAnswer { session, address: peer.ip(), seconds };
        self.respond(now, id, exchange, Code::CONTENT, answer.encode());
        Ok(())
    }

    /// The first address that policy allows and that the terminal can reach with one of its own.
    fn choose_address(&self, id: &TerminalId, addresses: &[IpAddr]) -> Result<IpAddr, Error> {
        let own = self.terminals.get(id).map(|terminal| terminal.addresses()).unwrap_or_default();
        let reachable = |address: &&IpAddr| own.iter().any(|own| own.is_ipv4() == address.is_ipv4());
        let mut refusal = None;
        for address in addresses.iter().filter(reachable) {
            match self.check_address(*address) {
                Ok(()) => return Ok(*address),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or_else(|| {
            Error::new(
                Reason::ADDRESS_NOT_BOUND,
                "the peer has no address of a family the terminal has; add one of that family to the terminal",
            )
        }))
    }

    /// Judges a resolved address: neither the gateway itself, nor another terminal, nor a closed network.
    pub(super) fn check_address(&self, address: IpAddr) -> Result<(), Error> {
        self.guard.check(address, |address| !self.terminals.at(address).is_empty())
    }

    /// Two terminals behind one address cannot use the same port to the same peer: nobody could tell
    /// whose packets they are. Nor can one connection carry two sessions.
    fn check_source_port(&self, id: &TerminalId, port: u16, peer: SocketAddr) -> Result<(), Error> {
        let addresses = self.terminals.get(id).map(|terminal| terminal.addresses()).unwrap_or_default();
        let neighbours = addresses.iter().flat_map(|address| self.terminals.at(*address));
        let taken = neighbours.filter(|other| *other != id).any(|other| self.offers.expects(other, port, peer));
        let connection = |address: &IpAddr| (SocketAddr::new(*address, port), peer);
        let running = addresses.iter().any(|address| self.connections.contains(&connection(address)));
        if taken || running {
            return Err(Error::new(Reason::SOURCE_PORT_IN_USE, "connect from another source port"));
        }
        Ok(())
    }

    /// The terminal did not open TCP in time.
    pub(super) fn offer_lapsed(&mut self, now: Instant, session: SessionId) {
        if let Some(offer) = self.offers.remove(session) {
            self.release(&offer.terminal);
            let error = Error::new(Reason::NOT_OPENED, "the terminal did not open the TCP connection it asked for");
            let kind = HandshakeKind { protocol: "tls", role: offer.wanted.role(), failure: Some(error.reason) };
            self.stats.handshake(kind);
            self.tell_failure(now, &offer.terminal, session, &error);
        }
    }

    /// Takes a place for one handshake.
    pub(super) fn admit_handshake(&mut self, now: Instant, id: &TerminalId) -> Result<(), Error> {
        let open = self.offers.len().saturating_add(self.pending).saturating_add(self.lookups.len());
        if open >= self.settings.pending {
            return Err(Error::new(Reason::OVERLOADED, "too many handshakes are open on the gateway; try again later"));
        }
        let limit = self.settings.pending_per_terminal;
        let terminal = self.terminals.get_mut(id).ok_or_else(|| Error::new(Reason::INTERNAL, "terminal is gone"))?;
        if terminal.quota.sessions() >= self.settings.sessions_per_terminal {
            return Err(Error::new(Reason::QUOTA, "this terminal has as many sessions as it may; close some"));
        }
        if !terminal.quota.admit(now, limit) {
            return Err(Error::new(Reason::QUOTA, "this terminal opens more handshakes than its quota; slow down"));
        }
        Ok(())
    }

    /// Gives a place back.
    pub(super) fn release(&mut self, id: &TerminalId) {
        if let Some(terminal) = self.terminals.get_mut(id) {
            terminal.quota.release();
        }
    }

    pub(super) fn refuse(&mut self, now: Instant, terminal: &TerminalId, exchange: ExchangeId, error: &Error) {
        tracing::debug!(%terminal, %error, "request refused");
        count(&mut self.stats.requests_refused, error.reason);
        let failure = failure(None, error, Vec::new());
        self.respond(now, terminal, exchange, answer_code(error), failure.encode());
    }

    pub(super) fn respond(
        &mut self,
        now: Instant,
        terminal: &TerminalId,
        exchange: ExchangeId,
        code: Code,
        payload: Zeroizing<Vec<u8>>,
    ) {
        if let Err(refused) = self.tell(now, terminal, channel::Input::Respond { exchange, code, payload }) {
            tracing::debug!(%terminal, %refused, "answer could not be sent");
        }
    }
}

/// The refusal of a request that is no message, or one of a later version.
pub(super) fn unreadable(error: &MessageError) -> Error {
    let unknown = error.problem == Problem::Unsupported;
    let reason = if unknown { Reason::UNSUPPORTED } else { Reason::MALFORMED_REQUEST };
    Error::new(reason, error.to_string())
}

/// What a terminal is told of a failure.
pub(super) fn failure(session: Option<SessionId>, error: &Error, last_words: Vec<u8>) -> Failure {
    Failure { session, reason: error.reason, detail: Some(error.detail.to_string()), last_words }
}

/// The CoAP code that goes with a failure.
pub(super) fn answer_code(error: &Error) -> Code {
    match (error.fault, error.reason) {
        (_, Reason::QUOTA) => Code::TOO_MANY_REQUESTS,
        (_, Reason::UNSUPPORTED) => Code::NOT_FOUND,
        (Fault::TerminalMisbehaved, _) => Code::BAD_REQUEST,
        (Fault::Policy, _) => Code::FORBIDDEN,
        (Fault::PeerMisbehaved | Fault::PeerIncompatible, _) => Code::BAD_GATEWAY,
        (Fault::Internal, _) => Code::SERVICE_UNAVAILABLE,
    }
}
