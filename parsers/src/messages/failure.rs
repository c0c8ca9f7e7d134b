//! `failure`: why something was refused or broke off; the body of error answers and of a pushed failed session.

use alloc::{string::String, vec::Vec};

use zeroize::Zeroizing;

use super::cbor::{Fields, MapWriter};
use super::{KxAnswer, MessageError, Reason, SessionId};

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The session, where the gateway had given it a number.
    pub session: Option<SessionId>,
    /// Whose fault it was and which.
    pub reason: Reason,
    /// What to change, for the person who reads the log; cut at 512 bytes.
    pub detail: Option<String>,
    /// Assisted mode: bytes that the terminal still gives the peer before it closes: what an answer would have had for it,
    /// and an alert. Up to [`Self::MAX_LAST_WORDS`]; longer ones are left out.
    pub last_words: Vec<u8>,
}

impl Failure {
    /// The most bytes that `detail` may have.
    pub const MAX_DETAIL: usize = 512;
    /// The most bytes that `last_words` may have.
    pub const MAX_LAST_WORDS: usize = KxAnswer::MAX_SEND;

    /// The payload of the answer or push.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut map = MapWriter::with_capacity(32);
        if let Some(session) = self.session {
            map.uint(1, session.0);
        }
        map.uint(14, self.reason.0);
        if let Some(detail) = &self.detail {
            // A text that is cut still says more than a failure that cannot be read.
            let end = detail.floor_char_boundary(Self::MAX_DETAIL);
            map.text(15, detail.get(..end).unwrap_or_default());
        }
        if (1..=Self::MAX_LAST_WORDS).contains(&self.last_words.len()) {
            map.bytes(17, &self.last_words);
        }
        map.finish()
    }

    /// Reads the payload of an error answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        Self::from_fields(&Fields::parse("failure", bytes)?)
    }

    pub(super) fn from_fields(fields: &Fields<'_>) -> Result<Self, MessageError> {
        Ok(Self {
            session: fields.optional(1, "session").map(|mut value| value.uint().map(SessionId)).transpose()?,
            reason: Reason(fields.required(14, "reason")?.uint()?),
            detail: fields.optional(15, "detail").map(|mut value| value.text(0..=Self::MAX_DETAIL)).transpose()?,
            last_words: match fields.optional(17, "last words") {
                Some(mut value) => value.bytes(0..=Self::MAX_LAST_WORDS)?.to_vec(),
                None => Vec::new(),
            },
        })
    }
}
