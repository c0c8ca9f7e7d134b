//! The two CBC-MACs of IKE on AES-128: XCBC (RFC 3566) and CMAC (RFC 4493).
//!
//! Both are a CBC-MAC whose last block is first XORed with a key of its own: one for a whole block, another
//! for a padded one. They differ in how these keys come out of the one key.

use aes::Aes128;
use cbc::cipher::{BlockCipherEncrypt, KeyInit};
use zeroize::Zeroizing;

use super::Secret;

/// A key of AES-128.
pub(super) type Key = [u8; BLOCK];

const BLOCK: usize = 16;

/// A MAC with its key.
pub(super) struct AesMac {
    cipher: Aes128,
    whole: Zeroizing<[u8; BLOCK]>,
    padded: Zeroizing<[u8; BLOCK]>,
}

impl AesMac {
    /// AES-XCBC-MAC (RFC 3566 section 4): the three keys are the blocks 01.., 02.. and 03.., encrypted.
    pub(super) fn xcbc(key: &Key) -> Self {
        let cipher = Aes128::new(&(*key).into());
        let derived = |value| Zeroizing::new(encrypt(&cipher, [value; BLOCK]));
        let (mac_key, whole, padded) = (derived(1), derived(2), derived(3));
        Self { cipher: Aes128::new(&(*mac_key).into()), whole, padded }
    }

    /// AES-CMAC (RFC 4493 section 2.3): the block zero, encrypted, then doubled once and twice.
    pub(super) fn cmac(key: &Key) -> Self {
        let cipher = Aes128::new(&(*key).into());
        let whole = double(u128::from_be_bytes(encrypt(&cipher, [0; BLOCK])));
        let padded = double(whole);
        Self { cipher, whole: Zeroizing::new(whole.to_be_bytes()), padded: Zeroizing::new(padded.to_be_bytes()) }
    }

    /// The MAC of the parts, one after the other: 16 bytes.
    pub(super) fn compute(&self, data: &[&[u8]]) -> Secret {
        let data = Zeroizing::new(data.concat());
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        let (last, key, blocks) = match blocks.split_last() {
            Some((last, blocks)) if rest.is_empty() => (*last, &self.whole, blocks),
            _ => (pad(rest), &self.padded, blocks),
        };
        let state = blocks.iter().fold([0; BLOCK], |state, block| encrypt(&self.cipher, xor(state, block)));
        Secret::from_slice(&encrypt(&self.cipher, xor(xor(state, &last), key)))
    }
}

fn encrypt(cipher: &Aes128, block: [u8; BLOCK]) -> [u8; BLOCK] {
    let mut block = block.into();
    cipher.encrypt_block(&mut block);
    block.into()
}

fn xor(mut one: [u8; BLOCK], other: &[u8; BLOCK]) -> [u8; BLOCK] {
    one.iter_mut().zip(other).for_each(|(one, other)| *one ^= other);
    one
}

/// `rest` and a one bit, then zeros.
fn pad(rest: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block.iter_mut().zip(rest.iter().chain(&[0x80])).for_each(|(to, from)| *to = *from);
    block
}

/// Doubling in the field of 2^128 elements, in constant time.
fn double(value: u128) -> u128 {
    (value << 1) ^ ((value >> 127) * 0x87)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    fn key(text: &str) -> Key {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// RFC 3566 section 4.6, cases 1 to 6.
    #[test]
    fn xcbc_of_rfc_3566() {
        let mac = AesMac::xcbc(&key("000102030405060708090a0b0c0d0e0f"));
        let message: Vec<u8> = (0..34).collect();
        for (length, expected) in [
            (0, "75f0251d528ac01c4573dfd584d79f29"),
            (3, "5b376580ae2f19afe7219ceef172756f"),
            (16, "d2a246fa349b68a79998a4394ff7a263"),
            (20, "47f51b4564966215b8985c63055ed308"),
            (32, "f54f0ec8d2b9f3d36807734bd5283fd4"),
            (34, "becbb3bccdb518a30677d5481fb6b4d8"),
        ] {
            let (one, other) = message[..length].split_at(length / 2);
            assert_eq!(hex::encode(mac.compute(&[one, other]).as_bytes()), expected, "{length} bytes");
        }
    }

    /// RFC 4493 section 4.
    #[test]
    fn cmac_of_rfc_4493() {
        let mac = AesMac::cmac(&key("2b7e151628aed2a6abf7158809cf4f3c"));
        let message = hex::decode(concat!(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
            "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        ))
        .unwrap();
        for (length, expected) in [
            (0, "bb1d6929e95937287fa37d129b756746"),
            (16, "070a16b46b4d4144f79bdd9dd04a287c"),
            (40, "dfa66747de9ae63030ca32611497c827"),
            (64, "51f0bebf7e3b9d92fc49741779363cfe"),
        ] {
            assert_eq!(hex::encode(mac.compute(&[&message[..length]]).as_bytes()), expected, "{length} bytes");
        }
    }
}
