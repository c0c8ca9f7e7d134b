//! What a frame starts with, down to the IP packet. Which link types there are: tcpdump.org/linktypes.html.

use std::fmt;

use super::{Fault, field, number};

/// How a frame begins: a LINKTYPE of the capture formats.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkType(pub u32);

impl LinkType {
    /// BSD loopback: the address family in the byte order of the capturing machine.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP, with or without its HDLC-like address and control bytes.
    pub const PPP: Self = Self(9);
    /// IP without anything before it, as BSD numbers it in old captures.
    pub const RAW_BSD: Self = Self(12);
    /// The same on OpenBSD.
    pub const RAW_OPENBSD: Self = Self(14);
    /// PPPoE without the Ethernet header.
    pub const PPP_ETHER: Self = Self(51);
    /// IP without anything before it.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback: the address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked: what `-i any` captures.
    pub const LINUX_SLL: Self = Self(113);
    /// IPv4 without anything before it.
    pub const IPV4: Self = Self(228);
    /// IPv6 without anything before it.
    pub const IPV6: Self = Self(229);
    /// Linux cooked, version 2.
    pub const LINUX_SLL2: Self = Self(276);

    /// Its name in the registry, if it is read here.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NULL => "NULL",
            Self::ETHERNET => "ETHERNET",
            Self::PPP => "PPP",
            Self::RAW | Self::RAW_BSD | Self::RAW_OPENBSD => "RAW",
            Self::PPP_ETHER => "PPP_ETHER",
            Self::LOOP => "LOOP",
            Self::LINUX_SLL => "LINUX_SLL",
            Self::IPV4 => "IPV4",
            Self::IPV6 => "IPV6",
            Self::LINUX_SLL2 => "LINUX_SLL2",
            _ => return None,
        })
    }
}

/// The name, or the number where it is not read here.
impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => f.pad(&format!("link type {}", self.0)),
        }
    }
}

impl fmt::Debug for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// EtherTypes.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;
const QINQ_OLD: u16 = 0x9100;
const PPPOE_SESSION: u16 = 0x8864;

/// The IP packet in a frame, and whatever pads it.
pub(super) fn network(link: LinkType, frame: &[u8]) -> Result<&[u8], Fault> {
    match link {
        LinkType::ETHERNET => ethernet(frame),
        LinkType::RAW | LinkType::RAW_BSD | LinkType::RAW_OPENBSD | LinkType::IPV4 | LinkType::IPV6 => Ok(frame),
        LinkType::LINUX_SLL => linux_cooked(frame),
        LinkType::LINUX_SLL2 => linux_cooked_v2(frame),
        LinkType::NULL | LinkType::LOOP => loopback(frame),
        LinkType::PPP => ppp(frame),
        LinkType::PPP_ETHER => pppoe(frame),
        _ => Err(Fault::UnknownLink),
    }
}

fn ethernet(mut frame: &[u8]) -> Result<&[u8], Fault> {
    field::<12>(&mut frame)?;
    let ether_type = number(&mut frame)?;
    by_ether_type(ether_type, frame)
}

fn by_ether_type(mut ether_type: u16, mut rest: &[u8]) -> Result<&[u8], Fault> {
    while matches!(ether_type, VLAN | QINQ | QINQ_OLD) {
        field::<2>(&mut rest)?;
        ether_type = number(&mut rest)?;
    }
    match ether_type {
        IPV4 | IPV6 => Ok(rest),
        PPPOE_SESSION => pppoe(rest),
        _ => Err(Fault::NotIp),
    }
}

/// RFC 2516: version, type, code, session, length.
fn pppoe(mut rest: &[u8]) -> Result<&[u8], Fault> {
    let [version_and_type, code, ..] = field::<6>(&mut rest)?;
    if *version_and_type != 0x11 || *code != 0 {
        return Err(Fault::NotIp); // discovery
    }
    ppp(rest)
}

/// RFC 1661, and RFC 1662 where address and control come first; the protocol may be compressed to one byte.
fn ppp(mut rest: &[u8]) -> Result<&[u8], Fault> {
    rest = rest.strip_prefix(&[0xff, 0x03]).unwrap_or(rest);
    match rest {
        [0x00, 0x21 | 0x57, packet @ ..] | [0x21 | 0x57, packet @ ..] => Ok(packet),
        [] => Err(Fault::Malformed),
        _ => Err(Fault::NotIp),
    }
}

/// Packet type, ARPHRD, address length, address, protocol.
fn linux_cooked(mut frame: &[u8]) -> Result<&[u8], Fault> {
    field::<14>(&mut frame)?;
    let protocol = number(&mut frame)?;
    by_ether_type(protocol, frame)
}

/// Protocol, reserved, interface, ARPHRD, packet type, address length, address.
fn linux_cooked_v2(mut frame: &[u8]) -> Result<&[u8], Fault> {
    let protocol = number(&mut frame)?;
    field::<18>(&mut frame)?;
    by_ether_type(protocol, frame)
}

/// An address family of four bytes: of which byte order, and of which BSD, is told by its value.
fn loopback(mut frame: &[u8]) -> Result<&[u8], Fault> {
    match field::<4>(&mut frame)? {
        [family, 0, 0, 0] | [0, 0, 0, family] if matches!(family, 2 | 10 | 24 | 28 | 30) => Ok(frame),
        _ => Err(Fault::NotIp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [u8; 12] = [7; 12];

    fn network_of(link: LinkType, parts: &[&[u8]]) -> Result<Vec<u8>, Fault> {
        network(link, &parts.concat()).map(<[u8]>::to_vec)
    }

    #[test]
    fn every_link_type_leads_to_the_packet() {
        let ip = b"packet".as_slice();
        let found = Ok(ip.to_vec());
        assert_eq!(network_of(LinkType::ETHERNET, &[&ADDRESSES, &[8, 0], ip]), found);
        assert_eq!(network_of(LinkType::ETHERNET, &[&ADDRESSES, &[0x86, 0xdd], ip]), found);
        assert_eq!(network_of(LinkType::ETHERNET, &[&ADDRESSES, &[0x81, 0, 0, 5, 8, 0], ip]), found);
        let tags = [0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x86, 0xdd];
        assert_eq!(network_of(LinkType::ETHERNET, &[&ADDRESSES, &tags, ip]), found);
        let session = [0x11, 0, 0, 9, 0, 8];
        assert_eq!(network_of(LinkType::ETHERNET, &[&ADDRESSES, &[0x88, 0x64], &session, &[0, 0x21], ip]), found);
        assert_eq!(network_of(LinkType::PPP_ETHER, &[&session, &[0, 0x57], ip]), found);
        assert_eq!(network_of(LinkType::PPP, &[&[0xff, 3, 0, 0x21], ip]), found);
        assert_eq!(network_of(LinkType::PPP, &[&[0x21], ip]), found);
        assert_eq!(network_of(LinkType::LINUX_SLL, &[&[0; 14], &[8, 0], ip]), found);
        assert_eq!(network_of(LinkType::LINUX_SLL2, &[&[8, 0], &[0; 18], ip]), found);
        assert_eq!(network_of(LinkType::NULL, &[&[2, 0, 0, 0], ip]), found);
        assert_eq!(network_of(LinkType::NULL, &[&[0, 0, 0, 30], ip]), found);
        assert_eq!(network_of(LinkType::LOOP, &[&[0, 0, 0, 24], ip]), found);
        for raw in [12, 14, 101, 228, 229] {
            assert_eq!(network_of(LinkType(raw), &[ip]), found);
        }
    }

    #[test]
    fn what_is_not_ip_is_told_from_what_is_broken() {
        assert_eq!(network_of(LinkType::ETHERNET, &[&ADDRESSES, &[8, 6], &[0; 28]]), Err(Fault::NotIp)); // ARP
        assert_eq!(network_of(LinkType::ETHERNET, &[&ADDRESSES, &[0x88, 0x63], &[0; 28]]), Err(Fault::NotIp));
        assert_eq!(network_of(LinkType::PPP_ETHER, &[&[0x11, 9, 0, 0, 0, 0]]), Err(Fault::NotIp));
        assert_eq!(network_of(LinkType::PPP, &[&[0xc0, 0x21]]), Err(Fault::NotIp)); // LCP
        assert_eq!(network_of(LinkType::NULL, &[&[7, 0, 0, 0]]), Err(Fault::NotIp));
        assert_eq!(network_of(LinkType::ETHERNET, &[&ADDRESSES, &[8]]), Err(Fault::Malformed));
        assert_eq!(network_of(LinkType::ETHERNET, &[&ADDRESSES, &[0x81, 0, 0, 5]]), Err(Fault::Malformed));
        assert_eq!(network_of(LinkType::LINUX_SLL2, &[&[8, 0], &[0; 17]]), Err(Fault::Malformed));
        assert_eq!(network_of(LinkType(105), &[&[0; 64]]), Err(Fault::UnknownLink)); // 802.11
    }

    #[test]
    fn an_unknown_link_type_shows_its_number() {
        assert_eq!(LinkType::LINUX_SLL2.to_string(), "LINUX_SLL2");
        assert_eq!(format!("{:?}", LinkType(105)), "link type 105");
    }
}
