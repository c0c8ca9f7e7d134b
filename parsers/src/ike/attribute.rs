//! Data attributes (RFC 2408 section 3.3): a type, and a value either of two bytes or with a length in front. Transforms
//! of both versions have them, and the Attributes payload of IKEv1.

use alloc::vec::Vec;

use super::wire::{Reader, put_u16};
use crate::{EmitError, ParseError};

/// A data attribute. What its type means depends on where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The type, without the bit that tells the two forms apart.
    pub attribute_type: u16,
    /// The value, in the form that it has on the wire.
    pub value: AttributeValue<'a>,
}

/// A value in its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeValue<'a> {
    /// Type and value: two bytes, called basic.
    Tv(u16),
    /// Type, length and value: called variable.
    Tlv(&'a [u8]),
}

/// The attribute format bit: set, and the value is in the place of the length.
const FORMAT: u16 = 0x8000;

impl<'a> Attribute<'a> {
    /// An attribute of two bytes.
    pub const fn basic(attribute_type: u16, value: u16) -> Self {
        Self { attribute_type, value: AttributeValue::Tv(value) }
    }

    /// An attribute of any length.
    pub const fn variable(attribute_type: u16, value: &'a [u8]) -> Self {
        Self { attribute_type, value: AttributeValue::Tlv(value) }
    }

    /// The value as a number, whichever form it has; `None` if it is longer than eight bytes.
    pub fn number(&self) -> Option<u64> {
        match self.value {
            AttributeValue::Tv(value) => Some(value.into()),
            AttributeValue::Tlv(value) if value.len() <= 8 => {
                Some(value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
            }
            AttributeValue::Tlv(_) => None,
        }
    }

    /// The value as a number of two bytes, as most registries have it.
    pub fn short(&self) -> Option<u16> {
        self.number().and_then(|number| number.try_into().ok())
    }

    /// Reads attributes to the end of `bytes`, as RESPONDER-LIFETIME notifications have them, too.
    pub fn parse_all(bytes: &'a [u8]) -> Result<Vec<Self>, ParseError> {
        let mut reader = Reader::new(bytes);
        let mut attributes = Vec::new();
        while !reader.is_empty() {
            attributes.push(Self::parse(&mut reader)?);
        }
        Ok(attributes)
    }

    fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let format_and_type = reader.u16("Attribute.attribute_type")?;
        let length_or_value = reader.u16("Attribute.attribute_length")?;
        let attribute_type = format_and_type & !FORMAT;
        if format_and_type & FORMAT != 0 {
            return Ok(Self::basic(attribute_type, length_or_value));
        }
        Ok(Self::variable(attribute_type, reader.take("Attribute.attribute_value", length_or_value.into())?))
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        if self.attribute_type & FORMAT != 0 {
            return Err(EmitError { place: "Attribute.attribute_type" });
        }
        match self.value {
            AttributeValue::Tv(value) => {
                out.extend_from_slice(&(self.attribute_type | FORMAT).to_be_bytes());
                out.extend_from_slice(&value.to_be_bytes());
            }
            AttributeValue::Tlv(value) => {
                out.extend_from_slice(&self.attribute_type.to_be_bytes());
                put_u16(out, "Attribute.attribute_value", value.len())?;
                out.extend_from_slice(value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;

    #[test]
    fn both_forms_survive() {
        let bytes = [0x80, 14, 0, 128, 0, 12, 0, 4, 0, 0, 0x0e, 0x10, 0, 1, 0, 0];
        let attributes = Attribute::parse_all(&bytes).unwrap();
        assert_eq!(
            attributes,
            [Attribute::basic(14, 128), Attribute::variable(12, &[0, 0, 0x0e, 0x10]), Attribute::variable(1, &[])]
        );
        assert_eq!(attributes[0].short(), Some(128));
        assert_eq!(attributes[1].number(), Some(3600));
        let mut again = Vec::new();
        attributes.iter().try_for_each(|attribute| attribute.emit(&mut again)).unwrap();
        assert_eq!(again, bytes);
    }

    #[test]
    fn a_value_may_be_too_long_for_a_number() {
        assert_eq!(Attribute::variable(1, &[0xff; 8]).number(), Some(u64::MAX));
        assert_eq!(Attribute::variable(1, &[0; 9]).number(), None);
        assert_eq!(Attribute::variable(1, &[1, 0, 0]).short(), None);
    }

    #[test]
    fn an_attribute_does_not_end_inside() {
        for bytes in [&[0x80][..], &[0x80, 14, 0], &[0, 12, 0, 4, 1, 2, 3]] {
            assert_eq!(Attribute::parse_all(bytes).unwrap_err().fault, Fault::Truncated);
        }
        assert!(Attribute::basic(0x8001, 1).emit(&mut Vec::new()).is_err());
    }
}
