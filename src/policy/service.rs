//! One `[[service]]` of the configuration: which terminals serve on which ports, to whom, and what the
//! clients must prove.

use std::net::IpAddr;
use std::sync::Arc;

use keyferry_parsers::tls::{CipherSuite, NamedGroup};

use super::{Network, TerminalPattern, TerminalRef, Trust};

/// One rule for connections that peers open to terminals.
#[derive(Clone, Debug)]
pub struct Service {
    /// Whose service it is.
    pub terminals: Vec<TerminalPattern>,
    /// The TCP ports of the terminals.
    pub ports: Vec<u16>,
    /// From where peers may connect; empty: from anywhere outside the terminals' interfaces.
    pub peers: Vec<Network>,
    /// The server names that are answered to; empty: those in the terminal's certificates. A client
    /// without server name is answered in any case.
    pub names: Vec<String>,
    /// What clients' certificates are judged by; `None`: clients need none.
    pub clients: Option<Arc<Trust>>,
    /// Which clients may connect, by a name in their certificates; empty: any that `clients` proves.
    pub client_names: Vec<String>,
    /// Application protocols that may be spoken, best first; empty: no ALPN.
    pub alpn: Vec<String>,
    /// Served although the terminal has not said that it listens.
    pub without_request: bool,
    /// Key exchange groups, best first.
    pub key_exchange: Vec<NamedGroup>,
    /// Cipher suites, best first.
    pub cipher_suites: Vec<CipherSuite>,
    /// How long a session may live, in seconds.
    pub session_seconds: u32,
}

impl Service {
    /// Whether this is a service of `terminal` on `port`.
    pub fn is_of(&self, terminal: &TerminalRef<'_>, port: u16) -> bool {
        self.ports.contains(&port) && self.terminals.iter().any(|pattern| pattern.covers(terminal))
    }

    /// Whether a peer at `address` may connect.
    pub fn admits(&self, address: IpAddr) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|network| network.contains(address))
    }
}
