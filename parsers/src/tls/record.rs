//! Records: how TLS cuts its byte stream (RFC 8446 section 5.1 and 5.2).

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::ProtocolVersion;
use super::wire::{Parsed, Trouble, complete, take, u8, u16};
use crate::registry::registry;
use crate::{EmitError, Fault, ParseError};

registry! {
    /// What a record carries.
    pub struct ContentType(u8), unknown "content type {}" {
        CHANGE_CIPHER_SPEC = 20, "change_cipher_spec";
        ALERT = 21, "alert";
        HANDSHAKE = 22, "handshake";
        APPLICATION_DATA = 23, "application_data";
    }
}

impl ContentType {
    /// `heartbeat` (RFC 6520): to name it in captures; no [`RecordHeader`] here has it.
    pub const HEARTBEAT: Self = Self(24);
}

/// The five bytes in front of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What follows; of a protected record always `application_data`.
    pub content_type: ContentType,
    /// Frozen at TLS 1.2, or 1.0 for a first ClientHello; says nothing and is ignored, but for its first byte: 3 in all
    /// of TLS, so that another protocol is told at once.
    pub legacy_record_version: ProtocolVersion,
    /// Bytes that follow.
    pub length: usize,
}

impl RecordHeader {
    /// Bytes of a header.
    pub const LENGTH: usize = 5;
    /// The most bytes of content that a record may carry.
    pub const MAX_PLAINTEXT: usize = 1 << 14;
    /// The most bytes of a protected record after its header.
    pub const MAX_CIPHERTEXT: usize = Self::MAX_PLAINTEXT + 256;
    /// The same in TLS 1.2 (RFC 5246 section 6.2.3).
    pub const MAX_CIPHERTEXT_TLS12: usize = Self::MAX_PLAINTEXT + 2048;

    /// Reads a header, so that a reader knows how many bytes to take.
    ///
    /// Refuses what cannot start a record of TLS 1.3, such as the bytes of another protocol, before anything is stored.
    pub fn parse(bytes: &[u8; Self::LENGTH]) -> Result<Self, ParseError> {
        complete("TLSPlaintext", bytes, header)
    }

    /// Like [`RecordHeader::parse`], by the lengths of that version. In TLS 1.2 a protected record keeps its content type,
    /// so that any type may be as long as ciphertext.
    pub fn parse_as(version: ProtocolVersion, bytes: &[u8; Self::LENGTH]) -> Result<Self, ParseError> {
        let check = if version == ProtocolVersion::TLS_1_2 { check_length_tls12 } else { check_length };
        complete("TLSPlaintext", bytes, |input| header_with(check, input))
    }

    /// Bytes of the whole record, header included.
    pub const fn record_length(&self) -> usize {
        Self::LENGTH.saturating_add(self.length)
    }
}

fn header(input: &[u8]) -> Parsed<'_, RecordHeader> {
    header_with(check_length, input)
}

fn header_with(check: fn(ContentType, usize) -> Result<(), Fault>, input: &[u8]) -> Parsed<'_, RecordHeader> {
    let (input, content_type) = u8("TLSPlaintext.type")(input)?;
    let (input, legacy_record_version) = u16("TLSPlaintext.legacy_record_version")(input)?;
    let (input, length) = u16("TLSPlaintext.length")(input)?;
    let (content_type, length) = (ContentType(content_type), usize::from(length));
    if content_type.name().is_none() {
        return Err(Trouble::new("TLSPlaintext.type", Fault::Illegal));
    }
    if legacy_record_version >> 8 != 3 {
        return Err(Trouble::new("TLSPlaintext.legacy_record_version", Fault::Illegal));
    }
    check(content_type, length).map_err(|fault| Trouble::new("TLSPlaintext.length", fault))?;
    let legacy_record_version = ProtocolVersion(legacy_record_version);
    Ok((input, RecordHeader { content_type, legacy_record_version, length }))
}

fn check_length(content_type: ContentType, length: usize) -> Result<(), Fault> {
    let (least, most) = match content_type {
        ContentType::CHANGE_CIPHER_SPEC => (1, 1),
        ContentType::ALERT => (2, RecordHeader::MAX_PLAINTEXT),
        // A protected record has at least its inner content type and a tag, the shortest of which is eight bytes.
        ContentType::APPLICATION_DATA => (9, RecordHeader::MAX_CIPHERTEXT),
        _ => (1, RecordHeader::MAX_PLAINTEXT),
    };
    check_bounds(least..=most, length)
}

fn check_length_tls12(content_type: ContentType, length: usize) -> Result<(), Fault> {
    let bounds = match content_type {
        ContentType::CHANGE_CIPHER_SPEC => 1..=1,
        ContentType::ALERT => 2..=RecordHeader::MAX_CIPHERTEXT_TLS12,
        _ => 1..=RecordHeader::MAX_CIPHERTEXT_TLS12,
    };
    check_bounds(bounds, length)
}

fn check_bounds(bounds: RangeInclusive<usize>, length: usize) -> Result<(), Fault> {
    match length {
        _ if length < *bounds.start() => Err(Fault::TooShort),
        _ if length > *bounds.end() => Err(Fault::TooLong),
        _ => Ok(()),
    }
}

/// A whole record: `TLSPlaintext` and `TLSCiphertext` look the same from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What the fragment is; of a protected record always `application_data`.
    pub content_type: ContentType,
    /// See [`RecordHeader::legacy_record_version`].
    pub legacy_record_version: ProtocolVersion,
    /// The content, or its ciphertext.
    pub fragment: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads exactly one record.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        complete("TLSPlaintext", bytes, record)
    }

    /// Writes header and fragment.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        let place = "TLSPlaintext.fragment";
        check_length(self.content_type, self.fragment.len()).map_err(|_| EmitError { place })?;
        let length = u16::try_from(self.fragment.len()).map_err(|_| EmitError { place })?;
        out.push(self.content_type.0);
        out.extend_from_slice(&self.legacy_record_version.0.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(self.fragment);
        Ok(())
    }
}

fn record(input: &[u8]) -> Parsed<'_, Record<'_>> {
    let (input, header) = header(input)?;
    let RecordHeader { content_type, legacy_record_version, length } = header;
    let (input, fragment) = take("TLSPlaintext.fragment", length)(input)?;
    Ok((input, Record { content_type, legacy_record_version, fragment }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mangle::mangle;
    use proptest::prelude::*;

    fn fault(bytes: [u8; 5]) -> (&'static str, Fault) {
        let error = RecordHeader::parse(&bytes).unwrap_err();
        (error.place, error.fault)
    }

    #[test]
    fn a_header_tells_how_much_follows() {
        let header = RecordHeader::parse(&[22, 3, 1, 1, 2]).unwrap();
        assert_eq!(header.content_type, ContentType::HANDSHAKE);
        assert_eq!(header.legacy_record_version, ProtocolVersion::TLS_1_0);
        assert_eq!(header.length, 258);
        assert_eq!(header.record_length(), 263);
    }

    #[test]
    fn the_largest_records_are_accepted_and_one_byte_more_is_not() {
        assert!(RecordHeader::parse(&[22, 3, 3, 0x40, 0x00]).is_ok());
        assert_eq!(fault([22, 3, 3, 0x40, 0x01]), ("TLSPlaintext.length", Fault::TooLong));
        assert!(RecordHeader::parse(&[23, 3, 3, 0x41, 0x00]).is_ok());
        assert_eq!(fault([23, 3, 3, 0x41, 0x01]), ("TLSPlaintext.length", Fault::TooLong));
    }

    #[test]
    fn records_of_tls_1_2_may_be_longer_if_asked_for() {
        for content_type in [21, 22, 23] {
            let as_version = |version, length: u16| {
                let [high, low] = length.to_be_bytes();
                RecordHeader::parse_as(version, &[content_type, 3, 3, high, low]).map_err(|error| error.fault)
            };
            let (tls12, tls13) = (ProtocolVersion::TLS_1_2, ProtocolVersion::TLS_1_3);
            assert_eq!(as_version(tls12, 0x4800).unwrap().length, RecordHeader::MAX_CIPHERTEXT_TLS12);
            assert_eq!(as_version(tls12, 0x4801), Err(Fault::TooLong));
            assert_eq!(as_version(tls12, 0), Err(Fault::TooShort));
            assert_eq!(as_version(tls13, 0x4800), Err(Fault::TooLong));
        }
        assert!(RecordHeader::parse_as(ProtocolVersion::TLS_1_2, &[20, 3, 3, 0, 2]).is_err());
    }

    #[test]
    fn impossible_lengths_are_refused() {
        assert_eq!(fault([22, 3, 3, 0, 0]), ("TLSPlaintext.length", Fault::TooShort));
        assert_eq!(fault([21, 3, 3, 0, 1]), ("TLSPlaintext.length", Fault::TooShort));
        assert_eq!(fault([20, 3, 3, 0, 2]), ("TLSPlaintext.length", Fault::TooLong));
        assert_eq!(fault([23, 3, 3, 0, 8]), ("TLSPlaintext.length", Fault::TooShort));
    }

    #[test]
    fn other_protocols_are_refused() {
        assert_eq!(fault(*b"HTTP/"), ("TLSPlaintext.type", Fault::Illegal));
        assert_eq!(fault(*b"SSH-2"), ("TLSPlaintext.type", Fault::Illegal));
        assert_eq!(fault([22, 2, 0, 0, 9]), ("TLSPlaintext.legacy_record_version", Fault::Illegal));
        assert_eq!(fault([22, 4, 3, 0, 9]), ("TLSPlaintext.legacy_record_version", Fault::Illegal));
    }

    #[test]
    fn the_legacy_version_is_ignored() {
        for minor in 0..=255 {
            let header = RecordHeader::parse(&[22, 3, minor, 0, 9]).unwrap();
            assert_eq!(header.legacy_record_version, ProtocolVersion(0x0300 | u16::from(minor)));
        }
    }

    #[test]
    fn a_record_that_cannot_be_is_not_emitted() {
        let empty = Record {
            content_type: ContentType::HANDSHAKE,
            legacy_record_version: ProtocolVersion::TLS_1_2,
            fragment: &[],
        };
        assert!(empty.emit(&mut Vec::new()).is_err());
        let large = [0; RecordHeader::MAX_CIPHERTEXT + 1];
        let large = Record { content_type: ContentType::APPLICATION_DATA, fragment: &large, ..empty };
        assert!(large.emit(&mut Vec::new()).is_err());
    }

    #[test]
    fn a_mangled_record_does_not_panic() {
        let whole = [21, 3, 3, 0, 2, 2, 40];
        assert!(Record::parse(&whole).is_ok());
        mangle(&whole, |mangled| {
            if mangled.len() < whole.len() {
                assert_eq!(Record::parse(mangled).map_err(|error| error.fault), Err(Fault::Truncated));
            } else if let Ok(record) = Record::parse(mangled) {
                assert_eq!(record.fragment.len(), 2);
            }
        });
        assert_eq!(Record::parse(&[21, 3, 3, 0, 2, 2, 40, 0]).map_err(|error| error.fault), Err(Fault::Leftover));
    }

    proptest! {
        #[test]
        fn any_record_survives(
            content_type in 21_u8..=23,
            version in 0x0300_u16..=0x03ff,
            fragment in proptest::collection::vec(any::<u8>(), 9..300),
        ) {
            let record = Record {
                content_type: ContentType(content_type),
                legacy_record_version: ProtocolVersion(version),
                fragment: &fragment,
            };
            let mut out = Vec::new();
            record.emit(&mut out).unwrap();
            prop_assert_eq!(Record::parse(&out), Ok(record));
        }
    }
}
