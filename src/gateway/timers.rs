//! Every deadline of the gateway in one ordered set, each with its name.

use std::collections::{BTreeMap, BTreeSet};

use keyferry_channel::Instant;
use keyferry_parsers::messages::SessionId;

use super::{FlowId, LookupId};
use crate::terminals::TerminalId;

/// What a deadline belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The channel to a terminal wants to be woken.
    Link(TerminalId),
    /// A name is not resolved yet.
    Lookup(LookupId),
    /// A terminal has not opened its TCP connection yet.
    Offer(SessionId),
    /// A flow has not reached its next phase yet.
    Flow(FlowId),
    /// An assisted handshake has not reached its next phase yet.
    Assisted(SessionId),
    /// Channel keys that are due to advance are looked for.
    Sweep,
}

/// The deadlines, at most one for each [`Timer`].
#[derive(Default)]
pub(super) struct Timers {
    by_owner: BTreeMap<Timer, Instant>,
    by_time: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    /// Sets, moves or (with None) disarms the deadline of `timer`.
    pub(super) fn set(&mut self, timer: Timer, at: Option<Instant>) {
        if let Some(old) = self.by_owner.remove(&timer) {
            self.by_time.remove(&(old, timer.clone()));
        }
        if let Some(at) = at {
            self.by_owner.insert(timer.clone(), at);
            self.by_time.insert((at, timer));
        }
    }

    /// Takes the earliest deadline that is due. It is disarmed before its owner runs, so an owner that
    /// fails cannot be woken forever.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let (at, _) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, timer) = self.by_time.pop_first()?;
        self.by_owner.remove(&timer);
        Some(timer)
    }

    /// The earliest deadline and what it is for.
    pub(super) fn next(&self) -> (Option<Instant>, &'static str) {
        match self.by_time.first() {
            None => (None, "idle"),
            Some((at, Timer::Link(_))) => (Some(*at), "channel retransmission"),
            Some((at, Timer::Lookup(_))) => (Some(*at), "name lookup"),
            Some((at, Timer::Offer(_))) => (Some(*at), "terminal opens TCP"),
            Some((at, Timer::Assisted(_))) => (Some(*at), "assisted handshake deadline"),
            Some((at, Timer::Flow(_))) => (Some(*at), "handshake deadline"),
            Some((at, Timer::Sweep)) => (Some(*at), "channel keys of age"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_deadline_fires_once_and_at_its_new_time() {
        let mut timers = Timers::default();
        let at = Instant::from_micros;
        timers.set(Timer::Flow(FlowId(1)), Some(at(10)));
        timers.set(Timer::Flow(FlowId(1)), Some(at(20)));
        timers.set(Timer::Flow(FlowId(2)), Some(at(15)));
        assert_eq!(timers.take_due(at(12)), None);
        assert_eq!(timers.take_due(at(30)), Some(Timer::Flow(FlowId(2))));
        assert_eq!(timers.take_due(at(30)), Some(Timer::Flow(FlowId(1))));
        assert_eq!(timers.take_due(at(30)), None);
    }

    #[test]
    fn a_disarmed_deadline_is_gone() {
        let mut timers = Timers::default();
        timers.set(Timer::Flow(FlowId(1)), Some(Instant::from_micros(10)));
        timers.set(Timer::Flow(FlowId(1)), None);
        assert_eq!(timers.next(), (None, "idle"));
    }
}
