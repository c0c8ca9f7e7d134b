//! TLS 1.3 resumption: tickets of one terminal for one kind of peer, and how they come in.
//!
//! ```text
//! Tickets (kept)  --  Purse (one session's hand in it)  --  Taker (what is left of the session)
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustls::NamedGroup;
use rustls::client::{ClientConnectionData, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::kernel::KernelConnection;
use rustls::pki_types::ServerName;

use super::capture::Capture;
use super::current;
use crate::error::{Error, Reason};
use crate::tls::TicketTaker;
use crate::tls::certificate::Leaf;

/// Tickets at a time. A terminal has few connections to a peer, and each ticket is good for one.
const MOST: usize = 4;

/// Longest lifetime of a ticket (RFC 8446 section 4.6.1).
const LONGEST_LIFETIME: Duration = Duration::from_secs(7 * 86_400);

/// How many generations of record keys are out of reach for what is kept of a session.
const GENERATIONS: usize = 32;

/// Tickets of one terminal for the peers of one [`Client`](super::Client), which must be the same from a
/// session to the one that resumes it. Drop it to forget them.
#[derive(Default)]
pub struct Tickets {
    kept: Mutex<VecDeque<Kept>>,
}

struct Kept {
    server: ServerName<'static>,
    ticket: Tls13ClientSessionValue,
    /// Seconds since 1970 after which it is not used: its lifetime is over, or what the certificates behind it
    /// prove.
    until: u64,
}

impl Tickets {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many tickets there are.
    pub fn len(&self) -> usize {
        self.kept().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's access to the tickets.
pub(super) struct Purse {
    tickets: Arc<Tickets>,
    unix_now: Duration,
    /// Seconds since 1970 until which the certificates prove something; set before the first ticket comes.
    proved_until: OnceLock<u64>,
    /// The same until which the ticket that comes in lives; zero: it is thrown away.
    alive_until: AtomicU64,
}

impl Purse {
    pub(super) fn new(tickets: &Arc<Tickets>, unix_now: Duration) -> Arc<Self> {
        let (tickets, proved_until) = (tickets.clone(), OnceLock::new());
        Arc::new(Self { tickets, unix_now, proved_until, alive_until: AtomicU64::new(0) })
    }

    /// What tickets of this session stand for: nobody looks at these certificates again, nor at revocation lists, so
    /// the first of them that would no longer do ends the tickets, too.
    pub(super) fn proved_by(&self, certificates: &[Vec<u8>], crls_until: Option<u64>) {
        let not_after =
            |der: &Vec<u8>| Leaf::parse(der).and_then(|certificate| u64::try_from(certificate.not_after).ok());
        let certificates = certificates.iter().map(|der| not_after(der).unwrap_or(0)).min().unwrap_or(0);
        self.proved_until.get_or_init(|| crls_until.map_or(certificates, |crls| crls.min(certificates)));
    }
}

impl ClientSessionStore for Purse {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, server: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let Some(&proved_until) = self.proved_until.get() else { return };
        let until = proved_until.min(self.alive_until.load(Ordering::Relaxed));
        if until == 0 {
            return;
        }
        let mut kept = self.tickets.kept();
        if kept.len() >= MOST {
            kept.pop_front();
        }
        kept.push_back(Kept { server, ticket, until });
    }

    /// The newest one; rustls looks at whom it was made with.
    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut kept = self.tickets.kept();
        kept.retain(|kept| kept.until >= self.unix_now.as_secs());
        let newest = kept.iter().rposition(|kept| kept.server == *server)?;
        kept.remove(newest).map(|kept| kept.ticket)
    }
}

impl fmt::Debug for Purse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Purse")
    }
}

/// What is left of a session: it can read a ticket, and its traffic secrets are ahead of the terminal's.
pub(super) struct Taker {
    rest: KernelConnection<ClientConnectionData>,
    capture: Arc<Capture>,
    purse: Arc<Purse>,
}

impl Taker {
    /// # Errors
    /// If the secrets cannot be taken ahead.
    pub(super) fn new(
        mut rest: KernelConnection<ClientConnectionData>,
        capture: Arc<Capture>,
        purse: Arc<Purse>,
    ) -> Result<Self, rustls::Error> {
        for _ in 0..GENERATIONS {
            rest.update_tx_secret()?;
            rest.update_rx_secret()?;
        }
        Ok(Self { rest, capture, purse })
    }
}

impl TicketTaker for Taker {
    fn take(&mut self, unix_now: Duration, body: &[u8]) -> Result<(), Error> {
        let lifetime = lifetime(body);
        self.capture.set_time(unix_now);
        let alive_until = if lifetime.is_zero() { Duration::ZERO } else { unix_now.saturating_add(lifetime) };
        self.purse.alive_until.store(alive_until.as_secs(), Ordering::Relaxed);
        let taken = current::during(&self.capture, None, || self.rest.handle_new_session_ticket(body));
        taken.map_err(|error| {
            Error::new(Reason::MALFORMED_REQUEST, format!("the terminal sent back what is no session ticket: {error}"))
        })
    }
}

/// `ticket_lifetime`, with which the message begins. Zero: the ticket is to be thrown away, where rustls would keep it
/// for ever.
fn lifetime(body: &[u8]) -> Duration {
    let seconds = body.first_chunk().map_or(0, |seconds| u32::from_be_bytes(*seconds));
    Duration::from_secs(seconds.into()).min(LONGEST_LIFETIME)
}
