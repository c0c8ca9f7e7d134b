//! A rustls server in memory and the loop that lets the engine talk to it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyferry::crypto::{GROUPS, RecordKey, SUITES, Secret, provider, record_key};
use keyferry::error::Error;
use keyferry::tls::{Client, Established, Handshake, Offer, Profile, Progress, ServerIdentity, Trust};
use keyferry_parsers::tls::{CipherSuite, NamedGroup};
use ring::aead;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{AlertDescription, KeyLog, ServerConfig, ServerConnection};

use crate::pki::{Identity, NAME, NOW};

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A server that knows all groups and suites.
pub fn server_config(identity: &Identity) -> ServerConfig {
    server_config_of(identity.certified_key(), &GROUPS, &SUITES)
}

pub fn server_config_of(key: Arc<CertifiedKey>, groups: &[NamedGroup], suites: &[CipherSuite]) -> ServerConfig {
    ServerConfig::builder_with_provider(provider(groups, suites).unwrap())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(key)))
}

pub fn offer() -> Offer {
    Offer { server: ServerIdentity::Name(NAME.to_owned()), alpn: vec![], suites: SUITES.to_vec() }
}

pub fn client(trust: Trust) -> Client {
    Client::new(&Profile::new(trust)).unwrap()
}

/// How a handshake came out, seen from both ends.
pub struct Outcome {
    pub result: Result<Box<Established>, Error>,
    /// The alert that reached the server.
    pub alert: Option<AlertDescription>,
    pub server: ServerConnection,
    pub engine: Box<dyn Handshake>,
    /// Records of the server that the engine was not fed.
    pub prefix: Vec<u8>,
}

impl Outcome {
    #[track_caller]
    pub fn established(self) -> Box<Established> {
        self.result.unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    pub fn error(self) -> Error {
        self.result.err().expect("a handshake that fails")
    }
}

/// Plays a handshake to its end.
pub fn play(engine: Box<dyn Handshake>, config: ServerConfig) -> Outcome {
    play_through(engine, config, |_, bytes| bytes)
}

/// The same; `path` sees every flight of the server, counted from 0, and delivers what it likes.
pub fn play_through(
    mut engine: Box<dyn Handshake>,
    config: ServerConfig,
    mut path: impl FnMut(usize, Vec<u8>) -> Vec<u8>,
) -> Outcome {
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    let mut result = None;
    let mut prefix = Vec::new();
    let mut alert = None;
    for flight in 0.. {
        if let Err(rustls::Error::AlertReceived(received)) = give(&mut server, engine.as_mut()) {
            alert = Some(received);
        }
        let delivered = path(flight, take(&mut server));
        if result.is_some() || delivered.is_empty() {
            prefix.extend(delivered);
            break;
        }
        let mut rest = &delivered[..];
        while result.is_none()
            && let Some(record) = next_record(&mut rest)
        {
            match engine.feed(Duration::from_secs(NOW), record) {
                Ok(Progress::Handshaking) => {}
                Ok(Progress::Established(established)) => result = Some(Ok(established)),
                Err(error) => result = Some(Err(error)),
            }
        }
        prefix.extend(rest);
    }
    let result = result.unwrap_or_else(|| Err(engine.peer_closed()));
    Outcome { result, alert, server, engine, prefix }
}

/// Carries what the engine has to say to the server.
pub fn give(server: &mut ServerConnection, engine: &mut dyn Handshake) -> Result<(), rustls::Error> {
    let mut bytes = Vec::new();
    engine.drain(&mut bytes);
    give_bytes(server, &bytes)
}

pub fn give_bytes(server: &mut ServerConnection, mut bytes: &[u8]) -> Result<(), rustls::Error> {
    while !bytes.is_empty() && server.read_tls(&mut bytes).unwrap() > 0 {
        server.process_new_packets()?;
    }
    Ok(())
}

/// What the server has to say.
pub fn take(server: &mut ServerConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Splits the first whole record off.
pub fn next_record<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?])) + 5;
    let (record, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(record)
}

/// The record protection of RFC 8446 section 5.2, written from the standard alone: what a terminal will do.
pub struct Protection {
    key: aead::LessSafeKey,
    iv: [u8; 12],
    pub sequence: u64,
}

impl Protection {
    pub fn new(suite: CipherSuite, traffic_secret: &Secret) -> Self {
        let RecordKey { key, iv } = record_key(suite, traffic_secret).unwrap();
        let algorithm = match suite {
            CipherSuite::TLS_AES_128_GCM_SHA256 => &aead::AES_128_GCM,
            CipherSuite::TLS_AES_256_GCM_SHA384 => &aead::AES_256_GCM,
            _ => &aead::CHACHA20_POLY1305,
        };
        Self {
            key: aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, key.as_bytes()).unwrap()),
            iv: iv.as_bytes().try_into().unwrap(),
            sequence: 0,
        }
    }

    fn nonce(&mut self) -> aead::Nonce {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        self.sequence += 1;
        aead::Nonce::assume_unique_for_key(nonce)
    }

    /// The record around `content` of an inner type.
    pub fn seal(&mut self, inner_type: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len() + 17).unwrap().to_be_bytes();
        let header = [23, 3, 3, length[0], length[1]];
        let mut inner = [content, &[inner_type]].concat();
        let nonce = self.nonce();
        self.key.seal_in_place_append_tag(nonce, aead::Aad::from(header), &mut inner).unwrap();
        [&header[..], &inner].concat()
    }

    /// Inner type and content of a record; `None` if it does not authenticate.
    pub fn open(&mut self, record: &[u8]) -> Option<(u8, Vec<u8>)> {
        let (header, body) = record.split_first_chunk::<5>()?;
        let mut body = body.to_vec();
        let nonce = self.nonce();
        let inner = self.key.open_in_place(nonce, aead::Aad::from(*header), &mut body).ok()?;
        let end = inner.iter().rposition(|&byte| byte != 0)?;
        Some((inner[end], inner[..end].to_vec()))
    }
}

/// Remembers the secrets that a server logs.
#[derive(Debug, Default)]
pub struct Logged(pub Mutex<Vec<(String, Vec<u8>)>>);

impl Logged {
    pub fn secret(&self, label: &str) -> Option<Secret> {
        let logged = self.0.lock().unwrap();
        logged.iter().find(|(name, _)| name == label).map(|(_, secret)| Secret::from_slice(secret))
    }
}

impl KeyLog for Logged {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        self.0.lock().unwrap().push((label.to_owned(), secret.to_vec()));
    }
}

impl keyferry::tls::KeyLog for Logged {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        self.0.lock().unwrap().push((label.to_owned(), secret.to_vec()));
    }
}
