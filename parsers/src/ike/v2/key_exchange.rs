//! The Key Exchange payload (RFC 7296 section 3.4).

use alloc::vec::Vec;

use crate::ParseError;
use crate::ike::Group;
use crate::ike::wire::Reader;

/// A public value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyExchange<'a> {
    /// The key exchange method it is of.
    pub group: Group,
    /// Zero.
    pub reserved: u16,
    /// The value, in the method's own encoding.
    pub data: &'a [u8],
}

impl<'a> KeyExchange<'a> {
    /// A public value of that group.
    pub const fn new(group: Group, data: &'a [u8]) -> Self {
        Self { group, reserved: 0, data }
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let group = Group(reader.u16("KeyExchange.group")?);
        let reserved = reader.u16("KeyExchange.reserved")?;
        Ok(Self { group, reserved, data: reader.rest() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.group.0.to_be_bytes());
        out.extend_from_slice(&self.reserved.to_be_bytes());
        out.extend_from_slice(self.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::v2::Body;
    use crate::ike::v2::checks::survives;

    #[test]
    fn key_exchanges_survive() {
        survives(Body::KeyExchange(KeyExchange::new(Group::CURVE25519, &[7; 32])));
        survives(Body::KeyExchange(KeyExchange { group: Group(999), reserved: 0x0102, data: &[] }));
    }
}
