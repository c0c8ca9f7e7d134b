//! The key schedules of TLS as pure functions: TLS 1.0 to 1.2 (RFC 2246, RFC 4346, RFC 5246, RFC 7627) here, TLS 1.3
//! (RFC 8446) in [`tls13`].
//!
//! The engine leaves these to its library; they are for whoever checks a recorded handshake against its secrets.

pub mod suite;
pub mod tls13;

use crate::crypto::{Hash, Prf, Secret};

/// The PRF of TLS 1.0 to 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPrf {
    /// Both hashes XORed, of TLS 1.0 and 1.1 (RFC 2246 section 5); to read captures only.
    Md5Sha1,
    /// P_SHA256 of TLS 1.2 (RFC 5246 section 5), which most of its suites use.
    Sha256,
    /// P_SHA384 of TLS 1.2, for suites whose names end in SHA384.
    Sha384,
}

/// Whose Finished or key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The server's.
    Server,
}

impl TlsPrf {
    /// PRF(secret, label, seed), `length` bytes of it (RFC 5246 section 5).
    pub fn compute(self, secret: &Secret, label: &[u8], seed: &[&[u8]], length: usize) -> Secret {
        let seed = [&[label], seed].concat();
        let mut output = Secret::zeroed(length);
        match self {
            Self::Md5Sha1 => {
                // The halves share their middle byte where the length is odd.
                let bytes = secret.as_bytes();
                let half = bytes.len().div_ceil(2);
                let first = bytes.get(..half).unwrap_or(bytes);
                let second = bytes.get(bytes.len().saturating_sub(half)..).unwrap_or(bytes);
                xor_p_hash(Prf::HmacMd5, first, &seed, output.as_mut_bytes());
                xor_p_hash(Prf::HmacSha1, second, &seed, output.as_mut_bytes());
            }
            Self::Sha256 => xor_p_hash(Prf::HmacSha2_256, secret.as_bytes(), &seed, output.as_mut_bytes()),
            Self::Sha384 => xor_p_hash(Prf::HmacSha2_384, secret.as_bytes(), &seed, output.as_mut_bytes()),
        }
        output
    }

    /// The hash of the handshake messages that session_hash and Finished take: MD5 and SHA-1 side by side before
    /// TLS 1.2.
    pub fn handshake_hash(self, messages: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Md5Sha1 => [Hash::Md5.digest(messages), Hash::Sha1.digest(messages)].concat(),
            Self::Sha256 => Hash::Sha256.digest(messages),
            Self::Sha384 => Hash::Sha384.digest(messages),
        }
    }

    /// master_secret (RFC 5246 section 8.1), 48 bytes.
    pub fn master_secret(self, pre_master_secret: &Secret, client_random: &[u8], server_random: &[u8]) -> Secret {
        self.compute(pre_master_secret, b"master secret", &[client_random, server_random], 48)
    }

    /// The extended master secret (RFC 7627 section 4), 48 bytes. session_hash is the
    /// [`handshake_hash`](Self::handshake_hash) of everything up to ClientKeyExchange.
    pub fn extended_master_secret(self, pre_master_secret: &Secret, session_hash: &[u8]) -> Secret {
        self.compute(pre_master_secret, b"extended master secret", &[session_hash], 48)
    }

    /// key_block (RFC 5246 section 6.3), `length` bytes; mind that the server's random comes first here.
    pub fn key_block(
        self,
        master_secret: &Secret,
        server_random: &[u8],
        client_random: &[u8],
        length: usize,
    ) -> Secret {
        self.compute(master_secret, b"key expansion", &[server_random, client_random], length)
    }

    /// verify_data of a Finished (RFC 5246 section 7.4.9), 12 bytes. `handshake_hash` is of all handshake messages
    /// before this Finished.
    pub fn verify_data(self, master_secret: &Secret, sender: Side, handshake_hash: &[u8]) -> Secret {
        let label: &[u8] = match sender {
            Side::Client => b"client finished",
            Side::Server => b"server finished",
        };
        self.compute(master_secret, label, &[handshake_hash], 12)
    }
}

/// XORs P_hash(secret, seed) (RFC 5246 section 5) into `output`: HMAC(A(1) | seed) | HMAC(A(2) | seed) | ..., with
/// A(0) = seed and A(i) = HMAC(A(i-1)).
fn xor_p_hash(hmac: Prf, secret: &[u8], seed: &[&[u8]], output: &mut [u8]) {
    let mut a = hmac.compute(secret, seed);
    for chunk in output.chunks_mut(hmac.output_length()) {
        let block = hmac.compute(secret, &[&[a.as_bytes()], seed].concat());
        chunk.iter_mut().zip(block.as_bytes()).for_each(|(to, from)| *to ^= *from);
        a = hmac.compute(secret, &[a.as_bytes()]);
    }
}

/// How long the parts of a key_block are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBlockLengths {
    /// Of a MAC key; 0 of an AEAD.
    pub mac_key: usize,
    /// Of an encryption key.
    pub key: usize,
    /// Of an IV: a block of a CBC cipher in TLS 1.0, none in TLS 1.1 and 1.2; four bytes of salt of AES-GCM and
    /// AES-CCM, 12 of ChaCha20-Poly1305.
    pub iv: usize,
}

impl KeyBlockLengths {
    /// Bytes of the whole key_block.
    pub const fn total(self) -> usize {
        self.mac_key.saturating_add(self.key).saturating_add(self.iv).saturating_mul(2)
    }

    /// Cuts a key_block, `None` if it is too short. What it has too much is ignored.
    pub fn split(self, key_block: &Secret) -> Option<KeyBlock> {
        let mut rest = key_block.as_bytes();
        let mut next = |length| {
            let (part, after) = rest.split_at_checked(length)?;
            rest = after;
            Some(Secret::from_slice(part))
        };
        Some(KeyBlock {
            client_write_mac_key: next(self.mac_key)?,
            server_write_mac_key: next(self.mac_key)?,
            client_write_key: next(self.key)?,
            server_write_key: next(self.key)?,
            client_write_iv: next(self.iv)?,
            server_write_iv: next(self.iv)?,
        })
    }
}

/// The keys of a session (RFC 5246 section 6.3).
pub struct KeyBlock {
    /// Authenticates what the client sends; empty of an AEAD.
    pub client_write_mac_key: Secret,
    /// Authenticates what the server sends; empty of an AEAD.
    pub server_write_mac_key: Secret,
    /// Encrypts what the client sends.
    pub client_write_key: Secret,
    /// Encrypts what the server sends.
    pub server_write_key: Secret,
    /// See [`KeyBlockLengths::iv`].
    pub client_write_iv: Secret,
    /// See [`KeyBlockLengths::iv`].
    pub server_write_iv: Secret,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    fn secret(text: &str) -> Secret {
        Secret::from_slice(&hex::decode(text).unwrap())
    }

    /// The P_SHA256 vector that circulates on the TLS working group's list (IETF, December 2007).
    #[test]
    fn p_sha256() {
        let seed = hex::decode("a0ba9f936cda311827a6f796ffd5198c").unwrap();
        let output = TlsPrf::Sha256.compute(&secret("9bbe436ba940f017b17652849a71db35"), b"test label", &[&seed], 100);
        assert_eq!(
            hex::encode(output.as_bytes()),
            "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af\
             0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701\
             87347b66"
        );
    }

    /// The halves of an odd secret overlap by a byte.
    #[test]
    fn old_prf_of_an_odd_secret() {
        let output = TlsPrf::Md5Sha1.compute(&secret("010203"), b"label", &[b"seed"], 40);
        let mut expected = [0; 40];
        xor_p_hash(Prf::HmacMd5, &[1, 2], &[b"labelseed"], &mut expected);
        xor_p_hash(Prf::HmacSha1, &[2, 3], &[b"labelseed"], &mut expected);
        assert_eq!(output.as_bytes(), expected);
        assert_eq!(TlsPrf::Md5Sha1.handshake_hash(&[b"a"]).len(), 36);
    }

    #[test]
    fn key_block_is_cut_in_order() {
        let lengths = KeyBlockLengths { mac_key: 2, key: 3, iv: 1 };
        assert_eq!(lengths.total(), 12);
        let block = lengths.split(&secret("000102030405060708090a0b")).unwrap();
        assert_eq!(block.client_write_mac_key.as_bytes(), [0, 1]);
        assert_eq!(block.server_write_mac_key.as_bytes(), [2, 3]);
        assert_eq!(block.client_write_key.as_bytes(), [4, 5, 6]);
        assert_eq!(block.server_write_key.as_bytes(), [7, 8, 9]);
        assert_eq!(
            (block.client_write_iv.as_bytes(), block.server_write_iv.as_bytes()),
            ([10].as_slice(), [11].as_slice())
        );
        assert!(lengths.split(&Secret::zeroed(11)).is_none());
    }
}
