//! One direction's write key and its records (RFC 5246 section 6.2.3.3, RFC 5288, RFC 7905).

use crate::aead::{Algorithm, IV_LENGTH, RecordKey, TAG_LENGTH};
use crate::fault::Fault;
use crate::record::{HEADER_LENGTH, MAX_FRAGMENT, Parts, Protection, RECORD_VERSION};
use alloc::vec::Vec;
use core::ops::Range;
use keyferry_parsers::tls::{CipherSuite, ContentType};
use zeroize::Zeroizing;

/// The longest TLSCiphertext.fragment (RFC 5246 section 6.2.3).
const MAX_CIPHERTEXT: usize = MAX_FRAGMENT + 2048;
/// Bytes of the nonce that travel with each record of AES-GCM (RFC 5288 section 3).
const EXPLICIT_NONCE_LENGTH: usize = 8;
/// The rest of it, which is secret.
const SALT_LENGTH: usize = IV_LENGTH - EXPLICIT_NONCE_LENGTH;

/// The AEAD of a TLS 1.2 suite, whoever signed the key exchange; `None`: not a suite of this terminal.
pub(crate) fn algorithm(suite: CipherSuite) -> Option<Algorithm> {
    match suite {
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => {
            Some(Algorithm::Aes128Gcm)
        }
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => {
            Some(Algorithm::Aes256Gcm)
        }
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Some(Algorithm::ChaCha20Poly1305),
        _ => None,
    }
}

/// The keys of one direction, and how much they have protected so far.
pub(crate) struct WriteKey {
    key: RecordKey,
    /// AES-GCM: eight bytes of the nonce go with the record. ChaCha20-Poly1305: none do.
    explicit: bool,
}

impl WriteKey {
    /// From write key and IV in one; `None` when their length is not the algorithm's.
    pub(crate) fn new(algorithm: Algorithm, secret: &[u8], sequence_number: u64) -> Option<Self> {
        let (key, iv) = secret.split_at_checked(algorithm.key_length())?;
        let iv: Zeroizing<[u8; IV_LENGTH]> = Zeroizing::new(iv.try_into().ok()?);
        let key = RecordKey::new(algorithm, key, iv, sequence_number)?;
        Some(Self { key, explicit: algorithm != Algorithm::ChaCha20Poly1305 })
    }

    /// The nonce of a received record: what it says, behind our salt; or what its number says.
    fn received_nonce(&self, explicit_nonce: &[u8]) -> [u8; IV_LENGTH] {
        let mut nonce = if self.explicit { *self.key.iv() } else { self.key.nonce() };
        for (n, e) in nonce.iter_mut().skip(SALT_LENGTH).zip(explicit_nonce) {
            *n = *e;
        }
        nonce
    }

    /// seq_num + type + version + length, the length that of the plaintext.
    fn additional_data(&self, kind: ContentType, length: usize) -> Option<[u8; 13]> {
        let mut data = [0; 13];
        let (sequence_number, rest) = data.split_first_chunk_mut::<8>()?;
        *sequence_number = self.key.sequence_number().to_be_bytes();
        let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
        let [major, minor] = RECORD_VERSION;
        rest.copy_from_slice(&[kind.0, major, minor, high, low]);
        Some(data)
    }

    fn explicit_length(&self) -> usize {
        if self.explicit { EXPLICIT_NONCE_LENGTH } else { 0 }
    }
}

impl Protection for WriteKey {
    fn record_length(header: &[u8; HEADER_LENGTH]) -> Result<usize, Fault> {
        let [_, major, minor, high, low] = *header;
        if [major, minor] != RECORD_VERSION {
            return Err(Fault::ProtocolVersion);
        }
        match usize::from(u16::from_be_bytes([high, low])) {
            length if length > MAX_CIPHERTEXT => Err(Fault::RecordOverflow),
            length if length < TAG_LENGTH => Err(Fault::DecodeError("a record too short to hold a tag")),
            length => Ok(length),
        }
    }

    fn open(&mut self, header: &[u8; HEADER_LENGTH], record: &mut [u8]) -> Result<(ContentType, Range<usize>), Fault> {
        let [kind, ..] = *header;
        let kind = ContentType(kind);
        let start = self.explicit_length();
        let too_short = Fault::DecodeError("a record too short to hold a nonce and a tag");
        let (explicit_nonce, encrypted) = record.split_at_mut_checked(start).ok_or(too_short)?;
        let (content, tag) = encrypted.split_last_chunk_mut::<TAG_LENGTH>().ok_or(too_short)?;
        let nonce = self.received_nonce(explicit_nonce);
        let aad = self.additional_data(kind, content.len()).ok_or(Fault::RecordOverflow)?;
        self.key.open(&nonce, &aad, content, tag).ok_or(Fault::BadRecordMac)?;
        if content.len() > MAX_FRAGMENT {
            return Err(Fault::RecordOverflow);
        }
        Ok((kind, start..start.saturating_add(content.len())))
    }

    fn seal(&mut self, kind: ContentType, content: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let nonce = self.key.nonce();
        let explicit_nonce = if self.explicit { nonce.get(SALT_LENGTH..)? } else { &[] };
        let parts = Parts { kind, explicit_nonce, content, inner_type: &[] };
        let aad = self.additional_data(kind, content.len())?;
        parts.write(&mut self.key, parts.header()?, &aad, out)
    }

    fn key(&self) -> &RecordKey {
        &self.key
    }
}
