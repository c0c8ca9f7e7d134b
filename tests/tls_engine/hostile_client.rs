//! What a hostile client can do to a service behind its hello, record by record and message by message: the right alert,
//! and never a session or a panic.

use std::cell::Cell;
use std::sync::Arc;

use keyferry::error::Reason;
use keyferry::tls::{Handshake, ServiceProfile};
use keyferry_parsers::tls::{CipherSuite, NamedGroup};
use rcgen::PKCS_ED25519;
use ring::hmac;
use rustls::{AlertDescription as Alert, ClientConfig};

use crate::hostile_hello::hello;
use crate::peer::*;
use crate::pki::*;
use crate::terminal::*;

pub const TLS13_SUITE: CipherSuite = CipherSuite::TLS_AES_128_GCM_SHA256;
pub const TLS12_SUITE: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;

pub struct Scene {
    pki: Pki,
    client: Identity,
    server: keyferry::tls::Identity,
    profile: ServiceProfile,
}

impl Scene {
    /// Small messages, so that every byte of them has its turn. The client has to prove itself.
    pub fn new() -> Self {
        let pki = Pki::new();
        let mut client = pki.server_with(key(&PKCS_ED25519), |_| ());
        client.chain.truncate(1);
        let server = terminal(&[&pki.server_with(key(&PKCS_ED25519), |_| ())]);
        let profile = ServiceProfile { clients: Some(client.pinned()), ..ServiceProfile::new() };
        Self { pki, client, server, profile }
    }

    pub fn engine(&self) -> Box<dyn Handshake> {
        serving(&self.profile, &serve(self.server.clone()))
    }

    pub fn config(&self, suite: CipherSuite) -> ClientConfig {
        client_config_of(&self.pki, &[NamedGroup::X25519], &[suite], Some(self.client.certified_key()))
    }

    fn play(&self, suite: CipherSuite, path: impl FnMut(usize, Vec<u8>) -> Vec<u8>) -> Served {
        play_client_through(self.engine(), self.config(suite), NAME, path)
    }

    /// With one flight of the client altered.
    fn altered(&self, suite: CipherSuite, flight: usize, change: impl Fn(&mut Vec<u8>)) -> Served {
        self.play(suite, |number, mut bytes| {
            if number == flight {
                change(&mut bytes);
            }
            bytes
        })
    }

    fn flight(&self, suite: CipherSuite, flight: usize) -> Vec<u8> {
        let kept = Cell::default();
        self.altered(suite, flight, |bytes| kept.set(bytes.clone())).established();
        kept.take()
    }

    /// With the messages of the client's second flight changed and sealed with the right keys, as only the client
    /// itself can.
    fn resealed(&self, suite: CipherSuite, change: impl Fn(&mut Vec<Vec<u8>>)) -> Served {
        let logged = Arc::new(Logged::default());
        let mut config = self.config(suite);
        config.key_log = logged.clone();
        play_client_through(self.engine(), config, NAME, |number, bytes| match number {
            1 if suite == TLS13_SUITE => resealed_tls13(&logged, &bytes, &change),
            1 => resealed_tls12(&bytes, &change),
            _ => bytes,
        })
    }
}

fn resealed_tls13(logged: &Logged, bytes: &[u8], change: impl Fn(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let secret = logged.secret("CLIENT_HANDSHAKE_TRAFFIC_SECRET").unwrap();
    let (mut open, mut seal) = (Protection::new(TLS13_SUITE, &secret), Protection::new(TLS13_SUITE, &secret));
    let (mut rest, mut delivered, mut content) = (bytes, Vec::new(), Vec::new());
    while let Some(record) = next_record(&mut rest) {
        match record[0] {
            23 => content.extend(open.open(record).unwrap().1),
            _ => delivered.extend(record),
        }
    }
    let mut messages = split(&content);
    change(&mut messages);
    for message in messages {
        for fragment in message.chunks(16384) {
            delivered.extend(seal.seal(22, fragment));
        }
    }
    delivered
}

/// Up to ChangeCipherSpec everything is in the clear; what follows stays as it is.
fn resealed_tls12(bytes: &[u8], change: impl Fn(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let (mut rest, mut content) = (bytes, Vec::new());
    let mut after = bytes;
    while let Some(record) = next_record(&mut rest) {
        if record[0] != 22 {
            break;
        }
        content.extend(&record[5..]);
        after = rest;
    }
    let mut messages = split(&content);
    change(&mut messages);
    let mut delivered = Vec::new();
    for message in messages {
        for fragment in message.chunks(16384) {
            let length = u16::try_from(fragment.len()).unwrap().to_be_bytes();
            delivered.extend([&[22, 3, 3, length[0], length[1]], fragment].concat());
        }
    }
    [&delivered, after].concat()
}

/// Handshake messages, each with its header.
fn split(mut content: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let [_, a, b, c, ..] = *content {
        let length = 4 + u32::from_be_bytes([0, a, b, c]) as usize;
        let (message, rest) = content.split_at(length);
        messages.push(message.to_vec());
        content = rest;
    }
    messages
}

#[test]
fn every_byte_on_the_path_altered() {
    let scene = Scene::new();
    for suite in [TLS13_SUITE, TLS12_SUITE] {
        for flight in [0, 1] {
            let bytes = scene.flight(suite, flight);
            let ignored = ignored(&bytes);
            for position in 0..bytes.len() {
                for bits in [0x01, 0xff] {
                    let served = scene.altered(suite, flight, |bytes| bytes[position] ^= bits);
                    if served.result.is_ok() {
                        assert!(
                            ignored.contains(&position),
                            "established with byte {position} of flight {flight} altered"
                        );
                    }
                }
            }
        }
    }
}

/// `legacy_record_version` of plain records says nothing, nor does that of protected ones of TLS 1.3, where the
/// type is authenticated inside.
fn ignored(flight: &[u8]) -> Vec<usize> {
    let (mut rest, mut ignored) = (flight, Vec::new());
    loop {
        let at = flight.len() - rest.len();
        match next_record(&mut rest) {
            Some([23, ..]) => ignored.extend([at, at + 1, at + 2]),
            Some(_) => ignored.extend([at + 1, at + 2]),
            None => return ignored,
        }
    }
}

#[test]
fn the_second_flight_cut_at_every_byte() {
    let scene = Scene::new();
    for suite in [TLS13_SUITE, TLS12_SUITE] {
        for kept in 0..scene.flight(suite, 1).len() {
            let served = scene.altered(suite, 1, |bytes| bytes.truncate(kept));
            assert_eq!(served.error().reason, Reason::PEER_CLOSED, "cut after {kept} bytes");
        }
    }
}

/// In the clear in TLS 1.2, sealed with the right keys in TLS 1.3.
#[test]
fn every_byte_of_a_malicious_clients_messages() {
    let scene = Scene::new();
    for suite in [TLS13_SUITE, TLS12_SUITE] {
        for position in 0..length_of(&scene, suite) {
            for bits in [0x01, 0x80, 0xff] {
                let served = scene.resealed(suite, |messages| *nth(messages, position) ^= bits);
                assert!(served.result.is_err(), "{suite}: established with byte {position} altered");
            }
        }
    }
}

fn length_of(scene: &Scene, suite: CipherSuite) -> usize {
    let length = Cell::new(0);
    scene.resealed(suite, |messages| length.set(messages.concat().len())).established();
    length.get()
}

fn nth(messages: &mut [Vec<u8>], position: usize) -> &mut u8 {
    messages.iter_mut().flatten().nth(position).unwrap()
}

/// Each message in turn left out, sent twice, sent a place too early, shortened and lengthened with a length that
/// agrees.
#[test]
fn messages_skipped_repeated_swapped_and_resized() {
    let scene = Scene::new();
    for (suite, names) in [
        (TLS13_SUITE, &["Certificate", "CertificateVerify", "Finished"]),
        (TLS12_SUITE, &["Certificate", "ClientKeyExchange", "CertificateVerify"]),
    ] {
        for (place, name) in names.iter().enumerate() {
            let tls12 = suite == TLS12_SUITE;
            let skipped = scene.resealed(suite, |messages| drop(messages.remove(place)));
            // Without Finished nothing wrong was said yet; of TLS 1.2 it stands behind these.
            if !tls12 && place == 2 {
                assert_eq!(skipped.error().reason, Reason::PEER_CLOSED);
            } else {
                refused(skipped, Alert::UnexpectedMessage, Reason::PEER_PROTOCOL, &format!("{suite}: without {name}"));
            }

            let repeated = scene.resealed(suite, |messages| messages.insert(place, messages[place].clone()));
            // Behind TLS 1.3's Finished the keys are others: a second one is none of the handshake's business.
            if tls12 || place < 2 {
                refused(repeated, Alert::UnexpectedMessage, Reason::PEER_PROTOCOL, &format!("{suite}: {name} twice"));
            }
            if place > 0 {
                let swapped = scene.resealed(suite, |messages| messages.swap(place - 1, place));
                refused(swapped, Alert::UnexpectedMessage, Reason::PEER_PROTOCOL, &format!("{suite}: {name} early"));
            }
            let shorter = scene.resealed(suite, |messages| {
                messages[place].pop();
                set_length(&mut messages[place]);
            });
            assert!(shorter.result.is_err(), "{suite}: {name} shorter");
            let shortened = shorter
                .alert
                .unwrap_or_else(|| panic!("{suite} {name}: {:?} {:?}", shorter.client_error, shorter.result.err()));
            let longer = scene.resealed(suite, |messages| {
                messages[place].push(0);
                set_length(&mut messages[place]);
            });
            assert!(longer.result.is_err(), "{suite}: {name} longer");
            let lengthened = longer
                .alert
                .unwrap_or_else(|| panic!("{suite} {name}: {:?} {:?}", longer.client_error, longer.result.err()));
            // What has no inner length is of the wrong one for what it proves.
            for alert in [shortened, lengthened] {
                let fits = if *name == "Finished" { alert == Alert::DecryptError } else { alert == Alert::DecodeError };
                assert!(fits, "{suite}: {name}: {alert:?}");
            }
        }
    }
}

fn set_length(message: &mut [u8]) {
    let length = u32::try_from(message.len() - 4).unwrap().to_be_bytes();
    message[1..4].copy_from_slice(&length[1..]);
}

#[track_caller]
fn refused(served: Served, alert: Alert, reason: Reason, what: &str) {
    assert_eq!(served.alert, Some(alert), "{what}: {:?}", served.client_error);
    let error = served.error();
    assert_eq!(error.reason, reason, "{what}: {error}");
}

#[test]
fn a_wrong_finished_and_a_wrong_signature_in_tls_1_3() {
    let scene = Scene::new();
    for byte in [4, 35] {
        let served = scene.resealed(TLS13_SUITE, |messages| messages[2][byte] ^= 1);
        refused(served, Alert::DecryptError, Reason::PEER_PROTOCOL, "Finished");
    }
    let served = scene.resealed(TLS13_SUITE, |messages| *messages[1].last_mut().unwrap() ^= 1);
    refused(served, Alert::DecryptError, Reason::CERTIFICATE_INVALID, "CertificateVerify");
}

/// Under the right keys, with the wrong content.
#[test]
fn a_wrong_finished_in_tls_1_2() {
    let scene = Scene::new();
    for byte in [4, 15] {
        let logged = Arc::new(Logged::default());
        let mut config = scene.config(TLS12_SUITE);
        config.key_log = logged.clone();
        let client_random = Cell::new([0; 32]);
        let mut engine = Recording { engine: scene.engine(), server_random: Arc::default() };
        let server_random = engine.server_random.clone();
        engine.drain(&mut Vec::new());
        let served = play_client_through(Box::new(engine), config, NAME, |number, bytes| {
            if number == 0 {
                client_random.set(bytes[11..43].try_into().unwrap());
            }
            if number != 1 {
                return bytes;
            }
            let master = logged.secret("CLIENT_RANDOM").unwrap();
            let seed = [&server_random.lock().unwrap()[..], &client_random.get()].concat();
            let block = prf(master.as_bytes(), b"key expansion", &seed, 2 * 32 + 2 * 12);
            let (mut open, mut seal) = (tls12_client_keys(&block), tls12_client_keys(&block));
            let (mut rest, mut delivered) = (&bytes[..], Vec::new());
            let mut protected = false;
            while let Some(record) = next_record(&mut rest) {
                if protected {
                    let (content_type, mut finished) = open.open(record).expect("the client's Finished");
                    finished[byte] ^= 1;
                    delivered.extend(seal.seal(content_type, &finished));
                } else {
                    delivered.extend(record);
                }
                protected |= record[0] == 20;
            }
            delivered
        });
        refused(served, Alert::DecryptError, Reason::PEER_PROTOCOL, "Finished");
    }
}

/// Passes everything on and keeps the server's random.
struct Recording {
    engine: Box<dyn Handshake>,
    server_random: Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Handshake for Recording {
    fn feed(
        &mut self,
        unix_now: std::time::Duration,
        record: &[u8],
    ) -> Result<keyferry::tls::Progress, keyferry::error::Error> {
        self.engine.feed(unix_now, record)
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        let bytes = drained(self.engine.as_mut());
        if let [22, _, _, _, _, 2, ..] = bytes.as_slice() {
            *self.server_random.lock().unwrap() = bytes[11..43].to_vec();
        }
        out.extend(bytes);
    }

    fn peer_proved(&self) -> bool {
        self.engine.peer_proved()
    }

    fn peer_closed(&mut self) -> keyferry::error::Error {
        self.engine.peer_closed()
    }
}

fn tls12_client_keys(block: &[u8]) -> Protection {
    Protection::tls12(TLS12_SUITE, &block[..32], &block[64..76])
}

/// P_SHA256 (RFC 5246 section 5).
fn prf(secret: &[u8], label: &[u8], seed: &[u8], length: usize) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let seed = [label, seed].concat();
    let (mut a, mut output) = (hmac::sign(&key, &seed), Vec::new());
    while output.len() < length {
        output.extend(hmac::sign(&key, &[a.as_ref(), &seed].concat()).as_ref());
        a = hmac::sign(&key, a.as_ref());
    }
    output.truncate(length);
    output
}

/// Finished without ChangeCipherSpec, ChangeCipherSpec too early, twice, and of another content.
#[test]
fn change_cipher_spec_out_of_place_in_tls_1_2() {
    let scene = Scene::new();
    let flight = scene.flight(TLS12_SUITE, 1);
    let (mut rest, mut records) = (&flight[..], Vec::new());
    while let Some(record) = next_record(&mut rest) {
        records.push(record.len());
    }
    let ccs: usize = records[..records.len() - 2].iter().sum();
    assert_eq!(flight[ccs], 20);
    let without = scene.altered(TLS12_SUITE, 1, |bytes| drop(bytes.drain(ccs..ccs + 6)));
    // What the service cannot know to be encrypted has any type and any length.
    assert!(without.result.is_err());
    for at in (0..records.len() - 2).map(|place| records[..place].iter().sum::<usize>()) {
        let early = scene.altered(TLS12_SUITE, 1, |bytes| drop(bytes.splice(at..at, [20, 3, 3, 0, 1, 1])));
        refused(early, Alert::UnexpectedMessage, Reason::PEER_PROTOCOL, "ChangeCipherSpec early");
    }
    let twice = scene.altered(TLS12_SUITE, 1, |bytes| drop(bytes.splice(ccs..ccs, [20, 3, 3, 0, 1, 1])));
    refused(twice, Alert::UnexpectedMessage, Reason::PEER_PROTOCOL, "ChangeCipherSpec twice");
    let other = scene.altered(TLS12_SUITE, 1, |bytes| bytes[ccs + 5] = 2);
    refused(other, Alert::DecodeError, Reason::PEER_MALFORMED, "ChangeCipherSpec of another content");
}

#[test]
fn a_key_exchange_that_is_no_point_in_tls_1_2() {
    let scene = Scene::new();
    let zero = scene.resealed(TLS12_SUITE, |messages| messages[1][5..].fill(0));
    refused(zero, Alert::IllegalParameter, Reason::PEER_PROTOCOL, "the identity");
    let short = scene.resealed(TLS12_SUITE, |messages| messages[1] = vec![16, 0, 0, 4, 3, 1, 2, 3]);
    refused(short, Alert::IllegalParameter, Reason::PEER_PROTOCOL, "3 bytes");
}

/// A second ClientHello where the handshake goes on: that would be a renegotiation.
#[test]
fn a_second_hello() {
    let scene = Scene::new();
    for suite in [TLS13_SUITE, TLS12_SUITE] {
        let hello = hello(suite);
        let served = scene.resealed(suite, |messages| messages.insert(0, hello.clone()));
        refused(served, Alert::UnexpectedMessage, Reason::PEER_PROTOCOL, "hello");
    }
}

/// A message behind Finished, in its record: under TLS 1.3 the keys change there, so that cannot be.
#[test]
fn a_message_in_the_record_of_finished() {
    let scene = Scene::new();
    let served = scene.resealed(TLS13_SUITE, |messages| {
        let finished = messages.pop().unwrap();
        messages.push([&finished[..], &[24, 0, 0, 1, 0]].concat());
    });
    refused(served, Alert::UnexpectedMessage, Reason::PEER_PROTOCOL, "KeyUpdate behind Finished");
}
