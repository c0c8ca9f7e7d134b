//! Traffic Selector payloads (RFC 7296 section 3.13).

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::TsType;
use crate::ike::wire::{Reader, body, put_sized, put_u8};
use crate::{EmitError, ParseError};

/// The traffic at one end of a Child SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficSelectors<'a> {
    /// Zero.
    pub reserved: [u8; 3],
    /// Traffic is meant if any of them fits.
    pub selectors: Vec<TrafficSelector<'a>>,
}

/// Addresses and ports, or something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficSelector<'a> {
    /// TS_IPV4_ADDR_RANGE, TS_IPV6_ADDR_RANGE.
    AddressRange(AddressRange),
    /// Any other.
    Other {
        /// Its type.
        ts_type: TsType,
        /// What follows the type: the protocol, or nothing known.
        second: u8,
        /// What follows the length.
        data: &'a [u8],
    },
}

/// A range of addresses, both of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// The IP protocol; 0 for any.
    pub protocol_id: u8,
    /// First port; 0 to 65535 for any, 65535 to 0 for OPAQUE. For ICMP, type and code.
    pub start_port: u16,
    /// Last port.
    pub end_port: u16,
    /// First and last address.
    pub addresses: AddressPair,
}

/// First and last address of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPair {
    /// Of TS_IPV4_ADDR_RANGE.
    V4(Ipv4Addr, Ipv4Addr),
    /// Of TS_IPV6_ADDR_RANGE.
    V6(Ipv6Addr, Ipv6Addr),
}

impl AddressPair {
    /// The first address.
    pub const fn start(&self) -> IpAddr {
        match self {
            Self::V4(start, _) => IpAddr::V4(*start),
            Self::V6(start, _) => IpAddr::V6(*start),
        }
    }

    /// The last address.
    pub const fn end(&self) -> IpAddr {
        match self {
            Self::V4(_, end) => IpAddr::V4(*end),
            Self::V6(_, end) => IpAddr::V6(*end),
        }
    }
}

/// As `10.1.0.0-10.1.255.255`, or one address alone.
impl fmt::Display for AddressPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.start(), self.end()) {
            (start, end) if start == end => start.fmt(f),
            (start, end) => write!(f, "{start}-{end}"),
        }
    }
}

impl<'a> TrafficSelectors<'a> {
    /// These selectors.
    pub const fn new(selectors: Vec<TrafficSelector<'a>>) -> Self {
        Self { reserved: [0; 3], selectors }
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let count = reader.u8("TrafficSelectors.number_of_tss")?;
        let reserved = reader.array("TrafficSelectors.reserved")?;
        let selectors = (0..count).map(|_| TrafficSelector::parse(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish("TrafficSelectors.selectors")?;
        Ok(Self { reserved, selectors })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        put_u8(out, "TrafficSelectors.selectors", self.selectors.len())?;
        out.extend_from_slice(&self.reserved);
        self.selectors.iter().try_for_each(|selector| selector.emit(out))
    }
}

/// Type, protocol, length.
const HEADER_LENGTH: usize = 4;

impl<'a> TrafficSelector<'a> {
    /// The type on the wire.
    pub const fn ts_type(&self) -> TsType {
        match self {
            Self::AddressRange(AddressRange { addresses: AddressPair::V4(..), .. }) => TsType::IPV4_ADDR_RANGE,
            Self::AddressRange(AddressRange { addresses: AddressPair::V6(..), .. }) => TsType::IPV6_ADDR_RANGE,
            Self::Other { ts_type, .. } => *ts_type,
        }
    }

    fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let ts_type = TsType(reader.u8("TrafficSelector.ts_type")?);
        let second = reader.u8("TrafficSelector.ip_protocol_id")?;
        let length = reader.u16("TrafficSelector.selector_length")?;
        let data = body(reader, "TrafficSelector.selector_length", length, HEADER_LENGTH)?;
        match ts_type {
            TsType::IPV4_ADDR_RANGE => AddressRange::parse(second, data, |reader| {
                let place = "TrafficSelector.address";
                Ok(AddressPair::V4(reader.array::<4>(place)?.into(), reader.array::<4>(place)?.into()))
            }),
            TsType::IPV6_ADDR_RANGE => AddressRange::parse(second, data, |reader| {
                let place = "TrafficSelector.address";
                Ok(AddressPair::V6(reader.array::<16>(place)?.into(), reader.array::<16>(place)?.into()))
            }),
            _ => Ok(Self::Other { ts_type, second, data }),
        }
    }

    fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        let ts_type = self.ts_type().0;
        match self {
            Self::AddressRange(range) => put_sized(out, "TrafficSelector", [ts_type, range.protocol_id], |out| {
                range.emit(out);
                Ok(())
            }),
            Self::Other { second, data, .. } => put_sized(out, "TrafficSelector", [ts_type, *second], |out| {
                out.extend_from_slice(data);
                Ok(())
            }),
        }
    }
}

impl AddressRange {
    fn parse<'a>(
        protocol_id: u8,
        data: &'a [u8],
        addresses: impl FnOnce(&mut Reader<'a>) -> Result<AddressPair, ParseError>,
    ) -> Result<TrafficSelector<'a>, ParseError> {
        let mut reader = Reader::new(data);
        let start_port = reader.u16("TrafficSelector.start_port")?;
        let end_port = reader.u16("TrafficSelector.end_port")?;
        let addresses = addresses(&mut reader)?;
        reader.finish("TrafficSelector")?;
        Ok(TrafficSelector::AddressRange(Self { protocol_id, start_port, end_port, addresses }))
    }

    fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start_port.to_be_bytes());
        out.extend_from_slice(&self.end_port.to_be_bytes());
        match self.addresses {
            AddressPair::V4(start, end) => {
                out.extend_from_slice(&start.octets());
                out.extend_from_slice(&end.octets());
            }
            AddressPair::V6(start, end) => {
                out.extend_from_slice(&start.octets());
                out.extend_from_slice(&end.octets());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;
    use crate::ike::v2::Body;
    use crate::ike::v2::checks::survives;
    use alloc::{string::ToString, vec};

    #[test]
    fn selectors_survive() {
        let range = |addresses| {
            TrafficSelector::AddressRange(AddressRange { protocol_id: 6, start_port: 80, end_port: 443, addresses })
        };
        let v4_one = Ipv4Addr::from([10, 1, 0, 0]);
        let v4 = AddressPair::V4(v4_one, [10, 1, 255, 255].into());
        let v6 = AddressPair::V6([0; 16].into(), [0xff; 16].into());
        assert_eq!(v4.end(), IpAddr::from([10, 1, 255, 255]));
        assert_eq!(v4.to_string(), "10.1.0.0-10.1.255.255");
        assert_eq!(AddressPair::V4(v4_one, v4_one).to_string(), "10.1.0.0");
        assert_eq!(v6.start(), IpAddr::from([0; 16]));
        let label = TrafficSelector::Other { ts_type: TsType::SECLABEL, second: 0, data: b"label" };
        let mut selectors = TrafficSelectors::new(vec![range(v4), range(v6), label]);
        selectors.reserved = [1, 2, 3];
        survives(Body::TsI(selectors));
        survives(Body::TsR(TrafficSelectors::new(vec![])));
    }

    #[test]
    fn a_range_has_its_length_and_the_payload_its_number() {
        let fault = |bytes: &[u8]| TrafficSelectors::parse(bytes).map(|_| ()).map_err(|error| error.fault);
        let range = [7, 0, 0, 16, 0, 0, 0xff, 0xff, 10, 0, 0, 0, 10, 0, 0, 9];
        let with = |count| [&[count, 0, 0, 0][..], &range].concat();
        assert_eq!(fault(&with(1)), Ok(()));
        assert_eq!(fault(&with(2)), Err(Fault::Truncated));
        assert_eq!(fault(&with(0)), Err(Fault::Leftover));
        let mut short = with(1);
        short[7] = 15;
        assert_eq!(fault(&short), Err(Fault::Truncated));
        short[7] = 3;
        assert_eq!(fault(&short), Err(Fault::TooShort));
    }
}
