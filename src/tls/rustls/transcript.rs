//! Cipher suites that keep the transcript of a handshake beside its hash, for a session that may have to
//! prove who its terminal is.

use std::sync::{LazyLock, MutexGuard, PoisonError};

use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};

use super::current::{self, Messages};
use super::watch::watched;

/// The same suite, recording and watched; the suite itself if it is none of ring's.
pub(super) fn recording(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    // Made once and kept: rustls wants its suites to live as long as the program.
    static SUITES: LazyLock<Vec<SupportedCipherSuite>> = LazyLock::new(|| {
        rustls::crypto::ring::ALL_CIPHER_SUITES.iter().map(|&suite| made_recording(watched(suite))).collect()
    });
    SUITES.iter().find(|recording| recording.suite() == suite.suite()).copied().unwrap_or(suite)
}

fn made_recording(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    match suite {
        SupportedCipherSuite::Tls13(suite) => SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
            common: common(&suite.common),
            hkdf_provider: suite.hkdf_provider,
            aead_alg: suite.aead_alg,
            quic: None,
        }))),
        SupportedCipherSuite::Tls12(suite) => SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
            common: common(&suite.common),
            prf_provider: suite.prf_provider,
            kx: suite.kx,
            sign: suite.sign,
            aead_alg: suite.aead_alg,
        }))),
    }
}

fn common(suite: &CipherSuiteCommon) -> CipherSuiteCommon {
    CipherSuiteCommon {
        suite: suite.suite,
        hash_provider: Box::leak(Box::new(Recorder(suite.hash_provider))),
        confidentiality_limit: suite.confidentiality_limit,
    }
}

/// Bytes of most handshakes, so that a transcript is not copied while it grows.
const USUAL_LENGTH: usize = 4096;

/// A hash that keeps what it is fed.
struct Recorder(&'static dyn Hash);

impl Hash for Recorder {
    fn start(&self) -> Box<dyn Context> {
        Box::new(Recording {
            hash: self.0.start(),
            messages: Messages::new(Some(Vec::with_capacity(USUAL_LENGTH)).into()),
        })
    }

    fn hash(&self, data: &[u8]) -> Output {
        self.0.hash(data)
    }

    fn output_len(&self) -> usize {
        self.0.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm()
    }
}

struct Recording {
    hash: Box<dyn Context>,
    messages: Messages,
}

impl Recording {
    fn messages(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context for Recording {
    fn fork_finish(&self) -> Output {
        self.hash.fork_finish()
    }

    fn fork(&self) -> Box<dyn Context> {
        let messages = Messages::new(self.messages().clone().into());
        Box::new(Self { hash: self.hash.fork(), messages })
    }

    /// After a HelloRetryRequest the hash of the first ClientHello takes its place in the transcript (RFC
    /// 8446 section 4.4.1): the hello itself is kept for the signer.
    fn finish(self: Box<Self>) -> Output {
        if let Some(prover) = current::session().as_ref().and_then(|session| session.prover.as_ref())
            && let Some(messages) = self.messages().take()
        {
            prover.keep_hello(messages);
        }
        self.hash.finish()
    }

    fn update(&mut self, data: &[u8]) {
        self.hash.update(data);
        if let Some(messages) = &mut *self.messages() {
            messages.extend_from_slice(data);
        }
        current::updated(&self.messages);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tls::rustls::capture::Capture;

    #[test]
    fn every_suite_has_its_recording_twin() {
        for suite in rustls::crypto::ring::ALL_CIPHER_SUITES {
            let twin = recording(*suite);
            assert_eq!(twin.suite(), suite.suite());
            assert_eq!(twin.version(), suite.version());
        }
    }

    #[test]
    fn the_digest_is_the_same_and_the_context_updated_last_counts() {
        let SupportedCipherSuite::Tls13(suite) = rustls::crypto::ring::cipher_suite::TLS13_AES_256_GCM_SHA384 else {
            unreachable!()
        };
        let recorder = Recorder(suite.common.hash_provider);
        let capture = Arc::new(Capture::default());
        current::during(&capture, None, || {
            let mut context = recorder.start();
            context.update(b"one");
            let mut fork = context.fork();
            fork.update(b"other");
            assert_eq!(current::take_messages().unwrap(), b"oneother");
            context.update(b"two");
            assert_eq!(current::take_messages().unwrap(), b"onetwo");
            assert_eq!(context.fork_finish().as_ref(), suite.common.hash_provider.hash(b"onetwo").as_ref());
            assert_eq!(fork.finish().as_ref(), suite.common.hash_provider.hash(b"oneother").as_ref());
        });
        assert!(current::take_messages().is_none());
    }
}
