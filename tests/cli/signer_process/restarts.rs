//! The signer goes and comes back.

use keyferry::error::Reason;
use keyferry::signer::Signer;

use super::{OWNER, Process, credential, request};

#[test]
fn it_signs_and_survives_a_restart_with_its_keys() {
    let mut process = Process::start("root");
    let remote = process.remote();
    let (credential, private_key) = credential();
    assert_eq!(remote.open(OWNER).unwrap_err().reason, Reason::SIGNER_REFUSED);
    remote.import(OWNER, &credential, &private_key).unwrap();
    let opened = remote.open(OWNER).unwrap();
    let signature = remote.sign(&request(&credential, &opened)).unwrap();
    assert!(signature.len() > 60);
    assert_eq!(remote.sign(&request(&credential, &opened)).unwrap_err().reason, Reason::SIGNER_REFUSED);

    let lost = remote.open(OWNER).unwrap();
    process.kill();
    let error = remote.sign(&request(&credential, &lost)).unwrap_err();
    assert_eq!(error.reason, Reason::SIGNER_UNAVAILABLE);
    assert!(error.detail.contains("systemctl status keyferry-signer"), "{error}");
    assert_eq!(remote.open(OWNER).unwrap_err().reason, Reason::SIGNER_UNAVAILABLE);

    process.restart();
    assert_eq!(remote.sign(&request(&credential, &lost)).unwrap_err().reason, Reason::SIGNER_REFUSED, "of before");
    let opened = remote.open(OWNER).unwrap();
    remote.sign(&request(&credential, &opened)).unwrap();

    remote.forget(OWNER, Some("default")).unwrap();
    assert_eq!(remote.open(OWNER).unwrap_err().reason, Reason::SIGNER_REFUSED);
    process.kill();
    process.restart();
    assert_eq!(remote.open(OWNER).unwrap_err().reason, Reason::SIGNER_REFUSED, "erased for good");
}

/// A connection that the signer closed while nobody used it is replaced without anybody noticing.
#[test]
fn a_restart_between_two_handshakes_is_not_noticed() {
    let mut process = Process::start("root");
    let remote = process.remote();
    let (credential, private_key) = credential();
    remote.import(OWNER, &credential, &private_key).unwrap();
    for _ in 0..3 {
        process.kill();
        process.restart();
        let opened = remote.open(OWNER).unwrap();
        remote.sign(&request(&credential, &opened)).unwrap();
    }
}
