//! NAT-D and NAT-OA payloads, under the numbers of RFC 3947 and under those of its drafts.

use alloc::vec::Vec;

use super::IdType;
use crate::ParseError;
use crate::ike::wire::Reader;
use crate::ike::{Identity, PayloadType};

/// NAT-D: a hash over SPIs, address and port as the sender sees them (RFC 3947 section 3.2). The first is of the
/// receiver's address, the others are of the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatDiscovery<'a> {
    /// Under the number of the drafts 02 and 03: 130 instead of 20.
    pub draft: bool,
    /// As long as the negotiated hash.
    pub hash: &'a [u8],
}

impl NatDiscovery<'_> {
    pub(super) const fn payload_type(&self) -> PayloadType {
        if self.draft { PayloadType::NAT_D_DRAFT } else { PayloadType::NAT_D }
    }
}

/// NAT-OA: an address before translation (RFC 3947 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatOriginalAddress<'a> {
    /// Under the number of the drafts 02 and 03: 131 instead of 21.
    pub draft: bool,
    /// ID_IPV4_ADDR or ID_IPV6_ADDR.
    pub id_type: IdType,
    /// Zero.
    pub reserved: [u8; 3],
    /// The address.
    pub address: &'a [u8],
}

impl<'a> NatOriginalAddress<'a> {
    /// The address; `None` if it is none.
    pub fn identity(&self) -> Option<Identity<'a>> {
        match self.id_type {
            IdType::IPV4_ADDR => Identity::ipv4(self.address),
            IdType::IPV6_ADDR => Identity::ipv6(self.address),
            _ => None,
        }
    }

    pub(super) const fn payload_type(&self) -> PayloadType {
        if self.draft { PayloadType::NAT_OA_DRAFT } else { PayloadType::NAT_OA }
    }

    pub(super) fn parse(draft: bool, bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let id_type = IdType(reader.u8("NAT-OA.id_type")?);
        let reserved = reader.array("NAT-OA.reserved")?;
        Ok(Self { draft, id_type, reserved, address: reader.rest() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.id_type.0);
        out.extend_from_slice(&self.reserved);
        out.extend_from_slice(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::v1::Body;
    use crate::ike::v1::checks::survives;
    use alloc::string::ToString;

    #[test]
    fn both_numbers_survive() {
        for draft in [false, true] {
            survives(Body::NatDiscovery(NatDiscovery { draft, hash: &[7; 20] }));
            let id_type = IdType::IPV4_ADDR;
            let address = NatOriginalAddress { draft, id_type, reserved: [0, 1, 2], address: &[192, 0, 2, 1] };
            assert_eq!(address.identity().unwrap().to_string(), "192.0.2.1");
            survives(Body::NatOriginalAddress(address));
        }
    }
}
