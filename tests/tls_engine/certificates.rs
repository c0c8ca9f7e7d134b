//! Certificates that must not be accepted: the reason the terminal gets and the alert the peer gets.

use keyferry::crypto::GROUPS;
use keyferry::error::Reason;
use keyferry::tls::{Offer, ServerIdentity, Trust};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, date_time_ymd};
use rustls::AlertDescription as Alert;
use rustls::pki_types::CertificateDer;

use crate::peer::*;
use crate::pki::*;

/// Plays against `identity`, in both versions, and checks reason, alert and that the text says `words`.
#[track_caller]
fn refused(trust: Trust, identity: &Identity, reason: Reason, alert: Alert, words: &[&str]) {
    let client = client(trust);
    for (version, suites) in versions() {
        let config = server_config_of(identity.certified_key(), &GROUPS, suites);
        let outcome = play(start(&client, &offer()), config);
        assert_eq!(outcome.alert, Some(alert), "alert to the peer, {version}");
        let error = outcome.error();
        assert_eq!(error.reason, reason, "{version}: {error}");
        for word in words {
            assert!(error.detail.contains(word), "`{word}` is not in: {error}");
        }
        assert!(error.detail.len() <= 512, "{} bytes", error.detail.len());
    }
}

fn leaf(pki: &Pki, change: impl FnOnce(&mut CertificateParams)) -> Identity {
    pki.server_with(key(&PKCS_ECDSA_P256_SHA256), change)
}

#[test]
fn unknown_ca() {
    let other = Pki::named("another", |_| ());
    refused(
        other.trust(),
        &Pki::new().server(),
        Reason::CERTIFICATE_UNKNOWN_CA,
        Alert::UnknownCA,
        &[NAME, "add its CA"],
    );
}

/// The name of the CA is known, its key is not: renewed, or somebody else's.
#[test]
fn a_ca_of_the_same_name_with_another_key() {
    refused(
        Pki::new().trust(),
        &Pki::new().server(),
        Reason::CERTIFICATE_INVALID,
        Alert::DecryptError,
        &["does not verify", "new key"],
    );
}

#[test]
fn missing_intermediate() {
    let pki = Pki::new();
    let mut identity = pki.server();
    identity.chain.truncate(1);
    refused(pki.trust(), &identity, Reason::CERTIFICATE_UNKNOWN_CA, Alert::UnknownCA, &["intermediate"]);
}

#[test]
fn expired() {
    let pki = Pki::new();
    let identity = leaf(&pki, |params| params.not_after = date_time_ymd(2030, 6, 14));
    refused(
        pki.trust(),
        &identity,
        Reason::CERTIFICATE_EXPIRED,
        Alert::CertificateExpired,
        &["Jun 14", "Jun 15", "2030"],
    );
}

#[test]
fn expired_intermediate() {
    let pki = Pki::named("test", |params| params.not_after = date_time_ymd(2030, 6, 14));
    refused(pki.trust(), &pki.server(), Reason::CERTIFICATE_EXPIRED, Alert::CertificateExpired, &["Jun 14"]);
}

#[test]
fn not_yet_valid() {
    let pki = Pki::new();
    let identity = leaf(&pki, |params| params.not_before = date_time_ymd(2030, 6, 16));
    refused(pki.trust(), &identity, Reason::CERTIFICATE_NOT_YET_VALID, Alert::CertificateExpired, &["Jun 16", "clock"]);
}

#[test]
fn another_name() {
    let pki = Pki::new();
    let identity = leaf(&pki, |params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("other.example".try_into().unwrap())]
    });
    refused(pki.trust(), &identity, Reason::CERTIFICATE_NAME_MISMATCH, Alert::BadCertificate, &[NAME, "other.example"]);
}

#[test]
fn a_thousand_other_names_do_not_flood_the_log() {
    let pki = Pki::new();
    let identity = leaf(&pki, |params| {
        params.subject_alt_names = (0..1000)
            .map(|n| rcgen::SanType::DnsName(format!("a-very-long-name-{n}.example").try_into().unwrap()))
            .collect();
    });
    refused(pki.trust(), &identity, Reason::CERTIFICATE_NAME_MISMATCH, Alert::BadCertificate, &["..."]);
}

#[test]
fn no_name_and_another_address() {
    let pki = Pki::new();
    let identity = leaf(&pki, |params| params.subject_alt_names.clear());
    refused(pki.trust(), &identity, Reason::CERTIFICATE_NAME_MISMATCH, Alert::BadCertificate, &["no name at all"]);

    let offer = Offer { server: ServerIdentity::Address("10.7.2.2".parse().unwrap()), ..offer() };
    let outcome = play(start(&client(pki.trust()), &offer), server_config(&pki.server()));
    assert_eq!(outcome.error().reason, Reason::CERTIFICATE_NAME_MISMATCH);
}

#[test]
fn not_for_servers() {
    let pki = Pki::new();
    let identity = leaf(&pki, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    refused(
        pki.trust(),
        &identity,
        Reason::CERTIFICATE_INVALID,
        Alert::UnsupportedCertificate,
        &["extended key usage"],
    );
}

#[test]
fn a_ca_certificate_as_the_servers_own() {
    let pki = Pki::new();
    let identity = leaf(&pki, |params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    refused(pki.trust(), &identity, Reason::CERTIFICATE_INVALID, Alert::CertificateUnknown, &["CaUsedAsEndEntity"]);
}

#[test]
fn a_certificate_whose_signature_is_wrong() {
    let pki = Pki::new();
    let mut identity = pki.server();
    let mut der = identity.chain[0].to_vec();
    *der.last_mut().unwrap() ^= 1;
    identity.chain[0] = CertificateDer::from(der);
    refused(pki.trust(), &identity, Reason::CERTIFICATE_INVALID, Alert::DecryptError, &["does not verify"]);
}

/// The certificate is right, but whoever shows it does not have its key.
#[test]
fn a_stolen_certificate() {
    let pki = Pki::new();
    let mut identity = pki.server();
    identity.key = key(&PKCS_ECDSA_P256_SHA256);
    refused(pki.trust(), &identity, Reason::CERTIFICATE_INVALID, Alert::DecryptError, &["does not verify"]);

    let trust = pki.server_with(key(&PKCS_ECDSA_P256_SHA256), |_| ());
    let pinned = Identity { chain: trust.chain.clone(), key: key(&PKCS_ECDSA_P256_SHA256) };
    refused(trust.pinned(), &pinned, Reason::CERTIFICATE_INVALID, Alert::DecryptError, &["does not verify"]);
}

#[test]
fn a_key_that_is_not_pinned() {
    let pki = Pki::new();
    let other = pki.server();
    let identity = pki.server();
    let pin = identity.pin().to_string();
    refused(other.pinned(), &identity, Reason::CERTIFICATE_NOT_PINNED, Alert::CertificateUnknown, &[NAME, &pin]);
}

#[test]
fn with_anchor_and_pin_both_must_hold() {
    let pki = Pki::new();
    let identity = pki.server();
    let other_key = Trust { pins: vec![pki.server().pin()], ..pki.trust() };
    let own_pin = identity.pin().to_string();
    refused(other_key, &identity, Reason::CERTIFICATE_NOT_PINNED, Alert::CertificateUnknown, &[NAME, &own_pin]);
    let other_anchor = Trust { pins: vec![identity.pin()], ..Pki::new().trust() };
    let outcome = play(start(&client(other_anchor), &offer()), server_config(&identity));
    assert!(outcome.result.is_err());
}

#[test]
fn a_pinned_key_in_a_certificate_out_of_its_time() {
    let pki = Pki::new();
    let expired = leaf(&pki, |params| params.not_after = date_time_ymd(2030, 6, 14));
    refused(expired.pinned(), &expired, Reason::CERTIFICATE_EXPIRED, Alert::CertificateExpired, &["Jun 14"]);
    let early = leaf(&pki, |params| params.not_before = date_time_ymd(2030, 6, 16));
    refused(early.pinned(), &early, Reason::CERTIFICATE_NOT_YET_VALID, Alert::CertificateExpired, &["Jun 16"]);
}

#[test]
fn a_certificate_that_is_none() {
    let pki = Pki::new();
    let mut identity = pki.server_with(key(&PKCS_ED25519), |_| ());
    identity.chain = vec![CertificateDer::from(vec![0x30, 0x03, 2, 1, 1])];
    refused(pki.trust(), &identity, Reason::CERTIFICATE_INVALID, Alert::BadCertificate, &["BadEncoding"]);
    let pins = Trust { pins: vec![pki.server().pin()], ..Trust::default() };
    refused(pins, &identity, Reason::CERTIFICATE_NOT_PINNED, Alert::CertificateUnknown, &["cannot be read"]);
}
