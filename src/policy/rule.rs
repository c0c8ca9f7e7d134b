//! One `[[peer]]` of the configuration: whom it names, who may go there, and what must be proved.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use keyferry_parsers::messages::{PeerName, Reason};
use keyferry_parsers::tls::{CipherSuite, NamedGroup};

use super::{PeerQuery, TerminalRef};
use crate::error::Error;

/// One rule: these terminals may reach this peer, if it proves to be who it is.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The identity the peer must prove: a DNS name in lower case without final dot, or an IP address.
    pub name: String,
    /// Where the peer is, pinned by the operator; empty: the name is resolved.
    pub addresses: Vec<IpAddr>,
    /// The TCP ports that may be reached.
    pub ports: Vec<u16>,
    /// Who may.
    pub terminals: Vec<TerminalPattern>,
    /// What the peer's certificate is judged by.
    pub trust: Arc<Trust>,
    /// Application protocols that may be spoken, best first; empty: any. Offered unasked only for
    /// connections opened without a request.
    pub alpn: Vec<String>,
    /// Whether a TCP connection opened without `/kf/connect` is served.
    pub without_request: bool,
    /// Key exchange groups to offer, best first.
    pub key_exchange: Vec<NamedGroup>,
    /// Cipher suites to offer, best first.
    pub cipher_suites: Vec<CipherSuite>,
    /// How long a session may live, in seconds.
    pub session_seconds: u32,
    /// Whether the terminal's certificate is shown to this peer if it asks for one.
    pub client_certificate: bool,
    /// Whether sessions are resumed with the peer's tickets.
    pub resumption: bool,
}

/// An entry of `terminals`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TerminalPattern {
    /// `*`: every enrolled terminal.
    Any,
    /// A terminal id.
    Id(String),
    /// `group:NAME`: every terminal of a group.
    Group(String),
}

/// What certificates are judged by. With anchors alone the chain must lead to one of them and name the
/// peer; with pins alone the end entity's key must be one of them; with both, both must hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Trust {
    /// Its name in the configuration.
    pub name: String,
    /// CA certificates, DER.
    pub anchors: Vec<Vec<u8>>,
    /// SHA-256 of acceptable SubjectPublicKeyInfo structures.
    pub pins: Vec<[u8; 32]>,
    /// Certificate revocation lists, DER; empty: revocation is not checked.
    pub crls: Vec<Vec<u8>>,
    /// How far `crls` must reach.
    pub revocation: Revocation,
}

/// Which certificates of a chain the revocation lists must speak for, where there are any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Revocation {
    /// Each one below the anchor.
    #[default]
    Chain,
    /// The peer's own.
    EndEntity,
}

impl Rule {
    /// Whether the query's peer, and the server name it asks for, are this rule's.
    pub(super) fn names(&self, query: &PeerQuery<'_>) -> bool {
        let named = match query.peer {
            PeerName::Name(name) => same_name(&self.name, name),
            PeerName::Address(address) => self.is_at(*address),
        };
        named && query.server_name.is_none_or(|server_name| same_name(&self.name, server_name))
    }

    /// Whether the operator placed the peer at `address`.
    pub(super) fn is_at(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address) || self.name_as_address() == Some(address)
    }

    pub(super) fn covers_terminal(&self, terminal: &TerminalRef<'_>) -> bool {
        self.terminals.iter().any(|pattern| pattern.covers(terminal))
    }

    /// The protocols to offer to a peer for a terminal that asks for `wanted`, in its order; none unasked,
    /// since the terminal would not know what to do with the peer's choice.
    pub(super) fn offer_alpn(&self, wanted: &[String]) -> Result<Vec<String>, Error> {
        if wanted.is_empty() || self.alpn.is_empty() {
            return Ok(wanted.to_vec());
        }
        let offer: Vec<String> = wanted.iter().filter(|protocol| self.alpn.contains(protocol)).cloned().collect();
        if offer.is_empty() {
            let wanted = wanted.join("\", \"");
            let detail = format!(
                "add \"{wanted}\" to `alpn` of the [[peer]] `{}`, or have the terminal ask for \
                 one of {}",
                self.name,
                self.alpn.join(", ")
            );
            return Err(Error::new(Reason::FORBIDDEN_ALPN, detail));
        }
        Ok(offer)
    }

    /// The name as IP address, where the operator named the peer by one.
    pub fn name_as_address(&self) -> Option<IpAddr> {
        self.name.parse().ok()
    }

    /// The addresses the peer may be reached at without asking a resolver; empty: resolve the name.
    pub fn pinned_addresses(&self) -> Vec<IpAddr> {
        match self.name_as_address() {
            Some(address) if self.addresses.is_empty() => vec![address],
            _ => self.addresses.clone(),
        }
    }
}

impl TerminalPattern {
    /// Whether `terminal` is meant.
    pub fn covers(&self, terminal: &TerminalRef<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Id(id) => id == terminal.id,
            Self::Group(group) => Some(group.as_str()) == terminal.group,
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Trust({}: {} anchors, {} pins, {} lists)",
            self.name,
            self.anchors.len(),
            self.pins.len(),
            self.crls.len()
        )
    }
}

/// What the terminal asked for, for the operator's eyes.
pub(super) fn described(query: &PeerQuery<'_>) -> String {
    match (query.peer, query.server_name) {
        (PeerName::Address(_), Some(name)) => name.to_owned(),
        (PeerName::Address(address), None) => address.to_string(),
        (PeerName::Name(name), Some(other)) if !same_name(name, other) => format!("{other} at {name}"),
        (PeerName::Name(name), _) => name.clone(),
    }
}

fn same_name(rule: &str, asked: &str) -> bool {
    rule.eq_ignore_ascii_case(asked.strip_suffix('.').unwrap_or(asked))
}
