//! The channels of all terminals: which terminal a datagram belongs to, and what its endpoint wants done.

use std::net::IpAddr;
use std::time::Duration;

use keyferry_channel::{self as channel, Event, Instant, Method, Peek, RequestId, State};
use keyferry_parsers::messages::Echo;

use zeroize::Zeroizing;

use super::timers::Timer;
use super::{Gateway, Output, Ticket};
use crate::stats::count;
use crate::terminals::{ARRIVALS, Link, LinkOutput, Move, Path, TerminalId, TerminalRecord};

/// How often channel keys of age are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);

impl Gateway {
    /// A stranger's datagram is counted and forgotten: no answer tells an unknown terminal from a revoked
    /// one or a wrong key, and nothing is allocated for it.
    pub(super) fn datagram(&mut self, now: Instant, path: Path, bytes: Vec<u8>) {
        self.stats.channel_received = self.stats.channel_received.saturating_add(1);
        let taken = channel::peek(&bytes)
            .ok_or("malformed message")
            .and_then(|peek| self.whose(&peek, path).ok_or("unknown terminal"))
            .and_then(|id| self.take_datagram(now, &id, path, bytes));
        if let Err(cause) = taken {
            count(&mut self.stats.channel_refused, cause);
        }
    }

    fn take_datagram(&mut self, now: Instant, id: &TerminalId, path: Path, bytes: Vec<u8>) -> Result<(), &'static str> {
        let terminal = self.terminals.get_mut(id).ok_or("unknown terminal")?;
        if !terminal.may_speak_from(path.remote.ip()) {
            return Err("address not bound");
        }
        if terminal.link.is_waiting() {
            // Not authenticated yet: strangers with the terminal's kid must not take all the room.
            let known = terminal.path.is_some_and(|known| known.remote == path.remote);
            if terminal.arrivals.len() >= if known { ARRIVALS } else { ARRIVALS / 8 } {
                return Err("store too slow");
            }
            terminal.arrivals.push_back((path, bytes));
            return Ok(());
        }
        let path_is_new =
            terminal.record.addresses.is_empty() && terminal.path.is_none_or(|known| known.remote != path.remote);
        terminal.answering = Some(path);
        let taken = terminal.link.handle_input(now, channel::Input::Datagram { bytes: &bytes, path_is_new });
        // Also when it was refused: an Echo challenge is an answer.
        self.drain_link(now, id);
        taken.map_err(channel::Refused::text)
    }

    /// Requests name their sender; answers and acknowledgements are known by where they come from.
    fn whose(&self, peek: &Peek<'_>, path: Path) -> Option<TerminalId> {
        if let Some(kid) = peek.kid {
            return self.terminals.with_kid(kid).cloned();
        }
        let here = self.terminals.at(path.remote.ip()).iter();
        here.filter_map(|id| self.terminals.get(id))
            .find(|terminal| terminal.path.is_some_and(|known| known.remote == path.remote))
            .map(|terminal| terminal.record.id.clone())
    }

    /// Makes the channel of a newly admitted terminal.
    pub(super) fn link(&mut self, now: Instant, record: &TerminalRecord, state: State) -> Link {
        let settings = channel::Settings {
            own: self.settings.gateway_id,
            peer: record.kid,
            handovers_per_epoch: self.settings.handovers_per_epoch,
            epoch_lifetime: self.settings.epoch_lifetime,
        };
        let mut seed = [0; 32];
        (self.random)(&mut seed);
        Link::new(settings, state, seed, now)
    }

    /// A key that has served its time advances with the next request. Where a terminal is quiet, that is an
    /// echo of ours; one that is never heard keeps its key until it is.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.timers.set(Timer::Sweep, Some(now + SWEEP_INTERVAL));
        let due = self.terminals.iter().filter(|terminal| terminal.path.is_some() && terminal.link.is_epoch_due(now));
        let due: Vec<TerminalId> = due.map(|terminal| terminal.record.id.clone()).collect();
        for id in due {
            let input = channel::Input::Request {
                id: RequestId(self.number()),
                code: Method::POST,
                path: &["kf", "echo"],
                payload: Echo(Vec::new()).encode(),
                handover: false,
            };
            if let Err(refused) = self.tell(now, &id, input) {
                tracing::debug!(terminal = %id, %refused, "echo not sent");
            }
        }
    }

    /// Hands an input to a terminal's channel and notes that it has something to say.
    pub(super) fn tell(
        &mut self,
        now: Instant,
        terminal: &TerminalId,
        input: channel::Input<'_>,
    ) -> Result<(), channel::Refused> {
        let link = &mut self.terminals.get_mut(terminal).ok_or(channel::Refused::UnknownKid)?.link;
        let taken = link.handle_input(now, input);
        self.talkative.insert(terminal.clone());
        taken
    }

    pub(super) fn link_timeout(&mut self, now: Instant, terminal: &TerminalId) {
        // A timeout is never refused.
        let _ = self.tell(now, terminal, channel::Input::Timeout);
    }

    pub(super) fn persisted(&mut self, now: Instant, ticket: Ticket, durable: bool) {
        let Some(id) = self.tickets.remove(&ticket) else { return };
        if let Some(terminal) = self.terminals.get_mut(&id) {
            terminal.link.persisted(now, durable);
            self.drain_link(now, &id);
        }
    }

    /// Drains every channel that was told something; handling what it says may make others talk.
    pub(super) fn drain_links(&mut self, now: Instant) {
        while let Some(id) = self.talkative.pop_first() {
            self.drain_link(now, &id);
        }
    }

    /// Acts on all that a channel has to say, then gives it what arrived meanwhile.
    fn drain_link(&mut self, now: Instant, id: &TerminalId) {
        loop {
            let Some(terminal) = self.terminals.get_mut(id) else {
                return self.timers.set(Timer::Link(id.clone()), None);
            };
            match terminal.link.poll_output(now) {
                LinkOutput::Persist(state) => self.persist(id, state),
                LinkOutput::Transmit(bytes) => {
                    // A request of ours goes where the terminal was heard, whoever's question is in hand.
                    let is_request = channel::peek(&bytes).is_some_and(|peek| peek.is_request);
                    if let Some(path) = terminal.answering.filter(|_| !is_request).or(terminal.path) {
                        self.stats.channel_sent = self.stats.channel_sent.saturating_add(1);
                        self.outputs.push_back(Output::Datagram { path, bytes });
                    }
                }
                LinkOutput::Event(event) => self.link_event(now, id, event),
                LinkOutput::Timeout(at) => {
                    self.timers.set(Timer::Link(id.clone()), at);
                    return self.next_arrival(now, id);
                }
            }
        }
    }

    /// All that the datagram in hand caused is done, unless the store is still asked: takes the next one.
    fn next_arrival(&mut self, now: Instant, id: &TerminalId) {
        let Some(terminal) = self.terminals.get_mut(id).filter(|terminal| !terminal.link.is_waiting()) else { return };
        terminal.answering = None;
        if let Some((path, bytes)) = terminal.arrivals.pop_front()
            && let Err(cause) = self.take_datagram(now, id, path, bytes)
        {
            count(&mut self.stats.channel_refused, cause);
        }
    }

    fn persist(&mut self, id: &TerminalId, state: Zeroizing<Vec<u8>>) {
        let ticket = Ticket(self.number());
        let Some(kid) = self.terminals.get(id).map(|terminal| terminal.record.kid) else { return };
        self.tickets.insert(ticket, id.clone());
        self.outputs.push_back(Output::Persist { ticket, kid, state });
    }

    fn link_event(&mut self, now: Instant, id: &TerminalId, event: Event) {
        match event {
            Event::Heard => {
                if let Some(path) = self.terminals.get(id).and_then(|terminal| terminal.answering) {
                    self.heard(now, id, path);
                }
            }
            Event::Request { exchange, code, path, payload } => {
                self.request(now, id, exchange, code, &path, &payload);
            }
            Event::Response { id: request, code, payload } => self.delivered(now, id, request, code, &payload),
            Event::Failed { id: request, why } => self.undelivered(now, id, request, why),
            Event::Advanced { epoch } => tracing::debug!(terminal = %id, epoch, "channel key advanced"),
        }
    }

    fn heard(&mut self, now: Instant, id: &TerminalId, path: Path) {
        match self.terminals.heard(id, path, now) {
            Move::Stayed => {}
            Move::Moved { left, to } => {
                let taken_over = left.iter().any(|(_, address)| *address == to);
                for (terminal, address) in left {
                    self.unbind(&terminal, address);
                }
                // Whoever held it before gave it up, and `unbind` bound it to those who hold it now.
                if !taken_over {
                    self.outputs.push_back(Output::Bind { terminal: id.clone(), address: to });
                }
            }
            Move::Refused => count(&mut self.stats.channel_refused, "address of another terminal"),
            Move::Flapping => count(&mut self.stats.channel_refused, "address changes too often"),
        }
    }

    /// Packets with this address are no longer this terminal's. Where others share it, it stays theirs.
    pub(super) fn unbind(&mut self, id: &TerminalId, address: IpAddr) {
        self.outputs.push_back(Output::Unbind { terminal: id.clone(), address });
        for other in self.terminals.at(address).iter().filter(|other| *other != id) {
            self.outputs.push_back(Output::Bind { terminal: other.clone(), address });
        }
    }
}
