//! The peer's answers altered and cut at every byte: never a panic, never a session.

use std::sync::Arc;

use keyferry::crypto::SUITES;
use keyferry::error::Reason;
use keyferry::tls::{Client, Handshake, Offer, Profile, Tickets, Trust};
use keyferry_parsers::tls::{CipherSuite, NamedGroup};
use rustls::ServerConfig;

use crate::peer::*;
use crate::pki::*;

const SUITE: CipherSuite = CipherSuite::TLS_AES_128_GCM_SHA256;
const TLS12_SUITE: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;

struct Scene {
    client: Client,
    identity: Identity,
    suite: CipherSuite,
    /// A session that may be resumed goes through another interface of rustls.
    tickets: Option<Arc<Tickets>>,
}

impl Scene {
    /// Small messages, so that every byte of them has its turn: X25519 and Ed25519.
    fn new(pinned: bool) -> Self {
        let pki = Pki::new();
        let mut identity = pki.server_with(key(&rcgen::PKCS_ED25519), |_| ());
        let mut trust = pki.trust();
        if pinned {
            // Only the pin: then the certificates are read by x509-parser, not by webpki alone.
            identity.chain.truncate(1);
            trust = Trust { pins: vec![identity.pin()], ..Trust::default() };
        }
        let profile = Profile { groups: vec![NamedGroup::X25519], ..Profile::new(trust) };
        Self { client: Client::new(&profile).unwrap(), identity, suite: SUITE, tickets: None }
    }

    /// Both versions, and both interfaces of rustls.
    fn kinds() -> [Self; 3] {
        let new = || Self::new(false);
        [new(), Self { tickets: Some(Arc::default()), ..new() }, Self { suite: TLS12_SUITE, ..new() }]
    }

    fn start(&self) -> Box<dyn Handshake> {
        start(&self.client, &Offer { tickets: self.tickets.clone(), ..offer() })
    }

    /// How many flights a server sends.
    fn flights(&self) -> usize {
        if self.suite == SUITE { 1 } else { 2 }
    }

    fn server(&self) -> ServerConfig {
        server_config_of(self.identity.certified_key(), &[NamedGroup::X25519], &[self.suite])
    }

    fn play(&self, path: impl FnMut(usize, Vec<u8>) -> Vec<u8>) -> Outcome {
        play_through(self.start(), self.server(), path)
    }

    /// A flight of the server of a handshake that succeeds.
    fn flight(&self, wanted: usize) -> Vec<u8> {
        let mut flight = Vec::new();
        self.play(|number, bytes| {
            if number == wanted {
                flight.clone_from(&bytes);
            }
            bytes
        })
        .established();
        flight
    }

    /// Plays with the plaintext of the server's encrypted handshake messages changed and sealed again with the
    /// right keys: what a malicious server can do, not only a malicious path.
    fn play_resealed(&self, change: impl Fn(&mut Vec<u8>)) -> Outcome {
        let logged = Arc::new(Logged::default());
        let mut config = self.server();
        config.key_log = logged.clone();
        play_through(self.start(), config, |number, bytes| {
            let Some(secret) = logged.secret("SERVER_HANDSHAKE_TRAFFIC_SECRET").filter(|_| number == 0) else {
                return bytes;
            };
            let (mut open, mut seal) = (Protection::new(SUITE, &secret), Protection::new(SUITE, &secret));
            let (mut rest, mut delivered, mut messages) = (&bytes[..], Vec::new(), Vec::new());
            while let Some(record) = next_record(&mut rest) {
                match record[0] {
                    23 => messages.extend(open.open(record).unwrap().1),
                    _ => delivered.extend(record),
                }
            }
            change(&mut messages);
            for fragment in messages.chunks(16384) {
                delivered.extend(seal.seal(22, fragment));
            }
            delivered
        })
    }

    fn messages(&self) -> usize {
        let length = std::cell::Cell::new(0);
        self.play_resealed(|messages| length.set(messages.len())).established();
        length.get()
    }
}

/// Header bytes that say nothing: `legacy_record_version` of every record, which a receiver ignores (RFC 8446
/// section 5.1), and `opaque_type` of protected ones, where rustls authenticates what it should have been.
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
fn every_byte_on_the_path_altered() {
    for scene in Scene::kinds() {
        for flight in 0..scene.flights() {
            let good = scene.flight(flight);
            let ignored = ignored(&good);
            for (position, bits) in (0..good.len()).flat_map(|position| [(position, 0x01), (position, 0xff)]) {
                let outcome = scene.play(|number, mut bytes| {
                    if number == flight
                        && let Some(byte) = bytes.get_mut(position)
                    {
                        *byte ^= bits;
                    }
                    bytes
                });
                if let Ok(established) = &outcome.result {
                    let suite = established.suite;
                    assert!(ignored.contains(&position), "{suite}: established, byte {position} of {flight} altered");
                }
            }
        }
    }
}

#[test]
fn a_flight_cut_at_every_byte() {
    for scene in Scene::kinds() {
        for flight in 0..scene.flights() {
            for kept in 0..scene.flight(flight).len() - 8 {
                let outcome = scene.play(|number, mut bytes| {
                    if number == flight {
                        bytes.truncate(kept);
                    }
                    bytes
                });
                assert_eq!(outcome.error().reason, Reason::PEER_CLOSED, "{flight} cut after {kept} bytes");
            }
        }
    }
}

#[test]
fn every_record_shortened_with_a_right_header() {
    for scene in Scene::kinds() {
        for flight in 0..scene.flights() {
            let good = scene.flight(flight);
            let mut rest = &good[..];
            let mut at = 0;
            while let Some(record) = next_record(&mut rest) {
                for kept in 0..record.len() - 5 {
                    let outcome = scene.play(|number, bytes| {
                        if number != flight {
                            return bytes;
                        }
                        let length = u16::try_from(kept).unwrap().to_be_bytes();
                        [&bytes[..at + 3], &length, &bytes[at + 5..at + 5 + kept], &bytes[at + record.len()..]].concat()
                    });
                    assert!(outcome.result.is_err(), "{}: record at {at} shortened to {kept}", scene.suite);
                }
                at += record.len();
            }
        }
    }
}

#[test]
fn every_byte_of_a_malicious_server() {
    for (pinned, tickets) in [(false, None), (true, Some(Arc::default()))] {
        let scene = Scene { tickets, ..Scene::new(pinned) };
        for position in 0..scene.messages() {
            for bits in [0x01, 0x80, 0xff] {
                let outcome = scene.play_resealed(|messages| {
                    if let Some(byte) = messages.get_mut(position) {
                        *byte ^= bits;
                    }
                });
                assert!(outcome.result.is_err(), "established with byte {position} altered, pinned: {pinned}");
            }
        }
    }
}

/// The message is shortened and its length fields are not, so everything after it shifts.
#[test]
fn every_byte_left_out_by_a_malicious_server() {
    for pinned in [false, true] {
        let scene = Scene::new(pinned);
        for position in 0..scene.messages() {
            let outcome = scene.play_resealed(|messages| {
                if position < messages.len() {
                    messages.remove(position);
                }
            });
            assert!(outcome.result.is_err(), "established without byte {position}, pinned: {pinned}");
        }
    }
}

/// A message behind Finished, in its record: under TLS 1.3 the keys change there, so that cannot be.
#[test]
fn a_message_in_the_record_of_finished() {
    let scene = Scene::new(false);
    let ticket = [&[4, 0, 0, 17][..], &[0; 17]].concat();
    let outcome = scene.play_resealed(|messages| messages.extend_from_slice(&ticket));
    let error = outcome.error();
    assert_eq!(error.reason, Reason::PEER_PROTOCOL, "{error}");
    let half = scene.play_resealed(|messages| messages.extend_from_slice(&ticket[..6]));
    assert_eq!(half.error().reason, Reason::PEER_PROTOCOL);
}

#[test]
fn a_suite_or_group_that_was_not_offered() {
    // The cipher suite of the ServerHello: after the header, the random and a session id of 32 bytes.
    let scene = Scene::new(false);
    for suite in [0x1304u16, 0xc02b, 0x0000] {
        let outcome = scene.play(|number, mut bytes| {
            if number == 0 {
                bytes[5 + 4 + 2 + 32 + 1 + 32..][..2].copy_from_slice(&suite.to_be_bytes());
            }
            bytes
        });
        let error = outcome.error();
        assert_eq!(error.reason, Reason::PEER_PROTOCOL, "{error}");
    }
    assert!(!SUITES.contains(&CipherSuite(0x1304)));
}
