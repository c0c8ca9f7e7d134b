//! One TCP connection of a terminal, from its opening to the hand-over: the peer is connected, the
//! handshake runs step by step on workers, then the keys leave and the gateway steps out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keyferry_channel::Instant;
use keyferry_parsers::messages::{Connect, Reason, SessionId};

use super::offers::{Offer, Wanted};
use super::step::{Step, Stepped, Work};
use super::timers::Timer;
use super::{FlowId, Gateway, Output};
use crate::error::Error;
use crate::policy::TerminalRef;
use crate::stats::{HandshakeKind, count, record};
use crate::terminals::TerminalId;
use crate::tls::{Established, Handshake, Offer as TlsOffer, Progress, ServerIdentity};

/// A TCP connection that is being, or has been, given its keys.
pub(super) struct Flow {
    pub(super) terminal: TerminalId,
    pub(super) session: SessionId,
    /// The terminal's end.
    pub(super) local: SocketAddr,
    /// The peer's end.
    pub(super) remote: SocketAddr,
    pub(super) wanted: Wanted,
    pub(super) opened: Instant,
    pub(super) crypto_time: Duration,
    pub(super) phase: Phase,
}

/// How far a flow has come.
pub(super) enum Phase {
    /// The driver opens the connection to the peer.
    Connecting,
    /// The handshake waits for a record of the peer.
    Waiting(Box<dyn Handshake>),
    /// The handshake is on a worker.
    Stepping,
    /// The driver takes the gateway out of the path.
    HandingOver(Box<Established>),
    /// The keys are on their way to the terminal.
    Delivering,
    /// The terminal has its keys; nothing here could decrypt.
    Delivered,
}

/// How a flow was taken out of the gateway's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoverKind {
    /// User space copies ciphertext between two connections. The text says why.
    Relay(&'static str),
}

/// What a handed-over flow carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowEnd {
    /// Bytes from the terminal to the peer.
    pub up: u64,
    /// Bytes from the peer to the terminal.
    pub down: u64,
}

impl Gateway {
    pub(super) fn flow_opened(&mut self, now: Instant, id: FlowId, local: SocketAddr, remote: SocketAddr) {
        match self.explain(now, local, remote) {
            Ok(offer) => {
                self.timers.set(Timer::Offer(offer.session), None);
                self.timers.set(Timer::Flow(id), Some(now + self.settings.handshake_time));
                self.pending_flows = self.pending_flows.saturating_add(1);
                self.by_session.insert(offer.session, id);
                let flow = Flow {
                    terminal: offer.terminal,
                    session: offer.session,
                    local,
                    remote,
                    wanted: offer.wanted,
                    opened: now,
                    crypto_time: Duration::ZERO,
                    phase: Phase::Connecting,
                };
                self.connections.insert((flow.local, flow.remote));
                self.flows.insert(id, flow);
                self.outputs.push_back(Output::ConnectPeer(id));
            }
            Err(cause) => {
                tracing::debug!(%local, %remote, cause, "TCP connection refused");
                count(&mut self.stats.flows_refused, cause);
                self.outputs.push_back(Output::Reset { flow: id, last_words: Vec::new() });
            }
        }
    }

    /// Finds why a terminal opened this connection: it said so before, or policy maps the destination.
    fn explain(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr) -> Result<Offer, &'static str> {
        let here: Vec<TerminalId> = self.terminals.at(local.ip()).to_vec();
        for terminal in &here {
            if let Some(offer) = self.offers.take(terminal, local.port(), remote) {
                return Ok(offer);
            }
        }
        let shared = |id: &TerminalId| self.terminals.get(id).is_some_and(|terminal| terminal.record.shared_address);
        if here.iter().any(shared) {
            return Err("several terminals may share this address");
        }
        let [terminal] = here.as_slice() else {
            return Err(if here.is_empty() {
                "no terminal has this address"
            } else {
                "several terminals share this address"
            });
        };
        let wanted = self.mapped(terminal, remote).ok_or("neither asked for nor mapped by policy")?;
        self.check_address(remote.ip()).map_err(|_| "forbidden address")?;
        self.admit_handshake(now, terminal).map_err(|_| "quota")?;
        let session = self.new_session();
        Ok(Offer { session, terminal: terminal.clone(), source_port: local.port(), peer: remote, wanted })
    }

    pub(super) fn peer_connected(&mut self, now: Instant, id: FlowId) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        if !matches!(flow.phase, Phase::Connecting) {
            return;
        }
        flow.phase = Phase::Stepping;
        let Wanted { decision, cipher_suites } = &flow.wanted;
        let offer = TlsOffer {
            server: identity(&decision.rule.name),
            alpn: decision.alpn.clone(),
            suites: cipher_suites.clone(),
        };
        match self.clients.get(decision.index).filter(|_| decision.revision == self.policy.revision()) {
            Some(client) => {
                let work = Work::Start { client: Arc::clone(client), offer };
                self.outputs.push_back(Output::Step(Step { flow: id, work }));
            }
            None => {
                let error = Error::new(Reason::INTERNAL, "policy changed while the connection was opened; try again");
                self.fail_flow(now, id, error, Vec::new());
            }
        }
    }

    /// What policy says of a connection nobody asked for.
    fn mapped(&self, id: &TerminalId, remote: SocketAddr) -> Option<Wanted> {
        let terminal = self.terminals.get(id)?;
        let who = TerminalRef { id: id.as_str(), group: terminal.record.group.as_deref() };
        let decision = self.policy.lookup_destination(&who, remote)?;
        Some(Wanted { decision, cipher_suites: Connect::DEFAULT_CIPHER_SUITES.to_vec() })
    }

    pub(super) fn peer_record(&mut self, id: FlowId, record: Vec<u8>) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        match std::mem::replace(&mut flow.phase, Phase::Stepping) {
            Phase::Waiting(handshake) => {
                self.outputs.push_back(Output::Step(Step { flow: id, work: Work::Feed { handshake, record } }));
            }
            // Not asked for; the driver reads only when told.
            other => flow.phase = other,
        }
    }

    pub(super) fn peer_closed(&mut self, now: Instant, id: FlowId) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        // Reported where a record was asked for, and then the handshake is at home.
        let Phase::Waiting(handshake) = &mut flow.phase else { return };
        let error = handshake.peer_closed();
        let mut last_words = Vec::new();
        handshake.drain(&mut last_words);
        self.fail_flow(now, id, error, last_words);
    }

    pub(super) fn stepped(&mut self, now: Instant, stepped: Stepped, queue_time: Duration, crypto_time: Duration) {
        record(&mut self.stats.queue_time, queue_time);
        let Stepped { flow: id, handshake, to_peer, outcome } = stepped;
        // The flow may have failed meanwhile: its secrets end here with the step.
        let Some(flow) = self.flows.get_mut(&id) else { return };
        flow.crypto_time = flow.crypto_time.saturating_add(crypto_time);
        match (outcome, handshake) {
            (Ok(Progress::Handshaking), Some(handshake)) => {
                flow.phase = Phase::Waiting(handshake);
                self.write_peer(id, to_peer);
                self.outputs.push_back(Output::ReadPeer(id));
            }
            (Ok(Progress::Established(established)), _) => {
                flow.phase = Phase::HandingOver(established);
                self.write_peer(id, to_peer);
                self.outputs.push_back(Output::HandOver(id));
            }
            (Ok(Progress::Handshaking), None) => {
                let error = Error::new(Reason::INTERNAL, "a handshake step lost its session");
                self.fail_flow(now, id, error, to_peer);
            }
            (Err(error), _) => self.fail_flow(now, id, error, to_peer),
        }
    }

    fn write_peer(&mut self, flow: FlowId, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.outputs.push_back(Output::WritePeer { flow, bytes });
        }
    }

    /// Ends a flow before its keys were delivered: the peer hears `last_words`, the terminal why.
    pub(super) fn fail_flow(&mut self, now: Instant, id: FlowId, error: Error, last_words: Vec<u8>) {
        let Some(flow) = self.remove_flow(now, id) else { return };
        self.outputs.push_back(Output::Reset { flow: id, last_words });
        tracing::info!(session = flow.session.0, %error, "handshake failed");
        tracing::debug!(session = flow.session.0, terminal = %flow.terminal, peer = %flow.remote, "of this flow");
        self.count_handshake(Some(error.reason));
        self.tell_failure(now, &flow.terminal, flow.session, &error);
    }

    pub(super) fn flow_timeout(&mut self, now: Instant, id: FlowId) {
        let Some(flow) = self.flows.get(&id) else { return };
        let error = match flow.phase {
            Phase::Delivered => return self.session_expired(now, id),
            Phase::Delivering => {
                Error::new(Reason::NOT_ACKNOWLEDGED, "the terminal did not acknowledge its session keys in time")
            }
            Phase::Connecting => {
                Error::new(Reason::PEER_UNREACHABLE, "the peer does not answer; check address and route")
            }
            Phase::Waiting(_) => Error::new(Reason::PEER_STALLED, "the peer fell silent in the handshake"),
            Phase::Stepping | Phase::HandingOver(_) => {
                Error::new(Reason::OVERLOADED, "the gateway had no time for this handshake; try again later")
            }
        };
        self.fail_flow(now, id, error, Vec::new());
    }

    /// The session outlived what its terminal was told; a sound terminal has closed it before.
    fn session_expired(&mut self, now: Instant, id: FlowId) {
        if let Some(flow) = self.remove_flow(now, id) {
            self.outputs.push_back(Output::Reset { flow: id, last_words: Vec::new() });
            tracing::info!(session = flow.session.0, "session reset at the end of its lifetime");
        }
    }

    pub(super) fn flow_ended(&mut self, now: Instant, id: FlowId, end: FlowEnd) {
        let Some(flow) = self.remove_flow(now, id) else { return };
        self.stats.bytes_up = self.stats.bytes_up.saturating_add(end.up);
        self.stats.bytes_down = self.stats.bytes_down.saturating_add(end.down);
        if !matches!(flow.phase, Phase::Delivered) {
            // Ended before the terminal had its keys: of no use to it.
            let error = Error::new(Reason::PEER_CLOSED, "the connection ended before the keys were delivered");
            self.count_handshake(Some(error.reason));
            self.tell_failure(now, &flow.terminal, flow.session, &error);
        }
    }

    /// Takes a flow out of every table and gives its place back.
    pub(super) fn remove_flow(&mut self, now: Instant, id: FlowId) -> Option<Flow> {
        let flow = self.flows.remove(&id)?;
        self.timers.set(Timer::Flow(id), None);
        self.by_session.remove(&flow.session);
        self.connections.remove(&(flow.local, flow.remote));
        self.forget_delivery(now, id);
        match flow.phase {
            Phase::Delivered => self.stats.sessions_ended = self.stats.sessions_ended.saturating_add(1),
            _ => self.settle(&flow.terminal),
        }
        if let (Phase::Delivered, Some(terminal)) = (&flow.phase, self.terminals.get_mut(&flow.terminal)) {
            terminal.quota.session_ended();
        }
        Some(flow)
    }

    /// A handshake is no longer pending, whichever way it ended.
    pub(super) fn settle(&mut self, terminal: &TerminalId) {
        self.pending_flows = self.pending_flows.saturating_sub(1);
        self.release(terminal);
    }

    pub(super) fn count_handshake(&mut self, failure: Option<Reason>) {
        self.stats.handshake(HandshakeKind { protocol: "tls1.3", role: "client", failure });
    }
}

/// What the certificate must name: an address where the rule is named by one.
fn identity(name: &str) -> ServerIdentity {
    name.parse().map_or_else(|_| ServerIdentity::Name(name.to_owned()), ServerIdentity::Address)
}
