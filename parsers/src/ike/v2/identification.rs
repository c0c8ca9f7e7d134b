//! Identification payloads (RFC 7296 section 3.5).

use alloc::vec::Vec;

use super::IdType;
use crate::ParseError;
use crate::ike::Identity;
use crate::ike::wire::Reader;

/// Who a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identification<'a> {
    /// What the data is.
    pub id_type: IdType,
    /// Zero.
    pub reserved: [u8; 3],
    /// An address, a name and so on, as it came: [`Identification::identity`] reads it.
    pub data: &'a [u8],
}

impl<'a> Identification<'a> {
    /// An identity of that type.
    pub const fn new(id_type: IdType, data: &'a [u8]) -> Self {
        Self { id_type, reserved: [0; 3], data }
    }

    /// What the data says; `None` if its type is unknown or its length is not that of its type.
    pub fn identity(&self) -> Option<Identity<'a>> {
        let data = self.data;
        match self.id_type {
            IdType::IPV4_ADDR => Identity::ipv4(data),
            IdType::FQDN => Some(Identity::Fqdn(data)),
            IdType::RFC822_ADDR => Some(Identity::Rfc822Addr(data)),
            IdType::IPV6_ADDR => Identity::ipv6(data),
            IdType::DER_ASN1_DN => Some(Identity::DerAsn1Dn(data)),
            IdType::DER_ASN1_GN => Some(Identity::DerAsn1Gn(data)),
            IdType::KEY_ID => Some(Identity::KeyId(data)),
            IdType::NULL => Some(Identity::Null),
            _ => None,
        }
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let id_type = IdType(reader.u8("Identification.id_type")?);
        let reserved = reader.array("Identification.reserved")?;
        Ok(Self { id_type, reserved, data: reader.rest() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.id_type.0);
        out.extend_from_slice(&self.reserved);
        out.extend_from_slice(self.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::v2::Body;
    use crate::ike::v2::checks::survives;
    use alloc::string::ToString;

    #[test]
    fn identifications_survive() {
        let id = Identification::new(IdType::FQDN, b"A.lab");
        assert_eq!(id.identity().unwrap().to_string(), "A.lab");
        survives(Body::IdI(id));
        survives(Body::IdR(Identification { id_type: IdType::NULL, reserved: [1, 2, 3], data: &[] }));
        assert_eq!(Identification::new(IdType::IPV6_ADDR, &[0; 4]).identity(), None);
    }
}
