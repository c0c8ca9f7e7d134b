//! Cipher suites that watch what rustls does with its TLS 1.3 keys. So it is known of a finished handshake, without
//! deriving anything again, that it stands at record 0 of the keys made of the secrets that were logged: what the
//! terminal goes on with must not have protected anything yet, nor be a generation behind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundOpaqueMessage,
    OutboundPlainMessage, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::ring::ALL_CIPHER_SUITES;
use rustls::{CipherSuiteCommon, ConnectionTrafficSecrets, Error, SupportedCipherSuite, Tls13CipherSuite};

use super::capture::Capture;
use super::current;

/// What happened in both directions since the traffic secrets were logged.
#[derive(Default)]
pub(super) struct Watch {
    tx: Direction,
    rx: Direction,
}

#[derive(Default)]
struct Direction {
    /// Keys put to use.
    keys: AtomicU64,
    /// Records under the newest of them.
    records: AtomicU64,
}

impl Watch {
    /// The secrets are logged: what was in use until now does not count.
    pub(super) fn begin(&self) {
        for direction in [&self.tx, &self.rx] {
            direction.keys.store(0, Ordering::Relaxed);
        }
    }

    /// Whether both directions use the first keys made since, and have used them for nothing yet.
    pub(super) fn is_at_first_record(&self) -> bool {
        let fresh = |direction: &Direction| {
            (direction.keys.load(Ordering::Relaxed), direction.records.load(Ordering::Relaxed)) == (1, 0)
        };
        fresh(&self.tx) && fresh(&self.rx)
    }
}

impl Direction {
    fn new_key(&self) {
        self.keys.fetch_add(1, Ordering::Relaxed);
        self.records.store(0, Ordering::Relaxed);
    }

    fn record(&self) {
        self.records.fetch_add(1, Ordering::Relaxed);
    }
}

/// The same suite, watched; the suite itself if it is not one of TLS 1.3.
pub(super) fn watched(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    // Made once and kept: rustls wants its suites to live as long as the program.
    static SUITES: LazyLock<Vec<SupportedCipherSuite>> =
        LazyLock::new(|| ALL_CIPHER_SUITES.iter().filter_map(|suite| suite.tls13()).map(made_watched).collect());
    SUITES.iter().find(|watched| watched.suite() == suite.suite()).copied().unwrap_or(suite)
}

fn made_watched(suite: &Tls13CipherSuite) -> SupportedCipherSuite {
    let CipherSuiteCommon { suite: number, hash_provider, confidentiality_limit } = suite.common;
    SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
        common: CipherSuiteCommon { suite: number, hash_provider, confidentiality_limit },
        hkdf_provider: suite.hkdf_provider,
        aead_alg: Box::leak(Box::new(WatchedAead(suite.aead_alg))),
        quic: None,
    })))
}

struct WatchedAead(&'static dyn Tls13AeadAlgorithm);

/// Outside a session of ours nobody watches, and nothing is exported.
impl Tls13AeadAlgorithm for WatchedAead {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        let inner = self.0.encrypter(key, iv);
        match current::session() {
            Some(session) => {
                session.watch.tx.new_key();
                Box::new(Watched { inner, session })
            }
            None => inner,
        }
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        let inner = self.0.decrypter(key, iv);
        match current::session() {
            Some(session) => {
                session.watch.rx.new_key();
                Box::new(Watched { inner, session })
            }
            None => inner,
        }
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

/// A key in use.
struct Watched<T: ?Sized> {
    session: Arc<Capture>,
    inner: Box<T>,
}

impl MessageEncrypter for Watched<dyn MessageEncrypter> {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, sequence: u64) -> Result<OutboundOpaqueMessage, Error> {
        self.session.watch.tx.record();
        self.inner.encrypt(message, sequence)
    }

    fn encrypted_payload_len(&self, payload_length: usize) -> usize {
        self.inner.encrypted_payload_len(payload_length)
    }
}

impl MessageDecrypter for Watched<dyn MessageDecrypter> {
    fn decrypt<'a>(
        &mut self,
        message: InboundOpaqueMessage<'a>,
        sequence: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        self.session.watch.rx.record();
        self.inner.decrypt(message, sequence)
    }
}

#[cfg(test)]
mod tests;
