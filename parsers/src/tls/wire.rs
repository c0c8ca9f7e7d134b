//! The presentation language of TLS (RFC 8446 section 3): numbers, and vectors that carry their length in front.
//!
//! nom stays behind this file: what leaves it is a [`ParseError`] that names the field.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use nom::{IResult, Parser, bytes, error::ErrorKind, number};

use crate::{EmitError, Fault, ParseError};

/// The result of a parser: what is left, and what was read.
pub(super) type Parsed<'a, T> = IResult<&'a [u8], T, Trouble>;

/// A [`ParseError`] on its way through nom. All parsers here are deterministic: the first error is the error.
#[derive(Debug)]
pub(super) struct Trouble(ParseError);

impl Trouble {
    pub(super) fn new(place: &'static str, fault: Fault) -> nom::Err<Self> {
        nom::Err::Failure(Self(ParseError { place, fault }))
    }
}

impl nom::error::ParseError<&[u8]> for Trouble {
    /// nom's own parsers, as used here, fail in one way: the input ends. [`at`] adds the place.
    fn from_error_kind(_: &[u8], _: ErrorKind) -> Self {
        Self(ParseError { place: "", fault: Fault::Truncated })
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

impl From<nom::Err<Trouble>> for Trouble {
    fn from(error: nom::Err<Trouble>) -> Self {
        match error {
            nom::Err::Error(trouble) | nom::Err::Failure(trouble) => trouble,
            nom::Err::Incomplete(_) => Self(ParseError { place: "", fault: Fault::Truncated }),
        }
    }
}

/// Runs `parser` over all of `input`; anything left over is an error.
pub(super) fn complete<'a, T>(
    place: &'static str,
    input: &'a [u8],
    mut parser: impl FnMut(&'a [u8]) -> Parsed<'a, T>,
) -> Result<T, ParseError> {
    let (rest, value) = parser(input).map_err(|error| Trouble::from(error).0)?;
    if rest.is_empty() { Ok(value) } else { Err(ParseError { place, fault: Fault::Leftover }) }
}

/// Like [`complete`], inside another parser.
pub(super) fn all<'a, T>(
    place: &'static str,
    input: &'a [u8],
    parser: impl FnMut(&'a [u8]) -> Parsed<'a, T>,
) -> Result<T, nom::Err<Trouble>> {
    complete(place, input, parser).map_err(|error| nom::Err::Failure(Trouble(error)))
}

/// Names the place of a parser's failure.
fn at<'a, T>(
    place: &'static str,
    mut parser: impl Parser<&'a [u8], Output = T, Error = Trouble>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, T> {
    move |input| parser.parse(input).map_err(|error| Trouble::new(place, Trouble::from(error).0.fault))
}

pub(super) fn u8<'a>(place: &'static str) -> impl FnMut(&'a [u8]) -> Parsed<'a, u8> {
    at(place, number::complete::be_u8)
}

pub(super) fn u16<'a>(place: &'static str) -> impl FnMut(&'a [u8]) -> Parsed<'a, u16> {
    at(place, number::complete::be_u16)
}

pub(super) fn u24<'a>(place: &'static str) -> impl FnMut(&'a [u8]) -> Parsed<'a, u32> {
    at(place, number::complete::be_u24)
}

pub(super) fn u32<'a>(place: &'static str) -> impl FnMut(&'a [u8]) -> Parsed<'a, u32> {
    at(place, number::complete::be_u32)
}

pub(super) fn take<'a>(place: &'static str, count: usize) -> impl FnMut(&'a [u8]) -> Parsed<'a, &'a [u8]> {
    at(place, bytes::complete::take(count))
}

/// A field of fixed size.
pub(super) fn array<'a, const N: usize>(place: &'static str) -> impl FnMut(&'a [u8]) -> Parsed<'a, &'a [u8; N]> {
    move |input| match input.split_first_chunk() {
        Some((field, rest)) => Ok((rest, field)),
        None => Err(Trouble::new(place, Fault::Truncated)),
    }
}

/// `opaque field<..>` with a length of one byte.
pub(super) fn vector8<'a>(
    place: &'static str,
    bounds: RangeInclusive<usize>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, &'a [u8]> {
    vector(place, bounds, u8(place).map(u32::from))
}

/// `opaque field<..>` with a length of two bytes.
pub(super) fn vector16<'a>(
    place: &'static str,
    bounds: RangeInclusive<usize>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, &'a [u8]> {
    vector(place, bounds, u16(place).map(u32::from))
}

/// `opaque field<..>` with a length of three bytes.
pub(super) fn vector24<'a>(
    place: &'static str,
    bounds: RangeInclusive<usize>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, &'a [u8]> {
    vector(place, bounds, u24(place))
}

fn vector<'a>(
    place: &'static str,
    bounds: RangeInclusive<usize>,
    mut length: impl Parser<&'a [u8], Output = u32, Error = Trouble>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, &'a [u8]> {
    move |input| {
        let (rest, length) = length.parse(input)?;
        let length = usize::try_from(length).map_err(|_| Trouble::new(place, Fault::TooLong))?;
        if length < *bounds.start() {
            return Err(Trouble::new(place, Fault::TooShort));
        }
        if length > *bounds.end() {
            return Err(Trouble::new(place, Fault::TooLong));
        }
        take(place, length)(rest)
    }
}

/// Room for the items of a list before it has to grow, in items and in bytes: the extensions of a usual hello, and what
/// allocators give quickly.
const USUAL_ITEMS: usize = 16;
const USUAL_ROOM: usize = 1024;

/// Items one after the other to the end of `input`. Every item takes at least one byte.
pub(super) fn list<'a, T>(
    mut input: &'a [u8],
    mut item: impl FnMut(&'a [u8]) -> Parsed<'a, T>,
) -> Result<Vec<T>, nom::Err<Trouble>> {
    // Most lists are short, and grow no more than this.
    let most = USUAL_ITEMS.min(USUAL_ROOM / size_of::<T>().max(1));
    let mut items = Vec::with_capacity(input.len().min(most));
    while !input.is_empty() {
        let (rest, value) = item(input)?;
        items.push(value);
        input = rest;
    }
    Ok(items)
}

/// Numbers of two bytes one after the other, each given to `wrap`.
pub(super) fn list_u16<T>(
    place: &'static str,
    input: &[u8],
    wrap: impl Fn(u16) -> T,
) -> Result<Vec<T>, nom::Err<Trouble>> {
    let (pairs, rest) = input.as_chunks();
    if !rest.is_empty() {
        return Err(Trouble::new(place, Fault::Truncated));
    }
    Ok(pairs.iter().map(|pair| wrap(u16::from_be_bytes(*pair))).collect())
}

/// Writes a vector with a length of one byte.
pub(super) fn put_vector8(
    out: &mut Vec<u8>,
    place: &'static str,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EmitError>,
) -> Result<(), EmitError> {
    put_vector::<1>(out, place, body)
}

/// Writes a vector with a length of two bytes.
pub(super) fn put_vector16(
    out: &mut Vec<u8>,
    place: &'static str,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EmitError>,
) -> Result<(), EmitError> {
    put_vector::<2>(out, place, body)
}

/// Writes a vector with a length of three bytes.
pub(super) fn put_vector24(
    out: &mut Vec<u8>,
    place: &'static str,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EmitError>,
) -> Result<(), EmitError> {
    put_vector::<3>(out, place, body)
}

/// Writes `body` behind its length in `N` bytes.
fn put_vector<const N: usize>(
    out: &mut Vec<u8>,
    place: &'static str,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EmitError>,
) -> Result<(), EmitError> {
    let start = out.len();
    out.extend_from_slice(&[0; N]);
    body(out)?;
    let Some((field, content)) = out.get_mut(start..).and_then(|written| written.split_first_chunk_mut::<N>()) else {
        return Err(EmitError { place });
    };
    let length = content.len().to_be_bytes();
    match length.split_last_chunk::<N>() {
        Some((zeros, digits)) if zeros.iter().all(|zero| *zero == 0) => *field = *digits,
        _ => return Err(EmitError { place }),
    }
    Ok(())
}

/// A body of plain bytes for the functions above.
pub(super) fn opaque(bytes: &[u8]) -> impl FnOnce(&mut Vec<u8>) -> Result<(), EmitError> {
    move |out| {
        out.extend_from_slice(bytes);
        Ok(())
    }
}

/// A body of two-byte numbers for the functions above.
pub(super) fn numbers(numbers: impl Iterator<Item = u16>) -> impl FnOnce(&mut Vec<u8>) -> Result<(), EmitError> {
    move |out| {
        numbers.for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_vector_keeps_its_bounds() {
        let parse = |input: &'static [u8]| complete("field", input, vector8("field", 1..=2));
        let fault = |input| parse(input).map_err(|error| error.fault);
        assert_eq!(fault(&[2, 7, 8]), Ok(&[7, 8][..]));
        assert_eq!(fault(&[0]), Err(Fault::TooShort));
        assert_eq!(fault(&[3, 7, 8, 9]), Err(Fault::TooLong));
        assert_eq!(fault(&[2, 7]), Err(Fault::Truncated));
        assert_eq!(fault(&[]), Err(Fault::Truncated));
        assert_eq!(fault(&[1, 7, 8]), Err(Fault::Leftover));
        assert_eq!(parse(&[2, 7]).map_err(|error| error.place), Err("field"));
    }

    #[test]
    fn a_list_does_not_end_inside_an_item() {
        assert!(list_u16("field", &[0, 1, 0, 2], |n| n).is_ok_and(|items| items == [1, 2]));
        assert!(list_u16("field", &[0, 1, 0], |n| n).is_err());
    }

    #[test]
    fn a_length_that_does_not_fit_is_an_error() {
        let mut out = vec![9];
        assert_eq!(put_vector8(&mut out, "field", opaque(&[7; 255])), Ok(()));
        assert_eq!(out[..3], [9, 255, 7]);
        assert_eq!(put_vector8(&mut out, "field", opaque(&[7; 256])), Err(EmitError { place: "field" }));
        assert_eq!(put_vector16(&mut Vec::new(), "field", opaque(&[0; 65536])), Err(EmitError { place: "field" }));
        let mut out = vec![];
        assert_eq!(put_vector24(&mut out, "field", opaque(&[7; 65536])), Ok(()));
        assert_eq!(out[..4], [1, 0, 0, 7]);
    }
}
