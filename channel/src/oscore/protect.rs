//! Protecting and unprotecting messages (RFC 8613 sections 5 and 8). A response is bound to its request by the request's
//! `kid` and `partial_iv` in the AAD, and uses its nonce unless it brings a Partial IV of its own.

use alloc::vec::Vec;

use ccm::aead::AeadInOut;
use zeroize::Zeroizing;

use super::context::{ALG_AEAD, AesCcm, Context};
use super::{OscoreOption, PartialIv};
use crate::coap::{Code, Kind, OptionNumber, OptionWriter, Token, emit_header};
use crate::short::Short;

/// The parts of a message that OSCORE leaves readable.
pub(crate) struct Outer<'a> {
    pub kind: Kind,
    pub message_id: u16,
    pub token: &'a Token,
    /// Class U, sent only by test vectors; the channel has no use for it.
    pub uri_host: Option<&'a [u8]>,
}

impl Context {
    /// A datagram that carries `content` (code, options, payload) as a request. `None`: too long for the AEAD, 64 KiB.
    pub fn protect_request(&mut self, outer: &Outer<'_>, partial_iv: PartialIv, content: &[u8]) -> Option<Vec<u8>> {
        let ids = self.ids;
        let option = OscoreOption {
            partial_iv: Some(partial_iv),
            kid_context: ids.id_context.as_ref().map(Short::as_bytes),
            kid: Some(ids.sender.as_bytes()),
        };
        let sealing =
            Sealing { nonce: nonce(&self.common_iv, ids.sender, partial_iv), aad: aad(ids.sender, partial_iv) };
        seal(&self.ciphers().sender, &sealing, outer, Code::from(crate::Method::POST), &option, content)
    }

    /// A datagram that carries `content` as the response to the peer's request `request`.
    pub fn protect_response(
        &mut self,
        outer: &Outer<'_>,
        request: PartialIv,
        own: Option<PartialIv>,
        content: &[u8],
    ) -> Option<Vec<u8>> {
        let ids = self.ids;
        let option = OscoreOption { partial_iv: own, ..OscoreOption::default() };
        let sealing = Sealing {
            nonce: response_nonce(&self.common_iv, (ids.recipient, request), ids.sender, own),
            aad: aad(ids.recipient, request),
        };
        seal(&self.ciphers().sender, &sealing, outer, Code::CHANGED, &option, content)
    }

    /// The content of a request from the peer; `None` if it is not authentic.
    pub fn unprotect_request(&mut self, partial_iv: PartialIv, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let peer = self.ids.recipient;
        let sealing = Sealing { nonce: nonce(&self.common_iv, peer, partial_iv), aad: aad(peer, partial_iv) };
        open(&self.ciphers().recipient, &sealing, ciphertext)
    }

    /// The content of the peer's response to our request `request`; `None` if it is not authentic.
    pub fn unprotect_response(
        &mut self,
        request: PartialIv,
        own: Option<PartialIv>,
        ciphertext: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let ids = self.ids;
        let sealing = Sealing {
            nonce: response_nonce(&self.common_iv, (ids.sender, request), ids.recipient, own),
            aad: aad(ids.sender, request),
        };
        open(&self.ciphers().recipient, &sealing, ciphertext)
    }
}

pub(super) struct Sealing {
    pub nonce: [u8; 13],
    pub aad: Short<64>,
}

fn seal(
    cipher: &AesCcm,
    sealing: &Sealing,
    outer: &Outer<'_>,
    code: Code,
    option: &OscoreOption<'_>,
    content: &[u8],
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(content.len().saturating_add(64));
    emit_header(&mut out, outer.kind, code, outer.message_id, outer.token);
    let mut value = Vec::with_capacity(24);
    option.emit(&mut value);
    let mut options = OptionWriter::new(&mut out);
    if let Some(uri_host) = outer.uri_host {
        options.push(OptionNumber::URI_HOST, uri_host);
    }
    options.push(OptionNumber::OSCORE, &value);
    out.push(0xff);
    let start = out.len();
    out.extend_from_slice(content);
    let plaintext = out.get_mut(start..)?;
    let tag = cipher.encrypt_inout_detached(&sealing.nonce.into(), sealing.aad.as_bytes(), plaintext.into()).ok()?;
    out.extend_from_slice(&tag);
    Some(out)
}

fn open(cipher: &AesCcm, sealing: &Sealing, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (ciphertext, tag) = ciphertext.split_last_chunk::<8>()?;
    let mut content = Zeroizing::new(ciphertext.to_vec());
    cipher
        .decrypt_inout_detached(
            &sealing.nonce.into(),
            sealing.aad.as_bytes(),
            content.as_mut_slice().into(),
            &(*tag).into(),
        )
        .ok()?;
    Some(content)
}

/// A response brings its own Partial IV, or shares the nonce of its request.
fn response_nonce(
    common_iv: &[u8; 13],
    (request_kid, request): (Short<7>, PartialIv),
    responder: Short<7>,
    own: Option<PartialIv>,
) -> [u8; 13] {
    match own {
        Some(partial_iv) => nonce(common_iv, responder, partial_iv),
        None => nonce(common_iv, request_kid, request),
    }
}

/// Section 5.2: length of the id, id padded to 7 bytes, Partial IV padded to 5, all XORed with the common IV.
pub(super) fn nonce(common_iv: &[u8; 13], id: Short<7>, partial_iv: PartialIv) -> [u8; 13] {
    let id = id.as_bytes();
    let padding = 7usize.saturating_sub(id.len());
    let parts = core::iter::once(id.len() as u8)
        .chain(core::iter::repeat_n(0, padding))
        .chain(id.iter().copied())
        .chain(partial_iv.padded());
    let mut nonce = *common_iv;
    nonce.iter_mut().zip(parts).for_each(|(byte, part)| *byte ^= part);
    nonce
}

/// Section 5.4: the Enc_structure around `[1, [alg], request_kid, request_piv, h'']`.
pub(super) fn aad(request_kid: Short<7>, request_piv: PartialIv) -> Short<64> {
    let (kid, partial_iv) = (request_kid.as_bytes(), request_piv.minimal());
    let length = 7 + kid.len() as u8 + partial_iv.as_bytes().len() as u8;
    let mut aad = Short::EMPTY;
    // Array of three, "Encrypt0", empty protected bucket, external_aad as a byte string of fewer than 24 bytes.
    aad.extend(b"\x83\x68Encrypt0\x40");
    aad.extend(&[0x40 | length, 0x85, 0x01, 0x81, ALG_AEAD, 0x40 | kid.len() as u8]);
    aad.extend(kid);
    aad.extend(&[0x40 | partial_iv.as_bytes().len() as u8]);
    aad.extend(partial_iv.as_bytes());
    aad.extend(&[0x40]);
    aad
}
