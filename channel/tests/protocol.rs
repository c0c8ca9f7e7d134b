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

use keyferry_channel::{ChannelKey, Input, State, peek};
use keyferry_parsers::messages::{Connect, ConnectAnswer, Echo, Failure, Reason, SessionPush};
use pair::{GATEWAY, Pair, TERMINAL, spy};

const TEXT: &str = include_str!("../PROTOCOL.md");

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
