//! `connect` and its answer: the terminal asks for a session with a peer, before it opens TCP (`POST /kf/connect`).

use alloc::{string::String, vec, vec::Vec};
use core::net::IpAddr;

use zeroize::Zeroizing;

use super::cbor::{Fields, MapWriter, Value};
use super::{MessageError, Problem, SessionId};
use crate::registry::registry;
use crate::tls::{CipherSuite, ProtocolVersion};

registry! {
    /// What the terminal wants to speak with the peer.
    pub struct Protocol(u8), unknown "protocol {}" {
        TLS = 0, "TLS";
    }
}

/// The peer, as the terminal names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerName {
    /// A name of the gateway's policy or of the DNS; 1 to 255 bytes.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// The terminal's request for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Whom to reach.
    pub peer: PeerName,
    /// The peer's TCP port, not 0.
    pub port: u16,
    /// The port that the terminal's socket is bound to, not 0: tells its connections apart.
    pub source_port: u16,
    /// The name for the server_name extension, 1 to 255 bytes; `None`: the name in `peer`, if it is one.
    pub sni: Option<String>,
    /// Application protocols in order of preference, up to 16 of 1 to 255 bytes; empty: no ALPN.
    pub alpn: Vec<String>,
    /// What to speak.
    pub protocol: Protocol,
    /// The AEADs and hashes that the terminal can encrypt with, in order of preference, 1 to 32. Always named by TLS 1.3
    /// suites; `oldest_version` says whether TLS 1.2 suites with the same AEAD and hash will do, too.
    pub cipher_suites: Vec<CipherSuite>,
    /// TLS 1.3, or TLS 1.2 if the terminal protects records of both.
    pub oldest_version: ProtocolVersion,
}

impl Connect {
    /// The suites of a request that names none.
    pub const DEFAULT_CIPHER_SUITES: [CipherSuite; 3] = [
        CipherSuite::TLS_AES_128_GCM_SHA256,
        CipherSuite::TLS_AES_256_GCM_SHA384,
        CipherSuite::TLS_CHACHA20_POLY1305_SHA256,
    ];

    /// A request with every default.
    pub fn new(peer: PeerName, port: u16, source_port: u16) -> Self {
        Self {
            peer,
            port,
            source_port,
            sni: None,
            alpn: vec![],
            protocol: Protocol::TLS,
            cipher_suites: Self::DEFAULT_CIPHER_SUITES.to_vec(),
            oldest_version: ProtocolVersion::TLS_1_3,
        }
    }

    /// The payload of the request.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut map = MapWriter::with_capacity(64);
        match &self.peer {
            PeerName::Name(name) => map.text(0, name),
            PeerName::Address(address) => map.address(0, *address),
        }
        map.uint(1, self.port);
        map.uint(2, self.source_port);
        if let Some(sni) = &self.sni {
            map.text(3, sni);
        }
        put_alpn(&mut map, &self.alpn);
        if self.protocol != Protocol::TLS {
            map.uint(5, self.protocol.0);
        }
        put_cipher_suites(&mut map, &self.cipher_suites);
        put_oldest_version(&mut map, self.oldest_version);
        map.finish()
    }

    /// Reads the payload of a request.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let fields = Fields::parse("connect", bytes)?;
        Ok(Self {
            peer: peer_name(fields.required(0, "peer")?)?,
            port: fields.required(1, "port")?.port()?,
            source_port: fields.required(2, "source port")?.port()?,
            sni: fields.optional(3, "SNI").map(|mut value| value.text(1..=255)).transpose()?,
            alpn: alpn(&fields)?,
            protocol: match fields.optional(5, "protocol") {
                Some(mut value) => Protocol(value.uint()?),
                None => Protocol::TLS,
            },
            cipher_suites: cipher_suites(&fields)?,
            oldest_version: oldest_version(&fields)?,
        })
    }
}

fn peer_name(mut value: Value<'_>) -> Result<PeerName, MessageError> {
    if value.is_text() { value.text(1..=255).map(PeerName::Name) } else { value.address().map(PeerName::Address) }
}

// What the terminal can do, in `connect` and in `listen`: keys 4, 6 and 7.

pub(super) fn put_alpn(map: &mut MapWriter, alpn: &[String]) {
    if !alpn.is_empty() {
        map.put(4, |e| alpn.iter().try_fold(e.array(alpn.len() as u64)?, |e, name| e.str(name)));
    }
}

pub(super) fn put_cipher_suites(map: &mut MapWriter, suites: &[CipherSuite]) {
    if suites != Connect::DEFAULT_CIPHER_SUITES {
        map.put(6, |e| suites.iter().try_fold(e.array(suites.len() as u64)?, |e, suite| e.u16(suite.0)));
    }
}

pub(super) fn put_oldest_version(map: &mut MapWriter, version: ProtocolVersion) {
    if version != ProtocolVersion::TLS_1_3 {
        map.uint(7, version.0);
    }
}

pub(super) fn alpn(fields: &Fields<'_>) -> Result<Vec<String>, MessageError> {
    match fields.optional(4, "ALPN") {
        Some(mut value) => value.list(1..=16, |value| value.text(1..=255)),
        None => Ok(Vec::new()),
    }
}

pub(super) fn cipher_suites(fields: &Fields<'_>) -> Result<Vec<CipherSuite>, MessageError> {
    match fields.optional(6, "cipher suites") {
        Some(mut value) => value.list(1..=32, |value| value.uint().map(CipherSuite)),
        None => Ok(Connect::DEFAULT_CIPHER_SUITES.to_vec()),
    }
}

pub(super) fn oldest_version(fields: &Fields<'_>) -> Result<ProtocolVersion, MessageError> {
    let Some(mut value) = fields.optional(7, "oldest version") else {
        return Ok(ProtocolVersion::TLS_1_3);
    };
    match ProtocolVersion(value.uint()?) {
        version @ (ProtocolVersion::TLS_1_2 | ProtocolVersion::TLS_1_3) => Ok(version),
        _ => Err(value.error(Problem::Unsupported)),
    }
}

/// The gateway's consent: it now expects the terminal's TCP connection to exactly this address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectAnswer {
    /// The session that this becomes.
    pub session: SessionId,
    /// The peer's address, checked against policy and pinned.
    pub address: IpAddr,
    /// Seconds until the offer lapses.
    pub seconds: u32,
}

impl ConnectAnswer {
    /// The payload of the answer.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut map = MapWriter::with_capacity(32);
        map.uint(0, self.session.0);
        map.address(1, self.address);
        map.uint(2, self.seconds);
        map.finish()
    }

    /// Reads the payload of an answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let fields = Fields::parse("connect answer", bytes)?;
        Ok(Self {
            session: SessionId(fields.required(0, "session")?.uint()?),
            address: fields.required(1, "address")?.address()?,
            seconds: fields.required(2, "seconds")?.uint()?,
        })
    }
}
