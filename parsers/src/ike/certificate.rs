//! Certificate and Certificate Request payloads, alike in both versions (RFC 2408 sections 3.9 and 3.10, RFC 7296
//! sections 3.6 and 3.7).

use alloc::vec::Vec;

use super::CertificateEncoding;
use super::wire::Reader;
use crate::ParseError;

/// A certificate, or what stands for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate<'a> {
    /// What the data is.
    pub encoding: CertificateEncoding,
    /// For X.509 - Signature: the certificate in DER.
    pub data: &'a [u8],
}

/// The wish for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateRequest<'a> {
    /// What is wanted.
    pub encoding: CertificateEncoding,
    /// Whom the sender trusts: in IKEv1 one distinguished name in DER, or nothing; in IKEv2 SHA-1 hashes of public keys
    /// one after the other.
    pub certification_authority: &'a [u8],
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        Ok(Self { encoding: CertificateEncoding(reader.u8("Certificate.encoding")?), data: reader.rest() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.encoding.0);
        out.extend_from_slice(self.data);
    }
}

impl<'a> CertificateRequest<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let encoding = CertificateEncoding(reader.u8("CertificateRequest.encoding")?);
        Ok(Self { encoding, certification_authority: reader.rest() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.encoding.0);
        out.extend_from_slice(self.certification_authority);
    }

    /// IKEv2: the SHA-1 hashes of the trusted public keys.
    pub fn key_hashes(&self) -> impl Iterator<Item = &'a [u8; 20]> + use<'a> {
        self.certification_authority.as_chunks().0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_comes_first() {
        let certificate = Certificate::parse(&[4, 0x30, 0]).unwrap();
        assert_eq!((certificate.encoding, certificate.data), (CertificateEncoding::X509_SIGNATURE, &[0x30, 0][..]));
        let mut out = Vec::new();
        certificate.emit(&mut out);
        assert_eq!(out, [4, 0x30, 0]);
        assert!(Certificate::parse(&[]).is_err());
        assert!(CertificateRequest::parse(&[]).is_err());
    }

    #[test]
    fn a_request_names_several_keys() {
        let bytes = [&[4][..], &[1; 20], &[2; 20]].concat();
        let request = CertificateRequest::parse(&bytes).unwrap();
        assert!(request.key_hashes().eq([&[1; 20], &[2; 20]]));
        let mut out = Vec::new();
        request.emit(&mut out);
        assert_eq!(out, bytes);
    }
}
