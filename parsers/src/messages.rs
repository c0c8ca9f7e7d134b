//! The CBOR payloads of the channel between terminal and gateway.
//!
//! They travel inside OSCORE: the sender is known by the time they are decoded here, but not trusted to be correct.
//! Every message is a map with small integer keys. Unknown keys are ignored, so that a message can grow; a key twice,
//! bytes after the map, indefinite lengths and anything out of bounds are refused. Fields that have a default are left
//! out when they have it, and numbers take the fewest bytes, because the link may be a radio.
//!
//! `tx` and `rx` are always seen from the terminal: it sends with `tx` and receives with `rx`.

mod cbor;
mod connect;
mod failure;
mod handover;
mod kx;
mod listen;
mod push;
mod reason;
mod ticket;

use core::fmt;

pub use connect::{Connect, ConnectAnswer, PeerName, Protocol};
pub use failure::Failure;
pub use handover::{Binding, Handover, Limits, ProofMethod, ProvedPeer, Role, Secret};
pub use kx::{KxAnswer, KxRequest, Step};
pub use listen::{Listen, ListenAnswer};
pub use push::{Echo, SessionPush};
pub use reason::Reason;
pub use ticket::Ticket;

/// A session's number, given by the gateway; unique for as long as the terminal may speak of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a payload is not the message it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageError {
    /// The message that was expected, as PROTOCOL.md calls it.
    pub message: &'static str,
    /// The field of it, empty where it is the message as a whole.
    pub field: &'static str,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Not CBOR, of another CBOR type than expected, or of indefinite length.
    WrongType,
    /// A field without default is absent.
    Missing,
    /// The same key appears twice in the map.
    Duplicate,
    /// Bytes follow the end of the message.
    Trailing,
    /// Shorter or longer than the message allows.
    Length,
    /// A value that the message does not allow.
    Value,
    /// A version of the message or a cipher suite that this implementation does not know.
    Unsupported,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)?;
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        f.write_str(match self.problem {
            Problem::WrongType => " is not CBOR of the expected type",
            Problem::Missing => " is missing",
            Problem::Duplicate => " has the same key twice",
            Problem::Trailing => " is followed by bytes that do not belong there",
            Problem::Length => " has a length that is not allowed",
            Problem::Value => " has a value that is not allowed",
            Problem::Unsupported => " is of a kind that is not supported here",
        })
    }
}

impl core::error::Error for MessageError {}

#[cfg(test)]
mod tests;
