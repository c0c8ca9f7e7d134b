//! The Fragment payload that Cisco and Microsoft use: a piece of a message that was too long for a datagram. It was never
//! standardised.

use alloc::vec::Vec;

use crate::ParseError;
use crate::ike::wire::Reader;

/// A piece of a message, which begins with its ISAKMP header in the first piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The same in all pieces of a message.
    pub fragment_id: u16,
    /// Counts the pieces from 1.
    pub fragment_number: u8,
    /// Flags; those without a meaning are kept.
    pub flags: u8,
    /// The piece.
    pub data: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// The flag of the last piece.
    pub const LAST: u8 = 1;

    /// Whether it is the last piece.
    pub const fn is_last(&self) -> bool {
        self.flags & Self::LAST != 0
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let fragment_id = reader.u16("Fragment.fragment_id")?;
        let fragment_number = reader.u8("Fragment.fragment_number")?;
        let flags = reader.u8("Fragment.flags")?;
        Ok(Self { fragment_id, fragment_number, flags, data: reader.rest() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.fragment_id.to_be_bytes());
        out.extend_from_slice(&[self.fragment_number, self.flags]);
        out.extend_from_slice(self.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::v1::Body;
    use crate::ike::v1::checks::survives;

    #[test]
    fn fragments_survive() {
        let fragment = Fragment { fragment_id: 0x0102, fragment_number: 3, flags: Fragment::LAST, data: b"piece" };
        assert!(fragment.is_last());
        survives(Body::Fragment(fragment));
    }
}
