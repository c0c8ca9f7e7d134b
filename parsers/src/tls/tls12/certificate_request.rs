//! CertificateRequest: the server wants the client's certificate (RFC 5246 section 7.4.4).

use alloc::vec::Vec;

use crate::registry::registry;
use crate::tls::SignatureScheme;
use crate::tls::wire::{complete, list, list_u16, numbers, opaque, put_vector8, put_vector16, vector8, vector16};
use crate::{EmitError, ParseError};

registry! {
    /// What kind of key the server takes.
    pub struct ClientCertificateType(u8), unknown "client certificate type {}" {
        RSA_SIGN = 1, "rsa_sign";
        DSS_SIGN = 2, "dss_sign";
        RSA_FIXED_DH = 3, "rsa_fixed_dh";
        DSS_FIXED_DH = 4, "dss_fixed_dh";
        ECDSA_SIGN = 64, "ecdsa_sign";
        RSA_FIXED_ECDH = 65, "rsa_fixed_ecdh";
        ECDSA_FIXED_ECDH = 66, "ecdsa_fixed_ecdh";
    }
}

/// The server wants to know who the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest<'a> {
    /// Kinds of key.
    pub certificate_types: Vec<ClientCertificateType>,
    /// What the server can verify; pairs of hash and signature in TLS 1.2, with the numbers of TLS 1.3.
    pub supported_signature_algorithms: Vec<SignatureScheme>,
    /// Names of the authorities it trusts, in DER; none: any.
    pub certificate_authorities: Vec<&'a [u8]>,
}

impl<'a> CertificateRequest<'a> {
    pub(in crate::tls) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        complete("CertificateRequest", body, |input| {
            let (input, types) = vector8("CertificateRequest.certificate_types", 1..=255)(input)?;
            let place = "CertificateRequest.supported_signature_algorithms";
            let (input, schemes) = vector16(place, 2..=0xfffe)(input)?;
            let supported_signature_algorithms = list_u16(place, schemes, SignatureScheme)?;
            let (input, names) = vector16("CertificateRequest.certificate_authorities", 0..=0xffff)(input)?;
            let request = Self {
                certificate_types: types.iter().copied().map(ClientCertificateType).collect(),
                supported_signature_algorithms,
                certificate_authorities: list(names, vector16("CertificateRequest.DistinguishedName", 1..=0xffff))?,
            };
            Ok((input, request))
        })
    }

    pub(in crate::tls) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        put_vector8(out, "CertificateRequest.certificate_types", |out| {
            out.extend(self.certificate_types.iter().map(|kind| kind.0));
            Ok(())
        })?;
        let schemes = self.supported_signature_algorithms.iter().map(|scheme| scheme.0);
        put_vector16(out, "CertificateRequest.supported_signature_algorithms", numbers(schemes))?;
        put_vector16(out, "CertificateRequest.certificate_authorities", |out| {
            let mut names = self.certificate_authorities.iter();
            names.try_for_each(|name| put_vector16(out, "CertificateRequest.DistinguishedName", opaque(name)))
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
    fn lists_that_must_not_be_empty_are_not() {
        let fault = |body: &[u8]| {
            let error = CertificateRequest::parse(body).unwrap_err();
            (error.place, error.fault)
        };
        assert_eq!(fault(&[0, 0, 2, 4, 3, 0, 0]), ("CertificateRequest.certificate_types", Fault::TooShort));
        let place = "CertificateRequest.supported_signature_algorithms";
        assert_eq!(fault(&[1, 64, 0, 0, 0, 0]), (place, Fault::TooShort));
        assert_eq!(fault(&[1, 64, 0, 3, 4, 3, 0, 0, 0]), (place, Fault::Truncated));
        assert_eq!(fault(&[1, 64, 0, 2, 4, 3, 0, 2, 0, 0]), ("CertificateRequest.DistinguishedName", Fault::TooShort));
    }

    proptest! {
        #[test]
        fn any_certificate_request_survives(
            types in proptest::collection::vec(any::<u8>().prop_map(ClientCertificateType), 1..5),
            schemes in proptest::collection::vec(any::<u16>().prop_map(SignatureScheme), 1..9),
            names in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..30), 0..4),
        ) {
            let request = CertificateRequest {
                certificate_types: types,
                supported_signature_algorithms: schemes,
                certificate_authorities: names.iter().map(Vec::as_slice).collect(),
            };
            survives_as(ProtocolVersion::TLS_1_2, Message::CertificateRequest12(request));
        }
    }
}
