//! Why a session does not begin, why one ends, and the alert that tells the peer (RFC 8446 section 6, RFC 5246 section 7.2).

use core::fmt;
use keyferry_parsers::tls::{AlertDescription, CipherSuite, ProtocolVersion};

/// Why a session refuses to go on. All but `Closed` are final for both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A record was altered on the way, or made with another key.
    BadRecordMac,
    /// A record longer than its version of TLS allows.
    RecordOverflow,
    /// A message that TLS does not allow here; the text says which.
    UnexpectedMessage(&'static str),
    /// A message that cannot be parsed; the text says which.
    DecodeError(&'static str),
    /// A value that TLS does not allow; the text says which.
    IllegalParameter(&'static str),
    /// A record of another version of TLS.
    ProtocolVersion,
    /// The peer gave up and said why.
    PeerAlert(AlertDescription),
    /// The session's lifetime, set by the gateway's policy, is over: ask the gateway for a new one.
    SessionExpired,
    /// We have closed our direction: nothing more can be sent.
    Closed,
    /// A key has protected as much as it may and cannot be renewed: ask the gateway for a new session.
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
            Self::ProtocolVersion => Some(AlertDescription::PROTOCOL_VERSION),
            // Nothing went wrong: the lifetime ends as any stream does (RFC 8446 section 6.1).
            Self::SessionExpired | Self::KeyExhausted => Some(AlertDescription::CLOSE_NOTIFY),
            Self::PeerAlert(_) | Self::Closed => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRecordMac => f.write_str("a record from the peer was altered on the way or made with other keys"),
            Self::RecordOverflow => f.write_str("the peer sent a record longer than TLS allows"),
            Self::UnexpectedMessage(what) => write!(f, "the peer sent what TLS does not allow here: {what}"),
            Self::DecodeError(what) => write!(f, "the peer sent a message that cannot be read: {what}"),
            Self::IllegalParameter(what) => write!(f, "the peer sent a value that TLS forbids: {what}"),
            Self::ProtocolVersion => f.write_str("the peer sent a record of another version of TLS than was agreed"),
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

/// Why a hand-over is not accepted. Nothing was sent or opened with its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoverRefused {
    /// Neither TLS 1.3 nor TLS 1.2, or not the one that was asked.
    Version(ProtocolVersion),
    /// Not a suite of this terminal.
    Suite(CipherSuite),
    /// Secrets that do not have the length that suite and version ask for.
    SecretLength,
    /// Limits that leave no room for a single record, or that are already reached.
    Limits,
}

impl fmt::Display for HandoverRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the gateway's fault: it handed over ")?;
        match self {
            Self::Version(version) => write!(f, "keys of {version}, which this terminal does not speak"),
            Self::Suite(suite) => write!(f, "keys for {suite}, which this terminal cannot use"),
            Self::SecretLength => f.write_str("secrets of another length than the suite's"),
            Self::Limits => f.write_str("limits that leave no room for one record"),
        }
    }
}

impl core::error::Error for HandoverRefused {}
