//! One session of either version: what [`client::Terminal`](crate::client::Terminal) hands out keys for.

use crate::Instant;
use crate::fault::{Fault, HandoverRefused};
use crate::{tls12, tls13};
use alloc::vec::Vec;
use keyferry_parsers::messages::Handover;
use keyferry_parsers::tls::ProtocolVersion;

/// What came out of the peer's stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Plaintext, 1 to 16384 bytes, in place; erased at the next call.
    Data(&'a [u8]),
    /// The body of a NewSessionTicket, TLS 1.3 only, and only if the hand-over was `resumable`: for
    /// [`Input::Ticket`](crate::client::Input::Ticket), so that the gateway can resume.
    Ticket(Vec<u8>),
    /// The peer's close_notify: it sends nothing more, and nothing is missing. In TLS 1.3 we may still send.
    Closed,
}

/// A TLS connection whose handshake somebody else did: plaintext in, records out, and back.
///
/// Sans-IO. [`Session::open`] takes bytes of the TCP stream as they come and yields events in order;
/// [`Session::seal`] appends records. What the session has to say by itself (an answer, an alert) waits in
/// [`Session::drain`]: call it after every `open`.
pub enum Session {
    /// TLS 1.2.
    Tls12(tls12::Session),
    /// TLS 1.3.
    Tls13(tls13::Session),
}

impl Session {
    /// Bytes that a living session holds on the heap, beside its record buffer: TLS 1.3, where it is more.
    pub const HEAP: usize = tls13::Session::HEAP;

    /// Takes over at `now`, from which the session's lifetime counts.
    pub fn new(handover: Handover, now: Instant) -> Result<Self, HandoverRefused> {
        match handover.tls_version {
            ProtocolVersion::TLS_1_2 => tls12::Session::new(handover, now).map(Self::Tls12),
            _ => tls13::Session::new(handover, now).map(Self::Tls13),
        }
    }

    /// Would [`Session::new`] take this hand-over? A terminal asks before it tells the gateway yes.
    pub fn check(handover: &Handover) -> Result<(), HandoverRefused> {
        match handover.tls_version {
            ProtocolVersion::TLS_1_2 => tls12::Session::check(handover),
            _ => tls13::Session::check(handover),
        }
    }

    /// The version it speaks.
    pub fn version(&self) -> ProtocolVersion {
        match self {
            Self::Tls12(_) => ProtocolVersion::TLS_1_2,
            Self::Tls13(_) => ProtocolVersion::TLS_1_3,
        }
    }

    /// Encrypts `plaintext` into records of at most 16384 bytes, appended to `out`. On an error `out` may hold whole
    /// records, which must still be sent.
    pub fn seal(&mut self, now: Instant, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        match self {
            Self::Tls12(session) => session.seal(now, plaintext, out),
            Self::Tls13(session) => session.seal(now, plaintext, out),
        }
    }

    /// Takes bytes of the stream from `input` until an event is complete; `None`: all taken, more is needed.
    /// The hand-over's prefix goes first, so call it once with nothing before the first bytes arrive.
    pub fn open(&mut self, now: Instant, input: &mut &[u8]) -> Result<Option<Event<'_>>, Fault> {
        match self {
            Self::Tls12(session) => session.open(now, input),
            Self::Tls13(session) => session.open(now, input),
        }
    }

    /// Moves to `out` what the session itself has to send. Also after a fault: the alert is here.
    pub fn drain(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Tls12(session) => session.drain(out),
            Self::Tls13(session) => session.drain(out),
        }
    }

    /// Says close_notify: we send nothing more. A second call does nothing.
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        match self {
            Self::Tls12(session) => session.close(out),
            Self::Tls13(session) => session.close(out),
        }
    }

    /// Changes our sending key now (RFC 8446 section 4.6.3); `false`: TLS 1.2 cannot.
    pub fn key_update(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<bool, Fault> {
        match self {
            Self::Tls12(_) => Ok(false),
            Self::Tls13(session) => session.key_update(now, out).map(|()| true),
        }
    }

    /// When the lifetime given by the gateway's policy is over.
    pub fn expires(&self) -> Instant {
        match self {
            Self::Tls12(session) => session.expires(),
            Self::Tls13(session) => session.expires(),
        }
    }

    /// The peer has said close_notify. If TCP ends before that, the stream was truncated.
    pub fn is_closed_by_peer(&self) -> bool {
        match self {
            Self::Tls12(session) => session.is_closed_by_peer(),
            Self::Tls13(session) => session.is_closed_by_peer(),
        }
    }
}
