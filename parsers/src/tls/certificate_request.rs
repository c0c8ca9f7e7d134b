//! CertificateRequest: the server wants the client's certificate (RFC 8446 section 4.3.2).

use alloc::vec::Vec;

use super::Extension;
use super::extension::{Within, extensions, put_extensions};
use super::wire::{complete, opaque, put_vector8, vector8};
use crate::{EmitError, ParseError};

/// The server wants to know who the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest<'a> {
    /// Empty inside the handshake; names the request after it.
    pub certificate_request_context: &'a [u8],
    /// Extensions in the order they came.
    pub extensions: Vec<Extension<'a>>,
}

impl<'a> CertificateRequest<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        complete("CertificateRequest", body, |input| {
            let (input, certificate_request_context) =
                vector8("CertificateRequest.certificate_request_context", 0..=255)(input)?;
            let (input, extensions) = extensions("CertificateRequest.extensions", Within::CertificateRequest)(input)?;
            Ok((input, Self { certificate_request_context, extensions }))
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        let context = self.certificate_request_context;
        put_vector8(out, "CertificateRequest.certificate_request_context", opaque(context))?;
        put_extensions(out, "CertificateRequest.extensions", &self.extensions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::handshake::checks::survives;
    use crate::tls::{Message, SignatureScheme};
    use alloc::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_certificate_request_survives(
            context in proptest::collection::vec(any::<u8>(), 0..40),
            schemes in proptest::collection::vec(any::<u16>().prop_map(SignatureScheme), 1..9),
        ) {
            survives(Message::CertificateRequest(CertificateRequest {
                certificate_request_context: &context,
                extensions: vec![
                    Extension::SignatureAlgorithms(schemes.clone()),
                    Extension::SignatureAlgorithmsCert(schemes),
                ],
            }));
        }
    }
}
