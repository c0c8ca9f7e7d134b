//! What can go wrong for the user of the agent: whose fault it was, in words, and as exit code.

use crate::client::Why;
use crate::fault::{Fault, HandoverRefused};
use keyferry_parsers::messages::Reason;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// Whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// This terminal or its configuration.
    Terminal,
    /// The gateway's policy says no.
    Policy,
    /// The peer misbehaved, does not fit, or cannot be reached.
    Peer,
    /// The gateway does not answer or cannot serve.
    Gateway,
    /// The connection ended without close_notify: data may be missing.
    Truncated,
}

impl Blame {
    /// 2 terminal or policy, 3 peer, 4 gateway, 5 truncated.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Terminal | Self::Policy => 2,
            Self::Peer => 3,
            Self::Gateway => 4,
            Self::Truncated => 5,
        }
    }

    fn of(reason: Reason) -> Self {
        match (reason.0 / 100, reason) {
            (1, _) => Self::Terminal,
            (2 | 3, _) | (5, Reason::NAME_NOT_FOUND | Reason::PEER_UNREACHABLE | Reason::PEER_REFUSED) => Self::Peer,
            (4, _) => Self::Policy,
            _ => Self::Gateway,
        }
    }
}

/// Why the agent cannot do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentError {
    /// Whose fault it was.
    pub blame: Blame,
    /// The number that the gateway gave for it, see [`Reason`].
    pub reason: Option<u16>,
    /// What happened and what to change.
    pub message: String,
}

impl AgentError {
    pub(super) fn new(blame: Blame, message: impl Into<String>) -> Self {
        Self { blame, reason: None, message: message.into() }
    }

    /// The gateway's reason, if it gave one.
    pub fn reason(&self) -> Option<Reason> {
        self.reason.map(Reason)
    }

    /// From an error of an [`AgentStream`](super::AgentStream): TCP's own errors are an abrupt end.
    pub fn from_stream(error: io::Error) -> Self {
        let message = error.to_string();
        let inner = error.into_inner().and_then(|inner| inner.downcast::<Self>().ok());
        inner.map_or_else(
            || Self::new(Blame::Truncated, format!("the connection to the peer broke off: {message}")),
            |error| *error,
        )
    }

    pub(super) fn into_io(self, kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, self)
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AgentError {}

impl From<Why> for AgentError {
    fn from(why: Why) -> Self {
        let (blame, reason) = match &why {
            Why::Failure(failure) => (Blame::of(failure.reason), Some(failure.reason.0)),
            Why::TooMany | Why::AlreadyListening => (Blame::Terminal, None),
            Why::PeerSilent | Why::PeerOversized => (Blame::Peer, None),
            Why::UnusableKeys(reason) => (Blame::Gateway, Some(reason.0)),
            Why::GatewaySilent | Why::KeysLate | Why::BadAnswer(_) | Why::WrongAddress | Why::Channel(_) => {
                (Blame::Gateway, None)
            }
        };
        Self { blame, reason, message: why.to_string() }
    }
}

impl From<HandoverRefused> for AgentError {
    fn from(refused: HandoverRefused) -> Self {
        Self::new(Blame::Gateway, refused.to_string())
    }
}

impl From<Fault> for AgentError {
    fn from(fault: Fault) -> Self {
        let blame = match fault {
            Fault::SessionExpired | Fault::KeyExhausted => Blame::Policy,
            Fault::Closed => Blame::Terminal,
            _ => Blame::Peer,
        };
        Self::new(blame, fault.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_exit_code() {
        let codes = |reason: Reason| Blame::of(reason).exit_code();
        assert_eq!(codes(Reason::SOURCE_PORT_IN_USE), 2);
        assert_eq!(codes(Reason::FORBIDDEN_PORT), 2);
        assert_eq!(codes(Reason::PEER_ALERT), 3);
        assert_eq!(codes(Reason::CERTIFICATE_EXPIRED), 3);
        assert_eq!(codes(Reason::PEER_REFUSED), 3);
        assert_eq!(codes(Reason::OVERLOADED), 4);
        assert_eq!(codes(Reason(999)), 4);
    }
}
