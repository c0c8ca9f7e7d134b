//! The key schedule of IKEv1 (RFC 2409), of shared-key and signature authentication: from g^xy to every key, IV
//! and HASH.
//!
//! A name ending in `_b` is the body of a payload, without its generic header.

use std::net::IpAddr;

use crate::crypto::{Hash, Prf, Secret};

/// A cookie: half of the name of an ISAKMP SA.
pub type Cookie = [u8; 8];

/// SKEYID of shared-key authentication: prf(pre-shared-key, Ni_b | Nr_b) (section 5).
pub fn skeyid_psk(prf: Prf, psk: &[u8], ni_b: &[u8], nr_b: &[u8]) -> Secret {
    prf.compute(psk, &[ni_b, nr_b])
}

/// SKEYID of signature authentication: prf(Ni_b | Nr_b, g^xy) (section 5).
pub fn skeyid_signatures(prf: Prf, ni_b: &[u8], nr_b: &[u8], g_xy: &[u8]) -> Secret {
    prf.compute(&[ni_b, nr_b].concat(), &[g_xy])
}

/// The three keys of an ISAKMP SA (section 5), each as long as the PRF's output.
pub struct Skeyids {
    /// Derives the keys of other SAs.
    pub skeyid_d: Secret,
    /// Authenticates the messages of phase 2.
    pub skeyid_a: Secret,
    /// Encrypts messages, by way of [`encryption_key`].
    pub skeyid_e: Secret,
}

impl Skeyids {
    /// From SKEYID, g^xy and the cookies.
    pub fn derive(prf: Prf, skeyid: &Secret, g_xy: &[u8], cky_i: &Cookie, cky_r: &Cookie) -> Self {
        let next =
            |previous: &[u8], count: u8| prf.compute(skeyid.as_bytes(), &[previous, g_xy, cky_i, cky_r, &[count]]);
        let skeyid_d = next(&[], 0);
        let skeyid_a = next(skeyid_d.as_bytes(), 1);
        let skeyid_e = next(skeyid_a.as_bytes(), 2);
        Self { skeyid_d, skeyid_a, skeyid_e }
    }
}

/// The key of a cipher that takes `length` bytes (appendix B): the front of SKEYID_e or, where that is too short, of
/// K1 | K2 | ... with K1 = prf(SKEYID_e, 0) and Kn = prf(SKEYID_e, Kn-1).
pub fn encryption_key(prf: Prf, skeyid_e: &Secret, length: usize) -> Secret {
    match skeyid_e.as_bytes().get(..length) {
        Some(key) => Secret::from_slice(key),
        None => expand(length, &[0], |previous| prf.compute(skeyid_e.as_bytes(), &[previous])),
    }
}

/// The IV of the first encrypted message of phase 1 (appendix B): the front of hash(g^xi | g^xr), `length` bytes, a
/// block of the cipher. Later messages take the last block of the message before.
pub fn phase_1_iv(hash: Hash, g_xi: &[u8], g_xr: &[u8], length: usize) -> Vec<u8> {
    truncated(hash.digest(&[g_xi, g_xr]), length)
}

/// The IV of the first message of a phase 2 exchange (appendix B): the front of hash(last block of phase 1 | M-ID).
pub fn phase_2_iv(hash: Hash, last_phase_1_block: &[u8], message_id: u32, length: usize) -> Vec<u8> {
    truncated(hash.digest(&[last_phase_1_block, &message_id.to_be_bytes()]), length)
}

/// What both sides sent in the open and HASH_I and HASH_R, in phase 1, are about.
#[derive(Clone, Copy)]
pub struct Phase1<'a> {
    /// The initiator's public value.
    pub g_xi: &'a [u8],
    /// The responder's public value.
    pub g_xr: &'a [u8],
    /// The initiator's cookie.
    pub cky_i: &'a Cookie,
    /// The responder's cookie.
    pub cky_r: &'a Cookie,
    /// The body of the initiator's SA payload.
    pub sai_b: &'a [u8],
}

impl Phase1<'_> {
    /// HASH_I = prf(SKEYID, g^xi | g^xr | CKY-I | CKY-R | SAi_b | IDii_b) (section 5).
    pub fn hash_i(&self, prf: Prf, skeyid: &Secret, idii_b: &[u8]) -> Secret {
        let Self { g_xi, g_xr, cky_i, cky_r, sai_b } = *self;
        prf.compute(skeyid.as_bytes(), &[g_xi, g_xr, cky_i, cky_r, sai_b, idii_b])
    }

    /// HASH_R = prf(SKEYID, g^xr | g^xi | CKY-R | CKY-I | SAi_b | IDir_b) (section 5).
    pub fn hash_r(&self, prf: Prf, skeyid: &Secret, idir_b: &[u8]) -> Secret {
        let Self { g_xi, g_xr, cky_i, cky_r, sai_b } = *self;
        prf.compute(skeyid.as_bytes(), &[g_xr, g_xi, cky_r, cky_i, sai_b, idir_b])
    }
}

/// HASH(1) = prf(SKEYID_a, M-ID | everything that follows the HASH payload, payload headers included but no padding):
/// of Quick Mode's first message (section 5.5), and of Informational and Transaction exchanges (section 5.7).
pub fn hash_1(prf: Prf, skeyid_a: &Secret, message_id: u32, rest: &[u8]) -> Secret {
    prf.compute(skeyid_a.as_bytes(), &[&message_id.to_be_bytes(), rest])
}

/// HASH(2) = prf(SKEYID_a, M-ID | Ni_b | what follows the HASH payload): Quick Mode's second message (section 5.5).
pub fn hash_2(prf: Prf, skeyid_a: &Secret, message_id: u32, ni_b: &[u8], rest: &[u8]) -> Secret {
    prf.compute(skeyid_a.as_bytes(), &[&message_id.to_be_bytes(), ni_b, rest])
}

/// HASH(3) = prf(SKEYID_a, 0 | M-ID | Ni_b | Nr_b): Quick Mode's third message (section 5.5).
pub fn hash_3(prf: Prf, skeyid_a: &Secret, message_id: u32, ni_b: &[u8], nr_b: &[u8]) -> Secret {
    prf.compute(skeyid_a.as_bytes(), &[&[0], &message_id.to_be_bytes(), ni_b, nr_b])
}

/// What KEYMAT of one SA of Quick Mode is made of, besides SKEYID_d.
#[derive(Clone, Copy)]
pub struct QuickMode<'a> {
    /// g(qm)^xy, where there is perfect forward secrecy.
    pub g_qm_xy: Option<&'a [u8]>,
    /// The protocol of the SA: 2 is AH, 3 is ESP.
    pub protocol: u8,
    /// The SPI of the SA, which its receiver chose.
    pub spi: &'a [u8],
    /// The initiator's nonce of this Quick Mode.
    pub ni_b: &'a [u8],
    /// The responder's nonce of this Quick Mode.
    pub nr_b: &'a [u8],
}

impl QuickMode<'_> {
    /// KEYMAT (section 5.5), `length` bytes: K1 | K2 | ... with
    /// K1 = prf(SKEYID_d, [g(qm)^xy |] protocol | SPI | Ni_b | Nr_b), and the one before in front for all others.
    pub fn keymat(&self, prf: Prf, skeyid_d: &Secret, length: usize) -> Secret {
        let Self { g_qm_xy, protocol, spi, ni_b, nr_b } = *self;
        let g_qm_xy = g_qm_xy.unwrap_or_default();
        expand(length, &[], |previous| {
            prf.compute(skeyid_d.as_bytes(), &[previous, g_qm_xy, &[protocol], spi, ni_b, nr_b])
        })
    }
}

/// The body of a NAT-D payload (RFC 3947 section 3.2): hash(CKY-I | CKY-R | IP | Port).
pub fn nat_d(hash: Hash, cky_i: &Cookie, cky_r: &Cookie, address: IpAddr, port: u16) -> Vec<u8> {
    let port = port.to_be_bytes();
    match address {
        IpAddr::V4(address) => hash.digest(&[cky_i, cky_r, &address.octets(), &port]),
        IpAddr::V6(address) => hash.digest(&[cky_i, cky_r, &address.octets(), &port]),
    }
}

/// `length` bytes of K1 | K2 | ..., where each is `next` of the one before, and the first `next(start)`.
fn expand(length: usize, start: &[u8], next: impl Fn(&[u8]) -> Secret) -> Secret {
    let mut output = Secret::zeroed(length);
    let mut previous = Secret::from_slice(start);
    let mut rest = output.as_mut_bytes();
    while !rest.is_empty() {
        previous = next(previous.as_bytes());
        let (block, after) = rest.split_at_mut(previous.as_bytes().len().min(rest.len()));
        block.iter_mut().zip(previous.as_bytes()).for_each(|(to, from)| *to = *from);
        rest = after;
    }
    output
}

fn truncated(mut digest: Vec<u8>, length: usize) -> Vec<u8> {
    digest.truncate(length);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_keys_are_expanded_and_short_ones_cut() {
        let skeyid_e = Secret::from_slice(&[9; 20]);
        assert_eq!(encryption_key(Prf::HmacSha1, &skeyid_e, 16).as_bytes(), [9; 16]);
        assert_eq!(encryption_key(Prf::HmacSha1, &skeyid_e, 20).as_bytes(), [9; 20]);
        let k1 = Prf::HmacSha1.compute(&[9; 20], &[&[0]]);
        let k2 = Prf::HmacSha1.compute(&[9; 20], &[k1.as_bytes()]);
        let expected = [k1.as_bytes(), &k2.as_bytes()[..4]].concat();
        assert_eq!(encryption_key(Prf::HmacSha1, &skeyid_e, 24).as_bytes(), expected);
    }

    #[test]
    fn keymat_without_forward_secrecy_differs_by_protocol_and_spi() {
        let skeyid_d = Secret::from_slice(&[1; 32]);
        let esp = QuickMode { g_qm_xy: None, protocol: 3, spi: &[1, 2, 3, 4], ni_b: b"ni", nr_b: b"nr" };
        let keymat = esp.keymat(Prf::HmacSha2_256, &skeyid_d, 40);
        let k1 = Prf::HmacSha2_256.compute(&[1; 32], &[b"\x03\x01\x02\x03\x04ninr"]);
        let k2 = Prf::HmacSha2_256.compute(&[1; 32], &[k1.as_bytes(), b"\x03\x01\x02\x03\x04ninr"]);
        assert_eq!(keymat.as_bytes(), [k1.as_bytes(), &k2.as_bytes()[..8]].concat());
        let ah = QuickMode { protocol: 2, ..esp }.keymat(Prf::HmacSha2_256, &skeyid_d, 40);
        let other = QuickMode { spi: &[4, 3, 2, 1], ..esp }.keymat(Prf::HmacSha2_256, &skeyid_d, 40);
        assert!(keymat != ah && keymat != other);
    }
}
