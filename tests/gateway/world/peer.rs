//! An unmodified TLS server in memory: rustls, with whatever certificate a test wants.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

/// A CA and what it signs.
pub struct Pki {
    root: Issuer<'static, KeyPair>,
    anchor: Vec<u8>,
    stranger: Issuer<'static, KeyPair>,
}

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct PeerBehaviour {
    pub names: Vec<String>,
    /// Years of the validity: from, to.
    pub validity: (i32, i32),
    /// Signed by an authority nobody trusts.
    pub stranger: bool,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Close,
    Stall,
}

impl Default for PeerBehaviour {
    fn default() -> Self {
        Self {
            names: vec![super::SERVER.to_owned()],
            validity: (2020, 2040),
            stranger: false,
            stops_after: None,
            greeting: Vec::new(),
            garbage: None,
            unreachable: false,
            alpn: Vec::new(),
            cipher_suites: Vec::new(),
        }
    }
}

impl Pki {
    pub fn new() -> Self {
        let (root, anchor) = authority("Test root");
        let (stranger, _) = authority("Stranger");
        Self { root, anchor, stranger }
    }

    pub fn anchor(&self) -> Vec<u8> {
        self.anchor.clone()
    }

    fn leaf(&self, behaviour: &PeerBehaviour) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(behaviour.names.clone()).unwrap();
        params.not_before = date_time_ymd(behaviour.validity.0, 1, 1);
        params.not_after = date_time_ymd(behaviour.validity.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let issuer = if behaviour.stranger { &self.stranger } else { &self.root };
        let certificate = params.signed_by(&key, issuer).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

fn authority(name: &str) -> (Issuer<'static, KeyPair>, Vec<u8>) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    let key = KeyPair::generate().unwrap();
    let anchor = params.self_signed(&key).unwrap().der().to_vec();
    (Issuer::new(params, key), anchor)
}

/// One connection at a server.
pub struct Peer {
    connection: ServerConnection,
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
    pub fn new(pki: &Pki, behaviour: &PeerBehaviour) -> Self {
        let (certificate, key) = pki.leaf(behaviour);
        let mut provider = rustls::crypto::ring::default_provider();
        if !behaviour.cipher_suites.is_empty() {
            provider.cipher_suites.retain(|suite| behaviour.cipher_suites.contains(&suite.suite().into()));
        }
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.send_half_rtt_data = true;
        config.alpn_protocols.clone_from(&behaviour.alpn);
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        connection.set_buffer_limit(None);
        connection.writer().write_all(&behaviour.greeting).unwrap();
        let garbage = behaviour.garbage.clone();
        Self {
            connection,
            records_given: 0,
            stops_after: behaviour.stops_after,
            garbage: garbage.is_some(),
            to_gateway: garbage.unwrap_or_default().into(),
            received: Vec::new(),
            failure: None,
        }
    }

    /// Bytes of the client.
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

    /// A new sending key, announced by KeyUpdate.
    pub fn update_key(&mut self) {
        self.connection.refresh_traffic_keys().unwrap();
    }

    /// Everything it has to send now.
    pub fn drain(&mut self) -> Vec<u8> {
        self.collect();
        self.to_gateway.drain(..).collect()
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
