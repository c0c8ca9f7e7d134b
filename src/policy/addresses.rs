//! Where no terminal may be led, whatever a name resolves to. Asked with the *resolved* address, so
//! that a hostile or broken resolver cannot turn the gateway against itself or its own network.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use keyferry_parsers::messages::Reason;

use super::Network;
use crate::error::Error;

/// Refuses peer addresses that would reach the gateway, another terminal or a closed network.
#[derive(Clone, Debug, Default)]
pub struct AddressGuard {
    closed: Vec<Network>,
    gateway: BTreeSet<IpAddr>,
    terminal_networks: Vec<Network>,
}

impl AddressGuard {
    /// A guard that knows the `closed` networks of the configuration.
    pub fn new(closed: Vec<Network>) -> Self {
        Self { closed, ..Self::default() }
    }

    /// Replaces the gateway's own addresses.
    pub fn set_gateway(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.gateway = addresses.into_iter().collect();
    }

    /// Replaces the networks of the interfaces that terminals are on.
    pub fn set_terminal_networks(&mut self, networks: impl IntoIterator<Item = Network>) {
        self.terminal_networks = networks.into_iter().collect();
    }

    /// Refuses with `FORBIDDEN_ADDRESS` what no terminal may reach. An IPv6 address that stands for
    /// an IPv4 one (mapped, 6to4, NAT64, Teredo) is judged as both. `is_terminal` says whose addresses are
    /// terminals' now.
    pub fn check(&self, address: IpAddr, is_terminal: impl Fn(IpAddr) -> bool) -> Result<(), Error> {
        self.check_as_written(address, &is_terminal)?;
        match address {
            IpAddr::V6(v6) => embedded(v6).try_for_each(|inner| self.check_as_written(inner.into(), &is_terminal)),
            IpAddr::V4(_) => Ok(()),
        }
    }

    fn check_as_written(&self, address: IpAddr, is_terminal: &impl Fn(IpAddr) -> bool) -> Result<(), Error> {
        let why = special(address)
            .map(str::to_owned)
            .or_else(|| self.gateway.contains(&address).then(|| "the gateway's own address".to_owned()))
            .or_else(|| is_terminal(address).then(|| "the address of a terminal".to_owned()))
            .or_else(|| find(&self.terminal_networks, address).map(|n| format!("in the terminals' network {n}")))
            .or_else(|| find(&self.closed, address).map(|n| format!("in the closed network {n} ([network] closed)")));
        match why {
            None => Ok(()),
            Some(why) => Err(Error::new(
                Reason::FORBIDDEN_ADDRESS,
                format!("{address} is {why}; no terminal is let through to it"),
            )),
        }
    }
}

fn find(networks: &[Network], address: IpAddr) -> Option<&Network> {
    networks.iter().find(|network| network.contains(address))
}

/// What is special about an address that is never a peer's.
fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [first, ..] = address.octets();
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if first == 0 {
        Some("in 0.0.0.0/8, which is no destination (RFC 1122)")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_link_local() {
        Some("a link-local address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_broadcast() {
        Some("the broadcast address")
    } else if first >= 240 {
        Some("in 240.0.0.0/4, which is reserved (RFC 1112)")
    } else {
        None
    }
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [first, ..] = address.segments();
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("the loopback address")
    } else if address.is_unicast_link_local() {
        Some("a link-local address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if first & 0xffc0 == 0xfec0 {
        Some("a site-local address (deprecated by RFC 3879)")
    } else {
        None
    }
}

/// The IPv4 addresses that packets to an IPv6 address may end up at.
fn embedded(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let bits = address.to_bits();
    let low = Ipv4Addr::from_bits((bits & 0xffff_ffff) as u32);
    let inner = match address.segments() {
        // ::a.b.c.d (deprecated), ::ffff:a.b.c.d (mapped) and ::ffff:0:a.b.c.d (SIIT)
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Some(low),
        // NAT64: the well-known prefix and the one for local use (RFC 6052, RFC 8215)
        [0x64, 0xff9b, ..] => Some(low),
        // 6to4 (RFC 3056)
        [0x2002, ..] => Some(Ipv4Addr::from_bits((bits >> 80 & 0xffff_ffff) as u32)),
        // Teredo: the client's address, inverted (RFC 4380)
        [0x2001, 0, ..] => Some(Ipv4Addr::from_bits(!low.to_bits())),
        _ => None,
    };
    inner.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> AddressGuard {
        let mut guard = AddressGuard::new(vec!["192.168.77.0/24".parse().unwrap(), "fd99::/16".parse().unwrap()]);
        guard.set_gateway(["10.7.1.1".parse().unwrap(), "fd07:1::1".parse().unwrap()]);
        guard.set_terminal_networks(["10.7.1.0/24".parse().unwrap(), "fd07:1::/64".parse().unwrap()]);
        guard
    }

    fn refused(guard: &AddressGuard, text: &str) -> bool {
        let terminal: IpAddr = "172.16.5.5".parse().unwrap();
        match guard.check(text.parse().unwrap(), |address| address == terminal) {
            Ok(()) => false,
            Err(error) => {
                assert_eq!(error.reason, Reason::FORBIDDEN_ADDRESS, "{text}");
                true
            }
        }
    }

    #[test]
    fn what_no_terminal_may_reach_is_refused() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "224.0.0.1",
            "239.1.1.1",
            "255.255.255.255",
            "240.0.0.1",
            "10.7.1.1",
            "10.7.1.200",
            "172.16.5.5",
            "192.168.77.1",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "fd07:1::1",
            "fd07:1::42",
            "fd99:1::1",
        ] {
            assert!(refused(&guard(), address), "{address}");
        }
    }

    #[test]
    fn an_embedded_ipv4_address_is_judged_too() {
        for address in [
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "::ffff:10.7.1.1",
            "::ffff:192.168.77.9",
            "64:ff9b::127.0.0.1",
            "64:ff9b::172.16.5.5",
            "64:ff9b:1::169.254.169.254",
            "2002:7f00:1::",
            "2002:c0a8:4d01::1",
            "2001:0:102:304:0:ffff:80ff:fffe", // Teredo client 127.0.0.1
        ] {
            assert!(refused(&guard(), address), "{address}");
        }
    }

    #[test]
    fn ordinary_peers_pass() {
        for address in [
            "10.7.2.2",
            "192.168.1.1",
            "100.64.0.1",
            "203.0.113.5",
            "8.8.8.8",
            "fd07:2::2",
            "2001:db8::1",
            "2606:4700::1111",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(!refused(&guard(), address), "{address}");
        }
    }
}
