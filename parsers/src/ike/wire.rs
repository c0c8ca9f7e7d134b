//! Reading and writing the fields of ISAKMP: numbers, and structures that carry the length of themselves, header
//! included.
//!
//! nom stays behind this file: what leaves it is a [`ParseError`] that names the field.

use alloc::vec::Vec;

use nom::{Parser, bytes, number};

use crate::{EmitError, Fault, ParseError};

/// Bytes that are read from front to back.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn u8(&mut self, place: &'static str) -> Result<u8, ParseError> {
        self.next(place, number::complete::be_u8)
    }

    pub(super) fn u16(&mut self, place: &'static str) -> Result<u16, ParseError> {
        self.next(place, number::complete::be_u16)
    }

    pub(super) fn u32(&mut self, place: &'static str) -> Result<u32, ParseError> {
        self.next(place, number::complete::be_u32)
    }

    pub(super) fn take(&mut self, place: &'static str, count: usize) -> Result<&'a [u8], ParseError> {
        self.next(place, bytes::complete::take(count))
    }

    /// A field of fixed size.
    pub(super) fn array<const N: usize>(&mut self, place: &'static str) -> Result<[u8; N], ParseError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(ParseError { place, fault: Fault::Truncated })?;
        self.rest = rest;
        Ok(*field)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that was not read.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Anything left over is an error.
    pub(super) fn finish(self, place: &'static str) -> Result<(), ParseError> {
        if self.is_empty() { Ok(()) } else { Err(ParseError { place, fault: Fault::Leftover }) }
    }

    /// nom's own parsers, as used here, fail in one way: the input ends.
    fn next<T>(
        &mut self,
        place: &'static str,
        mut parser: impl Parser<&'a [u8], Output = T, Error = ()>,
    ) -> Result<T, ParseError> {
        let (rest, value) = parser.parse(self.rest).map_err(|_| ParseError { place, fault: Fault::Truncated })?;
        self.rest = rest;
        Ok(value)
    }
}

/// The body of a structure whose two-byte `length` counts `header` bytes as well, which were read before.
pub(super) fn body<'a>(
    reader: &mut Reader<'a>,
    place: &'static str,
    length: u16,
    header: usize,
) -> Result<&'a [u8], ParseError> {
    let length = usize::from(length).checked_sub(header).ok_or(ParseError { place, fault: Fault::TooShort })?;
    reader.take(place, length)
}

/// Writes a structure of two bytes, its own length in two bytes, and `body`: generic payload headers, traffic selectors
/// and EAP packets are alike in that.
pub(super) fn put_sized(
    out: &mut Vec<u8>,
    place: &'static str,
    [first, second]: [u8; 2],
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EmitError>,
) -> Result<(), EmitError> {
    let start = out.len();
    out.extend_from_slice(&[first, second, 0, 0]);
    body(out)?;
    let structure = out.get_mut(start..).unwrap_or_default();
    let length = u16::try_from(structure.len()).map_err(|_| EmitError { place })?;
    if let Some([_, _, field @ ..]) = structure.first_chunk_mut::<4>() {
        *field = length.to_be_bytes();
    }
    Ok(())
}

/// Writes a length or count of one byte.
pub(super) fn put_u8(out: &mut Vec<u8>, place: &'static str, length: usize) -> Result<(), EmitError> {
    out.push(u8::try_from(length).map_err(|_| EmitError { place })?);
    Ok(())
}

/// Writes a length or count of two bytes.
pub(super) fn put_u16(out: &mut Vec<u8>, place: &'static str, length: usize) -> Result<(), EmitError> {
    out.extend_from_slice(&u16::try_from(length).map_err(|_| EmitError { place })?.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_reader_stops_at_the_end() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5]);
        assert_eq!(reader.u8("a"), Ok(1));
        assert_eq!(reader.u16("b"), Ok(0x0203));
        assert_eq!(reader.u32("c"), Err(ParseError { place: "c", fault: Fault::Truncated }));
        assert_eq!(reader.array("d"), Ok([4, 5]));
        assert_eq!(reader.array::<1>("e"), Err(ParseError { place: "e", fault: Fault::Truncated }));
        assert!(reader.is_empty());
        assert_eq!(reader.finish("f"), Ok(()));
        assert_eq!(Reader::new(&[1]).finish("f"), Err(ParseError { place: "f", fault: Fault::Leftover }));
    }

    #[test]
    fn a_length_counts_its_header() {
        assert_eq!(body(&mut Reader::new(&[7, 8]), "body", 6, 4), Ok(&[7, 8][..]));
        let fault = |length| body(&mut Reader::new(&[7, 8]), "body", length, 4).map_err(|error| error.fault);
        assert_eq!(fault(3), Err(Fault::TooShort));
        assert_eq!(fault(7), Err(Fault::Truncated));
    }

    #[test]
    fn a_length_that_does_not_fit_is_an_error() {
        let sized = |length| {
            let mut out = vec![9];
            let put = |out: &mut Vec<u8>| {
                out.resize(out.len() + length, 7);
                Ok(())
            };
            put_sized(&mut out, "field", [1, 2], put).map(|()| out[..5].to_vec())
        };
        assert_eq!(sized(0xfffb), Ok(vec![9, 1, 2, 0xff, 0xff]));
        assert_eq!(sized(0xfffc), Err(EmitError { place: "field" }));
        assert_eq!(put_u8(&mut Vec::new(), "field", 256), Err(EmitError { place: "field" }));
        assert_eq!(put_u16(&mut Vec::new(), "field", 65536), Err(EmitError { place: "field" }));
    }
}
