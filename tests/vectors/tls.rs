//! TLS handshakes of OpenSSL: every record opened with keys from the key log, every Finished computed again.

use std::collections::BTreeMap;

use keyferry::crypto::Secret;
use keyferry::hex;
use keyferry::tls::keymat::Side;
use keyferry::tls::keymat::suite::{Tls12Suite, tls13_suite};
use keyferry::tls::keymat::tls13::SuiteHash;
use keyferry::tls::protect::{OpenError, RecordOpener};
use keyferry_parsers::tls::{CipherSuite, ContentType, ProtocolVersion, Record, RecordHeader};

use super::capture::tcp_segments;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CLIENT_KEY_EXCHANGE: u8 = 16;
const FINISHED: u8 = 20;
const ENCRYPT_THEN_MAC: u16 = 22;
const EXTENDED_MASTER_SECRET: u16 = 23;

#[test]
fn tls12_with_aes_gcm() {
    assert_eq!(Connection::follow("tls12-ecdhe-rsa-x25519-aes128-gcm").opened, 5);
}

#[test]
fn tls12_with_static_rsa_and_aes_cbc() {
    let connection = Connection::follow("tls12-rsakx-aes128-sha");
    assert_eq!(connection.opened, 5);
    assert!(connection.checked_master_secret, "the key log has the pre-master secret");
}

#[test]
fn tls13_with_one_round_trip() {
    assert!(Connection::follow("tls13-x25519-aes128-rsa").opened >= 8);
}

#[test]
fn tls13_with_client_certificate() {
    assert!(Connection::follow("tls13-mtls-ecdsa").opened >= 11);
}

#[test]
fn tls13_after_hello_retry_request() {
    assert!(Connection::follow("tls13-hrr-x25519-to-p521").opened >= 8);
}

/// What an observer with the key log knows.
struct Connection {
    keylog: BTreeMap<String, Vec<u8>>,
    transcript: Vec<u8>,
    randoms: BTreeMap<Sender, Vec<u8>>,
    suite: CipherSuite,
    version: ProtocolVersion,
    extensions: Vec<u16>,
    openers: BTreeMap<Sender, RecordOpener>,
    streams: BTreeMap<Sender, Vec<u8>>,
    /// Handshake bytes of messages that are not complete.
    pending: BTreeMap<Sender, Vec<u8>>,
    opened: usize,
    finished: usize,
    checked_master_secret: bool,
}

/// True is the client.
type Sender = bool;

impl Connection {
    fn follow(scenario: &str) -> Self {
        let path = |kind| format!("{}/tests/vectors/tls/{scenario}.{kind}", env!("CARGO_MANIFEST_DIR"));
        let mut connection = Self {
            keylog: read_keylog(&path("keylog")),
            transcript: Vec::new(),
            randoms: BTreeMap::new(),
            suite: CipherSuite(0),
            version: ProtocolVersion::TLS_1_2,
            extensions: Vec::new(),
            openers: BTreeMap::new(),
            streams: BTreeMap::new(),
            pending: BTreeMap::new(),
            opened: 0,
            finished: 0,
            checked_master_secret: false,
        };
        for (source, segment) in tcp_segments(&path("pcap")) {
            connection.segment(source != 4433, &segment);
        }
        assert_eq!(connection.finished, 2, "one Finished of each side");
        assert!(connection.streams.values().all(Vec::is_empty), "half a record is left over");
        connection
    }

    fn segment(&mut self, sender: Sender, segment: &[u8]) {
        let mut stream = self.streams.remove(&sender).unwrap_or_default();
        stream.extend_from_slice(segment);
        let mut rest = stream.as_slice();
        while let Some((header, _)) = rest.split_first_chunk::<5>() {
            let length = RecordHeader::parse_as(ProtocolVersion::TLS_1_2, header).unwrap().record_length();
            let Some((bytes, after)) = rest.split_at_checked(length) else { break };
            self.record(
                sender,
                Record {
                    content_type: ContentType(bytes[0]),
                    legacy_record_version: ProtocolVersion(u16::from_be_bytes([bytes[1], bytes[2]])),
                    fragment: &bytes[5..],
                },
            );
            rest = after;
        }
        self.streams.insert(sender, rest.to_vec());
    }

    fn record(&mut self, sender: Sender, record: Record<'_>) {
        if record.content_type == ContentType::CHANGE_CIPHER_SPEC {
            if self.version == ProtocolVersion::TLS_1_2 {
                self.change_cipher_spec(sender);
            }
            return;
        }
        let (content_type, content) = match self.openers.get_mut(&sender) {
            None => (record.content_type, record.fragment.to_vec()),
            Some(opener) => {
                let mut altered = record.fragment.to_vec();
                *altered.last_mut().unwrap() ^= 1;
                let altered = opener.open(&Record { fragment: &altered, ..record });
                assert_eq!(altered.err(), Some(OpenError::Integrity));
                let opened = opener.open(&record).unwrap();
                self.opened += 1;
                (opened.content_type, opened.content)
            }
        };
        if content_type == ContentType::HANDSHAKE {
            self.handshake(sender, &content);
        }
    }

    fn handshake(&mut self, sender: Sender, content: &[u8]) {
        let mut pending = self.pending.remove(&sender).unwrap_or_default();
        pending.extend_from_slice(content);
        let mut rest = pending.as_slice();
        while let [_, a, b, c, ..] = rest {
            let length = 4 + u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let Some((message, after)) = rest.split_at_checked(length) else { break };
            self.message(sender, message);
            rest = after;
        }
        self.pending.insert(sender, rest.to_vec());
    }

    fn message(&mut self, sender: Sender, message: &[u8]) {
        let (kind, body) = (message[0], &message[4..]);
        match kind {
            FINISHED => self.check_finished(sender, body),
            SERVER_HELLO => self.server_hello(body),
            CLIENT_HELLO => drop(self.randoms.insert(true, body[2..34].to_vec())),
            _ => {}
        }
        self.transcript.extend_from_slice(message);
        match (kind, self.version == ProtocolVersion::TLS_1_3) {
            (SERVER_HELLO, true) if !self.randoms.is_empty() => {
                self.open_tls13(true, "CLIENT_HANDSHAKE_TRAFFIC_SECRET");
                self.open_tls13(false, "SERVER_HANDSHAKE_TRAFFIC_SECRET");
            }
            (FINISHED, true) if sender => self.open_tls13(true, "CLIENT_TRAFFIC_SECRET_0"),
            (FINISHED, true) => self.open_tls13(false, "SERVER_TRAFFIC_SECRET_0"),
            (CLIENT_KEY_EXCHANGE, false) => self.check_master_secret(),
            _ => {}
        }
    }

    fn server_hello(&mut self, body: &[u8]) {
        const HELLO_RETRY_REQUEST: &str = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c";
        const SUPPORTED_VERSIONS: u16 = 43;
        let (random, after) = (&body[2..34], 35 + usize::from(body[34]));
        self.suite = CipherSuite(u16::from_be_bytes([body[after], body[after + 1]]));
        let mut extensions = &body[after + 5..];
        while let [a, b, c, d, rest @ ..] = extensions {
            self.extensions.push(u16::from_be_bytes([*a, *b]));
            extensions = &rest[usize::from(u16::from_be_bytes([*c, *d]))..];
        }
        if self.extensions.contains(&SUPPORTED_VERSIONS) {
            self.version = ProtocolVersion::TLS_1_3;
        }
        if hex::encode(random) == HELLO_RETRY_REQUEST {
            self.transcript = self.tls13_hash().message_hash(&self.transcript);
            self.randoms.clear();
        } else {
            self.randoms.insert(false, random.to_vec());
        }
    }

    fn check_finished(&mut self, sender: Sender, received: &[u8]) {
        let verify_data = if self.version == ProtocolVersion::TLS_1_3 {
            let label = if sender { "CLIENT_HANDSHAKE_TRAFFIC_SECRET" } else { "SERVER_HANDSHAKE_TRAFFIC_SECRET" };
            let hash = self.tls13_hash();
            hash.verify_data(&self.secret(label), &hash.hash().digest(&[&self.transcript])).unwrap()
        } else {
            let prf = self.tls12_suite().prf;
            prf.verify_data(&self.secret("CLIENT_RANDOM"), side(sender), &prf.handshake_hash(&[&self.transcript]))
        };
        assert!(verify_data == *received, "Finished of the {:?}", side(sender));
        self.finished += 1;
    }

    fn check_master_secret(&mut self) {
        let Some(pre_master_secret) = self.keylog.get("RSA") else { return };
        let (pre_master_secret, prf) = (Secret::from_slice(pre_master_secret), self.tls12_suite().prf);
        let extended = self.extensions.contains(&EXTENDED_MASTER_SECRET);
        let computed = match extended {
            true => prf.extended_master_secret(&pre_master_secret, &prf.handshake_hash(&[&self.transcript])),
            false => prf.master_secret(&pre_master_secret, &self.randoms[&true], &self.randoms[&false]),
        };
        assert!(computed == self.secret("CLIENT_RANDOM"));
        self.checked_master_secret = true;
    }

    fn change_cipher_spec(&mut self, sender: Sender) {
        let suite = self.tls12_suite();
        let master_secret = self.secret("CLIENT_RANDOM");
        let (client_random, server_random) = (&self.randoms[&true], &self.randoms[&false]);
        let key_block = suite.prf.key_block(&master_secret, server_random, client_random, suite.key_block.total());
        let key_block = suite.key_block.split(&key_block).unwrap();
        let encrypt_then_mac = self.extensions.contains(&ENCRYPT_THEN_MAC);
        let opener = RecordOpener::tls12(self.version, suite, &key_block, side(sender), encrypt_then_mac);
        self.openers.insert(sender, opener);
    }

    fn open_tls13(&mut self, sender: Sender, label: &str) {
        let (hash, aead) = tls13_suite(self.suite).unwrap();
        let keys = hash.traffic_keys(&self.secret(label), aead.key_length()).unwrap();
        self.openers.insert(sender, RecordOpener::tls13(aead, keys));
    }

    fn tls12_suite(&self) -> Tls12Suite {
        Tls12Suite::new(self.version, self.suite).unwrap()
    }

    fn tls13_hash(&self) -> SuiteHash {
        tls13_suite(self.suite).unwrap().0
    }

    fn secret(&self, label: &str) -> Secret {
        Secret::from_slice(&self.keylog[label])
    }
}

fn side(sender: Sender) -> Side {
    if sender { Side::Client } else { Side::Server }
}

/// The secrets of a key log of one connection, by their labels.
fn read_keylog(path: &str) -> BTreeMap<String, Vec<u8>> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[0].to_owned(), hex::decode(words[2]).unwrap())
        })
        .collect()
}
