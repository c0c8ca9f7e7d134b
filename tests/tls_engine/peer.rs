//! A rustls server or client in memory, and the loops that let the engine talk to them.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyferry::crypto::{GROUPS, SUITES, Secret, provider, record_iv, record_key};
use keyferry::error::Error;
use keyferry::tls::{Client, Established, Handshake, Offer, Profile, Progress, ServerIdentity, Trust};
use keyferry_parsers::tls::{CipherSuite, NamedGroup, ProtocolVersion};
use ring::aead;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ConnectionCommon, KeyLog, ServerConfig, ServerConnection, SupportedProtocolVersion};

use crate::pki::{Identity, NAME, NOW};

pub const TIME: Duration = Duration::from_secs(NOW);

/// Each version, by the suites that make it.
pub fn versions() -> [(ProtocolVersion, &'static [CipherSuite]); 2] {
    static ALL: [CipherSuite; 9] = SUITES;
    [(ProtocolVersion::TLS_1_3, &ALL[..3]), (ProtocolVersion::TLS_1_2, &ALL[3..])]
}

/// The versions that these suites belong to, for rustls.
pub fn versions_of(suites: &[CipherSuite]) -> Vec<&'static SupportedProtocolVersion> {
    let is_tls13 = |suite: &CipherSuite| suite.0 >> 8 == 0x13;
    let tls13 = suites.iter().any(is_tls13).then_some(&TLS13);
    let tls12 = suites.iter().any(|suite| !is_tls13(suite)).then_some(&TLS12);
    tls13.into_iter().chain(tls12).collect()
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Every suite with every group that its version has.
pub fn suites_and_groups() -> Vec<(ProtocolVersion, CipherSuite, NamedGroup)> {
    let mut all = Vec::new();
    for (version, suites) in versions() {
        for (suite, group) in suites.iter().flat_map(|suite| GROUPS.map(|group| (*suite, group))) {
            if version == ProtocolVersion::TLS_1_3 || group != NamedGroup::X25519_MLKEM768 {
                all.push((version, suite, group));
            }
        }
    }
    all
}

/// A server that knows all groups and suites, of both versions.
pub fn server_config(identity: &Identity) -> ServerConfig {
    server_config_of(identity.certified_key(), &GROUPS, &SUITES)
}

pub fn server_config_of(key: Arc<CertifiedKey>, groups: &[NamedGroup], suites: &[CipherSuite]) -> ServerConfig {
    ServerConfig::builder_with_provider(provider(groups, suites).unwrap())
        .with_protocol_versions(&versions_of(suites))
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(key)))
}

pub fn offer() -> Offer {
    let server = ServerIdentity::Name(NAME.to_owned());
    Offer { server, alpn: vec![], suites: SUITES.to_vec(), identity: None, tickets: None }
}

pub fn client(trust: Trust) -> Client {
    Client::new(&Profile::new(trust)).unwrap()
}

/// Starts a handshake.
pub fn start(client: &Client, offer: &Offer) -> Box<dyn Handshake> {
    client.start(TIME, offer).unwrap_or_else(|error| panic!("{error}"))
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
            match engine.feed(TIME, record) {
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
pub fn give<Data>(peer: &mut ConnectionCommon<Data>, engine: &mut dyn Handshake) -> Result<(), rustls::Error> {
    give_bytes(peer, &drained(engine))
}

pub fn drained(engine: &mut dyn Handshake) -> Vec<u8> {
    let mut bytes = Vec::new();
    engine.drain(&mut bytes);
    bytes
}

pub fn give_bytes<Data>(peer: &mut ConnectionCommon<Data>, mut bytes: &[u8]) -> Result<(), rustls::Error> {
    while !bytes.is_empty() && peer.read_tls(&mut bytes).unwrap() > 0 {
        peer.process_new_packets()?;
    }
    Ok(())
}

/// What the peer has to say.
pub fn take<Data>(peer: &mut ConnectionCommon<Data>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while peer.wants_write() {
        peer.write_tls(&mut bytes).unwrap();
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

/// Exchanges data between the peer and a terminal that has nothing but `established`; `prefix` is what the peer
/// has sent since.
pub fn data_flows<Data>(established: &Established, peer: &mut ConnectionCommon<Data>, mut prefix: &[u8]) {
    let (mut rx, mut tx) = (Protection::rx(established), Protection::tx(established));
    while let Some(record) = next_record(&mut prefix) {
        assert_eq!(rx.open(record).map(|(content_type, _)| content_type), Some(22));
    }
    for number in 0..3u8 {
        peer.writer().write_all(&[number; 1000]).unwrap();
        let bytes = take(peer);
        let mut rest = &bytes[..];
        let record = next_record(&mut rest).unwrap();
        assert!(rx.open(record) == Some((23, vec![number; 1000])), "record {number}");
        assert!(rest.is_empty(), "one record at a time");

        give_bytes(peer, &tx.seal(23, &[number; 700])).unwrap();
        let mut received = [0; 700];
        peer.reader().read_exact(&mut received).unwrap();
        assert_eq!(received, [number; 700]);
    }
}

/// The record protection of one direction, written from the standards alone: what a terminal will do.
pub struct Protection {
    key: aead::LessSafeKey,
    iv: [u8; 12],
    version: ProtocolVersion,
    /// Eight bytes of the nonce are in every record (RFC 5288 section 3).
    explicit_nonce: bool,
    pub sequence: u64,
}

impl Protection {
    /// TLS 1.3 (RFC 8446 section 5.2), from record 0 on.
    pub fn new(suite: CipherSuite, traffic_secret: &Secret) -> Self {
        let (key, iv) = (record_key(suite, traffic_secret).unwrap(), record_iv(suite, traffic_secret).unwrap());
        Self::with(ProtocolVersion::TLS_1_3, suite, key.as_bytes(), iv.as_bytes())
    }

    /// TLS 1.2, from record 0 on.
    pub fn tls12(suite: CipherSuite, key: &[u8], iv: &[u8]) -> Self {
        Self::with(ProtocolVersion::TLS_1_2, suite.tls13_equivalent().unwrap(), key, iv)
    }

    /// What the terminal sends with.
    pub fn tx(established: &Established) -> Self {
        Self::of(established, &established.tx_secret, established.tx_sequence)
    }

    /// What the terminal receives with.
    pub fn rx(established: &Established) -> Self {
        Self::of(established, &established.rx_secret, established.rx_sequence)
    }

    fn of(established: &Established, secret: &Secret, sequence: u64) -> Self {
        let suite = established.suite;
        assert_eq!(Some(secret.as_bytes().len()), suite.secret_length(established.version));
        let protection = match established.version {
            ProtocolVersion::TLS_1_3 => Self::new(suite, secret),
            version => {
                let (key, iv) = secret.as_bytes().split_at(secret.as_bytes().len() - 12);
                Self::with(version, suite.tls13_equivalent().unwrap(), key, iv)
            }
        };
        Self { sequence, ..protection }
    }

    fn with(version: ProtocolVersion, suite: CipherSuite, key: &[u8], iv: &[u8]) -> Self {
        let algorithm = match suite {
            CipherSuite::TLS_AES_128_GCM_SHA256 => &aead::AES_128_GCM,
            CipherSuite::TLS_AES_256_GCM_SHA384 => &aead::AES_256_GCM,
            _ => &aead::CHACHA20_POLY1305,
        };
        Self {
            key: aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, key).unwrap()),
            iv: iv.try_into().unwrap(),
            version,
            explicit_nonce: version == ProtocolVersion::TLS_1_2 && suite != CipherSuite::TLS_CHACHA20_POLY1305_SHA256,
            sequence: 0,
        }
    }

    fn nonce(&mut self) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        self.sequence += 1;
        nonce
    }

    /// The record around `content` of a type.
    pub fn seal(&mut self, content_type: u8, content: &[u8]) -> Vec<u8> {
        let sequence = self.sequence;
        let nonce = self.nonce();
        if self.version == ProtocolVersion::TLS_1_2 {
            let aad = tls12_aad(sequence, content_type, content.len());
            let mut sealed = content.to_vec();
            self.key.seal_in_place_append_tag(assumed(nonce), aead::Aad::from(aad), &mut sealed).unwrap();
            let explicit = if self.explicit_nonce { &nonce[4..] } else { &[] };
            let length = u16::try_from(explicit.len() + sealed.len()).unwrap().to_be_bytes();
            return [&[content_type, 3, 3, length[0], length[1]], explicit, &sealed].concat();
        }
        let length = u16::try_from(content.len() + 17).unwrap().to_be_bytes();
        let header = [23, 3, 3, length[0], length[1]];
        let mut inner = [content, &[content_type]].concat();
        self.key.seal_in_place_append_tag(assumed(nonce), aead::Aad::from(header), &mut inner).unwrap();
        [&header[..], &inner].concat()
    }

    /// Type and content of a record; `None` if it does not authenticate.
    pub fn open(&mut self, record: &[u8]) -> Option<(u8, Vec<u8>)> {
        let (header, body) = record.split_first_chunk::<5>()?;
        let sequence = self.sequence;
        let mut nonce = self.nonce();
        if self.version == ProtocolVersion::TLS_1_2 {
            let mut body = body;
            if self.explicit_nonce {
                let (explicit, rest) = body.split_at_checked(8)?;
                nonce[4..].copy_from_slice(explicit);
                body = rest;
            }
            let aad = tls12_aad(sequence, header[0], body.len().checked_sub(16)?);
            let mut body = body.to_vec();
            let content = self.key.open_in_place(assumed(nonce), aead::Aad::from(aad), &mut body).ok()?;
            return Some((header[0], content.to_vec()));
        }
        let mut body = body.to_vec();
        let inner = self.key.open_in_place(assumed(nonce), aead::Aad::from(*header), &mut body).ok()?;
        let end = inner.iter().rposition(|&byte| byte != 0)?;
        Some((inner[end], inner[..end].to_vec()))
    }
}

fn assumed(nonce: [u8; 12]) -> aead::Nonce {
    aead::Nonce::assume_unique_for_key(nonce)
}

/// RFC 5246 section 6.2.3.3.
fn tls12_aad(sequence: u64, content_type: u8, length: usize) -> [u8; 13] {
    let length = u16::try_from(length).unwrap().to_be_bytes();
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&sequence.to_be_bytes());
    aad[8..].copy_from_slice(&[content_type, 3, 3, length[0], length[1]]);
    aad
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
