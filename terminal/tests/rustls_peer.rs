//! TLS 1.2 records against an independent implementation: rustls does the handshake with itself, one end's secrets
//! become a hand-over, and the session goes on with the other end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use keyferry_parsers::tls::{AlertDescription, CipherSuite, ProtocolVersion};
use keyferry_terminal::messages::{Binding, Handover, Limits, ProofMethod, ProvedPeer, Role, Secret, SessionId};
use keyferry_terminal::{Event, Fault, Instant, Session};
use rustls::crypto::ring::{self, cipher_suite as suites};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{
    ClientConfig, ClientConnection, Connection, ConnectionTrafficSecrets, RootCertStore, ServerConfig,
    ServerConnection, SupportedCipherSuite,
};
use std::io::{Read, Write};
use std::sync::Arc;

const START: Instant = Instant::from_micros(0);
const TLS12: [SupportedCipherSuite; 3] = [
    suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// Both ends, the handshake done.
fn connected(suite: SupportedCipherSuite) -> (Connection, Connection) {
    let certified = rcgen::generate_simple_self_signed(vec!["peer.example".into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let chain = vec![certified.cert.der().clone()];
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![suite];
    let provider = Arc::new(provider);
    let versions = [suite.version()];
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    server.enable_secret_extraction = true;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    let mut client =
        Connection::from(ClientConnection::new(Arc::new(client), "peer.example".try_into().unwrap()).unwrap());
    let mut server = Connection::from(ServerConnection::new(Arc::new(server)).unwrap());
    while client.is_handshaking() || server.is_handshaking() {
        deliver(&mut client, &mut server);
        deliver(&mut server, &mut client);
    }
    (client, server)
}

fn deliver(from: &mut Connection, to: &mut Connection) {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    receive(to, &wire).unwrap();
}

fn receive(to: &mut Connection, mut wire: &[u8]) -> Result<(), rustls::Error> {
    while !wire.is_empty() {
        to.read_tls(&mut wire).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

/// The terminal in place of one end, and the other end.
fn taken_over(suite: SupportedCipherSuite, role: Role) -> (Session, Connection) {
    let (client, server) = connected(suite);
    let (ours, peer) = if role == Role::CLIENT { (client, server) } else { (server, client) };
    let secrets = ours.dangerous_extract_secrets().unwrap();
    assert_eq!((secrets.tx.0, secrets.rx.0), (1, 1), "Finished was number 0");
    let handover = Handover {
        session: SessionId(7),
        suite: CipherSuite(suite.suite().into()),
        tx_secret: key_and_iv(&secrets.tx.1),
        rx_secret: key_and_iv(&secrets.rx.1),
        tx_sequence: secrets.tx.0,
        rx_sequence: secrets.rx.0,
        binding: Binding { local: "10.7.1.5:40000".parse().unwrap(), remote: "10.7.2.2:443".parse().unwrap() },
        peer: ProvedPeer { method: ProofMethod::CA_VERIFIED_NAME, identity: "peer.example".into() },
        limits: Limits { records: 1 << 24, bytes: 1 << 36, seconds: 3600 },
        alpn: None,
        prefix: Vec::new(),
        tls_version: ProtocolVersion::TLS_1_2,
        role,
        server_name: None,
        resumable: false,
    };
    (Session::new(handover, START).unwrap(), peer)
}

fn key_and_iv(secrets: &ConnectionTrafficSecrets) -> Secret {
    let (key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("another AEAD"),
    };
    Secret::new(&[key.as_ref(), iv.as_ref()].concat()).unwrap()
}

/// All that `peer` has to send.
fn said(peer: &mut Connection, data: &[u8]) -> Vec<u8> {
    peer.set_buffer_limit(None);
    peer.writer().write_all(data).unwrap();
    let mut wire = Vec::new();
    while peer.wants_write() {
        peer.write_tls(&mut wire).unwrap();
    }
    wire
}

/// All that `peer` has heard.
fn heard(peer: &mut Connection, wire: &[u8]) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 32_768]);
    for part in wire.chunks(4096) {
        receive(peer, part).unwrap();
        while let Ok(length @ 1..) = peer.reader().read(&mut buffer) {
            all.extend_from_slice(&buffer[..length]);
        }
    }
    all
}

fn read(session: &mut Session, mut wire: &[u8]) -> Result<(Vec<u8>, bool), Fault> {
    let mut data = Vec::new();
    while let Some(event) = session.open(START, &mut wire)? {
        match event {
            Event::Data(bytes) => data.extend_from_slice(bytes),
            Event::Ticket(_) => {}
            Event::Closed => return Ok((data, true)),
        }
    }
    Ok((data, false))
}

fn sample(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn every_case(check: impl Fn(Session, Connection)) {
    for suite in TLS12 {
        for role in [Role::CLIENT, Role::SERVER] {
            let (session, peer) = taken_over(suite, role);
            check(session, peer);
        }
    }
}

#[test]
fn bulk_data_goes_both_ways_by_turns() {
    every_case(|mut session, mut peer| {
        for length in [1, 100_000, 16_384, 16_385, 300_000] {
            let (data, mut sent) = (sample(length), Vec::new());
            session.seal(START, &data, &mut sent).unwrap();
            assert!(heard(&mut peer, &sent) == data);
            let wire = said(&mut peer, &data);
            assert!(read(&mut session, &wire).unwrap() == (data, false));
        }
    });
}

#[test]
fn either_end_closes() {
    every_case(|mut session, mut peer| {
        let mut sent = Vec::new();
        session.seal(START, b"last", &mut sent).unwrap();
        session.close(&mut sent).unwrap();
        assert_eq!(heard(&mut peer, &sent), b"last");
        assert_eq!(peer.reader().read(&mut [0; 1]).unwrap(), 0, "rustls saw the close_notify");
    });
    every_case(|mut session, mut peer| {
        peer.send_close_notify();
        let mut wire = Vec::new();
        peer.write_tls(&mut wire).unwrap();
        assert_eq!(read(&mut session, &wire).unwrap(), (vec![], true));
        let mut answer = Vec::new();
        session.drain(&mut answer);
        receive(&mut peer, &answer).unwrap();
        assert_eq!(peer.reader().read(&mut [0; 1]).unwrap(), 0, "and is answered in kind");
    });
}

#[test]
fn an_altered_record_ends_it_for_both() {
    every_case(|mut session, mut peer| {
        let mut wire = said(&mut peer, b"hello");
        *wire.last_mut().unwrap() ^= 1;
        assert_eq!(read(&mut session, &wire), Err(Fault::BadRecordMac));
        let mut alert = Vec::new();
        session.drain(&mut alert);
        let error = receive(&mut peer, &alert).unwrap_err();
        assert_eq!(error, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
    });
    every_case(|mut session, mut peer| {
        let mut sent = Vec::new();
        session.seal(START, b"hello", &mut sent).unwrap();
        *sent.last_mut().unwrap() ^= 1;
        assert!(receive(&mut peer, &sent).is_err());
        let mut wire = Vec::new();
        peer.write_tls(&mut wire).unwrap();
        assert_eq!(read(&mut session, &wire), Err(Fault::PeerAlert(AlertDescription::BAD_RECORD_MAC)));
    });
}
