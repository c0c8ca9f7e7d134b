//! Encrypted payloads: whole (RFC 7296 section 3.14) and in fragments (RFC 7383 section 2.5).

use alloc::vec::Vec;

use crate::ParseError;
use crate::ike::PayloadType;
use crate::ike::wire::Reader;

/// SK: the payloads of a message, encrypted. It is the last payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encrypted<'a> {
    /// The type of the first payload inside.
    pub first: PayloadType,
    /// Initialization vector, ciphertext with padding, integrity checksum: how long each is depends on the algorithms.
    pub data: &'a [u8],
}

/// SKF: a piece of them, encrypted by itself. It is the last payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncryptedFragment<'a> {
    /// In the first fragment the type of the first payload inside, else NONE.
    pub first: PayloadType,
    /// Counts the fragments from 1.
    pub fragment_number: u16,
    /// How many there are.
    pub total_fragments: u16,
    /// As in [`Encrypted::data`].
    pub data: &'a [u8],
}

impl<'a> EncryptedFragment<'a> {
    pub(super) fn parse(first: PayloadType, bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let fragment_number = reader.u16("EncryptedFragment.fragment_number")?;
        let total_fragments = reader.u16("EncryptedFragment.total_fragments")?;
        Ok(Self { first, fragment_number, total_fragments, data: reader.rest() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.fragment_number.to_be_bytes());
        out.extend_from_slice(&self.total_fragments.to_be_bytes());
        out.extend_from_slice(self.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::v2::Body;
    use crate::ike::v2::checks::survives;

    #[test]
    fn ciphertext_survives() {
        let first = PayloadType::V2_IDI;
        survives(Body::Encrypted(Encrypted { first, data: &[7; 40] }));
        let fragment = EncryptedFragment { first, fragment_number: 1, total_fragments: 3, data: &[8; 30] };
        survives(Body::EncryptedFragment(fragment));
    }
}
