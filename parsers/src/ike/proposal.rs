//! What the proposals of both versions have in common (RFC 2408 section 3.5, RFC 7296 section 3.3.1).

use alloc::vec::Vec;

use super::PayloadType;
use super::chain::{RawPayload, put_structures, structures};
use super::wire::{Reader, put_u8};
use crate::{EmitError, Fault, ParseError};

/// What stands before the transforms.
pub(super) struct ProposalHead<'a> {
    pub(super) number: u8,
    pub(super) protocol_id: u8,
    pub(super) spi: &'a [u8],
}

/// Reads the body of a proposal, each transform with `transform`.
pub(super) fn parse_proposal<'a, T>(
    bytes: &'a [u8],
    transform: impl FnMut(RawPayload<'a>) -> Result<T, ParseError>,
) -> Result<(ProposalHead<'a>, Vec<T>), ParseError> {
    let mut reader = Reader::new(bytes);
    let number = reader.u8("Proposal.number")?;
    let protocol_id = reader.u8("Proposal.protocol_id")?;
    let spi_size = reader.u8("Proposal.spi_size")?;
    let count = reader.u8("Proposal.number_of_transforms")?;
    let spi = reader.take("Proposal.spi", spi_size.into())?;
    let transforms = structures("Proposal.transforms", PayloadType::T, reader.rest(), transform)?;
    if transforms.len() != usize::from(count) {
        return Err(ParseError { place: "Proposal.number_of_transforms", fault: Fault::Illegal });
    }
    Ok((ProposalHead { number, protocol_id, spi }, transforms))
}

/// Writes what [`parse_proposal`] reads.
pub(super) fn put_proposal<T>(
    out: &mut Vec<u8>,
    head: &ProposalHead<'_>,
    transforms: &[T],
    reserved: impl Fn(&T) -> u8,
    transform: impl Fn(&T, &mut Vec<u8>) -> Result<(), EmitError>,
) -> Result<(), EmitError> {
    out.extend_from_slice(&[head.number, head.protocol_id]);
    put_u8(out, "Proposal.spi", head.spi.len())?;
    put_u8(out, "Proposal.transforms", transforms.len())?;
    out.extend_from_slice(head.spi);
    put_structures(out, "Proposal.transforms", PayloadType::T, transforms, reserved, transform)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_transforms_is_right() {
        let proposal = |count| [&[1, 3, 2, count, 7, 8][..], &[0, 0, 0, 4]].concat();
        let parse =
            |count| parse_proposal(&proposal(count), |raw| Ok(raw.reserved)).map(|(head, all)| (head.number, all));
        assert_eq!(parse(1), Ok((1, [0].to_vec())));
        let error = ParseError { place: "Proposal.number_of_transforms", fault: Fault::Illegal };
        assert_eq!(parse(0), Err(error));
        assert_eq!(parse(2), Err(error));
    }

    #[test]
    fn more_than_255_transforms_do_not_fit() {
        let head = ProposalHead { number: 1, protocol_id: 1, spi: &[] };
        let put = |count| put_proposal(&mut Vec::new(), &head, &alloc::vec![(); count], |()| 0, |(), _| Ok(()));
        assert_eq!(put(255), Ok(()));
        assert_eq!(put(256), Err(EmitError { place: "Proposal.transforms" }));
    }
}
