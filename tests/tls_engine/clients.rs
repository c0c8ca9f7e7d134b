//! The server's role towards clients that have to prove who they are.

use keyferry::crypto::GROUPS;
use keyferry::error::Reason;
use keyferry::tls::{ServiceProfile, Trust};
use keyferry_parsers::messages::ProofMethod;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType, date_time_ymd,
};
use rustls::AlertDescription as Alert;

use crate::peer::*;
use crate::pki::*;
use crate::terminal::*;

fn demanding(clients: Trust) -> ServiceProfile {
    ServiceProfile { clients: Some(clients), ..ServiceProfile::new() }
}

/// A client with `identity` at a service with `profile`, in both versions.
#[track_caller]
fn refused(profile: &ServiceProfile, identity: Option<&Identity>, reason: Reason, alert: Alert, words: &[&str]) {
    let pki = Pki::new();
    for (version, suites) in versions() {
        let engine = serving(profile, &serve(terminal(&[&pki.server()])));
        let config = client_config_of(&pki, &GROUPS, suites, identity.map(Identity::certified_key));
        let served = play_client(engine, config);
        assert_eq!(served.alert, Some(alert), "alert to the client, {version}: {:?}", served.client_error);
        let error = served.error();
        assert_eq!(error.reason, reason, "{version}: {error}");
        for word in words.iter().chain(&["10.7.2.2"]) {
            assert!(error.detail.contains(word), "`{word}` is not in: {error}");
        }
    }
}

fn leaf(pki: &Pki, change: impl FnOnce(&mut CertificateParams)) -> Identity {
    pki.server_with(key(&PKCS_ECDSA_P256_SHA256), change)
}

#[test]
fn every_kind_of_key_in_both_versions() {
    let pki = Pki::new();
    for (key, (version, suites)) in every_key().into_iter().flat_map(|key| versions().map(|version| (key, version))) {
        let identity = pki.server_with(key(), |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        let mut engine = serving(&demanding(pki.trust()), &serve(terminal(&[&pki.server()])));
        assert!(!engine.peer_proved());
        engine.drain(&mut Vec::new());
        let config = client_config_of(&pki, &GROUPS, suites, Some(identity.certified_key()));
        let mut served = play_client(engine, config);
        assert!(served.engine.peer_proved());
        let established = served.result.unwrap_or_else(|error| panic!("{version}: {error}"));
        assert_eq!(established.certificates.len(), 2);
        assert_eq!(established.peer.method, ProofMethod::CA_VERIFIED_NAME);
        assert_eq!(established.peer.identity, NAME);
        data_flows(&established, &mut served.client, &[]);
    }
}

#[test]
fn only_who_is_named_may_connect_where_policy_names_somebody() {
    let pki = Pki::new();
    let names = [
        SanType::DnsName("Plant.example".try_into().unwrap()),
        SanType::Rfc822Name("ops@plant.example".try_into().unwrap()),
        SanType::URI("urn:plant:7".try_into().unwrap()),
        SanType::IpAddress("fd07::7".parse().unwrap()),
    ];
    let shown = ["Plant.example", "ops@plant.example", "urn:plant:7", "fd07::7"];
    let allowed = ["plant.EXAMPLE", "ops@PLANT.example", "urn:plant:7", "fd07:0::0:7"];
    for ((name, shown), allowed) in names.into_iter().zip(shown).zip(allowed) {
        let identity = leaf(&pki, |params| params.subject_alt_names = vec![name]);
        let profile = ServiceProfile {
            client_names: vec!["nobody.example".to_owned(), allowed.to_owned()],
            ..demanding(pki.trust())
        };
        let engine = serving(&profile, &serve(terminal(&[&pki.server()])));
        let config = client_config_of(&pki, &GROUPS, versions()[0].1, Some(identity.certified_key()));
        let established = play_client(engine, config).established();
        assert!(!established.peer.identity.is_empty());

        let profile = ServiceProfile { client_names: vec!["nobody.example".to_owned()], ..demanding(pki.trust()) };
        refused(&profile, Some(&identity), Reason::CLIENT_NOT_ALLOWED, Alert::AccessDenied, &["policy", shown]);
    }
}

/// Who may issue certificates for mail addresses or hosts must not be able to make an address or a URI of them.
#[test]
fn a_name_of_another_kind_is_nobodys() {
    let pki = Pki::new();
    let cases = [
        (SanType::DnsName("10.7.2.9".try_into().unwrap()), "10.7.2.9"),
        (SanType::DnsName("ops@plant.example".try_into().unwrap()), "ops@plant.example"),
        (SanType::Rfc822Name("plant.example".try_into().unwrap()), "plant.example"),
        (SanType::URI("plant.example".try_into().unwrap()), "plant.example"),
        (SanType::DnsName("urn:plant:7".try_into().unwrap()), "urn:plant:7"),
        (SanType::Rfc822Name("Ops@plant.example".try_into().unwrap()), "ops@plant.example"),
        (SanType::URI("urn:plant:7".try_into().unwrap()), "urn:PLANT:7"),
        (SanType::DnsName("*.plant.example".try_into().unwrap()), "a.plant.example"),
        (SanType::DnsName("*.plant.example".try_into().unwrap()), "*.plant.example"),
    ];
    for (name, allowed) in cases {
        let identity = leaf(&pki, |params| params.subject_alt_names = vec![name]);
        // A chain has more to say of names than a pin, so both have their turn.
        for trust in [pki.trust(), identity.pinned()] {
            let profile = ServiceProfile { client_names: vec![allowed.to_owned()], ..demanding(trust) };
            let engine = serving(&profile, &serve(terminal(&[&pki.server()])));
            let config = client_config_of(&pki, &GROUPS, versions()[0].1, Some(identity.certified_key()));
            let error = play_client(engine, config).error();
            assert_eq!(error.reason, Reason::CLIENT_NOT_ALLOWED, "{allowed}: {error}");
        }
    }
}

#[test]
fn a_client_without_a_name_is_known_by_its_subject() {
    let pki = Pki::new();
    let identity = leaf(&pki, |params| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, "pump 3");
    });
    let engine = serving(&demanding(pki.trust()), &serve(terminal(&[&pki.server()])));
    let config = client_config_of(&pki, &GROUPS, versions()[0].1, Some(identity.certified_key()));
    assert_eq!(play_client(engine, config).established().peer.identity, "CN=pump 3");
}

#[test]
fn a_pinned_key_needs_neither_ca_nor_name() {
    let pki = Pki::new();
    let identity = Pki::named("own", |_| ()).server_with(key(&PKCS_ED25519), |_| ());
    for (_, suites) in versions() {
        let engine = serving(&demanding(identity.pinned()), &serve(terminal(&[&pki.server()])));
        let config = client_config_of(&pki, &GROUPS, suites, Some(identity.certified_key()));
        let established = play_client(engine, config).established();
        assert_eq!(established.peer.method, ProofMethod::PINNED_KEY);
        assert_eq!(established.peer.identity, identity.pin().to_string());
    }
    let other = pki.server();
    let pin = other.pin().to_string();
    let profile = demanding(identity.pinned());
    refused(&profile, Some(&other), Reason::CERTIFICATE_NOT_PINNED, Alert::CertificateUnknown, &[&pin]);
}

/// TLS 1.2 does not know certificate_required (RFC 5246 section 7.4.6).
#[test]
fn no_certificate() {
    let pki = Pki::new();
    for ((_, suites), alert) in versions().into_iter().zip([Alert::CertificateRequired, Alert::HandshakeFailure]) {
        let engine = serving(&demanding(pki.trust()), &serve(terminal(&[&pki.server()])));
        let served = play_client(engine, client_config_of(&pki, &GROUPS, suites, None));
        assert_eq!(served.alert, Some(alert), "{:?}", served.client_error);
        let error = served.error();
        assert_eq!(error.reason, Reason::CLIENT_CERTIFICATE_REQUIRED, "{error}");
        assert!(error.detail.contains("sent no certificate"), "{error}");
    }
}

#[test]
fn unknown_ca() {
    let stranger = Pki::named("another", |_| ()).server();
    let profile = demanding(Pki::new().trust());
    refused(&profile, Some(&stranger), Reason::CERTIFICATE_UNKNOWN_CA, Alert::UnknownCA, &["add its CA"]);
}

#[test]
fn expired_and_not_yet_valid() {
    let pki = Pki::new();
    let expired = leaf(&pki, |params| params.not_after = date_time_ymd(2030, 6, 14));
    let early = leaf(&pki, |params| params.not_before = date_time_ymd(2030, 6, 16));
    for trust in [pki.trust(), Trust { pins: vec![expired.pin(), early.pin()], ..Trust::default() }] {
        let profile = demanding(trust);
        refused(&profile, Some(&expired), Reason::CERTIFICATE_EXPIRED, Alert::CertificateExpired, &["Jun 14"]);
        refused(&profile, Some(&early), Reason::CERTIFICATE_NOT_YET_VALID, Alert::CertificateExpired, &["Jun 16"]);
    }
}

#[test]
fn not_for_clients() {
    let pki = Pki::new();
    let identity = leaf(&pki, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let profile = demanding(pki.trust());
    refused(&profile, Some(&identity), Reason::CERTIFICATE_INVALID, Alert::UnsupportedCertificate, &["key usage"]);
}

#[test]
fn a_stolen_certificate() {
    let pki = Pki::new();
    let mut identity = pki.server();
    identity.key = key(&PKCS_ECDSA_P256_SHA256);
    let profile = demanding(pki.trust());
    refused(&profile, Some(&identity), Reason::CERTIFICATE_INVALID, Alert::DecryptError, &["does not verify"]);
    let pinned = demanding(Trust { pins: vec![identity.pin()], ..Trust::default() });
    refused(&pinned, Some(&identity), Reason::CERTIFICATE_INVALID, Alert::DecryptError, &["does not verify"]);
}
