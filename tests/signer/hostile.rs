//! Each way to ask for a signature that must not be made, by itself, and why it is refused.

use std::sync::Arc;

use keyferry::error::Reason;
use keyferry::signer::{CredentialId, Purpose, Signer, SigningRequest};
use keyferry_parsers::tls::{CipherSuite, SignatureScheme};
use sha2::{Digest, Sha256, Sha384};

use super::transcripts::{Scenario, all, certificate13};
use super::world::{OTHER, OWNER, World};

const PURPOSES: [Purpose; 4] = [Purpose::Tls13Server, Purpose::Tls13Client, Purpose::Tls12Server, Purpose::Tls12Client];

fn scenario(world: &World, purpose: Purpose) -> Scenario {
    let fits = |scenario: &Scenario| scenario.purpose == purpose && scenario.credential == world.p256;
    all(world).into_iter().find(fits).unwrap()
}

/// The request is refused for `why`, and has spent its handshake.
#[track_caller]
fn refused(world: &World, request: &SigningRequest, why: &str) {
    let error = world.signer.sign(request).unwrap_err();
    assert_eq!(error.reason, Reason::SIGNER_REFUSED);
    assert!(error.detail.contains(why), "{:?}: {error}", request.purpose);
    let again = world.signer.sign(request).unwrap_err();
    assert!(again.detail.contains("no such handshake is open"), "{again}");
}

/// A good request of each purpose, spoiled.
#[track_caller]
fn all_refused(why: &str, spoil: impl Fn(&World, &Scenario, &mut SigningRequest)) {
    let world = World::new();
    for purpose in PURPOSES {
        let scenario = scenario(&world, purpose);
        let mut request = scenario.request(&world);
        spoil(&world, &scenario, &mut request);
        refused(&world, &request, why);
    }
}

#[test]
fn a_digest_in_place_of_the_transcript() {
    all_refused("the transcript", |_, _, request| request.transcript = Sha256::digest(&request.transcript).to_vec());
    all_refused("the transcript", |_, _, request| request.transcript = Sha384::digest(&request.transcript).to_vec());
    // As HelloRetryRequest has it, with a message_hash for the first message.
    all_refused("where client_hello belongs", |_, _, request| {
        let hash = Sha256::digest(&request.transcript);
        request.transcript = [&[254, 0, 0, 32], hash.as_slice()].concat();
    });
}

#[test]
fn what_tls_would_sign_in_place_of_the_transcript() {
    all_refused("the transcript", |_, _, request| {
        let hash = Sha256::digest(&request.transcript);
        request.transcript = [&[b' '; 64], b"TLS 1.3, server CertificateVerify".as_slice(), &[0], &hash].concat();
    });
}

/// The octets that IKEv2's AUTH signs (RFC 7296 section 2.15) begin with a message header: two SPIs, next payload.
#[test]
fn octets_of_another_protocol() {
    all_refused("the transcript", |_, _, request| {
        let header = [&[0x11; 8], &[0x22; 8], &[33, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0, 1, 0][..]].concat();
        request.transcript = [&header, request.transcript.as_slice()].concat();
    });
    all_refused("the transcript", |_, _, request| request.transcript = b"ssh-connection".to_vec());
    all_refused("ends too early", |_, _, request| request.transcript = Vec::new());
}

#[test]
fn a_certificate_of_another_terminal() {
    all_refused("no such certificate", |world, _, request| request.credential = world.others.id);
    all_refused("no such certificate", |_, _, request| request.credential = CredentialId([0; 32]));
    all_refused("not the one that is to be proved", |world, scenario, request| {
        let opened = world.signer.open(OWNER).unwrap();
        let theirs = Scenario { credential: Arc::clone(&world.others), ..scenario.clone() };
        *request = SigningRequest { credential: world.p256.id, ..theirs.request_with(&opened) };
    });
}

#[test]
fn another_certificate_of_the_same_terminal_in_the_transcript() {
    all_refused("not the one that is to be proved", |world, scenario, request| {
        let opened = world.signer.open(OWNER).unwrap();
        let other = Scenario { credential: Arc::clone(&world.p384), ..scenario.clone() };
        *request = SigningRequest { credential: world.p256.id, ..other.request_with(&opened) };
    });
}

#[test]
fn another_owner() {
    all_refused("another terminal's", |_, _, request| request.owner = OTHER.into());
    all_refused("another terminal's", |world, _, request| {
        request.handshake = world.signer.open(OTHER).unwrap().handshake;
    });
}

#[test]
fn a_transcript_of_another_handshake() {
    all_refused("not that of this handshake", |world, scenario, request| {
        let other = scenario.request(world);
        request.transcript = other.transcript;
    });
    all_refused("not that of this handshake", |_, scenario, request| {
        request.transcript = scenario.messages(&[0; 32]).concat();
    });
    all_refused("no such handshake is open", |_, _, request| request.handshake ^= 1);
}

#[test]
fn a_stale_handshake() {
    let world = World::new();
    for purpose in PURPOSES {
        let request = scenario(&world, purpose).request(&world);
        world.advance(60);
        refused(&world, &request, "older than 60 s");
        let request = scenario(&world, purpose).request(&world);
        world.advance(59);
        world.signer.sign(&request).unwrap();
    }
}

#[test]
fn a_handshake_that_was_signed_for() {
    let world = World::new();
    for purpose in PURPOSES {
        let request = scenario(&world, purpose).request(&world);
        world.signer.sign(&request).unwrap();
        refused(&world, &request, "no such handshake is open");
    }
}

#[test]
fn another_purpose() {
    let world = World::new();
    for purpose in PURPOSES {
        for other in PURPOSES.into_iter().filter(|other| *other != purpose) {
            let request = SigningRequest { purpose: other, ..scenario(&world, purpose).request(&world) };
            let error = world.signer.sign(&request).unwrap_err();
            assert_eq!(error.reason, Reason::SIGNER_REFUSED, "{purpose:?} as {other:?}");
        }
    }
}

#[test]
fn a_signature_that_the_key_does_not_make() {
    all_refused("is not a signature that a key of", |_, _, request| {
        request.scheme = SignatureScheme::RSA_PSS_RSAE_SHA256;
    });
    all_refused("is not a signature that a key of", |_, _, request| {
        request.scheme = SignatureScheme::ECDSA_SECP384R1_SHA384;
    });
    all_refused("is not a signature that a key of", |_, _, request| request.scheme = SignatureScheme::RSA_PKCS1_SHA1);
}

#[test]
fn a_signature_that_the_other_side_does_not_take() {
    all_refused("did not offer rsa_pss_rsae_sha512", |world, scenario, request| {
        let rsa = |scenario: &Scenario| scenario.credential == world.rsa && scenario.scheme.0 == 0x0804;
        let same = |other: &Scenario| other.purpose == scenario.purpose && rsa(other);
        *request = all(world).into_iter().find(same).unwrap().request(world);
        request.scheme = SignatureScheme::RSA_PSS_RSAE_SHA512;
    });
}

#[test]
fn pkcs1_signatures_in_tls13() {
    let world = World::new();
    for purpose in [Purpose::Tls13Server, Purpose::Tls13Client] {
        let credential = Arc::clone(&world.rsa);
        let spoiled = Scenario { credential, scheme: SignatureScheme::RSA_PKCS1_SHA256, ..scenario(&world, purpose) };
        refused(&world, &spoiled.request(&world), "does not sign TLS 1.3 handshakes");
    }
}

#[test]
fn a_suite_of_the_other_version_or_of_another_key() {
    let world = World::new();
    let spoiled = |purpose, suite| Scenario { suite: CipherSuite(suite), ..scenario(&world, purpose) };
    refused(&world, &spoiled(Purpose::Tls13Server, 0xc02b).request(&world), "is not a TLS 1.3 suite");
    for purpose in [Purpose::Tls12Server, Purpose::Tls12Client] {
        refused(&world, &spoiled(purpose, 0x1301).request(&world), "is not a TLS 1.2 suite");
        // RSA key transport: the client's key would decrypt.
        refused(&world, &spoiled(purpose, 0x009c).request(&world), "is not a TLS 1.2 suite");
    }
    refused(&world, &spoiled(Purpose::Tls12Server, 0xc02f).request(&world), "is not proved with a key of");
}

#[test]
fn parameters_that_are_none_or_do_not_belong() {
    let world = World::new();
    let server = scenario(&world, Purpose::Tls12Server);
    let with = |params: &[u8]| SigningRequest { params: params.to_vec(), ..server.request(&world) };
    refused(&world, &with(&[]), "cannot be read");
    refused(&world, &with(&[1, 0, 29]), "cannot be read");
    refused(&world, &with(&[&[3, 0, 29, 31], &[7; 31][..]].concat()), "no public value");
    refused(&world, &with(&[&[3, 0, 23, 65, 4], &[7; 64][..]].concat()), "did not offer the group");
    refused(&world, &with(&[&[3, 0, 29, 32], &[7; 33][..]].concat()), "cannot be read");
    for purpose in [Purpose::Tls13Server, Purpose::Tls13Client, Purpose::Tls12Client] {
        let request = SigningRequest { params: vec![3], ..scenario(&world, purpose).request(&world) };
        refused(&world, &request, "parameters where none are signed");
    }
}

#[test]
fn messages_cut_appended_swapped_repeated_or_left_out() {
    let world = World::new();
    for purpose in PURPOSES {
        for retried in [false, true] {
            let scenario = Scenario { retried, ..scenario(&world, purpose) };
            let count = scenario.messages(&[0; 32]).len();
            for at in 0..count {
                let spoiled = |spoil: &dyn Fn(&mut Vec<Vec<u8>>)| {
                    let opened = world.signer.open(OWNER).unwrap();
                    let mut messages = scenario.messages(&opened.random);
                    spoil(&mut messages);
                    let request = scenario.request_with(&opened);
                    let request = SigningRequest { transcript: messages.concat(), ..request };
                    let refused = world.signer.sign(&request).unwrap_err();
                    assert_eq!(refused.reason, Reason::SIGNER_REFUSED, "{purpose:?}, message {at}: {refused}");
                };
                spoiled(&|messages| drop(messages.remove(at)));
                spoiled(&|messages| messages.truncate(at));
                spoiled(&|messages| messages.insert(at, messages[at].clone()));
                spoiled(&|messages| messages.push(messages[at].clone()));
                spoiled(&|messages| {
                    messages[at].pop();
                });
                spoiled(&|messages| messages[at].push(0));
                if at > 0 {
                    spoiled(&|messages| messages.swap(at - 1, at));
                }
            }
        }
    }
}

/// The first Certificate of a client's transcript is the server's: ours must not pass for it.
#[test]
fn the_own_certificate_in_the_wrong_place() {
    let world = World::new();
    let client = scenario(&world, Purpose::Tls13Client);
    let opened = world.signer.open(OWNER).unwrap();
    let mut messages = client.messages(&opened.random);
    let last = messages.len() - 1;
    messages[last] = certificate13(world.others.leaf());
    // After both hellos, EncryptedExtensions and CertificateRequest, a retry or none.
    let servers = last - 3;
    messages[servers] = certificate13(world.p256.leaf());
    let request = SigningRequest { transcript: messages.concat(), ..client.request_with(&opened) };
    refused(&world, &request, "not the one that is to be proved");
}

#[test]
fn a_transcript_without_end() {
    all_refused("has more than", |_, _, request| request.transcript.resize(200_000, 0));
}

#[test]
fn an_owner_without_certificates() {
    let world = World::new();
    let error = world.signer.open("meter-3").unwrap_err();
    assert!(error.detail.contains("has no certificate"), "{error}");
    let request = scenario(&world, Purpose::Tls13Server).request(&world);
    world.signer.remove_owner(OWNER);
    refused(&world, &request, "no such handshake is open");
    assert_eq!(world.signer.owners(), [OTHER]);
}

#[test]
fn a_certificate_that_was_removed_since() {
    let world = World::new();
    let request = scenario(&world, Purpose::Tls13Server).request(&world);
    assert!(world.signer.remove(OWNER, "p256"));
    assert!(!world.signer.remove(OWNER, "p256"));
    refused(&world, &request, "no such certificate");
}

/// A terminal that begins handshakes and leaves them costs nobody else anything.
#[test]
fn handshakes_that_are_left_make_room_for_new_ones_of_the_same_terminal() {
    let world = World::new();
    let server = scenario(&world, Purpose::Tls13Server);
    let theirs = world.signer.open(OTHER).unwrap();
    let oldest = server.request(&world);
    let second = server.request(&world);
    for _ in 0..255 {
        world.signer.open(OWNER).unwrap();
    }
    refused(&world, &oldest, "no such handshake is open");
    world.signer.sign(&second).unwrap();
    let request = SigningRequest { owner: OTHER.into(), handshake: theirs.handshake, ..second };
    // It is open still: refused for what is in it.
    refused(&world, &request, "no such certificate");
}
