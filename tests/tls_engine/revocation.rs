//! Revocation lists, for servers' and clients' certificates alike.

use keyferry::crypto::GROUPS;
use keyferry::error::Reason;
use keyferry::tls::{Client, Profile, Revocation, ServiceProfile, Trust};
use rcgen::{
    CertificateRevocationListParams, CertifiedIssuer, KeyIdMethod, KeyPair, PKCS_ECDSA_P256_SHA256, RevocationReason,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::AlertDescription as Alert;

use crate::peer::*;
use crate::pki::*;
use crate::terminal::*;

const LEAF: u64 = 4242;
const INTERMEDIATE: u64 = 1717;

fn pki() -> Pki {
    Pki::named("test", |params| params.serial_number = Some(SerialNumber::from(INTERMEDIATE)))
}

fn leaf(pki: &Pki) -> Identity {
    pki.server_with(key(&PKCS_ECDSA_P256_SHA256), |params| params.serial_number = Some(SerialNumber::from(LEAF)))
}

fn crl(issuer: &CertifiedIssuer<'static, KeyPair>, revoked: &[u64], next_month: u8) -> Vec<u8> {
    listing(issuer, revoked, next_month, 1)
}

/// An empty list until this day of June 2030.
pub fn crl_until(issuer: &CertifiedIssuer<'static, KeyPair>, day: u8) -> Vec<u8> {
    listing(issuer, &[], 6, day)
}

fn listing(issuer: &CertifiedIssuer<'static, KeyPair>, revoked: &[u64], month: u8, day: u8) -> Vec<u8> {
    let entry = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2030, 5, 1),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2030, 5, 1),
        next_update: date_time_ymd(2030, month, day),
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).unwrap().der().to_vec()
}

/// `None`: accepted. As a server's certificate and as a client's, in both versions.
#[track_caller]
fn judged(pki: &Pki, trust: &Trust, refusal: Option<(Reason, Alert, &str)>) {
    let identity = leaf(pki);
    let anonymous = Pki::named("gateway", |_| ());
    let service = ServiceProfile { clients: Some(trust.clone()), ..ServiceProfile::new() };
    for (version, suites) in versions() {
        let client = Client::new(&Profile::new(trust.clone())).unwrap();
        let config = server_config_of(identity.certified_key(), &GROUPS, suites);
        let outcome = play(start(&client, &offer()), config);
        let as_server = (outcome.result.err(), outcome.alert);

        let engine = serving(&service, &serve(terminal(&[&anonymous.server()])));
        let config = client_config_of(&anonymous, &GROUPS, suites, Some(identity.certified_key()));
        let served = play_client(engine, config);
        for (error, alert) in [as_server, (served.result.err(), served.alert)] {
            assert_eq!(
                error.as_ref().map(|error| error.reason),
                refusal.map(|(reason, ..)| reason),
                "{version} {error:?}"
            );
            assert_eq!(alert, refusal.map(|(_, alert, _)| alert), "{version}");
            if let Some((error, (_, _, word))) = error.zip(refusal) {
                assert!(error.detail.contains(word), "`{word}` is not in: {error}");
            }
        }
    }
}

fn trust(pki: &Pki, crls: Vec<Vec<u8>>, revocation: Revocation) -> Trust {
    Trust { crls, revocation, ..pki.trust() }
}

#[test]
fn not_revoked() {
    let pki = pki();
    let crls = vec![crl(&pki.intermediate, &[1, 2, 3], 7), crl(&pki.root, &[4], 7)];
    judged(&pki, &trust(&pki, crls, Revocation::Chain), None);
}

#[test]
fn revoked() {
    let pki = pki();
    let refusal = (Reason::CERTIFICATE_REVOKED, Alert::CertificateRevoked, "revoked by its issuer");
    let crls = vec![crl(&pki.intermediate, &[LEAF], 7), crl(&pki.root, &[], 7)];
    for revocation in [Revocation::Chain, Revocation::EndEntity] {
        judged(&pki, &trust(&pki, crls.clone(), revocation), Some(refusal));
    }
}

#[test]
fn a_revoked_intermediate() {
    let pki = pki();
    let crls = vec![crl(&pki.intermediate, &[], 7), crl(&pki.root, &[INTERMEDIATE], 7)];
    let refusal = (Reason::CERTIFICATE_REVOKED, Alert::CertificateRevoked, "revoked by its issuer");
    judged(&pki, &trust(&pki, crls.clone(), Revocation::Chain), Some(refusal));
    judged(&pki, &trust(&pki, crls, Revocation::EndEntity), None);
}

#[test]
fn a_certificate_that_no_list_covers() {
    let pki = pki();
    let refusal = (Reason::REVOCATION_UNKNOWN, Alert::UnknownCA, "no configured revocation list");
    judged(&pki, &trust(&pki, vec![crl(&pki.root, &[], 7)], Revocation::Chain), Some(refusal));
    judged(&pki, &trust(&pki, vec![crl(&pki.intermediate, &[], 7)], Revocation::Chain), Some(refusal));
    judged(&pki, &trust(&pki, vec![crl(&pki.intermediate, &[], 7)], Revocation::EndEntity), None);
}

#[test]
fn a_list_out_of_date() {
    let pki = pki();
    let refusal = (Reason::REVOCATION_UNKNOWN, Alert::UnknownCA, "Jun  1");
    let crls = vec![crl(&pki.intermediate, &[], 6), crl(&pki.root, &[], 7)];
    judged(&pki, &trust(&pki, crls, Revocation::Chain), Some(refusal));
}

#[test]
fn a_list_that_is_not_genuine() {
    let pki = pki();
    let mut forged = crl(&pki.intermediate, &[], 7);
    *forged.last_mut().unwrap() ^= 1;
    let refusal = (Reason::REVOCATION_UNKNOWN, Alert::HandshakeFailure, "not genuine");
    judged(&pki, &trust(&pki, vec![forged, crl(&pki.root, &[], 7)], Revocation::Chain), Some(refusal));
}

#[test]
fn what_is_no_list() {
    let pki = pki();
    let error = Client::new(&Profile::new(trust(&pki, vec![vec![0x30, 0]], Revocation::Chain))).err().unwrap();
    assert_eq!(error.reason, Reason::INTERNAL);
    assert!(error.detail.contains("revocation list"), "{error}");
}
