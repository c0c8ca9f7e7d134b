//! CPU of one handshake by the engine, the encoding of the hand-over included, against bare rustls that does the same
//! (suites, groups, verification, signatures): TLS 1.3 and 1.2, as the client and as the server, with and without a
//! client certificate. The limit is for the ratio to bare rustls as it is, with the session kept in it. To see what of
//! the difference any program has that leaves the records to somebody else, rustls is measured with its keys taken out
//! (`dangerous_extract_secrets`), too.
//!
//! Only the subject's steps are timed; all play against the same peer, in turn, a few in a row as a gateway does them,
//! and the medians count, so that another load on the machine hits all alike.
//!
//! `cargo bench --bench handshake`, or `cargo bench --bench handshake -- "1.3, server"` for the lines with that in them.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark may stop short, and talks"
)]

#[path = "../tests/tls_engine/pki.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod pki;

use std::hint::black_box;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry::crypto::{self, GROUPS, SUITES, Secret};
use keyferry::signer::{Credential, LocalSigner};
use keyferry::tls::{
    self, Client, Established, Offer, Profile, Progress, Serve, ServerIdentity, Service, ServiceProfile,
};
use keyferry_parsers::messages::{self, Binding, Handover, Limits, SessionId};
use keyferry_parsers::tls::{CipherSuite, NamedGroup};
use pki::{Identity, NAME, NOW, Pki};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
};

/// Handshakes of one kind in a row, as a gateway does them: the first ones warm the caches, the rest are counted.
const WARMING: usize = 4;
const COUNTED: usize = 16;

/// The engine may cost this much more than rustls alone.
const LIMIT: f64 = 1.10;

fn main() -> ExitCode {
    // `cargo test` runs benchmarks too, to see that they work.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { 200 } else { 1 };
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let mut within = true;
    for (version, suites, protocol) in [("1.3", &SUITES[..3], &TLS13), ("1.2", &SUITES[3..], &TLS12)] {
        for certified in [false, true] {
            let scene = Scene::new(&GROUPS[1..], suites, protocol, certified);
            for role in [Role::Client, Role::Server] {
                let title = title(version, role, certified);
                if title.contains(&filter) {
                    within &= measure(&scene, role, rounds, &title) <= LIMIT;
                }
            }
        }
    }
    let title = title("1.3 with X25519MLKEM768 (for information)", Role::Client, false);
    if title.contains(&filter) {
        measure(&Scene::new(&GROUPS, &SUITES[..3], &TLS13, false), Role::Client, rounds, &title);
    }
    if rounds > 1 && !within { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn title(version: &str, role: Role, certified: bool) -> String {
    let role = if role == Role::Client { "client" } else { "server" };
    let certified = if certified { "client certificate" } else { "anonymous client" };
    format!("TLS {version}, {role}, {certified}")
}

fn measure(scene: &Scene, role: Role, rounds: usize, title: &str) -> f64 {
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..rounds {
        // Whoever goes after another finds warmer caches.
        for turn in 0..times.len() {
            let kind = (round + turn) % times.len();
            for place in 0..WARMING + COUNTED {
                let time = scene.play(role, [Kind::Engine, Kind::Offload, Kind::Bare][kind]);
                if place >= WARMING {
                    times[kind].push(time);
                }
            }
        }
    }
    let [engine, offload, bare] = times.map(median);
    let ratio = engine / bare;
    println!(
        "{title}: engine {engine:.1} us, rustls {bare:.1} us, ratio {ratio:.3} (limit {LIMIT:.2}); rustls with its keys \
         taken out {offload:.1} us, ratio {:.3}",
        engine / offload
    );
    ratio
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// Who plays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Engine,
    /// rustls, and its keys at the end.
    Offload,
    Bare,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

/// Both subjects in both roles, prepared; each role's bare one is the other role's peer, too.
struct Scene {
    client: Client,
    offer: Offer,
    service: Service,
    serve: Serve,
    bare_client: Arc<ClientConfig>,
    bare_server: Arc<ServerConfig>,
}

impl Scene {
    /// ECDSA P-256, chains of two below the anchor.
    fn new(
        groups: &[NamedGroup],
        suites: &[CipherSuite],
        protocol: &'static SupportedProtocolVersion,
        certified: bool,
    ) -> Self {
        let pki = Pki::new();
        let (server, client) = (pki.server(), pki.server());
        let provider = crypto::provider(groups, suites).unwrap();
        let profile = Profile { groups: groups.to_vec(), suites: suites.to_vec(), ..Profile::new(pki.trust()) };
        let service = ServiceProfile {
            clients: certified.then(|| pki.trust()),
            groups: groups.to_vec(),
            suites: suites.to_vec(),
            ..ServiceProfile::new()
        };
        let offer = Offer {
            server: ServerIdentity::Name(NAME.to_owned()),
            alpn: vec![],
            suites: suites.to_vec(),
            identity: certified.then(|| terminal(&client)),
            tickets: None,
        };
        let peer = IpAddr::from([10, 7, 2, 2]);
        Self {
            client: Client::new(&profile).unwrap(),
            offer,
            service: Service::new(&service).unwrap(),
            serve: Serve { peer, suites: suites.to_vec(), alpn: vec![], identity: terminal(&server) },
            bare_client: Arc::new(bare_client(&pki, &provider, protocol, certified.then_some(&client))),
            bare_server: Arc::new(bare_server(&pki, &provider, protocol, &server, certified)),
        }
    }

    /// The time that the subject in this role took.
    fn play(&self, role: Role, kind: Kind) -> Duration {
        let mut peer: Connection = match role {
            Role::Client => ServerConnection::new(self.bare_server.clone()).unwrap().into(),
            Role::Server => self.new_client().into(),
        };
        let mut clock = Clock::default();
        let mut subject = clock.time(|| self.subject(role, kind));
        let mut flight = clock.time(|| subject.says());
        while !subject.is_done() {
            let answer = answer(&mut peer, &flight);
            assert!(!answer.is_empty());
            flight = clock.time(|| {
                subject.hears(&answer);
                subject.says()
            });
        }
        clock.time(|| subject.end());
        answer(&mut peer, &flight);
        assert!(!peer.is_handshaking());
        clock.spent
    }

    fn subject(&self, role: Role, kind: Kind) -> Subject {
        let now = Duration::from_secs(NOW);
        if kind == Kind::Engine {
            return Subject::Engine(
                match role {
                    Role::Client => self.client.start(now, &self.offer).unwrap(),
                    Role::Server => self.service.start(&self.serve).unwrap(),
                },
                false,
            );
        }
        let connection: Connection = match role {
            Role::Client => self.new_client().into(),
            Role::Server => ServerConnection::new(self.bare_server.clone()).unwrap().into(),
        };
        Subject::Bare(Box::new(connection), kind == Kind::Offload)
    }

    fn new_client(&self) -> ClientConnection {
        ClientConnection::new(self.bare_client.clone(), ServerName::try_from(NAME).unwrap()).unwrap()
    }
}

/// A terminal with this certificate, its key in a signer in the same process.
fn terminal(identity: &Identity) -> tls::Identity {
    let signer = LocalSigner::new(
        || keyferry_channel::Instant::from_micros(0),
        |buffer| {
            SystemRandom::new().fill(buffer).unwrap();
            Ok(())
        },
    );
    let chain = identity.chain.iter().map(|der| der.to_vec()).collect();
    let credential = Arc::new(Credential::new("bench", chain).unwrap());
    signer.insert("bench", credential.clone(), &Secret::from_slice(&identity.key.serialize_der())).unwrap();
    tls::Identity { owner: "bench".to_owned(), credentials: vec![credential], signer: Arc::new(signer) }
}

fn bare_client(
    pki: &Pki,
    provider: &Arc<CryptoProvider>,
    protocol: &'static SupportedProtocolVersion,
    identity: Option<&Identity>,
) -> ClientConfig {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(pki), provider.clone()).build().unwrap();
    let builder = ClientConfig::builder_with_details(provider.clone(), Arc::new(Fixed))
        .with_protocol_versions(&[protocol])
        .unwrap()
        .with_webpki_verifier(verifier);
    let mut config = match identity {
        Some(identity) => {
            let (chain, key) = chain_and_key(identity);
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.enable_secret_extraction = true;
    config
}

fn bare_server(
    pki: &Pki,
    provider: &Arc<CryptoProvider>,
    protocol: &'static SupportedProtocolVersion,
    identity: &Identity,
    certified: bool,
) -> ServerConfig {
    let builder = ServerConfig::builder_with_details(provider.clone(), Arc::new(Fixed))
        .with_protocol_versions(&[protocol])
        .unwrap();
    let builder = if certified {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(pki), provider.clone()).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let (chain, key) = chain_and_key(identity);
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.ignore_client_order = true;
    config.enable_secret_extraction = true;
    config
}

fn roots(pki: &Pki) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(pki.root.der().clone()).unwrap();
    Arc::new(roots)
}

fn chain_and_key(identity: &Identity) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    (identity.chain.clone(), identity.key.serialize_der().try_into().unwrap())
}

/// What is timed.
enum Subject {
    /// With whether it is done.
    Engine(Box<dyn tls::Handshake>, bool),
    /// With whether its keys are taken out.
    Bare(Box<Connection>, bool),
}

impl Subject {
    fn hears(&mut self, mut bytes: &[u8]) {
        match self {
            Self::Engine(engine, done) => {
                while let Some(record) = next_record(&mut bytes) {
                    if let Progress::Established(established) = engine.feed(Duration::from_secs(NOW), record).unwrap() {
                        black_box(handover(&established).encode());
                        *done = true;
                        break;
                    }
                }
            }
            Self::Bare(connection, _) => {
                while !bytes.is_empty() && connection.is_handshaking() {
                    connection.read_tls(&mut bytes).unwrap();
                    connection.process_new_packets().unwrap();
                }
            }
        }
    }

    fn says(&mut self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        match self {
            Self::Engine(engine, _) => engine.drain(&mut bytes),
            Self::Bare(connection, _) => {
                while connection.wants_write() {
                    connection.write_tls(&mut bytes).unwrap();
                }
            }
        }
        bytes
    }

    fn end(self) {
        if let Self::Bare(connection, true) = self {
            black_box(connection.dangerous_extract_secrets().unwrap());
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Engine(_, done) => *done,
            Self::Bare(connection, _) => !connection.is_handshaking(),
        }
    }
}

/// What the gateway makes of an established session.
fn handover(established: &Established) -> Handover {
    let limits = tls::limits(established.suite).unwrap();
    Handover {
        session: SessionId(7),
        suite: established.suite,
        tx_secret: messages::Secret::new(established.tx_secret.as_bytes()).unwrap(),
        rx_secret: messages::Secret::new(established.rx_secret.as_bytes()).unwrap(),
        tx_sequence: established.tx_sequence,
        rx_sequence: established.rx_sequence,
        binding: Binding { local: ([10, 7, 1, 2], 49152).into(), remote: ([10, 7, 2, 2], 443).into() },
        peer: established.peer.clone(),
        limits: Limits { records: limits.records, bytes: limits.bytes, seconds: 86_400 },
        alpn: established.alpn.clone(),
        prefix: Vec::new(),
        tls_version: established.version,
        role: established.role,
        server_name: established.server_name.clone(),
        resumable: false,
    }
}

/// Gives the peer these bytes and returns its answer.
fn answer(peer: &mut Connection, mut bytes: &[u8]) -> Vec<u8> {
    while !bytes.is_empty() {
        peer.read_tls(&mut bytes).unwrap();
        peer.process_new_packets().unwrap();
    }
    let mut flight = Vec::new();
    while peer.wants_write() {
        peer.write_tls(&mut flight).unwrap();
    }
    flight
}

fn next_record<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?])) + 5;
    let (record, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(record)
}

/// Runs only while the subject works.
#[derive(Default)]
struct Clock {
    spent: Duration,
}

impl Clock {
    fn time<T>(&mut self, step: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = black_box(step());
        self.spent += start.elapsed();
        result
    }
}

#[derive(Debug)]
struct Fixed;

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}
