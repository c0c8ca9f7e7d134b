//! RFC 8613 appendix C, every vector, both directions.

use std::vec::Vec;

use super::context::info;
use super::protect::{aad, nonce};
use super::*;
use crate::coap::{Content, Kind, Token};

const SECRET: &str = "0102030405060708090a0b0c0d0e0f10";
const SALT: &str = "9e7ca92223786340";
const ID_CONTEXT: &str = "37cbf3210017a2d3";
const RESPONSE: &str = "64455d1f00003974ff48656c6c6f20576f726c6421";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn short<const N: usize>(text: &str) -> Short<N> {
    Short::new(&hex(text)).unwrap()
}

fn context(salt: &str, id_context: Option<&str>, sender: &str, recipient: &str) -> Context {
    let ids = ContextIds { sender: short(sender), recipient: short(recipient), id_context: id_context.map(short) };
    Context::derive(&hex(SECRET), &hex(salt), ids)
}

fn iv(number: u64) -> PartialIv {
    PartialIv::new(number).unwrap()
}

/// Sender key, recipient key, common IV, and the nonces of sender and recipient for sequence number 0.
fn check_keys(context: &Context, expected: [&str; 5]) {
    let (sender_key, recipient_key, common_iv) = context.parts();
    assert_eq!(sender_key[..], hex(expected[0]));
    assert_eq!(recipient_key[..], hex(expected[1]));
    assert_eq!(common_iv[..], hex(expected[2]));
    assert_eq!(nonce(common_iv, context.ids.sender, iv(0))[..], hex(expected[3]));
    assert_eq!(nonce(common_iv, context.ids.recipient, iv(0))[..], hex(expected[4]));
}

#[test]
fn c1_key_derivation_with_salt() {
    assert_eq!(info(short(""), None, "Key", 16)[..], hex("8540f60a634b657910"));
    assert_eq!(info(short("01"), None, "Key", 16)[..], hex("854101f60a634b657910"));
    assert_eq!(info(short(""), None, "IV", 13)[..], hex("8540f60a6249560d"));
    check_keys(
        &context(SALT, None, "", "01"),
        [
            "f0910ed7295e6ad4b54fc793154302ff",
            "ffb14e093c94c9cac9471648b4f98710",
            "4622d4dd6d944168eefb54987c",
            "4622d4dd6d944168eefb54987c",
            "4722d4dd6d944169eefb54987c",
        ],
    );
    check_keys(
        &context(SALT, None, "01", ""),
        [
            "ffb14e093c94c9cac9471648b4f98710",
            "f0910ed7295e6ad4b54fc793154302ff",
            "4622d4dd6d944168eefb54987c",
            "4722d4dd6d944169eefb54987c",
            "4622d4dd6d944168eefb54987c",
        ],
    );
}

#[test]
fn c2_key_derivation_without_salt() {
    check_keys(
        &context("", None, "00", "01"),
        [
            "321b26943253c7ffb6003b0b64d74041",
            "e57b5635815177cd679ab4bcec9d7dda",
            "be35ae297d2dace910c52e99f9",
            "bf35ae297d2dace910c52e99f9",
            "bf35ae297d2dace810c52e99f9",
        ],
    );
}

#[test]
fn c3_key_derivation_with_id_context() {
    assert_eq!(info(short(""), Some(short(ID_CONTEXT)), "Key", 16)[..], hex("85404837cbf3210017a2d30a634b657910"));
    check_keys(
        &context(SALT, Some(ID_CONTEXT), "", "01"),
        [
            "af2a1300a5e95788b356336eeecd2b92",
            "e39a0c7c77b43f03b4b39ab9a268699f",
            "2ca58fb85ff1b81c0b7181b85e",
            "2ca58fb85ff1b81c0b7181b85e",
            "2da58fb85ff1b81d0b7181b85e",
        ],
    );
}

/// Protects `unprotected` with sequence number 20 and takes the result apart again at the other end.
fn check_request(mut client: Context, mut server: Context, unprotected: &str, protected: &str) {
    let unprotected = hex(unprotected);
    let message = Message::parse(&unprotected).unwrap();
    let uri_host = message.options.find(OptionNumber::URI_HOST);
    let path = message.options.find(OptionNumber::URI_PATH).unwrap();
    let mut content = std::vec![message.code.0];
    crate::coap::OptionWriter::new(&mut content).push(OptionNumber::URI_PATH, path);
    assert_eq!(content, hex("01b3747631"));

    let outer = Outer { kind: message.kind, message_id: message.message_id, token: &message.token, uri_host };
    let datagram = client.protect_request(&outer, iv(20), &content).unwrap();
    assert_eq!(datagram, hex(protected));

    let received = Message::parse(&datagram).unwrap();
    let option = OscoreOption::parse(received.options.find(OptionNumber::OSCORE).unwrap()).unwrap();
    let opened = server.unprotect_request(option.partial_iv.unwrap(), received.payload).unwrap();
    assert_eq!(opened[..], content);
}

#[test]
fn c4_request() {
    assert_eq!(aad(short(""), iv(20)).as_bytes(), hex("8368456e63727970743040488501810a40411440"));
    check_request(
        context(SALT, None, "", "01"),
        context(SALT, None, "01", ""),
        "44015d1f00003974396c6f63616c686f737483747631",
        "44025d1f00003974396c6f63616c686f7374620914ff612f1092f1776f1c1668b3825e",
    );
}

#[test]
fn c5_request_without_salt() {
    assert_eq!(aad(short("00"), iv(20)).as_bytes(), hex("8368456e63727970743040498501810a4100411440"));
    check_request(
        context("", None, "00", "01"),
        context("", None, "01", "00"),
        "440171c30000b932396c6f63616c686f737483747631",
        "440271c30000b932396c6f63616c686f737463091400ff4ed339a5a379b0b8bc731fffb0",
    );
}

#[test]
fn c6_request_with_id_context() {
    check_request(
        context(SALT, Some(ID_CONTEXT), "", "01"),
        context(SALT, Some(ID_CONTEXT), "01", ""),
        "44012f8eef9bbf7a396c6f63616c686f737483747631",
        "44022f8eef9bbf7a396c6f63616c686f73746b19140837cbf3210017a2d3ff72cd7273fd331ac45cffbe55c3",
    );
}

fn check_response(own: Option<PartialIv>, protected: &str) {
    let (mut server, mut client) = (context(SALT, None, "01", ""), context(SALT, None, "", "01"));
    let unprotected = hex(RESPONSE);
    let message = Message::parse(&unprotected).unwrap();
    let mut content = Vec::new();
    Content { code: message.code, options: message.options, payload: message.payload }.emit(&mut content);
    assert_eq!(content, hex("45ff48656c6c6f20576f726c6421"));
    let token: Token = short("00003974");
    let outer = Outer { kind: Kind::Acknowledgement, message_id: 0x5d1f, token: &token, uri_host: None };
    let datagram = server.protect_response(&outer, iv(20), own, &content).unwrap();
    assert_eq!(datagram, hex(protected));

    let received = Message::parse(&datagram).unwrap();
    let option = OscoreOption::parse(received.options.find(OptionNumber::OSCORE).unwrap()).unwrap();
    assert_eq!(option.partial_iv, own);
    assert_eq!(client.unprotect_response(iv(20), own, received.payload).unwrap()[..], content);
    assert!(client.unprotect_response(iv(21), own, received.payload).is_none());
}

#[test]
fn c7_response() {
    check_response(None, "64445d1f0000397490ffdbaad1e9a7e7b2a813d3c31524378303cdafae119106");
}

#[test]
fn c8_response_with_partial_iv() {
    check_response(Some(iv(0)), "64445d1f00003974920100ff4d4c13669384b67354b2b6175ff4b8658c666a6cf88e");
}

#[test]
fn longest_aad_fits() {
    assert_eq!(aad(short("01020304050607"), iv(PartialIv::MAX)).as_bytes().len(), 11 + 1 + 19);
}

#[test]
fn peek_tells_requests_from_the_rest() {
    let request = hex("44022f8eef9bbf7a396c6f63616c686f73746b19140837cbf3210017a2d3ff72cd7273fd331ac45cffbe55c3");
    let seen = peek(&request).unwrap();
    assert_eq!((seen.kid, seen.is_request, seen.is_empty), (Some(&[][..]), true, false));
    assert_eq!(seen.kid_context.unwrap(), hex(ID_CONTEXT));
    let response = hex("64445d1f0000397490ffdbaad1e9a7e7b2a813d3c31524378303cdafae119106");
    assert_eq!(peek(&response).map(|seen| (seen.kid, seen.is_request)), Some((None, false)));
    assert!(peek(&[0x60, 0, 1, 2]).unwrap().is_empty);
    assert_eq!(peek(&hex(RESPONSE)), None, "no OSCORE option");
    assert_eq!(peek(&request[..12]), None);
}
