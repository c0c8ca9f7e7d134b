//! What one session learns from rustls' call-backs, and what they are told of it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use keyferry_parsers::messages::Role;
use keyferry_parsers::tls::AlertDescription;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use super::identity::Prover;
use super::watch::Watch;
use crate::crypto::Secret;
use crate::error::Error;
use crate::tls::certificate::Name;
use crate::tls::profile::KeyLog;

const CLIENT_TRAFFIC_SECRET: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER_TRAFFIC_SECRET: &str = "SERVER_TRAFFIC_SECRET_0";

/// Belongs to one session. The clock that rustls sees, the secrets that it logs, the identity that it asks for.
#[derive(Default)]
pub(super) struct Capture {
    unix_now: AtomicU64,
    secrets: Mutex<Secrets>,
    key_log: Option<Arc<dyn KeyLog>>,
    /// Who the terminal is; `None`: it proves nothing.
    pub(super) prover: Option<Prover>,
    /// The peer wanted to know who the terminal is and was not told.
    pub(super) stayed_anonymous: AtomicBool,
    /// The names of a client that proved who it is and that policy does not know.
    pub(super) not_allowed: OnceLock<Vec<Name>>,
    /// What became of the secrets.
    pub(super) watch: Watch,
    refusal: OnceLock<OwnRefusal>,
}

/// Application traffic secrets of TLS 1.3.
#[derive(Default)]
struct Secrets {
    client: Option<Secret>,
    server: Option<Secret>,
    taken: bool,
}

/// A refusal by a call-back of ours, which rustls has no word for.
pub(super) struct OwnRefusal {
    /// What went wrong.
    pub(super) error: Error,
    /// The alert for the peer; `None` where the peer expects it encrypted and only rustls can do that.
    pub(super) alert: Option<AlertDescription>,
}

impl Capture {
    pub(super) fn new(key_log: Option<Arc<dyn KeyLog>>, prover: Option<Prover>) -> Self {
        Self { key_log, prover, ..Self::default() }
    }

    pub(super) fn set_time(&self, unix_now: Duration) {
        self.unix_now.store(unix_now.as_secs(), Ordering::Relaxed);
    }

    /// Seconds since 1970.
    pub(super) fn unix_now(&self) -> i64 {
        i64::try_from(self.unix_now.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
    }

    /// Takes note of why a call-back is about to refuse.
    pub(super) fn refuse(&self, error: Error, alert: Option<AlertDescription>) {
        // The first one is the cause of all others.
        self.refusal.get_or_init(|| OwnRefusal { error, alert });
    }

    pub(super) fn refusal(&self) -> Option<&OwnRefusal> {
        self.refusal.get()
    }

    /// Application traffic secrets of TLS 1.3: what the terminal in this role sends with, and receives with, both from
    /// record 0 on. They leave for good, since the rest of the session may live on to take tickets.
    ///
    /// `None` if they were not logged, or rustls has used them already.
    pub(super) fn take_traffic_secrets(&self, role: Role) -> Option<(Secret, Secret)> {
        let mut secrets = self.secrets();
        secrets.taken = true;
        if !self.watch.is_at_first_record() {
            return None;
        }
        let (client, server) = secrets.client.take().zip(secrets.server.take())?;
        Some(if role == Role::SERVER { (server, client) } else { (client, server) })
    }

    fn secrets(&self) -> MutexGuard<'_, Secrets> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl rustls::KeyLog for Capture {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        if self.secrets().keep(label, secret) {
            self.watch.begin();
        }
        if let Some(key_log) = &self.key_log {
            key_log.log(label, client_random, secret);
        }
    }

    fn will_log(&self, label: &str) -> bool {
        self.key_log.is_some() || [CLIENT_TRAFFIC_SECRET, SERVER_TRAFFIC_SECRET].contains(&label)
    }
}

impl Secrets {
    /// Whether it is one of the two. Logged a second time, a secret is not clear any more, and both are forgotten.
    fn keep(&mut self, label: &str, secret: &[u8]) -> bool {
        let slot = match label {
            _ if self.taken => return false,
            CLIENT_TRAFFIC_SECRET => &mut self.client,
            SERVER_TRAFFIC_SECRET => &mut self.server,
            _ => return false,
        };
        if slot.replace(Secret::from_slice(secret)).is_some() {
            *self = Self { taken: true, ..Self::default() };
        }
        true
    }
}

impl TimeProvider for Capture {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.unix_now.load(Ordering::Relaxed))))
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Capture")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secrets_of_application_records_are_logged() {
        let capture = Capture::default();
        for (label, wanted) in [("EXPORTER_SECRET", false), ("CLIENT_TRAFFIC_SECRET_0", true)] {
            assert_eq!(rustls::KeyLog::will_log(&capture, label), wanted, "{label}");
        }
    }

    #[test]
    fn each_role_sends_with_its_own_secret_and_a_secret_logged_twice_is_none() {
        let mut secrets = Secrets::default();
        assert!(secrets.keep(CLIENT_TRAFFIC_SECRET, &[1; 32]) && !secrets.keep("EXPORTER_SECRET", &[9; 32]));
        assert!(secrets.keep(SERVER_TRAFFIC_SECRET, &[2; 32]));
        let bytes = |secret: &Option<Secret>| secret.as_ref().unwrap().as_bytes().to_vec();
        assert_eq!((bytes(&secrets.client), bytes(&secrets.server)), (vec![1; 32], vec![2; 32]));
        assert!(secrets.keep(SERVER_TRAFFIC_SECRET, &[2; 32]));
        assert!(secrets.client.is_none() && secrets.server.is_none());
        assert!(!secrets.keep(CLIENT_TRAFFIC_SECRET, &[1; 32]), "and none comes after");
    }
}
