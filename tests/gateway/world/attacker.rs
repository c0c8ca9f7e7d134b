//! Somebody who recorded the channel and stole the gateway's disk. Written from RFC 8613 and
//! `channel/PROTOCOL.md`, not with the channel's own code, so that a mistake there cannot hide here.

use std::collections::BTreeMap;

use aes::Aes128;
use ccm::Ccm;
use ccm::aead::{Aead, KeyInit, Payload};
use ccm::consts::{U8, U13};
use hkdf::Hkdf;
use sha2::Sha256;

use super::Recorded;

/// AES-CCM-16-64-128.
type Cipher = Ccm<Aes128, U8, U13>;
const ALG_AEAD: u8 = 10;

/// A protected channel message, taken apart as far as it is in the clear.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagram {
    pub is_request: bool,
    pub token: Vec<u8>,
    /// Empty in a response that shares its request's nonce.
    pub partial_iv: Vec<u8>,
    pub kid_context: Vec<u8>,
    pub kid: Vec<u8>,
    pub ciphertext: Vec<u8>,
}

/// A channel key and the number of its epoch: with them all later ones can be derived.
#[derive(Clone)]
pub struct Thief {
    pub epoch: u32,
    pub key: [u8; 32],
}

impl Datagram {
    /// Reads a protected message; `None` for empty acknowledgements.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (&first, rest) = bytes.split_first()?;
        let (&code, rest) = rest.split_first()?;
        let (token, mut options) = rest.get(2..)?.split_at_checked(usize::from(first & 0x0f))?;
        let (mut number, mut oscore) = (0, None);
        while let Some((&byte, after)) = options.split_first().filter(|(byte, _)| **byte != 0xff) {
            let (delta, after) = extended(byte >> 4, after)?;
            let (length, after) = extended(byte & 0x0f, after)?;
            let (value, after) = after.split_at_checked(length)?;
            number += delta;
            oscore = oscore.or((number == 9).then_some(value));
            options = after;
        }
        let (flags, rest) = oscore?.split_first().unwrap_or((&0, &[]));
        let (partial_iv, rest) = rest.split_at_checked(usize::from(flags & 7))?;
        let (kid_context, kid) = match rest.split_first().filter(|_| flags & 0x10 != 0) {
            Some((length, rest)) => rest.split_at_checked(usize::from(*length))?,
            None => (&[][..], rest),
        };
        Some(Self {
            is_request: code == 0x02,
            token: token.to_vec(),
            partial_iv: partial_iv.to_vec(),
            kid_context: kid_context.to_vec(),
            kid: kid.to_vec(),
            ciphertext: options.get(1..)?.to_vec(),
        })
    }

    pub fn epoch(&self) -> u32 {
        self.kid_context.iter().fold(0, |epoch, byte| epoch << 8 | u32::from(*byte))
    }
}

/// No sender may protect two messages under one nonce. Sequence numbers run on across epochs, so a Partial IV
/// names one message of its sender; an answer without one shares the nonce of its request, which the token
/// names, so there is one such answer.
#[track_caller]
pub fn assert_no_nonce_twice(recorded: &[Recorded]) {
    let mut used = BTreeMap::new();
    for Recorded { to_gateway, path, bytes } in recorded {
        let Some(datagram) = Datagram::parse(bytes) else { continue };
        let (partial_iv, token) = match datagram.partial_iv.as_slice() {
            [] => (Vec::new(), datagram.token.clone()),
            partial_iv => (partial_iv.to_vec(), Vec::new()),
        };
        let known = used.entry((*to_gateway, path.remote, partial_iv, token)).or_insert(datagram.ciphertext.clone());
        assert!(*known == datagram.ciphertext, "one nonce for two messages");
    }
}

impl Thief {
    /// Decrypts a request under this key or any later one that follows from it.
    pub fn open(&self, datagram: &Datagram) -> Option<Vec<u8>> {
        if !datagram.is_request {
            return None;
        }
        let steps = datagram.epoch().checked_sub(self.epoch)?;
        let key = (0..steps).fold(self.key, |key, _| expand(&key, b"keyferry next"));
        let secret = expand::<32>(&key, b"keyferry oscore");
        let sender_key: [u8; 16] = derive(&secret, &datagram.kid, &datagram.kid_context, "Key");
        let mut nonce: [u8; 13] = derive(&secret, &[], &datagram.kid_context, "IV");
        let mut own = [0; 13];
        own[0] = datagram.kid.len() as u8;
        own[8 - datagram.kid.len()..8].copy_from_slice(&datagram.kid);
        own[13 - datagram.partial_iv.len()..].copy_from_slice(&datagram.partial_iv);
        nonce.iter_mut().zip(own).for_each(|(byte, own)| *byte ^= own);

        let mut external = vec![0x85, 1, 0x81, ALG_AEAD];
        push_bytes(&mut external, &datagram.kid);
        push_bytes(&mut external, &datagram.partial_iv);
        external.push(0x40);
        let mut aad = b"\x83\x68Encrypt0\x40".to_vec();
        push_bytes(&mut aad, &external);
        let payload = Payload { msg: &datagram.ciphertext, aad: &aad };
        Cipher::new(&sender_key.into()).decrypt(&nonce.into(), payload).ok()
    }
}

fn extended(nibble: u8, bytes: &[u8]) -> Option<(usize, &[u8])> {
    match nibble {
        13 => bytes.split_first().map(|(byte, rest)| (13 + usize::from(*byte), rest)),
        14 => bytes.split_first_chunk().map(|(length, rest)| (269 + usize::from(u16::from_be_bytes(*length)), rest)),
        15 => None,
        short => Some((usize::from(short), bytes)),
    }
}

fn expand<const N: usize>(key: &[u8; 32], label: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    Hkdf::<Sha256>::from_prk(key).unwrap().expand(label, &mut out).unwrap();
    out
}

/// RFC 8613 section 3.2.1, without a master salt.
fn derive<const N: usize>(secret: &[u8; 32], id: &[u8], id_context: &[u8], kind: &str) -> [u8; N] {
    let mut info = vec![0x85];
    push_bytes(&mut info, id);
    push_bytes(&mut info, id_context);
    info.extend([ALG_AEAD, 0x60 | kind.len() as u8]);
    info.extend(kind.as_bytes());
    info.push(N as u8);
    let mut out = [0; N];
    Hkdf::<Sha256>::new(None, secret).expand(&info, &mut out).unwrap();
    out
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    assert!(bytes.len() < 24, "longer strings have another header");
    out.push(0x40 | bytes.len() as u8);
    out.extend(bytes);
}
