//! What is in order is signed, and the signature is one that a TLS peer accepts.

use keyferry::signer::{Opened, Purpose, Signer, SigningRequest};
use keyferry_parsers::tls::SignatureScheme;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sha2::{Digest, Sha256, Sha384};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::transcripts::{Scenario, all, params};
use super::world::{OWNER, World};

#[test]
fn every_purpose_key_signature_and_suite() {
    let world = World::new();
    let all = all(&world);
    assert!(all.len() >= 100, "{} handshakes", all.len());
    for scenario in &all {
        let request = scenario.request(&world);
        let signature = world.signer.sign(&request).unwrap_or_else(|error| panic!("{:?}: {error}", scenario.suite));
        verify(scenario, &request, &signature);
        assert!(world.signer.sign(&request).is_err(), "signed twice");
    }
}

#[test]
fn a_server_that_asks_for_the_clients_certificate() {
    let world = World::new();
    for scenario in all(&world).into_iter().filter(|scenario| scenario.purpose == Purpose::Tls13Server) {
        let scenario = Scenario { asks_client: true, ..scenario };
        let request = scenario.request(&world);
        verify(&scenario, &request, &world.signer.sign(&request).unwrap());
    }
}

/// RFC 8446 section 4.1.3: a server that could do better says so in the last bytes of its TLS 1.2 random.
#[test]
fn a_tls12_server_may_warn_of_a_downgrade() {
    let world = World::new();
    let scenario = all(&world).into_iter().find(|scenario| scenario.purpose == Purpose::Tls12Server).unwrap();
    let opened = world.signer.open(OWNER).unwrap();
    let mut random = opened.random;
    random[24..].copy_from_slice(b"DOWNGRD\x01");
    let request = SigningRequest {
        transcript: scenario.messages(&random).concat(),
        ..scenario.request_with(&Opened { random, ..opened })
    };
    verify(&scenario, &request, &world.signer.sign(&request).unwrap());

    let opened = world.signer.open(OWNER).unwrap();
    let mut random = opened.random;
    // The sentinel of TLS 1.1 and below.
    random[24..].copy_from_slice(b"DOWNGRD\x00");
    let request = scenario.request_with(&Opened { random, ..opened });
    assert!(world.signer.sign(&request).is_err());
}

/// What is signed, computed here once more (RFC 8446 section 4.4.3, RFC 8422 section 5.4, RFC 5246 section 7.4.8).
fn verify(scenario: &Scenario, request: &SigningRequest, signature: &[u8]) {
    let messages = messages_of(&request.transcript);
    let tls13 = |label: &[u8]| [&[b' '; 64], label, &[0], &transcript_hash(scenario, &messages)].concat();
    let message = match scenario.purpose {
        Purpose::Tls13Server => tls13(b"TLS 1.3, server CertificateVerify"),
        Purpose::Tls13Client => tls13(b"TLS 1.3, client CertificateVerify"),
        Purpose::Tls12Server => [&messages[0][6..38], &messages[1][6..38], &params()].concat(),
        Purpose::Tls12Client => request.transcript.clone(),
    };
    let (_, leaf) = X509Certificate::from_der(scenario.credential.leaf()).unwrap();
    let key = UnparsedPublicKey::new(algorithm(scenario.scheme), &leaf.public_key().subject_public_key.data);
    key.verify(&message, signature).unwrap_or_else(|_| panic!("{:?} {:?}", scenario.purpose, scenario.scheme));
}

fn messages_of(mut transcript: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let [_, a, b, c, ..] = transcript {
        let (message, rest) = transcript.split_at(4 + u32::from_be_bytes([0, *a, *b, *c]) as usize);
        messages.push(message);
        transcript = rest;
    }
    messages
}

fn transcript_hash(scenario: &Scenario, messages: &[&[u8]]) -> Vec<u8> {
    let hash = |bytes: &[u8]| match scenario.suite.hash_length().unwrap() {
        48 => Sha384::digest(bytes).to_vec(),
        _ => Sha256::digest(bytes).to_vec(),
    };
    if !scenario.retried {
        return hash(&messages.concat());
    }
    let first = hash(messages[0]);
    hash(&[&[254, 0, 0, first.len() as u8], first.as_slice(), &messages[1..].concat()].concat())
}

fn algorithm(scheme: SignatureScheme) -> &'static dyn VerificationAlgorithm {
    match scheme {
        SignatureScheme::ECDSA_SECP256R1_SHA256 => &signature::ECDSA_P256_SHA256_ASN1,
        SignatureScheme::ECDSA_SECP384R1_SHA384 => &signature::ECDSA_P384_SHA384_ASN1,
        SignatureScheme::ED25519 => &signature::ED25519,
        SignatureScheme::RSA_PSS_RSAE_SHA256 => &signature::RSA_PSS_2048_8192_SHA256,
        SignatureScheme::RSA_PSS_RSAE_SHA384 => &signature::RSA_PSS_2048_8192_SHA384,
        SignatureScheme::RSA_PSS_RSAE_SHA512 => &signature::RSA_PSS_2048_8192_SHA512,
        SignatureScheme::RSA_PKCS1_SHA256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        SignatureScheme::RSA_PKCS1_SHA384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        SignatureScheme::RSA_PKCS1_SHA512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        other => panic!("{other}"),
    }
}
