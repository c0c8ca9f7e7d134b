//! The server's role: handshakes that succeed, and that what they hand over is right.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;

use keyferry::crypto::{GROUPS, SUITES};
use keyferry::error::Reason;
use keyferry::tls::{Progress, ServiceProfile};
use keyferry_parsers::messages::{ProofMethod, Role};
use keyferry_parsers::tls::{CipherSuite, NamedGroup, ProtocolVersion};
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType, date_time_ymd};
use rustls::ClientConnection;

use crate::peer::*;
use crate::pki::*;
use crate::terminal::*;

#[test]
fn every_suite_with_every_group() {
    let pki = Pki::new();
    let (ecdsa, rsa) = (pki.server(), pki.server_with(rsa_key(), |_| ()));
    for (version, suite, group) in suites_and_groups() {
        let identity = if suite.to_string().contains("_RSA_") { &rsa } else { &ecdsa };
        let engine = serving(&ServiceProfile::new(), &serve(terminal(&[identity])));
        let mut served = play_client(engine, client_config_of(&pki, &[group], &[suite], None));
        let established = served.result.unwrap_or_else(|error| panic!("{suite} {group}: {error}"));
        assert_eq!((established.version, established.suite, established.group), (version, suite, group));
        assert_eq!((established.role, established.resumed, established.hello_retried), (Role::SERVER, false, false));
        let sequence = u64::from(version == ProtocolVersion::TLS_1_2);
        assert_eq!((established.tx_sequence, established.rx_sequence), (sequence, sequence));
        assert_eq!(established.server_name.as_deref(), Some(NAME));
        assert_eq!(established.peer.method, ProofMethod::ANONYMOUS);
        assert_eq!(established.peer.identity, IpAddr::from(CLIENT_ADDRESS).to_string());
        assert!(established.certificates.is_empty() && established.leaf().is_none());
        data_flows(&established, &mut served.client, &[]);
    }
}

#[test]
fn every_kind_of_certificate_key() {
    let pki = Pki::new();
    for (key, (version, suites)) in every_key().into_iter().flat_map(|key| versions().map(|version| (key, version))) {
        let identity = pki.server_with(key(), |_| ());
        let engine = serving(&ServiceProfile::new(), &serve(terminal(&[&identity])));
        let mut served = play_client(engine, client_config_of(&pki, &GROUPS, suites, None));
        let established = served.result.unwrap_or_else(|error| panic!("{version}: {error}"));
        assert_eq!(established.version, version);
        data_flows(&established, &mut served.client, &[]);
    }
}

/// The client's share is for another group: HelloRetryRequest, and the signer gets the whole transcript all the same.
#[test]
fn hello_retry_request_for_every_hash() {
    let pki = Pki::new();
    for suite in SUITES.iter().take(3) {
        let profile = ServiceProfile { groups: vec![NamedGroup::SECP384R1], ..ServiceProfile::new() };
        let engine = serving(&profile, &serve(terminal(&[&pki.server()])));
        let mut served = play_client(engine, client_config_of(&pki, &GROUPS, &[*suite], None));
        let established = served.result.unwrap_or_else(|error| panic!("{suite}: {error}"));
        assert_eq!((established.hello_retried, established.group), (true, NamedGroup::SECP384R1));
        data_flows(&established, &mut served.client, &[]);
    }
}

#[test]
fn the_certificate_is_chosen_by_name_and_by_what_the_client_can_verify() {
    let pki = Pki::new();
    let named = |key, name: &str| {
        let name = SanType::DnsName(name.try_into().unwrap());
        pki.server_with(key, |params| params.subject_alt_names = vec![name])
    };
    let (first, second) = (named(key(&PKCS_ED25519), "a.example"), named(rsa_key(), "b.example"));
    let third = named(key(&PKCS_ECDSA_P256_SHA256), "*.plant.example");
    let identity = terminal(&[&first, &second, &third]);
    let shown = |name: &str, suites: &[CipherSuite]| {
        let engine = serving(&ServiceProfile::new(), &serve(identity.clone()));
        let served = play_client_through(engine, client_config_of(&pki, &GROUPS, suites, None), name, |_, bytes| bytes);
        let leaf =
            served.client.peer_certificates().unwrap_or_else(|| panic!("{name}: {:?}", served.client_error))[0].clone();
        (leaf, served.established().server_name.clone())
    };
    for (_, suites) in versions() {
        assert_eq!(shown("a.example", suites), (first.chain[0].clone(), Some("a.example".to_owned())));
        assert_eq!(shown("b.example", suites), (second.chain[0].clone(), Some("b.example".to_owned())));
        assert_eq!(shown("pump.plant.example", suites).0, third.chain[0]);
    }
    // An RSA suite cannot be signed by the key of the certificate with the name, in TLS 1.2.
    let rsa_only = [CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
    let engine = serving(&ServiceProfile::new(), &serve(identity.clone()));
    let served =
        play_client_through(engine, client_config_of(&pki, &GROUPS, &rsa_only, None), "a.example", |_, bytes| bytes);
    assert_eq!(served.error().reason, Reason::NO_COMMON_SIGNATURE);
}

#[test]
fn a_certificate_that_is_valid_now_goes_before_one_that_is_not() {
    let pki = Pki::new();
    let expired = pki.server_with(key(&PKCS_ED25519), |params| params.not_after = date_time_ymd(2030, 6, 14));
    let early = pki.server_with(key(&PKCS_ED25519), |params| params.not_before = date_time_ymd(2030, 6, 16));
    let valid = pki.server();
    let engine = serving(&ServiceProfile::new(), &serve(terminal(&[&expired, &early, &valid])));
    let served = play_client(engine, client_config(&pki));
    assert_eq!(served.client.peer_certificates().unwrap()[0], valid.chain[0]);
    // Where there is no other, the client decides.
    let served = play_client(serving(&ServiceProfile::new(), &serve(terminal(&[&expired]))), client_config(&pki));
    assert_eq!(served.error().reason, Reason::PEER_ALERT);
}

/// What the hello must say about signatures and groups, put there by a verifier and a list of the client's own.
#[test]
fn a_certificate_that_the_client_cannot_verify_is_passed_over() {
    let pki = Pki::new();
    let (rsa, p384, p256) =
        (pki.server_with(rsa_key(), |_| ()), pki.server_with(key(&PKCS_ECDSA_P384_SHA384), |_| ()), pki.server());
    let [(_, tls13), (_, tls12)] = versions();
    // PKCS#1 signs no handshake of TLS 1.3: of RSA the client names nothing else.
    let served = play_client_through(
        serving(&ServiceProfile::new(), &serve(terminal(&[&rsa, &p256]))),
        client_config_of(&pki, &GROUPS, tls13, None),
        NAME,
        |flight, mut bytes| {
            for number in 4..=6 {
                // rsa_pss_rsae_*, in a list of two-byte numbers.
                while flight == 0
                    && let Some(at) = bytes.windows(2).position(|pair| pair == [8, number])
                {
                    bytes[at] = 0xfe;
                }
            }
            bytes
        },
    );
    // The changed hello makes an end of it after the choice: nobody says that there is nothing in common.
    assert_ne!(served.alert, Some(rustls::AlertDescription::HandshakeFailure), "{:?}", served.client_error);
    assert_ne!(served.result.err().map(|error| error.reason), Some(Reason::NO_COMMON_SIGNATURE));

    // In TLS 1.2 a client that does not name the curve may not know the key; if there is no other, it may all the same.
    let groups = [NamedGroup::X25519, NamedGroup::SECP256R1];
    let ecdsa: Vec<_> = tls12.iter().copied().filter(|suite| suite.to_string().contains("_ECDSA_")).collect();
    let engine = serving(&ServiceProfile::new(), &serve(terminal(&[&p384, &p256])));
    let served = play_client(engine, client_config_of(&pki, &groups, &ecdsa, None));
    assert_eq!(served.client.peer_certificates().unwrap()[0], p256.chain[0]);
    let engine = serving(&ServiceProfile::new(), &serve(terminal(&[&p384])));
    play_client(engine, client_config_of(&pki, &groups, &ecdsa, None)).established();
}

#[test]
fn a_client_that_asks_for_no_name_gets_the_first_certificate() {
    let pki = Pki::new();
    let address = IpAddr::from([10, 7, 1, 2]);
    let first =
        pki.server_with(key(&PKCS_ED25519), |params| params.subject_alt_names = vec![SanType::IpAddress(address)]);
    for names in [vec![], vec!["other.example".to_owned()]] {
        let profile = ServiceProfile { names, ..ServiceProfile::new() };
        let engine = serving(&profile, &serve(terminal(&[&first, &pki.server()])));
        let mut served = play_client_through(engine, client_config(&pki), "10.7.1.2", |_, bytes| bytes);
        let established = served.result.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(established.server_name, None);
        data_flows(&established, &mut served.client, &[]);
    }
}

#[test]
fn application_protocols_are_chosen_in_the_profiles_order() {
    let pki = Pki::new();
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let chosen = |profile: &[&str], terminal_speaks: &[&str], client: &[&str]| {
        let profile = ServiceProfile { alpn: names(profile), ..ServiceProfile::new() };
        let serve = keyferry::tls::Serve { alpn: names(terminal_speaks), ..serve(terminal(&[&pki.server()])) };
        let mut config = client_config(&pki);
        config.alpn_protocols = client.iter().map(|name| name.as_bytes().to_vec()).collect();
        play_client(serving(&profile, &serve), config).established().alpn.clone()
    };
    assert_eq!(chosen(&["h2", "http/1.1"], &[], &["http/1.1", "h2"]).as_deref(), Some("h2"));
    assert_eq!(chosen(&["h2", "http/1.1"], &["http/1.1"], &["h2", "http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(chosen(&["h2"], &[], &[]), None);
    // Where policy names none, the terminal's are taken as they are.
    assert_eq!(chosen(&[], &["http/1.1", "h2"], &["h2", "http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(chosen(&[], &[], &["h2"]), None);
}

#[test]
fn the_terminals_order_of_suites_counts() {
    let pki = Pki::new();
    let mut wanted = serve(terminal(&[&pki.server()]));
    wanted.suites = vec![CipherSuite::TLS_CHACHA20_POLY1305_SHA256, CipherSuite::TLS_AES_128_GCM_SHA256];
    let established = play_client(serving(&ServiceProfile::new(), &wanted), client_config(&pki)).established();
    assert_eq!(established.suite, CipherSuite::TLS_CHACHA20_POLY1305_SHA256);
}

/// A ClientHello in records of one byte, and Finished in two.
#[test]
fn a_client_that_sends_its_hello_byte_by_byte() {
    let pki = Pki::new();
    let engine = serving(&ServiceProfile::new(), &serve(terminal(&[&pki.server()])));
    let served = play_client_through(engine, client_config(&pki), NAME, |flight, bytes| {
        if flight > 0 {
            return bytes;
        }
        bytes[5..].iter().flat_map(|&byte| [22, 3, 1, 0, 1, byte]).collect()
    });
    served.established();
}

#[test]
fn the_peer_has_proved_itself_when_nothing_but_finished_is_missing() {
    let pki = Pki::new();
    let mut engine = serving(&ServiceProfile::new(), &serve(terminal(&[&pki.server()])));
    assert!(engine.peer_proved(), "an anonymous client has nothing to prove");
    let name = rustls::pki_types::ServerName::try_from(NAME).unwrap();
    let mut client = ClientConnection::new(Arc::new(client_config(&pki)), name).unwrap();
    let hello = take(&mut client);
    assert!(matches!(engine.feed(TIME, &hello), Ok(Progress::Handshaking)));
    assert!(engine.peer_proved());
}

/// Data behind the client's Finished, in the same flight: it stays outside the engine and opens with the keys.
#[test]
fn data_behind_finished_is_left_for_the_terminal() {
    let pki = Pki::new();
    for (_, suites) in versions() {
        let mut engine = serving(&ServiceProfile::new(), &serve(terminal(&[&pki.server()])));
        let name = rustls::pki_types::ServerName::try_from(NAME).unwrap();
        let config = client_config_of(&pki, &GROUPS, suites, None);
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut established = None;
        let mut rest = Vec::new();
        while established.is_none() {
            let flight = take(&mut client);
            let mut records = &flight[..];
            while let Some(record) = next_record(&mut records) {
                if let Progress::Established(done) = engine.feed(TIME, record).unwrap() {
                    established = Some(done);
                    break;
                }
            }
            rest.extend(records);
            give(&mut client, engine.as_mut()).unwrap();
        }
        client.writer().write_all(b"first word").unwrap();
        rest.extend(take(&mut client));
        let mut rx = Protection::rx(&established.unwrap());
        assert_eq!(rx.open(&rest), Some((23, b"first word".to_vec())));
    }
}
