//! The terminal as a client that proves who it is.

use std::sync::Arc;

use keyferry::crypto::{GROUPS, provider};
use keyferry::tls::Offer;
use keyferry_parsers::tls::{CipherSuite, NamedGroup};
use rcgen::{ExtendedKeyUsagePurpose, PKCS_ECDSA_P256_SHA256};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::peer::*;
use crate::pki::*;
use crate::terminal::*;

/// A server that demands a certificate of `clients`, and is itself of `pki`.
pub fn demanding(pki: &Pki, clients: &Pki, groups: &[NamedGroup], suites: &[CipherSuite]) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add(clients.root.der().clone()).unwrap();
    let provider = provider(groups, suites).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let identity = pki.server_with(
        if suites.iter().all(|suite| suite.to_string().contains("_RSA_")) {
            rsa_key()
        } else {
            key(&PKCS_ECDSA_P256_SHA256)
        },
        |_| (),
    );
    ServerConfig::builder_with_details(provider, Arc::new(Fixed))
        .with_protocol_versions(&versions_of(suites))
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key.serialize_der().try_into().unwrap())
        .unwrap()
}

pub fn offer_as(identities: &[&Identity]) -> Offer {
    Offer { identity: Some(terminal(identities)), ..offer() }
}

#[test]
fn every_kind_of_key_in_every_suite() {
    let pki = Pki::new();
    let client = client(pki.trust());
    for (version, suites) in versions() {
        for (key, suite) in every_key().into_iter().flat_map(|key| suites.iter().map(move |suite| (key, *suite))) {
            let identity = pki.server_with(key(), |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            });
            let outcome = play(start(&client, &offer_as(&[&identity])), demanding(&pki, &pki, &GROUPS[1..], &[suite]));
            let Outcome { result, mut server, prefix, .. } = outcome;
            let established = result.unwrap_or_else(|error| panic!("{suite}: {error}"));
            assert_eq!(established.version, version);
            assert!(!established.client_certificate_requested);
            assert_eq!(server.peer_certificates().unwrap(), &identity.chain[..]);
            data_flows(&established, &mut server, &prefix);
        }
    }
}

/// The transcript that is signed begins with the first hello, whose hash is all that rustls keeps.
#[test]
fn after_hello_retry_request() {
    let pki = Pki::new();
    let identity = pki.server();
    for suite in versions()[0].1 {
        let config = demanding(&pki, &pki, &[NamedGroup::SECP384R1], &[*suite]);
        let outcome = play(start(&client(pki.trust()), &offer_as(&[&identity])), config);
        let Outcome { result, mut server, prefix, .. } = outcome;
        let established = result.unwrap_or_else(|error| panic!("{suite}: {error}"));
        assert!(established.hello_retried);
        data_flows(&established, &mut server, &prefix);
    }
}

#[test]
fn the_certificate_of_an_issuer_that_the_server_named_is_preferred() {
    let (pki, other) = (Pki::new(), Pki::named("another", |_| ()));
    let (wrong, right) = (other.server(), pki.server());
    let outcome = play(
        start(&client(pki.trust()), &offer_as(&[&wrong, &right])),
        demanding(&pki, &pki, &GROUPS, versions()[0].1),
    );
    assert!(outcome.result.is_ok());
    assert_eq!(outcome.server.peer_certificates().unwrap(), &right.chain[..]);
}

#[test]
fn who_has_a_certificate_is_not_asked_for_it_everywhere() {
    let pki = Pki::new();
    for (_, suites) in versions() {
        let config = server_config_of(pki.server().certified_key(), &GROUPS, suites);
        let outcome = play(start(&client(pki.trust()), &offer_as(&[&pki.server()])), config);
        assert!(outcome.server.peer_certificates().is_none());
        assert!(!outcome.established().client_certificate_requested);
    }
}
