//! A network in CIDR notation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IPv4 or IPv6 network: an address and the number of its leading bits that count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix_length: u8,
}

/// Why a text or a pair is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNetwork {
    /// No address before the slash.
    #[error("`{0}` is not an IPv4 or IPv6 network such as 192.168.77.0/24")]
    NotANetwork(String),
    /// More leading bits than the address has.
    #[error("a prefix length of {given} is longer than the {longest} bits of the address")]
    TooLong {
        /// What was written.
        given: u8,
        /// 32 or 128.
        longest: u8,
    },
    /// Bits are set behind the prefix; the network that was probably meant is given.
    #[error("bits behind the prefix are set; the network is written {0}")]
    HostBits(Network),
}

impl Network {
    /// The network that `address` with `prefix_length` lies in; host bits are cleared.
    pub fn containing(address: IpAddr, prefix_length: u8) -> Result<Self, BadNetwork> {
        let longest = longest(address);
        if prefix_length > longest {
            return Err(BadNetwork::TooLong { given: prefix_length, longest });
        }
        Ok(Self { address: masked(address, prefix_length), prefix_length })
    }

    /// Whether `address` lies in this network. An IPv4 address never lies in an IPv6 network.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix_length) == self.address
    }

    /// Whether the two networks share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Its first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The number of leading bits that count: 0 to 32, or 0 to 128.
    pub fn prefix_length(&self) -> u8 {
        self.prefix_length
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    /// Reads `ADDRESS/LENGTH`; a bare address is the network of that one address.
    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork::NotANetwork(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let length = match length {
            Some(length) => length.parse().map_err(|_| bad())?,
            None => longest(address),
        };
        let network = Self::containing(address, length)?;
        if network.address == address { Ok(network) } else { Err(BadNetwork::HostBits(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn longest(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(length.into())).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(length.into())).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn containment_follows_the_prefix() {
        assert!(network("192.168.77.0/24").contains("192.168.77.255".parse().unwrap()));
        assert!(!network("192.168.77.0/24").contains("192.168.78.0".parse().unwrap()));
        assert!(network("0.0.0.0/0").contains("203.0.113.9".parse().unwrap()));
        assert!(!network("0.0.0.0/0").contains("::1".parse().unwrap()));
        assert!(network("fd00::/8").contains("fdff::1".parse().unwrap()));
        assert!(network("10.0.0.1").contains("10.0.0.1".parse().unwrap()));
        assert!(!network("10.0.0.1").contains("10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn mistakes_are_told_apart() {
        assert_eq!("10.0.0.1/24".parse::<Network>(), Err(BadNetwork::HostBits(network("10.0.0.0/24"))));
        assert_eq!("10.0.0.0/33".parse::<Network>(), Err(BadNetwork::TooLong { given: 33, longest: 32 }));
        for bad in ["", "/", "10.0.0/8", "10.0.0.0/", "10.0.0.0/x", "plant"] {
            assert!(matches!(bad.parse::<Network>(), Err(BadNetwork::NotANetwork(_))), "{bad}");
        }
    }

    #[test]
    fn overlap_is_symmetric() {
        let (wide, narrow, other) = (network("10.0.0.0/8"), network("10.7.0.0/16"), network("11.0.0.0/8"));
        assert!(wide.overlaps(&narrow) && narrow.overlaps(&wide));
        assert!(!wide.overlaps(&other) && !other.overlaps(&wide));
    }
}
