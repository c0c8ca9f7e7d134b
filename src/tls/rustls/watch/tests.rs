use std::io::{Read, Write};

use keyferry_parsers::messages::Role;
use keyferry_parsers::tls::{CipherSuite, ProtocolVersion};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ExtractedSecrets, RootCertStore, ServerConfig};
use rustls::{
    ServerConnection,
    version::{TLS12, TLS13},
};

use super::*;
use crate::crypto::{self, GROUPS, SUITES, Secret};

const NAME: &str = "peer.example";
const ROLES: [Role; 2] = [Role::CLIENT, Role::SERVER];

/// A session of ours, watched, that has just finished its handshake with a plain one.
struct World {
    role: Role,
    capture: Arc<Capture>,
    subject: Connection,
    peer: Connection,
}

impl World {
    fn new(role: Role, suite: CipherSuite) -> Self {
        Self::with(role, suite, true)
    }

    fn with(role: Role, suite: CipherSuite, watching: bool) -> Self {
        let capture = Arc::new(Capture::default());
        let plain = crypto::provider(&GROUPS[1..], &[suite]).unwrap();
        let mut provider = CryptoProvider::clone(&plain);
        provider.cipher_suites.iter_mut().for_each(|suite| *suite = watched(*suite));
        let (subject, peer) = match role {
            Role::CLIENT => (provider.into(), plain),
            _ => (plain, provider.into()),
        };
        let (mut client, mut server) = configurations(subject, peer);
        match role {
            Role::CLIENT => client.key_log = capture.clone(),
            _ => server.key_log = capture.clone(),
        }
        let client: Connection =
            ClientConnection::new(client.into(), ServerName::try_from(NAME).unwrap()).unwrap().into();
        let server: Connection = ServerConnection::new(server.into()).unwrap().into();
        let (subject, peer) = if role == Role::CLIENT { (client, server) } else { (server, client) };
        let mut world = Self { role, capture, subject, peer };
        while world.subject.is_handshaking() || world.peer.is_handshaking() {
            world.step(watching);
        }
        world
    }

    /// Carries what both have to say.
    fn step(&mut self, watching: bool) {
        let Self { capture, subject, peer, .. } = self;
        if watching {
            current::during(capture, None, || carry(peer, subject));
        } else {
            carry(peer, subject);
        }
        carry(subject, peer);
    }

    fn secrets(&self) -> Option<(Secret, Secret)> {
        match self.subject.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => self.capture.take_traffic_secrets(self.role),
            _ => self.capture.watch.take_keys(),
        }
    }
}

fn configurations(client: Arc<CryptoProvider>, server: Arc<CryptoProvider>) -> (ClientConfig, ServerConfig) {
    let versions = if client.cipher_suites.iter().any(|suite| suite.tls13().is_some()) { [&TLS13] } else { [&TLS12] };
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(client)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    let mut server = ServerConfig::builder_with_provider(server)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![made.cert.der().clone()],
            PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    server.enable_secret_extraction = true;
    server.send_tls13_tickets = 0;
    (client, server)
}

fn carry(from: &mut Connection, to: &mut Connection) {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets().unwrap();
    }
}

#[test]
fn every_suite_is_watched() {
    for suite in ALL_CIPHER_SUITES {
        let twin = watched(*suite);
        assert_eq!((twin.suite(), twin.version()), (suite.suite(), suite.version()));
        let is_another = match (twin, *suite) {
            (SupportedCipherSuite::Tls13(twin), SupportedCipherSuite::Tls13(suite)) => !std::ptr::eq(twin, suite),
            (SupportedCipherSuite::Tls12(twin), SupportedCipherSuite::Tls12(suite)) => !std::ptr::eq(twin, suite),
            _ => false,
        };
        assert!(is_another, "{suite:?}");
    }
}

#[test]
fn a_finished_handshake_gives_the_secrets_behind_the_very_keys_of_rustls() {
    for role in ROLES {
        for suite in &SUITES[..3] {
            let world = World::new(role, *suite);
            let (tx, rx) = world.secrets().unwrap();
            let ExtractedSecrets { tx: used_tx, rx: used_rx } = world.subject.dangerous_extract_secrets().unwrap();
            for (secret, (sequence, keys)) in [(tx, used_tx), (rx, used_rx)] {
                let (key, iv) = key_and_iv(&keys);
                assert_eq!(sequence, 0);
                assert_eq!(crypto::record_key(*suite, &secret).unwrap().as_bytes(), key, "{suite}");
                assert_eq!(crypto::record_iv(*suite, &secret).unwrap().as_bytes(), iv, "{suite}");
            }
        }
    }
}

#[test]
fn in_tls_1_2_it_gives_the_very_keys_of_rustls() {
    for role in ROLES {
        for suite in SUITES[3..].iter().filter(|suite| suite.to_string().contains("ECDSA")) {
            let world = World::new(role, *suite);
            let (tx, rx) = world.secrets().unwrap();
            assert!(world.secrets().is_none(), "they leave once");
            let used = world.subject.dangerous_extract_secrets().unwrap();
            assert_eq!((used.tx.0, used.rx.0), (1, 1), "Finished");
            let (key, iv) = key_and_iv(&used.tx.1);
            assert_eq!(tx.as_bytes(), [key, iv].concat(), "{suite}");
            let (key, iv) = key_and_iv(&used.rx.1);
            // With AES-GCM the rest of the nonce is in the record.
            let fixed = if suite.to_string().contains("GCM") { 4 } else { 12 };
            assert_eq!(rx.as_bytes()[..key.len() + fixed], [key, &iv[..fixed]].concat(), "{suite}");
            assert_eq!(Some(rx.as_bytes().len()), suite.secret_length(ProtocolVersion::TLS_1_2));
        }
    }
}

fn key_and_iv(keys: &ConnectionTrafficSecrets) -> (&[u8], &[u8]) {
    match keys {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key.as_ref(), iv.as_ref()),
        _ => panic!("another AEAD"),
    }
}

/// One suite of each version.
const VERSIONS: [CipherSuite; 2] =
    [CipherSuite::TLS_AES_128_GCM_SHA256, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];

#[test]
fn a_record_in_either_direction_is_too_much() {
    for (role, suite) in ROLES.into_iter().flat_map(|role| VERSIONS.map(|suite| (role, suite))) {
        let mut world = World::new(role, suite);
        world.subject.writer().write_all(b"early").unwrap();
        assert!(world.secrets().is_none(), "sent");

        let mut world = World::new(role, suite);
        world.peer.writer().write_all(b"early").unwrap();
        world.step(true);
        let mut heard = [0; 5];
        world.subject.reader().read_exact(&mut heard).unwrap();
        assert!(world.secrets().is_none(), "received");
    }
}

#[test]
fn a_key_update_in_either_direction_is_too_much() {
    for role in ROLES {
        let mut world = World::new(role, SUITES[0]);
        let World { capture, subject, .. } = &mut world;
        current::during(capture, None, || subject.refresh_traffic_keys()).unwrap();
        assert!(world.secrets().is_none(), "ours");

        let mut world = World::new(role, SUITES[0]);
        world.peer.refresh_traffic_keys().unwrap();
        world.step(true);
        assert!(world.secrets().is_none(), "the peer's");
    }
}

#[test]
fn what_nobody_watched_is_not_given_away() {
    for (role, suite) in ROLES.into_iter().flat_map(|role| VERSIONS.map(|suite| (role, suite))) {
        assert!(World::with(role, suite, false).secrets().is_none());
    }
}

#[test]
fn secrets_leave_once_and_only_if_each_was_logged_once() {
    for role in ROLES {
        let world = World::new(role, SUITES[0]);
        assert!(world.secrets().is_some());
        assert!(world.secrets().is_none());

        let world = World::new(role, SUITES[0]);
        rustls::KeyLog::log(&*world.capture, "SERVER_TRAFFIC_SECRET_0", &[0; 32], &[3; 32]);
        assert!(world.secrets().is_none());
    }
}
