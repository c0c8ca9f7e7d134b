//! UDP (RFC 768).

use std::net::SocketAddr;

use super::ip::{Packet, cut};
use super::{Arrival, Datagram, Fault, field, number};

const HEADER_LENGTH: usize = 8;

/// Reads the datagram in a packet.
pub(super) fn parse<'a>(arrival: Arrival, packet: &Packet<'a>, fragmented: bool) -> Result<Datagram<'a>, Fault> {
    let mut rest = packet.payload;
    let source = SocketAddr::new(packet.source, number(&mut rest)?);
    let destination = SocketAddr::new(packet.destination, number(&mut rest)?);
    let length = usize::from(number(&mut rest)?);
    field::<2>(&mut rest)?;
    let (payload, missing) = match length {
        // A jumbogram, or a card's work.
        0 => (rest, packet.missing),
        _ => cut(rest, length.checked_sub(HEADER_LENGTH).ok_or(Fault::Malformed)?),
    };
    // The capture may cut a datagram short, but IP may not.
    if missing > packet.missing {
        return Err(Fault::Malformed);
    }
    Ok(Datagram { arrival, source, destination, payload, missing, fragmented })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::ip::Protocol;
    use std::net::IpAddr;

    fn parsed(bytes: &[u8], missing: usize) -> Result<(Vec<u8>, usize), Fault> {
        let (source, destination) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let packet = Packet { source, destination, protocol: Protocol::UDP, payload: bytes, missing, fragment: None };
        let datagram = parse(Arrival::default(), &packet, false)?;
        assert_eq!(datagram.source, SocketAddr::new(source, 500));
        assert_eq!(datagram.destination, SocketAddr::new(destination, 4500));
        Ok((datagram.payload.to_vec(), datagram.missing))
    }

    #[test]
    fn the_payload_is_as_long_as_udp_says() {
        let header = |length| [1, 0xf4, 0x11, 0x94, 0, length, 0, 0];
        let datagram = |length| [&header(length)[..], b"payload"].concat();
        assert_eq!(parsed(&datagram(15), 0), Ok((b"payload".to_vec(), 0)));
        assert_eq!(parsed(&datagram(12), 0), Ok((b"payl".to_vec(), 0)));
        assert_eq!(parsed(&datagram(0), 0), Ok((b"payload".to_vec(), 0)));
        assert_eq!(parsed(&datagram(18), 3), Ok((b"payload".to_vec(), 3)));
        assert_eq!(parsed(&datagram(18), 0), Err(Fault::Malformed));
        assert_eq!(parsed(&datagram(7), 0), Err(Fault::Malformed));
        assert_eq!(parsed(&header(8)[..7], 0), Err(Fault::Malformed));
    }
}
