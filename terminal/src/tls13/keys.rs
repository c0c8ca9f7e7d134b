//! One direction's traffic secret and the record protection made from it (RFC 8446 sections 5.2, 5.3, 7.1 to 7.3).
//!
//! Everything here is HKDF and an AEAD: a device needs no other cryptography for the life of a session.

use crate::aead::{Algorithm, IV_LENGTH, RecordKey, TAG_LENGTH};
use crate::fault::Fault;
use crate::record::{HEADER_LENGTH, MAX_FRAGMENT, Parts, Protection};
use alloc::vec::Vec;
use core::ops::Range;
use hkdf::Hkdf;
use keyferry_parsers::tls::{CipherSuite, ContentType};
use sha2::{Sha256, Sha384};
use zeroize::Zeroizing;

/// The longest TLSCiphertext.encrypted_record (RFC 8446 section 5.2).
const MAX_CIPHERTEXT: usize = MAX_FRAGMENT + 256;
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

    fn algorithm(self) -> Algorithm {
        match self {
            Self::Aes128GcmSha256 => Algorithm::Aes128Gcm,
            Self::Aes256GcmSha384 => Algorithm::Aes256Gcm,
            Self::ChaCha20Poly1305Sha256 => Algorithm::ChaCha20Poly1305,
        }
    }

    /// Bytes of a traffic secret: the length of the suite's hash.
    fn secret_length(self) -> usize {
        match self {
            Self::Aes128GcmSha256 | Self::ChaCha20Poly1305Sha256 => 32,
            Self::Aes256GcmSha384 => 48,
        }
    }
}

/// The keys of one direction, and how much they have protected so far.
pub(crate) struct TrafficKey {
    suite: Suite,
    secret: Zeroizing<[u8; MAX_SECRET_LENGTH]>,
    key: RecordKey,
    /// KeyUpdates since the hand-over.
    updates: u32,
}

impl TrafficKey {
    /// `None` when the secret's length is not the suite's.
    pub(crate) fn new(suite: Suite, traffic_secret: &[u8], sequence_number: u64) -> Option<Self> {
        if traffic_secret.len() != suite.secret_length() {
            return None;
        }
        let mut secret = Zeroizing::new([0; MAX_SECRET_LENGTH]);
        secret.get_mut(..traffic_secret.len())?.copy_from_slice(traffic_secret);
        let key = record_key(suite, traffic_secret, sequence_number)?;
        Some(Self { suite, secret, key, updates: 0 })
    }

    /// KeyUpdates since the hand-over.
    pub(crate) fn updates(&self) -> u32 {
        self.updates
    }

    /// Replaces the secret by `application_traffic_secret_N+1` (RFC 8446 section 7.2) and starts counting anew.
    pub(crate) fn update(&mut self) -> Option<()> {
        let length = self.suite.secret_length();
        let mut next = Zeroizing::new([0; MAX_SECRET_LENGTH]);
        expand_label(self.suite, self.secret.get(..length)?, "traffic upd", next.get_mut(..length)?)?;
        let updates = self.updates.saturating_add(1);
        *self = Self { updates, ..Self::new(self.suite, next.get(..length)?, 0)? };
        Some(())
    }
}

impl Protection for TrafficKey {
    fn record_length(header: &[u8; HEADER_LENGTH]) -> Result<usize, Fault> {
        // legacy_record_version is ignored for all purposes (RFC 8446 section 5.1); the AEAD covers it anyway.
        let [kind, _, _, high, low] = *header;
        if ContentType(kind) != ContentType::APPLICATION_DATA {
            return Err(Fault::UnexpectedMessage("a record that is not encrypted"));
        }
        match usize::from(u16::from_be_bytes([high, low])) {
            length if length > MAX_CIPHERTEXT => Err(Fault::RecordOverflow),
            length if length <= TAG_LENGTH => {
                Err(Fault::DecodeError("a record too short to hold a content type and a tag"))
            }
            length => Ok(length),
        }
    }

    /// Opens a TLSInnerPlaintext: content, its type, and zeros that are padding.
    fn open(&mut self, header: &[u8; HEADER_LENGTH], record: &mut [u8]) -> Result<(ContentType, Range<usize>), Fault> {
        let (inner, tag) = record.split_last_chunk_mut::<TAG_LENGTH>().ok_or(Fault::BadRecordMac)?;
        self.key.open(&self.key.nonce(), header, inner, tag).ok_or(Fault::BadRecordMac)?;
        if inner.len() > MAX_FRAGMENT + 1 {
            return Err(Fault::RecordOverflow);
        }
        let padded = inner.iter().rposition(|byte| *byte != 0);
        let at = padded.ok_or(Fault::UnexpectedMessage("a record without a content type"))?;
        let kind = inner.get(at).copied().unwrap_or_default();
        Ok((ContentType(kind), 0..at))
    }

    fn seal(&mut self, kind: ContentType, content: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let parts = Parts { kind: ContentType::APPLICATION_DATA, explicit_nonce: &[], content, inner_type: &[kind.0] };
        let header = parts.header()?;
        parts.write(&mut self.key, header, &header, out)
    }

    fn key(&self) -> &RecordKey {
        &self.key
    }
}

/// `key` and `iv` of RFC 8446 section 7.3, the key already inside its cipher.
fn record_key(suite: Suite, traffic_secret: &[u8], sequence_number: u64) -> Option<RecordKey> {
    let algorithm = suite.algorithm();
    let mut key = Zeroizing::new([0; 32]);
    let key = key.get_mut(..algorithm.key_length())?;
    expand_label(suite, traffic_secret, "key", key)?;
    let mut iv = Zeroizing::new([0; IV_LENGTH]);
    expand_label(suite, traffic_secret, "iv", iv.as_mut_slice())?;
    RecordKey::new(algorithm, key, iv, sequence_number)
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
}
