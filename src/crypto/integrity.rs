//! The integrity algorithms of IKE and ESP: a MAC, cut to a length.

use super::aes_mac::{self, AesMac};
use super::{Prf, Secret};

/// An integrity algorithm (RFC 7296 section 3.3.2). The number in a name is the bits of the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// RFC 2403; to read captures only.
    HmacMd5_96,
    /// RFC 2404.
    HmacSha1_96,
    /// RFC 4868.
    HmacSha2_256_128,
    /// RFC 4868.
    HmacSha2_384_192,
    /// RFC 4868.
    HmacSha2_512_256,
    /// RFC 3566.
    AesXcbc96,
    /// RFC 4494.
    AesCmac96,
}

impl Integrity {
    /// Bytes of the key.
    pub const fn key_length(self) -> usize {
        match self {
            Self::HmacMd5_96 | Self::AesXcbc96 | Self::AesCmac96 => 16,
            Self::HmacSha1_96 => 20,
            Self::HmacSha2_256_128 => 32,
            Self::HmacSha2_384_192 => 48,
            Self::HmacSha2_512_256 => 64,
        }
    }

    /// Bytes of the Integrity Check Value.
    pub const fn icv_length(self) -> usize {
        match self {
            Self::HmacMd5_96 | Self::HmacSha1_96 | Self::AesXcbc96 | Self::AesCmac96 => 12,
            Self::HmacSha2_256_128 => 16,
            Self::HmacSha2_384_192 => 24,
            Self::HmacSha2_512_256 => 32,
        }
    }

    /// The Integrity Check Value of the parts, one after the other. `None` if the key is not
    /// [`key_length`](Self::key_length) bytes.
    pub fn compute(self, key: &[u8], data: &[&[u8]]) -> Option<Secret> {
        if key.len() != self.key_length() {
            return None;
        }
        let mac = match self {
            Self::HmacMd5_96 => Prf::HmacMd5.compute(key, data),
            Self::HmacSha1_96 => Prf::HmacSha1.compute(key, data),
            Self::HmacSha2_256_128 => Prf::HmacSha2_256.compute(key, data),
            Self::HmacSha2_384_192 => Prf::HmacSha2_384.compute(key, data),
            Self::HmacSha2_512_256 => Prf::HmacSha2_512.compute(key, data),
            Self::AesXcbc96 => AesMac::xcbc(&aes_mac::Key::try_from(key).ok()?).compute(data),
            Self::AesCmac96 => AesMac::cmac(&aes_mac::Key::try_from(key).ok()?).compute(data),
        };
        mac.as_bytes().get(..self.icv_length()).map(Secret::from_slice)
    }

    /// Whether `icv` is the one of the data, in constant time.
    pub fn verify(self, key: &[u8], data: &[&[u8]], icv: &[u8]) -> bool {
        self.compute(key, data).is_some_and(|computed| computed == *icv)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    const ALL: [Integrity; 7] = [
        Integrity::HmacMd5_96,
        Integrity::HmacSha1_96,
        Integrity::HmacSha2_256_128,
        Integrity::HmacSha2_384_192,
        Integrity::HmacSha2_512_256,
        Integrity::AesXcbc96,
        Integrity::AesCmac96,
    ];

    /// RFC 4868 section 2.7.2, cases AUTH256-1, AUTH384-1 and AUTH512-1.
    #[test]
    fn checksums_of_rfc_4868() {
        for (integrity, expected) in [
            (Integrity::HmacSha2_256_128, "198a607eb44bfbc69903a0f1cf2bbdc5"),
            (Integrity::HmacSha2_384_192, "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973"),
            (Integrity::HmacSha2_512_256, "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8"),
        ] {
            let key = vec![0x0b; integrity.key_length()];
            let icv = integrity.compute(&key, &[b"Hi ", b"There"]).unwrap();
            assert_eq!(hex::encode(icv.as_bytes()), expected, "{integrity:?}");
        }
    }

    #[test]
    fn altered_checksum_and_wrong_key_length_are_refused() {
        for integrity in ALL {
            let key = vec![7; integrity.key_length()];
            let icv = integrity.compute(&key, &[b"data"]).unwrap();
            assert_eq!(icv.as_bytes().len(), integrity.icv_length());
            assert!(integrity.verify(&key, &[b"da", b"ta"], icv.as_bytes()), "{integrity:?}");
            assert!(!integrity.verify(&key, &[b"Data"], icv.as_bytes()), "{integrity:?}");
            let mut altered = icv.as_bytes().to_vec();
            *altered.last_mut().unwrap() ^= 1;
            assert!(!integrity.verify(&key, &[b"data"], &altered), "{integrity:?}");
            assert!(!integrity.verify(&key, &[b"data"], &icv.as_bytes()[1..]), "{integrity:?}");
            assert!(integrity.compute(&key[1..], &[b"data"]).is_none(), "{integrity:?}");
        }
    }
}
