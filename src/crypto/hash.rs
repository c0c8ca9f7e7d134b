//! The hash functions of IKE and TLS handshakes.

use md5::Digest;
use ring::digest;

/// A hash function. MD5 and SHA-1 are for old peers and captures, and for NAT detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// RFC 1321, 16 bytes; to read captures only.
    Md5,
    /// FIPS 180-4, 20 bytes.
    Sha1,
    /// FIPS 180-4, 32 bytes.
    Sha256,
    /// FIPS 180-4, 48 bytes.
    Sha384,
    /// FIPS 180-4, 64 bytes.
    Sha512,
}

impl Hash {
    /// Bytes of a digest.
    pub const fn output_length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The digest of the parts, one after the other.
    pub fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Md5 => {
                let mut context = md5::Md5::new();
                parts.iter().for_each(|part| context.update(part));
                context.finalize().to_vec()
            }
            Self::Sha1 => sha(&digest::SHA1_FOR_LEGACY_USE_ONLY, parts),
            Self::Sha256 => sha(&digest::SHA256, parts),
            Self::Sha384 => sha(&digest::SHA384, parts),
            Self::Sha512 => sha(&digest::SHA512, parts),
        }
    }
}

fn sha(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> Vec<u8> {
    let mut context = digest::Context::new(algorithm);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn digests_of_abc() {
        for (hash, expected) in [
            (Hash::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (Hash::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Hash::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ] {
            assert_eq!(hex::encode(&hash.digest(&[b"a", b"", b"bc"])), expected, "{hash:?}");
        }
        for hash in [Hash::Md5, Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            assert_eq!(hash.digest(&[]).len(), hash.output_length());
        }
    }
}
