use std::io::{Read, Write};

use keyferry_parsers::messages::Role;
use keyferry_parsers::tls::CipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ExtractedSecrets, RootCertStore, ServerConfig};
use rustls::{ServerConnection, version::TLS13};

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
        self.capture.take_traffic_secrets(self.role)
    }
}

fn configurations(client: Arc<CryptoProvider>, server: Arc<CryptoProvider>) -> (ClientConfig, ServerConfig) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(client)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    let mut server = ServerConfig::builder_with_provider(server)
        .with_protocol_versions(&[&TLS13])
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
fn every_suite_of_tls_1_3_is_watched() {
    for suite in ALL_CIPHER_SUITES {
        let twin = watched(*suite);
        assert_eq!((twin.suite(), twin.version()), (suite.suite(), suite.version()));
        let is_another = twin.tls13().zip(suite.tls13()).is_some_and(|(twin, suite)| !std::ptr::eq(twin, suite));
        assert_eq!(is_another, suite.tls13().is_some());
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
                let (key, iv) = match &keys {
                    ConnectionTrafficSecrets::Aes128Gcm { key, iv }
                    | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
                    | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
                    _ => panic!("another AEAD"),
                };
                assert_eq!(sequence, 0);
                assert_eq!(crypto::record_key(*suite, &secret).unwrap().as_bytes(), key.as_ref(), "{suite}");
                assert_eq!(crypto::record_iv(*suite, &secret).unwrap().as_bytes(), iv.as_ref(), "{suite}");
            }
        }
    }
}

#[test]
fn a_record_in_either_direction_is_too_much() {
    for role in ROLES {
        let mut world = World::new(role, SUITES[0]);
        world.subject.writer().write_all(b"early").unwrap();
        assert!(world.secrets().is_none(), "sent");

        let mut world = World::new(role, SUITES[0]);
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
    for role in ROLES {
        assert!(World::with(role, SUITES[0], false).secrets().is_none());
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
