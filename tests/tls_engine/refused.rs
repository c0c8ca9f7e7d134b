//! Peers and requests that are refused for another reason than the certificate.

use std::time::Duration;

use keyferry::crypto::{GROUPS, SUITES};
use keyferry::error::{Error, Fault, Reason};
use keyferry::tls::{Client, Handshake, Offer, Pin, Profile, Progress, ServerIdentity, Trust};
use keyferry_parsers::tls::{CipherSuite, NamedGroup};

use crate::peer::*;
use crate::pki::*;

const ALERT_PROTOCOL_VERSION: [u8; 7] = [21, 3, 3, 0, 2, 2, 70];

fn started() -> Box<dyn Handshake> {
    let mut engine = client(Pki::new().trust()).start(&offer()).unwrap();
    engine.drain(&mut Vec::new());
    engine
}

/// The error that `record`, as the first of the peer, leads to, and what the peer gets for it.
#[track_caller]
fn answer(record: &[u8]) -> (Error, Vec<u8>) {
    let mut engine = started();
    let error = engine.feed(Duration::from_secs(NOW), record).err().expect("a refusal");
    let mut out = Vec::new();
    engine.drain(&mut out);
    (error, out)
}

/// A ServerHello without `supported_versions`, as servers before TLS 1.3 send it.
fn old_server_hello(version: u8) -> Vec<u8> {
    let body = [&[3, version][..], &[7; 32], &[0], &[0xc0, 0x2b], &[0]].concat();
    let message = [&[2, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 3, 0, message.len() as u8][..], &message].concat()
}

#[test]
fn a_peer_without_tls_1_3() {
    for version in [1, 2, 3] {
        let (error, out) = answer(&old_server_hello(version));
        assert_eq!(error.reason, Reason::PEER_VERSION, "{error}");
        assert_eq!(out, ALERT_PROTOCOL_VERSION, "version 3.{version}");
    }
    let (error, out) = answer(&ALERT_PROTOCOL_VERSION);
    assert_eq!(error.reason, Reason::PEER_VERSION, "{error}");
    assert_eq!(error.fault, Fault::PeerIncompatible);
    assert!(out.is_empty(), "an alert is not answered");
}

#[test]
fn no_common_suite_and_no_common_group() {
    let pki = Pki::new();
    let profile = Profile {
        groups: vec![NamedGroup::X25519],
        suites: vec![CipherSuite::TLS_AES_128_GCM_SHA256],
        ..Profile::new(pki.trust())
    };
    let client = Client::new(&profile).unwrap();
    let key = pki.server().certified_key();
    let other_suite = server_config_of(key.clone(), &GROUPS, &[CipherSuite::TLS_AES_256_GCM_SHA384]);
    let other_group = server_config_of(key, &[NamedGroup::SECP256R1], &SUITES);
    for config in [other_suite, other_group] {
        let error = play(client.start(&offer()).unwrap(), config).error();
        assert_eq!(error.reason, Reason::NO_COMMON_SUITE, "{error}");
        assert!(error.detail.contains("group"), "{error}");
    }
}

#[test]
fn an_alert_is_named() {
    let (error, _) = answer(&[21, 3, 3, 0, 2, 2, 80]);
    assert_eq!(error.reason, Reason::PEER_ALERT);
    assert!(error.detail.contains("internal_error (80)"), "{error}");
    let (error, _) = answer(&[21, 3, 3, 0, 2, 2, 116]);
    assert_eq!(error.reason, Reason::CLIENT_CERTIFICATE_REQUIRED);
    let (error, _) = answer(&[21, 3, 3, 0, 2, 2, 112]);
    assert_eq!(error.reason, Reason::PEER_ALERT);
    assert!(error.detail.contains("name"), "{error}");
    // An unknown alert keeps its number.
    let (error, _) = answer(&[21, 3, 3, 0, 2, 2, 199]);
    assert!(error.detail.contains("199"), "{error}");
}

#[test]
fn a_peer_that_closes() {
    let error = started().peer_closed();
    assert_eq!(error.reason, Reason::PEER_CLOSED);
    assert!(error.detail.contains("without an answer"), "{error}");

    let pki = Pki::new();
    let outcome =
        play_through(client(pki.trust()).start(&offer()).unwrap(), server_config(&pki.server()), |_, mut bytes| {
            bytes.truncate(bytes.len().saturating_sub(1));
            bytes
        });
    let error = outcome.error();
    assert_eq!(error.reason, Reason::PEER_CLOSED);
    assert!(error.detail.contains("in the middle"), "{error}");
}

#[test]
fn what_is_not_tls() {
    let (error, out) = answer(&[b'H', b'T', b'T', 0, 2, b'/', b'1']);
    assert_eq!(error.reason, Reason::PEER_MALFORMED, "{error}");
    assert!(error.detail.contains("port"), "{error}");
    assert_eq!(out, [21, 3, 3, 0, 2, 2, 50], "decode_error");
}

#[test]
fn messages_out_of_place() {
    // A Finished first, application data first.
    let (error, out) = answer(&[22, 3, 3, 0, 4, 20, 0, 0, 0]);
    assert_eq!(error.reason, Reason::PEER_PROTOCOL, "{error}");
    assert_eq!(out, [21, 3, 3, 0, 2, 2, 10], "unexpected_message");
    let (error, out) = answer(&[23, 3, 3, 0, 3, 1, 2, 3]);
    assert_eq!(error.reason, Reason::PEER_PROTOCOL, "{error}");
    assert_eq!(out, [21, 3, 3, 0, 2, 2, 10], "unexpected_message");
}

#[test]
fn records_and_messages_too_large() {
    let (error, out) = answer(&[&[22, 3, 3, 0xff, 0xff][..], &[0; 0xffff]].concat());
    assert_eq!(error.reason, Reason::PEER_OVERSIZED, "{error}");
    assert!(!out.is_empty(), "the peer is told");

    // A ServerHello that announces 16 MB, delivered record by record.
    let mut engine = started();
    let mut fragment = [&[22, 3, 3, 0x40, 0][..], &[0; 0x4000]].concat();
    fragment[5..9].copy_from_slice(&[2, 0xff, 0xff, 0xff]);
    let mut error = None;
    for _ in 0..8 {
        error = engine.feed(Duration::from_secs(NOW), &fragment).err();
        if error.is_some() {
            break;
        }
        fragment[5..9].fill(0);
    }
    assert_eq!(error.expect("not 128 KB").reason, Reason::PEER_OVERSIZED);

    let pki = Pki::new();
    let mut identity = pki.server();
    identity.chain.extend(std::iter::repeat_n(pki.intermediate.der().clone(), 200));
    let outcome = play(client(pki.trust()).start(&offer()).unwrap(), server_config(&identity));
    assert_eq!(outcome.error().reason, Reason::PEER_OVERSIZED);
}

#[test]
fn nothing_is_taken_after_the_end() {
    let pki = Pki::new();
    let mut outcome = play(client(pki.trust()).start(&offer()).unwrap(), server_config(&pki.server()));
    assert!(outcome.result.is_ok());
    for record in [&[23, 3, 3, 0, 1, 0][..], &[22, 3, 3, 0, 0], &[]] {
        let error = outcome.engine.feed(Duration::from_secs(NOW), record).err().unwrap();
        assert_eq!(error.reason, Reason::INTERNAL, "{error}");
    }
    assert_eq!(outcome.engine.peer_closed().reason, Reason::INTERNAL);
    let mut out = Vec::new();
    outcome.engine.drain(&mut out);
    assert!(out.is_empty());
}

#[test]
fn an_error_is_repeated() {
    let mut engine = started();
    let first = engine.feed(Duration::from_secs(NOW), &ALERT_PROTOCOL_VERSION).err().unwrap();
    let again = engine.feed(Duration::from_secs(NOW), &[22, 3, 3, 0, 1, 0]).err().unwrap();
    assert_eq!(first, again);
    assert_eq!(engine.peer_closed(), first);
}

#[test]
fn anything_but_one_record_is_the_gateways_own_fault() {
    for wrong in [&[][..], &[22, 3, 3, 0], &[22, 3, 3, 0, 5, 1], &[22, 3, 3, 0, 1, 0, 22, 3, 3, 0, 1, 0]] {
        let (error, _) = answer(wrong);
        assert_eq!(error.fault, Fault::Internal);
    }
    let mut engine = started();
    assert!(matches!(engine.feed(Duration::from_secs(NOW), &[21, 3, 3, 0, 2, 1, 90]), Ok(Progress::Handshaking)));
}

#[test]
fn requests_that_make_no_hello() {
    let client = client(Pki::new().trust());
    let long = "a".repeat(64) + ".example";
    for name in ["", ".", "two words", "a..b", "-", long.as_str(), "10.7.2.2", "ümlaut.example"] {
        let offer = Offer { server: ServerIdentity::Name(name.to_owned()), ..offer() };
        let error = client.start(&offer).err().unwrap_or_else(|| panic!("`{name}` was taken for a name"));
        assert_eq!(error.reason, Reason::MALFORMED_REQUEST);
    }
    for alpn in [String::new(), "x".repeat(256)] {
        let offer = Offer { alpn: vec!["h2".to_owned(), alpn], ..offer() };
        assert_eq!(client.start(&offer).err().unwrap().reason, Reason::MALFORMED_REQUEST);
    }
}

#[test]
fn profiles_that_cannot_be_prepared() {
    let error = |trust: Trust| Client::new(&Profile::new(trust)).err().unwrap();
    assert!(error(Trust::default()).detail.contains("nothing to trust"));
    let not_a_certificate = Trust { anchors: vec![vec![0x30, 0]], pins: vec![Pin([0; 32])] };
    assert!(error(not_a_certificate).detail.contains("anchor 0"));
}
