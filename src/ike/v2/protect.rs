//! The Encrypted payload of IKEv2 (RFC 7296 section 3.14, RFC 5282), whole (SK) or a fragment (SKF, RFC 7383).
//!
//! ```text
//! IKE header | ... | SK header [fragment fields] | IV | ciphertext of payloads, padding, Pad Length | ICV
//! ^ message                                      ^ body
//! ```
//! A cipher's MAC covers everything before the ICV; what an AEAD takes as additional data ends where the body begins.

use crate::crypto::{Aead, Cipher, Integrity, Secret};
use crate::ike::Encryption;
use crate::ike::padding::padded;

/// What protects the messages of an IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// One algorithm for both.
    Aead(Aead),
    /// First encrypted, then MACed.
    EncryptThenMac(Cipher, Integrity),
}

/// Why an Encrypted payload cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its length does not suit the algorithms; the checksum was not even looked at.
    #[error("the Encrypted payload is too short or not whole blocks")]
    Malformed,
    /// The checksum is wrong: other keys, or altered on the way.
    #[error("the integrity checksum of the Encrypted payload is wrong")]
    Integrity,
    /// The checksum is right, but there is more padding than data.
    #[error("the Pad Length of the Encrypted payload is larger than the payload")]
    Padding,
}

impl Protection {
    /// Bytes of SK_ei and SK_er, with the salt.
    pub const fn encryption_key_length(self) -> usize {
        self.encryption().key_length()
    }

    /// Bytes of SK_ai and SK_ar; 0 of an AEAD.
    pub const fn integrity_key_length(self) -> usize {
        match self {
            Self::Aead(_) => 0,
            Self::EncryptThenMac(_, integrity) => integrity.key_length(),
        }
    }

    /// Bytes of the IV.
    pub const fn iv_length(self) -> usize {
        self.encryption().iv_length()
    }

    /// Bytes of the Integrity Check Value, or the AEAD's tag.
    pub const fn icv_length(self) -> usize {
        match self {
            Self::Aead(aead) => aead.tag_length(),
            Self::EncryptThenMac(_, integrity) => integrity.icv_length(),
        }
    }

    /// Bytes that `payloads` bytes of payloads become, from the IV to the ICV: what the lengths in IKE header and SK
    /// header must account for before [`seal`](Self::seal). `None` beyond what memory can hold.
    pub fn sealed_length(self, payloads: usize) -> Option<usize> {
        let padded = payloads.checked_add(1)?.checked_next_multiple_of(self.encryption().block_length())?;
        padded.checked_add(self.iv_length())?.checked_add(self.icv_length())
    }

    /// The payloads inside, without padding. `message` is the whole IKE message and ends with the Encrypted payload;
    /// `body` is where in it the IV begins; the keys are those of the sender.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing is decrypted before the checksum is found right.
    pub fn open(self, sk_e: &Secret, sk_a: &Secret, message: &[u8], body: usize) -> Result<Vec<u8>, OpenError> {
        let (aad, sealed) = message.split_at_checked(body).ok_or(OpenError::Malformed)?;
        let (iv, ciphertext) = sealed.split_at_checked(self.iv_length()).ok_or(OpenError::Malformed)?;
        let length = ciphertext.len().checked_sub(self.icv_length()).ok_or(OpenError::Malformed)?;
        if length == 0 || !length.is_multiple_of(self.encryption().block_length()) {
            return Err(OpenError::Malformed);
        }
        let padded = match self {
            Self::Aead(aead) => {
                let (key, nonce) = key_and_nonce(aead, sk_e, iv).ok_or(OpenError::Integrity)?;
                aead.open(key, nonce.as_bytes(), aad, ciphertext).ok_or(OpenError::Integrity)?
            }
            Self::EncryptThenMac(cipher, integrity) => {
                let (ciphertext, icv) = ciphertext.split_at_checked(length).ok_or(OpenError::Malformed)?;
                if !integrity.verify(sk_a.as_bytes(), &[aad, iv, ciphertext], icv) {
                    return Err(OpenError::Integrity);
                }
                let mut data = ciphertext.to_vec();
                cipher.decrypt(sk_e.as_bytes(), iv, &mut data).ok_or(OpenError::Malformed)?;
                data
            }
        };
        unpadded(padded).ok_or(OpenError::Padding)
    }

    /// IV, ciphertext and ICV of `payloads`, to follow `prefix`: the message from the IKE header to the end of the SK
    /// header (or the fragment fields), with its final lengths ([`sealed_length`](Self::sealed_length)).
    ///
    /// The IV must never be used twice with a key and, of a CBC cipher, be unpredictable. `None` if a key or the IV
    /// has the wrong length.
    pub fn seal(self, sk_e: &Secret, sk_a: &Secret, prefix: &[u8], iv: &[u8], payloads: &[u8]) -> Option<Vec<u8>> {
        if iv.len() != self.iv_length() {
            return None;
        }
        let mut data = padded(payloads, self.encryption().block_length())?;
        match self {
            Self::Aead(aead) => {
                let (key, nonce) = key_and_nonce(aead, sk_e, iv)?;
                Some([iv, &aead.seal(key, nonce.as_bytes(), prefix, &data)?].concat())
            }
            Self::EncryptThenMac(cipher, integrity) => {
                cipher.encrypt(sk_e.as_bytes(), iv, &mut data)?;
                let icv = integrity.compute(sk_a.as_bytes(), &[prefix, iv, &data])?;
                Some([iv, &data, icv.as_bytes()].concat())
            }
        }
    }

    const fn encryption(self) -> Encryption {
        match self {
            Self::Aead(aead) => Encryption::Aead(aead),
            Self::EncryptThenMac(cipher, _) => Encryption::Cipher(cipher),
        }
    }
}

/// SK_e is the key and a salt; the nonce is the salt and the IV (RFC 5282 section 4).
fn key_and_nonce<'k>(aead: Aead, sk_e: &'k Secret, iv: &[u8]) -> Option<(&'k [u8], Secret)> {
    let whole = sk_e.as_bytes().len() == Encryption::Aead(aead).key_length();
    let (key, salt) = sk_e.as_bytes().split_at_checked(aead.key_length())?;
    whole.then(|| (key, Secret::from_slice(&[salt, iv].concat())))
}

fn unpadded(mut data: Vec<u8>) -> Option<Vec<u8>> {
    let pad_length = usize::from(data.pop()?);
    data.truncate(data.len().checked_sub(pad_length)?);
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{AesKey, Tag};
    use crate::hex;

    const ALL: [Protection; 7] = [
        Protection::Aead(Aead::AesGcm(AesKey::Bits256, Tag::Octets16)),
        Protection::Aead(Aead::AesGcm(AesKey::Bits128, Tag::Octets8)),
        Protection::Aead(Aead::AesCcm(AesKey::Bits128, Tag::Octets12)),
        Protection::Aead(Aead::ChaCha20Poly1305),
        Protection::EncryptThenMac(Cipher::AesCbc(AesKey::Bits128), Integrity::HmacSha2_256_128),
        Protection::EncryptThenMac(Cipher::AesCtr(AesKey::Bits256), Integrity::AesCmac96),
        Protection::EncryptThenMac(Cipher::TripleDesCbc, Integrity::HmacSha1_96),
    ];

    fn keys(protection: Protection) -> (Secret, Secret) {
        let key = |length| Secret::from_slice(&vec![1; length]);
        (key(protection.encryption_key_length()), key(protection.integrity_key_length()))
    }

    #[test]
    fn what_is_sealed_opens_unless_a_byte_is_altered() {
        for protection in ALL {
            let (sk_e, sk_a) = keys(protection);
            let iv = vec![2; protection.iv_length()];
            for length in [0, 1, 15, 16, 100] {
                let payloads = vec![3; length];
                let body = protection.seal(&sk_e, &sk_a, b"header", &iv, &payloads).unwrap();
                assert_eq!(Some(body.len()), protection.sealed_length(length), "{protection:?}");
                let mut message = [b"header", body.as_slice()].concat();
                assert_eq!(protection.open(&sk_e, &sk_a, &message, 6), Ok(payloads), "{protection:?}");
                for at in 0..message.len() {
                    message[at] ^= 1;
                    assert_eq!(protection.open(&sk_e, &sk_a, &message, 6), Err(OpenError::Integrity), "byte {at}");
                    message[at] ^= 1;
                    assert!(protection.open(&sk_e, &sk_a, &message[..at], 6).is_err(), "cut to {at}");
                }
            }
        }
    }

    #[test]
    fn keys_and_ivs_of_other_lengths_are_refused() {
        for protection in ALL {
            let (sk_e, sk_a) = keys(protection);
            let iv = vec![2; protection.iv_length()];
            let short = Secret::from_slice(&sk_e.as_bytes()[1..]);
            assert!(protection.seal(&short, &sk_a, b"", &iv, b"").is_none(), "{protection:?}");
            assert!(protection.seal(&sk_e, &sk_a, b"", &iv[1..], b"").is_none(), "{protection:?}");
        }
    }

    #[test]
    fn padding_longer_than_the_data_is_refused() {
        let (protection, iv) = (ALL[0], [0; 8]);
        let (sk_e, sk_a) = keys(protection);
        let (key, nonce) = key_and_nonce(Aead::AesGcm(AesKey::Bits256, Tag::Octets16), &sk_e, &iv).unwrap();
        let sealed = Aead::AesGcm(AesKey::Bits256, Tag::Octets16).seal(key, nonce.as_bytes(), b"", &[0, 0, 3]).unwrap();
        let message = [iv.as_slice(), &sealed].concat();
        assert_eq!(protection.open(&sk_e, &sk_a, &message, 0), Err(OpenError::Padding));
    }

    /// RFC 7634 appendix B.
    #[test]
    fn chacha20_poly1305_message_of_rfc_7634() {
        let sk_e = Secret::from_slice(
            &hex::decode("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3").unwrap(),
        );
        let message = hex::decode(concat!(
            "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029",
            "1011121314151617610394701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2",
        ))
        .unwrap();
        let protection = Protection::Aead(Aead::ChaCha20Poly1305);
        let payloads = protection.open(&sk_e, &Secret::zeroed(0), &message, 32).unwrap();
        assert_eq!(hex::encode(&payloads), "0000000c000040010000000a");
        let sealed = protection.seal(&sk_e, &Secret::zeroed(0), &message[..32], &message[32..40], &payloads).unwrap();
        assert_eq!(sealed, message[32..]);
    }
}
