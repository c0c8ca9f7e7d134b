//! The algorithms that the transforms of IKEv2 mean (RFC 7296 section 3.3.2). `None` stands for what is not
//! implemented. Transforms of type 1 are [`Encryption::from_transform`](crate::ike::Encryption::from_transform).

use super::protect::Protection;
use crate::crypto::{Integrity, Prf};
use crate::ike::esp::{encryption_key_length, gmac_key_length};
use crate::ike::{Encryption, EspKeyLengths};

/// A transform of type 2.
pub const fn prf(transform: u16) -> Option<Prf> {
    match transform {
        1 => Some(Prf::HmacMd5),
        2 => Some(Prf::HmacSha1),
        4 => Some(Prf::Aes128Xcbc),
        5 => Some(Prf::HmacSha2_256),
        6 => Some(Prf::HmacSha2_384),
        7 => Some(Prf::HmacSha2_512),
        8 => Some(Prf::Aes128Cmac),
        _ => None,
    }
}

/// A transform of type 3 other than NONE.
pub const fn integrity(transform: u16) -> Option<Integrity> {
    match transform {
        1 => Some(Integrity::HmacMd5_96),
        2 => Some(Integrity::HmacSha1_96),
        5 => Some(Integrity::AesXcbc96),
        8 => Some(Integrity::AesCmac96),
        12 => Some(Integrity::HmacSha2_256_128),
        13 => Some(Integrity::HmacSha2_384_192),
        14 => Some(Integrity::HmacSha2_512_256),
        _ => None,
    }
}

/// What protects an IKE SA with these transforms: the one of type 1 with its Key Length, and the one of type 3 where
/// there is one, NONE (0) being as good as none.
pub fn protection(encryption: u16, key_bits: Option<u16>, integ: Option<u16>) -> Option<Protection> {
    match (Encryption::from_transform(encryption, key_bits)?, integ.unwrap_or_default()) {
        (Encryption::Aead(aead), 0) => Some(Protection::Aead(aead)),
        (Encryption::Cipher(cipher), transform) => Some(Protection::EncryptThenMac(cipher, integrity(transform)?)),
        _ => None,
    }
}

/// The key lengths of an ESP SA with these transforms, as for [`protection`].
pub fn esp(encryption: u16, key_bits: Option<u16>, integ: Option<u16>) -> Option<EspKeyLengths> {
    const NULL_AUTH_AES_GMAC: u16 = 21;
    let encryption = match encryption {
        NULL_AUTH_AES_GMAC => gmac_key_length(key_bits)?,
        other => encryption_key_length(other, key_bits)?,
    };
    let integrity = match integ {
        None | Some(0) => 0,
        Some(transform) => integrity(transform)?.key_length(),
    };
    Some(EspKeyLengths { encryption, integrity })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Aead, AesKey, Cipher, Tag};

    #[test]
    fn numbers_mean_what_iana_says() {
        assert_eq!(prf(7), Some(Prf::HmacSha2_512));
        assert_eq!(prf(3), None);
        assert_eq!(integrity(5), Some(Integrity::AesXcbc96));
        let gcm = Some(Protection::Aead(Aead::AesGcm(AesKey::Bits128, Tag::Octets16)));
        assert_eq!(protection(20, Some(128), None), gcm);
        assert_eq!(protection(20, Some(128), Some(0)), gcm);
        assert_eq!(protection(20, Some(128), Some(12)), None);
        assert_eq!(
            protection(12, Some(256), Some(12)),
            Some(Protection::EncryptThenMac(Cipher::AesCbc(AesKey::Bits256), Integrity::HmacSha2_256_128))
        );
        assert_eq!(protection(12, Some(256), None), None);
    }

    #[test]
    fn key_lengths_of_esp() {
        let lengths = |encryption, integrity| Some(EspKeyLengths { encryption, integrity });
        assert_eq!(esp(20, Some(128), None), lengths(20, 0));
        assert_eq!(esp(28, None, Some(0)), lengths(36, 0));
        assert_eq!(esp(11, None, Some(12)), lengths(0, 32));
        assert_eq!(esp(12, Some(192), Some(2)), lengths(24, 20));
        assert_eq!(esp(21, Some(256), None), lengths(36, 0));
        assert_eq!(esp(12, Some(192), Some(99)), None);
    }
}
