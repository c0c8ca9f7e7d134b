//! The Identification payload (RFC 2407 section 4.6.2).

use alloc::vec::Vec;

use super::IdType;
use crate::ParseError;
use crate::ike::Identity;
use crate::ike::wire::Reader;

/// Who the sender is; in Quick Mode, which traffic the SA is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identification<'a> {
    /// What the data is.
    pub id_type: IdType,
    /// The IP protocol of the traffic; 0 for any.
    pub protocol_id: u8,
    /// The port of the traffic; 0 for any.
    pub port: u16,
    /// An address, a name and so on, as it came: [`Identification::identity`] reads it.
    pub data: &'a [u8],
}

impl<'a> Identification<'a> {
    /// An identity without protocol and port.
    pub const fn new(id_type: IdType, data: &'a [u8]) -> Self {
        Self { id_type, protocol_id: 0, port: 0, data }
    }

    /// What the data says; `None` if its type is unknown or its length is not that of its type.
    pub fn identity(&self) -> Option<Identity<'a>> {
        let data = self.data;
        match self.id_type {
            IdType::IPV4_ADDR => Identity::ipv4(data),
            IdType::FQDN => Some(Identity::Fqdn(data)),
            IdType::USER_FQDN => Some(Identity::Rfc822Addr(data)),
            IdType::IPV4_ADDR_SUBNET => Identity::ipv4_pair(data, Identity::Ipv4Subnet),
            IdType::IPV6_ADDR => Identity::ipv6(data),
            IdType::IPV6_ADDR_SUBNET => Identity::ipv6_pair(data, Identity::Ipv6Subnet),
            IdType::IPV4_ADDR_RANGE => Identity::ipv4_pair(data, Identity::Ipv4Range),
            IdType::IPV6_ADDR_RANGE => Identity::ipv6_pair(data, Identity::Ipv6Range),
            IdType::DER_ASN1_DN => Some(Identity::DerAsn1Dn(data)),
            IdType::DER_ASN1_GN => Some(Identity::DerAsn1Gn(data)),
            IdType::KEY_ID => Some(Identity::KeyId(data)),
            _ => None,
        }
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let id_type = IdType(reader.u8("Identification.id_type")?);
        let protocol_id = reader.u8("Identification.protocol_id")?;
        let port = reader.u16("Identification.port")?;
        Ok(Self { id_type, protocol_id, port, data: reader.rest() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.id_type.0, self.protocol_id]);
        out.extend_from_slice(&self.port.to_be_bytes());
        out.extend_from_slice(self.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::v1::Body;
    use crate::ike::v1::checks::survives;
    use alloc::string::ToString;

    #[test]
    fn identifications_survive() {
        let id = Identification { id_type: IdType::IPV4_ADDR, protocol_id: 17, port: 500, data: &[192, 0, 2, 1] };
        assert_eq!(id.identity().unwrap().to_string(), "192.0.2.1");
        survives(Body::Identification(id));
        survives(Body::Identification(Identification::new(IdType::KEY_ID, &[])));
    }

    #[test]
    fn an_identity_has_the_length_of_its_type() {
        assert_eq!(Identification::new(IdType::IPV6_ADDR_SUBNET, &[0; 17]).identity(), None);
        assert_eq!(Identification::new(IdType(99), &[0; 4]).identity(), None);
        let subnet = Identification::new(IdType::IPV4_ADDR_SUBNET, &[10, 1, 0, 0, 255, 255, 0, 0]);
        assert_eq!(subnet.identity().unwrap().to_string(), "10.1.0.0/16");
    }
}
