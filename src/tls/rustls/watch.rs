//! Cipher suites that watch what rustls does with its keys. So it is known of a finished handshake, without deriving
//! anything again, which record comes next under which keys: in TLS 1.3 record 0 of the keys made of the secrets that
//! were logged, in TLS 1.2 the one after Finished. What the terminal goes on with must not have protected anything else,
//! nor be a generation behind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, KeyBlockShape, MessageDecrypter, MessageEncrypter,
    OutboundOpaqueMessage, OutboundPlainMessage, Tls12AeadAlgorithm, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::ring::ALL_CIPHER_SUITES;
use rustls::{
    CipherSuiteCommon, ConnectionTrafficSecrets, Error, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite,
};

use super::capture::Capture;
use super::current;
use crate::crypto::Secret;

/// What happened in both directions: in TLS 1.3, since the traffic secrets were logged.
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
    /// TLS 1.2: `write_key || write_iv`, the part of the IV that is in the records included.
    secret: Mutex<Option<Secret>>,
}

impl Watch {
    /// The secrets are logged: what was in use until now does not count.
    pub(super) fn begin(&self) {
        for direction in [&self.tx, &self.rx] {
            direction.keys.store(0, Ordering::Relaxed);
        }
    }

    /// TLS 1.3: whether both directions use the first keys made since, and have used them for nothing yet.
    pub(super) fn is_at_first_record(&self) -> bool {
        self.tx.stands_at(0) && self.rx.stands_at(0)
    }

    /// TLS 1.2: what the session sends with, and receives with, if Finished is all that it has sent and received. They
    /// leave for good.
    pub(super) fn take_keys(&self) -> Option<(Secret, Secret)> {
        let keys = self.tx.take().zip(self.rx.take());
        keys.filter(|_| self.tx.stands_at(1) && self.rx.stands_at(1))
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

    /// Whether one key was made, and `records` is the next number.
    fn stands_at(&self, records: u64) -> bool {
        (self.keys.load(Ordering::Relaxed), self.records.load(Ordering::Relaxed)) == (1, records)
    }

    fn keep(&self, parts: [&[u8]; 3]) {
        let mut secret = Secret::zeroed(parts.iter().map(|part| part.len()).sum());
        let all = parts.iter().copied().flatten();
        secret.as_mut_bytes().iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        *self.secret.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret);
    }

    fn take(&self) -> Option<Secret> {
        self.secret.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The same suite, watched; the suite itself if it is none of ring's.
pub(super) fn watched(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    // Made once and kept: rustls wants its suites to live as long as the program.
    static SUITES: LazyLock<Vec<SupportedCipherSuite>> =
        LazyLock::new(|| ALL_CIPHER_SUITES.iter().copied().map(made_watched).collect());
    SUITES.iter().find(|watched| watched.suite() == suite.suite()).copied().unwrap_or(suite)
}

fn made_watched(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    match suite {
        SupportedCipherSuite::Tls13(suite) => SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
            common: common(&suite.common),
            hkdf_provider: suite.hkdf_provider,
            aead_alg: Box::leak(Box::new(WatchedAead(suite.aead_alg))),
            quic: None,
        }))),
        SupportedCipherSuite::Tls12(suite) => SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
            common: common(&suite.common),
            prf_provider: suite.prf_provider,
            kx: suite.kx,
            sign: suite.sign,
            aead_alg: Box::leak(Box::new(WatchedAead(suite.aead_alg))),
        }))),
    }
}

fn common(common: &CipherSuiteCommon) -> CipherSuiteCommon {
    let &CipherSuiteCommon { suite, hash_provider, confidentiality_limit } = common;
    CipherSuiteCommon { suite, hash_provider, confidentiality_limit }
}

/// Outside a session of ours nobody watches, and nothing is exported.
struct WatchedAead<T: ?Sized + 'static>(&'static T);

impl Tls13AeadAlgorithm for WatchedAead<dyn Tls13AeadAlgorithm> {
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

impl Tls12AeadAlgorithm for WatchedAead<dyn Tls12AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: &[u8], explicit: &[u8]) -> Box<dyn MessageEncrypter> {
        let Some(session) = current::session() else {
            return self.0.encrypter(key, iv, explicit);
        };
        session.watch.tx.new_key();
        session.watch.tx.keep([key.as_ref(), iv, explicit]);
        Box::new(Watched { inner: self.0.encrypter(key, iv, explicit), session })
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        let Some(session) = current::session() else {
            return self.0.decrypter(key, iv);
        };
        session.watch.rx.new_key();
        // The peer says the rest in every record.
        let explicit = [0; 8];
        let explicit = explicit.get(..self.0.key_block_shape().explicit_nonce_len).unwrap_or_default();
        session.watch.rx.keep([key.as_ref(), iv, explicit]);
        Box::new(Watched { inner: self.0.decrypter(key, iv), session })
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.0.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv, explicit)
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
