//! The key schedule of IKEv2 (RFC 7296), with further key exchanges (RFC 9370) and the authentication of
//! IKE_INTERMEDIATE (RFC 9242): from g^ir to every key and AUTH.
//!
//! `ni` and `nr` are nonces without payload headers, `g_ir` is as long as the group's prime.

use std::net::IpAddr;

use super::protect::Protection;
use crate::crypto::{Hash, Prf, Secret};

/// An SPI of an IKE SA.
pub type Spi = [u8; 8];

/// SKEYSEED = prf(Ni | Nr, g^ir) of an initial exchange (section 2.14). Of the AES PRFs, whose keys were once of
/// fixed length, only the first 64 bits of either nonce count.
pub fn skeyseed(prf: Prf, ni: &[u8], nr: &[u8], g_ir: &[u8]) -> Secret {
    let part = |nonce| match prf {
        Prf::Aes128Xcbc | Prf::Aes128Cmac => front(nonce, 8),
        _ => nonce,
    };
    prf.compute(&[part(ni), part(nr)].concat(), &[g_ir])
}

/// SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr) of a rekeyed IKE SA (section 2.18); `prf` is the old SA's.
///
/// So is SKEYSEED(n) after each further key exchange in IKE_INTERMEDIATE, with SK_d(n-1) and the first nonces
/// (RFC 9370 section 2.2.2). `further` are the secrets of those that went with the rekey itself (section 2.2.4).
pub fn skeyseed_rekey(prf: Prf, sk_d: &Secret, g_ir: &[u8], ni: &[u8], nr: &[u8], further: &[&[u8]]) -> Secret {
    prf.compute(sk_d.as_bytes(), &[&[g_ir, ni, nr], further].concat())
}

/// The keys of an IKE SA (section 2.14).
pub struct SkKeys {
    /// Derives the keys of child SAs and of the next IKE SA.
    pub sk_d: Secret,
    /// Integrity from the initiator; empty beside an AEAD.
    pub sk_ai: Secret,
    /// Integrity from the responder; empty beside an AEAD.
    pub sk_ar: Secret,
    /// Encryption from the initiator, with the salt of an AEAD at its end.
    pub sk_ei: Secret,
    /// Encryption from the responder, with the salt of an AEAD at its end.
    pub sk_er: Secret,
    /// Goes into the initiator's AUTH.
    pub sk_pi: Secret,
    /// Goes into the responder's AUTH.
    pub sk_pr: Secret,
}

impl SkKeys {
    /// SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr).
    ///
    /// `None` would be keys longer than prf+ can make them, which no combination of algorithms has.
    pub fn derive(
        prf: Prf,
        protection: Protection,
        skeyseed: &Secret,
        (ni, nr): (&[u8], &[u8]),
        (spi_i, spi_r): (&Spi, &Spi),
    ) -> Option<Self> {
        let (a, e, p) = (protection.integrity_key_length(), protection.encryption_key_length(), prf.output_length());
        let lengths = [p, a, a, e, e, p, p];
        let all = prf.plus(skeyseed, &[ni, nr, spi_i, spi_r], lengths.iter().sum())?;
        let mut rest = all.as_bytes();
        let mut next = |length| {
            let (key, after) = rest.split_at_checked(length)?;
            rest = after;
            Some(Secret::from_slice(key))
        };
        Some(Self {
            sk_d: next(p)?,
            sk_ai: next(a)?,
            sk_ar: next(a)?,
            sk_ei: next(e)?,
            sk_er: next(e)?,
            sk_pi: next(p)?,
            sk_pr: next(p)?,
        })
    }
}

/// What one side signs or MACs for its AUTH (section 2.15): its first message | the other's nonce |
/// prf(SK_p, RestOfIDPayload), and IntAuth where there were IKE_INTERMEDIATE exchanges (RFC 9242 section 3.3.2).
///
/// `message` is its last IKE_SA_INIT, with the cookie if there was one, from the IKE header on as it was sent; `id` the
/// body of its ID payload; `sk_p` its own.
pub fn signed_octets(
    prf: Prf,
    message: &[u8],
    peer_nonce: &[u8],
    sk_p: &Secret,
    id: &[u8],
    int_auth: Option<&IntAuth>,
) -> Vec<u8> {
    let maced_id = prf.compute(sk_p.as_bytes(), &[id]);
    let mut octets = [message, peer_nonce, maced_id.as_bytes()].concat();
    if let Some(IntAuth { i, r, ike_auth_message_id }) = int_auth {
        octets.extend_from_slice(&[i.as_bytes(), r.as_bytes(), &ike_auth_message_id.to_be_bytes()].concat());
    }
    octets
}

/// AUTH of a shared secret (section 2.15): prf(prf(shared secret, "Key Pad for IKEv2"), signed octets).
pub fn auth_shared_key(prf: Prf, shared_secret: &[u8], octets: &[u8]) -> Secret {
    let key = prf.compute(shared_secret, &[b"Key Pad for IKEv2"]);
    prf.compute(key.as_bytes(), &[octets])
}

/// What IKE_INTERMEDIATE exchanges add to the signed octets of both sides (RFC 9242 section 3.3.2).
pub struct IntAuth {
    /// IntAuth_iN, of the initiator's last message; by [`int_auth`].
    pub i: Secret,
    /// IntAuth_rN, of the responder's last message.
    pub r: Secret,
    /// The Message ID of the first IKE_AUTH exchange.
    pub ike_auth_message_id: u32,
}

/// IntAuth_n of one side = prf(SK_p, IntAuth_n-1 | A | P) (RFC 9242 section 3.3.2), with its SK_p of that exchange.
///
/// `previous` is None for its first message, `a` that message from the IKE header to the Encrypted payload's header,
/// both with lengths as if there were no IV, padding and checksum; `p` the payloads inside.
pub fn int_auth(prf: Prf, sk_p: &Secret, previous: Option<&Secret>, a: &[u8], p: &[u8]) -> Secret {
    prf.compute(sk_p.as_bytes(), &[previous.map_or(&[], Secret::as_bytes), a, p])
}

/// KEYMAT = prf+(SK_d, [g^ir (new) |] Ni | Nr) of a child SA (section 2.17), `length` bytes: initiator's keys first
/// ([`EspKeyLengths`](crate::ike::EspKeyLengths)). The nonces are IKE_SA_INIT's for the child of IKE_AUTH.
///
/// `further` are the secrets of further key exchanges (RFC 9370 section 2.2.4). `None` if prf+ cannot make so much.
pub fn child_keymat(
    prf: Prf,
    sk_d: &Secret,
    g_ir: Option<&[u8]>,
    (ni, nr): (&[u8], &[u8]),
    further: &[&[u8]],
    length: usize,
) -> Option<Secret> {
    prf.plus(sk_d, &[&[g_ir.unwrap_or_default(), ni, nr], further].concat(), length)
}

/// The data of NAT_DETECTION_SOURCE_IP and NAT_DETECTION_DESTINATION_IP (section 2.23):
/// SHA-1(SPIi | SPIr | IP | Port), with the SPIs as they stand in the message's header.
pub fn nat_detection(spi_i: &Spi, spi_r: &Spi, address: IpAddr, port: u16) -> Vec<u8> {
    let port = port.to_be_bytes();
    match address {
        IpAddr::V4(address) => Hash::Sha1.digest(&[spi_i, spi_r, &address.octets(), &port]),
        IpAddr::V6(address) => Hash::Sha1.digest(&[spi_i, spi_r, &address.octets(), &port]),
    }
}

fn front(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(..length).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aes_prfs_take_half_their_key_from_each_nonce() {
        let (ni, nr) = ([1; 32], [2; 32]);
        for prf in [Prf::Aes128Xcbc, Prf::Aes128Cmac] {
            let expected = prf.compute(&[[1; 8], [2; 8]].concat(), &[b"g_ir"]);
            assert!(skeyseed(prf, &ni, &nr, b"g_ir") == expected);
        }
    }

    #[test]
    fn further_secrets_follow_the_nonces() {
        let sk_d = Secret::from_slice(&[3; 32]);
        let prf = Prf::HmacSha2_256;
        let seed = skeyseed_rekey(prf, &sk_d, b"g0", b"ni", b"nr", &[b"g1", b"g2"]);
        assert!(seed == prf.compute(&[3; 32], &[b"g0ninrg1g2"]));
        let keymat = child_keymat(prf, &sk_d, Some(b"g0"), (b"ni", b"nr"), &[b"g1"], 64).unwrap();
        assert!(keymat == prf.plus(&sk_d, &[b"g0ninrg1"], 64).unwrap());
    }

    #[test]
    fn intermediate_exchanges_are_authenticated() {
        let (prf, sk_p) = (Prf::HmacSha2_256, Secret::from_slice(&[4; 32]));
        let first = int_auth(prf, &sk_p, None, b"a1", b"p1");
        assert!(first == prf.compute(&[4; 32], &[b"a1p1"]));
        let second = int_auth(prf, &sk_p, Some(&first), b"a2", b"p2");
        assert!(second == prf.compute(&[4; 32], &[first.as_bytes(), b"a2p2"]));
        let int_auth = IntAuth { i: second.duplicate(), r: first.duplicate(), ike_auth_message_id: 2 };
        let plain = signed_octets(prf, b"message", b"nonce", &sk_p, b"id", None);
        let octets = signed_octets(prf, b"message", b"nonce", &sk_p, b"id", Some(&int_auth));
        assert_eq!(octets, [plain.as_slice(), second.as_bytes(), first.as_bytes(), &[0, 0, 0, 2]].concat());
    }
}
