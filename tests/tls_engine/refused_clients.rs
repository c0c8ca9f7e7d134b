//! Clients, and a terminal's own wants, that make no session in the server's role.

use std::sync::Arc;

use keyferry::crypto::GROUPS;
use keyferry::error::{Error, Fault, Reason};
use keyferry::signer::{Opened, Signer, SigningRequest};
use keyferry::tls::{self, Serve, Service, ServiceProfile, Trust};
use keyferry_parsers::tls::{CipherSuite, NamedGroup};
use rcgen::PKCS_ED25519;
use rustls::{AlertDescription as Alert, ClientConfig};

use crate::client_certificates::{demanding, offer_as};
use crate::peer::*;
use crate::pki::*;
use crate::terminal::*;

/// What `client` makes of a service of a terminal with one certificate, and the service of it.
#[track_caller]
fn refused(profile: &ServiceProfile, pki: &Pki, client: ClientConfig, reason: Reason, alert: Alert, words: &[&str]) {
    let served = play_client(serving(profile, &serve(terminal(&[&pki.server()]))), client);
    assert_eq!(served.alert, Some(alert), "{:?}", served.client_error);
    let error = served.error();
    assert_eq!(error.reason, reason, "{error}");
    assert!(words.iter().all(|word| error.detail.contains(word)), "{error}");
}

#[test]
fn nothing_in_common() {
    let pki = Pki::new();
    let [(_, tls13), (_, tls12)] = versions();
    let client = |groups: &[NamedGroup], suites: &[CipherSuite]| client_config_of(&pki, groups, suites, None);
    let with_suites = |suites: &[CipherSuite]| ServiceProfile { suites: suites.to_vec(), ..ServiceProfile::new() };
    let with_group = ServiceProfile { groups: vec![NamedGroup::SECP256R1], ..ServiceProfile::new() };

    for suites in [tls13, tls12] {
        refused(
            &with_suites(&suites[..1]),
            &pki,
            client(&GROUPS, &suites[2..3]),
            Reason::NO_COMMON_SUITE,
            Alert::HandshakeFailure,
            &["suite"],
        );
        refused(
            &with_group,
            &pki,
            client(&[NamedGroup::X25519], suites),
            Reason::NO_COMMON_GROUP,
            Alert::HandshakeFailure,
            &["group"],
        );
    }
    refused(
        &with_suites(tls13),
        &pki,
        client(&GROUPS, tls12),
        Reason::PEER_VERSION,
        Alert::ProtocolVersion,
        &["TLS 1.3:"],
    );
    refused(
        &with_suites(tls12),
        &pki,
        client(&GROUPS, tls13),
        Reason::PEER_VERSION,
        Alert::ProtocolVersion,
        &["TLS 1.2:"],
    );
}

#[test]
fn no_application_protocol_in_common() {
    let pki = Pki::new();
    for (_, suites) in versions() {
        let mut client = client_config_of(&pki, &GROUPS, suites, None);
        client.alpn_protocols = vec![b"mqtt".to_vec()];
        let profile = ServiceProfile { alpn: vec!["http/1.1".to_owned()], ..ServiceProfile::new() };
        refused(
            &profile,
            &pki,
            client,
            Reason::NO_COMMON_ALPN,
            Alert::NoApplicationProtocol,
            &["application protocols"],
        );
    }
}

#[test]
fn a_name_that_is_not_served() {
    let pki = Pki::new();
    let names = |names: &[&str]| ServiceProfile {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        ..ServiceProfile::new()
    };
    for (_, suites) in versions() {
        for (profile, name) in [(names(&[]), "other.example"), (names(&["a.example", "*.b.example"]), NAME)] {
            let engine = serving(&profile, &serve(terminal(&[&pki.server()])));
            let client = client_config_of(&pki, &GROUPS, suites, None);
            let served = play_client_through(engine, client, name, |_, bytes| bytes);
            assert_eq!(served.alert, Some(Alert::UnrecognisedName));
            let error = served.error();
            assert_eq!(error.reason, Reason::NO_CERTIFICATE, "{error}");
            assert!(error.detail.contains(name), "{error}");
        }
    }
}

#[test]
fn a_terminal_without_certificate() {
    let pki = Pki::new();
    let served = play_client(serving(&ServiceProfile::new(), &serve(terminal(&[]))), client_config(&pki));
    assert_eq!(served.alert, Some(Alert::InternalError));
    let error = served.error();
    assert_eq!((error.reason, error.fault), (Reason::NO_CERTIFICATE, Fault::Internal), "{error}");
}

#[test]
fn a_client_that_cannot_verify_the_certificate() {
    let pki = Pki::new();
    let identity = pki.server_with(key(&PKCS_ED25519), |_| ());
    for (_, suites) in versions() {
        let engine = serving(&ServiceProfile::new(), &serve(terminal(&[&identity])));
        let served =
            play_client_through(engine, client_config_of(&pki, &GROUPS, suites, None), NAME, |_, mut bytes| {
                // Where its hello names Ed25519, in the one list it has.
                if let Some(ed25519) = bytes.windows(2).position(|pair| pair == [8, 7]) {
                    bytes[ed25519] = 0xfe;
                }
                bytes
            });
        assert_eq!(served.alert, Some(Alert::HandshakeFailure));
        let error = served.error();
        assert_eq!(error.reason, Reason::NO_COMMON_SIGNATURE, "{error}");
    }
}

/// Refuses to open, or to sign.
struct Unwilling {
    opens: bool,
    error: Error,
}

impl Signer for Unwilling {
    fn open(&self, _: &str) -> Result<Opened, Error> {
        if self.opens { Ok(Opened { handshake: 7, random: [7; 32] }) } else { Err(self.error.clone()) }
    }

    fn sign(&self, request: &SigningRequest) -> Result<Vec<u8>, Error> {
        assert_eq!((request.handshake, request.owner.as_str()), (7, OWNER));
        Err(self.error.clone())
    }

    fn close(&self, _: u64) {}
}

fn unwilling(pki: &Pki, opens: bool) -> (tls::Identity, Error) {
    let error = Error::new(Reason::SIGNER_REFUSED, "it is not to be signed");
    let signer = Unwilling { opens, error: error.clone() };
    (with_signer(credentials(&[&pki.server()]), Arc::new(signer)), error)
}

#[test]
fn a_signer_that_refuses_a_server() {
    let pki = Pki::new();
    for (_, suites) in versions() {
        for opens in [true, false] {
            let (identity, expected) = unwilling(&pki, opens);
            let engine = serving(&ServiceProfile::new(), &serve(identity));
            let served = play_client(engine, client_config_of(&pki, &GROUPS, suites, None));
            assert_eq!(served.alert, Some(Alert::InternalError), "{:?}", served.client_error);
            assert_eq!(served.error(), expected);
        }
    }
}

#[test]
fn a_signer_that_refuses_a_client() {
    let pki = Pki::new();
    for (version, suites) in versions() {
        for opens in [true, false] {
            let (identity, expected) = unwilling(&pki, opens);
            let offer = tls::Offer { identity: Some(identity), ..offer() };
            let outcome = play(start(&client(pki.trust()), &offer), demanding(&pki, &pki, &GROUPS, suites));
            assert_eq!(outcome.result.as_ref().err(), Some(&expected));
            assert!(outcome.server.is_handshaking());
            // In TLS 1.3 rustls has only close_notify to say under the keys that the server expects there.
            if version == keyferry_parsers::tls::ProtocolVersion::TLS_1_2 {
                assert_eq!(outcome.alert, Some(Alert::InternalError));
            }
        }
    }
}

/// Who is not asked needs no signature.
#[test]
fn a_signer_that_is_away_does_not_keep_a_client_from_a_server_that_asks_for_nothing() {
    let pki = Pki::new();
    let (identity, _) = unwilling(&pki, false);
    let offer = tls::Offer { identity: Some(identity), ..offer() };
    play(start(&client(pki.trust()), &offer), server_config(&pki.server())).established();
}

#[test]
fn a_server_that_does_not_take_the_terminals_certificate() {
    let (pki, other) = (Pki::new(), Pki::named("another", |_| ()));
    let config = demanding(&pki, &other, &GROUPS, versions()[1].1);
    let outcome = play(start(&client(pki.trust()), &offer_as(&[&pki.server()])), config);
    let error = outcome.error();
    assert_eq!(error.reason, Reason::PEER_ALERT, "{error}");
    assert!(error.detail.contains("unknown_ca") && error.detail.contains("terminal's certificate"), "{error}");
}

#[test]
fn a_server_that_demands_a_certificate_of_a_terminal_without_one() {
    let pki = Pki::new();
    let [_, (_, tls12)] = versions();
    for alert in [116, 40] {
        let mut engine = start(&client(pki.trust()), &offer());
        let mut server = rustls::ServerConnection::new(Arc::new(demanding(&pki, &pki, &GROUPS, tls12))).unwrap();
        give(&mut server, engine.as_mut()).unwrap();
        let flight = take(&mut server);
        let mut rest = &flight[..];
        while let Some(record) = next_record(&mut rest) {
            assert!(engine.feed(TIME, record).is_ok());
        }
        let error = engine.feed(TIME, &[21, 3, 3, 0, 2, 2, alert]).err().unwrap();
        assert_eq!(error.reason, Reason::CLIENT_CERTIFICATE_REQUIRED, "{error}");
    }
}

#[test]
fn wants_that_start_nothing() {
    let pki = Pki::new();
    let identity = terminal(&[&pki.server()]);
    let refused = |profile: &ServiceProfile, serve: &Serve| {
        Service::new(profile).unwrap().start(serve).err().expect("a refusal").reason
    };
    let none = Serve { suites: vec![CipherSuite(0x1304)], ..serve(identity.clone()) };
    assert_eq!(refused(&ServiceProfile::new(), &none), Reason::UNSUPPORTED);
    let alpn = Serve { alpn: vec!["mqtt".to_owned()], ..serve(identity.clone()) };
    let profile = ServiceProfile { alpn: vec!["h2".to_owned()], ..ServiceProfile::new() };
    assert_eq!(refused(&profile, &alpn), Reason::UNSUPPORTED);
    let long = ServiceProfile { alpn: vec!["x".repeat(256)], ..ServiceProfile::new() };
    assert_eq!(refused(&long, &serve(identity)), Reason::MALFORMED_REQUEST);

    let nothing_to_trust = ServiceProfile { clients: Some(Trust::default()), ..ServiceProfile::new() };
    assert_eq!(Service::new(&nothing_to_trust).err().unwrap().reason, Reason::INTERNAL);
}

#[test]
fn a_client_that_closes_or_complains() {
    let pki = Pki::new();
    let engine = || serving(&ServiceProfile::new(), &serve(terminal(&[&pki.server()])));
    let error = engine().peer_closed();
    assert_eq!(error.reason, Reason::PEER_CLOSED);
    assert!(error.detail.contains("10.7.2.2") && error.detail.contains("hello"), "{error}");

    // A client that does not trust the terminal's certificate says so.
    let served = play_client(engine(), client_config(&Pki::named("another", |_| ())));
    let error = served.error();
    assert_eq!(error.reason, Reason::PEER_ALERT, "{error}");
    assert!(error.detail.contains("terminal's certificate"), "{error}");
}
