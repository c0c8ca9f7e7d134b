use std::net::SocketAddr;
use std::time::Duration;

use keyferry_parsers::tls::dtls;
use keyferry_parsers::tls::{
    CipherSuite, Extension, Finished, KeyShareEntry, Message, NamedGroup, ProtocolVersion, ServerHello, ServerName,
};

use super::*;
use crate::packet::{Arrival, Closed, Direction, Pickup};
use crate::replay::account::{Fault, Outcome, Side};

const CLIENT: Direction = Direction::FromClient;
const SERVER: Direction = Direction::FromServer;

/// A tracker with one connection.
struct Wire {
    tracker: Tracker,
    accounts: Vec<Account>,
    interest: Interest,
    at: [u64; 2],
    seconds: u64,
}

impl Wire {
    fn new() -> Self {
        let tracker = Tracker::new(KeyLog::default(), Limits::default());
        let mut wire = Self { tracker, accounts: vec![], interest: Interest::Full, at: [0; 2], seconds: 0 };
        let (client, server) = ("192.0.2.1:40000".parse().unwrap(), "192.0.2.2:443".parse().unwrap());
        wire.event(What::Opened { client, server, pickup: Pickup::Handshake });
        wire
    }

    fn event(&mut self, what: What<'_>) -> &mut Self {
        self.seconds += 1;
        let arrival = Arrival { time: Duration::from_secs(self.seconds), ..Arrival::default() };
        let Self { tracker, accounts, .. } = self;
        let event = Event { id: StreamId(1), arrival, what };
        self.interest = tracker.stream(&event, &mut |account| accounts.push(account));
        self
    }

    fn send(&mut self, direction: Direction, bytes: &[u8]) -> &mut Self {
        let at = &mut self.at[usize::from(direction == SERVER)];
        let offset = *at;
        *at += bytes.len() as u64;
        self.event(What::Data { direction, offset, bytes })
    }

    fn gap(&mut self, direction: Direction, length: u64) -> &mut Self {
        let at = &mut self.at[usize::from(direction == SERVER)];
        let offset = *at;
        *at += length;
        self.event(What::Gap { direction, offset, length })
    }

    fn close(&mut self, how: Closed) -> &mut Self {
        self.event(What::Closed { how })
    }

    fn account(&mut self) -> Account {
        assert_eq!(self.accounts.len(), 1);
        self.accounts.pop().unwrap()
    }
}

fn record(content_type: u8, fragment: &[u8]) -> Vec<u8> {
    [&[content_type, 3, 3][..], &u16::try_from(fragment.len()).unwrap().to_be_bytes(), fragment].concat()
}

fn message(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.emit(&mut bytes).unwrap();
    bytes
}

fn client_hello(tls13: bool) -> Vec<u8> {
    let mut extensions = vec![
        Extension::ServerName(vec![ServerName { name_type: 0, name: b"a.example" }]),
        Extension::ApplicationLayerProtocolNegotiation(vec![b"h2"]),
    ];
    if tls13 {
        let versions = vec![ProtocolVersion(0x7a7a), ProtocolVersion::TLS_1_3, ProtocolVersion::TLS_1_2];
        extensions.push(Extension::SupportedVersions(versions));
    }
    message(&Message::ClientHello(keyferry_parsers::tls::ClientHello {
        legacy_version: ProtocolVersion::TLS_1_2,
        random: &[1; 32],
        legacy_session_id: &[],
        cipher_suites: vec![CipherSuite(0x1a1a), CipherSuite::TLS_AES_128_GCM_SHA256],
        legacy_compression_methods: &[0],
        extensions: Some(extensions),
    }))
}

fn server_hello(tls13: bool, suite: CipherSuite) -> Vec<u8> {
    let share = KeyShareEntry { group: NamedGroup::X25519, key_exchange: &[7; 32] };
    let extensions = [Extension::SelectedVersion(ProtocolVersion::TLS_1_3), Extension::KeyShareAnswer(share)];
    message(&Message::ServerHello(ServerHello {
        legacy_version: ProtocolVersion::TLS_1_2,
        random: &[2; 32],
        legacy_session_id_echo: &[],
        cipher_suite: suite,
        legacy_compression_method: 0,
        extensions: tls13.then(|| extensions.to_vec()),
    }))
}

fn kinds(account: &Account) -> Vec<&str> {
    account.messages.iter().map(|message| message.kind.as_str()).collect()
}

/// What a server of TLS 1.2 sends after its hello, a static RSA suite given.
fn hello_done() -> Vec<u8> {
    record(22, &[11, 0, 0, 3, 0, 0, 0, 14, 0, 0, 0])
}

const OLD: CipherSuite = CipherSuite::TLS_RSA_WITH_AES_128_CBC_SHA;
const NEW: CipherSuite = CipherSuite::TLS_AES_128_GCM_SHA256;

#[test]
fn a_handshake_of_tls_1_2_is_told_to_its_end() {
    let mut wire = Wire::new();
    let last = [record(22, &[16, 0, 0, 1, 9]), record(20, &[1]), record(22, &[0x55; 40])].concat();
    wire.send(CLIENT, &record(22, &client_hello(false))).send(SERVER, &record(22, &server_hello(false, OLD)));
    wire.send(SERVER, &hello_done()).send(CLIENT, &last);
    assert_eq!(wire.interest, Interest::Full);
    wire.send(SERVER, &[record(20, &[1]), record(22, &[0x66; 40]), record(23, &[0; 99])].concat());
    assert_eq!(wire.interest, Interest::None);
    let account = wire.account();
    let expected = [
        "client_hello",
        "server_hello",
        "certificate",
        "server_hello_done",
        "client_key_exchange",
        "change_cipher_spec",
        "encrypted_handshake_message",
        "change_cipher_spec",
        "encrypted_handshake_message",
    ];
    assert_eq!(kinds(&account), expected);
    assert_eq!((account.outcome, account.version.as_str()), (Outcome::Established, "1.2"));
    assert_eq!((account.sni.as_deref(), account.alpn.as_slice()), (Some("a.example"), &["h2".to_owned()][..]));
    assert_eq!(account.offered, ["0x1a1a", "TLS_AES_128_GCM_SHA256"]);
    assert_eq!(account.chosen.auth.as_deref(), Some("RSA key transport"));
    assert_eq!(account.weaknesses, ["no extended master secret", "no forward secrecy: RSA key transport"]);
    assert_eq!((account.client_random, account.server_random), (Some([1; 32]), Some([2; 32])));
    assert_eq!((account.messages[2].bytes, account.messages[2].from), (7, Side::Responder));
}

#[test]
fn flights_of_tls_1_3_are_told_apart_without_secrets() {
    let mut wire = Wire::new();
    wire.send(CLIENT, &record(22, &client_hello(true)));
    let flight = [record(22, &server_hello(true, NEW)), record(20, &[1]), record(23, &[0; 900])].concat();
    wire.send(SERVER, &flight).send(CLIENT, &[record(20, &[1]), record(23, &[0; 53]), record(23, &[0; 300])].concat());
    let account = wire.account();
    assert_eq!((account.outcome, account.version.as_str()), (Outcome::Established, "1.3"));
    assert_eq!(account.chosen.group.as_deref(), Some("x25519"));
    let sealed = kinds(&account).into_iter().filter(|kind| *kind == "encrypted_handshake").count();
    assert_eq!((sealed, account.messages.len()), (2, 6));

    let mut wire = Wire::new();
    wire.send(CLIENT, &record(22, &client_hello(true))).send(SERVER, &flight).send(CLIENT, &record(23, &[0; 19]));
    let account = wire.account();
    assert_eq!((account.outcome, account.fault), (Outcome::Failed, Some(Fault::Initiator)));
}

#[test]
fn a_message_in_many_records_and_many_messages_in_one() {
    let hello = client_hello(false);
    let pieces: Vec<u8> = hello.chunks(10).flat_map(|chunk| record(22, chunk)).collect();
    for step in [1, 7, pieces.len()] {
        let mut wire = Wire::new();
        for bytes in pieces.chunks(step) {
            wire.send(CLIENT, bytes);
        }
        let both = [server_hello(false, OLD), vec![14, 0, 0, 0]].concat();
        wire.send(SERVER, &record(22, &both)).close(Closed::CaptureEnded);
        let account = wire.account();
        assert_eq!(kinds(&account), ["client_hello", "server_hello", "server_hello_done"], "{step}");
        assert_eq!(account.messages[0].fragments as usize, hello.chunks(10).count());
        assert_eq!(account.outcome, Outcome::Incomplete);
    }
}

#[test]
fn tls_is_found_after_starttls_and_nothing_else_is_kept() {
    let mut wire = Wire::new();
    wire.send(SERVER, b"220 mail.example ESMTP\r\n").send(CLIENT, b"EHLO a\r\n").send(SERVER, b"250 STARTTLS\r\n");
    wire.send(CLIENT, b"STARTTLS\r\n").send(SERVER, b"220 go ahead\r\n");
    wire.send(CLIENT, &record(22, &client_hello(false))).send(SERVER, &record(21, &[2, 40]));
    let account = wire.account();
    assert_eq!((account.outcome, account.fault), (Outcome::Failed, Some(Fault::Both)));
    let cause = "the server shares no cipher suite, group or signature scheme with the client: handshake_failure";
    assert_eq!(account.cause.as_deref(), Some(cause));

    let mut wire = Wire::new();
    wire.send(CLIENT, &[b'x'; 5000]).send(SERVER, &[b'y'; 5000]);
    assert_eq!(wire.interest, Interest::Full);
    wire.send(CLIENT, &[b'x'; 5000]);
    assert_eq!((wire.interest, wire.accounts.len()), (Interest::None, 0));
    assert!(wire.tracker.connections.is_empty());
}

#[test]
fn a_hello_of_the_form_of_ssl_2_is_read() {
    let mut wire = Wire::new();
    let hello = [&[0x80, 31, 1, 3, 1, 0, 6, 0, 0, 0, 16][..], &[1, 0, 0x80, 0, 0, 4], &[7; 16]].concat();
    wire.send(CLIENT, &hello).send(SERVER, &record(22, &server_hello(false, OLD))).close(Closed::CaptureEnded);
    let account = wire.account();
    assert_eq!(account.offered, ["SSL_CK_RC4_128_WITH_MD5", "TLS_RSA_WITH_RC4_128_MD5"]);
    assert_eq!(account.client_random, Some([[0; 16], [7; 16]].concat().try_into().unwrap()));
    assert_eq!(kinds(&account), ["client_hello", "server_hello"]);
}

#[test]
fn who_breaks_off_is_told() {
    let ended = |how| {
        let mut wire = Wire::new();
        wire.send(CLIENT, &record(22, &client_hello(false))).close(how);
        let account = wire.account();
        (account.outcome, account.fault, account.cause.unwrap_or_default())
    };
    let (outcome, fault, cause) = ended(Closed::Reset(SERVER));
    assert_eq!((outcome, fault), (Outcome::Failed, Some(Fault::Responder)));
    assert_eq!(cause, "the server reset the connection during the handshake, after client_hello");
    assert_eq!(ended(Closed::Finished).1, Some(Fault::Responder));
    assert_eq!(ended(Closed::Reset(CLIENT)).1, Some(Fault::Initiator));
    assert_eq!(ended(Closed::CaptureEnded), (Outcome::Incomplete, None, String::new()));

    let mut wire = Wire::new();
    wire.send(CLIENT, &record(22, &client_hello(false))).send(SERVER, &vec![b'z'; 20_000]);
    assert_eq!(wire.account().fault, Some(Fault::Responder));
}

#[test]
fn a_gap_is_the_networks_fault() {
    let mut wire = Wire::new();
    let chain = record(22, &[&[11, 0, 0, 100][..], &[0; 100]].concat());
    wire.send(CLIENT, &record(22, &client_hello(false))).send(SERVER, &record(22, &server_hello(false, OLD)));
    wire.send(SERVER, &chain[..40]).gap(SERVER, 20).send(SERVER, &chain[60..]);
    wire.send(SERVER, &record(22, &[14, 0, 0, 0])).close(Closed::Finished);
    let account = wire.account();
    assert_eq!((account.outcome, account.fault), (Outcome::Incomplete, Some(Fault::Network)));
    assert_eq!(account.cause.as_deref(), Some("20 bytes of the server are missing from the capture"));
    assert_eq!(kinds(&account), ["client_hello", "server_hello", "server_hello_done"]);
}

#[test]
fn what_came_again_is_marked() {
    let mut wire = Wire::new();
    let hello = record(22, &client_hello(false));
    wire.send(CLIENT, &hello);
    let length = hello.len() as u64;
    wire.event(What::Retransmitted { direction: SERVER, offset: 0, length, conflicting: false });
    wire.event(What::Retransmitted { direction: CLIENT, offset: 0, length: length - 1, conflicting: false });
    assert!(!wire.tracker.connections.is_empty());
    wire.event(What::Retransmitted { direction: CLIENT, offset: 0, length, conflicting: false });
    assert!(wire.close(Closed::CaptureEnded).account().messages[0].retransmission);
}

#[test]
fn no_bytes_make_it_panic_and_the_list_of_messages_ends() {
    let streams = [
        (CLIENT, record(22, &client_hello(true))),
        (SERVER, [record(22, &server_hello(true, NEW)), record(20, &[1]), record(23, &[0; 90])].concat()),
        (CLIENT, [record(20, &[1]), record(23, &[0; 53])].concat()),
    ];
    for (which, (_, bytes)) in streams.iter().enumerate() {
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut wire = Wire::new();
                for (number, (direction, bytes)) in streams.iter().enumerate() {
                    let mut bytes = bytes.clone();
                    if number == which {
                        bytes[at] ^= change;
                    }
                    wire.send(*direction, &bytes);
                }
                wire.close(Closed::Finished);
                assert!(wire.accounts.len() <= 1);
            }
        }
    }
    let mut wire = Wire::new();
    wire.send(CLIENT, &record(22, &client_hello(false)));
    for _ in 0..1000 {
        wire.send(CLIENT, &record(24, &[1, 0, 0]));
    }
    let account = wire.close(Closed::CaptureEnded).account();
    assert_eq!(account.messages.len(), Limits::default().messages);
    assert_eq!(account.messages.last().unwrap().malformed.as_deref(), Some("801 more messages are not listed"));
}

#[test]
fn hellos_of_dtls_are_put_together_and_repeated_ones_are_marked() {
    let mut tracker = Tracker::new(KeyLog::default(), Limits::default());
    let mut accounts = Vec::new();
    let (client, server): (SocketAddr, SocketAddr) =
        ("192.0.2.1:5000".parse().unwrap(), "192.0.2.2:4444".parse().unwrap());
    let mut body = Vec::new();
    let hello = dtls::ClientHello {
        legacy_version: ProtocolVersion::DTLS_1_2,
        random: &[1; 32],
        legacy_session_id: &[],
        legacy_cookie: b"cookie",
        cipher_suites: vec![CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256],
        legacy_compression_methods: &[0],
        extensions: None,
    };
    dtls::Message::ClientHello(hello).emit(&mut body).unwrap();
    let datagram = |message_seq: u16, from: usize, to: usize| {
        let mut fragment = Vec::new();
        let piece = dtls::HandshakeFragment {
            msg_type: keyferry_parsers::tls::HandshakeType::CLIENT_HELLO,
            length: body.len(),
            message_seq,
            fragment_offset: from,
            fragment: &body[from..to],
        };
        piece.emit(&mut fragment).unwrap();
        [
            &[22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &u16::try_from(fragment.len()).unwrap().to_be_bytes(),
            &fragment,
        ]
        .concat()
    };
    let mut send = |source, destination, payload: &[u8]| {
        let arrival = Arrival::default();
        let datagram = Datagram { arrival, source, destination, payload, missing: 0, fragmented: false };
        tracker.datagram(&datagram, &mut |account| accounts.push(account))
    };
    assert!(!send(client, server, b"\x16 is not enough"));
    assert!(!send(client, server, &[0x30; 40]));
    let end = body.len();
    for payload in [datagram(0, 0, 35), datagram(0, 35, end), datagram(0, 0, end), datagram(1, 0, end)] {
        assert!(send(client, server, &payload));
    }
    assert!(send(server, client, &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40]));
    tracker.finish(&mut |account| accounts.push(account));
    let [account] = accounts.as_slice() else { panic!("{} accounts", accounts.len()) };
    assert_eq!(kinds(account), ["client_hello", "client_hello", "client_hello", "alert(handshake_failure)"]);
    assert_eq!((account.messages[0].fragments, account.messages[1].retransmission), (2, true));
    assert_eq!((account.outcome, account.initiator, account.version.as_str()), (Outcome::Failed, client, "1.2"));
}

/// A library's Finished in the clear changes nothing: it is the other's that is waited for.
#[test]
fn a_finished_alone_does_not_establish() {
    let mut wire = Wire::new();
    wire.send(CLIENT, &record(22, &client_hello(true))).send(SERVER, &record(22, &server_hello(true, NEW)));
    wire.send(SERVER, &record(22, &message(&Message::Finished(Finished { verify_data: &[0; 32] }))));
    assert_eq!(wire.close(Closed::CaptureEnded).account().outcome, Outcome::Incomplete);
}
