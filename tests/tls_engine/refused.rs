//! Peers and requests that are refused for another reason than the certificate.

use std::sync::Arc;

use keyferry::crypto::{GROUPS, SUITES};
use keyferry::error::{Error, Fault, Reason};
use keyferry::tls::{Client, Handshake, Offer, Pin, Profile, Progress, ServerIdentity, Trust};
use keyferry_parsers::tls::{CipherSuite, NamedGroup};
use rustls::ServerConnection;

use crate::peer::*;
use crate::pki::*;

const ALERT_PROTOCOL_VERSION: [u8; 7] = [21, 3, 3, 0, 2, 2, 70];

fn started() -> Box<dyn Handshake> {
    let mut engine = start(&client(Pki::new().trust()), &offer());
    engine.drain(&mut Vec::new());
    engine
}

/// The error that `record`, as the first of the peer, leads to, and what the peer gets for it.
#[track_caller]
fn answer(record: &[u8]) -> (Error, Vec<u8>) {
    answer_of(&SUITES, record)
}

/// The same after a hello with these suites.
#[track_caller]
fn answer_of(suites: &[CipherSuite], record: &[u8]) -> (Error, Vec<u8>) {
    let mut engine = start(&client(Pki::new().trust()), &Offer { suites: suites.to_vec(), ..offer() });
    engine.drain(&mut Vec::new());
    let error = engine.feed(TIME, record).err().expect("a refusal");
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

/// With only TLS 1.3 on offer, TLS 1.2 is too old, too.
#[test]
fn a_peer_whose_versions_are_older_than_what_was_offered() {
    let ([(_, tls13), _], all) = (versions(), SUITES);
    for (suites, too_old, text) in
        [(tls13, &[1, 2, 3][..], "speak TLS 1.3:"), (&all[..], &[1, 2], "speak TLS 1.3 or 1.2:")]
    {
        for version in too_old {
            let (error, out) = answer_of(suites, &old_server_hello(*version));
            assert_eq!(error.reason, Reason::PEER_VERSION, "{error}");
            assert_eq!(out, ALERT_PROTOCOL_VERSION, "version 3.{version}");
            assert!(error.detail.contains(text), "{error}");
        }
        let (error, out) = answer_of(suites, &ALERT_PROTOCOL_VERSION);
        assert_eq!(error.reason, Reason::PEER_VERSION, "{error}");
        assert_eq!(error.fault, Fault::PeerIncompatible);
        assert!(error.detail.contains(text), "{error}");
        assert!(out.is_empty(), "an alert is not answered");
    }
}

#[test]
fn a_peer_without_extended_master_secret() {
    let (error, out) = answer(&old_server_hello(3));
    assert_eq!(error.reason, Reason::NO_EXTENDED_MASTER_SECRET, "{error}");
    assert_eq!(out, [21, 3, 3, 0, 2, 2, 40], "handshake_failure");
}

/// A server of both versions, made to believe that the client offers the old one alone.
#[test]
fn a_downgrade_to_tls_1_2() {
    let pki = Pki::new();
    let [_, (_, tls12)] = versions();
    // This hello alone names the old suites alone; the sentinel in the answer to it gives the attack away.
    let mut old = start(&client(pki.trust()), &Offer { suites: tls12.to_vec(), ..offer() });
    let mut server = ServerConnection::new(Arc::new(server_config(&pki.server()))).unwrap();
    give(&mut server, old.as_mut()).unwrap();
    let answer = take(&mut server);
    assert_eq!(&answer[5 + 4 + 2 + 24..][..8], b"DOWNGRD\x01");
    let mut engine = started();
    let error = engine.feed(TIME, next_record(&mut &answer[..]).unwrap()).err().unwrap();
    assert_eq!(error.reason, Reason::PEER_PROTOCOL, "{error}");
    assert!(error.detail.contains("Downgrade"), "{error}");
    assert_eq!(drained(engine.as_mut()), [21, 3, 3, 0, 2, 2, 47], "illegal_parameter");
}

/// In the middle of the handshake, where HelloRequest has no place.
#[test]
fn a_server_that_wants_to_renegotiate() {
    let pki = Pki::new();
    let config = server_config_of(pki.server().certified_key(), &GROUPS, versions()[1].1);
    let outcome = play_through(start(&client(pki.trust()), &offer()), config, |flight, bytes| {
        if flight == 0 { [&[22, 3, 3, 0, 4, 0, 0, 0, 0], &bytes[..]].concat() } else { bytes }
    });
    assert_eq!(outcome.alert, Some(rustls::AlertDescription::UnexpectedMessage));
    let error = outcome.error();
    assert_eq!(error.reason, Reason::PEER_RENEGOTIATION, "{error}");
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
        let error = play(start(&client, &offer()), config).error();
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
    let outcome = play_through(start(&client(pki.trust()), &offer()), server_config(&pki.server()), |_, mut bytes| {
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
        error = engine.feed(TIME, &fragment).err();
        if error.is_some() {
            break;
        }
        fragment[5..9].fill(0);
    }
    assert_eq!(error.expect("not 128 KB").reason, Reason::PEER_OVERSIZED);

    let pki = Pki::new();
    let mut identity = pki.server();
    identity.chain.extend(std::iter::repeat_n(pki.intermediate.der().clone(), 200));
    let outcome = play(start(&client(pki.trust()), &offer()), server_config(&identity));
    assert_eq!(outcome.error().reason, Reason::PEER_OVERSIZED);
}

#[test]
fn nothing_is_taken_after_the_end() {
    let pki = Pki::new();
    let mut outcome = play(start(&client(pki.trust()), &offer()), server_config(&pki.server()));
    assert!(outcome.result.is_ok());
    for record in [&[23, 3, 3, 0, 1, 0][..], &[22, 3, 3, 0, 0], &[]] {
        let error = outcome.engine.feed(TIME, record).err().unwrap();
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
    let first = engine.feed(TIME, &ALERT_PROTOCOL_VERSION).err().unwrap();
    let again = engine.feed(TIME, &[22, 3, 3, 0, 1, 0]).err().unwrap();
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
    assert!(matches!(engine.feed(TIME, &[21, 3, 3, 0, 2, 1, 90]), Ok(Progress::Handshaking)));
}

#[test]
fn requests_that_make_no_hello() {
    let client = client(Pki::new().trust());
    let long = "a".repeat(64) + ".example";
    for name in ["", ".", "two words", "a..b", "-", long.as_str(), "10.7.2.2", "ümlaut.example"] {
        let offer = Offer { server: ServerIdentity::Name(name.to_owned()), ..offer() };
        let error = client.start(TIME, &offer).err().unwrap_or_else(|| panic!("`{name}` was taken for a name"));
        assert_eq!(error.reason, Reason::MALFORMED_REQUEST);
    }
    for alpn in [String::new(), "x".repeat(256)] {
        let offer = Offer { alpn: vec!["h2".to_owned(), alpn], ..offer() };
        assert_eq!(client.start(TIME, &offer).err().unwrap().reason, Reason::MALFORMED_REQUEST);
    }
}

#[test]
fn profiles_that_cannot_be_prepared() {
    let error = |trust: Trust| Client::new(&Profile::new(trust)).err().unwrap();
    assert!(error(Trust::default()).detail.contains("nothing to trust"));
    let not_a_certificate = Trust { anchors: vec![vec![0x30, 0]], pins: vec![Pin([0; 32])], ..Trust::default() };
    assert!(error(not_a_certificate).detail.contains("anchor 0"));
}
