//! CoAP messages (RFC 7252 section 3): the outer [`Message`] of a datagram and the [`Content`] that OSCORE encrypts, which
//! is the same without header and token. Bytes in, borrowed views out; nothing is kept.

use alloc::vec::Vec;
use core::fmt;

use crate::short::Short;

/// A whole datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Confirmable, non-confirmable, acknowledgement or reset.
    pub kind: Kind,
    /// Method, response code, or [`Code::EMPTY`].
    pub code: Code,
    /// Matches acknowledgements to messages.
    pub message_id: u16,
    /// Matches responses to requests.
    pub token: Token,
    /// The options, in order.
    pub options: Options<'a>,
    /// What follows the payload marker; empty if there is none.
    pub payload: &'a [u8],
}

/// Code, options and payload: what OSCORE encrypts (RFC 8613 section 5.3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Content<'a> {
    /// Method or response code.
    pub code: Code,
    /// The options, in order.
    pub options: Options<'a>,
    /// What follows the payload marker; empty if there is none.
    pub payload: &'a [u8],
}

/// 0 to 8 bytes chosen by the client.
pub type Token = Short<8>;

/// The message breaks RFC 7252 section 3; the text names the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl<'a> Message<'a> {
    /// Reads a datagram; every byte must be accounted for.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let Some((&[first, code, high, low], rest)) = bytes.split_first_chunk() else {
            return Err(Malformed("shorter than a header"));
        };
        if first >> 6 != VERSION {
            return Err(Malformed("unknown version"));
        }
        let (token, rest) = rest.split_at_checked(usize::from(first & 0x0f)).ok_or(Malformed("token cut off"))?;
        let token = Token::new(token).ok_or(Malformed("token longer than 8 bytes"))?;
        let code = Code(code);
        if code == Code::EMPTY && bytes.len() != 4 {
            return Err(Malformed("empty message with content"));
        }
        let (options, payload) = Options::parse(rest)?;
        let kind = Kind::from_bits(first >> 4);
        Ok(Self { kind, code, message_id: u16::from_be_bytes([high, low]), token, options, payload })
    }

    /// Appends the datagram.
    pub fn emit(&self, out: &mut Vec<u8>) {
        emit_header(out, self.kind, self.code, self.message_id, &self.token);
        out.extend_from_slice(self.options.0);
        emit_payload(out, self.payload);
    }
}

impl<'a> Content<'a> {
    /// Reads what OSCORE decrypted; every byte must be accounted for.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (&code, rest) = bytes.split_first().ok_or(Malformed("no code"))?;
        let (options, payload) = Options::parse(rest)?;
        Ok(Self { code: Code(code), options, payload })
    }

    /// Appends code, options and payload.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.code.0);
        out.extend_from_slice(self.options.0);
        emit_payload(out, self.payload);
    }
}

/// Header and token; options and payload follow.
pub(crate) fn emit_header(out: &mut Vec<u8>, kind: Kind, code: Code, message_id: u16, token: &Token) {
    let token = token.as_bytes();
    out.push(VERSION << 6 | kind.bits() << 4 | token.len() as u8);
    out.push(code.0);
    out.extend_from_slice(&message_id.to_be_bytes());
    out.extend_from_slice(token);
}

/// The payload marker and the payload, if there is one.
pub(crate) fn emit_payload(out: &mut Vec<u8>, payload: &[u8]) {
    if !payload.is_empty() {
        out.push(PAYLOAD_MARKER);
        out.extend_from_slice(payload);
    }
}

/// Encoded options, checked when made: iterating cannot fail.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// Splits options from payload and checks every delta and length.
    fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let (mut rest, mut number) = (bytes, 0);
        loop {
            match rest.split_first() {
                None => return Ok((Self(bytes), &[])),
                Some((&PAYLOAD_MARKER, [])) => return Err(Malformed("payload marker without payload")),
                Some((&PAYLOAD_MARKER, payload)) => {
                    let length = bytes.len().saturating_sub(rest.len());
                    return Ok((Self(bytes.get(..length).unwrap_or_default()), payload));
                }
                Some(_) => (number, _, rest) = split_option(number, rest)?,
            }
        }
    }

    /// Every option, in order of its number.
    pub fn iter(&self) -> impl Iterator<Item = (OptionNumber, &'a [u8])> {
        let (mut rest, mut number) = (self.0, 0);
        core::iter::from_fn(move || {
            let value;
            (number, value, rest) = split_option(number, rest).ok()?;
            Some((OptionNumber(number), value))
        })
    }

    /// The first option with this number.
    pub fn find(&self, number: OptionNumber) -> Option<&'a [u8]> {
        self.iter().find_map(|(found, value)| (found == number).then_some(value))
    }

    /// Refuses what RFC 7252 section 5.4 says must not be ignored: a critical option that is not in `known`, and a second
    /// instance of one that may occur once.
    pub fn check(&self, known: &[OptionNumber]) -> Result<(), OptionNumber> {
        let mut last = None;
        for (number, _) in self.iter() {
            let repeated = last == Some(number) && !number.is_repeatable();
            if number.is_critical() && (repeated || !known.contains(&number)) {
                return Err(number);
            }
            last = Some(number);
        }
        Ok(())
    }
}

/// Number, value and what follows the first option of `bytes`; `bytes` is not empty and not at the payload marker.
fn split_option(previous: u16, bytes: &[u8]) -> Result<(u16, &[u8], &[u8]), Malformed> {
    let (&head, rest) = bytes.split_first().ok_or(Malformed("no option"))?;
    let (delta, rest) = split_extended(head >> 4, rest)?;
    let (length, rest) = split_extended(head & 0x0f, rest)?;
    let number = previous.checked_add(delta).ok_or(Malformed("option number above 65535"))?;
    let (value, rest) = rest.split_at_checked(usize::from(length)).ok_or(Malformed("option cut off"))?;
    Ok((number, value, rest))
}

/// A delta or length: four bits, or one or two bytes more (RFC 7252 section 3.1).
fn split_extended(nibble: u8, bytes: &[u8]) -> Result<(u16, &[u8]), Malformed> {
    match (nibble, bytes) {
        (0..=12, _) => Ok((nibble.into(), bytes)),
        (13, [byte, rest @ ..]) => Ok((u16::from(*byte).saturating_add(13), rest)),
        (14, [high, low, rest @ ..]) => {
            let value = u16::from_be_bytes([*high, *low]).checked_add(269);
            Ok((value.ok_or(Malformed("option delta or length above 65535"))?, rest))
        }
        (15, _) => Err(Malformed("reserved option delta or length")),
        _ => Err(Malformed("option cut off")),
    }
}

/// Appends options. Numbers must not descend: the caller names them in order.
pub struct OptionWriter<'a> {
    out: &'a mut Vec<u8>,
    last: u16,
}

impl<'a> OptionWriter<'a> {
    /// Starts a list of options at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, last: 0 }
    }

    /// Appends one option.
    pub fn push(&mut self, number: OptionNumber, value: &[u8]) -> &mut Self {
        debug_assert!(number.0 >= self.last, "options out of order");
        debug_assert!(value.len() <= 0xffff, "option too long");
        let (delta, delta_more) = extended(number.0.saturating_sub(self.last));
        let (length, length_more) = extended(value.len() as u16);
        self.out.push(delta << 4 | length);
        self.out.extend_from_slice(delta_more.as_bytes());
        self.out.extend_from_slice(length_more.as_bytes());
        self.out.extend_from_slice(value);
        self.last = number.0;
        self
    }

    /// Appends an option whose value is an unsigned integer: no leading zero bytes, zero is empty (RFC 7252 section 3.2).
    pub fn push_uint(&mut self, number: OptionNumber, value: u32) -> &mut Self {
        let bytes = value.to_be_bytes();
        let skip = (value.leading_zeros() / 8) as usize;
        self.push(number, bytes.get(skip..).unwrap_or_default())
    }
}

fn extended(value: u16) -> (u8, Short<2>) {
    match value {
        0..=12 => (value as u8, Short::EMPTY),
        13..=268 => (13, Short::new(&[(value - 13) as u8]).unwrap_or(Short::EMPTY)),
        269.. => (14, Short::new(&(value - 269).to_be_bytes()).unwrap_or(Short::EMPTY)),
    }
}

/// Whether and how a message is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// CON: retransmitted until acknowledged.
    Confirmable,
    /// NON: sent once.
    NonConfirmable,
    /// ACK.
    Acknowledgement,
    /// RST.
    Reset,
}

impl Kind {
    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Confirmable,
            1 => Self::NonConfirmable,
            2 => Self::Acknowledgement,
            _ => Self::Reset,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Confirmable => 0,
            Self::NonConfirmable => 1,
            Self::Acknowledgement => 2,
            Self::Reset => 3,
        }
    }
}

/// A code byte: class in the upper three bits, detail in the lower five.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u8);

#[allow(missing_docs, reason = "the names are RFC 7252's")]
impl Code {
    pub const EMPTY: Self = Self(0);
    pub const CREATED: Self = Self::new(2, 1);
    pub const DELETED: Self = Self::new(2, 2);
    pub const VALID: Self = Self::new(2, 3);
    pub const CHANGED: Self = Self::new(2, 4);
    pub const CONTENT: Self = Self::new(2, 5);
    pub const CONTINUE: Self = Self::new(2, 31);
    pub const BAD_REQUEST: Self = Self::new(4, 0);
    pub const UNAUTHORIZED: Self = Self::new(4, 1);
    pub const BAD_OPTION: Self = Self::new(4, 2);
    pub const FORBIDDEN: Self = Self::new(4, 3);
    pub const NOT_FOUND: Self = Self::new(4, 4);
    pub const METHOD_NOT_ALLOWED: Self = Self::new(4, 5);
    pub const REQUEST_ENTITY_INCOMPLETE: Self = Self::new(4, 8);
    pub const CONFLICT: Self = Self::new(4, 9);
    pub const REQUEST_ENTITY_TOO_LARGE: Self = Self::new(4, 13);
    pub const UNPROCESSABLE_ENTITY: Self = Self::new(4, 22);
    pub const TOO_MANY_REQUESTS: Self = Self::new(4, 29);
    pub const INTERNAL_SERVER_ERROR: Self = Self::new(5, 0);
    pub const NOT_IMPLEMENTED: Self = Self::new(5, 1);
    pub const BAD_GATEWAY: Self = Self::new(5, 2);
    pub const SERVICE_UNAVAILABLE: Self = Self::new(5, 3);
    pub const GATEWAY_TIMEOUT: Self = Self::new(5, 4);
}

impl Code {
    /// The code written `class.detail`.
    pub const fn new(class: u8, detail: u8) -> Self {
        Self(class << 5 | detail & 0x1f)
    }

    /// 0 for methods, 2 for success, 4 and 5 for errors.
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// Class 2.
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }

    pub(crate) const fn is_request(self) -> bool {
        self.class() == 0 && self.0 != 0
    }

    pub(crate) const fn is_response(self) -> bool {
        matches!(self.class(), 2 | 4 | 5)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.0 & 0x1f)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A request code (class 0).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(pub u8);

#[allow(missing_docs, reason = "the names are RFC 7252's")]
impl Method {
    pub const GET: Self = Self(1);
    pub const POST: Self = Self(2);
    pub const PUT: Self = Self(3);
    pub const DELETE: Self = Self(4);
}

impl From<Method> for Code {
    fn from(method: Method) -> Self {
        Self(method.0 & 0x1f)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::GET => f.write_str("GET"),
            Self::POST => f.write_str("POST"),
            Self::PUT => f.write_str("PUT"),
            Self::DELETE => f.write_str("DELETE"),
            Self(other) => write!(f, "0.{other:02}"),
        }
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An option's number (RFC 7252 section 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OptionNumber(pub u16);

#[allow(missing_docs, reason = "the names are those of the IANA registry")]
impl OptionNumber {
    pub const IF_MATCH: Self = Self(1);
    pub const URI_HOST: Self = Self(3);
    pub const ETAG: Self = Self(4);
    pub const URI_PORT: Self = Self(7);
    pub const LOCATION_PATH: Self = Self(8);
    pub const OSCORE: Self = Self(9);
    pub const URI_PATH: Self = Self(11);
    pub const CONTENT_FORMAT: Self = Self(12);
    pub const URI_QUERY: Self = Self(15);
    pub const LOCATION_QUERY: Self = Self(20);
    pub const BLOCK2: Self = Self(23);
    pub const BLOCK1: Self = Self(27);
    pub const ECHO: Self = Self(252);
    pub const REQUEST_TAG: Self = Self(292);
}

impl OptionNumber {
    /// A receiver that does not know it must refuse the message.
    pub const fn is_critical(self) -> bool {
        self.0 & 1 == 1
    }

    const fn is_repeatable(self) -> bool {
        matches!(
            self,
            Self::IF_MATCH
                | Self::ETAG
                | Self::LOCATION_PATH
                | Self::URI_PATH
                | Self::URI_QUERY
                | Self::LOCATION_QUERY
                | Self::REQUEST_TAG
        )
    }
}

const VERSION: u8 = 1;
const PAYLOAD_MARKER: u8 = 0xff;

#[cfg(test)]
mod tests;
