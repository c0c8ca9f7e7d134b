//! Finished: proof that both sides saw the same handshake (RFC 8446 section 4.4.4, RFC 5246 section 7.4.9).

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::wire::opaque;
use crate::{EmitError, Fault, ParseError};

/// A MAC over the transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished<'a> {
    /// As long as the hash of the suite; in TLS 1.2 12 bytes.
    pub verify_data: &'a [u8],
}

impl<'a> Finished<'a> {
    /// The shortest and the longest hash that a suite may have.
    const HASHES: RangeInclusive<usize> = 32..=64;

    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        Self::parse_within(Self::HASHES, body)
    }

    pub(super) fn parse_tls12(body: &'a [u8]) -> Result<Self, ParseError> {
        Self::parse_within(12..=12, body)
    }

    fn parse_within(lengths: RangeInclusive<usize>, body: &'a [u8]) -> Result<Self, ParseError> {
        let refuse = |fault| Err(ParseError { place: "Finished.verify_data", fault });
        match body.len() {
            length if length < *lengths.start() => refuse(Fault::TooShort),
            length if length > *lengths.end() => refuse(Fault::TooLong),
            _ => Ok(Self { verify_data: body }),
        }
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        opaque(self.verify_data)(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::handshake::checks::{survives, survives_as};
    use crate::tls::{Message, ProtocolVersion};
    use proptest::prelude::*;

    #[test]
    fn verify_data_that_is_no_hash_is_refused() {
        assert_eq!(Finished::parse(&[0; 31]).map_err(|error| error.fault), Err(Fault::TooShort));
        assert_eq!(Finished::parse(&[0; 65]).map_err(|error| error.fault), Err(Fault::TooLong));
        assert_eq!(Finished::parse_tls12(&[0; 11]).map_err(|error| error.fault), Err(Fault::TooShort));
        assert_eq!(Finished::parse_tls12(&[0; 32]).map_err(|error| error.fault), Err(Fault::TooLong));
    }

    proptest! {
        #[test]
        fn any_finished_survives(verify_data in proptest::collection::vec(any::<u8>(), 32..=64)) {
            survives(Message::Finished(Finished { verify_data: &verify_data }));
        }

        #[test]
        fn any_finished_of_tls_1_2_survives(verify_data: [u8; 12]) {
            survives_as(ProtocolVersion::TLS_1_2, Message::Finished(Finished { verify_data: &verify_data }));
        }
    }
}
