//! What is wrong with bytes that do not parse, or with a message that cannot be emitted.

use core::fmt;

/// Why bytes are not the message they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The field that was being read, in the words of the standard: `ClientHello.cipher_suites`.
    pub place: &'static str,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes end inside the field.
    Truncated,
    /// Bytes are left over after the last field.
    Leftover,
    /// The field is shorter than the standard allows.
    TooShort,
    /// The field is longer than the standard allows, or than this parser accepts.
    TooLong,
    /// The field has a value that the standard does not allow here.
    Illegal,
    /// The same item appears twice where it may appear once.
    Duplicate,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            Fault::Truncated => "ends too early",
            Fault::Leftover => "is followed by bytes that do not belong there",
            Fault::TooShort => "is too short",
            Fault::TooLong => "is too long",
            Fault::Illegal => "has an illegal value",
            Fault::Duplicate => "appears twice",
        };
        write!(f, "{} {fault}", self.place)
    }
}

impl core::error::Error for ParseError {}

/// A field of a message is longer than its length on the wire can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmitError {
    /// The field, in the words of the standard.
    pub place: &'static str,
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not fit its length field", self.place)
    }
}

impl core::error::Error for EmitError {}
