//! IP packets: what is before the payload, and where the payload ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Fault, field, number};

/// A protocol number of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Protocol(pub(super) u8);

impl Protocol {
    const HOP_BY_HOP: Self = Self(0);
    const IPV4: Self = Self(4);
    pub(super) const TCP: Self = Self(6);
    pub(super) const UDP: Self = Self(17);
    const IPV6: Self = Self(41);
    const ROUTING: Self = Self(43);
    const FRAGMENT: Self = Self(44);
    const AH: Self = Self(51);
    const DESTINATION: Self = Self(60);
    const MOBILITY: Self = Self(135);
}

/// An IP packet as far as the transport needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// What the payload is; in a fragment, of the whole.
    pub(super) protocol: Protocol,
    /// Without what pads the frame.
    pub(super) payload: &'a [u8],
    /// Bytes of the payload that the capture cut off.
    pub(super) missing: usize,
    pub(super) fragment: Option<Fragment>,
}

/// Which part of the payload a fragment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) id: u32,
    /// In bytes.
    pub(super) offset: u64,
    /// It is not the last.
    pub(super) more: bool,
}

/// IP packets inside each other, at most; extension headers of one packet, at most.
const MOST_NESTED: usize = 4;
const MOST_EXTENSIONS: usize = 16;

impl<'a> Packet<'a> {
    /// Reads a packet of either version, through extension headers and tunnels, as far as a fragment or the transport.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Fault> {
        Self::parse_nested(bytes, MOST_NESTED)
    }

    /// What follows in a packet put together from fragments, which may start with extension headers or be a tunnel's.
    pub(super) fn beyond_fragment_header(self) -> Result<Self, Fault> {
        self.inner(MOST_NESTED)
    }

    fn parse_nested(bytes: &'a [u8], nested: usize) -> Result<Self, Fault> {
        let packet = match bytes.first().ok_or(Fault::Malformed)? >> 4 {
            4 => ipv4(bytes)?,
            6 => ipv6(bytes)?,
            _ => return Err(Fault::NotIp),
        };
        packet.inner(nested)
    }

    fn inner(self, nested: usize) -> Result<Self, Fault> {
        let packet = self.beyond_extensions()?;
        match (packet.fragment, packet.protocol, nested.checked_sub(1)) {
            (None, Protocol::IPV4 | Protocol::IPV6, Some(nested)) => Self::parse_nested(packet.payload, nested),
            _ => Ok(packet),
        }
    }

    /// Steps over extension headers (RFC 8200 section 4), and over AH, which either version may have.
    fn beyond_extensions(mut self) -> Result<Self, Fault> {
        for _ in 0..MOST_EXTENSIONS {
            if self.fragment.is_some() {
                return Ok(self);
            }
            match self.protocol {
                Protocol::FRAGMENT => self.fragment_header()?,
                Protocol::HOP_BY_HOP | Protocol::ROUTING | Protocol::DESTINATION | Protocol::MOBILITY => {
                    self.extension(|length| (usize::from(length) + 1) * 8)?;
                }
                Protocol::AH => self.extension(|length| (usize::from(length) + 2) * 4)?,
                _ => return Ok(self),
            }
        }
        Err(Fault::Malformed)
    }

    /// Steps over a header that says what follows and, in its own unit, how long it is.
    fn extension(&mut self, bytes: impl Fn(u8) -> usize) -> Result<(), Fault> {
        let [next, length, ..] = *self.payload else {
            return Err(Fault::Malformed);
        };
        let (_, rest) = self.payload.split_at_checked(bytes(length)).ok_or(Fault::Malformed)?;
        (self.protocol, self.payload) = (Protocol(next), rest);
        Ok(())
    }

    fn fragment_header(&mut self) -> Result<(), Fault> {
        let [next, _, high, low, id @ ..] = field::<8>(&mut self.payload)?;
        let place = u16::from_be_bytes([*high, *low]);
        let (offset, more) = (u64::from(place & 0xfff8), place & 1 != 0);
        self.protocol = Protocol(*next);
        // An atomic fragment is a whole packet (RFC 6946).
        if offset > 0 || more {
            self.fragment = Some(Fragment { id: u32::from_be_bytes(*id), offset, more });
        }
        Ok(())
    }
}

fn ipv4(bytes: &[u8]) -> Result<Packet<'_>, Fault> {
    let mut rest = bytes;
    let [version_and_length, _] = field(&mut rest)?;
    let total_length = usize::from(number(&mut rest)?);
    let id = number(&mut rest)?;
    let place = number(&mut rest)?;
    let [_, protocol, _, _] = field(&mut rest)?;
    let source = Ipv4Addr::from(*field(&mut rest)?);
    let destination = Ipv4Addr::from(*field(&mut rest)?);
    let header_length = usize::from(version_and_length & 15) * 4;
    let options = header_length.checked_sub(20).ok_or(Fault::Malformed)?;
    let (_, rest) = rest.split_at_checked(options).ok_or(Fault::Malformed)?;

    // A card that cuts segments itself is given packets whose length is still 0.
    let length = match total_length {
        0 => rest.len(),
        _ => total_length.checked_sub(header_length).ok_or(Fault::Malformed)?,
    };
    let (payload, missing) = cut(rest, length);
    let (offset, more) = (u64::from(place & 0x1fff) * 8, place & 0x2000 != 0);
    let fragment = (offset > 0 || more).then_some(Fragment { id: u32::from(id), offset, more });
    let (source, destination) = (source.into(), destination.into());
    Ok(Packet { source, destination, protocol: Protocol(*protocol), payload, missing, fragment })
}

fn ipv6(bytes: &[u8]) -> Result<Packet<'_>, Fault> {
    let mut rest = bytes;
    field::<4>(&mut rest)?;
    let payload_length = usize::from(number(&mut rest)?);
    let [protocol, _] = field(&mut rest)?;
    let source = Ipv6Addr::from(*field(&mut rest)?);
    let destination = Ipv6Addr::from(*field(&mut rest)?);
    // As in IPv4; a jumbogram says 0 as well.
    let length = if payload_length == 0 { rest.len() } else { payload_length };
    let (payload, missing) = cut(rest, length);
    let (source, destination) = (source.into(), destination.into());
    Ok(Packet { source, destination, protocol: Protocol(*protocol), payload, missing, fragment: None })
}

/// The first `length` bytes, or as many as there are and how many are missing.
pub(super) fn cut(bytes: &[u8], length: usize) -> (&[u8], usize) {
    match bytes.get(..length) {
        Some(whole) => (whole, 0),
        None => (bytes, length.saturating_sub(bytes.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 packet with that place, protocol and payload.
    fn v4(place: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0];
        packet.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 7]);
        packet.extend_from_slice(&place.to_be_bytes());
        packet.extend_from_slice(&[64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend_from_slice(payload);
        packet
    }

    fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[next, 64]);
        packet.extend_from_slice(&[1; 16]);
        packet.extend_from_slice(&[2; 16]);
        packet.extend_from_slice(payload);
        packet
    }

    #[test]
    fn padding_is_cut_off_and_what_was_cut_off_is_counted() {
        let mut bytes = v4(0x4000, 17, b"payload");
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.payload, packet.missing, packet.fragment), (&b"payload"[..], 0, None));
        assert_eq!(packet.source, IpAddr::from([10, 0, 0, 1]));
        bytes.extend_from_slice(&[0; 6]);
        assert_eq!(Packet::parse(&bytes).unwrap().payload, b"payload");
        bytes.truncate(24);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.payload, packet.missing), (&b"payl"[..], 3));
    }

    #[test]
    fn a_length_of_nothing_means_all_there_is() {
        let mut bytes = v4(0, 6, b"large");
        bytes[2..4].copy_from_slice(&[0, 0]);
        assert_eq!(Packet::parse(&bytes).unwrap().payload, b"large");
        let mut bytes = v6(6, b"large");
        bytes[4..6].copy_from_slice(&[0, 0]);
        assert_eq!(Packet::parse(&bytes).unwrap().payload, b"large");
    }

    #[test]
    fn options_are_stepped_over_and_a_header_is_not_shorter_than_it_is() {
        let mut bytes = v4(0, 17, b"\x01\x01\x01\x00payload");
        bytes[0] = 0x46;
        assert_eq!(Packet::parse(&bytes).unwrap().payload, b"payload");
        bytes[0] = 0x44;
        assert_eq!(Packet::parse(&bytes), Err(Fault::Malformed));
        bytes[0] = 0x4f;
        assert_eq!(Packet::parse(&bytes), Err(Fault::Malformed));
        assert_eq!(Packet::parse(&[0x50; 40]), Err(Fault::NotIp));
        assert_eq!(Packet::parse(&[]), Err(Fault::Malformed));
    }

    #[test]
    fn every_extension_header_is_stepped_over() {
        let payload = [
            &[43, 0, 0, 0, 0, 0, 0, 0][..],                                             // hop by hop
            &[60, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],                         // routing
            &[51, 0, 1, 4, 0, 0, 0, 0],                                                 // destination
            &[44, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9], // AH
            &[17, 0, 0, 0, 0, 0, 0, 5],                                                 // an atomic fragment
            b"payload",
        ];
        let bytes = v6(0, &payload.concat());
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.protocol, packet.payload, packet.fragment), (Protocol::UDP, &b"payload"[..], None));
        // One that ends too early, and more than anybody would send.
        assert_eq!(Packet::parse(&bytes[..60]), Err(Fault::Malformed));
        assert_eq!(Packet::parse(&v6(60, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(17))), Err(Fault::Malformed));
    }

    #[test]
    fn fragments_say_where_they_belong() {
        let fragment = |bytes: &[u8]| Packet::parse(bytes).unwrap().fragment;
        assert_eq!(fragment(&v4(0x2000, 17, b"first")), Some(Fragment { id: 7, offset: 0, more: true }));
        assert_eq!(fragment(&v4(0x0002, 17, b"last")), Some(Fragment { id: 7, offset: 16, more: false }));
        let last = v6(44, &[17, 0, 0, 16, 1, 2, 3, 4, 0, 0, 0, 0]);
        assert_eq!(fragment(&last), Some(Fragment { id: 0x0102_0304, offset: 16, more: false }));
    }

    #[test]
    fn tunnels_are_looked_into_but_not_for_ever() {
        let inner = v4(0, 17, b"payload");
        let outer = v6(4, &inner);
        assert_eq!(Packet::parse(&outer), Packet::parse(&inner));
        let mut deep = inner;
        for _ in 0..8 {
            deep = v4(0, 4, &deep);
        }
        assert_eq!(Packet::parse(&deep).unwrap().protocol, Protocol::IPV4);
    }
}
