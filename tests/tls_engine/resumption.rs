//! Tickets that the terminal sends back, and the sessions they open.

use std::sync::Arc;
use std::time::Duration;

use keyferry::crypto::GROUPS;
use keyferry::error::Reason;
use keyferry::tls::{Client, Established, Offer, Profile, Tickets, Trust};
use keyferry_parsers::messages::ProofMethod;
use keyferry_parsers::tls::{CipherSuite, NamedGroup, ProtocolVersion};
use rcgen::{PKCS_ECDSA_P256_SHA256, date_time_ymd};
use rustls::{HandshakeKind, ServerConfig};

use crate::client_certificates::{demanding, offer_as};
use crate::peer::*;
use crate::pki::*;

fn with(tickets: &Arc<Tickets>) -> Offer {
    Offer { tickets: Some(tickets.clone()), ..offer() }
}

/// The bodies of the tickets in what the server has sent since, read as the terminal would.
fn tickets_in(established: &Established, mut prefix: &[u8]) -> Vec<Vec<u8>> {
    let mut rx = Protection::rx(established);
    let mut bodies = Vec::new();
    while let Some(record) = next_record(&mut prefix) {
        let (content_type, content) = rx.open(record).unwrap();
        assert_eq!(content_type, 22);
        let mut rest = &content[..];
        while let [4, a, b, c, tail @ ..] = rest {
            let (body, tail) = tail.split_at(u32::from_be_bytes([0, *a, *b, *c]) as usize);
            bodies.push(body.to_vec());
            rest = tail;
        }
        assert!(rest.is_empty(), "nothing but tickets");
    }
    bodies
}

/// A session whose tickets come back at `time`. Whether it was resumed itself.
fn session(client: &Client, offer: &Offer, config: &ServerConfig, time: Duration) -> bool {
    let outcome = play(client.start(TIME, offer).unwrap(), config.clone());
    let Outcome { result, mut server, prefix, .. } = outcome;
    let mut established = result.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(established.resumed, server.handshake_kind() == Some(HandshakeKind::Resumed));
    assert_eq!((established.peer.method, established.peer.identity.as_str()), (ProofMethod::CA_VERIFIED_NAME, NAME));
    let mut taker = established.ticket_taker.take().expect("a session that may be resumed");
    for body in tickets_in(&established, &prefix) {
        taker.take(time, &body).unwrap();
    }
    data_flows(&established, &mut server, &prefix);
    established.resumed
}

fn config(pki: &Pki) -> ServerConfig {
    let mut config = server_config(&pki.server());
    config.max_tls13_tickets = 8;
    config
}

#[test]
fn a_ticket_opens_one_session_and_that_brings_the_next() {
    let pki = Pki::new();
    let (client, config, tickets) = (client(pki.trust()), config(&pki), Arc::new(Tickets::new()));
    assert!(!session(&client, &with(&tickets), &config, TIME));
    for _ in 0..3 {
        assert_eq!(tickets.len(), 1, "one is asked for");
        assert!(session(&client, &with(&tickets), &config, TIME));
    }
    // Without those tickets nothing is resumed, and they stay.
    assert!(!session(&client, &with(&Arc::default()), &config, TIME));
    assert_eq!(tickets.len(), 1);
}

#[test]
fn every_suite_after_every_group() {
    let pki = Pki::new();
    let client = client(pki.trust());
    for (suite, group) in versions()[0].1.iter().flat_map(|suite| GROUPS.map(|group| (*suite, group))) {
        let tickets = Arc::new(Tickets::new());
        let config = server_config_of(pki.server().certified_key(), &[group], &[suite]);
        assert!(!session(&client, &with(&tickets), &config, TIME), "{suite} {group}");
        assert!(session(&client, &with(&tickets), &config, TIME), "{suite} {group}");
    }
}

/// The server sends many; the newest four stay.
#[test]
fn four_tickets_at_most() {
    let pki = Pki::new();
    let (client, mut config, tickets) = (client(pki.trust()), config(&pki), Arc::new(Tickets::new()));
    config.max_tls13_tickets = 0;
    config.send_tls13_tickets = 9;
    session(&client, &with(&tickets), &config, TIME);
    assert_eq!(tickets.len(), 4);
}

#[test]
fn a_ticket_out_of_its_lifetime_opens_nothing() {
    let pki = Pki::new();
    let (client, config, tickets) = (client(pki.trust()), config(&pki), Arc::new(Tickets::new()));
    session(&client, &with(&tickets), &config, TIME - Duration::from_secs(8 * 86_400));
    assert_eq!(tickets.len(), 1);
    assert!(!session(&client, &with(&tickets), &config, TIME));
}

#[test]
fn nor_does_one_whose_certificate_has_expired_since() {
    let pki = Pki::new();
    let identity =
        pki.server_with(key(&PKCS_ECDSA_P256_SHA256), |params| params.not_after = date_time_ymd(2030, 6, 16));
    let (client, tickets) = (client(pki.trust()), Arc::new(Tickets::new()));
    session(&client, &with(&tickets), &server_config(&identity), TIME);
    assert!(!tickets.is_empty());
    let tomorrow = TIME + Duration::from_secs(2 * 86_400);
    client.start(tomorrow, &with(&tickets)).unwrap();
    assert!(tickets.is_empty());
}

/// With a certificate of the intermediate that ends first, and with a revocation list that does.
#[test]
fn nor_does_one_whose_chain_or_revocation_list_has_had_its_day() {
    let two_days = TIME + Duration::from_secs(2 * 86_400);
    let ending = Pki::named("test", |params| params.not_after = date_time_ymd(2030, 6, 16));
    let listed = Pki::new();
    let crl = |issuer| crate::revocation::crl_until(issuer, 16);
    let with_crls = Trust { crls: vec![crl(&listed.root), crl(&listed.intermediate)], ..listed.trust() };
    for (pki, trust) in [(&ending, ending.trust()), (&listed, with_crls)] {
        let (client, tickets) = (client(trust), Arc::new(Tickets::new()));
        session(&client, &with(&tickets), &config(pki), TIME);
        assert_eq!(tickets.len(), 1);
        client.start(two_days, &with(&tickets)).unwrap();
        assert!(tickets.is_empty());
    }
}

#[test]
fn a_ticket_without_lifetime_is_thrown_away_and_none_lives_longer_than_a_week() {
    let pki = Pki::new();
    let (client, config, tickets) = (client(pki.trust()), config(&pki), Arc::new(Tickets::new()));
    let outcome = play(client.start(TIME, &with(&tickets)).unwrap(), config.clone());
    let mut established = outcome.result.unwrap_or_else(|error| panic!("{error}"));
    let mut taker = established.ticket_taker.take().unwrap();
    let body = tickets_in(&established, &outcome.prefix).remove(0);
    let living = |lifetime: u32| [&lifetime.to_be_bytes(), &body[4..]].concat();
    taker.take(TIME, &living(0)).unwrap();
    assert!(tickets.is_empty());

    let day = Duration::from_secs(86_400);
    for (lifetime, days) in [(86_400, 1), (7 * 86_400, 7), (8 * 86_400, 7), (u32::MAX, 7)] {
        for (later, left) in [(days * day, 1), (days * day + Duration::from_secs(1), 0)] {
            taker.take(TIME, &living(lifetime)).unwrap();
            // Of another server, so that nothing takes it.
            let elsewhere = keyferry::tls::ServerIdentity::Name("elsewhere.example".to_owned());
            client.start(TIME + later, &Offer { server: elsewhere, ..with(&tickets) }).unwrap();
            assert_eq!(tickets.len(), left, "{lifetime} s, {later:?} later");
            client.start(TIME + 8 * day, &with(&tickets)).unwrap();
        }
    }
}

/// Another profile, of a newer policy or of another rule, may trust otherwise.
#[test]
fn a_ticket_is_good_for_the_client_alone_that_it_was_made_with() {
    let pki = Pki::new();
    let (config, tickets) = (config(&pki), Arc::new(Tickets::new()));
    session(&client(pki.trust()), &with(&tickets), &config, TIME);
    assert!(!session(&client(pki.trust()), &with(&tickets), &config, TIME));
}

#[test]
fn a_server_that_has_forgotten_the_ticket_gets_a_full_handshake() {
    let pki = Pki::new();
    let (client, tickets) = (client(pki.trust()), Arc::new(Tickets::new()));
    session(&client, &with(&tickets), &config(&pki), TIME);
    assert!(!session(&client, &with(&tickets), &config(&pki), TIME));
}

#[test]
fn after_hello_retry_request_and_with_client_certificates() {
    let pki = Pki::new();
    let profile = Profile { groups: vec![NamedGroup::X25519, NamedGroup::SECP384R1], ..Profile::new(pki.trust()) };
    let (client, tickets) = (Client::new(&profile).unwrap(), Arc::new(Tickets::new()));
    let offer = Offer { tickets: Some(tickets.clone()), ..offer_as(&[&pki.server()]) };
    let config = demanding(&pki, &pki, &[NamedGroup::SECP384R1], versions()[0].1);
    assert!(!session(&client, &offer, &config, TIME));
    for _ in 0..2 {
        assert!(session(&client, &offer, &config, TIME));
    }
}

#[test]
fn tls_1_2_is_not_resumed() {
    let pki = Pki::new();
    let (client, tickets) = (client(pki.trust()), Arc::new(Tickets::new()));
    let config = server_config_of(pki.server().certified_key(), &GROUPS, versions()[1].1);
    for _ in 0..2 {
        let outcome = play(start(&client, &with(&tickets)), config.clone());
        let Outcome { result, mut server, prefix, .. } = outcome;
        let established = result.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((established.version, established.resumed), (ProtocolVersion::TLS_1_2, false));
        assert!(established.ticket_taker.is_none() && tickets.is_empty());
        data_flows(&established, &mut server, &prefix);
    }
}

#[test]
fn what_is_no_ticket() {
    let pki = Pki::new();
    let (client, tickets) = (client(pki.trust()), Arc::new(Tickets::new()));
    let mut established = play(start(&client, &with(&tickets)), config(&pki)).established();
    let mut taker = established.ticket_taker.take().unwrap();
    for body in [&[][..], &[0; 4], &[0xff; 600]] {
        assert_eq!(taker.take(TIME, body).err().unwrap().reason, Reason::MALFORMED_REQUEST);
    }
    assert!(tickets.is_empty());
}

/// The other interface of rustls: alerts and errors are the same, or silence where it has no word.
#[test]
fn refusals_of_a_session_that_might_have_been_resumed() {
    let pki = Pki::new();
    let tickets = Arc::new(Tickets::new());
    for (_, suites) in versions() {
        let config = server_config_of(pki.server().certified_key(), &GROUPS, suites);
        let outcome = play(start(&client(Pki::named("another", |_| ()).trust()), &with(&tickets)), config.clone());
        assert_eq!(outcome.alert, Some(rustls::AlertDescription::UnknownCA));
        assert_eq!(outcome.error().reason, Reason::CERTIFICATE_UNKNOWN_CA);

        let outcome = play_through(start(&client(pki.trust()), &with(&tickets)), config.clone(), |_, mut bytes| {
            bytes.truncate(bytes.len().saturating_sub(1));
            bytes
        });
        assert_eq!(outcome.error().reason, Reason::PEER_CLOSED);

        let pinned = Trust { pins: vec![pki.server().pin()], ..Trust::default() };
        let outcome = play(start(&client(pinned), &with(&tickets)), config);
        assert_eq!(outcome.error().reason, Reason::CERTIFICATE_NOT_PINNED);
    }
    for record in [&[22, 3, 3, 0, 4, 20, 0, 0, 0][..], &[23, 3, 3, 0, 3, 1, 2, 3], &[21, 3, 3, 0, 2, 2, 70]] {
        let mut engine = start(&client(pki.trust()), &with(&tickets));
        engine.drain(&mut Vec::new());
        let error = engine.feed(TIME, record).err().unwrap();
        assert!([Reason::PEER_PROTOCOL, Reason::PEER_VERSION].contains(&error.reason), "{error}");
        let out = drained(engine.as_mut());
        assert!(record[0] == 21 || out == [21, 3, 3, 0, 2, 2, 10], "unexpected_message: {out:?}");
    }
    let only = Offer { suites: vec![CipherSuite::TLS_AES_128_GCM_SHA256], ..with(&tickets) };
    assert!(client(pki.trust()).start(TIME, &only).is_ok());
}
