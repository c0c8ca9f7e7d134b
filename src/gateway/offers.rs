//! Offers: a terminal asked for a peer, was told the address, and has not opened TCP yet.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use keyferry_parsers::messages::SessionId;

use super::session::Wanted;
use crate::terminals::TerminalId;

/// A connection the terminal is about to open.
#[derive(Clone)]
pub(super) struct Offer {
    pub(super) session: SessionId,
    pub(super) terminal: TerminalId,
    pub(super) source_port: u16,
    pub(super) peer: SocketAddr,
    pub(super) wanted: Wanted,
}

/// The open offers, by session and by the connection they expect.
#[derive(Default)]
pub(super) struct Offers {
    by_session: BTreeMap<SessionId, Offer>,
    by_connection: BTreeMap<(TerminalId, u16, SocketAddr), SessionId>,
}

impl Offers {
    /// Opens an offer; an older one for the same connection of the same terminal is returned, replaced.
    pub(super) fn insert(&mut self, offer: Offer) -> Option<Offer> {
        let connection = (offer.terminal.clone(), offer.source_port, offer.peer);
        let session = offer.session;
        self.by_session.insert(session, offer);
        let replaced = self.by_connection.insert(connection, session)?;
        self.by_session.remove(&replaced)
    }

    /// The offer that `terminal` takes up by connecting from `source_port` to `peer`.
    pub(super) fn take(&mut self, terminal: &TerminalId, source_port: u16, peer: SocketAddr) -> Option<Offer> {
        let session = self.by_connection.get(&(terminal.clone(), source_port, peer)).copied()?;
        self.remove(session)
    }

    /// Whether `terminal` has an open offer for this connection.
    pub(super) fn expects(&self, terminal: &TerminalId, source_port: u16, peer: SocketAddr) -> bool {
        self.by_connection.contains_key(&(terminal.clone(), source_port, peer))
    }

    /// Closes an offer that lapsed.
    pub(super) fn remove(&mut self, session: SessionId) -> Option<Offer> {
        let offer = self.by_session.remove(&session)?;
        self.by_connection.remove(&(offer.terminal.clone(), offer.source_port, offer.peer));
        Some(offer)
    }

    /// Closes every offer of a terminal that is gone.
    pub(super) fn remove_terminal(&mut self, terminal: &TerminalId) -> Vec<SessionId> {
        let gone: Vec<_> =
            self.by_session.values().filter(|offer| offer.terminal == *terminal).map(|offer| offer.session).collect();
        for session in &gone {
            self.remove(*session);
        }
        gone
    }

    pub(super) fn contains(&self, session: SessionId) -> bool {
        self.by_session.contains_key(&session)
    }

    pub(super) fn len(&self) -> usize {
        self.by_session.len()
    }
}
