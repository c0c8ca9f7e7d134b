//! IKEv1 handshakes of strongSwan: every logged key, IV and HASH from g^xy and the capture, every encrypted message
//! decrypted on the way with these keys and IVs.

use std::collections::BTreeMap;

use keyferry::crypto::{Cipher, Hash, Prf, Secret};
use keyferry::ike::v1::algorithms;
use keyferry::ike::v1::keymat::{
    Phase1, QuickMode, Skeyids, encryption_key, hash_1, hash_2, hash_3, nat_d, phase_1_iv, phase_2_iv, skeyid_psk,
    skeyid_signatures,
};
use keyferry::ike::v1::protect::open;

use super::capture::{Message, Payload, find, messages, payloads};
use super::logged::{Derived, Logged, natd_chunk};

const SA: u8 = 1;
const KE: u8 = 4;
const ID: u8 = 5;
const HASH: u8 = 8;
const NONCE: u8 = 10;
const MAIN_MODE: u8 = 2;
const AGGRESSIVE: u8 = 4;
const QUICK_MODE: u8 = 32;
const ENCRYPTED: u8 = 1;

#[test]
fn main_mode_with_psk_and_quick_mode_with_forward_secrecy() {
    let derived = check("ikev1-main-psk-aes128-sha1-modp2048");
    assert_eq!(derived.decrypted, 2 + 3 + 2);
}

#[test]
fn two_isakmp_sas_and_a_rekeyed_child() {
    let derived = check("ikev1-main-psk-rekey-dpd-delete");
    assert_eq!(derived.decrypted, 2 + 6 + 2 + 10);
}

#[test]
fn main_mode_with_signatures_and_ip_fragments() {
    let derived = check("ikev1-main-rsasig-aes256-sha384-modp3072-p500");
    assert_eq!(derived.decrypted, 2 + 2 + 2);
}

#[test]
fn aggressive_mode_with_signatures_and_ike_fragments() {
    let derived = check("ikev1-aggr-rsasig-aes128-sha256-modp2048");
    assert_eq!(derived.decrypted, 1 + 3 + 2);
}

fn check(scenario: &str) -> Handshakes {
    let logged = Logged::read(scenario);
    let mut g_xy = logged.all("shared Diffie Hellman secret").into_iter();
    let mut handshakes = Handshakes {
        g_qm_xy: logged.all("DH secret").into_iter().map(Secret::from_slice).collect(),
        derived: Derived::default(),
        decrypted: 0,
    };
    for messages in by_sa(messages(scenario)).values() {
        handshakes.follow(messages, g_xy.next().expect("one g^xy for each SA"), &logged);
    }
    handshakes.add_nat_d(&logged);
    handshakes.derived.assert_is(&logged);
    handshakes
}

/// The messages of each ISAKMP SA, in the order of the SAs' first messages.
fn by_sa(messages: Vec<Message>) -> BTreeMap<usize, Vec<Message>> {
    let mut order = Vec::new();
    let mut sas = BTreeMap::<usize, Vec<Message>>::new();
    for message in messages {
        let cookie = *message.spi_i();
        let at = order.iter().position(|known| *known == cookie).unwrap_or_else(|| {
            order.push(cookie);
            order.len() - 1
        });
        sas.entry(at).or_default().push(message);
    }
    sas
}

struct Handshakes {
    /// Of the Quick Modes that are still to come, in order.
    g_qm_xy: std::collections::VecDeque<Secret>,
    derived: Derived,
    decrypted: usize,
}

/// An ISAKMP SA.
struct Sa {
    hash: Hash,
    prf: Prf,
    cipher: Cipher,
    keys: Skeyids,
    key: Secret,
    last_phase_1_block: Vec<u8>,
}

/// What a Quick Mode exchange said so far.
#[derive(Default)]
struct Quick {
    iv: Vec<u8>,
    nonces: Vec<Vec<u8>>,
    spis: Vec<Vec<u8>>,
    transform: (u8, Option<u16>, Option<u16>),
}

impl Handshakes {
    fn follow(&mut self, messages: &[Message], g_xy: &[u8], logged: &Logged) {
        let sa = self.phase_1(messages, g_xy, logged);
        let mut quick = BTreeMap::<u32, Quick>::new();
        for message in messages.iter().filter(|message| message.message_id() != 0) {
            let id = message.message_id();
            let exchange = quick.entry(id).or_insert_with(|| {
                let iv = phase_2_iv(sa.hash, &sa.last_phase_1_block, id, sa.cipher.iv_length());
                self.derived.add(&format!("next IV for MID {id}"), &iv);
                Quick { iv, ..Quick::default() }
            });
            let opened = open(sa.cipher, &sa.key, &exchange.iv, message.body()).unwrap();
            self.decrypted += 1;
            exchange.iv = opened.next_iv;
            let chain = payloads(message.0[16], &opened.payloads);
            if message.exchange() == QUICK_MODE {
                self.derived.add(&format!("next IV for MID {id}"), &exchange.iv);
                self.quick_mode(&sa, id, exchange, &chain, &opened.payloads);
            } else {
                let hash = hash_1(sa.prf, &sa.keys.skeyid_a, id, rest(&chain, &opened.payloads));
                self.received("Hash", &hash, &chain, &opened.payloads);
            }
        }
    }

    fn phase_1(&mut self, messages: &[Message], g_xy: &[u8], logged: &Logged) -> Sa {
        let clear: Vec<&Message> = messages.iter().filter(|message| message.flags() & ENCRYPTED == 0).collect();
        let values = |kind: u8| -> Vec<&[u8]> {
            let has = |message: &&&Message| message.payloads().iter().any(|payload| payload.kind == kind);
            clear.iter().filter(has).map(|message| message.payload(kind)).collect()
        };
        let (sas, publics, nonces, ids) = (values(SA), values(KE), values(NONCE), values(ID));
        let (hash, cipher) = chosen(sas[1]);
        let prf = Prf::hmac(hash);
        let answer = clear[1];
        let skeyid = match logged.config["auth"].is_null() {
            true => skeyid_psk(prf, &logged.psk, nonces[0], nonces[1]),
            false => skeyid_signatures(prf, nonces[0], nonces[1], g_xy),
        };
        let keys = Skeyids::derive(prf, &skeyid, g_xy, answer.spi_i(), answer.spi_r());
        let key = encryption_key(prf, &keys.skeyid_e, cipher.key_length());
        let mut iv = phase_1_iv(hash, publics[0], publics[1], cipher.iv_length());
        self.derived.add("shared Diffie Hellman secret", g_xy);
        for (label, key) in [
            ("SKEYID", &skeyid),
            ("SKEYID_d", &keys.skeyid_d),
            ("SKEYID_a", &keys.skeyid_a),
            ("SKEYID_e", &keys.skeyid_e),
            ("encryption key Ka", &key),
        ] {
            self.derived.add_secret(label, key);
        }
        self.derived.add("initial IV", &iv);

        let mut ids: Vec<Vec<u8>> = ids.into_iter().map(<[u8]>::to_vec).collect();
        let mut received = Vec::new();
        let encrypted = |message: &&Message| message.message_id() == 0 && message.flags() & ENCRYPTED != 0;
        for message in messages.iter().filter(encrypted) {
            assert!([MAIN_MODE, AGGRESSIVE].contains(&message.exchange()));
            let opened = open(cipher, &key, &iv, message.body()).unwrap();
            self.decrypted += 1;
            iv = opened.next_iv;
            self.derived.add("next IV for MID 0", &iv);
            let chain = payloads(message.0[16], &opened.payloads);
            if message.exchange() == MAIN_MODE {
                ids.push(find(&chain, ID, &opened.payloads).to_vec());
            }
            received.extend(chain.iter().filter(|p| p.kind == HASH).map(|p| opened.payloads[p.body.clone()].to_vec()));
        }

        let phase_1 =
            Phase1 { g_xi: publics[0], g_xr: publics[1], cky_i: answer.spi_i(), cky_r: answer.spi_r(), sai_b: sas[0] };
        let (hash_i, hash_r) = (phase_1.hash_i(prf, &skeyid, &ids[0]), phase_1.hash_r(prf, &skeyid, &ids[1]));
        let data = |parts: [&[u8]; 6]| parts.concat();
        let Phase1 { g_xi, g_xr, cky_i, cky_r, sai_b } = phase_1;
        self.derived.add("HASH_I data", data([g_xi, g_xr, cky_i, cky_r, sai_b, &ids[0]]));
        self.derived.add("HASH_R data", data([g_xr, g_xi, cky_r, cky_i, sai_b, &ids[1]]));
        self.derived.add_secret("HASH_I", &hash_i);
        self.derived.add_secret("HASH_R", &hash_r);
        if logged.config["auth"].is_null() {
            assert!(hash_i == *received[0] && hash_r == *received[1]);
        }
        Sa { hash, prf, cipher, keys, key, last_phase_1_block: iv }
    }

    fn quick_mode(&mut self, sa: &Sa, id: u32, exchange: &mut Quick, chain: &[Payload], data: &[u8]) {
        let (prf, skeyid_a) = (sa.prf, &sa.keys.skeyid_a);
        match exchange.nonces.len() {
            0 => self.received("Hash(1)", &hash_1(prf, skeyid_a, id, rest(chain, data)), chain, data),
            1 => {
                let hash = hash_2(prf, skeyid_a, id, &exchange.nonces[0], rest(chain, data));
                self.received("Hash(2)", &hash, chain, data);
            }
            _ => {
                let hash = hash_3(prf, skeyid_a, id, &exchange.nonces[0], &exchange.nonces[1]);
                self.received("Hash(3)", &hash, chain, data);
                return;
            }
        }
        exchange.nonces.push(find(chain, NONCE, data).to_vec());
        let (spi, transform) = proposal(find(chain, SA, data));
        exchange.spis.push(spi);
        exchange.transform = transform;
        if exchange.nonces.len() == 2 {
            let g_qm_xy = self.g_qm_xy.pop_front().expect("one g(qm)^xy for each Quick Mode");
            self.add_child(sa, exchange, &g_qm_xy);
        }
    }

    fn add_child(&mut self, sa: &Sa, exchange: &Quick, g_qm_xy: &Secret) {
        self.derived.add_secret("DH secret", g_qm_xy);
        let (transform, key_bits, authentication) = exchange.transform;
        let lengths = algorithms::esp(transform, key_bits, authentication).unwrap();
        // The keys of what the initiator sends are made with the SPI that the responder chose.
        for (side, spi) in [("initiator", &exchange.spis[1]), ("responder", &exchange.spis[0])] {
            let (ni_b, nr_b) = (&exchange.nonces[0], &exchange.nonces[1]);
            self.derived.add(&format!("{side} SA seed"), [g_qm_xy.as_bytes(), &[3], spi, ni_b, nr_b].concat());
            let quick = QuickMode { g_qm_xy: Some(g_qm_xy.as_bytes()), protocol: 3, spi, ni_b, nr_b };
            let keymat = quick.keymat(sa.prf, &sa.keys.skeyid_d, lengths.total());
            let (keys, _) = lengths.split(keymat.as_bytes()).unwrap();
            self.derived.add_secret(&format!("encryption {side} key"), &keys.encryption);
            self.derived.add_secret(&format!("integrity {side} key"), &keys.integrity);
        }
    }

    /// Notes a HASH; it must be the one in the message.
    fn received(&mut self, label: &str, hash: &Secret, chain: &[Payload], data: &[u8]) {
        assert!(*hash == *find(chain, HASH, data), "{label}");
        self.derived.add_secret(label, hash);
    }

    fn add_nat_d(&mut self, logged: &Logged) {
        for end in [&logged.initiator, &logged.responder] {
            for pair in end.windows(2).filter(|pair| pair[0].0 == "natd_chunk") {
                let (cky_i, cky_r, address, port) = natd_chunk(&pair[0].1);
                let hash = [Hash::Sha1, Hash::Sha256, Hash::Sha384]
                    .into_iter()
                    .find(|hash| hash.output_length() == pair[1].1.len())
                    .unwrap();
                self.derived.add("natd_hash", nat_d(hash, cky_i, cky_r, address, port));
            }
        }
    }
}

/// Everything from the end of the HASH payload to the end of the last payload.
fn rest<'d>(chain: &[Payload], data: &'d [u8]) -> &'d [u8] {
    assert_eq!(chain[0].kind, HASH);
    &data[chain[0].body.end..chain.last().unwrap().body.end]
}

/// The hash and cipher of the one transform in the responder's SA payload.
fn chosen(sa: &[u8]) -> (Hash, Cipher) {
    // DOI and situation; proposal header; transform header.
    let attributes = attributes(&sa[8 + 8 + 8..]);
    let hash = algorithms::hash(attributes[&2]).unwrap();
    (hash, algorithms::cipher(attributes[&1], attributes.get(&14).copied()).unwrap())
}

/// The SPI, and transform, key length and authentication algorithm, of the first proposal of an IPsec SA payload.
fn proposal(sa: &[u8]) -> (Vec<u8>, (u8, Option<u16>, Option<u16>)) {
    let proposal = &sa[8..];
    let spi_size = usize::from(proposal[6]);
    let transform = &proposal[8 + spi_size..];
    let length = usize::from(u16::from_be_bytes([transform[2], transform[3]]));
    let attributes = attributes(&transform[8..length]);
    let attribute = |number| attributes.get(&number).copied();
    (proposal[8..8 + spi_size].to_vec(), (transform[5], attribute(6), attribute(5)))
}

/// The attributes whose value fits their header.
fn attributes(mut data: &[u8]) -> BTreeMap<u16, u16> {
    let mut attributes = BTreeMap::new();
    while let [a, b, c, d, rest @ ..] = data {
        let (kind, value) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
        if kind & 0x8000 != 0 {
            attributes.insert(kind & 0x7fff, value);
            data = rest;
        } else {
            data = &rest[usize::from(value)..];
        }
    }
    attributes
}
