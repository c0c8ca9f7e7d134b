//! The Configuration payload (RFC 7296 section 3.15).

use alloc::vec::Vec;

use super::{ConfigAttribute, ConfigType};
use crate::ike::wire::{Reader, put_u16};
use crate::{EmitError, ParseError};

/// What is asked, answered, set or acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration<'a> {
    /// Which of them.
    pub config_type: ConfigType,
    /// Zero.
    pub reserved: [u8; 3],
    /// The attributes; in a request usually empty.
    pub attributes: Vec<ConfigurationAttribute<'a>>,
}

/// An attribute. Unlike a data attribute it always has a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigurationAttribute<'a> {
    /// The bit before the type; zero.
    pub reserved: bool,
    /// The type, in 15 bits.
    pub attribute_type: ConfigAttribute,
    /// The value; empty asks for one.
    pub value: &'a [u8],
}

/// The bit before the type.
const RESERVED: u16 = 0x8000;

impl<'a> Configuration<'a> {
    /// Attributes of that type.
    pub const fn new(config_type: ConfigType, attributes: Vec<ConfigurationAttribute<'a>>) -> Self {
        Self { config_type, reserved: [0; 3], attributes }
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let config_type = ConfigType(reader.u8("Configuration.config_type")?);
        let reserved = reader.array("Configuration.reserved")?;
        let mut attributes = Vec::new();
        while !reader.is_empty() {
            attributes.push(ConfigurationAttribute::parse(&mut reader)?);
        }
        Ok(Self { config_type, reserved, attributes })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.push(self.config_type.0);
        out.extend_from_slice(&self.reserved);
        self.attributes.iter().try_for_each(|attribute| attribute.emit(out))
    }
}

impl<'a> ConfigurationAttribute<'a> {
    /// An attribute of that value.
    pub const fn new(attribute_type: ConfigAttribute, value: &'a [u8]) -> Self {
        Self { reserved: false, attribute_type, value }
    }

    fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let word = reader.u16("Configuration.attribute_type")?;
        let length = reader.u16("Configuration.attribute_length")?;
        let value = reader.take("Configuration.attribute_value", length.into())?;
        Ok(Self { reserved: word & RESERVED != 0, attribute_type: ConfigAttribute(word & !RESERVED), value })
    }

    fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        if self.attribute_type.0 & RESERVED != 0 {
            return Err(EmitError { place: "Configuration.attribute_type" });
        }
        let reserved = if self.reserved { RESERVED } else { 0 };
        out.extend_from_slice(&(self.attribute_type.0 | reserved).to_be_bytes());
        put_u16(out, "Configuration.attribute_value", self.value.len())?;
        out.extend_from_slice(self.value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::v2::Body;
    use crate::ike::v2::checks::survives;
    use alloc::vec;

    #[test]
    fn attributes_survive() {
        let attribute = ConfigurationAttribute::new;
        let mut reserved = attribute(ConfigAttribute(0x7fff), &[]);
        reserved.reserved = true;
        let attributes = vec![
            attribute(ConfigAttribute::INTERNAL_IP4_ADDRESS, &[10, 0, 0, 1]),
            attribute(ConfigAttribute::INTERNAL_IP4_DNS, &[]),
            reserved,
        ];
        survives(Body::Configuration(Configuration::new(ConfigType::REPLY, attributes)));
        assert!(attribute(ConfigAttribute(0x8000), &[]).emit(&mut Vec::new()).is_err());
    }
}
