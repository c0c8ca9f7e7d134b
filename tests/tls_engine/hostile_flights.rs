//! The server's flight, cut into records in every way there is, and mutated: to both interfaces of rustls, of which the
//! one that may resume keeps positions in what it was fed. A panic would end the gateway.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::sync::Arc;

use keyferry::tls::{Offer, Tickets};
use keyferry_parsers::tls::CipherSuite;
use rustls::ServerConfig;

use crate::client_certificates::demanding;
use crate::peer::*;
use crate::pki::*;

const TLS13_SUITE: CipherSuite = CipherSuite::TLS_CHACHA20_POLY1305_SHA256;
const TLS12_SUITE: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        self.0 += 1;
        hasher.write_u64(self.0);
        usize::try_from(hasher.finish() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

/// A handshake whose server's flight goes through `cut`: handshake content in, pieces of type and content out, protected
/// as the server would. Whether it was established.
fn played(
    offer: &Offer,
    trusting: &Pki,
    config: &ServerConfig,
    mut cut: impl FnMut(&[u8]) -> Vec<(u8, Vec<u8>)>,
) -> bool {
    let logged = Arc::new(Logged::default());
    let mut config = config.clone();
    config.key_log = logged.clone();
    let outcome = play_through(start(&client(trusting.trust()), offer), config, |flight, bytes| {
        if flight != 0 {
            return bytes;
        }
        let secret = logged.secret("SERVER_HANDSHAKE_TRAFFIC_SECRET");
        let mut keys =
            secret.map(|secret| (Protection::new(TLS13_SUITE, &secret), Protection::new(TLS13_SUITE, &secret)));
        let (mut rest, mut plain, mut content) = (&bytes[..], Vec::new(), Vec::new());
        while let Some(record) = next_record(&mut rest) {
            match (&mut keys, record[0]) {
                (Some((open, _)), 23) => content.extend(open.open(record).unwrap().1),
                (None, 22) => content.extend(&record[5..]),
                // ServerHello and ChangeCipherSpec of TLS 1.3.
                _ => plain.extend(record),
            }
        }
        for (content_type, piece) in cut(&content) {
            match &mut keys {
                Some((_, seal)) => plain.extend(seal.seal(content_type, &piece)),
                None => {
                    let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
                    plain.extend([&[content_type, 3, 3, length[0], length[1]], &piece[..]].concat());
                }
            }
        }
        plain
    });
    outcome.result.is_ok()
}

/// Both interfaces, in both versions.
fn scenes(pki: &Pki) -> Vec<(Offer, ServerConfig)> {
    let mut all = Vec::new();
    for suite in [TLS13_SUITE, TLS12_SUITE] {
        for tickets in [None, Some(Arc::new(Tickets::new()))] {
            let config = demanding(pki, pki, &keyferry::crypto::GROUPS, &[suite]);
            let mut config = ServerConfig::clone(&config);
            config.max_tls13_tickets = 4;
            let identity = crate::terminal::terminal(&[&pki.server()]);
            all.push((Offer { tickets, identity: Some(identity), ..offer() }, config));
        }
    }
    all
}

#[test]
fn pieces_of_every_size_make_the_same_session() {
    let pki = Pki::new();
    for (offer, config) in scenes(&pki) {
        for size in [1, 2, 3, 4, 5, 7, 16, 63, 64, 500, 16_384] {
            // One byte a record would be more records than rustls puts up with.
            let established = played(&offer, &pki, &config, |content| {
                content.chunks(size).map(|piece| (22, piece.to_vec())).collect()
            });
            assert!(established, "pieces of {size} bytes");
        }
    }
}

#[test]
fn whatever_comes_of_a_flight_nothing_panics() {
    let pki = Pki::new();
    let mut dice = Dice(0);
    let mut established = 0;
    for (offer, config) in scenes(&pki) {
        for _ in 0..400 {
            established += usize::from(played(&offer, &pki, &config, |content| mutated(content, &mut dice)));
        }
    }
    assert!(established > 0, "some mutations change nothing that counts");
}

/// Pieces of random sizes; among them perhaps something that does not belong there, and perhaps something changed.
fn mutated(content: &[u8], dice: &mut Dice) -> Vec<(u8, Vec<u8>)> {
    let mut content = content.to_vec();
    for _ in 0..dice.below(3) {
        let at = dice.below(content.len());
        match dice.below(5) {
            0 => content[at] ^= 1 << dice.below(8),
            1 => content.truncate(at),
            2 => drop(content.splice(at..at, [0, 0, 0, 0])),
            3 => drop(content.remove(at)),
            _ => {
                let from = dice.below(content.len());
                let piece = content[from..(from + 64).min(content.len())].to_vec();
                drop(content.splice(at..at, piece));
            }
        }
    }
    let largest = [1, 5, 40, 300, 2000, 16_000][dice.below(6)];
    let (mut pieces, mut rest) = (Vec::new(), &content[..]);
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at((1 + dice.below(largest)).min(rest.len()));
        pieces.push((22, piece.to_vec()));
        rest = tail;
    }
    for _ in 0..dice.below(3) {
        let stranger = match dice.below(8) {
            0 => (22, Vec::new()),
            1 => (20, vec![1]),
            2 => (21, vec![1, 90]),
            3 => (21, vec![2, 80]),
            4 => (22, vec![0, 0, 0, 0]),
            5 => (22, vec![24, 0, 0, 1, 0]),
            6 => (23, vec![7; 30]),
            _ => (22, vec![4, 0, 0, 14, 0, 0, 14, 16, 1, 2, 3, 4, 0, 0, 1, 7, 0, 0]),
        };
        pieces.insert(dice.below(pieces.len() + 1), stranger);
    }
    pieces
}

/// A TLS 1.2 client that has not changed its keys says what is wrong in the clear, also where rustls says nothing.
#[test]
fn a_client_of_tls_1_2_ends_with_an_alert_before_it_encrypts() {
    let pki = Pki::new();
    let config = server_config_of(pki.server().certified_key(), &keyferry::crypto::GROUPS, &[TLS12_SUITE]);
    for tickets in [None, Some(Arc::new(Tickets::new()))] {
        // rustls has no alert for that.
        let outcome = play_through(
            start(&client(pki.trust()), &Offer { tickets, ..offer() }),
            config.clone(),
            |flight, bytes| {
                if flight != 0 {
                    return bytes;
                }
                // The ServerHello alone, then a message that an alert interrupts.
                let length = 4 + u16::from_be_bytes([bytes[7], bytes[8]]);
                let hello = [&[22, 3, 3], &length.to_be_bytes()[..], &bytes[5..5 + usize::from(length)]].concat();
                [&hello[..], &[22, 3, 3, 0, 5, 11, 0, 0, 9, 1], &[21, 3, 3, 0, 2, 1, 90]].concat()
            },
        );
        assert_eq!(outcome.alert, Some(rustls::AlertDescription::IllegalParameter));
        assert_eq!(outcome.error().reason, keyferry::error::Reason::PEER_PROTOCOL);
    }
}
