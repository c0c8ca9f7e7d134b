//! How to connect and how to listen.

use keyferry_parsers::messages::{Connect, Listen, PeerName};
use keyferry_parsers::tls::{CipherSuite, ProtocolVersion};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// How to connect; the default asks for nothing special.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectOptions {
    /// Application protocols, in order of preference.
    pub alpn: Vec<String>,
    /// The server name to ask for, where it is not the host.
    pub sni: Option<String>,
    /// IANA numbers of the TLS 1.3 cipher suites to offer, in order; empty: all that a terminal can do. Where TLS 1.2 is
    /// allowed, its suites with the same AEAD and hash are meant as well.
    pub cipher_suites: Vec<u16>,
    /// A peer that speaks TLS 1.2 only will do.
    pub tls12: bool,
    /// The gateway need not be on the path: the handshake is carried to it over the channel.
    pub assisted: bool,
    /// Where the peer is, instead of where the gateway finds its name; its policy must allow the address.
    pub address: Option<IpAddr>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { alpn: vec![], sni: None, cipher_suites: vec![], tls12: true, assisted: false, address: None }
    }
}

impl ConnectOptions {
    pub(super) fn request(&self, host: &str, port: u16, source_port: u16) -> Connect {
        let named = host.parse().map_or_else(|_| PeerName::Name(host.to_owned()), PeerName::Address);
        let (peer, name) = match (self.address, named) {
            // The name is still the one that the peer must prove.
            (Some(address), PeerName::Name(name)) => (PeerName::Address(address), Some(name)),
            (_, peer) => (peer, None),
        };
        let mut connect = Connect::new(peer, port, source_port);
        connect.sni = self.sni.clone().or(name);
        connect.alpn = self.alpn.clone();
        connect.oldest_version = oldest_version(self.tls12);
        if !self.cipher_suites.is_empty() {
            connect.cipher_suites = self.cipher_suites.iter().copied().map(CipherSuite).collect();
        }
        connect
    }
}

/// How to listen; the default asks for nothing special.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenOptions {
    /// Application protocols that are spoken at the port; empty: the gateway's policy says which.
    pub alpn: Vec<String>,
    /// A peer that speaks TLS 1.2 only will do.
    pub tls12: bool,
    /// Peers come to this terminal directly, not through the gateway: handshakes are carried to it over the channel.
    pub assisted: bool,
    /// This terminal's addresses to listen at; empty: the one that the gateway knows it by.
    pub addresses: Vec<IpAddr>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { alpn: vec![], tls12: true, assisted: false, addresses: vec![] }
    }
}

/// Seconds for which an agent asks to be known as listening. A gateway that was restarted does not know it, and
/// hears of it with the next announcement, after two thirds of that time.
const ANNOUNCED: u32 = 60;

impl ListenOptions {
    pub(super) fn request(&self, port: u16) -> Listen {
        let mut listen = Listen::new(port);
        listen.seconds = ANNOUNCED;
        listen.alpn = self.alpn.clone();
        listen.oldest_version = oldest_version(self.tls12);
        listen
    }
}

fn oldest_version(tls12: bool) -> ProtocolVersion {
    if tls12 { ProtocolVersion::TLS_1_2 } else { ProtocolVersion::TLS_1_3 }
}
