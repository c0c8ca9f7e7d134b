//! Finished: proof that both sides saw the same handshake (RFC 8446 section 4.4.4).

use alloc::vec::Vec;

use super::wire::opaque;
use crate::{EmitError, Fault, ParseError};

/// A MAC over the transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished<'a> {
    /// As long as the hash of the suite.
    pub verify_data: &'a [u8],
}

impl<'a> Finished<'a> {
    /// The shortest and the longest hash that a suite may have.
    const HASHES: core::ops::RangeInclusive<usize> = 32..=64;

    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let refuse = |fault| Err(ParseError { place: "Finished.verify_data", fault });
        match body.len() {
            length if length < *Self::HASHES.start() => refuse(Fault::TooShort),
            length if length > *Self::HASHES.end() => refuse(Fault::TooLong),
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
    use crate::tls::Message;
    use crate::tls::handshake::checks::survives;
    use proptest::prelude::*;

    #[test]
    fn verify_data_that_is_no_hash_is_refused() {
        assert_eq!(Finished::parse(&[0; 31]).map_err(|error| error.fault), Err(Fault::TooShort));
        assert_eq!(Finished::parse(&[0; 65]).map_err(|error| error.fault), Err(Fault::TooLong));
    }

    proptest! {
        #[test]
        fn any_finished_survives(verify_data in proptest::collection::vec(any::<u8>(), 32..=64)) {
            survives(Message::Finished(Finished { verify_data: &verify_data }));
        }
    }
}
