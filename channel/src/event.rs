//! What goes into an [`Endpoint`](crate::Endpoint) and what comes out. Payloads are secrets: `Debug` shows their length.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use crate::{Code, Instant, Method};

/// The caller's number for a request it makes. The channel only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The channel's number for a request it received, to be named in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

/// Something that happened outside.
pub enum Input<'a> {
    /// A UDP datagram arrived.
    Datagram {
        /// Its payload.
        bytes: &'a [u8],
        /// It came from another address than the last [`Event::Heard`]: a request must then show by Echo (RFC 9175) that
        /// whoever is there can receive.
        path_is_new: bool,
    },
    /// Send a request. Up to 8 are in flight; up to 64 wait.
    Request {
        /// Named again in [`Event::Response`] or [`Event::Failed`]; exactly one of the two follows.
        id: RequestId,
        /// GET, POST, PUT or DELETE.
        code: Method,
        /// Segments, such as `["kf", "connect"]`.
        path: &'a [&'a str],
        /// At most 32 KiB; more than 1024 bytes travel block-wise.
        payload: Zeroizing<Vec<u8>>,
        /// It carries session keys: it counts against the epoch, and may make the key advance first.
        handover: bool,
    },
    /// Answer a request that an [`Event::Request`] reported.
    Respond {
        /// From the event.
        exchange: ExchangeId,
        /// The response code.
        code: Code,
        /// At most 32 KiB; more than 1024 bytes travel block-wise.
        payload: Zeroizing<Vec<u8>>,
    },
    /// Forget a request; [`Event::Failed`] follows with [`Failure::Cancelled`]. The peer may have served it.
    Cancel {
        /// The request's number.
        id: RequestId,
    },
    /// Start the next epoch with the next request, as soon as the present one is confirmed.
    Advance,
    /// The moment named by [`Output::Timeout`] has come.
    Timeout,
}

/// Something to do outside. Drain until `Timeout`, also after an error.
pub enum Output {
    /// An encoded [`State`](crate::State). It MUST be durable before any later output of this endpoint is acted upon.
    Persist(Zeroizing<Vec<u8>>),
    /// A datagram for the peer.
    Transmit(Vec<u8>),
    /// News for the caller.
    Event(Event),
    /// Nothing more to do until that moment (`None`: until the next input), and what will happen then.
    Timeout(Option<Instant>, &'static str),
}

/// News for the caller.
pub enum Event {
    /// The peer asks. Answer with [`Input::Respond`] within 60 s; after 1 s the peer gets an empty acknowledgement.
    Request {
        /// Name it in the answer.
        exchange: ExchangeId,
        /// The request method; unknown ones get here too.
        code: Method,
        /// As in `/kf/connect`.
        path: String,
        /// The whole body, block-wise or not.
        payload: Zeroizing<Vec<u8>>,
    },
    /// The peer answered.
    Response {
        /// The request's number.
        id: RequestId,
        /// The response code, error codes included.
        code: Code,
        /// The whole body, block-wise or not.
        payload: Zeroizing<Vec<u8>>,
    },
    /// No answer will come. The peer may have served the request nevertheless.
    Failed {
        /// The request's number.
        id: RequestId,
        /// What went wrong.
        why: Failure,
    },
    /// A datagram proved authentic and fresh: its source is the peer's address.
    Heard,
    /// A later epoch began, by our doing or the peer's.
    Advanced {
        /// Its number.
        epoch: u32,
    },
}

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No acknowledgement after four retransmissions, or no answer 60 s after one.
    TimedOut,
    /// By [`Input::Cancel`].
    Cancelled,
    /// The answer is longer than 32 KiB.
    TooLarge,
    /// The peer's block-wise transfer broke the rules of RFC 7959.
    Malformed,
    /// A hand-over had to wait for the peer to be heard under the present epoch, and it was not.
    PeerSilent,
    /// The epoch it was sent under is gone: the peer went on. Asking again is safe only for what may be done twice.
    EpochPassed,
    /// Another long answer was being assembled.
    Overloaded,
    /// All 2^40 sequence numbers are used; the terminal needs a new key.
    Exhausted,
}

/// Why an input had no effect, or only the one named. For counting; nothing of it goes to the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    /// Not CoAP, or an OSCORE option against RFC 8613 section 6.1, or a request that names no epoch.
    Malformed,
    /// CoAP without OSCORE.
    NotOscore,
    /// Under another sender id than the peer's.
    UnknownKid,
    /// Wrong key, or altered on the way.
    NotAuthentic,
    /// Seen before.
    Replayed,
    /// More than 8 epochs ahead: one of the two sides runs on an old copy of its state.
    EpochTooFar,
    /// Under an epoch that has been erased.
    EpochPassed,
    /// Authentic, but its freshness or its path had to be shown by Echo first; the challenge is sent.
    EchoRequired,
    /// Answers or acknowledges nothing that we sent, or names a request or exchange that is not open.
    Unmatched,
    /// Too much under way: 16 open exchanges from the peer, or 64 waiting requests to it.
    Overloaded,
    /// The peer has not been heard under the present epoch and its hand-overs are used up.
    PeerSilent,
    /// The payload is longer than 32 KiB, or the path than 64 bytes.
    TooLarge,
    /// All 2^40 sequence numbers are used; the terminal needs a new key.
    Exhausted,
}

impl Refused {
    /// The cause in plain words, as `Display` shows it; fixed texts, so that counting a stranger allocates nothing.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Malformed => "malformed message",
            Self::NotOscore => "CoAP without OSCORE",
            Self::UnknownKid => "unknown sender id",
            Self::NotAuthentic => "wrong key or altered message",
            Self::Replayed => "replayed message",
            Self::EpochTooFar => "epoch too far ahead: one side runs on an old copy of its state",
            Self::EpochPassed => "epoch already erased",
            Self::EchoRequired => "freshness not shown yet: challenged with Echo",
            Self::Unmatched => "belongs to no open exchange",
            Self::Overloaded => "too many exchanges under way",
            Self::PeerSilent => "peer not heard since the key advanced",
            Self::TooLarge => "message too long",
            Self::Exhausted => "sequence numbers used up: the terminal needs a new key",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Refused {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "no answer in time",
            Self::Cancelled => "cancelled",
            Self::TooLarge => "answer too long",
            Self::Malformed => "peer broke the block-wise transfer",
            Self::PeerSilent => "peer not heard since the key advanced",
            Self::EpochPassed => "the key advanced twice before the answer came",
            Self::Overloaded => "another long answer was under way",
            Self::Exhausted => "sequence numbers used up: the terminal needs a new key",
        })
    }
}

impl core::error::Error for Failure {}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Persist(_) => f.write_str("Persist"),
            Self::Transmit(datagram) => write!(f, "Transmit({} bytes)", datagram.len()),
            Self::Event(event) => event.fmt(f),
            Self::Timeout(at, why) => write!(f, "Timeout({at:?}, {why})"),
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { exchange, code, path, payload } => {
                write!(f, "Request({exchange:?}, {code:?} {path}, {} bytes)", payload.len())
            }
            Self::Response { id, code, payload } => write!(f, "Response({id:?}, {code:?}, {} bytes)", payload.len()),
            Self::Failed { id, why } => write!(f, "Failed({id:?}, {why})"),
            Self::Heard => f.write_str("Heard"),
            Self::Advanced { epoch } => write!(f, "Advanced({epoch})"),
        }
    }
}
