//! Encrypted ISAKMP messages: CBC over everything after the header, its IV chained from message to message
//! (RFC 2409 appendix B).

use crate::crypto::{Cipher, Secret};
use crate::ike::padding::padded;

/// A decrypted message.
pub struct Opened {
    /// The payloads and behind them the padding, whose length only the payloads tell.
    pub payloads: Vec<u8>,
    /// The IV of the next message of the exchange.
    pub next_iv: Vec<u8>,
}

/// An encrypted message.
pub struct Sealed {
    /// What follows the header, whose length and encryption flag are the caller's.
    pub body: Vec<u8>,
    /// The IV of the next message of the exchange.
    pub next_iv: Vec<u8>,
}

/// Decrypts what follows the header. That the key is right shows only in the HASH among the payloads.
///
/// `None` if the body is empty or not whole blocks, or if the key or the IV is not of the cipher's length.
pub fn open(cipher: Cipher, key: &Secret, iv: &[u8], body: &[u8]) -> Option<Opened> {
    let next_iv = last_block(cipher, body)?;
    let mut payloads = body.to_vec();
    cipher.decrypt(key.as_bytes(), iv, &mut payloads)?;
    Some(Opened { payloads, next_iv })
}

/// Pads and encrypts payloads. There is always padding: zeros and, last, how many zeros.
///
/// `None` if the key or the IV is not of the cipher's length.
pub fn seal(cipher: Cipher, key: &Secret, iv: &[u8], payloads: &[u8]) -> Option<Sealed> {
    let mut body = padded(payloads, cipher.block_length())?;
    cipher.encrypt(key.as_bytes(), iv, &mut body)?;
    let next_iv = last_block(cipher, &body)?;
    Some(Sealed { body, next_iv })
}

fn last_block(cipher: Cipher, body: &[u8]) -> Option<Vec<u8>> {
    body.get(body.len().checked_sub(cipher.iv_length())?..).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::AesKey;

    #[test]
    fn what_is_sealed_opens_and_chains() {
        for cipher in [Cipher::DesCbc, Cipher::TripleDesCbc, Cipher::AesCbc(AesKey::Bits256)] {
            let key = Secret::from_slice(&vec![5; cipher.key_length()]);
            let mut iv = vec![6; cipher.iv_length()];
            for length in [0, 1, 15, 16, 17] {
                let payloads = vec![7; length];
                let sealed = seal(cipher, &key, &iv, &payloads).unwrap();
                let opened = open(cipher, &key, &iv, &sealed.body).unwrap();
                assert_eq!(opened.payloads[..length], payloads);
                let padding = &opened.payloads[length..];
                assert_eq!(usize::from(*padding.last().unwrap()), padding.len() - 1);
                assert!(opened.next_iv == sealed.next_iv && sealed.body.ends_with(&sealed.next_iv));
                iv = sealed.next_iv;
            }
        }
    }

    #[test]
    fn part_of_a_block_is_refused() {
        let (cipher, key) = (Cipher::AesCbc(AesKey::Bits128), Secret::zeroed(16));
        for length in [0, 1, 15, 17, 31] {
            assert!(open(cipher, &key, &[0; 16], &vec![0; length]).is_none(), "{length} bytes");
        }
        assert!(open(cipher, &key, &[0; 8], &[0; 16]).is_none());
    }
}
