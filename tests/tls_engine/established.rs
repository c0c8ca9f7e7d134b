//! Handshakes that succeed, and that what they hand over is right.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use keyferry::crypto::{GROUPS, SUITES};
use keyferry::error::Reason;
use keyferry::tls::{Client, Offer, Profile, ServerIdentity, Trust};
use keyferry_parsers::messages::ProofMethod;
use keyferry_parsers::tls::{CipherSuite, NamedGroup};
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::peer::*;
use crate::pki::*;

/// Both directions, opened and sealed with nothing but what was handed over, the tickets in the prefix first.
fn exchange_data(mut outcome: Outcome) {
    let established = outcome.result.unwrap_or_else(|error| panic!("{error}"));
    let server = &mut outcome.server;
    let mut rx = Protection::new(established.suite, &established.rx_secret);
    let mut tx = Protection::new(established.suite, &established.tx_secret);
    rx.sequence = established.rx_sequence;
    tx.sequence = established.tx_sequence;
    let mut prefix = &outcome.prefix[..];
    while let Some(record) = next_record(&mut prefix) {
        assert_eq!(rx.open(record).map(|(inner_type, _)| inner_type), Some(22));
    }
    for number in 0..3u8 {
        server.writer().write_all(&[number; 1000]).unwrap();
        let bytes = take(server);
        let mut rest = &bytes[..];
        let record = next_record(&mut rest).unwrap();
        assert!(rx.open(record) == Some((23, vec![number; 1000])), "record {number}");
        assert!(rest.is_empty(), "one record at a time");

        give_bytes(server, &tx.seal(23, &[number; 700])).unwrap();
        let mut received = [0; 700];
        server.reader().read_exact(&mut received).unwrap();
        assert_eq!(received, [number; 700]);
    }
}

#[test]
fn every_suite_with_every_group() {
    let pki = Pki::new();
    let client = client(pki.trust());
    for suite in SUITES {
        for group in GROUPS {
            let config = server_config_of(pki.server().certified_key(), &[group], &[suite]);
            let outcome = play(client.start(&offer()).unwrap(), config);
            let established = outcome.result.as_ref().unwrap_or_else(|error| panic!("{suite} {group}: {error}"));
            assert_eq!((established.suite, established.group), (suite, group));
            assert_eq!((established.tx_sequence, established.rx_sequence), (0, 0));
            assert_eq!(Some(established.tx_secret.as_bytes().len()), suite.hash_length());
            // The hybrid share and its X25519 half are in the first hello; the others cost a round trip.
            let offered = [NamedGroup::X25519_MLKEM768, NamedGroup::X25519].contains(&group);
            assert_eq!(established.hello_retried, !offered, "{suite} {group}");
            exchange_data(outcome);
        }
    }
}

#[test]
fn the_hybrid_group_is_preferred_and_policy_can_leave_it_out() {
    let pki = Pki::new();
    let outcome = play(client(pki.trust()).start(&offer()).unwrap(), server_config(&pki.server()));
    assert_eq!(outcome.established().group, NamedGroup::X25519_MLKEM768);

    let profile = Profile { groups: vec![NamedGroup::SECP384R1, NamedGroup::X25519], ..Profile::new(pki.trust()) };
    let engine = Client::new(&profile).unwrap().start(&offer()).unwrap();
    let established =
        play(engine, server_config_of(pki.server().certified_key(), &[NamedGroup::SECP384R1], &SUITES)).established();
    assert_eq!((established.group, established.hello_retried), (NamedGroup::SECP384R1, false));
}

#[test]
fn every_kind_of_certificate_key() {
    let pki = Pki::new();
    let client = client(pki.trust());
    for key in [key(&PKCS_ECDSA_P256_SHA256), key(&PKCS_ECDSA_P384_SHA384), key(&PKCS_ED25519), rsa_key()] {
        let identity = pki.server_with(key, |_| ());
        let established = play(client.start(&offer()).unwrap(), server_config(&identity)).established();
        assert_eq!(established.certificates.len(), 2);
        assert_eq!(
            (established.peer.method, established.peer.identity.as_str()),
            (ProofMethod::CA_VERIFIED_NAME, NAME)
        );
    }
}

#[test]
fn the_log_gets_the_facts_of_the_certificate() {
    let pki = Pki::new();
    let established = play(client(pki.trust()).start(&offer()).unwrap(), server_config(&pki.server())).established();
    let leaf = established.leaf().unwrap();
    assert_eq!((leaf.subject.as_str(), leaf.issuer.as_str()), ("CN=server.example", "CN=test intermediate"));
    assert!(leaf.not_before < NOW as i64 && leaf.not_after > NOW as i64);
    assert!(!leaf.serial.is_empty());
}

#[test]
fn application_protocols_are_negotiated() {
    let pki = Pki::new();
    let client = client(pki.trust());
    let with_alpn = |names: &[&str]| Offer { alpn: names.iter().map(|&name| name.to_owned()).collect(), ..offer() };
    let server = |names: &[&str]| {
        let mut config = server_config(&pki.server());
        config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    };
    let established = play(client.start(&with_alpn(&["h2", "http/1.1"])).unwrap(), server(&["http/1.1"])).established();
    assert_eq!(established.alpn.as_deref(), Some("http/1.1"));
    // A server that does not know the extension chooses nothing.
    let established = play(client.start(&with_alpn(&["http/1.1"])).unwrap(), server(&[])).established();
    assert_eq!(established.alpn, None);

    let outcome = play(client.start(&with_alpn(&["mqtt"])).unwrap(), server(&["http/1.1"]));
    assert_eq!(outcome.error().reason, Reason::NO_COMMON_ALPN);
}

#[test]
fn the_terminals_order_of_suites_counts_within_what_policy_allows() {
    let pki = Pki::new();
    let profile = Profile {
        suites: vec![CipherSuite::TLS_AES_128_GCM_SHA256, CipherSuite::TLS_CHACHA20_POLY1305_SHA256],
        ..Profile::new(pki.trust())
    };
    let client = Client::new(&profile).unwrap();
    let wanted = |suites: &[u16]| Offer { suites: suites.iter().map(|&suite| CipherSuite(suite)).collect(), ..offer() };
    // 0x1304 is unknown here and 0x1302 not allowed: both are passed over, and so is what comes twice.
    let engine = client.start(&wanted(&[0x1304, 0x1302, 0x1303, 0x1303, 0x1301])).unwrap();
    let established = play(engine, server_config(&pki.server())).established();
    assert_eq!(established.suite, CipherSuite::TLS_CHACHA20_POLY1305_SHA256);

    let error = client.start(&wanted(&[0x1302])).err().unwrap();
    assert_eq!(error.reason, Reason::UNSUPPORTED);
    assert_eq!(client.start(&wanted(&[])).err().unwrap().reason, Reason::UNSUPPORTED);
}

#[test]
fn the_name_is_sent_as_sni_and_an_address_is_verified_but_not_sent() {
    let pki = Pki::new();
    let client = client(pki.trust());
    let outcome = play(client.start(&offer()).unwrap(), server_config(&pki.server()));
    assert_eq!(outcome.server.server_name(), Some(NAME));

    for address in ["10.7.2.2", "fd07:2::2"] {
        let address: IpAddr = address.parse().unwrap();
        let identity =
            pki.server_with(key(&PKCS_ED25519), |params| params.subject_alt_names = vec![SanType::IpAddress(address)]);
        let offer = Offer { server: ServerIdentity::Address(address), ..offer() };
        let outcome = play(client.start(&offer).unwrap(), server_config(&identity));
        assert_eq!(outcome.server.server_name(), None);
        assert_eq!(outcome.established().peer.identity, address.to_string());
    }
}

#[test]
fn a_pinned_key_needs_neither_ca_nor_name() {
    let identity = Pki::new().server_with(key(&PKCS_ECDSA_P256_SHA256), |params| params.subject_alt_names.clear());
    let established = play(client(identity.pinned()).start(&offer()).unwrap(), server_config(&identity)).established();
    assert_eq!(established.peer.method, ProofMethod::PINNED_KEY);
    assert_eq!(established.peer.identity, identity.pin().to_string());
}

#[test]
fn with_anchor_and_pin_the_name_is_proved() {
    let pki = Pki::new();
    let identity = pki.server();
    let trust = Trust { pins: vec![Pki::new().server().pin(), identity.pin()], ..pki.trust() };
    let established = play(client(trust).start(&offer()).unwrap(), server_config(&identity)).established();
    assert_eq!(established.peer.method, ProofMethod::CA_VERIFIED_NAME);
}

#[test]
fn a_server_that_understands_the_request_sends_no_ticket() {
    let pki = Pki::new();
    let mut config = server_config(&pki.server());
    // RFC 9149 in force; without it a server sends tickets unasked, and they are in the prefix.
    config.max_tls13_tickets = 4;
    let outcome = play(client(pki.trust()).start(&offer()).unwrap(), config);
    assert!(outcome.result.is_ok());
    assert!(outcome.prefix.is_empty(), "{} bytes after Finished", outcome.prefix.len());
}

/// Data in the server's own flight stays outside the engine and opens with the secrets: the prefix.
#[test]
fn data_in_the_flight_of_finished_is_left_for_the_terminal() {
    let pki = Pki::new();
    let mut config = server_config(&pki.server());
    config.send_half_rtt_data = true;
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    let mut engine = client(pki.trust()).start(&offer()).unwrap();
    give(&mut server, engine.as_mut()).unwrap();
    server.writer().write_all(b"early word of the server").unwrap();
    let bytes = take(&mut server);
    let mut rest = &bytes[..];
    let established = loop {
        let record = next_record(&mut rest).expect("Finished before the end of the flight");
        if let keyferry::tls::Progress::Established(established) =
            engine.feed(Duration::from_secs(NOW), record).unwrap()
        {
            break established;
        }
    };
    let mut rx = Protection::new(established.suite, &established.rx_secret);
    let record = next_record(&mut rest).expect("data behind Finished");
    assert_eq!(rx.open(record), Some((23, b"early word of the server".to_vec())));
}

#[test]
fn a_request_for_a_client_certificate_is_answered_with_none_and_reported() {
    let pki = Pki::new();
    let mut roots = RootCertStore::empty();
    roots.add(pki.root.der().clone()).unwrap();
    let provider = keyferry::crypto::provider(&GROUPS, &SUITES).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let identity = pki.server();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key.serialize_der().try_into().unwrap())
        .unwrap();
    let outcome = play(client(pki.trust()).start(&offer()).unwrap(), config);
    assert!(outcome.result.as_ref().is_ok_and(|established| established.client_certificate_requested));
    exchange_data(outcome);

    let outcome = play(client(pki.trust()).start(&offer()).unwrap(), server_config(&identity));
    assert!(!outcome.established().client_certificate_requested);
}

#[test]
fn the_key_log_gets_the_secrets_only_where_one_is_configured() {
    let pki = Pki::new();
    let logged = Arc::new(Logged::default());
    let profile = Profile { key_log: Some(logged.clone()), ..Profile::new(pki.trust()) };
    let engine = Client::new(&profile).unwrap().start(&offer()).unwrap();
    let established = play(engine, server_config(&pki.server())).established();
    assert!(logged.secret("CLIENT_TRAFFIC_SECRET_0").unwrap() == established.tx_secret);
    assert!(logged.secret("SERVER_TRAFFIC_SECRET_0").unwrap() == established.rx_secret);
    assert!(logged.secret("CLIENT_HANDSHAKE_TRAFFIC_SECRET").is_some());
}
