//! Assisted mode: the terminal carries the peer's bytes to the gateway and the gateway's to the peer (`POST /kf/kx`).
//!
//! Four request/response pairs. Start says what is wanted, key generation and authentication carry the peer's byte stream
//! in pieces, key asks for the result; the keys themselves come as a hand-over to `/kf/session`, as always.

use alloc::vec::Vec;
use core::net::IpAddr;

use zeroize::Zeroizing;

use super::cbor::{Fields, MapWriter, Value};
use super::handover::{binding, put_binding, role};
use super::{Binding, Connect, Listen, MessageError, Problem, Role, SessionId};
use crate::registry::registry;

registry! {
    /// A step of the exchange.
    pub struct Step(u8), unknown "step {}" {
        START = 0, "start";
        KEY_GENERATION = 1, "key generation";
        AUTHENTICATION = 2, "authentication";
        KEY = 3, "key";
    }
}

/// What the terminal asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KxRequest {
    /// A handshake with a peer.
    Start {
        /// Which end the terminal is.
        role: Role,
        /// What the terminal wants as a client; present if and only if it is one.
        connect: Option<Connect>,
        /// What the terminal can do as a server; present if and only if it is one.
        listen: Option<Listen>,
        /// The TCP connection; a server must say it, since policy looks at the client's address.
        binding: Option<Binding>,
        /// The first bytes of the peer's stream, up to 16384, from offset 0 on; none when the terminal is the client.
        bytes: Vec<u8>,
    },
    /// A piece of the peer's byte stream. Several may be in flight side by side.
    Carry {
        /// `KEY_GENERATION` or `AUTHENTICATION`, as the last answer said.
        step: Step,
        /// The session.
        session: SessionId,
        /// Where the piece belongs in the peer's stream.
        offset: u32,
        /// The piece, up to 1024 bytes.
        bytes: Vec<u8>,
        /// The peer has closed its direction behind this piece.
        closed: bool,
    },
    /// The keys.
    Key {
        /// The session.
        session: SessionId,
        /// How many bytes of the peer's stream were carried in all.
        length: u32,
        /// The TCP connection that the keys are for.
        binding: Binding,
    },
}

impl KxRequest {
    /// The most bytes of the peer's stream in a start.
    pub const MAX_START: usize = 16384;
    /// The most bytes of the peer's stream in a later request.
    pub const MAX_PIECE: usize = 1024;

    /// The payload of the request.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut map = MapWriter::with_capacity(64);
        map.uint(0, self.step().0);
        match self {
            Self::Start { role, connect, listen, binding, bytes } => {
                if *role != Role::CLIENT {
                    map.uint(1, role.0);
                }
                if let Some(wanted) = connect.as_ref().map(Connect::encode).or(listen.as_ref().map(Listen::encode)) {
                    map.bytes(2, &wanted);
                }
                if let Some(binding) = binding {
                    map.put(3, |e| put_binding(e, *binding));
                }
                put_bytes(&mut map, 4, bytes);
            }
            Self::Carry { step: _, session, offset, bytes, closed } => {
                put_bytes(&mut map, 4, bytes);
                map.uint(5, session.0);
                map.uint(6, *offset);
                if *closed {
                    map.put(7, |e| e.bool(true));
                }
            }
            Self::Key { session, length, binding } => {
                map.put(3, |e| put_binding(e, *binding));
                map.uint(5, session.0);
                map.uint(6, *length);
            }
        }
        map.finish()
    }

    /// Reads the payload of a request. A step that is not known here is [`Problem::Unsupported`]: to be discarded.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let fields = Fields::parse("kx", bytes)?;
        let mut value = fields.required(0, "step")?;
        // Read as wide as it may be on the wire, so that no large number looks malformed instead of unknown.
        match value.uint::<u64>().map(|number| u8::try_from(number).map(Step))? {
            Ok(Step::START) => start(&fields),
            Ok(step @ (Step::KEY_GENERATION | Step::AUTHENTICATION)) => carry(&fields, step),
            Ok(Step::KEY) => key(&fields),
            _ => Err(value.error(Problem::Unsupported)),
        }
    }

    /// Which of the four it is.
    pub const fn step(&self) -> Step {
        match self {
            Self::Start { .. } => Step::START,
            Self::Carry { step, .. } => *step,
            Self::Key { .. } => Step::KEY,
        }
    }
}

fn start(fields: &Fields<'_>) -> Result<KxRequest, MessageError> {
    let role = fields.optional(1, "role").map_or(Ok(Role::CLIENT), role)?;
    let wanted = fields.required(2, "connect or listen")?.bytes(0..=usize::MAX)?;
    let bytes = optional_bytes(fields, "bytes", KxRequest::MAX_START)?;
    if role == Role::SERVER {
        let binding = Some(binding(fields.required(3, "binding")?)?);
        return Ok(KxRequest::Start { role, connect: None, listen: Some(Listen::decode(wanted)?), binding, bytes });
    }
    if !bytes.is_empty() {
        // A server says nothing before the client has.
        return Err(MessageError { message: "kx", field: "bytes", problem: Problem::Value });
    }
    let binding = fields.optional(3, "binding").map(binding).transpose()?;
    Ok(KxRequest::Start { role, connect: Some(Connect::decode(wanted)?), listen: None, binding, bytes })
}

fn carry(fields: &Fields<'_>, step: Step) -> Result<KxRequest, MessageError> {
    Ok(KxRequest::Carry {
        step,
        session: SessionId(fields.required(5, "session")?.uint()?),
        offset: fields.required(6, "offset")?.uint()?,
        bytes: optional_bytes(fields, "bytes", KxRequest::MAX_PIECE)?,
        closed: fields.optional(7, "closed").map_or(Ok(false), |mut value| value.boolean())?,
    })
}

fn key(fields: &Fields<'_>) -> Result<KxRequest, MessageError> {
    Ok(KxRequest::Key {
        session: SessionId(fields.required(5, "session")?.uint()?),
        length: fields.required(6, "length")?.uint()?,
        binding: binding(fields.required(3, "binding")?)?,
    })
}

/// The answer to a start or a piece. (The answer to a request for the key has no payload.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KxAnswer {
    /// The session.
    pub session: SessionId,
    /// What is needed next; [`Step::KEY`]: the handshake is over, ask for the key.
    pub next: Step,
    /// In the answer to a start: which of key generation and authentication are needed, in order. Empty otherwise.
    pub needed: Vec<Step>,
    /// Bytes for the peer, in the order of the pieces; up to [`Self::MAX_SEND`].
    pub send: Vec<u8>,
    /// In the answer to a client's start: the peer's address, checked against policy and pinned.
    pub address: Option<IpAddr>,
}

impl KxAnswer {
    /// The most bytes that `send` may have. A failure that carries as many still fits, detail and all, into a body of the
    /// channel, 32 KiB.
    pub const MAX_SEND: usize = 31 * 1024;

    /// The payload of the answer.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut map = MapWriter::with_capacity(64);
        map.uint(0, self.next.0);
        put_bytes(&mut map, 4, &self.send);
        map.uint(5, self.session.0);
        if !self.needed.is_empty() {
            map.put(8, |e| self.needed.iter().try_fold(e.array(self.needed.len() as u64)?, |e, step| e.u8(step.0)));
        }
        if let Some(address) = self.address {
            map.address(9, address);
        }
        map.finish()
    }

    /// Reads the answer to a start. One that needs neither key generation nor authentication is a malfunction, and
    /// refused: no keys may come of it.
    pub fn decode_start(bytes: &[u8]) -> Result<Self, MessageError> {
        let answer = Self::decode(bytes)?;
        if answer.needed.is_empty() {
            return Err(MessageError { message: "kx answer", field: "needed steps", problem: Problem::Missing });
        }
        Ok(answer)
    }

    /// Reads the answer to a piece.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let fields = Fields::parse("kx answer", bytes)?;
        Ok(Self {
            session: SessionId(fields.required(5, "session")?.uint()?),
            next: step_among(
                &mut fields.required(0, "next step")?,
                &[Step::KEY_GENERATION, Step::AUTHENTICATION, Step::KEY],
            )?,
            needed: match fields.optional(8, "needed steps") {
                Some(mut value) => {
                    value.list(1..=8, |value| step_among(value, &[Step::KEY_GENERATION, Step::AUTHENTICATION]))?
                }
                None => Vec::new(),
            },
            send: optional_bytes(&fields, "bytes to send", Self::MAX_SEND)?,
            address: fields.optional(9, "address").map(|mut value| value.address()).transpose()?,
        })
    }
}

fn step_among(value: &mut Value<'_>, allowed: &[Step]) -> Result<Step, MessageError> {
    let step = Step(value.uint()?);
    if allowed.contains(&step) { Ok(step) } else { Err(value.error(Problem::Value)) }
}

fn put_bytes(map: &mut MapWriter, key: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        map.bytes(key, bytes);
    }
}

/// The bytes under key 4, none where it is absent.
fn optional_bytes(fields: &Fields<'_>, field: &'static str, most: usize) -> Result<Vec<u8>, MessageError> {
    match fields.optional(4, field) {
        Some(mut value) => value.bytes(0..=most).map(<[u8]>::to_vec),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests;
