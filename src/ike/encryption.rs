//! What encrypts IKE messages or ESP packets: a cipher beside a MAC, or an AEAD.

use crate::crypto::{Aead, AesKey, Cipher, Tag};

/// An encryption algorithm of IKE and ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Needs an integrity algorithm beside it.
    Cipher(Cipher),
    /// Protects integrity itself.
    Aead(Aead),
}

impl Encryption {
    /// The algorithm of an IKEv2 transform of type 1 (RFC 7296 section 3.3.2), `key_bits` being its Key Length
    /// attribute. Up to number 20 these are the ESP transforms of IKEv1 as well (RFC 2407 section 4.4.4).
    ///
    /// `None` for an algorithm that is not implemented, or a Key Length that is missing, wrong or out of place.
    pub const fn from_transform(transform: u16, key_bits: Option<u16>) -> Option<Self> {
        match (transform, key_bits) {
            (2, None) => Some(Self::Cipher(Cipher::DesCbc)),
            (3, None) => Some(Self::Cipher(Cipher::TripleDesCbc)),
            (28, None) => Some(Self::Aead(Aead::ChaCha20Poly1305)),
            (12..=20, Some(bits)) => match AesKey::from_bits(bits) {
                Some(size) => Self::aes(transform, size),
                None => None,
            },
            _ => None,
        }
    }

    const fn aes(transform: u16, size: AesKey) -> Option<Self> {
        Some(match transform {
            12 => Self::Cipher(Cipher::AesCbc(size)),
            13 => Self::Cipher(Cipher::AesCtr(size)),
            14 => Self::Aead(Aead::AesCcm(size, Tag::Octets8)),
            15 => Self::Aead(Aead::AesCcm(size, Tag::Octets12)),
            16 => Self::Aead(Aead::AesCcm(size, Tag::Octets16)),
            18 => Self::Aead(Aead::AesGcm(size, Tag::Octets8)),
            19 => Self::Aead(Aead::AesGcm(size, Tag::Octets12)),
            20 => Self::Aead(Aead::AesGcm(size, Tag::Octets16)),
            _ => return None,
        })
    }

    /// Bytes of keying material: the key and, of AES-CTR and the AEADs, the salt that follows it (RFC 3686 section
    /// 5.1, RFC 4106 section 8.1, RFC 4309 section 7.1, RFC 7634 section 2).
    pub const fn key_length(self) -> usize {
        match self {
            Self::Cipher(cipher) => cipher.key_length(),
            Self::Aead(aead) => aead.key_length() + salt_length(aead),
        }
    }

    /// Bytes of the IV in front of the ciphertext.
    pub const fn iv_length(self) -> usize {
        match self {
            Self::Cipher(cipher) => cipher.iv_length(),
            Self::Aead(_) => 8,
        }
    }

    /// What the length of plaintext and padding must be a multiple of, in bytes.
    pub const fn block_length(self) -> usize {
        match self {
            Self::Cipher(cipher) => cipher.block_length(),
            Self::Aead(_) => 1,
        }
    }
}

const fn salt_length(aead: Aead) -> usize {
    match aead {
        Aead::AesCcm(..) => 3,
        Aead::AesGcm(..) | Aead::ChaCha20Poly1305 => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_mean_what_iana_says() {
        let aes = |transform, bits| Encryption::from_transform(transform, Some(bits)).map(Encryption::key_length);
        assert_eq!(aes(12, 192), Some(24));
        assert_eq!(aes(13, 128), Some(16 + 4));
        assert_eq!(aes(14, 256), Some(32 + 3));
        assert_eq!(aes(20, 128), Some(16 + 4));
        assert_eq!(
            Encryption::from_transform(19, Some(192)),
            Some(Encryption::Aead(Aead::AesGcm(AesKey::Bits192, Tag::Octets12)))
        );
        assert_eq!(Encryption::from_transform(28, None).map(Encryption::key_length), Some(36));
        assert_eq!(Encryption::from_transform(3, None).map(Encryption::key_length), Some(24));
        for (transform, bits) in
            [(12, None), (12, Some(64)), (17, Some(128)), (3, Some(192)), (28, Some(256)), (0, None)]
        {
            assert_eq!(Encryption::from_transform(transform, bits), None, "{transform} {bits:?}");
        }
    }
}
