//! IKEv2 handshakes of strongSwan: every logged key, AUTH and NAT detection from g^ir and the capture, and every
//! encrypted message opened with these keys.

use keyferry::crypto::{Prf, Secret};
use keyferry::ike::v2::keymat::{SkKeys, auth_shared_key, child_keymat, nat_detection, signed_octets, skeyseed};
use keyferry::ike::v2::{algorithms, protect::Protection};

use super::capture::{Message, find, messages, payloads};
use super::logged::{Derived, Logged, natd_chunk};

const ID_I: u8 = 35;
const ID_R: u8 = 36;
const AUTH: u8 = 39;
const NONCE: u8 = 40;
const SK: u8 = 46;
const FROM_INITIATOR: u8 = 0x08;
const IKE_AUTH: u8 = 35;

#[test]
fn psk_with_cookie_and_aes_cbc() {
    let handshake = Handshake {
        prf: algorithms::prf(5).unwrap(),
        protection: algorithms::protection(12, Some(128), Some(12)).unwrap(),
        esp: (12, Some(128), Some(12)),
    };
    handshake.check("ikev2-psk-cookie");
}

#[test]
fn ecdsa_with_aes_gcm() {
    let handshake = Handshake {
        prf: algorithms::prf(5).unwrap(),
        protection: algorithms::protection(20, Some(128), None).unwrap(),
        esp: (20, Some(128), None),
    };
    handshake.check("ikev2-ecdsa-aes128gcm16-prfsha256-x25519");
}

/// What was negotiated.
struct Handshake {
    prf: Prf,
    protection: Protection,
    esp: (u16, Option<u16>, Option<u16>),
}

impl Handshake {
    fn check(&self, scenario: &str) {
        let (logged, messages) = (Logged::read(scenario), messages(scenario));
        let mut derived = Derived::default();
        add_nat_detection(&logged, &mut derived);

        let (request, response) = (&messages[0], &messages[1]);
        let nonces = (request.payload(NONCE), response.payload(NONCE));
        let g_ir = logged.all("shared Diffie Hellman secret")[0];
        derived.add("shared Diffie Hellman secret", g_ir);
        let skeyseed = skeyseed(self.prf, nonces.0, nonces.1, g_ir);
        derived.add_secret("SKEYSEED", &skeyseed);
        let spis = (response.spi_i(), response.spi_r());
        let keys = SkKeys::derive(self.prf, self.protection, &skeyseed, nonces, spis).unwrap();
        add_keys(&keys, &mut derived);

        let opened: Vec<Opened> = messages[2..].iter().map(|message| self.open(message, &keys)).collect();
        assert!(opened.len() >= 2);
        for opened in opened.iter().filter(|opened| opened.exchange == IKE_AUTH) {
            let (sk_p, own, nonce, id) = match opened.from_initiator {
                true => (&keys.sk_pi, request, nonces.1, opened.payload(ID_I)),
                false => (&keys.sk_pr, response, nonces.0, opened.payload(ID_R)),
            };
            derived.add("IDx'", id);
            derived.add_secret("SK_p", sk_p);
            let octets = signed_octets(self.prf, &own.0, nonce, sk_p, id, None);
            derived.add("octets = message + nonce + prf(Sk_px, IDx')", &octets);
            if logged.config["auth"].is_null() {
                self.add_psk_auth(&logged.psk, &octets, opened.payload(AUTH), &mut derived);
            }
        }
        self.add_child(&keys.sk_d, nonces, &mut derived);
        derived.assert_is(&logged);
    }

    fn open(&self, message: &Message, keys: &SkKeys) -> Opened {
        let from_initiator = message.flags() & FROM_INITIATOR != 0;
        let (sk_e, sk_a) = if from_initiator { (&keys.sk_ei, &keys.sk_ai) } else { (&keys.sk_er, &keys.sk_ar) };
        let chain = message.payloads();
        let sk = chain.iter().find(|payload| payload.kind == SK).unwrap();
        let (header, body) = (sk.body.start - 4, 28 + sk.body.start);
        let first = message.body()[header];
        let payloads = self.protection.open(sk_e, sk_a, &message.0, body).unwrap();

        // Sealed again it is the same, but for padding that strongSwan chooses itself: so only AEADs, whose padding is
        // no byte at all.
        let iv = &message.0[body..][..self.protection.iv_length()];
        let sealed = self.protection.seal(sk_e, sk_a, &message.0[..body], iv, &payloads).unwrap();
        if matches!(self.protection, Protection::Aead(_)) {
            assert_eq!(sealed, message.0[body..]);
        }
        Opened { exchange: message.exchange(), from_initiator, first, payloads }
    }

    fn add_psk_auth(&self, psk: &[u8], octets: &[u8], received: &[u8], derived: &mut Derived) {
        derived.add("secret", psk);
        derived.add_secret("prf(secret, keypad)", &self.prf.compute(psk, &[b"Key Pad for IKEv2"]));
        let auth = auth_shared_key(self.prf, psk, octets);
        derived.add_secret("AUTH = prf(prf(secret, keypad), octets)", &auth);
        let (method, received) = received.split_at(4);
        assert_eq!(method, [2, 0, 0, 0]);
        assert!(auth == *received);
    }

    fn add_child(&self, sk_d: &Secret, nonces: (&[u8], &[u8]), derived: &mut Derived) {
        derived.add("seed", [nonces.0, nonces.1].concat());
        let lengths = algorithms::esp(self.esp.0, self.esp.1, self.esp.2).unwrap();
        let keymat = child_keymat(self.prf, sk_d, None, nonces, &[], 2 * lengths.total()).unwrap();
        let (initiator, rest) = lengths.split(keymat.as_bytes()).unwrap();
        let (responder, rest) = lengths.split(rest).unwrap();
        assert!(rest.is_empty());
        derived.add_secret("encryption initiator key", &initiator.encryption);
        derived.add_secret("encryption responder key", &responder.encryption);
        if lengths.integrity > 0 {
            derived.add_secret("integrity initiator key", &initiator.integrity);
            derived.add_secret("integrity responder key", &responder.integrity);
        }
    }
}

struct Opened {
    exchange: u8,
    from_initiator: bool,
    first: u8,
    payloads: Vec<u8>,
}

impl Opened {
    fn payload(&self, kind: u8) -> &[u8] {
        find(&payloads(self.first, &self.payloads), kind, &self.payloads)
    }
}

fn add_keys(keys: &SkKeys, derived: &mut Derived) {
    for (label, key) in [
        ("Sk_d secret", &keys.sk_d),
        ("Sk_ai secret", &keys.sk_ai),
        ("Sk_ar secret", &keys.sk_ar),
        ("Sk_ei secret", &keys.sk_ei),
        ("Sk_er secret", &keys.sk_er),
        ("Sk_pi secret", &keys.sk_pi),
        ("Sk_pr secret", &keys.sk_pr),
    ] {
        if !key.as_bytes().is_empty() {
            derived.add_secret(label, key);
        }
    }
}

fn add_nat_detection(logged: &Logged, derived: &mut Derived) {
    for (label, value) in logged.initiator.iter().chain(&logged.responder) {
        if label == "natd_chunk" {
            let (spi_i, spi_r, address, port) = natd_chunk(value);
            derived.add("natd_hash", nat_detection(spi_i, spi_r, address, port));
        }
    }
}
