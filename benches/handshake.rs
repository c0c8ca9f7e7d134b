//! CPU of one TLS 1.3 client handshake by the engine, the encoding of the hand-over included, against bare rustls
//! that does the same without handing anything over. Only the client's steps are timed; both play against the same
//! server, in turn, and the medians count, so that another load on the machine hits both alike.
//!
//! `cargo bench --bench handshake`
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
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry::crypto::{self, GROUPS, SUITES};
use keyferry::tls::{self, Client, Established, Offer, Profile, Progress, ServerIdentity};
use keyferry_parsers::messages::{Binding, Handover, Limits, Secret, SessionId};
use keyferry_parsers::tls::{NamedGroup, ProtocolVersion};
use pki::{NAME, NOW, Pki};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

/// The engine may cost this much more than rustls alone.
const LIMIT: f64 = 1.10;

fn main() -> ExitCode {
    // `cargo test` runs benchmarks too, to see that they work.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { 3000 } else { 3 };
    let ratio = measure("X25519", &GROUPS[1..], rounds);
    measure("X25519MLKEM768, for information", &GROUPS, rounds);
    if rounds > 3 && ratio > LIMIT { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn measure(title: &str, groups: &[NamedGroup], rounds: usize) -> f64 {
    let scene = Scene::new(groups);
    let (mut engine, mut bare) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Whoever goes second finds warmer caches.
        if round % 2 == 0 {
            engine.push(scene.engine());
            bare.push(scene.bare());
        } else {
            bare.push(scene.bare());
            engine.push(scene.engine());
        }
    }
    let (engine, bare) = (median(engine), median(bare));
    let ratio = engine / bare;
    println!("engine: {engine:.1} us, bare rustls: {bare:.1} us, ratio {ratio:.3} (limit {LIMIT:.2})  [{title}]");
    ratio
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// One server, and both clients prepared for it.
struct Scene {
    server: Arc<ServerConfig>,
    client: Client,
    bare: Arc<ClientConfig>,
}

impl Scene {
    /// ECDSA P-256, a chain of two below the anchor.
    fn new(groups: &[NamedGroup]) -> Self {
        let pki = Pki::new();
        let identity = pki.server();
        let provider = crypto::provider(groups, &SUITES).unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(identity.chain.clone(), identity.key.serialize_der().try_into().unwrap())
            .unwrap();

        let mut roots = RootCertStore::empty();
        roots.add(pki.root.der().clone()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
        let mut bare = ClientConfig::builder_with_details(provider, Arc::new(Fixed))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_webpki_verifier(verifier)
            .with_no_client_auth();
        bare.resumption = Resumption::disabled();

        let profile = Profile { groups: groups.to_vec(), ..Profile::new(pki.trust()) };
        Self { server: Arc::new(server), client: Client::new(&profile).unwrap(), bare: Arc::new(bare) }
    }

    fn engine(&self) -> Duration {
        let mut server = ServerConnection::new(self.server.clone()).unwrap();
        let mut clock = Clock::default();
        let offer = Offer { server: ServerIdentity::Name(NAME.to_owned()), alpn: vec![], suites: SUITES.to_vec() };
        let (mut engine, hello) = clock.time(|| {
            let mut engine = self.client.start(&offer).unwrap();
            let mut hello = Vec::with_capacity(512);
            engine.drain(&mut hello);
            (engine, hello)
        });
        let flight = answer(&mut server, &hello);
        let finished = clock.time(|| {
            let mut rest = &flight[..];
            while let Some(record) = next_record(&mut rest) {
                if let Progress::Established(established) = engine.feed(Duration::from_secs(NOW), record).unwrap() {
                    black_box(handover(&established).encode());
                    break;
                }
            }
            let mut finished = Vec::with_capacity(512);
            engine.drain(&mut finished);
            drop(engine);
            finished
        });
        answer(&mut server, &finished);
        assert!(!server.is_handshaking());
        clock.spent
    }

    fn bare(&self) -> Duration {
        let mut server = ServerConnection::new(self.server.clone()).unwrap();
        let mut clock = Clock::default();
        let (mut client, hello) = clock.time(|| {
            let name = ServerName::try_from(NAME).unwrap();
            let mut client = ClientConnection::new(self.bare.clone(), name).unwrap();
            let mut hello = Vec::with_capacity(512);
            client.write_tls(&mut hello).unwrap();
            (client, hello)
        });
        let flight = answer(&mut server, &hello);
        let finished = clock.time(|| {
            let mut rest = &flight[..];
            while client.is_handshaking() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets().unwrap();
            }
            let mut finished = Vec::with_capacity(512);
            while client.wants_write() {
                client.write_tls(&mut finished).unwrap();
            }
            drop(client);
            finished
        });
        answer(&mut server, &finished);
        assert!(!server.is_handshaking());
        clock.spent
    }
}

/// What the gateway makes of an established session.
fn handover(established: &Established) -> Handover {
    let limits = tls::limits(established.suite).unwrap();
    Handover {
        session: SessionId(7),
        suite: established.suite,
        tx_secret: Secret::new(established.tx_secret.as_bytes()).unwrap(),
        rx_secret: Secret::new(established.rx_secret.as_bytes()).unwrap(),
        tx_sequence: established.tx_sequence,
        rx_sequence: established.rx_sequence,
        binding: Binding { local: ([10, 7, 1, 2], 49152).into(), remote: ([10, 7, 2, 2], 443).into() },
        peer: established.peer.clone(),
        limits: Limits { records: limits.records, bytes: limits.bytes, seconds: 86_400 },
        alpn: established.alpn.clone(),
        prefix: Vec::new(),
        tls_version: ProtocolVersion::TLS_1_3,
    }
}

/// Gives the server these bytes and returns its answer.
fn answer(server: &mut ServerConnection, mut bytes: &[u8]) -> Vec<u8> {
    while !bytes.is_empty() {
        server.read_tls(&mut bytes).unwrap();
        server.process_new_packets().unwrap();
    }
    let mut flight = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut flight).unwrap();
    }
    flight
}

fn next_record<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?])) + 5;
    let (record, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(record)
}

/// Runs only while the client works.
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
