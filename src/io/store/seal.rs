//! Encryption of what lies on the disk. Terminal records are sealed under the key file; channel states
//! under the key file *and* a slot key that can be erased ([`crate::io::slots`]).
//!
//! Sealed: 12 bytes of random nonce, AES-256-GCM ciphertext, 16 bytes of tag. Table, record key and what
//! stands in clear before the record are authenticated with it.

use std::io;
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::hex;
use crate::io::files;
use crate::io::slots::SlotKey;

const KEY_LENGTH: usize = 32;

/// The secret in the key file.
pub struct StoreKey(Zeroizing<[u8; KEY_LENGTH]>);

/// Where a record stands; a record moved elsewhere does not unseal.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub table: &'a str,
    pub key: &'a [u8],
    /// What stands in clear before the sealed part.
    pub clear: &'a [u8],
}

/// The record was altered or moved, or the keys are others than it was sealed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAuthentic;

impl StoreKey {
    /// Reads the key file: 64 hexadecimal digits, readable by its owner alone.
    pub fn load(path: &Path) -> io::Result<Self> {
        let text = files::read_private(path, 2 * KEY_LENGTH + 2)?;
        let digits = text.trim_ascii_end();
        let bytes = std::str::from_utf8(digits).ok().and_then(hex::decode).map(Zeroizing::new);
        let key = bytes.and_then(|bytes| bytes.first_chunk().copied().filter(|_| bytes.len() == KEY_LENGTH));
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "it does not hold 64 hexadecimal digits");
        key.map(|key| Self(Zeroizing::new(key))).ok_or_else(wrong)
    }

    /// Makes a key file with a fresh key. Its directory must exist; an existing file is not replaced.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        fill_random(key.as_mut())?;
        let mut text = Zeroizing::new(hex::encode(key.as_ref()));
        text.push('\n');
        files::create_private(path, text.as_bytes())?;
        Ok(Self(key))
    }

    /// A key given by the caller, for stores that are not files.
    pub fn from_bytes(key: [u8; KEY_LENGTH]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// Seals under the key file alone.
    pub(super) fn seal(&self, place: Place<'_>, plaintext: &[u8]) -> io::Result<Vec<u8>> {
        seal(&self.derive(b"", place)?, place, plaintext)
    }

    /// Opens what [`Self::seal`] made.
    pub(super) fn unseal(&self, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        unseal(&self.derive(b"", place).map_err(|_| NotAuthentic)?, place, sealed)
    }

    /// Seals so that erasing the slot key is enough to lose it.
    pub(super) fn seal_erasable(&self, slot_key: &SlotKey, place: Place<'_>, plaintext: &[u8]) -> io::Result<Vec<u8>> {
        seal(&self.derive(slot_key.as_ref(), place)?, place, plaintext)
    }

    /// Opens what [`Self::seal_erasable`] made.
    pub(super) fn unseal_erasable(
        &self,
        slot_key: &SlotKey,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        unseal(&self.derive(slot_key.as_ref(), place).map_err(|_| NotAuthentic)?, place, sealed)
    }

    /// HKDF with the slot key as salt, so that the result depends on both secrets.
    fn derive(&self, slot_key: &[u8], place: Place<'_>) -> io::Result<LessSafeKey> {
        let prk = Salt::new(HKDF_SHA256, slot_key).extract(self.0.as_ref());
        let info = [b"keyferry store 1 ", place.table.as_bytes()];
        let okm = prk.expand(&info, &AES_256_GCM).map_err(|_| io::Error::other("key derivation failed"))?;
        Ok(LessSafeKey::new(UnboundKey::from(okm)))
    }
}

/// Fills `bytes` with randomness of the system.
pub(super) fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_| io::Error::other("the system gives no randomness"))
}

fn seal(key: &LessSafeKey, place: Place<'_>, plaintext: &[u8]) -> io::Result<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    fill_random(&mut nonce)?;
    // Room for the tag at once: growing would leave a copy of the plaintext behind.
    let mut text = Vec::with_capacity(plaintext.len().saturating_add(AES_256_GCM.tag_len()));
    text.extend_from_slice(plaintext);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place.encoded()), &mut text)
        .map_err(|_| io::Error::other("the record is too long to be sealed"))?;
    Ok([nonce.as_slice(), &text].concat())
}

fn unseal(key: &LessSafeKey, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
    let (nonce, text) = sealed.split_first_chunk().ok_or(NotAuthentic)?;
    let mut text = Zeroizing::new(text.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.open_in_place(nonce, Aad::from(place.encoded()), &mut text).map_err(|_| NotAuthentic)?.len();
    text.truncate(length);
    Ok(text)
}

impl Place<'_> {
    /// Unambiguous: each part before the last is preceded by its length.
    fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for part in [self.table.as_bytes(), self.key, self.clear] {
            out.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place { table: "terminals", key: b"meter-1", clear: b"head" };

    #[test]
    fn a_record_opens_only_at_its_place_and_unaltered() {
        let key = StoreKey::from_bytes([1; 32]);
        let sealed = key.seal(PLACE, b"record").unwrap();
        assert_eq!(key.unseal(PLACE, &sealed).unwrap().as_slice(), b"record");
        for other in [
            Place { table: "channels", ..PLACE },
            Place { key: b"meter-2", ..PLACE },
            Place { clear: b"tail", ..PLACE },
            Place { key: b"meter-1h", clear: b"ead", ..PLACE },
        ] {
            assert_eq!(key.unseal(other, &sealed), Err(NotAuthentic));
        }
        for position in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[position] ^= 1;
            assert_eq!(key.unseal(PLACE, &altered), Err(NotAuthentic));
            assert_eq!(key.unseal(PLACE, &sealed[..position]), Err(NotAuthentic));
        }
        assert_eq!(StoreKey::from_bytes([2; 32]).unseal(PLACE, &sealed), Err(NotAuthentic));
    }

    #[test]
    fn an_erasable_record_needs_both_keys() {
        let key = StoreKey::from_bytes([1; 32]);
        let slot = Zeroizing::new([3; 32]);
        let sealed = key.seal_erasable(&slot, PLACE, b"state").unwrap();
        assert_eq!(key.unseal_erasable(&slot, PLACE, &sealed).unwrap().as_slice(), b"state");
        assert!(key.unseal_erasable(&Zeroizing::new([0; 32]), PLACE, &sealed).is_err());
        assert!(key.unseal(PLACE, &sealed).is_err());
        assert!(StoreKey::from_bytes([2; 32]).unseal_erasable(&slot, PLACE, &sealed).is_err());
    }

    #[test]
    fn a_key_file_is_read_as_it_was_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.key");
        let made = StoreKey::create(&path).unwrap();
        assert!(*StoreKey::load(&path).unwrap().0 == *made.0);
        assert!(StoreKey::create(&path).is_err());
        for wrong in ["", "00", &"0".repeat(63), &"0".repeat(66), &"x".repeat(64)] {
            std::fs::write(&path, wrong).unwrap();
            assert!(StoreKey::load(&path).is_err(), "{wrong}");
        }
    }
}
