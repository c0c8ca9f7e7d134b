//! The one facade over the crypto libraries: ring through rustls, and beside it what ring lacks.
//!
//! It sits under everything that computes with keys. Nothing here keeps state; randomness comes from
//! the source that a caller put into the [`CryptoProvider`], the system's in [`provider`].

mod aead;
mod aes_mac;
mod cipher;
mod hash;
mod integrity;
mod prf;
mod secret;
mod tls13_hkdf;
mod x25519mlkem768;

use std::sync::Arc;

use keyferry_parsers::tls::{CipherSuite, NamedGroup};
use ring::hkdf;
use rustls::SupportedCipherSuite;
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom, SupportedKxGroup};

use crate::error::{Error, Reason};

pub use aead::{Aead, Tag};
pub use cipher::{AesKey, Cipher};
pub use hash::Hash;
pub use integrity::Integrity;
pub use prf::Prf;
pub use secret::Secret;
pub use tls13_hkdf::{expand_label, hkdf_extract};
pub use x25519mlkem768::X25519MlKem768;

/// The key exchange groups there are, best first; the default of a policy.
pub const GROUPS: [NamedGroup; 4] =
    [NamedGroup::X25519_MLKEM768, NamedGroup::X25519, NamedGroup::SECP256R1, NamedGroup::SECP384R1];

/// The cipher suites there are, TLS 1.3 first and cheapest for a small terminal first; the default of a
/// policy. Those of TLS 1.2 are the ones with forward secrecy and the same AEADs and hashes.
pub const SUITES: [CipherSuite; 9] = [
    CipherSuite::TLS_AES_128_GCM_SHA256,
    CipherSuite::TLS_AES_256_GCM_SHA384,
    CipherSuite::TLS_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The algorithms for one kind of connection: these groups and suites, in this order, and every
/// signature that ring verifies (ECDSA P-256 and P-384, Ed25519, RSA of 2048 bits and more).
///
/// # Errors
/// `INTERNAL` if a list is empty or names something that is not implemented: configuration is
/// checked against [`GROUPS`] and [`SUITES`] before it comes here.
pub fn provider(groups: &[NamedGroup], suites: &[CipherSuite]) -> Result<Arc<CryptoProvider>, Error> {
    let kx_groups = groups.iter().map(|&group| kx_group(group)).collect::<Result<Vec<_>, _>>()?;
    let cipher_suites = suites.iter().map(|&suite| cipher_suite(suite)).collect::<Result<Vec<_>, _>>()?;
    if kx_groups.is_empty() || cipher_suites.is_empty() {
        return Err(Error::new(
            Reason::INTERNAL,
            "an empty list of key exchange groups or cipher suites: name at least one of each",
        ));
    }
    Ok(Arc::new(CryptoProvider { kx_groups, cipher_suites, ..default_provider() }))
}

/// The system's random source, through ring.
#[derive(Debug)]
pub struct SystemRandom;

impl SecureRandom for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), buffer).map_err(|_| GetRandomFailed)
    }
}

fn kx_group(group: NamedGroup) -> Result<&'static dyn SupportedKxGroup, Error> {
    static HYBRID: X25519MlKem768 = X25519MlKem768::new(kx_group::X25519, &SystemRandom);
    match group {
        NamedGroup::X25519_MLKEM768 => Ok(&HYBRID),
        NamedGroup::X25519 => Ok(kx_group::X25519),
        NamedGroup::SECP256R1 => Ok(kx_group::SECP256R1),
        NamedGroup::SECP384R1 => Ok(kx_group::SECP384R1),
        other => Err(Error::new(
            Reason::INTERNAL,
            format!("key exchange group {other} is not implemented: take it out of `key_exchange`"),
        )),
    }
}

fn cipher_suite(suite: CipherSuite) -> Result<SupportedCipherSuite, Error> {
    match suite {
        CipherSuite::TLS_AES_128_GCM_SHA256 => Ok(cipher_suite::TLS13_AES_128_GCM_SHA256),
        CipherSuite::TLS_AES_256_GCM_SHA384 => Ok(cipher_suite::TLS13_AES_256_GCM_SHA384),
        CipherSuite::TLS_CHACHA20_POLY1305_SHA256 => Ok(cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => {
            Ok(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Ok(cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => {
            Ok(cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Ok(cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            Ok(cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256)
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => {
            Ok(cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256)
        }
        other => Err(Error::new(
            Reason::INTERNAL,
            format!("cipher suite {other} is not implemented: take it out of `cipher_suites`"),
        )),
    }
}

/// `write_key` of a traffic secret (RFC 8446 section 7.3), as the terminal will derive it: 16 or 32 bytes.
///
/// `None` for a suite that is not of TLS 1.3 and one of [`SUITES`], or a secret that is not as long as its hash.
pub fn record_key(suite: CipherSuite, traffic_secret: &Secret) -> Option<Secret> {
    let (prk, key_length) = record_prk(suite, traffic_secret)?;
    hkdf_expand_label(&prk, b"key", b"", key_length)
}

/// `write_iv` of a traffic secret: 12 bytes. `None` as for [`record_key`].
pub fn record_iv(suite: CipherSuite, traffic_secret: &Secret) -> Option<Secret> {
    let (prk, _) = record_prk(suite, traffic_secret)?;
    hkdf_expand_label(&prk, b"iv", b"", 12)
}

fn record_prk(suite: CipherSuite, traffic_secret: &Secret) -> Option<(hkdf::Prk, u16)> {
    let (hash, key_length) = match suite {
        CipherSuite::TLS_AES_128_GCM_SHA256 => (hkdf::HKDF_SHA256, 16),
        CipherSuite::TLS_AES_256_GCM_SHA384 => (hkdf::HKDF_SHA384, 32),
        CipherSuite::TLS_CHACHA20_POLY1305_SHA256 => (hkdf::HKDF_SHA256, 32),
        _ => return None,
    };
    let fits = traffic_secret.as_bytes().len() == hkdf::KeyType::len(&hash);
    fits.then(|| (hkdf::Prk::new_less_safe(hash, traffic_secret.as_bytes()), key_length))
}

/// HKDF-Expand-Label (RFC 8446 section 7.1). `None` if a length does not fit its field.
pub fn hkdf_expand_label(prk: &hkdf::Prk, label: &[u8], context: &[u8], length: u16) -> Option<Secret> {
    const PREFIX: &[u8] = b"tls13 ";
    let label_length = u8::try_from(PREFIX.len().checked_add(label.len())?).ok()?;
    let context_length = u8::try_from(context.len()).ok()?;
    let mut output = Secret::zeroed(length.into());
    prk.expand(
        &[&length.to_be_bytes(), &[label_length], PREFIX, label, &[context_length], context],
        OutputLength(length),
    )
    .and_then(|okm| okm.fill(output.as_mut_bytes()))
    .ok()?;
    Some(output)
}

struct OutputLength(u16);

impl hkdf::KeyType for OutputLength {
    fn len(&self) -> usize {
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    /// RFC 8448 section 3: the server's application traffic secret and what is derived from it.
    #[test]
    fn record_keys_of_rfc_8448() {
        let secret = Secret::from_slice(&hex(
            "a1 1a f9 f0 55 31 f8 56 ad 47 11 6b 45 a9 50 32 82 04 b4 f4 4b fb 6b 3a 4b 4f 1f 3f cb 63 16 43",
        ));
        let key = record_key(CipherSuite::TLS_AES_128_GCM_SHA256, &secret).unwrap();
        assert_eq!(key.as_bytes(), hex("9f 02 28 3b 6c 9c 07 ef c2 6b b9 f2 ac 92 e3 56"));
        let iv = record_iv(CipherSuite::TLS_AES_128_GCM_SHA256, &secret).unwrap();
        assert_eq!(iv.as_bytes(), hex("cf 78 2b 88 dd 83 54 9a ad f1 e9 84"));
    }

    #[test]
    fn a_secret_of_the_wrong_length_or_an_unknown_suite_derives_nothing() {
        let secret = Secret::zeroed(32);
        assert!(record_key(CipherSuite::TLS_CHACHA20_POLY1305_SHA256, &secret).is_some());
        assert!(record_key(CipherSuite::TLS_AES_256_GCM_SHA384, &secret).is_none());
        assert!(record_key(CipherSuite::TLS_AES_128_CCM_SHA256, &secret).is_none());
    }

    #[test]
    fn lists_keep_their_order_and_what_is_unknown_is_refused_by_name() {
        let provider = provider(&GROUPS, &SUITES).unwrap();
        let groups: Vec<u16> = provider.kx_groups.iter().map(|group| group.name().into()).collect();
        assert_eq!(groups, [0x11ec, 0x001d, 0x0017, 0x0018]);
        let suites: Vec<u16> = provider.cipher_suites.iter().map(|suite| suite.suite().into()).collect();
        assert_eq!(suites, SUITES.map(|suite| suite.0));

        let error = super::provider(&[NamedGroup::X448], &SUITES).unwrap_err();
        assert!(error.detail.contains("x448"), "{error}");
        let error = super::provider(&GROUPS, &[CipherSuite(0x1305)]).unwrap_err();
        assert!(error.detail.contains("CCM_8"), "{error}");
        assert!(super::provider(&[], &SUITES).is_err());
        assert!(super::provider(&GROUPS, &[]).is_err());
    }
}
