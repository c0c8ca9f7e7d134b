//! Certificate: the chain, leaf first (RFC 5246 section 7.4.2).

use alloc::vec::Vec;

use crate::tls::wire::{complete, list, opaque, put_vector24, vector24};
use crate::{EmitError, ParseError};

/// A certificate chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate<'a> {
    /// X.509 in DER, leaf first; a client without certificate sends none.
    pub certificate_list: Vec<&'a [u8]>,
}

impl<'a> Certificate<'a> {
    pub(in crate::tls) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        complete("Certificate", body, |input| {
            let (input, entries) = vector24("Certificate.certificate_list", 0..=0xff_ffff)(input)?;
            let certificate_list = list(entries, vector24("Certificate.ASN.1Cert", 1..=0xff_ffff))?;
            Ok((input, Self { certificate_list }))
        })
    }

    pub(in crate::tls) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        put_vector24(out, "Certificate.certificate_list", |out| {
            let mut entries = self.certificate_list.iter();
            entries.try_for_each(|entry| put_vector24(out, "Certificate.ASN.1Cert", opaque(entry)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;
    use crate::tls::handshake::checks::survives_as;
    use crate::tls::{Message, ProtocolVersion};
    use proptest::prelude::*;

    #[test]
    fn an_empty_certificate_in_the_chain_is_refused() {
        let error = Certificate::parse(&[0, 0, 3, 0, 0, 0]).unwrap_err();
        assert_eq!(error, ParseError { place: "Certificate.ASN.1Cert", fault: Fault::TooShort });
        let error = Certificate::parse(&[0, 0, 0, 0]).unwrap_err();
        assert_eq!(error, ParseError { place: "Certificate", fault: Fault::Leftover });
    }

    proptest! {
        #[test]
        fn any_certificate_survives(
            chain in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 0..4),
        ) {
            let certificate_list = chain.iter().map(Vec::as_slice).collect();
            survives_as(ProtocolVersion::TLS_1_2, Message::Certificate12(Certificate { certificate_list }));
        }
    }
}
