//! The header that both versions of IKE begin with (RFC 2408 section 3.1, RFC 7296 section 3.1), and what tells IKE from
//! other datagrams.

use alloc::vec::Vec;
use core::fmt;

use super::wire::Reader;
use super::{Chain, ExchangeType, PayloadType};
use crate::{EmitError, Fault, ParseError};

/// A version of the protocol: major in the upper four bits, minor in the lower four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u8);

impl Version {
    /// ISAKMP as IKEv1 uses it.
    pub const V1: Self = Self(0x10);
    /// IKEv2.
    pub const V2: Self = Self(0x20);

    /// The major version: 1 or 2 are known.
    pub const fn major(self) -> u8 {
        self.0 >> 4
    }

    /// The minor version: nothing but 0 was ever defined.
    pub const fn minor(self) -> u8 {
        self.0 & 0xf
    }
}

/// As people write it: `1.0`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}

/// The flags of the header. The two versions use different bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// IKEv1: the payloads are encrypted.
    pub const ENCRYPTION: Self = Self(0x01);
    /// IKEv1: the sender waits for the peer to confirm that it set up the SA.
    pub const COMMIT: Self = Self(0x02);
    /// IKEv1: authenticated, but deliberately not encrypted.
    pub const AUTHENTICATION_ONLY: Self = Self(0x04);
    /// IKEv2: from the original initiator of the IKE SA.
    pub const INITIATOR: Self = Self(0x08);
    /// IKEv2: the sender could speak a higher major version.
    pub const VERSION: Self = Self(0x10);
    /// IKEv2: a response to a request of the same message ID.
    pub const RESPONSE: Self = Self(0x20);

    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// With `flags` set as well.
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// With `flags` not set.
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }
}

/// What a message says of itself. Next payload and length are not here: they follow from the payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Chosen by the initiator; in IKEv1 called the initiator cookie.
    pub initiator_spi: [u8; 8],
    /// Chosen by the responder; zero until it has answered.
    pub responder_spi: [u8; 8],
    /// The protocol's version.
    pub version: Version,
    /// The exchange it belongs to.
    pub exchange_type: ExchangeType,
    /// Flags; the bits without a meaning are kept.
    pub flags: Flags,
    /// IKEv1: names the exchange, 0 in phase 1. IKEv2: counts the requests.
    pub message_id: u32,
}

impl Header {
    /// Bytes on the wire.
    pub const LENGTH: usize = 28;
}

/// A message cut at its header: enough to find out to whom it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMessage<'a> {
    /// The header.
    pub header: Header,
    /// What the first payload is; in an encrypted message of IKEv1, the first one inside.
    pub next_payload: PayloadType,
    /// The payloads, or what they were encrypted to.
    pub body: &'a [u8],
}

impl<'a> RawMessage<'a> {
    /// Reads exactly one message of any version; of a datagram from port 4500, without the non-ESP marker.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let initiator_spi = reader.array("Header.initiator_spi")?;
        let responder_spi = reader.array("Header.responder_spi")?;
        let next_payload = PayloadType(reader.u8("Header.next_payload")?);
        let version = Version(reader.u8("Header.version")?);
        let exchange_type = ExchangeType(reader.u8("Header.exchange_type")?);
        let flags = Flags(reader.u8("Header.flags")?);
        let message_id = reader.u32("Header.message_id")?;
        let place = "Header.length";
        let length = reader.u32(place)?;
        let length = usize::try_from(length).map_err(|_| ParseError { place, fault: Fault::TooLong })?;
        let length = length.checked_sub(Header::LENGTH).ok_or(ParseError { place, fault: Fault::TooShort })?;
        let body = reader.take("Message", length)?;
        reader.finish("Message")?;
        let header = Header { initiator_spi, responder_spi, version, exchange_type, flags, message_id };
        Ok(Self { header, next_payload, body })
    }

    /// IKEv1: whether the body is ciphertext. A fragment is not: some implementations set the flag of the whole message
    /// in it.
    pub const fn is_encrypted(&self) -> bool {
        self.header.version.major() == 1
            && self.header.flags.contains(Flags::ENCRYPTION)
            && self.next_payload.0 != PayloadType::FRAGMENT.0
    }

    /// The payloads one by one, of which an encrypted message of IKEv1 shows none.
    pub const fn payloads(&self) -> Chain<'a> {
        match self.header.version.major() {
            1 if self.is_encrypted() => Chain::v1(PayloadType::NONE, &[]),
            1 => Chain::v1(self.next_payload, self.body),
            _ => Chain::v2(self.next_payload, self.body),
        }
    }

    /// Writes header and body.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        emit(&self.header, self.next_payload, out, |out| {
            out.extend_from_slice(self.body);
            Ok(())
        })
    }
}

/// Writes a header and the payloads that `body` writes.
pub(super) fn emit(
    header: &Header,
    next_payload: PayloadType,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EmitError>,
) -> Result<(), EmitError> {
    let start = out.len();
    out.extend_from_slice(&header.initiator_spi);
    out.extend_from_slice(&header.responder_spi);
    out.extend_from_slice(&[next_payload.0, header.version.0, header.exchange_type.0, header.flags.0]);
    out.extend_from_slice(&header.message_id.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out)?;
    let message = out.get_mut(start..).unwrap_or_default();
    let length = u32::try_from(message.len()).map_err(|_| EmitError { place: "Header.length" })?;
    if let Some([.., a, b, c, d]) = message.first_chunk_mut::<{ Header::LENGTH }>() {
        [*a, *b, *c, *d] = length.to_be_bytes();
    }
    Ok(())
}

/// The message in a datagram from or to port 4500; `None` if it does not begin with the non-ESP marker, four zero bytes
/// (RFC 3948 section 2.2), and so is ESP or a keepalive.
pub fn strip_non_esp_marker(datagram: &[u8]) -> Option<&[u8]> {
    datagram.strip_prefix(&[0; 4])
}

/// Whether a datagram on any port is likely to be IKE (without non-ESP marker): cheap, and wrong about other traffic
/// once in billions. It need not parse.
pub fn looks_like_ike(datagram: &[u8]) -> bool {
    let Some(header) = datagram.first_chunk::<{ Header::LENGTH }>() else {
        return false;
    };
    let [spis @ .., next_payload, version, exchange_type, flags, _, _, _, _, l0, l1, l2, l3] = header;
    let length = u32::from_be_bytes([*l0, *l1, *l2, *l3]);
    let has_initiator_spi = spis.iter().take(8).any(|byte| *byte != 0);
    has_initiator_spi
        && is_known(Version(*version), PayloadType(*next_payload), ExchangeType(*exchange_type), Flags(*flags))
        && usize::try_from(length).is_ok_and(|length| length == datagram.len())
}

/// Whether version, first payload, exchange and flags go together.
fn is_known(version: Version, next_payload: PayloadType, exchange_type: ExchangeType, flags: Flags) -> bool {
    let named = exchange_type.name().is_some() && next_payload.name().is_some();
    match version.major() {
        1 => {
            let unused = Flags(!0x07);
            let exchange = (ExchangeType::BASE..=ExchangeType::NEW_GROUP_MODE).contains(&exchange_type);
            let payload = !(PayloadType::V2_SA..=PayloadType::V2_PS).contains(&next_payload);
            named && exchange && payload && version.minor() == 0 && flags.0 & unused.0 == 0
        }
        2 => {
            let unused = Flags(!0x38);
            let payload =
                next_payload == PayloadType::NONE || (PayloadType::V2_SA..=PayloadType::V2_PS).contains(&next_payload);
            named && exchange_type >= ExchangeType::IKE_SA_INIT && payload && flags.0 & unused.0 == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mangle::mangle;
    use alloc::string::ToString;

    fn message(body: &[u8]) -> Vec<u8> {
        let header = Header {
            initiator_spi: *b"initiatr",
            responder_spi: *b"responde",
            version: Version::V1,
            exchange_type: ExchangeType::QUICK_MODE,
            flags: Flags::ENCRYPTION,
            message_id: 0x0102_0304,
        };
        let mut out = Vec::new();
        RawMessage { header, next_payload: PayloadType::HASH, body }.emit(&mut out).unwrap();
        out
    }

    #[test]
    fn the_header_survives() {
        let bytes = message(&[1, 2, 3]);
        assert_eq!(bytes[16..28], [8, 0x10, 32, 1, 1, 2, 3, 4, 0, 0, 0, 31]);
        let parsed = RawMessage::parse(&bytes).unwrap();
        assert_eq!(parsed.header.initiator_spi, *b"initiatr");
        assert_eq!(parsed.header.message_id, 0x0102_0304);
        assert_eq!(parsed.body, [1, 2, 3]);
        assert!(parsed.header.flags.contains(Flags::ENCRYPTION));
        assert_eq!(parsed.header.version.to_string(), "1.0");
        mangle(&bytes, |mangled| {
            if let Ok(parsed) = RawMessage::parse(mangled) {
                let mut again = Vec::new();
                parsed.emit(&mut again).unwrap();
                assert_eq!(again, mangled);
            }
        });
    }

    #[test]
    fn the_length_is_that_of_the_message() {
        let mut bytes = message(&[]);
        let fault = |bytes: &[u8]| RawMessage::parse(bytes).map(|_| ()).map_err(|error| error.fault);
        assert_eq!(fault(&bytes), Ok(()));
        bytes[27] = 27;
        assert_eq!(fault(&bytes), Err(Fault::TooShort));
        bytes[27] = 29;
        assert_eq!(fault(&bytes), Err(Fault::Truncated));
        bytes.extend_from_slice(&[0, 0]);
        assert_eq!(fault(&bytes), Err(Fault::Leftover));
    }

    #[test]
    fn ike_is_told_from_other_datagrams() {
        let ike = message(&[0; 12]);
        assert!(looks_like_ike(&ike));
        for (at, value) in [(16, 33), (16, 99), (17, 0x30), (17, 0x20), (18, 34), (18, 0), (19, 0x08), (27, 41)] {
            let mut other = ike.clone();
            other[at] = value;
            assert!(!looks_like_ike(&other), "{at} {value}");
        }
        assert!(!looks_like_ike(&ike[..27]));
        let mut ikev2 = ike.clone();
        ikev2[16..20].copy_from_slice(&[33, 0x20, 34, 0x08]);
        assert!(looks_like_ike(&ikev2));
        ikev2[..8].fill(0);
        assert!(!looks_like_ike(&ikev2));
    }

    #[test]
    fn the_marker_is_four_zeros() {
        assert_eq!(strip_non_esp_marker(&[0, 0, 0, 0, 7]), Some(&[7][..]));
        assert_eq!(strip_non_esp_marker(&[0, 0, 0, 1, 7]), None);
        assert_eq!(strip_non_esp_marker(&[0xff]), None);
    }
}
