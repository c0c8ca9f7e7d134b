//! Ciphers without integrity of their own: CBC of IKE and TLS, counter mode of IKE.

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser, KeyInit,
    KeyIvInit, StreamCipher,
};
use cbc::{Decryptor, Encryptor};
use ctr::Ctr32BE;
use des::{Des, TdesEde3};
use zeroize::Zeroize;

/// A cipher to be used with a separate MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// RFC 2405; to read captures only.
    DesCbc,
    /// Three keys, RFC 2451.
    TripleDesCbc,
    /// RFC 3602.
    AesCbc(AesKey),
    /// RFC 5930 for IKE, RFC 3686 for ESP.
    AesCtr(AesKey),
}

/// The size of a key of AES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AesKey {
    /// 16 bytes.
    Bits128,
    /// 24 bytes.
    Bits192,
    /// 32 bytes.
    Bits256,
}

impl AesKey {
    /// The size of so many bits, as negotiated in a Key Length attribute.
    pub const fn from_bits(bits: u16) -> Option<Self> {
        match bits {
            128 => Some(Self::Bits128),
            192 => Some(Self::Bits192),
            256 => Some(Self::Bits256),
            _ => None,
        }
    }

    /// Bytes of the key.
    pub const fn length(self) -> usize {
        match self {
            Self::Bits128 => 16,
            Self::Bits192 => 24,
            Self::Bits256 => 32,
        }
    }
}

impl Cipher {
    /// Bytes of the key; of AES-CTR with the nonce of four bytes that ends it (RFC 3686 section 5.1).
    pub const fn key_length(self) -> usize {
        match self {
            Self::DesCbc => 8,
            Self::TripleDesCbc => 24,
            Self::AesCbc(size) => size.length(),
            Self::AesCtr(size) => size.length() + CTR_NONCE,
        }
    }

    /// Bytes of the IV.
    pub const fn iv_length(self) -> usize {
        match self {
            Self::DesCbc | Self::TripleDesCbc | Self::AesCtr(_) => 8,
            Self::AesCbc(_) => 16,
        }
    }

    /// What the length of the data must be a multiple of, in bytes.
    pub const fn block_length(self) -> usize {
        match self {
            Self::DesCbc | Self::TripleDesCbc => 8,
            Self::AesCbc(_) => 16,
            Self::AesCtr(_) => 1,
        }
    }

    /// Encrypts in place. `None` if the key, the IV or the data has the wrong length; nothing is changed then.
    pub fn encrypt(self, key: &[u8], iv: &[u8], data: &mut [u8]) -> Option<()> {
        match self {
            Self::DesCbc => cbc_encrypt::<Des>(key, iv, data),
            Self::TripleDesCbc => cbc_encrypt::<TdesEde3>(key, iv, data),
            Self::AesCbc(AesKey::Bits128) => cbc_encrypt::<Aes128>(key, iv, data),
            Self::AesCbc(AesKey::Bits192) => cbc_encrypt::<Aes192>(key, iv, data),
            Self::AesCbc(AesKey::Bits256) => cbc_encrypt::<Aes256>(key, iv, data),
            Self::AesCtr(size) => counter_mode(size, key, iv, data),
        }
    }

    /// Decrypts in place, what [`encrypt`](Self::encrypt) encrypted. `None` as there.
    pub fn decrypt(self, key: &[u8], iv: &[u8], data: &mut [u8]) -> Option<()> {
        match self {
            Self::DesCbc => cbc_decrypt::<Des>(key, iv, data),
            Self::TripleDesCbc => cbc_decrypt::<TdesEde3>(key, iv, data),
            Self::AesCbc(AesKey::Bits128) => cbc_decrypt::<Aes128>(key, iv, data),
            Self::AesCbc(AesKey::Bits192) => cbc_decrypt::<Aes192>(key, iv, data),
            Self::AesCbc(AesKey::Bits256) => cbc_decrypt::<Aes256>(key, iv, data),
            Self::AesCtr(size) => counter_mode(size, key, iv, data),
        }
    }
}

const CTR_NONCE: usize = 4;

fn cbc_encrypt<C: BlockCipherEncrypt + KeyInit>(key: &[u8], iv: &[u8], data: &mut [u8]) -> Option<()> {
    let mut mode = Encryptor::<C>::new_from_slices(key, iv).ok()?;
    mode.encrypt_blocks(blocks::<C>(data)?);
    Some(())
}

fn cbc_decrypt<C: BlockCipherDecrypt + KeyInit>(key: &[u8], iv: &[u8], data: &mut [u8]) -> Option<()> {
    let mut mode = Decryptor::<C>::new_from_slices(key, iv).ok()?;
    mode.decrypt_blocks(blocks::<C>(data)?);
    Some(())
}

fn blocks<C: BlockSizeUser>(data: &mut [u8]) -> Option<&mut [Array<u8, C::BlockSize>]> {
    let (blocks, rest) = Array::slice_as_chunks_mut(data);
    rest.is_empty().then_some(blocks)
}

/// The counter block is nonce, IV and a counter of four bytes that starts at one (RFC 3686 section 4).
fn counter_mode(size: AesKey, key: &[u8], iv: &[u8], data: &mut [u8]) -> Option<()> {
    let (key, nonce) = key.split_at_checked(size.length())?;
    if nonce.len() != CTR_NONCE {
        return None;
    }
    let mut block = [nonce, iv, &1u32.to_be_bytes()].concat();
    let done = match size {
        AesKey::Bits128 => apply::<Ctr32BE<Aes128>>(key, &block, data),
        AesKey::Bits192 => apply::<Ctr32BE<Aes192>>(key, &block, data),
        AesKey::Bits256 => apply::<Ctr32BE<Aes256>>(key, &block, data),
    };
    block.zeroize();
    done
}

fn apply<M: KeyIvInit + StreamCipher>(key: &[u8], counter_block: &[u8], data: &mut [u8]) -> Option<()> {
    M::new_from_slices(key, counter_block).ok()?.try_apply_keystream(data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    fn check(cipher: Cipher, key: &str, iv: &str, plaintext: &str, ciphertext: &str) {
        let [key, iv, plaintext, ciphertext] = [key, iv, plaintext, ciphertext].map(|text| hex::decode(text).unwrap());
        let mut data = plaintext.clone();
        cipher.encrypt(&key, &iv, &mut data).unwrap();
        assert_eq!(data, ciphertext, "{cipher:?}");
        cipher.decrypt(&key, &iv, &mut data).unwrap();
        assert_eq!(data, plaintext, "{cipher:?}");
    }

    /// RFC 3602 section 4, case 2; NIST SP 800-38A F.2.3 and F.2.5 (first block).
    #[test]
    fn aes_cbc_known_answers() {
        check(
            Cipher::AesCbc(AesKey::Bits128),
            "c286696d887c9aa0611bbb3e2025a45a",
            "562e17996d093d28ddb3ba695a2e6f58",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
        );
        check(
            Cipher::AesCbc(AesKey::Bits192),
            "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
            "000102030405060708090a0b0c0d0e0f",
            "6bc1bee22e409f96e93d7e117393172a",
            "4f021db243bc633d7178183a9fa071e8",
        );
        check(
            Cipher::AesCbc(AesKey::Bits256),
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            "000102030405060708090a0b0c0d0e0f",
            "6bc1bee22e409f96e93d7e117393172a",
            "f58c4c04d6e5f1ba779eabfb5f7bfbd6",
        );
    }

    /// RFC 3686 section 6, cases 1, 6 and 8.
    #[test]
    fn aes_ctr_of_rfc_3686() {
        check(
            Cipher::AesCtr(AesKey::Bits128),
            "ae6852f8121067cc4bf7a5765577f39e00000030",
            "0000000000000000",
            "53696e676c6520626c6f636b206d7367",
            "e4095d4fb7a7b3792d6175a3261311b8",
        );
        check(
            Cipher::AesCtr(AesKey::Bits192),
            "02bf391ee8ecb159b959617b0965279bf59b60a786d3e0fe0007bdfd",
            "5cbd60278dcc0912",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223",
            "96893fc55e5c722f540b7dd1ddf7e758d288bc95c69165884536c811662f2188abee0935",
        );
        check(
            Cipher::AesCtr(AesKey::Bits256),
            "f6d66d6bd52d59bb0796365879eff886c66dd51a5b6a99744b50590c87a2388400faac24",
            "c1585ef15a43d875",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "f05e231b3894612c49ee000b804eb2a9b8306b508f839d6a5530831d9344af1c",
        );
    }

    /// One key thrice makes 3DES the DES of FIPS 81's example.
    #[test]
    fn des_cbc_known_answer() {
        let (iv, plaintext) = ("1234567890abcdef", "4e6f77206973207468652074696d6520666f7220616c6c20");
        let ciphertext = "e5c7cdde872bf27c43e934008c389c0f683788499a7c05f6";
        check(Cipher::DesCbc, "0123456789abcdef", iv, plaintext, ciphertext);
        check(Cipher::TripleDesCbc, &"0123456789abcdef".repeat(3), iv, plaintext, ciphertext);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for cipher in [Cipher::DesCbc, Cipher::TripleDesCbc, Cipher::AesCbc(AesKey::Bits192)] {
            let (key, iv) = (vec![3; cipher.key_length()], vec![4; cipher.iv_length()]);
            let mut data = vec![5; 2 * cipher.block_length()];
            assert!(cipher.decrypt(&key[1..], &iv, &mut data).is_none());
            assert!(cipher.decrypt(&key, &iv[1..], &mut data).is_none());
            assert!(cipher.decrypt(&key, &iv, &mut data[1..]).is_none());
            assert!(cipher.encrypt(&key, &iv, &mut data[1..]).is_none());
            assert_eq!(data, vec![5; data.len()]);
            assert!(cipher.decrypt(&key, &iv, &mut data).is_some());
        }
        let ctr = Cipher::AesCtr(AesKey::Bits128);
        assert!(ctr.encrypt(&[0; 16], &[0; 8], &mut [0; 5]).is_none());
        assert!(ctr.encrypt(&[0; 20], &[0; 7], &mut [0; 5]).is_none());
    }
}
