//! Who does not hold the key gets no answer and changes nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong"
)]

mod pair;

use keyferry_channel::{Input, Refused};
use pair::{Dice, GATEWAY, Pair, TERMINAL};

/// Offers a datagram to a side and asserts that it is refused without a trace.
fn refused(pair: &mut Pair, side: usize, bytes: &[u8]) -> Refused {
    let before = (pair.sent.len(), pair.sides[side].events.len(), pair.sides[side].persisted);
    let state = pair.sides[side].endpoint.state().encode();
    let deadline = pair.deadline(side);
    let why = pair.input(side, Input::Datagram { bytes, path_is_new: false }).expect_err("accepted");
    let after = (pair.sent.len(), pair.sides[side].events.len(), pair.sides[side].persisted);
    assert_eq!(before, after, "{why} left a trace");
    assert_eq!(pair.sides[side].endpoint.state().encode(), state);
    assert_eq!(pair.deadline(side), deadline);
    why
}

/// A request of the terminal that has not reached the gateway.
fn genuine(pair: &mut Pair) -> Vec<u8> {
    pair.request(TERMINAL, 1, b"body").unwrap();
    pair.wire.pop().unwrap().2
}

#[test]
fn random_bytes() {
    let (mut pair, mut dice) = (Pair::settled(1), Dice::new(9));
    for length in 0..300 {
        let bytes: Vec<u8> = (0..length).map(|_| dice.roll() as u8).collect();
        refused(&mut pair, length % 2, &bytes);
    }
}

#[test]
fn plain_coap_pings_and_resets() {
    let mut pair = Pair::settled(2);
    for side in [TERMINAL, GATEWAY] {
        assert_eq!(refused(&mut pair, side, b"\x40\x01\x12\x34\xb4test"), Refused::NotOscore);
        assert_eq!(refused(&mut pair, side, b"\x40\x00\x12\x34"), Refused::Unmatched, "ping");
        for kind in [0x60, 0x70] {
            for message_id in 0..=u16::MAX {
                let [high, low] = message_id.to_be_bytes();
                assert_eq!(refused(&mut pair, side, &[kind, 0, high, low]), Refused::Unmatched);
            }
        }
    }
}

#[test]
fn an_unknown_sender_id_or_key() {
    let mut pair = Pair::settled(3);
    let mut datagram = genuine(&mut pair);
    let at = datagram.windows(2).position(|window| window == [0x11, 0x22]).unwrap();
    datagram[at] = 0x12;
    assert_eq!(refused(&mut pair, GATEWAY, &datagram), Refused::UnknownKid);
    datagram[at] = 0x11;
    let last = datagram.len() - 1;
    datagram[last] ^= 1;
    assert_eq!(refused(&mut pair, GATEWAY, &datagram), Refused::NotAuthentic);
    // A message of our own, reflected.
    let own = genuine(&mut pair);
    assert_eq!(refused(&mut pair, TERMINAL, &own), Refused::UnknownKid);
}

/// Type, message id and token are CoAP's, not OSCORE's: whoever alters them in a message not yet delivered only does what
/// anybody on the path can, divert the answer into nothing. All else must be refused.
#[test]
fn one_altered_bit_in_a_request_not_yet_delivered() {
    let mut pair = Pair::settled(4);
    let datagram = genuine(&mut pair);
    let token_end = 4 + usize::from(datagram[0] & 0x0f);
    for bit in 0..datagram.len() * 8 {
        let is_version = bit < 2;
        let is_code = bit / 8 == 1;
        if bit / 8 < token_end && !is_version && !is_code {
            continue;
        }
        let mut altered = datagram.clone();
        altered[bit / 8] ^= 0x80 >> (bit % 8);
        refused(&mut pair, GATEWAY, &altered);
    }
    pair.input(GATEWAY, Input::Datagram { bytes: &datagram, path_is_new: false }).unwrap();
    assert_eq!(pair.sides[GATEWAY].delivered, [b"body"]);
}

#[test]
fn one_altered_bit_anywhere_in_a_request_already_delivered() {
    let mut pair = Pair::settled(5);
    let datagram = genuine(&mut pair);
    pair.input(GATEWAY, Input::Datagram { bytes: &datagram, path_is_new: false }).unwrap();
    for bit in 0..datagram.len() * 8 {
        let mut altered = datagram.clone();
        altered[bit / 8] ^= 0x80 >> (bit % 8);
        refused(&mut pair, GATEWAY, &altered);
    }
}

#[test]
fn one_altered_bit_anywhere_in_an_answer() {
    let mut pair = Pair::settled(6);
    let request = genuine(&mut pair);
    pair.input(GATEWAY, Input::Datagram { bytes: &request, path_is_new: false }).unwrap();
    pair.step();
    let answer = pair.wire.iter().find(|(_, to, _)| *to == TERMINAL).unwrap().2.clone();
    for bit in 0..answer.len() * 8 {
        let mut altered = answer.clone();
        altered[bit / 8] ^= 0x80 >> (bit % 8);
        // ACK to NON: the type is CoAP's, the answer itself stays genuine.
        if altered[1..] == answer[1..] && altered[0] & 0xcf == answer[0] & 0xcf {
            continue;
        }
        refused(&mut pair, TERMINAL, &altered);
    }
    pair.input(TERMINAL, Input::Datagram { bytes: &answer, path_is_new: false }).unwrap();
    assert_eq!(pair.answered(TERMINAL, 1).unwrap(), b"body");
}

#[test]
fn every_truncation() {
    let mut pair = Pair::settled(7);
    let datagram = genuine(&mut pair);
    for length in 0..datagram.len() {
        refused(&mut pair, GATEWAY, &datagram[..length]);
    }
}

#[test]
fn a_foreign_acknowledgement_only_stops_retransmission() {
    let mut pair = Pair::settled(8);
    let datagram = genuine(&mut pair);
    pair.input(TERMINAL, Input::Datagram { bytes: &[0x60, 0, datagram[2], datagram[3]], path_is_new: true }).unwrap();
    assert!(pair.sides[TERMINAL].events.is_empty(), "it proves nothing about the peer");
}
