//! TLS in a capture: which streams are TLS, whatever their port, and the account of each one's handshake.
//!
//! ```text
//! tls           which connections there are
//! connection    one TCP connection: where TLS begins in it (starttls), its records (records)
//! dtls          the hellos in datagrams
//! handshake     records -> messages, changes of keys, the end; without secrets of TLS 1.3: sealed
//! told          what messages say (key_exchange, certificates)
//! secrets       opens records, computes Finished again
//! story         outcome, cause, weaknesses
//! ```
//!
//! After its handshake a connection is of no interest: its bulk data is not even put in order.

mod certificates;
mod connection;
mod dtls;
mod handshake;
mod key_exchange;
mod records;
mod sealed;
mod secrets;
mod starttls;
mod story;
mod told;

use std::collections::BTreeMap;

use super::account::Account;
use super::keylog::KeyLog;
use crate::packet::{Datagram, Event, Interest, StreamId, What};

use certificates::Certificates;
use connection::{Connection, Shared, Verdict};
use dtls::Flows;

/// How much may be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a direction in which TLS must begin.
    pub clear_bytes: u64,
    /// Messages listed in an account.
    pub messages: usize,
    /// Bytes of handshake messages kept to verify a connection.
    pub transcript: usize,
    /// DTLS handshakes at a time.
    pub flows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { clear_bytes: 8 * 1024, messages: 200, transcript: 256 * 1024, flows: 2048 }
    }
}

/// Follows all connections of a capture.
pub struct Tracker {
    connections: BTreeMap<StreamId, Connection>,
    flows: Flows,
    shared: Shared,
}

impl Tracker {
    /// One that has seen nothing.
    pub fn new(key_log: KeyLog, limits: Limits) -> Self {
        let shared = Shared { key_log, certificates: Certificates::default(), limits };
        Self { connections: BTreeMap::new(), flows: Flows::default(), shared }
    }

    /// The secrets, to which more may be added while the capture is read.
    pub fn key_log(&mut self) -> &mut KeyLog {
        &mut self.shared.key_log
    }

    /// Something happened on a TCP connection. An account is given as soon as the handshake is over.
    pub fn stream(&mut self, event: &Event<'_>, done: &mut dyn FnMut(Account)) -> Interest {
        if let What::Opened { client, server, .. } = event.what {
            self.connections.insert(event.id, Connection::new(client, server));
            return Interest::Full;
        }
        if let What::Closed { how } = event.what {
            if let Some(account) = self.connections.remove(&event.id).and_then(|last| last.closed(Some(how))) {
                done(account);
            }
            return Interest::None;
        }
        let Some(connection) = self.connections.get_mut(&event.id) else { return Interest::None };
        let verdict = match event.what {
            What::Data { direction, offset, bytes } => {
                connection.data(direction, event.arrival.time, offset, bytes, &mut self.shared)
            }
            What::Gap { direction, length, .. } => connection.gap(direction, length),
            What::Retransmitted { direction, offset, length, .. } => {
                connection.retransmitted(direction, (offset, offset.saturating_add(length)));
                Verdict::More
            }
            What::Opened { .. } | What::Closed { .. } => Verdict::More,
        };
        match verdict {
            Verdict::More => return Interest::Full,
            Verdict::Other => {}
            Verdict::Done(account) => done(*account),
        }
        self.connections.remove(&event.id);
        Interest::None
    }

    /// A datagram; true if it is one of DTLS, and so of no interest to others.
    pub fn datagram(&mut self, datagram: &Datagram<'_>, done: &mut dyn FnMut(Account)) -> bool {
        self.flows.datagram(datagram, &mut self.shared, done)
    }

    /// The capture is over: what is known of handshakes that are not.
    pub fn finish(&mut self, done: &mut dyn FnMut(Account)) {
        std::mem::take(&mut self.connections).into_values().filter_map(|last| last.closed(None)).for_each(&mut *done);
        std::mem::take(&mut self.flows).finish(&self.shared, done);
    }
}

#[cfg(test)]
mod tests;
