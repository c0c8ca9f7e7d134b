//! CertificateStatus: what the authority says of the server's certificate today (RFC 6066 section 8).

use alloc::vec::Vec;

use crate::registry::registry;
use crate::tls::wire::{complete, opaque, put_vector24, u8, vector24};
use crate::{EmitError, ParseError};

registry! {
    /// In which form.
    pub struct CertificateStatusType(u8), unknown "certificate status type {}" {
        OCSP = 1, "ocsp";
        OCSP_MULTI = 2, "ocsp_multi";
    }
}

/// A stapled status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateStatus<'a> {
    /// In which form; both known ones are a vector.
    pub status_type: CertificateStatusType,
    /// An OCSP response in DER, or a list of them.
    pub response: &'a [u8],
}

impl<'a> CertificateStatus<'a> {
    pub(in crate::tls) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        complete("CertificateStatus", body, |input| {
            let (input, status_type) = u8("CertificateStatus.status_type")(input)?;
            let (input, response) = vector24("CertificateStatus.response", 1..=0xff_ffff)(input)?;
            Ok((input, Self { status_type: CertificateStatusType(status_type), response }))
        })
    }

    pub(in crate::tls) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.push(self.status_type.0);
        put_vector24(out, "CertificateStatus.response", opaque(self.response))
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
    fn an_empty_response_is_refused() {
        let error = CertificateStatus::parse(&[1, 0, 0, 0]).unwrap_err();
        assert_eq!(error, ParseError { place: "CertificateStatus.response", fault: Fault::TooShort });
    }

    proptest! {
        #[test]
        fn any_certificate_status_survives(status: u8, response in proptest::collection::vec(any::<u8>(), 1..60)) {
            let status_type = CertificateStatusType(status);
            let message = Message::CertificateStatus(CertificateStatus { status_type, response: &response });
            survives_as(ProtocolVersion::TLS_1_2, message);
        }
    }
}
