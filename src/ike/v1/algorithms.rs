//! The algorithms that the numbers of IKEv1 mean. `None` stands for what is not implemented.

use crate::crypto::{AesKey, Cipher, Hash, Integrity};
use crate::ike::EspKeyLengths;
use crate::ike::esp::{encryption_key_length, gmac_key_length};

/// The value of the Hash Algorithm attribute (RFC 2409 appendix A). The PRF is its HMAC.
pub const fn hash(number: u16) -> Option<Hash> {
    match number {
        1 => Some(Hash::Md5),
        2 => Some(Hash::Sha1),
        4 => Some(Hash::Sha256),
        5 => Some(Hash::Sha384),
        6 => Some(Hash::Sha512),
        _ => None,
    }
}

/// The values of the Encryption Algorithm and, where there is one, Key Length attributes (RFC 2409 appendix A).
pub const fn cipher(number: u16, key_bits: Option<u16>) -> Option<Cipher> {
    match (number, key_bits) {
        (1, None) => Some(Cipher::DesCbc),
        (5, None) => Some(Cipher::TripleDesCbc),
        (7, Some(bits)) => match AesKey::from_bits(bits) {
            Some(size) => Some(Cipher::AesCbc(size)),
            None => None,
        },
        // RFC 3602 section 5.3 wants the attribute; who leaves it out means 128.
        (7, None) => Some(Cipher::AesCbc(AesKey::Bits128)),
        _ => None,
    }
}

/// The value of the Authentication Algorithm attribute of an IPsec SA (RFC 2407 section 4.5).
pub const fn integrity(number: u16) -> Option<Integrity> {
    match number {
        1 => Some(Integrity::HmacMd5_96),
        2 => Some(Integrity::HmacSha1_96),
        5 => Some(Integrity::HmacSha2_256_128),
        6 => Some(Integrity::HmacSha2_384_192),
        7 => Some(Integrity::HmacSha2_512_256),
        9 => Some(Integrity::AesXcbc96),
        _ => None,
    }
}

/// The key lengths of an ESP transform (RFC 2407 section 4.4.4) with its Key Length and Authentication Algorithm
/// attributes.
pub fn esp(transform: u8, key_bits: Option<u16>, authentication: Option<u16>) -> Option<EspKeyLengths> {
    const NULL_AUTH_AES_GMAC: u8 = 23;
    const SHARED_WITH_IKEV2: u8 = 20;
    let encryption = match transform {
        NULL_AUTH_AES_GMAC => gmac_key_length(key_bits)?,
        0..=SHARED_WITH_IKEV2 => encryption_key_length(transform.into(), key_bits)?,
        _ => return None,
    };
    Some(EspKeyLengths { encryption, integrity: integrity_key_length(authentication)? })
}

/// The key lengths of AH with its Authentication Algorithm attribute.
pub fn ah(authentication: u16) -> Option<EspKeyLengths> {
    Some(EspKeyLengths { encryption: 0, integrity: integrity_key_length(Some(authentication))? })
}

fn integrity_key_length(authentication: Option<u16>) -> Option<usize> {
    match authentication {
        None => Some(0),
        Some(number) => integrity(number).map(Integrity::key_length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_mean_what_iana_says() {
        assert_eq!(hash(4), Some(Hash::Sha256));
        assert_eq!(hash(3), None);
        assert_eq!(cipher(7, Some(256)), Some(Cipher::AesCbc(AesKey::Bits256)));
        assert_eq!(cipher(5, None), Some(Cipher::TripleDesCbc));
        assert_eq!(cipher(5, Some(192)), None);
        assert_eq!(integrity(9), Some(Integrity::AesXcbc96));
    }

    #[test]
    fn key_lengths_of_esp_and_ah() {
        let lengths = |encryption, integrity| Some(EspKeyLengths { encryption, integrity });
        assert_eq!(esp(12, Some(128), Some(2)), lengths(16, 20));
        assert_eq!(esp(3, None, Some(1)), lengths(24, 16));
        assert_eq!(esp(11, None, Some(5)), lengths(0, 32));
        assert_eq!(esp(20, Some(256), None), lengths(36, 0));
        assert_eq!(esp(23, Some(128), None), lengths(20, 0));
        assert_eq!(esp(28, None, None), None);
        assert_eq!(esp(12, None, Some(2)), None);
        assert_eq!(ah(7), lengths(0, 64));
    }
}
