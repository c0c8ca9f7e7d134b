//! Unmodified TLS peers in memory: rustls, with whatever certificate and manners a test wants.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, Connection, HandshakeKind, ServerConfig, ServerConnection, SupportedProtocolVersion,
};

use super::pki::{Leaf, Pki};

/// How a server behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerBehaviour {
    pub names: Vec<String>,
    /// Years of the validity: from, to.
    pub validity: (i32, i32),
    /// Signed by an authority nobody trusts.
    pub stranger: bool,
    pub serial: u64,
    pub versions: Versions,
    /// What it wants of its clients.
    pub clients: Clients,
    /// Closes or stalls after so many records.
    pub stops_after: Option<(usize, Stop)>,
    /// Sent right behind the server's Finished.
    pub greeting: Vec<u8>,
    /// Sent instead of TLS.
    pub garbage: Option<Vec<u8>>,
    /// Never answers the SYN.
    pub unreachable: bool,
    pub alpn: Vec<Vec<u8>>,
    /// Cipher suites it accepts, by code point; empty: all.
    pub cipher_suites: Vec<u16>,
}

/// A client that connects to a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whom it wants to reach, and asks for (SNI).
    pub name: String,
    pub sends_name: bool,
    pub certificate: Option<Leaf>,
    pub versions: Versions,
    /// Closes or stalls after so many records.
    pub stops_after: Option<(usize, Stop)>,
    /// Sent right behind the client's Finished.
    pub greeting: Vec<u8>,
    /// Sent instead of TLS.
    pub garbage: Option<Vec<u8>>,
    pub alpn: Vec<Vec<u8>>,
    /// Cipher suites it offers, by code point; empty: all.
    pub cipher_suites: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    Tls12,
    Tls13,
    Both,
}

/// Whether a server wants certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    Anonymous,
    Asked,
    Demanded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Close,
    Stall,
}

impl Default for PeerBehaviour {
    fn default() -> Self {
        let Leaf { names, validity, stranger, serial } = Leaf::of(super::SERVER);
        Self {
            names,
            validity,
            stranger,
            serial,
            versions: Versions::Both,
            clients: Clients::Anonymous,
            stops_after: None,
            greeting: Vec::new(),
            garbage: None,
            unreachable: false,
            alpn: Vec::new(),
            cipher_suites: Vec::new(),
        }
    }
}

impl PeerBehaviour {
    /// A server that speaks nothing newer.
    pub fn tls12() -> Self {
        Self { versions: Versions::Tls12, ..Self::default() }
    }

    /// Its configuration, which lives longer than a connection: tickets of one are good in the next.
    pub fn config(&self, pki: &Pki) -> Arc<ServerConfig> {
        let Self { names, validity, stranger, serial, .. } = self.clone();
        let (certificate, key) = pki.sign(&Leaf { names, validity, stranger, serial });
        let provider = provider(&self.cipher_suites);
        let verifier = WebPkiClientVerifier::builder_with_provider(pki.roots(), Arc::clone(&provider));
        let verifier = match self.clients {
            Clients::Anonymous => WebPkiClientVerifier::no_client_auth(),
            Clients::Asked => verifier.allow_unauthenticated().build().unwrap(),
            Clients::Demanded => verifier.build().unwrap(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions.rustls())
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.send_half_rtt_data = self.clients == Clients::Anonymous;
        config.alpn_protocols.clone_from(&self.alpn);
        Arc::new(config)
    }
}

impl Caller {
    /// A client without certificate that wants `name`.
    pub fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            sends_name: true,
            certificate: None,
            versions: Versions::Both,
            stops_after: None,
            greeting: Vec::new(),
            garbage: None,
            alpn: Vec::new(),
            cipher_suites: Vec::new(),
        }
    }

    fn connection(&self, pki: &Pki) -> ClientConnection {
        let config = ClientConfig::builder_with_provider(provider(&self.cipher_suites))
            .with_protocol_versions(&self.versions.rustls())
            .unwrap()
            .with_root_certificates(pki.roots());
        let mut config = match &self.certificate {
            Some(leaf) => {
                let (certificate, key) = pki.sign(leaf);
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.enable_sni = self.sends_name;
        config.alpn_protocols.clone_from(&self.alpn);
        ClientConnection::new(Arc::new(config), ServerName::try_from(self.name.clone()).unwrap()).unwrap()
    }
}

impl Versions {
    fn rustls(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Tls12 => vec![&TLS12],
            Self::Tls13 => vec![&TLS13],
            Self::Both => vec![&TLS13, &TLS12],
        }
    }
}

fn provider(cipher_suites: &[u16]) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    if !cipher_suites.is_empty() {
        provider.cipher_suites.retain(|suite| cipher_suites.contains(&suite.suite().into()));
    }
    Arc::new(provider)
}

/// One end of a connection.
pub struct Peer {
    connection: Connection,
    to_gateway: VecDeque<u8>,
    pub records_given: usize,
    stops_after: Option<(usize, Stop)>,
    garbage: bool,
    /// What it received as application data.
    pub received: Vec<u8>,
    /// Why it gave up.
    pub failure: Option<String>,
}

impl Peer {
    pub fn server(config: &Arc<ServerConfig>, behaviour: &PeerBehaviour) -> Self {
        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
        let PeerBehaviour { stops_after, greeting, garbage, .. } = behaviour;
        Self::new(connection.into(), *stops_after, greeting, garbage.as_ref())
    }

    pub fn client(pki: &Pki, caller: &Caller) -> Self {
        let Caller { stops_after, greeting, garbage, .. } = caller;
        Self::new(caller.connection(pki).into(), *stops_after, greeting, garbage.as_ref())
    }

    fn new(
        mut connection: Connection,
        stops_after: Option<(usize, Stop)>,
        greeting: &[u8],
        garbage: Option<&Vec<u8>>,
    ) -> Self {
        connection.set_buffer_limit(None);
        connection.writer().write_all(greeting).unwrap();
        Self {
            connection,
            records_given: 0,
            stops_after,
            garbage: garbage.is_some(),
            to_gateway: garbage.cloned().unwrap_or_default().into(),
            received: Vec::new(),
            failure: None,
        }
    }

    /// Bytes of the other end.
    pub fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.failure.is_none() && !self.garbage {
            self.connection.read_tls(&mut bytes).unwrap();
            if let Err(error) = self.connection.process_new_packets() {
                self.failure = Some(error.to_string());
            }
            let mut text = Vec::new();
            // WouldBlock at the end of what is there.
            let _ = self.connection.reader().read_to_end(&mut text);
            self.received.extend(text);
        }
    }

    /// Sends application data.
    pub fn say(&mut self, text: &[u8]) {
        self.connection.writer().write_all(text).unwrap();
    }

    /// Says close_notify.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }

    /// A new sending key, announced by KeyUpdate.
    pub fn update_key(&mut self) {
        self.connection.refresh_traffic_keys().unwrap();
    }

    /// The handshake went on from an earlier session.
    pub fn resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub fn alpn(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    /// The certificate of the other end, DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.connection.peer_certificates().and_then(|chain| Some(chain.first()?.as_ref()))
    }

    /// Everything it has to send now.
    pub fn drain(&mut self) -> Vec<u8> {
        self.collect();
        self.to_gateway.drain(..).collect()
    }

    /// What it sends now, until it stops; nothing is told from records where it does not.
    pub fn flow(&mut self) -> Vec<u8> {
        match self.stops_after {
            None => self.drain(),
            Some(_) => std::iter::from_fn(|| self.next_record()).flatten().collect(),
        }
    }

    /// The header of the next record it sends, if it sends one.
    pub fn header(&mut self) -> Option<[u8; 5]> {
        self.collect();
        if self.stops_after.is_some_and(|(after, _)| self.records_given >= after) {
            return None;
        }
        let header: Vec<u8> = self.to_gateway.iter().take(5).copied().collect();
        header.try_into().ok()
    }

    /// The next record it sends, if it sends one.
    pub fn next_record(&mut self) -> Option<Vec<u8>> {
        let [_, _, _, high, low] = self.header()?;
        let length = 5 + usize::from(u16::from_be_bytes([high, low]));
        if self.to_gateway.len() < length {
            return None;
        }
        self.records_given += 1;
        Some(self.to_gateway.drain(..length).collect())
    }

    pub fn is_closed(&self) -> bool {
        self.stops_after.is_some_and(|(after, stop)| stop == Stop::Close && self.records_given >= after)
    }

    fn collect(&mut self) {
        let mut bytes = Vec::new();
        while !self.garbage && self.connection.wants_write() {
            self.connection.write_tls(&mut bytes).unwrap();
        }
        self.to_gateway.extend(bytes);
    }
}
