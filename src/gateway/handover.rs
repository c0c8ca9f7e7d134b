//! The hand-over: keys leave over the terminal's channel once the flow has passed the point of no return,
//! and only to the terminal that owns the flow. What is left here afterwards could decrypt nothing.

use std::time::Duration;

use keyferry_channel::{self as channel, Code, Failure as ChannelFailure, Instant, Method, RequestId};
use keyferry_parsers::messages::{Binding, Failure, Handover, Limits, Reason, Secret, SessionId, SessionPush};

use super::connect::failure;
use super::flow::{HandoverKind, Phase};
use super::resumption::Taker;
use super::session::{Carrier, Session};
use super::timers::Timer;
use super::{Direction, FlowId, Gateway, Output};
use crate::error::Error;
use crate::stats::{count, record};
use crate::terminals::TerminalId;
use crate::tls::{self, Established};

/// What a terminal gets to close an expired session by itself.
const EXPIRY_MARGIN: Duration = Duration::from_secs(30);

impl Gateway {
    /// The driver took the gateway out of the path: the keys may leave.
    pub(super) fn handed_over(&mut self, now: Instant, id: FlowId, kind: HandoverKind, prefix: Vec<u8>) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let Phase::HandingOver(established) = std::mem::replace(&mut flow.phase, Phase::Delivering) else {
            return self.fail_flow(now, id, Error::new(Reason::INTERNAL, "hand-over out of turn"), Vec::new());
        };
        let HandoverKind::Relay(why) = kind;
        count(&mut self.stats.handovers, why);
        let binding = Binding { local: flow.local, remote: flow.remote };
        self.deliver_keys(now, Carrier::Path(id), *established, binding, prefix);
    }

    /// Sends a session's keys to its terminal; what can take its tickets stays.
    pub(super) fn deliver_keys(
        &mut self,
        now: Instant,
        carrier: Carrier,
        mut established: Established,
        binding: Binding,
        prefix: Vec<u8>,
    ) {
        let taker = established.ticket_taker.take();
        let Some(session) = self.session_of(carrier) else { return };
        match push(session, established, binding, prefix, taker.is_some()) {
            Ok(push) => {
                if let Some(taker) = taker {
                    let (terminal, number) = (session.terminal.clone(), session.number);
                    let until = now + Duration::from_secs(session.wanted.session_seconds().into());
                    self.resumption.keep(&terminal, number, Taker { taker, until });
                }
                self.deliver(now, carrier, &push);
            }
            Err(error) => self.fail(now, carrier, error),
        }
    }

    fn deliver(&mut self, now: Instant, carrier: Carrier, push: &SessionPush) {
        let request = RequestId(self.number());
        let Some(session) = self.session_of(carrier) else { return };
        let (terminal, opened, crypto_time) = (session.terminal.clone(), session.opened, session.crypto_time);
        record(&mut self.stats.handshake_time, now.saturating_duration_since(opened));
        record(&mut self.stats.crypto_time, crypto_time);
        self.timers.set(timer(carrier), Some(now + self.settings.delivery_time));
        self.deliveries.insert((terminal.clone(), request), carrier);
        let input = channel::Input::Request {
            id: request,
            code: Method::POST,
            path: &["kf", "session"],
            payload: push.encode(),
            handover: true,
        };
        if let Err(refused) = self.tell(now, &terminal, input) {
            self.not_acknowledged(now, carrier, format!("the terminal's channel takes no hand-over now: {refused}"));
        }
    }

    fn session_of(&self, carrier: Carrier) -> Option<&Session> {
        match carrier {
            Carrier::Path(flow) => self.flows.get(&flow).map(|flow| &flow.session),
            Carrier::Terminal(session) => self.assisted.get(&session).map(|assisted| &assisted.session),
        }
    }

    fn not_acknowledged(&mut self, now: Instant, carrier: Carrier, detail: String) {
        self.fail(now, carrier, Error::new(Reason::NOT_ACKNOWLEDGED, detail));
    }

    fn fail(&mut self, now: Instant, carrier: Carrier, error: Error) {
        match carrier {
            Carrier::Path(flow) => self.fail_flow(now, flow, error, Vec::new()),
            Carrier::Terminal(session) => self.fail_assisted(now, session, error, Vec::new()),
        }
    }

    /// The terminal answered a request of ours.
    pub(super) fn delivered(
        &mut self,
        now: Instant,
        terminal: &TerminalId,
        request: RequestId,
        code: Code,
        payload: &[u8],
    ) {
        let Some(carrier) = self.deliveries.remove(&(terminal.clone(), request)) else {
            return; // the answer to a failure notice or an echo
        };
        if code != Code::CHANGED {
            let said = Failure::decode(payload).ok().map_or(Reason::MALFORMED_REQUEST, |failure| failure.reason);
            return self.not_acknowledged(now, carrier, format!("the terminal refused its session keys: {said}"));
        }
        match carrier {
            Carrier::Path(flow) => self.keys_arrived(now, flow),
            Carrier::Terminal(session) => self.assisted_keys_arrived(now, session),
        }
    }

    /// The terminal has the keys of this flow.
    fn keys_arrived(&mut self, now: Instant, id: FlowId) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        flow.phase = Phase::Delivered;
        let (terminal, direction, remote) = (flow.session.terminal.clone(), flow.direction, flow.remote);
        let session = flow.session.number.0;
        let kind = flow.session.kind(None);
        let lifetime = Duration::from_secs(flow.session.wanted.session_seconds().into());
        tracing::info!(session, "session handed over");
        tracing::debug!(session, %terminal, peer = %remote, "of this flow");
        self.timers.set(Timer::Flow(id), Some(now + lifetime + EXPIRY_MARGIN));
        self.outputs.push_back(Output::Open(id));
        self.settle(&terminal, direction, remote.ip());
        if let Some(quota) = self.quota(&terminal, direction) {
            quota.session_began();
        }
        if direction == Direction::Inbound {
            self.callers.session_began(remote.ip(), &terminal);
        }
        self.reached(&terminal, id);
        self.stats.sessions_delivered = self.stats.sessions_delivered.saturating_add(1);
        self.stats.handshake(kind);
    }

    /// A request of ours was given up.
    pub(super) fn undelivered(&mut self, now: Instant, terminal: &TerminalId, request: RequestId, why: ChannelFailure) {
        if let Some(carrier) = self.deliveries.remove(&(terminal.clone(), request)) {
            self.not_acknowledged(now, carrier, format!("the session keys did not reach the terminal: {why}"));
        }
    }

    /// Tells a terminal that a session will not come to be.
    pub(super) fn tell_failure(&mut self, now: Instant, terminal: &TerminalId, session: SessionId, error: &Error) {
        let failure = failure(Some(session), error, Vec::new());
        let input = channel::Input::Request {
            id: RequestId(self.number()),
            code: Method::POST,
            path: &["kf", "session"],
            payload: failure.encode(),
            handover: false,
        };
        if let Err(refused) = self.tell(now, terminal, input) {
            tracing::debug!(%terminal, %refused, "failure notice could not be sent");
        }
    }

    /// Drops a delivery that is under way, so that no key leaves with a late retransmission.
    pub(super) fn forget_delivery(&mut self, now: Instant, carrier: Carrier) {
        let Some(key) = self.deliveries.iter().find(|(_, owner)| **owner == carrier).map(|(key, _)| key.clone()) else {
            return;
        };
        self.deliveries.remove(&key);
        let (terminal, request) = key;
        // Cancelling what has just been answered or was never sent is not an error.
        let _ = self.tell(now, &terminal, channel::Input::Cancel { id: request });
    }
}

fn timer(carrier: Carrier) -> Timer {
    match carrier {
        Carrier::Path(flow) => Timer::Flow(flow),
        Carrier::Terminal(session) => Timer::Assisted(session),
    }
}

/// The message that carries the keys. Consumes them: this is the last time the core sees them.
fn push(
    session: &Session,
    established: Established,
    binding: Binding,
    prefix: Vec<u8>,
    resumable: bool,
) -> Result<SessionPush, Error> {
    let secret = |secret: &[u8]| {
        Secret::new(secret).ok_or_else(|| Error::new(Reason::INTERNAL, "a traffic secret has an odd length"))
    };
    if prefix.len() > Handover::MAX_PREFIX {
        return Err(Error::new(Reason::PEER_OVERSIZED, "the peer sent too much before the keys could leave"));
    }
    let key = tls::limits(established.suite)
        .ok_or_else(|| Error::new(Reason::INTERNAL, "a suite without limits was negotiated"))?;
    let seconds = session.wanted.session_seconds();
    Ok(SessionPush::Handover(Box::new(Handover {
        session: session.number,
        suite: established.suite,
        tx_secret: secret(established.tx_secret.as_bytes())?,
        rx_secret: secret(established.rx_secret.as_bytes())?,
        tx_sequence: established.tx_sequence,
        rx_sequence: established.rx_sequence,
        binding,
        peer: established.peer.clone(),
        limits: Limits { records: key.records, bytes: key.bytes, seconds },
        alpn: established.alpn.clone(),
        prefix,
        tls_version: established.version,
        role: established.role,
        server_name: established.server_name.clone(),
        resumable,
    })))
}
