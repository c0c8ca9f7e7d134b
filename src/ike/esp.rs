//! How KEYMAT becomes the keys of an IPsec SA: those of encryption first, then those of integrity
//! (RFC 2409 section 5.5, RFC 7296 section 2.17).

use super::Encryption;
use crate::crypto::Secret;

/// Bytes of KEYMAT for one direction of an ESP or AH SA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EspKeyLengths {
    /// For encryption, with the salt of AES-CTR, AES-GMAC and the AEADs; 0 of ENCR_NULL and AH.
    pub encryption: usize,
    /// For integrity; 0 beside an AEAD.
    pub integrity: usize,
}

/// The keys of one direction.
pub struct EspKeys {
    /// The key, and the salt where there is one.
    pub encryption: Secret,
    /// Empty beside an AEAD.
    pub integrity: Secret,
}

impl EspKeyLengths {
    /// Bytes of both.
    pub const fn total(self) -> usize {
        self.encryption.saturating_add(self.integrity)
    }

    /// Cuts the keys of one direction from the front of `keymat` and returns what is left. `None` if it is too short.
    pub fn split(self, keymat: &[u8]) -> Option<(EspKeys, &[u8])> {
        let (encryption, rest) = keymat.split_at_checked(self.encryption)?;
        let (integrity, rest) = rest.split_at_checked(self.integrity)?;
        let keys = EspKeys { encryption: Secret::from_slice(encryption), integrity: Secret::from_slice(integrity) };
        Some((keys, rest))
    }
}

/// Bytes for the encryption of an ESP transform whose numbers IKEv1 and IKEv2 share (up to 20), or of ChaCha20.
pub(super) fn encryption_key_length(transform: u16, key_bits: Option<u16>) -> Option<usize> {
    const ENCR_NULL: u16 = 11;
    if transform == ENCR_NULL {
        return Some(0);
    }
    Encryption::from_transform(transform, key_bits).map(Encryption::key_length)
}

/// Bytes for AES-GMAC (RFC 4543 section 5.1): the key and four bytes of salt.
pub(super) fn gmac_key_length(key_bits: Option<u16>) -> Option<usize> {
    matches!(key_bits, Some(128 | 192 | 256)).then(|| usize::from(key_bits.unwrap_or_default() / 8).saturating_add(4))
}
