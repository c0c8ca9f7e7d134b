//! `handover`: the keys of an established session, from the gateway to the terminal that owns it.

use alloc::{string::String, vec::Vec};
use core::net::{IpAddr, SocketAddr};

use minicbor::Encoder;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::cbor::{Fields, MapWriter, Value, Written, put_address};
use super::{MessageError, Problem, SessionId};
use crate::registry::registry;
use crate::tls::{CipherSuite, ProtocolVersion};

/// One direction's secret. TLS 1.3: the traffic secret, 32 or 48 bytes, as long as the suite's hash. TLS 1.2: write key
/// and IV, 16 + 12 or 32 + 12 bytes. Erased on drop, never displayed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Copies a secret; `None` unless it has 28, 32, 44 or 48 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        matches!(bytes.len(), 28 | 32 | 44 | 48).then(|| Self(bytes.to_vec()))
    }

    /// The secret itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

registry! {
    /// How the peer proved who it is.
    pub struct ProofMethod(u8), unknown "proof method {}" {
        CA_VERIFIED_NAME = 1, "CA-verified name";
        PINNED_KEY = 2, "pinned key";
        ANONYMOUS = 3, "not proved";
    }
}

registry! {
    /// Which end of the TLS connection the terminal is.
    pub struct Role(u8), unknown "role {}" {
        CLIENT = 0, "client";
        SERVER = 1, "server";
    }
}

/// Who the peer proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedPeer {
    /// By what.
    pub method: ProofMethod,
    /// The name in the certificate that was verified, the pin of its key, or the address of a client that proved
    /// nothing; 1 to 255 bytes.
    pub identity: String,
}

/// The connection that the keys belong to, and no other; both addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The terminal's end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
}

/// How long the keys may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records protected with one traffic key before a KeyUpdate is due.
    pub records: u64,
    /// Bytes protected with one traffic key before a KeyUpdate is due.
    pub bytes: u64,
    /// Seconds of life of the session, counted from the hand-over.
    pub seconds: u32,
}

/// Everything a terminal needs to take a session over. No `Debug`: it holds the keys.
#[derive(Clone)]
pub struct Handover {
    /// The session, as in the answer to `connect`, or a new number when the terminal opened TCP without asking.
    pub session: SessionId,
    /// The suite that peer and gateway agreed on; with the version it tells the length of the secrets.
    pub suite: CipherSuite,
    /// What the terminal sends with: the current application traffic secret, in TLS 1.2 write key and IV.
    pub tx_secret: Secret,
    /// What the terminal receives with, likewise.
    pub rx_secret: Secret,
    /// Record sequence number of the first record that the terminal sends.
    pub tx_sequence: u64,
    /// Record sequence number of the first record that the terminal receives, at the start of `prefix` if there is one.
    pub rx_sequence: u64,
    /// The connection.
    pub binding: Binding,
    /// The peer's proved identity.
    pub peer: ProvedPeer,
    /// Limits of use.
    pub limits: Limits,
    /// The application protocol that the peer chose, 1 to 255 bytes.
    pub alpn: Option<String>,
    /// Ciphertext that the gateway read beyond the handshake: goes before what the terminal's socket delivers. Up to
    /// 16384 bytes, not necessarily whole records.
    pub prefix: Vec<u8>,
    /// The protocol version: TLS 1.3 or TLS 1.2.
    pub tls_version: ProtocolVersion,
    /// Which end the terminal is.
    pub role: Role,
    /// The name that the peer asked for, when the terminal is the server; 1 to 255 bytes.
    pub server_name: Option<String>,
    /// Whether the gateway takes session tickets of this session back (`POST /kf/ticket`).
    pub resumable: bool,
}

impl Handover {
    /// The version of this message. Another version is refused, not guessed at.
    pub const VERSION: u8 = 1;
    /// The most bytes that `prefix` may have.
    pub const MAX_PREFIX: usize = 16384;

    /// The payload of the request to the terminal.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut map = MapWriter::with_capacity(self.capacity());
        map.uint(0, Self::VERSION);
        map.uint(1, self.session.0);
        map.uint(2, self.suite.0);
        map.bytes(3, self.tx_secret.as_bytes());
        map.bytes(4, self.rx_secret.as_bytes());
        if self.tx_sequence != 0 {
            map.uint(5, self.tx_sequence);
        }
        if self.rx_sequence != 0 {
            map.uint(6, self.rx_sequence);
        }
        map.put(7, |e| put_binding(e, self.binding));
        map.put(8, |e| e.array(2)?.u8(self.peer.method.0)?.str(&self.peer.identity));
        let Limits { records, bytes, seconds } = self.limits;
        map.put(9, |e| e.array(3)?.u64(records)?.u64(bytes)?.u32(seconds));
        if let Some(alpn) = &self.alpn {
            map.text(10, alpn);
        }
        if !self.prefix.is_empty() {
            map.bytes(11, &self.prefix);
        }
        if self.tls_version != ProtocolVersion::TLS_1_3 {
            map.uint(12, self.tls_version.0);
        }
        if self.role != Role::CLIENT {
            map.uint(13, self.role.0);
        }
        if let Some(name) = &self.server_name {
            map.text(16, name);
        }
        if self.resumable {
            map.put(18, |e| e.bool(true));
        }
        map.finish()
    }

    /// Reads the payload of a hand-over.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        Self::from_fields(&Fields::parse("handover", bytes)?)
    }

    pub(super) fn from_fields(fields: &Fields<'_>) -> Result<Self, MessageError> {
        check_version(fields.required(0, "version")?)?;
        let tls_version = tls_version(fields)?;
        let (suite, secret_length) = cipher_suite(fields.required(2, "cipher suite")?, tls_version)?;
        Ok(Self {
            session: SessionId(fields.required(1, "session")?.uint()?),
            suite,
            tx_secret: secret(fields.required(3, "tx secret")?, secret_length)?,
            rx_secret: secret(fields.required(4, "rx secret")?, secret_length)?,
            tx_sequence: fields.optional(5, "tx sequence").map_or(Ok(0), |mut value| value.uint())?,
            rx_sequence: fields.optional(6, "rx sequence").map_or(Ok(0), |mut value| value.uint())?,
            binding: binding(fields.required(7, "binding")?)?,
            peer: proved_peer(fields.required(8, "proved peer")?)?,
            limits: limits(fields.required(9, "limits")?)?,
            alpn: fields.optional(10, "ALPN").map(|mut value| value.text(1..=255)).transpose()?,
            prefix: match fields.optional(11, "prefix") {
                Some(mut value) => value.bytes(0..=Self::MAX_PREFIX)?.to_vec(),
                None => Vec::new(),
            },
            tls_version,
            role: fields.optional(13, "role").map_or(Ok(Role::CLIENT), role)?,
            server_name: fields.optional(16, "server name").map(|mut value| value.text(1..=255)).transpose()?,
            resumable: fields.optional(18, "resumable").map_or(Ok(false), |mut value| value.boolean())?,
        })
    }

    /// No less than the encoding needs.
    fn capacity(&self) -> usize {
        const ALL_OF_FIXED_SIZE: usize = 256;
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        ALL_OF_FIXED_SIZE
            .saturating_add(self.peer.identity.len())
            .saturating_add(length(&self.alpn))
            .saturating_add(length(&self.server_name))
            .saturating_add(self.prefix.len())
    }
}

fn check_version(mut value: Value<'_>) -> Result<(), MessageError> {
    if value.uint::<u64>()? == u64::from(Handover::VERSION) { Ok(()) } else { Err(value.error(Problem::Unsupported)) }
}

fn tls_version(fields: &Fields<'_>) -> Result<ProtocolVersion, MessageError> {
    let Some(mut value) = fields.optional(12, "TLS version") else {
        return Ok(ProtocolVersion::TLS_1_3);
    };
    match ProtocolVersion(value.uint()?) {
        version @ (ProtocolVersion::TLS_1_2 | ProtocolVersion::TLS_1_3) => Ok(version),
        _ => Err(value.error(Problem::Unsupported)),
    }
}

fn cipher_suite(mut value: Value<'_>, version: ProtocolVersion) -> Result<(CipherSuite, usize), MessageError> {
    let suite = CipherSuite(value.uint()?);
    let length = suite.secret_length(version).ok_or(value.error(Problem::Unsupported))?;
    Ok((suite, length))
}

fn secret(mut value: Value<'_>, length: usize) -> Result<Secret, MessageError> {
    let bytes = value.bytes(length..=length)?;
    Secret::new(bytes).ok_or(value.error(Problem::Length))
}

/// A role that this implementation does not know is refused: nobody could tell which keys are whose.
pub(super) fn role(mut value: Value<'_>) -> Result<Role, MessageError> {
    match Role(value.uint()?) {
        role @ (Role::CLIENT | Role::SERVER) => Ok(role),
        _ => Err(value.error(Problem::Unsupported)),
    }
}

pub(super) fn put_binding(encoder: &mut Encoder<Vec<u8>>, binding: Binding) -> Written<'_> {
    let Binding { local, remote } = binding;
    put_address(encoder.array(4)?, local.ip())?
        .u16(local.port())
        .and_then(|e| put_address(e, remote.ip()))?
        .u16(remote.port())
}

pub(super) fn binding(mut value: Value<'_>) -> Result<Binding, MessageError> {
    value.array_of(4)?;
    let (local, local_port): (IpAddr, u16) = (value.address()?, value.port()?);
    let (remote, remote_port): (IpAddr, u16) = (value.address()?, value.port()?);
    if local.is_ipv4() != remote.is_ipv4() {
        return Err(value.error(Problem::Value));
    }
    Ok(Binding { local: SocketAddr::new(local, local_port), remote: SocketAddr::new(remote, remote_port) })
}

fn proved_peer(mut value: Value<'_>) -> Result<ProvedPeer, MessageError> {
    value.array_of(2)?;
    Ok(ProvedPeer { method: ProofMethod(value.uint()?), identity: value.text(1..=255)? })
}

fn limits(mut value: Value<'_>) -> Result<Limits, MessageError> {
    value.array_of(3)?;
    Ok(Limits { records: value.uint()?, bytes: value.uint()?, seconds: value.uint()? })
}
