//! The chain of payloads: each says what the next one is and how long it is itself (RFC 2408 section 3.2, RFC 7296
//! section 3.2). Proposals and transforms inside an SA payload are chained the same way.

use alloc::vec::Vec;

use super::PayloadType;
use super::wire::{Reader, body, put_sized};
use crate::{EmitError, Fault, ParseError};

/// A payload whose body is not taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPayload<'a> {
    /// What it is.
    pub payload_type: PayloadType,
    /// What its header says the next one is: after SK and SKF, the first one inside.
    pub next_payload: PayloadType,
    /// The byte after it: in IKEv2 the critical bit and seven reserved ones.
    pub reserved: u8,
    /// The rest.
    pub body: &'a [u8],
}

/// The payloads of a chain one by one. The iterator ends after the last payload or the first error.
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    next: PayloadType,
    rest: &'a [u8],
    /// The types of payloads that name what is inside of them instead of what follows.
    last: &'static [PayloadType],
}

impl<'a> Chain<'a> {
    /// The chain of IKEv1 in `bytes` that begins with a payload of type `first`.
    pub const fn v1(first: PayloadType, bytes: &'a [u8]) -> Self {
        Self { next: first, rest: bytes, last: &[] }
    }

    /// The chain of IKEv2 in `bytes` that begins with a payload of type `first`. It ends with SK or SKF (RFC 7296
    /// section 3.14).
    pub const fn v2(first: PayloadType, bytes: &'a [u8]) -> Self {
        Self { next: first, rest: bytes, last: &[PayloadType::V2_SK, PayloadType::V2_SKF] }
    }

    /// The bytes after the last payload, once the iterator has ended without an error.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// All payloads, given to `parse`; nothing may follow them.
    pub(super) fn parse_all<T>(
        self,
        place: &'static str,
        parse: impl FnMut(RawPayload<'a>) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        let (payloads, rest) = self.parse(parse)?;
        if rest.is_empty() { Ok(payloads) } else { Err(ParseError { place, fault: Fault::Leftover }) }
    }

    /// All payloads, given to `parse`, and the bytes that follow them.
    pub(super) fn parse<T>(
        mut self,
        mut parse: impl FnMut(RawPayload<'a>) -> Result<T, ParseError>,
    ) -> Result<(Vec<T>, &'a [u8]), ParseError> {
        let payloads = self.by_ref().map(|payload| parse(payload?)).collect::<Result<_, _>>()?;
        Ok((payloads, self.rest))
    }

    fn payload(&mut self) -> Result<RawPayload<'a>, ParseError> {
        let mut reader = Reader::new(self.rest);
        let next_payload = PayloadType(reader.u8("Payload.next_payload")?);
        let reserved = reader.u8("Payload.reserved")?;
        let length = reader.u16("Payload.length")?;
        let body = body(&mut reader, "Payload.length", length, HEADER_LENGTH)?;
        let payload = RawPayload { payload_type: self.next, next_payload, reserved, body };
        self.rest = reader.rest();
        self.next = if self.last.contains(&self.next) { PayloadType::NONE } else { next_payload };
        Ok(payload)
    }
}

/// Next payload, reserved, length.
const HEADER_LENGTH: usize = 4;

impl<'a> Iterator for Chain<'a> {
    type Item = Result<RawPayload<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == PayloadType::NONE {
            return None;
        }
        let payload = self.payload();
        if payload.is_err() {
            self.next = PayloadType::NONE;
        }
        Some(payload)
    }
}

/// Structures of one type to the end of `bytes`, chained as payloads are: the proposals of an SA, the transforms of a
/// proposal.
pub(super) fn structures<'a, T>(
    place: &'static str,
    each: PayloadType,
    bytes: &'a [u8],
    mut parse: impl FnMut(RawPayload<'a>) -> Result<T, ParseError>,
) -> Result<Vec<T>, ParseError> {
    let first = if bytes.is_empty() { PayloadType::NONE } else { each };
    Chain::v1(first, bytes).parse_all(place, |structure| {
        if structure.payload_type != each {
            return Err(ParseError { place, fault: Fault::Illegal });
        }
        parse(structure)
    })
}

/// Writes what [`structures`] reads.
pub(super) fn put_structures<T>(
    out: &mut Vec<u8>,
    place: &'static str,
    each: PayloadType,
    structures: &[T],
    reserved: impl Fn(&T) -> u8,
    emit: impl Fn(&T, &mut Vec<u8>) -> Result<(), EmitError>,
) -> Result<(), EmitError> {
    let mut structures = structures.iter().peekable();
    while let Some(structure) = structures.next() {
        let next = if structures.peek().is_some() { each } else { PayloadType::NONE };
        put_sized(out, place, [next.0, reserved(structure)], |out| emit(structure, out))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_one_after_the_other() {
        let bytes = [10, 0, 0, 5, 7, 0, 0x80, 0, 4, 9];
        let mut chain = Chain::v1(PayloadType::KE, &bytes);
        let first = chain.next().unwrap().unwrap();
        assert_eq!((first.payload_type, first.next_payload), (PayloadType::KE, PayloadType::NONCE));
        assert_eq!((first.reserved, first.body), (0, &[7][..]));
        let second = chain.next().unwrap().unwrap();
        assert_eq!((second.payload_type, second.reserved, second.body), (PayloadType::NONCE, 0x80, &[][..]));
        assert_eq!(chain.next(), None);
        assert_eq!(chain.rest(), [9]);
    }

    #[test]
    fn an_encrypted_payload_is_the_last() {
        let mut chain = Chain::v2(PayloadType::V2_SK, &[35, 0, 0, 5, 7]);
        assert_eq!(chain.next().unwrap().unwrap().next_payload, PayloadType::V2_IDI);
        assert_eq!(chain.next(), None);
        // In IKEv1 the number means nothing.
        let mut chain = Chain::v1(PayloadType::V2_SK, &[35, 0, 0, 5, 7]);
        assert!(chain.next().unwrap().is_ok());
        assert!(chain.next().unwrap().is_err());
    }

    #[test]
    fn an_error_ends_the_chain() {
        for (bytes, fault) in [
            (&[1, 0, 0, 4, 1, 0, 0, 3, 0, 0][..], Fault::TooShort),
            (&[1, 0, 0, 4, 1, 0, 0, 8, 0], Fault::Truncated),
            (&[1, 0, 0, 4, 1, 0], Fault::Truncated),
            (&[1, 0, 0, 4], Fault::Truncated),
        ] {
            let mut chain = Chain::v1(PayloadType::VID, bytes);
            assert!(chain.next().unwrap().is_ok());
            assert_eq!(chain.next().unwrap().unwrap_err().fault, fault);
            assert_eq!(chain.next(), None);
        }
    }

    #[test]
    fn structures_are_all_of_one_type() {
        let place = "SA.proposals";
        let count = |bytes| structures(place, PayloadType::P, bytes, Ok).map(|all| all.len());
        assert_eq!(count(&[]), Ok(0));
        assert_eq!(count(&[2, 0, 0, 4, 0, 0, 0, 4]), Ok(2));
        assert_eq!(count(&[3, 0, 0, 4, 0, 0, 0, 4]), Err(ParseError { place, fault: Fault::Illegal }));
        assert_eq!(count(&[0, 0, 0, 4, 0, 0, 0, 4]), Err(ParseError { place, fault: Fault::Leftover }));
    }
}
