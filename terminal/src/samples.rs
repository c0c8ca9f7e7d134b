//! What the tests of this crate share.

use alloc::vec::Vec;
use keyferry_parsers::messages::{Binding, Handover, Limits, ProofMethod, ProvedPeer, Secret, SessionId};
use keyferry_parsers::tls::{CipherSuite, ProtocolVersion};

/// The bytes of hex digits, white space ignored.
pub fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// A hand-over with generous limits, as a gateway would send it.
pub fn handover(suite: u16, tx: &[u8], rx: &[u8]) -> Handover {
    Handover {
        session: SessionId(7),
        suite: CipherSuite(suite),
        tx_secret: Secret::new(tx).unwrap(),
        rx_secret: Secret::new(rx).unwrap(),
        tx_sequence: 0,
        rx_sequence: 0,
        binding: Binding { local: "10.7.1.5:40000".parse().unwrap(), remote: "10.7.2.2:443".parse().unwrap() },
        peer: ProvedPeer { method: ProofMethod::CA_VERIFIED_NAME, identity: "server.example".into() },
        limits: Limits { records: 1 << 24, bytes: 1 << 36, seconds: 3600 },
        alpn: None,
        prefix: Vec::new(),
        tls_version: ProtocolVersion::TLS_1_3,
        role: keyferry_parsers::messages::Role::CLIENT,
        server_name: None,
        resumable: false,
    }
}
