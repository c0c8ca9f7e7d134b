//! The SPIs of a Delete payload, alike in both versions: their size, their number, and they themselves.

use alloc::vec::Vec;

use super::wire::{Reader, put_u16};
use crate::{EmitError, Fault, ParseError};

/// Reads size, number and SPIs to the end.
pub(super) fn parse_spis(mut reader: Reader<'_>) -> Result<(u8, Vec<&[u8]>), ParseError> {
    let spi_size = reader.u8("Delete.spi_size")?;
    let count = reader.u16("Delete.number_of_spis")?;
    // SPIs of no bytes would cost memory that the message did not pay for.
    if spi_size == 0 && count > 1 {
        return Err(ParseError { place: "Delete.number_of_spis", fault: Fault::Illegal });
    }
    let spis = (0..count).map(|_| reader.take("Delete.spis", spi_size.into())).collect::<Result<_, _>>()?;
    reader.finish("Delete.spis")?;
    Ok((spi_size, spis))
}

/// Writes what [`parse_spis`] reads.
pub(super) fn put_spis(out: &mut Vec<u8>, spi_size: u8, spis: &[&[u8]]) -> Result<(), EmitError> {
    if spis.iter().any(|spi| spi.len() != usize::from(spi_size)) {
        return Err(EmitError { place: "Delete.spis" });
    }
    out.push(spi_size);
    put_u16(out, "Delete.spis", spis.len())?;
    spis.iter().for_each(|spi| out.extend_from_slice(spi));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spis_have_the_size() {
        let parse = |bytes| parse_spis(Reader::new(bytes)).map(|(size, spis)| (size, spis.len()));
        assert_eq!(parse(&[2, 0, 2, 1, 2, 3, 4]), Ok((2, 2)));
        assert_eq!(parse(&[0, 0, 0]), Ok((0, 0)));
        assert_eq!(parse(&[0, 0, 1]), Ok((0, 1)));
        assert_eq!(parse(&[0, 0, 2]).map_err(|error| error.fault), Err(Fault::Illegal));
        assert_eq!(parse(&[2, 0, 2, 1, 2, 3]).map_err(|error| error.fault), Err(Fault::Truncated));
        assert_eq!(parse(&[2, 0, 1, 1, 2, 3]).map_err(|error| error.fault), Err(Fault::Leftover));
        assert!(put_spis(&mut Vec::new(), 2, &[&[1, 2], &[3]]).is_err());
    }
}
