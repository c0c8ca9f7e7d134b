//! Every file of the fuzz corpora goes through the fuzz targets' own functions, so that a stable `cargo test` keeps what
//! fuzzing found.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "clippy.toml lets test functions unwrap and print, but not their helpers"
)]

use std::{fs, path::Path};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display()); // shown only if the check fails
        check(&fs::read(path).unwrap());
        files += 1;
    }
    assert!(files > 0, "{} is empty", folder.display());
}

#[test]
fn tls_record() {
    replay("tls_record", targets::tls_record);
}

#[test]
fn tls_handshake() {
    replay("tls_handshake", targets::tls_handshake);
}

#[test]
fn tls12_handshake() {
    replay("tls12_handshake", targets::tls12_handshake);
}

#[test]
fn dtls() {
    replay("dtls", targets::dtls);
}

#[test]
fn ssl2() {
    replay("ssl2", targets::ssl2);
}

#[test]
fn messages() {
    replay("messages", targets::messages);
}

#[test]
fn ike_message() {
    replay("ike_message", targets::ike_message);
}

#[test]
fn ikev1_payloads() {
    replay("ikev1_payloads", targets::ikev1_payloads);
}

#[test]
fn ikev2_payloads() {
    replay("ikev2_payloads", targets::ikev2_payloads);
}
