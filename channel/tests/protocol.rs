//! PROTOCOL.md keeps its word: the worked values and the samples in it are computed or read here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong"
)]

mod pair;

use std::collections::BTreeMap;

use aes_gcm::Aes128Gcm;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::ChaCha20Poly1305;
use keyferry_channel::{ChannelKey, Input, State, peek};
use keyferry_parsers::messages::{
    Connect, ConnectAnswer, Echo, Failure, Handover, KxAnswer, KxRequest, Listen, ListenAnswer, PeerName, ProofMethod,
    Reason, Role, SessionPush, Step, Ticket,
};
use keyferry_parsers::tls::ProtocolVersion;
use pair::{GATEWAY, Pair, TERMINAL, spy};

const TEXT: &str = include_str!("../PROTOCOL.md");
const CDDL: &str = include_str!("../keyferry.cddl");

/// Lines `name = h'…'` of the document.
fn values() -> BTreeMap<String, Vec<u8>> {
    TEXT.lines()
        .filter_map(|line| line.trim().split_once(" = h'"))
        .map(|(name, hex)| (name.trim().to_owned(), unhex(hex.split_once('\'').expect("closing quote").0)))
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_worked_keys_are_right() {
    let values = values();
    let mut wrong = String::new();
    let mut check = |name: String, expected: &[u8]| {
        if values.get(&name).map(Vec::as_slice) != Some(expected) {
            wrong.push_str(&format!("{name} = h'{}'\n", hex(expected)));
        }
    };
    let first: [u8; 32] = std::array::from_fn(|at| at as u8);
    check("channel key 0".into(), &first);
    let (terminal, gateway) = ([0x11, 0x22], [0x00]);
    for epoch in [0u32, 1, 300] {
        let key = (0..epoch).fold(ChannelKey::from_bytes(first), |key, _| key.next());
        let key = key.as_bytes();
        check(format!("channel key {epoch}"), key);
        check(format!("id context {epoch}"), &spy::id_context(epoch));
        check(format!("master secret {epoch}"), &spy::master_secret(key));
        check(format!("terminal sender key {epoch}"), &spy::sender_key(key, epoch, &terminal));
        check(format!("gateway sender key {epoch}"), &spy::sender_key(key, epoch, &gateway));
        check(format!("common iv {epoch}"), &spy::common_iv(key, epoch));
    }
    assert!(wrong.is_empty(), "PROTOCOL.md should say:\n{wrong}");
}

/// The values above come from the independent derivation of the tests; this ties them to the crate's own.
#[test]
fn the_worked_datagrams_are_what_the_crate_sends() {
    let values = values();
    let mut pair = Pair::new(1);
    let state = State::new(ChannelKey::from_bytes(values["channel key 0"].clone().try_into().unwrap()));
    for side in [TERMINAL, GATEWAY] {
        pair.sides[side].stored = state.encode().to_vec();
        pair.crash(side);
    }
    pair.request(TERMINAL, 1, &unhex("44deadbeef")).unwrap();
    let request = pair.sent.last().unwrap().1.clone();
    assert_eq!(hex(&values["request"]), hex(&request), "message id and token come from the seed of this test");
    let seen = peek(&request).unwrap();
    assert_eq!((seen.kid, seen.kid_context), (Some(&[0x11, 0x22][..]), Some(&[0][..])));
    // The gateway has just started, so it challenges: it found the request authentic.
    let result = pair.input(GATEWAY, Input::Datagram { bytes: &request, path_is_new: false });
    assert_eq!(result, Err(keyferry_channel::Refused::EchoRequired));
    let key = values["channel key 0"].clone().try_into().unwrap();
    let (_, content) = spy::open(&spy::look(TERMINAL, &request).unwrap(), &[], &key, 0).unwrap();
    assert_eq!(hex(&values["request content"]), hex(&content));
}

#[test]
fn the_samples_are_what_they_say() {
    let values = values();
    let connect = Connect::decode(&values["sample connect"]).unwrap();
    assert_eq!(connect.encode()[..], values["sample connect"]);
    assert_eq!((connect.port, connect.source_port, connect.alpn.len()), (443, 50001, 1));
    let answer = ConnectAnswer::decode(&values["sample connect-answer"]).unwrap();
    assert_eq!(answer.encode()[..], values["sample connect-answer"]);
    assert_eq!((answer.session.0, answer.address.to_string(), answer.seconds), (7, "10.7.2.2".into(), 10));
    let SessionPush::Handover(handover) = SessionPush::decode(&values["sample handover"]).unwrap() else {
        panic!("not a hand-over")
    };
    assert_eq!(handover.encode()[..], values["sample handover"]);
    assert_eq!(handover.binding.local.to_string(), "10.7.1.2:50001");
    assert_eq!(handover.peer.identity, "server.example");
    let failure = Failure::decode(&values["sample failure"]).unwrap();
    assert_eq!(failure.encode()[..], values["sample failure"]);
    assert_eq!(failure.reason, Reason::CERTIFICATE_EXPIRED);
    assert!(matches!(SessionPush::decode(&values["sample failure"]), Ok(SessionPush::Failure(_))));
    assert_eq!(Echo::decode(&values["sample echo"]).unwrap().0, [0xde, 0xad, 0xbe, 0xef]);
}

#[test]
fn the_samples_of_a_server_are_what_they_say() {
    let values = values();
    let listen = Listen::decode(&values["sample listen"]).unwrap();
    assert_eq!(listen.encode()[..], values["sample listen"]);
    assert_eq!((listen.port, listen.seconds, listen.oldest_version), (8443, 600, ProtocolVersion::TLS_1_2));
    assert_eq!(listen.alpn, ["http/1.1"]);
    let answer = ListenAnswer::decode(&values["sample listen-answer"]).unwrap();
    assert_eq!(answer.encode()[..], values["sample listen-answer"]);
    assert_eq!(answer.seconds, 300);
    let SessionPush::Handover(handover) = SessionPush::decode(&values["sample handover to a server"]).unwrap() else {
        panic!("not a hand-over")
    };
    assert_eq!(handover.encode()[..], values["sample handover to a server"]);
    assert_eq!((handover.role, handover.tls_version), (Role::SERVER, ProtocolVersion::TLS_1_2));
    assert_eq!((handover.tx_sequence, handover.rx_sequence), (1, 1));
    assert_eq!(handover.tx_secret.as_bytes(), (0..28).collect::<Vec<u8>>());
    assert_eq!(handover.binding.local.to_string(), "10.7.1.2:8443");
    assert_eq!(handover.server_name.as_deref(), Some("terminal.example"));
    assert_eq!(handover.peer.method, ProofMethod::ANONYMOUS);
    assert_eq!(handover.peer.identity, handover.binding.remote.ip().to_string());
    let ticket = Ticket::decode(&values["sample ticket"]).unwrap();
    assert_eq!(ticket.encode()[..], values["sample ticket"]);
    assert_eq!(ticket.session.0, 7);
}

#[test]
fn the_samples_of_assisted_mode_are_what_they_say() {
    let values = values();
    let request = |name: &str| {
        let request = KxRequest::decode(&values[name]).unwrap();
        assert_eq!(request.encode()[..], values[name], "{name}");
        request
    };
    let KxRequest::Start { role: Role::CLIENT, connect: Some(connect), .. } = request("sample kx start") else {
        panic!("not a client's start")
    };
    assert_eq!((connect.peer, connect.port), (PeerName::Name("server.example".into()), 443));
    let start = KxAnswer::decode_start(&values["sample kx start answer"]).unwrap();
    assert_eq!(start.encode()[..], values["sample kx start answer"]);
    assert_eq!(start.needed, [Step::AUTHENTICATION, Step::KEY_GENERATION]);
    assert_eq!((start.next, start.address), (Step::AUTHENTICATION, Some([10, 7, 2, 2].into())));
    let KxRequest::Carry { step, session, offset: 0, closed: false, .. } = request("sample kx piece") else {
        panic!("not a first piece")
    };
    assert_eq!((step, session), (start.next, start.session));
    let answer = KxAnswer::decode(&values["sample kx answer"]).unwrap();
    assert_eq!(answer.encode()[..], values["sample kx answer"]);
    assert_eq!((answer.next, answer.session), (Step::KEY, start.session));
    let KxRequest::Key { session, length: 2212, binding } = request("sample kx key") else { panic!("no length 2212") };
    assert_eq!(session, start.session);
    assert_eq!((binding.local.port(), Some(binding.remote.ip())), (connect.source_port, start.address));
    let KxRequest::Start { listen: Some(listen), binding: Some(binding), .. } = request("sample kx start of a server")
    else {
        panic!("not a server's start")
    };
    assert_eq!(listen, Listen::new(binding.local.port()));
    let failure = Failure::decode(&values["sample failure with last words"]).unwrap();
    assert_eq!(failure.encode()[..], values["sample failure with last words"]);
    assert_eq!((failure.reason, &failure.last_words[5..]), (Reason::NO_COMMON_SUITE, &[2, 40][..]));
}

/// The records of TLS 1.2, by another implementation of the ciphers than the one the values come from.
#[test]
fn the_worked_records_are_right() {
    let values = values();
    let payload = Payload { msg: b"keyferry", aad: &values["aes-128-gcm additional data"] };
    let (key, iv) = values["aes-128-gcm secret"].split_at(16);
    let nonce = nonce_of_record_1(iv);
    assert_eq!(nonce.to_vec(), values["aes-128-gcm nonce"]);
    let sealed = Aes128Gcm::new_from_slice(key).unwrap().encrypt(&nonce.into(), payload).unwrap();
    let record = [&[0x17, 3, 3, 0, 32], &nonce[4..], &sealed].concat();
    assert_eq!(hex(&record), hex(&values["aes-128-gcm record"]));

    let payload = Payload { msg: b"keyferry", aad: &values["aes-128-gcm additional data"] };
    let (key, iv) = values["chacha20-poly1305 secret"].split_at(32);
    let nonce = nonce_of_record_1(iv);
    assert_eq!(nonce.to_vec(), values["chacha20-poly1305 nonce"]);
    let sealed = ChaCha20Poly1305::new_from_slice(key).unwrap().encrypt(&nonce.into(), payload).unwrap();
    assert_eq!(hex(&[&[0x17, 3, 3, 0, 24], &sealed[..]].concat()), hex(&values["chacha20-poly1305 record"]));
}

fn nonce_of_record_1(iv: &[u8]) -> [u8; 12] {
    let mut nonce: [u8; 12] = iv.try_into().unwrap();
    nonce[11] ^= 1;
    nonce
}

/// The lengths that the definition allows are those that the code does.
#[test]
fn the_definition_has_the_bounds_of_the_code() {
    let bounds = |line: &str| CDDL.lines().find(|other| other.trim_start().starts_with(line)).expect(line);
    let cases = [
        ("to-send =", KxAnswer::MAX_SEND),
        ("? 4: bstr .size (0..16384)", KxRequest::MAX_START),
        ("? 4: bstr .size (0..1024)", KxRequest::MAX_PIECE),
        ("? 11: bstr", Handover::MAX_PREFIX),
        ("? 15: tstr", Failure::MAX_DETAIL),
    ];
    for (line, most) in cases {
        assert!(bounds(line).contains(&format!("(0..{most})")), "{line}: {most}");
    }
    assert!(bounds("? 17:").contains("to-send") && Failure::MAX_LAST_WORDS == KxAnswer::MAX_SEND);
    assert!(TEXT.contains(&format!("at most {}", Failure::MAX_LAST_WORDS)));
}

/// Every reason of the code is in the table, and no other.
#[test]
fn the_table_of_reasons_is_complete() {
    let cells = |line: &'static str| line.split('|').map(str::trim).skip(1).collect::<Vec<_>>();
    let listed: BTreeMap<u16, String> = TEXT
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(cells)
        .filter_map(|cells| Some((cells.first()?.parse().ok()?, cells.get(1)?.trim_matches('`').to_owned())))
        .filter(|(number, _)| *number > 100)
        .collect();
    let defined: BTreeMap<u16, String> = Reason::ALL.iter().map(|reason| (reason.0, reason.to_string())).collect();
    assert_eq!(listed, defined);
}
