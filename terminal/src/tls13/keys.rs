//! One direction's traffic secret and the record protection made from it (RFC 8446 sections 5.2, 5.3, 7.1 to 7.3).
//!
//! Everything here is HKDF and an AEAD: a device needs no other cryptography for the life of a session.

use aes_gcm::aead::array::Array;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use alloc::vec::Vec;
use chacha20poly1305::ChaCha20Poly1305;
use hkdf::Hkdf;
use keyferry_parsers::tls::CipherSuite;
use sha2::{Sha256, Sha384};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of the authentication tag of every TLS 1.3 AEAD implemented here.
pub(crate) const TAG_LENGTH: usize = 16;
const IV_LENGTH: usize = 12;
/// The longest traffic secret: SHA-384.
const MAX_SECRET_LENGTH: usize = 48;

/// The TLS 1.3 cipher suites a terminal can use. Closed on purpose: what is not here is refused at the hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// TLS_AES_128_GCM_SHA256, 0x1301.
    Aes128GcmSha256,
    /// TLS_AES_256_GCM_SHA384, 0x1302.
    Aes256GcmSha384,
    /// TLS_CHACHA20_POLY1305_SHA256, 0x1303.
    ChaCha20Poly1305Sha256,
}

impl Suite {
    /// The suite with this IANA number, if a terminal can use it.
    pub(crate) fn from_number(number: CipherSuite) -> Option<Self> {
        match number {
            CipherSuite::TLS_AES_128_GCM_SHA256 => Some(Self::Aes128GcmSha256),
            CipherSuite::TLS_AES_256_GCM_SHA384 => Some(Self::Aes256GcmSha384),
            CipherSuite::TLS_CHACHA20_POLY1305_SHA256 => Some(Self::ChaCha20Poly1305Sha256),
            _ => None,
        }
    }

    /// Bytes of a traffic secret: the length of the suite's hash.
    fn secret_length(self) -> usize {
        match self {
            Self::Aes128GcmSha256 | Self::ChaCha20Poly1305Sha256 => 32,
            Self::Aes256GcmSha384 => 48,
        }
    }

    fn key_length(self) -> usize {
        match self {
            Self::Aes128GcmSha256 => 16,
            Self::Aes256GcmSha384 | Self::ChaCha20Poly1305Sha256 => 32,
        }
    }
}

/// The keys of one direction, and how much they have protected so far.
pub(crate) struct TrafficKey {
    suite: Suite,
    secret: Zeroizing<[u8; MAX_SECRET_LENGTH]>,
    cipher: Cipher,
    iv: Zeroizing<[u8; IV_LENGTH]>,
    sequence_number: u64,
    bytes: u64,
}

impl TrafficKey {
    /// `None` when the secret's length is not the suite's.
    pub(crate) fn new(suite: Suite, traffic_secret: &[u8], sequence_number: u64) -> Option<Self> {
        if traffic_secret.len() != suite.secret_length() {
            return None;
        }
        let mut secret = Zeroizing::new([0; MAX_SECRET_LENGTH]);
        secret.get_mut(..traffic_secret.len())?.copy_from_slice(traffic_secret);
        let (cipher, iv) = record_protection(suite, traffic_secret)?;
        Some(Self { suite, secret, cipher, iv, sequence_number, bytes: 0 })
    }

    /// Records protected so far with this key.
    pub(crate) fn records(&self) -> u64 {
        self.sequence_number
    }

    /// Bytes of content protected so far with this key.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Replaces the secret by `application_traffic_secret_N+1` (RFC 8446 section 7.2) and starts counting anew.
    pub(crate) fn update(&mut self) -> Option<()> {
        let length = self.suite.secret_length();
        let mut next = Zeroizing::new([0; MAX_SECRET_LENGTH]);
        expand_label(self.suite, self.secret.get(..length)?, "traffic upd", next.get_mut(..length)?)?;
        *self = Self::new(self.suite, next.get(..length)?, 0)?;
        Some(())
    }

    /// Encrypts a TLSInnerPlaintext in place; `header` is the record header that goes in front of it.
    /// `None` when the sequence numbers are exhausted.
    pub(crate) fn seal(&mut self, header: &[u8], inner: &mut [u8]) -> Option<[u8; TAG_LENGTH]> {
        let (nonce, next) = self.nonce()?;
        let tag = self.cipher.seal(&nonce, header, inner)?;
        self.sequence_number = next;
        self.bytes = self.bytes.saturating_add(inner.len() as u64);
        Some(tag)
    }

    /// Decrypts in place. `None`: not authentic, and the content must not be looked at.
    pub(crate) fn open(&mut self, header: &[u8], inner: &mut [u8], tag: &[u8; TAG_LENGTH]) -> Option<()> {
        let (nonce, next) = self.nonce()?;
        self.cipher.open(&nonce, header, inner, tag)?;
        self.sequence_number = next;
        self.bytes = self.bytes.saturating_add(inner.len() as u64);
        Some(())
    }

    /// The per-record nonce (RFC 8446 section 5.3) and the sequence number of the record after it.
    fn nonce(&self) -> Option<([u8; IV_LENGTH], u64)> {
        let next = self.sequence_number.checked_add(1)?;
        let mut nonce = *self.iv;
        for (n, s) in nonce.iter_mut().rev().zip(self.sequence_number.to_be_bytes().iter().rev()) {
            *n ^= s;
        }
        Some((nonce, next))
    }
}

/// `key` and `iv` of RFC 8446 section 7.3, the key already inside its cipher.
fn record_protection(suite: Suite, traffic_secret: &[u8]) -> Option<(Cipher, Zeroizing<[u8; IV_LENGTH]>)> {
    let mut key = Zeroizing::new([0; 32]);
    let key = key.get_mut(..suite.key_length())?;
    expand_label(suite, traffic_secret, "key", key)?;
    let mut iv = Zeroizing::new([0; IV_LENGTH]);
    expand_label(suite, traffic_secret, "iv", iv.as_mut_slice())?;
    Some((Cipher::new(suite, key)?, iv))
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
fn expand_label(suite: Suite, secret: &[u8], label: &str, okm: &mut [u8]) -> Option<()> {
    let mut info = Vec::with_capacity(24);
    info.extend_from_slice(&u16::try_from(okm.len()).ok()?.to_be_bytes());
    info.push(u8::try_from(label.len().checked_add(6)?).ok()?);
    info.extend_from_slice(b"tls13 ");
    info.extend_from_slice(label.as_bytes());
    info.push(0);
    match suite {
        Suite::Aes256GcmSha384 => Hkdf::<Sha384>::from_prk(secret).ok()?.expand(&info, okm).ok(),
        Suite::Aes128GcmSha256 | Suite::ChaCha20Poly1305Sha256 => {
            Hkdf::<Sha256>::from_prk(secret).ok()?.expand(&info, okm).ok()
        }
    }
}

/// The three AEADs. They erase their key schedules when dropped (feature `zeroize` of each crate).
enum Cipher {
    Aes128(Aes128Gcm),
    Aes256(Aes256Gcm),
    ChaCha20(ChaCha20Poly1305),
}

impl Cipher {
    fn new(suite: Suite, key: &[u8]) -> Option<Self> {
        Some(match suite {
            Suite::Aes128GcmSha256 => Self::Aes128(Aes128Gcm::new_from_slice(key).ok()?),
            Suite::Aes256GcmSha384 => Self::Aes256(Aes256Gcm::new_from_slice(key).ok()?),
            Suite::ChaCha20Poly1305Sha256 => Self::ChaCha20(ChaCha20Poly1305::new_from_slice(key).ok()?),
        })
    }

    fn seal(&self, nonce: &[u8; IV_LENGTH], header: &[u8], inner: &mut [u8]) -> Option<[u8; TAG_LENGTH]> {
        let nonce = &Array(*nonce);
        let inner = inner.into();
        let tag = match self {
            Self::Aes128(cipher) => cipher.encrypt_inout_detached(nonce, header, inner),
            Self::Aes256(cipher) => cipher.encrypt_inout_detached(nonce, header, inner),
            Self::ChaCha20(cipher) => cipher.encrypt_inout_detached(nonce, header, inner),
        };
        tag.ok().map(|tag| tag.0)
    }

    fn open(&self, nonce: &[u8; IV_LENGTH], header: &[u8], inner: &mut [u8], tag: &[u8; TAG_LENGTH]) -> Option<()> {
        let nonce = &Array(*nonce);
        let tag = &Array(*tag);
        let opened = match self {
            Self::Aes128(cipher) => cipher.decrypt_inout_detached(nonce, header, (&mut *inner).into(), tag),
            Self::Aes256(cipher) => cipher.decrypt_inout_detached(nonce, header, (&mut *inner).into(), tag),
            Self::ChaCha20(cipher) => cipher.decrypt_inout_detached(nonce, header, (&mut *inner).into(), tag),
        };
        if opened.is_err() {
            // Some AEADs decrypt before they have verified: nothing unverified may survive.
            inner.zeroize();
        }
        opened.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::hex;

    #[test]
    fn derives_key_and_iv_of_rfc_8448() {
        let secret = hex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643");
        let mut key = [0; 16];
        let mut iv = [0; 12];
        expand_label(Suite::Aes128GcmSha256, &secret, "key", &mut key).unwrap();
        expand_label(Suite::Aes128GcmSha256, &secret, "iv", &mut iv).unwrap();
        assert_eq!(key.to_vec(), hex("9f02283b6c9c07efc26bb9f2ac92e356"));
        assert_eq!(iv.to_vec(), hex("cf782b88dd83549aadf1e984"));
    }

    #[test]
    fn refuses_a_secret_of_another_length() {
        for length in [0, 16, 31, 33, 48, 64] {
            assert!(TrafficKey::new(Suite::Aes128GcmSha256, &[1; 64][..length], 0).is_none(), "{length}");
        }
        assert!(TrafficKey::new(Suite::Aes256GcmSha384, &[1; 32], 0).is_none());
    }

    #[test]
    fn never_wraps_the_sequence_number() {
        let mut key = TrafficKey::new(Suite::ChaCha20Poly1305Sha256, &[1; 32], u64::MAX).unwrap();
        assert!(key.seal(&[], &mut [0; 4]).is_none());
    }

    #[test]
    fn erases_what_did_not_authenticate() {
        for (suite, secret) in [
            (Suite::Aes128GcmSha256, &[7; 32][..]),
            (Suite::Aes256GcmSha384, &[7; 48][..]),
            (Suite::ChaCha20Poly1305Sha256, &[7; 32][..]),
        ] {
            let mut inner = *b"attack at dawn";
            let mut tag = TrafficKey::new(suite, secret, 0).unwrap().seal(b"h", &mut inner).unwrap();
            tag[0] ^= 1;
            assert!(TrafficKey::new(suite, secret, 0).unwrap().open(b"h", &mut inner, &tag).is_none());
            assert_eq!(inner, [0; 14]);
        }
    }
}
