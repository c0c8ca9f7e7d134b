//! Why a session ends, and the alert that tells the peer (RFC 8446 section 6).

use core::fmt;
use keyferry_parsers::tls::AlertDescription;

/// Why a session refuses to go on. All but `Closed` are final for both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A record was altered on the way, or made with another key.
    BadRecordMac,
    /// A record longer than RFC 8446 section 5.2 allows.
    RecordOverflow,
    /// A message that RFC 8446 does not allow here; the text says which.
    UnexpectedMessage(&'static str),
    /// A message that cannot be parsed; the text says which.
    DecodeError(&'static str),
    /// A value that RFC 8446 does not allow; the text says which.
    IllegalParameter(&'static str),
    /// The peer gave up and said why.
    PeerAlert(AlertDescription),
    /// The session's lifetime, set by the gateway's policy, is over: ask the gateway for a new one.
    SessionExpired,
    /// We have closed our direction: nothing more can be sent.
    Closed,
    /// A key can protect no further record and could not be renewed.
    KeyExhausted,
}

impl Fault {
    /// The alert that the peer is sent, if one is due.
    pub fn alert(self) -> Option<AlertDescription> {
        match self {
            Self::BadRecordMac => Some(AlertDescription::BAD_RECORD_MAC),
            Self::RecordOverflow => Some(AlertDescription::RECORD_OVERFLOW),
            Self::UnexpectedMessage(_) => Some(AlertDescription::UNEXPECTED_MESSAGE),
            Self::DecodeError(_) => Some(AlertDescription::DECODE_ERROR),
            Self::IllegalParameter(_) => Some(AlertDescription::ILLEGAL_PARAMETER),
            // Nothing went wrong: the lifetime ends as any stream does (RFC 8446 section 6.1).
            Self::SessionExpired => Some(AlertDescription::CLOSE_NOTIFY),
            Self::PeerAlert(_) | Self::Closed | Self::KeyExhausted => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRecordMac => f.write_str("a record from the peer was altered on the way or made with other keys"),
            Self::RecordOverflow => f.write_str("the peer sent a record longer than TLS 1.3 allows"),
            Self::UnexpectedMessage(what) => write!(f, "the peer sent what TLS 1.3 does not allow here: {what}"),
            Self::DecodeError(what) => write!(f, "the peer sent a message that cannot be read: {what}"),
            Self::IllegalParameter(what) => write!(f, "the peer sent a value that TLS 1.3 forbids: {what}"),
            Self::PeerAlert(alert) => write!(f, "the peer ended the session with the alert {alert}"),
            Self::SessionExpired => {
                f.write_str("the session is older than the gateway's policy allows; connect again for new keys")
            }
            Self::Closed => f.write_str("this end has closed the session; nothing more can be sent"),
            Self::KeyExhausted => f.write_str("the session's key is used up; connect again for new keys"),
        }
    }
}

impl core::error::Error for Fault {}
