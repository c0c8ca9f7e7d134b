//! Somebody who recorded every datagram and holds some keys. Written from PROTOCOL.md and the RFCs, not with the crate's
//! own OSCORE code.

use std::collections::BTreeMap;

use ccm::aead::{AeadInOut, KeyInit};
use hkdf::Hkdf;
use keyferry_channel::coap::{Message, OptionNumber};
use sha2::Sha256;

use super::settings;

pub fn next(key: &[u8; 32]) -> [u8; 32] {
    expand(key, b"keyferry next")
}

pub fn master_secret(key: &[u8; 32]) -> [u8; 32] {
    expand(key, b"keyferry oscore")
}

fn expand(key: &[u8], label: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha256>::from_prk(key).unwrap().expand(label, &mut out).unwrap();
    out
}

pub fn id_context(epoch: u32) -> Vec<u8> {
    let bytes = epoch.to_be_bytes();
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(3);
    bytes[start..].to_vec()
}

/// RFC 8613 section 3.2: the sender key of `id` in that epoch.
pub fn sender_key(key: &[u8; 32], epoch: u32, id: &[u8]) -> [u8; 16] {
    derive(key, epoch, id, "Key", 16).try_into().unwrap()
}

pub fn common_iv(key: &[u8; 32], epoch: u32) -> [u8; 13] {
    derive(key, epoch, &[], "IV", 13).try_into().unwrap()
}

fn derive(key: &[u8; 32], epoch: u32, id: &[u8], kind: &str, length: usize) -> Vec<u8> {
    let mut info = vec![0x85];
    bstr(&mut info, id);
    bstr(&mut info, &id_context(epoch));
    info.push(10);
    info.push(0x60 + kind.len() as u8);
    info.extend_from_slice(kind.as_bytes());
    info.push(length as u8);
    let mut out = vec![0; length];
    Hkdf::<Sha256>::new(Some(&[]), &master_secret(key)).expand(&info, &mut out).unwrap();
    out
}

fn bstr(out: &mut Vec<u8>, bytes: &[u8]) {
    assert!(bytes.len() < 24);
    out.push(0x40 + bytes.len() as u8);
    out.extend_from_slice(bytes);
}

/// What a datagram shows without any key.
#[derive(Clone, Debug)]
pub struct Seen {
    pub from: usize,
    pub request: bool,
    pub token: Vec<u8>,
    pub partial_iv: Option<Vec<u8>>,
    pub kid_context: Option<Vec<u8>>,
    pub ciphertext: Vec<u8>,
}

pub fn look(from: usize, datagram: &[u8]) -> Option<Seen> {
    let message = Message::parse(datagram).unwrap();
    let value = message.options.find(OptionNumber::OSCORE)?;
    let (mut partial_iv, mut kid_context) = (None, None);
    if let Some((flags, rest)) = value.split_first() {
        let length = usize::from(flags & 7);
        partial_iv = (length > 0).then(|| rest[..length].to_vec());
        if flags & 0x10 != 0 {
            let (size, context) = (usize::from(rest[length]), &rest[length + 1..]);
            kid_context = Some(context[..size].to_vec());
        }
    }
    let request = message.code.0 == 2;
    let (token, ciphertext) = (message.token.as_bytes().to_vec(), message.payload.to_vec());
    Some(Seen { from, request, token, partial_iv, kid_context, ciphertext })
}

/// A key and nonce as somebody used it: whose sender key, epoch, whose Partial IV, which.
pub type Nonce = (usize, u32, usize, Vec<u8>);

/// Decrypts with the key of one epoch: a request, or a response to one of `requests`.
pub fn open(seen: &Seen, requests: &[Seen], key: &[u8; 32], epoch: u32) -> Option<(Nonce, Vec<u8>)> {
    let ids = [0, 1].map(|side| settings(side).own.as_bytes().to_vec());
    let cipher_key = sender_key(key, epoch, &ids[seen.from]);
    let iv = common_iv(key, epoch);
    let try_one = |asker: usize, request_iv: &[u8]| {
        let (side, partial_iv) = match &seen.partial_iv {
            Some(own) => (seen.from, own.clone()),
            None => (asker, request_iv.to_vec()),
        };
        let nonce = nonce(&iv, &ids[side], &partial_iv);
        let content = decrypt(&cipher_key, &nonce, &aad(&ids[asker], request_iv), &seen.ciphertext)?;
        Some(((seen.from, epoch, side, partial_iv), content))
    };
    if seen.request {
        return try_one(seen.from, seen.partial_iv.as_ref()?);
    }
    requests
        .iter()
        .filter(|request| request.from != seen.from && request.token == seen.token)
        .find_map(|request| try_one(request.from, request.partial_iv.as_ref()?))
}

fn nonce(iv: &[u8; 13], id: &[u8], partial_iv: &[u8]) -> [u8; 13] {
    let mut nonce = [0; 13];
    nonce[0] = id.len() as u8;
    nonce[8 - id.len()..8].copy_from_slice(id);
    nonce[13 - partial_iv.len()..].copy_from_slice(partial_iv);
    std::array::from_fn(|at| nonce[at] ^ iv[at])
}

fn aad(request_kid: &[u8], request_iv: &[u8]) -> Vec<u8> {
    let mut external = vec![0x85, 0x01, 0x81, 0x0a];
    bstr(&mut external, request_kid);
    bstr(&mut external, request_iv);
    external.push(0x40);
    let mut aad = vec![0x83, 0x68];
    aad.extend_from_slice(b"Encrypt0");
    aad.push(0x40);
    bstr(&mut aad, &external);
    aad
}

fn decrypt(key: &[u8; 16], nonce: &[u8; 13], aad: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
    type Cipher = ccm::Ccm<aes::Aes128, ccm::consts::U8, ccm::consts::U13>;
    let (body, tag) = ciphertext.split_last_chunk::<8>()?;
    let mut body = body.to_vec();
    let opened =
        Cipher::new(key.into()).decrypt_inout_detached(nonce.into(), aad, body.as_mut_slice().into(), tag.into());
    opened.ok().map(|()| body)
}

/// Opens everything that was sent with the keys of the first epochs, and asserts that no key and nonce ever protected two
/// different messages.
pub fn assert_nonces_unique(sent: &[(usize, Vec<u8>)], first: &[u8; 32], epochs: u32) {
    let seen: Vec<_> = sent.iter().filter_map(|(from, datagram)| look(*from, datagram)).collect();
    let requests: Vec<_> = seen.iter().filter(|seen| seen.request).cloned().collect();
    let mut keys = vec![*first];
    (1..=epochs).for_each(|_| keys.push(next(keys.last().unwrap())));
    let mut used: BTreeMap<Nonce, Vec<u8>> = BTreeMap::new();
    // Numbers run on across epochs: they may not come back even under another key.
    let mut numbers: BTreeMap<(usize, Vec<u8>), Vec<u8>> = BTreeMap::new();
    for message in &seen {
        let opened = keys.iter().enumerate().find_map(|(epoch, key)| open(message, &requests, key, epoch as u32));
        let (nonce, _) = opened.expect("every message of ours can be opened with the right key");
        if let Some(own) = &message.partial_iv {
            let before = numbers.insert((message.from, own.clone()), message.ciphertext.clone());
            assert!(before.is_none_or(|before| before == message.ciphertext), "number {own:02x?} used twice");
        }
        let before = used.insert(nonce.clone(), message.ciphertext.clone());
        assert!(before.is_none_or(|before| before == message.ciphertext), "nonce {nonce:02x?} used twice");
    }
    assert!(!used.is_empty());
}
