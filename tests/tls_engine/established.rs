//! Handshakes that succeed, and that what they hand over is right.

use keyferry::crypto::{GROUPS, SUITES};
use keyferry::error::Reason;
use keyferry::tls::{Client, Offer, Profile, ServerIdentity, Trust};
use keyferry_parsers::messages::{ProofMethod, Role};
use keyferry_parsers::tls::{CipherSuite, NamedGroup, ProtocolVersion};
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;

use crate::peer::*;
use crate::pki::*;

/// Both directions, opened and sealed with nothing but what was handed over, the tickets in the prefix first.
fn exchange_data(outcome: Outcome) {
    let Outcome { result, mut server, prefix, .. } = outcome;
    let established = result.unwrap_or_else(|error| panic!("{error}"));
    data_flows(&established, &mut server, &prefix);
}

#[test]
fn every_suite_with_every_group() {
    let pki = Pki::new();
    let client = client(pki.trust());
    let (ecdsa, rsa) = (pki.server(), pki.server_with(rsa_key(), |_| ()));
    for (version, suite, group) in suites_and_groups() {
        let identity = if suite.to_string().contains("_RSA_") { &rsa } else { &ecdsa };
        let config = server_config_of(identity.certified_key(), &[group], &[suite]);
        let outcome = play(start(&client, &offer()), config);
        let established = outcome.result.as_ref().unwrap_or_else(|error| panic!("{suite} {group}: {error}"));
        assert_eq!((established.version, established.suite, established.group), (version, suite, group));
        assert_eq!((established.role, established.resumed), (Role::CLIENT, false));
        let sequence = u64::from(version == ProtocolVersion::TLS_1_2);
        assert_eq!((established.tx_sequence, established.rx_sequence), (sequence, sequence));
        // The hybrid share and its X25519 half are in the first hello; the others cost a round trip, in TLS 1.3.
        let offered = [NamedGroup::X25519_MLKEM768, NamedGroup::X25519].contains(&group);
        let retried = version == ProtocolVersion::TLS_1_3 && !offered;
        assert_eq!(established.hello_retried, retried, "{suite} {group}");
        exchange_data(outcome);
    }
}

#[test]
fn the_hybrid_group_is_preferred_and_policy_can_leave_it_out() {
    let pki = Pki::new();
    let outcome = play(start(&client(pki.trust()), &offer()), server_config(&pki.server()));
    assert_eq!(outcome.established().group, NamedGroup::X25519_MLKEM768);

    let profile = Profile { groups: vec![NamedGroup::SECP384R1, NamedGroup::X25519], ..Profile::new(pki.trust()) };
    let engine = start(&Client::new(&profile).unwrap(), &offer());
    let established =
        play(engine, server_config_of(pki.server().certified_key(), &[NamedGroup::SECP384R1], &SUITES)).established();
    assert_eq!((established.group, established.hello_retried), (NamedGroup::SECP384R1, false));
}

#[test]
fn every_kind_of_certificate_key() {
    let pki = Pki::new();
    let client = client(pki.trust());
    for (key, (version, suites)) in every_key().into_iter().flat_map(|key| versions().map(|version| (key, version))) {
        let identity = pki.server_with(key(), |_| ());
        let config = server_config_of(identity.certified_key(), &GROUPS, suites);
        let established = play(start(&client, &offer()), config).established();
        assert_eq!((established.version, established.certificates.len()), (version, 2));
        assert_eq!(
            (established.peer.method, established.peer.identity.as_str()),
            (ProofMethod::CA_VERIFIED_NAME, NAME)
        );
    }
}

#[test]
fn the_log_gets_the_facts_of_the_certificate() {
    let pki = Pki::new();
    let established = play(start(&client(pki.trust()), &offer()), server_config(&pki.server())).established();
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
    let established = play(start(&client, &with_alpn(&["h2", "http/1.1"])), server(&["http/1.1"])).established();
    assert_eq!(established.alpn.as_deref(), Some("http/1.1"));
    // A server that does not know the extension chooses nothing.
    let established = play(start(&client, &with_alpn(&["http/1.1"])), server(&[])).established();
    assert_eq!(established.alpn, None);

    let outcome = play(start(&client, &with_alpn(&["mqtt"])), server(&["http/1.1"]));
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
    let engine = start(&client, &wanted(&[0x1304, 0x1302, 0x1303, 0x1303, 0x1301]));
    let established = play(engine, server_config(&pki.server())).established();
    assert_eq!(established.suite, CipherSuite::TLS_CHACHA20_POLY1305_SHA256);

    let error = client.start(TIME, &wanted(&[0x1302])).err().unwrap();
    assert_eq!(error.reason, Reason::UNSUPPORTED);
    assert_eq!(client.start(TIME, &wanted(&[])).err().unwrap().reason, Reason::UNSUPPORTED);
}

#[test]
fn the_name_is_sent_as_sni_and_an_address_is_verified_but_not_sent() {
    let pki = Pki::new();
    let client = client(pki.trust());
    let outcome = play(start(&client, &offer()), server_config(&pki.server()));
    assert_eq!(outcome.server.server_name(), Some(NAME));

    for address in ["10.7.2.2", "fd07:2::2"] {
        let address: IpAddr = address.parse().unwrap();
        let identity =
            pki.server_with(key(&PKCS_ED25519), |params| params.subject_alt_names = vec![SanType::IpAddress(address)]);
        let offer = Offer { server: ServerIdentity::Address(address), ..offer() };
        let outcome = play(start(&client, &offer), server_config(&identity));
        assert_eq!(outcome.server.server_name(), None);
        assert_eq!(outcome.established().peer.identity, address.to_string());
    }
}

#[test]
fn a_pinned_key_needs_neither_ca_nor_name() {
    let identity = Pki::new().server_with(key(&PKCS_ECDSA_P256_SHA256), |params| params.subject_alt_names.clear());
    let established = play(start(&client(identity.pinned()), &offer()), server_config(&identity)).established();
    assert_eq!(established.peer.method, ProofMethod::PINNED_KEY);
    assert_eq!(established.peer.identity, identity.pin().to_string());
}

#[test]
fn with_anchor_and_pin_the_name_is_proved() {
    let pki = Pki::new();
    let identity = pki.server();
    let trust = Trust { pins: vec![Pki::new().server().pin(), identity.pin()], ..pki.trust() };
    let established = play(start(&client(trust), &offer()), server_config(&identity)).established();
    assert_eq!(established.peer.method, ProofMethod::CA_VERIFIED_NAME);
}

#[test]
fn a_server_that_understands_the_request_sends_no_ticket() {
    let pki = Pki::new();
    let mut config = server_config(&pki.server());
    // RFC 9149 in force; without it a server sends tickets unasked, and they are in the prefix.
    config.max_tls13_tickets = 4;
    let outcome = play(start(&client(pki.trust()), &offer()), config);
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
    let mut engine = start(&client(pki.trust()), &offer());
    give(&mut server, engine.as_mut()).unwrap();
    server.writer().write_all(b"early word of the server").unwrap();
    let bytes = take(&mut server);
    let mut rest = &bytes[..];
    let established = loop {
        let record = next_record(&mut rest).expect("Finished before the end of the flight");
        if let keyferry::tls::Progress::Established(established) = engine.feed(TIME, record).unwrap() {
            break established;
        }
    };
    let mut rx = Protection::rx(&established);
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
    let outcome = play(start(&client(pki.trust()), &offer()), config);
    assert!(outcome.result.as_ref().is_ok_and(|established| established.client_certificate_requested));
    exchange_data(outcome);

    let outcome = play(start(&client(pki.trust()), &offer()), server_config(&identity));
    assert!(!outcome.established().client_certificate_requested);
}

#[test]
fn the_key_log_gets_the_secrets_only_where_one_is_configured() {
    let pki = Pki::new();
    let logged = Arc::new(Logged::default());
    let profile = Profile { key_log: Some(logged.clone()), ..Profile::new(pki.trust()) };
    let engine = start(&Client::new(&profile).unwrap(), &offer());
    let established = play(engine, server_config(&pki.server())).established();
    assert!(logged.secret("CLIENT_TRAFFIC_SECRET_0").unwrap() == established.tx_secret);
    assert!(logged.secret("SERVER_TRAFFIC_SECRET_0").unwrap() == established.rx_secret);
    assert!(logged.secret("CLIENT_HANDSHAKE_TRAFFIC_SECRET").is_some());
}
