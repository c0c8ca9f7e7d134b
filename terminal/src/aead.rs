//! The three AEADs of a terminal, one face: what both versions of TLS protect their records with.

use aes_gcm::aead::array::Array;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::ChaCha20Poly1305;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of the authentication tag of every AEAD here.
pub(crate) const TAG_LENGTH: usize = 16;
/// Bytes of a nonce, and of the IV it is made from.
pub(crate) const IV_LENGTH: usize = 12;

/// Closed on purpose: a cipher suite with another AEAD is refused at the hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Algorithm {
    pub(crate) fn key_length(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }
}

/// What protects the records of one direction: cipher, IV, and how much has gone through.
pub(crate) struct RecordKey {
    cipher: Cipher,
    iv: Zeroizing<[u8; IV_LENGTH]>,
    sequence_number: u64,
    bytes: u64,
}

impl RecordKey {
    /// `None` when the key's length is not the algorithm's.
    pub(crate) fn new(
        algorithm: Algorithm,
        key: &[u8],
        iv: Zeroizing<[u8; IV_LENGTH]>,
        sequence_number: u64,
    ) -> Option<Self> {
        Some(Self { cipher: Cipher::new(algorithm, key)?, iv, sequence_number, bytes: 0 })
    }

    /// The number of the next record, which is also how many went before it.
    pub(crate) fn sequence_number(&self) -> u64 {
        self.sequence_number
    }

    /// Bytes protected so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn iv(&self) -> &[u8; IV_LENGTH] {
        &self.iv
    }

    /// The next record's nonce: its number, padded to the IV's length, XORed with the IV (RFC 8446 section 5.3, RFC 7905
    /// section 2). One number, one nonce.
    pub(crate) fn nonce(&self) -> [u8; IV_LENGTH] {
        let mut nonce = *self.iv;
        for (n, s) in nonce.iter_mut().rev().zip(self.sequence_number.to_be_bytes().iter().rev()) {
            *n ^= s;
        }
        nonce
    }

    /// Encrypts the next record in place. `None` when the sequence numbers are exhausted: they never wrap.
    pub(crate) fn seal(&mut self, aad: &[u8], text: &mut [u8]) -> Option<[u8; TAG_LENGTH]> {
        let next = self.sequence_number.checked_add(1)?;
        let tag = self.cipher.seal(&self.nonce(), aad, text)?;
        self.count(next, text.len());
        Some(tag)
    }

    /// Decrypts the next record in place. `None`: not authentic, and erased.
    pub(crate) fn open(
        &mut self,
        nonce: &[u8; IV_LENGTH],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LENGTH],
    ) -> Option<()> {
        let next = self.sequence_number.checked_add(1)?;
        self.cipher.open(nonce, aad, text, tag)?;
        self.count(next, text.len());
        Some(())
    }

    fn count(&mut self, next: u64, bytes: usize) {
        self.sequence_number = next;
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

/// The AEADs. They erase their key schedules when dropped (feature `zeroize` of each crate).
enum Cipher {
    Aes128(Aes128Gcm),
    Aes256(Aes256Gcm),
    ChaCha20(ChaCha20Poly1305),
}

impl Cipher {
    fn new(algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        Some(match algorithm {
            Algorithm::Aes128Gcm => Self::Aes128(Aes128Gcm::new_from_slice(key).ok()?),
            Algorithm::Aes256Gcm => Self::Aes256(Aes256Gcm::new_from_slice(key).ok()?),
            Algorithm::ChaCha20Poly1305 => Self::ChaCha20(ChaCha20Poly1305::new_from_slice(key).ok()?),
        })
    }

    fn seal(&self, nonce: &[u8; IV_LENGTH], aad: &[u8], text: &mut [u8]) -> Option<[u8; TAG_LENGTH]> {
        let nonce = &Array(*nonce);
        let text = text.into();
        let tag = match self {
            Self::Aes128(cipher) => cipher.encrypt_inout_detached(nonce, aad, text),
            Self::Aes256(cipher) => cipher.encrypt_inout_detached(nonce, aad, text),
            Self::ChaCha20(cipher) => cipher.encrypt_inout_detached(nonce, aad, text),
        };
        tag.ok().map(|tag| tag.0)
    }

    fn open(&self, nonce: &[u8; IV_LENGTH], aad: &[u8], text: &mut [u8], tag: &[u8; TAG_LENGTH]) -> Option<()> {
        let nonce = &Array(*nonce);
        let tag = &Array(*tag);
        let opened = match self {
            Self::Aes128(cipher) => cipher.decrypt_inout_detached(nonce, aad, (&mut *text).into(), tag),
            Self::Aes256(cipher) => cipher.decrypt_inout_detached(nonce, aad, (&mut *text).into(), tag),
            Self::ChaCha20(cipher) => cipher.decrypt_inout_detached(nonce, aad, (&mut *text).into(), tag),
        };
        if opened.is_err() {
            // Some AEADs decrypt before they have verified: nothing unverified may survive.
            text.zeroize();
        }
        opened.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Algorithm; 3] = [Algorithm::Aes128Gcm, Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305];

    fn key(algorithm: Algorithm, sequence_number: u64) -> RecordKey {
        let bytes = [7; 32];
        RecordKey::new(algorithm, &bytes[..algorithm.key_length()], Zeroizing::new([3; 12]), sequence_number).unwrap()
    }

    #[test]
    fn refuses_a_key_of_another_length() {
        for algorithm in ALL {
            for length in (0..40).filter(|length| *length != algorithm.key_length()) {
                assert!(RecordKey::new(algorithm, &[1; 40][..length], Zeroizing::new([0; 12]), 0).is_none());
            }
        }
    }

    #[test]
    fn never_wraps_the_sequence_number() {
        for algorithm in ALL {
            let mut last = key(algorithm, u64::MAX - 1);
            assert!(last.seal(&[], &mut [0; 4]).is_some());
            assert!(last.seal(&[], &mut [0; 4]).is_none());
        }
    }

    #[test]
    fn erases_what_did_not_authenticate() {
        for algorithm in ALL {
            let mut text = *b"attack at dawn";
            let mut tag = key(algorithm, 0).seal(b"h", &mut text).unwrap();
            tag[0] ^= 1;
            let mut receiver = key(algorithm, 0);
            assert!(receiver.open(&receiver.nonce(), b"h", &mut text, &tag).is_none());
            assert_eq!((text, receiver.sequence_number()), ([0; 14], 0));
        }
    }
}
