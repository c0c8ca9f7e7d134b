//! What can go wrong, and whose fault it was. Every layer below `cli` fails with [`Error`]; the
//! terminal reads its [`Reason`], the operator its text, the peer an alert chosen from it.

use std::borrow::Cow;
use std::fmt;

pub use keyferry_parsers::messages::Reason;

/// A failure that somebody can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}: {reason}: {detail}")]
pub struct Error {
    /// Who has to change something.
    pub fault: Fault,
    /// The stable code sent to the terminal and counted in the statistics.
    pub reason: Reason,
    /// What happened and what to change, in plain words and without secrets.
    pub detail: Cow<'static, str>,
}

/// Who has to change something so that it works next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The terminal asked for something wrong or did not keep to the protocol.
    TerminalMisbehaved,
    /// The peer broke its protocol.
    PeerMisbehaved,
    /// The peer is sound but shares too little with us, or could not prove who it is.
    PeerIncompatible,
    /// The operator's policy forbids it.
    Policy,
    /// The gateway or the network between it and the peer.
    Internal,
}

impl Error {
    /// A failure with the fault that belongs to `reason`.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { fault: Fault::of(reason), reason, detail: detail.into() }
    }
}

impl Fault {
    /// The fault is the hundreds digit of the reason code.
    pub fn of(reason: Reason) -> Self {
        match reason.0 / 100 {
            1 => Self::TerminalMisbehaved,
            2 => Self::PeerMisbehaved,
            3 => Self::PeerIncompatible,
            4 => Self::Policy,
            _ => Self::Internal,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TerminalMisbehaved => "terminal",
            Self::PeerMisbehaved => "peer misbehaved",
            Self::PeerIncompatible => "peer incompatible",
            Self::Policy => "policy",
            Self::Internal => "gateway",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_follows_from_the_reason() {
        assert_eq!(Fault::of(Reason::QUOTA), Fault::Policy);
        assert_eq!(Fault::of(Reason::CERTIFICATE_EXPIRED), Fault::PeerIncompatible);
        assert_eq!(Fault::of(Reason(999)), Fault::Internal);
    }
}
