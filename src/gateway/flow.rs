//! One intercepted TCP connection, from its opening to the hand-over: the other leg is opened, the handshake
//! runs step by step on workers, then the keys leave and the gateway steps out.
//!
//! A terminal's connection is led on to the peer before the handshake; a peer's one to the terminal after it, so
//! that nobody reaches a terminal who has not finished a handshake first.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use keyferry_channel::Instant;
use keyferry_parsers::messages::Reason;

use super::offers::Offer;
use super::session::{Carrier, Session, Wanted, assumed_computable};
use super::step::{Step, Stepped, Work};
use super::timers::Timer;
use super::{Direction, FlowId, Gateway, Output};
use crate::error::Error;
use crate::stats::{count, record};
use crate::terminals::{Quota, TerminalId};
use crate::tls::{Established, Handshake, Progress};

/// A TCP connection that is being, or has been, given its keys.
pub(super) struct Flow {
    pub(super) session: Session,
    pub(super) direction: Direction,
    /// The terminal's end.
    pub(super) local: SocketAddr,
    /// The peer's end.
    pub(super) remote: SocketAddr,
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
    /// The driver opens the connection to the terminal.
    Reaching(Box<Established>),
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
    pub(super) fn flow_opened(
        &mut self,
        now: Instant,
        id: FlowId,
        (local, remote): (SocketAddr, SocketAddr),
        direction: Direction,
    ) {
        let explained = match direction {
            Direction::Outbound => self.explain(now, local, remote),
            Direction::Inbound => self.explain_inbound(now, local, remote),
        };
        match explained {
            Ok(session) => {
                self.timers.set(Timer::Flow(id), Some(now + self.settings.handshake_time));
                self.sessions.insert(session.number);
                self.connections.insert((local, remote));
                let phase = Phase::Connecting;
                self.flows.insert(id, Flow { session, direction, local, remote, phase });
                match direction {
                    Direction::Outbound => self.outputs.push_back(Output::ConnectPeer(id)),
                    Direction::Inbound => self.begin_flow(now, id),
                }
            }
            Err(cause) => {
                tracing::debug!(%local, %remote, cause, "TCP connection refused");
                count(&mut self.stats.flows_refused, cause);
                self.outputs.push_back(Output::Reset { flow: id, last_words: Vec::new() });
            }
        }
    }

    /// Finds why a terminal opened this connection: it said so before, or policy maps the destination.
    fn explain(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr) -> Result<Session, &'static str> {
        let here: Vec<TerminalId> = self.terminals.at(local.ip()).to_vec();
        for terminal in &here {
            if let Some(Offer { session, terminal, wanted, .. }) = self.offers.take(terminal, local.port(), remote) {
                self.timers.set(Timer::Offer(session), None);
                self.pending = self.pending.saturating_add(1);
                return Ok(Session::new(session, terminal, wanted, now));
            }
        }
        let terminal = self.only_one_at(&here)?;
        let wanted = self.mapped(terminal, remote).ok_or("neither asked for nor mapped by policy")?;
        self.check_address(remote.ip()).map_err(|_| "forbidden address")?;
        self.admit_handshake(now, terminal).map_err(|_| "quota")?;
        self.pending = self.pending.saturating_add(1);
        Ok(Session::new(self.new_session(), terminal.clone(), wanted, now))
    }

    /// Whom a connection belongs to that says nothing but its addresses.
    pub(super) fn only_one_at<'a>(&self, here: &'a [TerminalId]) -> Result<&'a TerminalId, &'static str> {
        let shared = |id: &TerminalId| self.terminals.get(id).is_some_and(|terminal| terminal.record.shared_address);
        match here {
            [] => Err("no terminal has this address"),
            here if here.iter().any(shared) => Err("several terminals may share this address"),
            [terminal] => Ok(terminal),
            _ => Err("several terminals share this address"),
        }
    }

    /// What policy says of a connection nobody asked for.
    fn mapped(&self, id: &TerminalId, remote: SocketAddr) -> Option<Wanted> {
        let decision = self.policy.lookup_destination(&self.terminal_ref(id)?, remote)?;
        Some(Wanted::Peer { decision, cipher_suites: assumed_computable() })
    }

    pub(super) fn peer_connected(&mut self, now: Instant, id: FlowId) {
        let connecting = |flow: &Flow| matches!(flow.phase, Phase::Connecting);
        if self.flows.get(&id).is_some_and(connecting) {
            self.begin_flow(now, id);
        }
    }

    fn begin_flow(&mut self, now: Instant, id: FlowId) {
        // Taken out for the moment, since what it needs is looked up in the rest of the gateway.
        let Some(flow) = self.flows.remove(&id) else { return };
        let work = self.begin(&flow.session, false);
        self.flows.insert(id, flow);
        match work {
            Ok(work) => self.step(id, work),
            Err(error) => self.fail_flow(now, id, error, Vec::new()),
        }
    }

    fn step(&mut self, id: FlowId, work: Work) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.phase = Phase::Stepping;
            let strangers = flow.direction == Direction::Inbound;
            self.outputs.push_back(Output::Step(Step { carrier: Carrier::Path(id), strangers, work }));
        }
    }

    /// The terminal accepted the peer's connection: it may get its keys.
    pub(super) fn terminal_connected(&mut self, now: Instant, id: FlowId) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        match std::mem::replace(&mut flow.phase, Phase::Stepping) {
            Phase::Reaching(established) => {
                flow.phase = Phase::HandingOver(established);
                self.outputs.push_back(Output::HandOver(id));
            }
            _ => self.fail_flow(now, id, Error::new(Reason::INTERNAL, "a leg opened out of turn"), Vec::new()),
        }
    }

    pub(super) fn peer_record(&mut self, id: FlowId, record: Vec<u8>) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        match std::mem::replace(&mut flow.phase, Phase::Stepping) {
            Phase::Waiting(handshake) => self.step(id, Work::Feed { handshake, record }),
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
        match stepped.carrier {
            Carrier::Path(flow) => self.flow_stepped(now, flow, stepped, crypto_time),
            Carrier::Terminal(session) => self.assisted_stepped(now, session, stepped, crypto_time),
        }
    }

    fn flow_stepped(&mut self, now: Instant, id: FlowId, stepped: Stepped, crypto_time: Duration) {
        let Stepped { handshake, to_peer, outcome, .. } = stepped;
        // The flow may have failed meanwhile: its secrets end here with the step.
        let Some(flow) = self.flows.get_mut(&id) else { return };
        flow.session.crypto_time = flow.session.crypto_time.saturating_add(crypto_time);
        match (outcome, handshake) {
            (Ok(Progress::Handshaking), Some(handshake)) => {
                flow.phase = Phase::Waiting(handshake);
                self.write_peer(id, to_peer);
                self.outputs.push_back(Output::ReadPeer(id));
            }
            (Ok(Progress::Established(established)), _) => {
                flow.session.version = Some(established.version);
                let inbound = flow.direction == Direction::Inbound;
                flow.phase = if inbound { Phase::Reaching(established) } else { Phase::HandingOver(established) };
                self.write_peer(id, to_peer);
                if inbound {
                    self.reach(id);
                } else {
                    self.outputs.push_back(Output::HandOver(id));
                }
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

    /// Ends a flow before its keys were delivered: the peer hears `last_words`, the terminal why if it had asked.
    pub(super) fn fail_flow(&mut self, now: Instant, id: FlowId, error: Error, last_words: Vec<u8>) {
        let Some(flow) = self.remove_flow(now, id) else { return };
        self.outputs.push_back(Output::Reset { flow: id, last_words });
        self.failed(now, &flow, &error);
    }

    /// Logs and counts a failure; the terminal hears of it if it had asked.
    fn failed(&mut self, now: Instant, flow: &Flow, error: &Error) {
        let session = flow.session.number.0;
        match flow.direction {
            Direction::Outbound => tracing::info!(session, %error, "handshake failed"),
            // Strangers must not fill the log; the figures have them all.
            Direction::Inbound => tracing::debug!(session, %error, "handshake failed"),
        }
        tracing::debug!(session, terminal = %flow.session.terminal, peer = %flow.remote, "of this flow");
        self.stats.handshake(flow.session.kind(Some(error.reason)));
        if flow.direction == Direction::Outbound {
            self.tell_failure(now, &flow.session.terminal, flow.session.number, error);
        }
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
            Phase::Reaching(_) => Error::new(Reason::NOT_LISTENING, "the terminal does not answer the connection"),
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
            tracing::info!(session = flow.session.number.0, "session reset at the end of its lifetime");
        }
    }

    pub(super) fn flow_ended(&mut self, now: Instant, id: FlowId, end: FlowEnd) {
        let Some(flow) = self.remove_flow(now, id) else { return };
        self.stats.bytes_up = self.stats.bytes_up.saturating_add(end.up);
        self.stats.bytes_down = self.stats.bytes_down.saturating_add(end.down);
        if !matches!(flow.phase, Phase::Delivered) {
            // Ended before the terminal had its keys: of no use to it.
            let error = Error::new(Reason::PEER_CLOSED, "the connection ended before the keys were delivered");
            self.failed(now, &flow, &error);
        }
    }

    /// Takes a flow out of every table and gives its place back.
    pub(super) fn remove_flow(&mut self, now: Instant, id: FlowId) -> Option<Flow> {
        let flow = self.flows.remove(&id)?;
        self.timers.set(Timer::Flow(id), None);
        self.sessions.remove(&flow.session.number);
        self.connections.remove(&(flow.local, flow.remote));
        self.forget_delivery(now, Carrier::Path(id));
        if matches!(flow.phase, Phase::Delivered) {
            self.stats.sessions_ended = self.stats.sessions_ended.saturating_add(1);
            if let Some(quota) = self.quota(&flow.session.terminal, flow.direction) {
                quota.session_ended();
            }
            if flow.direction == Direction::Inbound {
                self.callers.session_ended(flow.remote.ip(), &flow.session.terminal);
            }
        } else {
            self.settle(&flow.session.terminal, flow.direction, flow.remote.ip());
        }
        self.reached(&flow.session.terminal, id);
        Some(flow)
    }

    /// A handshake is no longer pending, whichever way it ended.
    pub(super) fn settle(&mut self, terminal: &TerminalId, direction: Direction, remote: IpAddr) {
        match direction {
            Direction::Outbound => self.settle_own(terminal),
            Direction::Inbound => self.settle_caller(terminal, remote),
        }
    }

    /// The same of one that the terminal asked for.
    pub(super) fn settle_own(&mut self, terminal: &TerminalId) {
        self.pending = self.pending.saturating_sub(1);
        self.release(terminal);
    }

    /// The same of one that a peer began.
    pub(super) fn settle_caller(&mut self, terminal: &TerminalId, caller: IpAddr) {
        self.callers.release(caller, terminal);
        if let Some(quota) = self.quota(terminal, Direction::Inbound) {
            quota.release();
        }
    }

    /// How much a terminal may still ask for, or others of it.
    pub(super) fn quota(&mut self, terminal: &TerminalId, direction: Direction) -> Option<&mut Quota> {
        let terminal = self.terminals.get_mut(terminal)?;
        Some(match direction {
            Direction::Outbound => &mut terminal.quota,
            Direction::Inbound => &mut terminal.inbound,
        })
    }
}
