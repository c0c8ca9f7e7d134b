//! HKDF (RFC 5869) in the two shapes that TLS 1.3 uses it in.

use ring::hkdf;

use super::{Hash, Prf, Secret, hkdf_expand_label};

/// HKDF-Extract (RFC 5869 section 2.2). Not ring's, which does not give its result away.
pub fn hkdf_extract(hash: Hash, salt: &Secret, ikm: &Secret) -> Secret {
    Prf::hmac(hash).compute(salt.as_bytes(), &[ikm.as_bytes()])
}

/// HKDF-Expand-Label (RFC 8446 section 7.1) of a secret as long as the hash. `None` if it is not, if a length does
/// not fit its field, or for a hash older than SHA-256.
pub fn expand_label(hash: Hash, secret: &Secret, label: &[u8], context: &[u8], length: usize) -> Option<Secret> {
    let algorithm = match hash {
        Hash::Sha256 => hkdf::HKDF_SHA256,
        Hash::Sha384 => hkdf::HKDF_SHA384,
        Hash::Sha512 => hkdf::HKDF_SHA512,
        Hash::Md5 | Hash::Sha1 => return None,
    };
    if secret.as_bytes().len() != hash.output_length() {
        return None;
    }
    let prk = hkdf::Prk::new_less_safe(algorithm, secret.as_bytes());
    hkdf_expand_label(&prk, label, context, u16::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// RFC 5869 appendix A.1.
    #[test]
    fn extract_of_rfc_5869() {
        let salt = Secret::from_slice(&hex::decode("000102030405060708090a0b0c").unwrap());
        let prk = hkdf_extract(Hash::Sha256, &salt, &Secret::from_slice(&[0x0b; 22]));
        assert_eq!(hex::encode(prk.as_bytes()), "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
    }

    #[test]
    fn a_secret_of_another_length_or_hash_expands_to_nothing() {
        assert!(expand_label(Hash::Sha384, &Secret::zeroed(48), b"key", b"", 32).is_some());
        assert!(expand_label(Hash::Sha384, &Secret::zeroed(32), b"key", b"", 32).is_none());
        assert!(expand_label(Hash::Sha1, &Secret::zeroed(20), b"key", b"", 32).is_none());
        assert!(expand_label(Hash::Sha256, &Secret::zeroed(32), b"key", b"", 70_000).is_none());
    }
}
