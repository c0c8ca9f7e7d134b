//! Ports where the terminal is a server: announced to the gateway, and again before that lapses, until cancelled.

use super::event::{Event, Why};
use super::exchanges::{Exchanges, Purpose};
use super::table::Table;
use super::{ANSWER_DEADLINE, refusal};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;
use keyferry_channel::{Code, Instant, RequestId};
use keyferry_parsers::messages::{Handover, Listen, ListenAnswer, Reason};

/// Ports of one terminal.
const MAX_PORTS: usize = 16;
/// The longest that a port goes without an announcement, whatever the gateway grants: a gateway that restarts has forgotten
/// all ports, and nobody says so.
const RENEWAL: Duration = Duration::from_secs(60);
/// The longest pause before an announcement that failed is tried again.
const LONGEST_PAUSE: u64 = 60;

/// All announced ports.
#[derive(Default)]
pub(super) struct Ports {
    ports: Table<Port>,
}

struct Port {
    listen: Listen,
    /// The gateway has consented at least once.
    granted: bool,
    failures: u32,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// No answer yet; given up at that time.
    Asking(Instant),
    /// Asks (again) at that time.
    Resting(Instant),
}

impl Ports {
    /// A new port; the first announcement goes out now.
    pub(super) fn add(
        &mut self,
        id: RequestId,
        listen: Listen,
        now: Instant,
        exchanges: &mut Exchanges,
    ) -> Result<(), Why> {
        if self.ports.len() >= MAX_PORTS {
            return Err(Why::TooMany);
        }
        if self.ports.iter().any(|(_, port)| port.listen.port == listen.port) {
            return Err(Why::AlreadyListening);
        }
        let mut port = Port { listen, granted: false, failures: 0, state: State::Resting(now) };
        port.announce(id, now, exchanges);
        self.ports.insert(id, port);
        Ok(())
    }

    /// No longer; the gateway is told.
    pub(super) fn remove(&mut self, id: RequestId, exchanges: &mut Exchanges) {
        if let Some(port) = self.ports.remove(id) {
            let stop = Listen { seconds: 0, ..port.listen };
            exchanges.post(Purpose::Nobody, "listen", stop.encode());
        }
    }

    /// The gateway has answered.
    pub(super) fn answered(
        &mut self,
        id: RequestId,
        now: Instant,
        code: Code,
        payload: &[u8],
        events: &mut VecDeque<Event>,
    ) {
        if !code.is_success() {
            return self.failed(id, now, refusal(code, payload), events);
        }
        match ListenAnswer::decode(payload) {
            Err(error) => self.failed(id, now, Why::BadAnswer(error), events),
            Ok(answer) => {
                let Some(port) = self.ports.get_mut(id) else { return };
                port.granted = true;
                port.failures = 0;
                // Two thirds of the time: what is left is for an answer that is lost.
                let renewal = Duration::from_secs(u64::from(answer.seconds)).saturating_mul(2) / 3;
                port.state = State::Resting(now + renewal.clamp(Duration::from_secs(1), RENEWAL));
                events.push_back(Event::Listening { id, seconds: answer.seconds });
            }
        }
    }

    /// An announcement came to nothing. The first one's failure is the end, for its cause is most likely a mistake; later
    /// ones are tried again, unless policy has changed its mind.
    pub(super) fn failed(&mut self, id: RequestId, now: Instant, why: Why, events: &mut VecDeque<Event>) {
        let Some(port) = self.ports.get_mut(id) else { return };
        if port.granted && !is_final(&why) {
            let pause = 1_u64.checked_shl(port.failures).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
            port.failures = port.failures.saturating_add(1);
            port.state = State::Resting(now + Duration::from_secs(pause));
        } else {
            self.ports.remove(id);
            events.push_back(Event::Failed { id, why });
        }
    }

    /// Announces what is due; the ports whose announcement nobody answered.
    pub(super) fn run(&mut self, now: Instant, exchanges: &mut Exchanges) -> Vec<RequestId> {
        let mut unanswered = Vec::new();
        for (id, port) in self.ports.iter_mut() {
            match port.state {
                State::Asking(deadline) if deadline <= now => unanswered.push(id),
                State::Resting(due) if due <= now => port.announce(id, now, exchanges),
                _ => {}
            }
        }
        unanswered
    }

    /// When [`Self::run`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        let when = |port: &Port| match port.state {
            State::Asking(when) | State::Resting(when) => when,
        };
        self.ports.iter().map(|(_, port)| when(port)).min()
    }

    /// The port that this connection came to.
    pub(super) fn at(&self, handover: &Handover) -> Option<(RequestId, &Listen)> {
        let mut ports = self.ports.iter();
        let (id, port) = ports.find(|(_, port)| port.listen.port == handover.binding.local.port())?;
        Some((id, &port.listen))
    }
}

impl Port {
    fn announce(&mut self, id: RequestId, now: Instant, exchanges: &mut Exchanges) {
        self.state = State::Asking(now + ANSWER_DEADLINE);
        exchanges.post(Purpose::Listen(id), "listen", self.listen.encode());
    }
}

/// Will the gateway say the same again? Its policy will, and so will a mistake of ours; trouble passes.
fn is_final(why: &Why) -> bool {
    let Why::Failure(failure) = why else { return false };
    matches!(failure.reason.0 / 100, 1 | 4) && failure.reason != Reason::QUOTA
}
