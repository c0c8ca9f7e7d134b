//! The hand-over: keys leave over the terminal's channel once the flow has passed the point of no return,
//! and only to the terminal that owns the flow. What is left here afterwards could decrypt nothing.

use std::time::Duration;

use keyferry_channel::{self as channel, Code, Failure as ChannelFailure, Instant, Method, RequestId};
use keyferry_parsers::messages::{Binding, Failure, Handover, Limits, Reason, Secret, SessionId, SessionPush};
use keyferry_parsers::tls::ProtocolVersion;

use super::flow::{Flow, HandoverKind, Phase};
use super::timers::Timer;
use super::{FlowId, Gateway, Output};
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
        match push(flow, *established, prefix) {
            Ok(push) => self.deliver(now, id, &push),
            Err(error) => self.fail_flow(now, id, error, Vec::new()),
        }
    }

    fn deliver(&mut self, now: Instant, id: FlowId, push: &SessionPush) {
        let request = RequestId(self.number());
        let Some(flow) = self.flows.get(&id) else { return };
        let terminal = flow.terminal.clone();
        record(&mut self.stats.handshake_time, now.saturating_duration_since(flow.opened));
        record(&mut self.stats.crypto_time, flow.crypto_time);
        self.timers.set(Timer::Flow(id), Some(now + self.settings.delivery_time));
        self.deliveries.insert((terminal.clone(), request), id);
        let input = channel::Input::Request {
            id: request,
            code: Method::POST,
            path: &["kf", "session"],
            payload: push.encode(),
            handover: true,
        };
        if let Err(refused) = self.tell(now, &terminal, input) {
            let detail = format!("the terminal's channel takes no hand-over now: {refused}");
            self.fail_flow(now, id, Error::new(Reason::NOT_ACKNOWLEDGED, detail), Vec::new());
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
        let Some(id) = self.deliveries.remove(&(terminal.clone(), request)) else {
            return; // the answer to a failure notice or an echo
        };
        if code != Code::CHANGED {
            let said = Failure::decode(payload).ok().map_or(Reason::MALFORMED_REQUEST, |failure| failure.reason);
            let error = Error::new(Reason::NOT_ACKNOWLEDGED, format!("the terminal refused its session keys: {said}"));
            return self.fail_flow(now, id, error, Vec::new());
        }
        self.keys_arrived(now, id);
    }

    /// The terminal has the keys of this flow.
    fn keys_arrived(&mut self, now: Instant, id: FlowId) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        flow.phase = Phase::Delivered;
        let (session, terminal) = (flow.session.0, flow.terminal.clone());
        let lifetime = Duration::from_secs(flow.wanted.decision.rule.session_seconds.into());
        tracing::info!(session, "session handed over");
        tracing::debug!(session, %terminal, peer = %flow.remote, "of this flow");
        self.timers.set(Timer::Flow(id), Some(now + lifetime + EXPIRY_MARGIN));
        self.outputs.push_back(Output::Open(id));
        self.settle(&terminal);
        if let Some(terminal) = self.terminals.get_mut(&terminal) {
            terminal.quota.session_began();
        }
        self.stats.sessions_delivered = self.stats.sessions_delivered.saturating_add(1);
        self.count_handshake(None);
    }

    /// A request of ours was given up.
    pub(super) fn undelivered(&mut self, now: Instant, terminal: &TerminalId, request: RequestId, why: ChannelFailure) {
        if let Some(id) = self.deliveries.remove(&(terminal.clone(), request)) {
            let detail = format!("the session keys did not reach the terminal: {why}");
            self.fail_flow(now, id, Error::new(Reason::NOT_ACKNOWLEDGED, detail), Vec::new());
        }
    }

    /// Tells a terminal that a session will not come to be.
    pub(super) fn tell_failure(&mut self, now: Instant, terminal: &TerminalId, session: SessionId, error: &Error) {
        let failure = Failure { session: Some(session), reason: error.reason, detail: Some(error.detail.to_string()) };
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
    pub(super) fn forget_delivery(&mut self, now: Instant, id: FlowId) {
        let Some(key) = self.deliveries.iter().find(|(_, flow)| **flow == id).map(|(key, _)| key.clone()) else {
            return;
        };
        self.deliveries.remove(&key);
        let (terminal, request) = key;
        // Cancelling what has just been answered or was never sent is not an error.
        let _ = self.tell(now, &terminal, channel::Input::Cancel { id: request });
    }
}

/// The message that carries the keys. Consumes them: this is the last time the core sees them.
fn push(flow: &Flow, established: Established, prefix: Vec<u8>) -> Result<SessionPush, Error> {
    let secret = |secret: &[u8]| {
        Secret::new(secret).ok_or_else(|| Error::new(Reason::INTERNAL, "a traffic secret has an odd length"))
    };
    if prefix.len() > Handover::MAX_PREFIX {
        return Err(Error::new(Reason::PEER_OVERSIZED, "the peer sent too much before the keys could leave"));
    }
    let key = tls::limits(established.suite)
        .ok_or_else(|| Error::new(Reason::INTERNAL, "a suite without limits was negotiated"))?;
    Ok(SessionPush::Handover(Box::new(Handover {
        session: flow.session,
        suite: established.suite,
        tx_secret: secret(established.tx_secret.as_bytes())?,
        rx_secret: secret(established.rx_secret.as_bytes())?,
        tx_sequence: established.tx_sequence,
        rx_sequence: established.rx_sequence,
        binding: Binding { local: flow.local, remote: flow.remote },
        peer: established.peer.clone(),
        limits: Limits { records: key.records, bytes: key.bytes, seconds: flow.wanted.decision.rule.session_seconds },
        alpn: established.alpn.clone(),
        prefix,
        tls_version: ProtocolVersion::TLS_1_3,
    })))
}
