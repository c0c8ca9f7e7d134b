//! A security context (RFC 8613 section 3): keys and common IV derived from a master secret.

use alloc::boxed::Box;
use alloc::vec::Vec;

use aes::Aes128Enc;
use ccm::aead::KeyInit;
use ccm::consts::{U8, U13};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::short::Short;

/// AES-CCM-16-64-128: 8-byte tag, 13-byte nonce.
pub(super) type AesCcm = ccm::Ccm<Aes128Enc, U8, U13>;

/// One security context, seen from one of the two ends.
pub(crate) struct Context {
    pub(super) ids: ContextIds,
    sender_key: [u8; 16],
    recipient_key: [u8; 16],
    pub(super) common_iv: [u8; 13],
    ciphers: Option<Box<Ciphers>>,
}

/// Who uses a context. RFC 8613 allows empty ids, the channel does not.
#[derive(Clone, Copy)]
pub(crate) struct ContextIds {
    pub sender: Short<7>,
    pub recipient: Short<7>,
    pub id_context: Option<Short<8>>,
}

/// Expanded AES keys, about 1.4 KB: made at the first message, dropped while a channel is idle.
pub(super) struct Ciphers {
    pub sender: AesCcm,
    pub recipient: AesCcm,
}

impl Context {
    /// Section 3.2.1.
    pub fn derive(master_secret: &[u8], master_salt: &[u8], ids: ContextIds) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(master_salt), master_secret);
        let mut context = Self { ids, sender_key: [0; 16], recipient_key: [0; 16], common_iv: [0; 13], ciphers: None };
        expand(&hkdf, ids.sender, ids.id_context, "Key", &mut context.sender_key);
        expand(&hkdf, ids.recipient, ids.id_context, "Key", &mut context.recipient_key);
        expand(&hkdf, Short::EMPTY, ids.id_context, "IV", &mut context.common_iv);
        context
    }

    /// The expanded keys, made on first use: a message then costs no key expansion.
    pub(super) fn ciphers(&mut self) -> &Ciphers {
        let (sender, recipient) = (&self.sender_key, &self.recipient_key);
        self.ciphers.get_or_insert_with(|| {
            Box::new(Ciphers { sender: AesCcm::new(sender.into()), recipient: AesCcm::new(recipient.into()) })
        })
    }

    /// Frees the expanded keys until the next message.
    pub fn release_ciphers(&mut self) {
        self.ciphers = None;
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (&[u8; 16], &[u8; 16], &[u8; 13]) {
        (&self.sender_key, &self.recipient_key, &self.common_iv)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.sender_key.zeroize();
        self.recipient_key.zeroize();
        self.common_iv.zeroize();
    }
}

fn expand(hkdf: &Hkdf<Sha256>, id: Short<7>, id_context: Option<Short<8>>, kind: &str, out: &mut [u8]) {
    let info = info(id, id_context, kind, out.len() as u8);
    // 16 bytes at most are asked for; HKDF-SHA-256 gives 8160.
    let expanded = hkdf.expand(&info, out);
    debug_assert!(expanded.is_ok());
}

/// `info = [id, id_context / nil, alg_aead, type, L]` in CBOR. No string here is longer than 23 bytes.
pub(super) fn info(id: Short<7>, id_context: Option<Short<8>>, kind: &str, length: u8) -> Zeroizing<Vec<u8>> {
    let mut info = Zeroizing::new(Vec::with_capacity(32));
    info.push(0x85);
    push_bytes(&mut info, id.as_bytes());
    match id_context {
        Some(id_context) => push_bytes(&mut info, id_context.as_bytes()),
        None => info.push(0xf6),
    }
    info.push(ALG_AEAD);
    info.push(0x60 | kind.len() as u8);
    info.extend_from_slice(kind.as_bytes());
    info.push(length);
    info
}

/// A CBOR byte string of at most 23 bytes.
fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(0x40 | bytes.len() as u8);
    out.extend_from_slice(bytes);
}

/// AES-CCM-16-64-128 in the COSE registry.
pub(super) const ALG_AEAD: u8 = 10;
