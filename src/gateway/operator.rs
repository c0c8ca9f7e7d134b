//! What the operator sees and commands: admission, revocation, and the figures of the moment.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use keyferry_channel::{Instant, State};
use keyferry_parsers::messages::{Reason, SessionId};

use super::flow::Phase;
use super::kx::Assisted;
use super::timers::Timer;
use super::{FlowId, Gateway, Output};
use crate::error::Error;
use crate::signer::Credential;
use crate::terminals::{Quota, Terminal, TerminalId, TerminalRecord};

/// The gauges of the moment, beside the counters of [`Stats`](crate::stats::Stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Admitted terminals.
    pub terminals: usize,
    /// Offers the terminals have not taken up yet.
    pub offers: usize,
    /// Handshakes under way, keys not yet acknowledged.
    pub handshakes: usize,
    /// Sessions handed over and still carried.
    pub sessions: usize,
}

/// One terminal as the running gateway sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminalView {
    /// How long ago it was last heard.
    pub heard_ago: Option<Duration>,
    /// Where it was last heard.
    pub address: Option<std::net::SocketAddr>,
    /// The epoch of its channel key.
    pub epoch: u32,
    /// Handshakes it has open.
    pub pending: u32,
    /// Sessions handed over to it that still run.
    pub sessions: usize,
}

impl Gateway {
    /// The gauges of the moment.
    pub fn view(&self) -> View {
        let sessions = self.flows.values().filter(|flow| matches!(flow.phase, Phase::Delivered)).count();
        View {
            terminals: self.terminals.len(),
            offers: self.offers.len(),
            handshakes: self.flows.len().saturating_sub(sessions).saturating_add(self.assisted.len()),
            sessions,
        }
    }

    /// One terminal as the running gateway sees it.
    pub fn terminal_view(&self, id: &TerminalId, now: Instant) -> Option<TerminalView> {
        let terminal = self.terminals.get(id)?;
        Some(TerminalView {
            heard_ago: terminal.heard.map(|at| now.saturating_duration_since(at)),
            address: terminal.path.map(|path| path.remote),
            epoch: terminal.link.epoch(),
            pending: terminal.quota.pending().saturating_add(terminal.inbound.pending()),
            sessions: terminal.quota.sessions().saturating_add(terminal.inbound.sessions()) as usize,
        })
    }

    /// Whose packets with which addresses are let through now.
    pub fn bindings(&self) -> impl Iterator<Item = (&TerminalRecord, IpAddr)> {
        self.terminals
            .iter()
            .flat_map(|terminal| terminal.addresses().into_iter().map(|address| (&terminal.record, address)))
    }

    /// A terminal is in the store: from now on its channel is answered.
    pub(super) fn admit(&mut self, now: Instant, record: TerminalRecord, state: State) {
        self.revoke(now, &record.id);
        if self.terminals.is_empty() {
            self.sweep(now);
        }
        let quota = || Quota::new(self.settings.handshakes_per_second, now);
        let (quota, inbound) = (quota(), quota());
        let link = self.link(now, &record, state);
        self.terminals.insert(Terminal {
            record,
            link,
            path: None,
            answering: None,
            arrivals: VecDeque::new(),
            heard: None,
            moved: None,
            quota,
            inbound,
            credentials: Vec::new(),
        });
    }

    /// The certificates of a terminal changed in the store.
    pub(super) fn set_credentials(&mut self, id: &TerminalId, credentials: Vec<Arc<Credential>>) {
        if let Some(terminal) = self.terminals.get_mut(id) {
            terminal.credentials = credentials;
        }
        // A resumed session would show the peer who the terminal was before.
        self.resumption.remove_terminal(id);
    }

    /// New revocation lists for a trust. Where they cannot be used the old ones stay, and expire in their time.
    pub(super) fn set_revocation_lists(&mut self, now: Instant, trust: &str, lists: &[Vec<u8>]) {
        if lists.is_empty() {
            return tracing::error!(trust, "there are no revocation lists any more; the old ones stay");
        }
        let policy = self.policy.clone().with_revocation_lists(trust, lists);
        let key_log = self.key_log.as_ref();
        match super::clients(&policy, key_log).and_then(|clients| Ok((clients, super::services(&policy, key_log)?))) {
            Ok((clients, services)) => {
                (self.policy, self.clients, self.services) = (policy, clients, services);
                // A resumed peer is not judged again, and one under way was judged by the old lists.
                self.resumption.clear();
                self.end_handshakes_under(now, trust);
                tracing::info!(trust, "new revocation lists are in force");
            }
            Err(error) => tracing::error!(trust, %error, "the new revocation lists are unusable; the old ones stay"),
        }
    }

    /// Ends every handshake that is judged by a trust and whose keys have not left.
    fn end_handshakes_under(&mut self, now: Instant, trust: &str) {
        let error = Error::new(Reason::REVOCATION_UNKNOWN, "new revocation lists came in the middle; try again");
        let flows = self.flows.iter().filter(|(_, flow)| {
            flow.session.wanted.is_judged_by(trust) && !matches!(flow.phase, Phase::Delivering | Phase::Delivered)
        });
        for id in flows.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.fail_flow(now, id, error.clone(), Vec::new());
        }
        let assisted = self
            .assisted
            .iter()
            .filter(|(_, assisted)| assisted.session.wanted.is_judged_by(trust) && !assisted.is_delivering());
        for number in assisted.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.fail_assisted(now, number, error.clone(), Vec::new());
        }
    }

    /// A terminal is out of the store: its packets, flows and channel end now.
    pub(super) fn revoke(&mut self, now: Instant, id: &TerminalId) {
        let Some(terminal) = self.terminals.remove(id) else { return };
        for address in terminal.addresses() {
            self.unbind(id, address);
        }
        for session in self.offers.remove_terminal(id) {
            self.timers.set(Timer::Offer(session), None);
        }
        let its_flows: Vec<FlowId> =
            self.flows.iter().filter(|(_, flow)| flow.session.terminal == *id).map(|(id, _)| *id).collect();
        for flow in its_flows {
            self.remove_flow(now, flow);
            self.outputs.push_back(Output::Reset { flow, last_words: Vec::new() });
        }
        let of_it = |assisted: &Assisted| assisted.session.terminal == *id;
        let its_handshakes: Vec<SessionId> =
            self.assisted.iter().filter(|(_, assisted)| of_it(assisted)).map(|(number, _)| *number).collect();
        for number in its_handshakes {
            self.remove_assisted(now, number);
        }
        self.listening.remove_terminal(id);
        self.resumption.remove_terminal(id);
        self.lookups.retain(|_, lookup| !lookup.is_of(id));
        self.timers.set(Timer::Link(id.clone()), None);
        self.talkative.remove(id);
        // What the store confirms from now on is not its successor's.
        self.tickets.retain(|_, owner| owner != id);
    }
}
