//! OSCORE (RFC 8613) with AES-CCM-16-64-128 and HKDF-SHA-256: the option, the security context, and the protection of
//! requests and responses. Which context belongs to a message is decided in [`crate::epoch`].

use core::fmt;

use crate::coap::{Code, Message, OptionNumber};
use crate::short::Short;

mod context;
mod option;
mod protect;
#[cfg(test)]
mod tests;

pub(crate) use context::{Context, ContextIds};
pub(crate) use option::{OscoreOption, PartialIv, minimal};
pub(crate) use protect::Outer;

/// A sender or recipient id: 1 to 7 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Short<7>);

/// An id must have 1 to 7 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdLength;

impl Id {
    /// The bytes, 1 to 7.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(crate) fn short(self) -> Short<7> {
        self.0
    }
}

impl TryFrom<&[u8]> for Id {
    type Error = IdLength;

    fn try_from(bytes: &[u8]) -> Result<Self, IdLength> {
        if bytes.is_empty() {
            return Err(IdLength);
        }
        Short::new(bytes).map(Self).ok_or(IdLength)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for IdLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a channel id has 1 to 7 bytes")
    }
}

impl core::error::Error for IdLength {}

/// What a datagram says about itself before any key is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek<'a> {
    /// The sender id; requests carry it.
    pub kid: Option<&'a [u8]>,
    /// The epoch, big-endian without leading zeros; requests carry it.
    pub kid_context: Option<&'a [u8]>,
    /// A request, to be dispatched by `kid`. Everything else belongs to whom its source address belongs.
    pub is_request: bool,
    /// An acknowledgement or reset without content.
    pub is_empty: bool,
}

/// A cheap look at a datagram, so that a gateway finds the endpoint. `None`: not for any endpoint. Allocates nothing.
pub fn peek(bytes: &[u8]) -> Option<Peek<'_>> {
    let message = Message::parse(bytes).ok()?;
    if message.code == Code::EMPTY {
        return Some(Peek { kid: None, kid_context: None, is_request: false, is_empty: true });
    }
    let option = OscoreOption::parse(message.options.find(OptionNumber::OSCORE)?)?;
    let is_request = message.code.is_request();
    Some(Peek { kid: option.kid, kid_context: option.kid_context, is_request, is_empty: false })
}
