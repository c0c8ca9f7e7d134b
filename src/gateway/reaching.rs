//! A terminal is reached for a few peers at a time: keys for strangers take turns, so that they do not stand in
//! the way of its own on a slow channel.

use std::collections::{BTreeMap, VecDeque};

use super::flow::Phase;
use super::{FlowId, Gateway, Output};
use crate::terminals::TerminalId;

/// Flows of peers for which one terminal is being reached at once.
const AT_ONCE: usize = 4;

/// Who is being reached, and who waits.
#[derive(Default)]
pub(super) struct Reaching {
    by_terminal: BTreeMap<TerminalId, Turns>,
}

#[derive(Default)]
struct Turns {
    now: Vec<FlowId>,
    next: VecDeque<FlowId>,
}

impl Reaching {
    /// Whether it is this flow's turn at once; else it waits for [`Self::end`] of another.
    fn begin(&mut self, terminal: &TerminalId, flow: FlowId) -> bool {
        let turns = self.by_terminal.entry(terminal.clone()).or_default();
        if turns.now.len() >= AT_ONCE {
            turns.next.push_back(flow);
            return false;
        }
        turns.now.push(flow);
        true
    }

    /// A flow has its keys delivered, or is gone: whose turn it is now, if anybody's.
    fn end(&mut self, terminal: &TerminalId, flow: FlowId) -> Option<FlowId> {
        let turns = self.by_terminal.get_mut(terminal)?;
        turns.next.retain(|waiting| *waiting != flow);
        let before = turns.now.len();
        turns.now.retain(|reached| *reached != flow);
        let next = if turns.now.len() < before { turns.next.pop_front() } else { None };
        turns.now.extend(next);
        if turns.now.is_empty() {
            self.by_terminal.remove(terminal);
        }
        next
    }
}

impl Gateway {
    /// A peer has finished its handshake: the terminal is reached for it, in its turn.
    pub(super) fn reach(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get(&id) else { return };
        if self.reaching.begin(&flow.session.terminal.clone(), id) {
            self.outputs.push_back(Output::ConnectTerminal(id));
        }
    }

    /// The terminal is no longer reached for this flow.
    pub(super) fn reached(&mut self, terminal: &TerminalId, id: FlowId) {
        let next = self.reaching.end(terminal, id);
        if let Some(next) = next
            && self.flows.get(&next).is_some_and(|flow| matches!(flow.phase, Phase::Reaching(_)))
        {
            self.outputs.push_back(Output::ConnectTerminal(next));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_take_turns_and_none_is_forgotten() {
        let mut reaching = Reaching::default();
        let meter = TerminalId::try_from("meter").unwrap();
        let begun = (0..10).filter(|flow| reaching.begin(&meter, FlowId(*flow))).count();
        assert_eq!(begun, AT_ONCE);
        assert_eq!(reaching.end(&meter, FlowId(5)), None, "it only waited");
        let turns: Vec<FlowId> =
            [0, 1, 2, 3, 4, 6].into_iter().filter_map(|flow| reaching.end(&meter, FlowId(flow))).collect();
        assert_eq!(turns, [4, 6, 7, 8, 9].map(FlowId));
        for flow in [7, 8, 9] {
            assert_eq!(reaching.end(&meter, FlowId(flow)), None);
        }
        assert!(reaching.by_terminal.is_empty());
    }
}
