//! What the gateway calls the terminal with: `POST /kf/session`, and the `POST /kf/echo` that either side may send.

use alloc::{boxed::Box, vec::Vec};

use minicbor::Encoder;
use zeroize::Zeroizing;

use super::cbor::{Fields, Value};
use super::{Failure, Handover, MessageError, Problem};

/// What became of a session. No `Debug`: a hand-over holds the keys.
#[derive(Clone)]
pub enum SessionPush {
    /// It is established, and the terminal's now.
    Handover(Box<Handover>),
    /// It failed.
    Failure(Failure),
}

impl SessionPush {
    /// The payload of the request to the terminal.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Handover(handover) => handover.encode(),
            Self::Failure(failure) => failure.encode(),
        }
    }

    /// Reads the payload: a cipher suite makes it a hand-over, a reason a failure, both or neither nothing.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        const MESSAGE: &str = "session push";
        let fields = Fields::parse(MESSAGE, bytes)?;
        match (fields.contains(2), fields.contains(14)) {
            (true, false) => Handover::from_fields(&fields).map(|handover| Self::Handover(Box::new(handover))),
            (false, true) => Failure::from_fields(&fields).map(Self::Failure),
            (true, true) | (false, false) => {
                Err(MessageError { message: MESSAGE, field: "reason", problem: Problem::Unsupported })
            }
        }
    }
}

/// Bytes that the other side returns unchanged: the check that the channel works. Up to 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo(pub Vec<u8>);

impl Echo {
    /// The most bytes an echo may have.
    pub const MAX_LENGTH: usize = 64;

    /// The payload of the request, and of its answer.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut encoder = Encoder::new(Vec::new());
        let written = encoder.bytes(&self.0);
        debug_assert!(written.is_ok(), "writing to memory cannot fail");
        Zeroizing::new(encoder.into_writer())
    }

    /// Reads the payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut value = Value::whole("echo", bytes);
        let echoed = value.bytes(0..=Self::MAX_LENGTH)?;
        if value.is_finished() { Ok(Self(echoed.to_vec())) } else { Err(value.error(Problem::Trailing)) }
    }
}
