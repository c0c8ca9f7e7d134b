//! The channels of all terminals: which terminal a datagram belongs to, and what its endpoint wants done.

use keyferry_channel::{self as channel, Event, Instant, Peek, State};

use zeroize::Zeroizing;

use super::timers::Timer;
use super::{Gateway, Output, Ticket};
use crate::stats::count;
use crate::terminals::{Link, LinkOutput, Move, Path, TerminalId, TerminalRecord};

impl Gateway {
    /// A stranger's datagram is counted and forgotten: no answer tells an unknown terminal from a revoked
    /// one or a wrong key, and nothing is allocated for it.
    pub(super) fn datagram(&mut self, now: Instant, path: Path, bytes: &[u8]) {
        self.stats.channel_received = self.stats.channel_received.saturating_add(1);
        match self.take_datagram(now, path, bytes) {
            Ok(terminal) => self.drain_link(now, &terminal, Some(path)),
            Err(cause) => count(&mut self.stats.channel_refused, cause),
        }
    }

    fn take_datagram(&mut self, now: Instant, path: Path, bytes: &[u8]) -> Result<TerminalId, &'static str> {
        let peek = channel::peek(bytes).ok_or("malformed")?;
        let id = self.whose(&peek, path).ok_or("unknown terminal")?;
        let terminal = self.terminals.get_mut(&id).ok_or("unknown terminal")?;
        if !terminal.may_speak_from(path.remote.ip()) {
            return Err("address not bound");
        }
        let path_is_new =
            terminal.record.addresses.is_empty() && terminal.path.is_some_and(|known| known.remote != path.remote);
        let taken = terminal.link.handle_input(now, channel::Input::Datagram { bytes, path_is_new });
        match taken {
            Ok(()) => Ok(id),
            Err(refused) => {
                // An Echo challenge is an answer although the request was not taken.
                self.drain_link(now, &id, Some(path));
                Err(refused.text())
            }
        }
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
        let Some(id) = self.tickets.remove(&ticket) else {
            return;
        };
        if let Some(terminal) = self.terminals.get_mut(&id) {
            terminal.link.persisted(now, durable);
            self.talkative.insert(id);
        }
    }

    /// Drains every channel that was told something; handling what it says may make others talk.
    pub(super) fn drain_links(&mut self, now: Instant) {
        while let Some(id) = self.talkative.pop_first() {
            self.drain_link(now, &id, None);
        }
    }

    /// Acts on all that a channel has to say. `arrived_on` is where the datagram in hand came from: its
    /// answer goes back there, even when the terminal's address is not proved yet.
    fn drain_link(&mut self, now: Instant, id: &TerminalId, arrived_on: Option<Path>) {
        loop {
            let Some(terminal) = self.terminals.get_mut(id) else {
                return self.timers.set(Timer::Link(id.clone()), None);
            };
            match terminal.link.poll_output(now) {
                LinkOutput::Persist(state) => self.persist(id, state),
                LinkOutput::Transmit(bytes) => {
                    if let Some(path) = arrived_on.or(terminal.path) {
                        self.stats.channel_sent = self.stats.channel_sent.saturating_add(1);
                        self.outputs.push_back(Output::Datagram { path, bytes });
                    }
                }
                LinkOutput::Event(event) => self.link_event(now, id, arrived_on, event),
                LinkOutput::Timeout(at) => return self.timers.set(Timer::Link(id.clone()), at),
            }
        }
    }

    fn persist(&mut self, id: &TerminalId, state: Zeroizing<Vec<u8>>) {
        let ticket = Ticket(self.number());
        let Some(kid) = self.terminals.get(id).map(|terminal| terminal.record.kid) else { return };
        self.tickets.insert(ticket, id.clone());
        self.outputs.push_back(Output::Persist { ticket, kid, state });
    }

    fn link_event(&mut self, now: Instant, id: &TerminalId, arrived_on: Option<Path>, event: Event) {
        match event {
            Event::Heard => {
                if let Some(path) = arrived_on {
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
                if let Some(address) = left {
                    self.outputs.push_back(Output::Unbind { terminal: id.clone(), address });
                }
                self.outputs.push_back(Output::Bind { terminal: id.clone(), address: to });
            }
            Move::Refused => count(&mut self.stats.channel_refused, "address of another terminal"),
        }
    }
}
