//! The Attributes payload of the Configuration Method and of XAUTH (draft-ietf-ipsec-isakmp-mode-cfg section 3.2).

use alloc::vec::Vec;

use super::{ConfigAttribute, ConfigType};
use crate::ike::Attribute;
use crate::ike::wire::Reader;
use crate::{EmitError, ParseError};

/// What is asked, answered, set or acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// Which of them.
    pub config_type: ConfigType,
    /// Zero.
    pub reserved: u8,
    /// The same in a request and its answer.
    pub identifier: u16,
    /// The attributes; in a request usually empty. Their types are [`ConfigAttribute`]s.
    pub attributes: Vec<Attribute<'a>>,
}

impl<'a> Attributes<'a> {
    /// Attributes of that type.
    pub const fn new(config_type: ConfigType, identifier: u16, attributes: Vec<Attribute<'a>>) -> Self {
        Self { config_type, reserved: 0, identifier, attributes }
    }

    /// The first attribute of that type.
    pub fn attribute(&self, attribute: ConfigAttribute) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|each| each.attribute_type == attribute.0)
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let config_type = ConfigType(reader.u8("Attributes.config_type")?);
        let reserved = reader.u8("Attributes.reserved")?;
        let identifier = reader.u16("Attributes.identifier")?;
        let attributes = Attribute::parse_all(reader.rest())?;
        Ok(Self { config_type, reserved, identifier, attributes })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.extend_from_slice(&[self.config_type.0, self.reserved]);
        out.extend_from_slice(&self.identifier.to_be_bytes());
        self.attributes.iter().try_for_each(|attribute| attribute.emit(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::v1::Body;
    use crate::ike::v1::checks::survives;
    use alloc::vec;

    #[test]
    fn attributes_survive() {
        let attributes = Attributes::new(
            ConfigType::REPLY,
            0x1234,
            vec![
                Attribute::basic(ConfigAttribute::XAUTH_TYPE.0, 0),
                Attribute::variable(ConfigAttribute::XAUTH_USER_NAME.0, b"user"),
                Attribute::variable(ConfigAttribute::INTERNAL_IP4_ADDRESS.0, &[]),
            ],
        );
        assert_eq!(
            attributes.attribute(ConfigAttribute::XAUTH_USER_NAME),
            Some(&Attribute::variable(ConfigAttribute::XAUTH_USER_NAME.0, b"user"))
        );
        assert_eq!(attributes.attribute(ConfigAttribute::XAUTH_STATUS), None);
        survives(Body::Attributes(attributes));
    }
}
