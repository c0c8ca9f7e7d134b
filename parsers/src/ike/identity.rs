//! What an Identification payload of either version says, in its own type.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Who a peer says it is, or, in IKEv1's Quick Mode, which traffic it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity<'a> {
    /// ID_IPV4_ADDR.
    Ipv4(Ipv4Addr),
    /// ID_IPV6_ADDR.
    Ipv6(Ipv6Addr),
    /// ID_IPV4_ADDR_SUBNET: address and mask.
    Ipv4Subnet(Ipv4Addr, Ipv4Addr),
    /// ID_IPV6_ADDR_SUBNET: address and mask.
    Ipv6Subnet(Ipv6Addr, Ipv6Addr),
    /// ID_IPV4_ADDR_RANGE: first and last.
    Ipv4Range(Ipv4Addr, Ipv4Addr),
    /// ID_IPV6_ADDR_RANGE: first and last.
    Ipv6Range(Ipv6Addr, Ipv6Addr),
    /// ID_FQDN: a host name.
    Fqdn(&'a [u8]),
    /// ID_USER_FQDN, ID_RFC822_ADDR: a user at a host.
    Rfc822Addr(&'a [u8]),
    /// ID_DER_ASN1_DN: a distinguished name in DER.
    DerAsn1Dn(&'a [u8]),
    /// ID_DER_ASN1_GN: a general name in DER.
    DerAsn1Gn(&'a [u8]),
    /// ID_KEY_ID: bytes that only the peers understand.
    KeyId(&'a [u8]),
    /// ID_NULL: none.
    Null,
}

impl<'a> Identity<'a> {
    /// `None` if the data is not as long as an address.
    pub(super) fn ipv4(data: &'a [u8]) -> Option<Self> {
        Some(Self::Ipv4(Ipv4Addr::from(*<&[u8; 4]>::try_from(data).ok()?)))
    }

    pub(super) fn ipv6(data: &'a [u8]) -> Option<Self> {
        Some(Self::Ipv6(Ipv6Addr::from(*<&[u8; 16]>::try_from(data).ok()?)))
    }

    /// Two addresses one after the other.
    pub(super) fn ipv4_pair(data: &'a [u8], pair: impl FnOnce(Ipv4Addr, Ipv4Addr) -> Self) -> Option<Self> {
        let (first, second) = data.split_first_chunk::<4>()?;
        Some(pair(Ipv4Addr::from(*first), Ipv4Addr::from(*<&[u8; 4]>::try_from(second).ok()?)))
    }

    pub(super) fn ipv6_pair(data: &'a [u8], pair: impl FnOnce(Ipv6Addr, Ipv6Addr) -> Self) -> Option<Self> {
        let (first, second) = data.split_first_chunk::<16>()?;
        Some(pair(Ipv6Addr::from(*first), Ipv6Addr::from(*<&[u8; 16]>::try_from(second).ok()?)))
    }
}

/// Addresses as `192.0.2.0/24` and `192.0.2.1-192.0.2.9`, names as they are with what is not printable escaped, all else
/// in hex.
impl fmt::Display for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => address.fmt(f),
            Self::Ipv6(address) => address.fmt(f),
            Self::Ipv4Subnet(address, mask) => match prefix_length(u32::from(*mask).into(), 32) {
                Some(length) => write!(f, "{address}/{length}"),
                None => write!(f, "{address}/{mask}"),
            },
            Self::Ipv6Subnet(address, mask) => match prefix_length(u128::from(*mask), 128) {
                Some(length) => write!(f, "{address}/{length}"),
                None => write!(f, "{address}/{mask}"),
            },
            Self::Ipv4Range(first, last) => write!(f, "{first}-{last}"),
            Self::Ipv6Range(first, last) => write!(f, "{first}-{last}"),
            Self::Fqdn(name) | Self::Rfc822Addr(name) => name.escape_ascii().fmt(f),
            Self::DerAsn1Dn(data) | Self::DerAsn1Gn(data) | Self::KeyId(data) => {
                data.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Null => f.write_str("ID_NULL"),
        }
    }
}

/// The ones at the front of a mask of `bits` bits, if only zeros follow them.
fn prefix_length(mask: u128, bits: u32) -> Option<u32> {
    let ones = mask.count_ones();
    let zeros = bits.checked_sub(ones)?;
    (mask.trailing_zeros().min(bits) == zeros).then_some(ones)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn addresses_have_their_length() {
        assert_eq!(Identity::ipv4(&[192, 0, 2, 1]).unwrap().to_string(), "192.0.2.1");
        assert_eq!(Identity::ipv4(&[192, 0, 2]), None);
        assert_eq!(Identity::ipv6(&[0; 15]), None);
        assert_eq!(Identity::ipv4_pair(&[0; 7], Identity::Ipv4Range), None);
        assert_eq!(Identity::ipv4_pair(&[0; 9], Identity::Ipv4Range), None);
        assert_eq!(Identity::ipv6_pair(&[0; 31], Identity::Ipv6Range), None);
    }

    #[test]
    fn subnets_show_their_prefix() {
        let subnet = |bytes: &[u8; 8]| Identity::ipv4_pair(bytes, Identity::Ipv4Subnet).unwrap().to_string();
        assert_eq!(subnet(&[10, 1, 0, 0, 255, 255, 0, 0]), "10.1.0.0/16");
        assert_eq!(subnet(&[0; 8]), "0.0.0.0/0");
        assert_eq!(subnet(&[10, 1, 0, 1, 255, 255, 255, 255]), "10.1.0.1/32");
        assert_eq!(subnet(&[10, 1, 0, 0, 255, 0, 255, 0]), "10.1.0.0/255.0.255.0");
        let mut bytes = [0; 32];
        bytes[16..24].fill(0xff);
        assert_eq!(Identity::ipv6_pair(&bytes, Identity::Ipv6Subnet).unwrap().to_string(), "::/64");
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(Identity::Fqdn(b"A.lab").to_string(), "A.lab");
        assert_eq!(Identity::Fqdn(b"a\x1b[0m").to_string(), "a\\x1b[0m");
        assert_eq!(Identity::KeyId(&[1, 0xab]).to_string(), "01ab");
    }
}
