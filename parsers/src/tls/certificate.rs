//! Certificate: the chain, leaf first (RFC 8446 section 4.4.2).

use alloc::vec::Vec;

use super::Extension;
use super::extension::{Within, extensions, put_extensions};
use super::wire::{complete, list, opaque, put_vector8, put_vector24, vector8, vector24};
use crate::{EmitError, ParseError};

/// A certificate chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate<'a> {
    /// The server's is empty; the client repeats that of the request.
    pub certificate_request_context: &'a [u8],
    /// The chain, leaf first; a client without certificate sends none.
    pub certificate_list: Vec<CertificateEntry<'a>>,
}

/// One certificate of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateEntry<'a> {
    /// X.509 in DER.
    pub cert_data: &'a [u8],
    /// What belongs to it, such as an OCSP response.
    pub extensions: Vec<Extension<'a>>,
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        complete("Certificate", body, |input| {
            let (input, certificate_request_context) =
                vector8("Certificate.certificate_request_context", 0..=255)(input)?;
            let (input, entries) = vector24("Certificate.certificate_list", 0..=0xff_ffff)(input)?;
            let certificate_list = list(entries, |input| {
                let (input, cert_data) = vector24("CertificateEntry.cert_data", 1..=0xff_ffff)(input)?;
                let (input, extensions) = extensions("CertificateEntry.extensions", Within::Certificate)(input)?;
                Ok((input, CertificateEntry { cert_data, extensions }))
            })?;
            Ok((input, Self { certificate_request_context, certificate_list }))
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        let context = self.certificate_request_context;
        put_vector8(out, "Certificate.certificate_request_context", opaque(context))?;
        put_vector24(out, "Certificate.certificate_list", |out| {
            self.certificate_list.iter().try_for_each(|entry| {
                put_vector24(out, "CertificateEntry.cert_data", opaque(entry.cert_data))?;
                put_extensions(out, "CertificateEntry.extensions", &entry.extensions)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::handshake::checks::survives;
    use crate::tls::{ExtensionType, Message};
    use alloc::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_certificate_survives(
            context in proptest::collection::vec(any::<u8>(), 0..10),
            chain in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 0..4),
            staple in proptest::collection::vec(any::<u8>(), 0..10),
        ) {
            let staple = Extension::Other { extension_type: ExtensionType::STATUS_REQUEST, data: &staple };
            let certificate_list = chain
                .iter()
                .map(|cert_data| CertificateEntry { cert_data, extensions: vec![staple.clone()] })
                .collect();
            survives(Message::Certificate(Certificate { certificate_request_context: &context, certificate_list }));
        }
    }
}
