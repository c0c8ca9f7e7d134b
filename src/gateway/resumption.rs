//! TLS 1.3 tickets: the gateway resumes a session with a peer for the same terminal, by the same rule, and for
//! nobody else. Tickets come where only the terminal sees them, so it sends them back (`/kf/ticket`).

use std::collections::BTreeMap;
use std::sync::Arc;

use keyferry_channel::Instant;
use keyferry_parsers::messages::{Reason, SessionId, Ticket};

use super::Gateway;
use super::connect::unreadable;
use super::session::{Session, Wanted};
use crate::error::Error;
use crate::terminals::TerminalId;
use crate::tls::{TicketTaker, Tickets};

/// Sessions of one terminal whose tickets can still be taken back.
const PER_TERMINAL: usize = 16;

/// The tickets, and what is needed to take more.
#[derive(Default)]
pub(super) struct Resumption {
    tickets: BTreeMap<(TerminalId, usize), Arc<Tickets>>,
    takers: BTreeMap<(TerminalId, SessionId), Taker>,
}

/// What reads the tickets of one session, while it may live.
pub(super) struct Taker {
    pub(super) taker: Box<dyn TicketTaker>,
    pub(super) until: Instant,
}

impl Resumption {
    fn tickets(&mut self, terminal: &TerminalId, rule: usize) -> Arc<Tickets> {
        let key = (terminal.clone(), rule);
        Arc::clone(self.tickets.entry(key).or_insert_with(|| Arc::new(Tickets::new())))
    }

    /// Keeps what can read the tickets of a session; of a terminal with many, the one that ends first goes.
    pub(super) fn keep(&mut self, terminal: &TerminalId, session: SessionId, taker: Taker) {
        self.takers.insert((terminal.clone(), session), taker);
        let its = |(id, _): &(TerminalId, SessionId)| id == terminal;
        if self.takers.keys().filter(|key| its(key)).count() > PER_TERMINAL {
            let first = self.takers.iter().filter(|(key, _)| its(key)).min_by_key(|(_, taker)| taker.until);
            if let Some(key) = first.map(|(key, _)| key.clone()) {
                self.takers.remove(&key);
            }
        }
    }

    /// Forgets a terminal that is gone.
    pub(super) fn remove_terminal(&mut self, terminal: &TerminalId) {
        self.tickets.retain(|(id, _), _| id != terminal);
        self.takers.retain(|(id, _), _| id != terminal);
    }

    /// Forgets everything: what certificates are worth has changed.
    pub(super) fn clear(&mut self) {
        self.tickets.clear();
        self.takers.clear();
    }
}

impl Gateway {
    /// Where a session finds its tickets; `None` where policy does not want them.
    pub(super) fn tickets_of(&mut self, session: &Session) -> Option<Arc<Tickets>> {
        match &session.wanted {
            Wanted::Peer { decision, .. } if decision.rule.resumption => {
                Some(self.resumption.tickets(&session.terminal, decision.index))
            }
            _ => None,
        }
    }

    /// A ticket that the terminal sends back.
    pub(super) fn ticket(&mut self, now: Instant, id: &TerminalId, payload: &[u8]) -> Result<(), Error> {
        let Ticket { session, body } = Ticket::decode(payload).map_err(|error| unreadable(&error))?;
        self.resumption.takers.retain(|_, taker| taker.until > now);
        let taker = self
            .resumption
            .takers
            .get_mut(&(id.clone(), session))
            .ok_or_else(|| Error::new(Reason::STALE, "no tickets of this session are taken (any more)"))?;
        taker.taker.take(self.unix_now, &body)
    }
}
