//! What the operator sees and commands: admission, revocation, and the figures of the moment.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use keyferry_channel::{Instant, State};

use super::flow::Phase;
use super::timers::Timer;
use super::{FlowId, Gateway, Output};
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
            handshakes: self.flows.len().saturating_sub(sessions),
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
            pending: terminal.quota.pending(),
            sessions: terminal.quota.sessions() as usize,
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
        let quota = Quota::new(self.settings.handshakes_per_second, now);
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
        });
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
            self.flows.iter().filter(|(_, flow)| flow.terminal == *id).map(|(id, _)| *id).collect();
        for flow in its_flows {
            self.remove_flow(now, flow);
            self.outputs.push_back(Output::Reset { flow, last_words: Vec::new() });
        }
        self.lookups.retain(|_, lookup| !lookup.is_of(id));
        self.timers.set(Timer::Link(id.clone()), None);
        self.talkative.remove(id);
        // What the store confirms from now on is not its successor's.
        self.tickets.retain(|_, owner| owner != id);
    }
}
