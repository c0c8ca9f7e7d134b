//! CertificateVerify: proof that the sender has the certificate's private key (RFC 8446 section 4.4.3, RFC 5246 section
//! 7.4.8).

use alloc::vec::Vec;

use super::SignatureScheme;
use super::wire::{complete, opaque, put_vector16, u16, vector16};
use crate::{EmitError, ParseError};

/// A signature over the transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateVerify<'a> {
    /// How it was made.
    pub algorithm: SignatureScheme,
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> CertificateVerify<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        complete("CertificateVerify", body, |input| {
            let (input, algorithm) = u16("CertificateVerify.algorithm")(input)?;
            let (input, signature) = vector16("CertificateVerify.signature", 0..=0xffff)(input)?;
            Ok((input, Self { algorithm: SignatureScheme(algorithm), signature }))
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.extend_from_slice(&self.algorithm.0.to_be_bytes());
        put_vector16(out, "CertificateVerify.signature", opaque(self.signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Message;
    use crate::tls::handshake::checks::survives;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_certificate_verify_survives(
            algorithm: u16,
            signature in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let algorithm = SignatureScheme(algorithm);
            survives(Message::CertificateVerify(CertificateVerify { algorithm, signature: &signature }));
        }
    }
}
