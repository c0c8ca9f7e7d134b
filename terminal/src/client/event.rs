//! What goes into a [`Terminal`](super::Terminal) and what comes out.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use keyferry_channel::{Instant, Refused, RequestId};
use keyferry_parsers::messages::{Connect, ConnectAnswer, Echo, Failure, Handover, MessageError, Reason};
use zeroize::Zeroizing;

/// Something that happened outside. Ids are the caller's, each used once.
pub enum Input<'a> {
    /// A UDP datagram arrived from the gateway.
    Datagram(&'a [u8]),
    /// Ask for a session. Ends in [`Event::Session`] or [`Event::Failed`], with [`Event::Offer`] before.
    Connect {
        /// Named again in every event about it.
        id: RequestId,
        /// Whom to reach, and from which port.
        request: Connect,
    },
    /// TCP was opened without asking, as the gateway's policy allows for this peer: wait for the keys.
    Expect {
        /// Named again in every event about it.
        id: RequestId,
        /// This end of the connection.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
    },
    /// Ask the gateway to send something back: is it there, do we still share a key?
    Echo {
        /// Named again in [`Event::Echoed`].
        id: RequestId,
        /// What comes back.
        echo: Echo,
    },
    /// Forget a request; no event about it follows, and keys that still come for it are refused.
    Cancel {
        /// The request's number.
        id: RequestId,
    },
    /// The moment named by [`Output::Timeout`] has come.
    Timeout,
}

/// Something to do outside. Drain until `Timeout`, also after an error.
pub enum Output {
    /// The channel's encoded state. It MUST be durable before any later output is acted upon.
    Persist(Zeroizing<Vec<u8>>),
    /// A datagram for the gateway.
    Transmit(Vec<u8>),
    /// News for the caller.
    Event(Event),
    /// Nothing more to do until that moment (`None`: until the next input), and what will happen then.
    Timeout(Option<Instant>, &'static str),
}

/// News for the caller.
pub enum Event {
    /// The gateway consents: open TCP to `answer.address` now, from the port that the request named.
    Offer {
        /// The request's number.
        id: RequestId,
        /// The pinned address and how long the offer stands.
        answer: ConnectAnswer,
    },
    /// The keys. Checked: they answer this request, belong to its connection and can be used.
    Session {
        /// The request's number.
        id: RequestId,
        /// For [`Session::new`](crate::tls13::Session::new).
        handover: Box<Handover>,
    },
    /// The echo came back.
    Echoed {
        /// The request's number.
        id: RequestId,
    },
    /// There will be no session, or no echo.
    Failed {
        /// The request's number.
        id: RequestId,
        /// Whose fault it is and what to change.
        why: Why,
    },
    /// The channel's key advanced.
    Advanced {
        /// The epoch's number.
        epoch: u32,
    },
}

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The gateway refused, or the session failed between it and the peer.
    Failure(Failure),
    /// The gateway did not answer within [`ANSWER_DEADLINE`](super::ANSWER_DEADLINE).
    GatewaySilent,
    /// The gateway consented, and then neither keys nor a reason came.
    KeysLate,
    /// The gateway sent keys that belong to another connection or that were not asked for.
    UnusableKeys(Reason),
    /// The gateway's answer makes no sense.
    BadAnswer(MessageError),
    /// The gateway's answer names another address than the one asked for.
    WrongAddress,
    /// This terminal has as many requests under way as it can hold.
    TooMany,
    /// The channel cannot carry the request.
    Channel(Refused),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure(failure) => fmt_failure(failure, f),
            Self::GatewaySilent => f.write_str(
                "the gateway does not answer: check its address, that it runs, and that this terminal is enrolled there",
            ),
            Self::KeysLate => f.write_str(
                "the gateway consented and then sent no keys: was TCP opened through it, from the announced port?",
            ),
            Self::UnusableKeys(reason) => {
                write!(f, "the gateway's fault: it sent keys that do not fit the request ({reason})")
            }
            Self::BadAnswer(error) => write!(f, "the gateway's fault: its answer cannot be read ({error})"),
            Self::WrongAddress => f.write_str("the gateway's fault: it offers another address than the one asked for"),
            Self::TooMany => f.write_str("too many requests under way in this terminal: wait for some to end"),
            Self::Channel(refused) => write!(f, "the channel to the gateway cannot carry the request: {refused}"),
        }
    }
}

impl core::error::Error for Why {}

fn fmt_failure(failure: &Failure, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let whose = match failure.reason.0 / 100 {
        1 => "this terminal's fault",
        2 => "the peer's fault",
        3 => "the peer does not fit",
        4 => "the gateway's policy forbids it",
        _ => "the gateway or the path failed",
    };
    write!(f, "{whose}: {}", failure.reason)?;
    match &failure.detail {
        Some(detail) => write!(f, " ({detail})"),
        None => Ok(()),
    }
}
