//! The terminal contains no public-key cryptography: shown over its dependency tree, for the device and for Linux.
#![allow(clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::process::Command;

/// Crates that do public-key cryptography, big numbers or certificates, and libraries that contain all of them.
const FORBIDDEN: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "boring",
    "botan",
    "crypto-bigint",
    "crypto-primes",
    "curve25519-dalek",
    "dsa",
    "ecdsa",
    "ed25519",
    "ed25519-dalek",
    "ed448-goldilocks",
    "elliptic-curve",
    "fips203",
    "graviola",
    "gmp-mpfr-sys",
    "hpke",
    "ibig",
    "k256",
    "kem",
    "libcrux-ml-kem",
    "libsodium-sys",
    "mbedtls",
    "ml-dsa",
    "ml-kem",
    "module-lattice",
    "native-tls",
    "num-bigint",
    "num-bigint-dig",
    "openssl",
    "openssl-sys",
    "orion",
    "p192",
    "p224",
    "p256",
    "p384",
    "p521",
    "pkcs1",
    "pkcs8",
    "pqcrypto",
    "primeorder",
    "rcgen",
    "ring",
    "rsa",
    "rug",
    "rustls",
    "rustls-webpki",
    "s2n-tls",
    "sec1",
    "secp256k1",
    "signature",
    "slh-dsa",
    "sm2",
    "snow",
    "sodiumoxide",
    "spki",
    "webpki",
    "wolfssl",
    "x25519-dalek",
    "x448",
    "x509-cert",
    "x509-parser",
];

/// The names of all crates that `package` links.
fn linked(package: &str, features: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            package,
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("names");
    lines.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn forbidden(package: &str, features: &[&str]) -> Vec<String> {
    linked(package, features).into_iter().filter(|name| FORBIDDEN.contains(&name.as_str())).collect()
}

#[test]
fn the_device_library_links_none() {
    let names = linked("keyferry-terminal", &["--no-default-features"]);
    assert!(names.contains("aes-gcm") && names.contains("keyferry-channel"), "the tree was read: {names:?}");
    assert_eq!(forbidden("keyferry-terminal", &["--no-default-features"]), [""; 0]);
}

#[test]
fn the_linux_agent_links_none() {
    assert!(linked("keyferry-terminal", &["--features", "std"]).contains("tokio"));
    assert_eq!(forbidden("keyferry-terminal", &["--features", "std"]), [""; 0]);
}

/// The list would catch it: the gateway, which does the key exchange, is full of it.
#[test]
fn the_gateway_would_be_caught() {
    let caught = forbidden("keyferry", &["--no-default-features"]);
    for name in ["ml-kem", "ring", "rustls", "rustls-webpki", "x509-parser"] {
        assert!(caught.iter().any(|caught| caught == name), "{name} not among {caught:?}");
    }
}
