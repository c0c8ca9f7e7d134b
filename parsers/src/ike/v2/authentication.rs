//! The Authentication payload (RFC 7296 section 3.8, RFC 7427 section 3).

use alloc::vec::Vec;

use super::AuthenticationMethod;
use crate::ParseError;
use crate::ike::wire::Reader;

/// Proof of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authentication<'a> {
    /// How the data proves it.
    pub method: AuthenticationMethod,
    /// Zero.
    pub reserved: [u8; 3],
    /// The proof.
    pub data: &'a [u8],
}

/// The data of the method Digital Signature, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigitalSignature<'a> {
    /// `AlgorithmIdentifier` in DER.
    pub algorithm_identifier: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> Authentication<'a> {
    /// A proof by that method.
    pub const fn new(method: AuthenticationMethod, data: &'a [u8]) -> Self {
        Self { method, reserved: [0; 3], data }
    }

    /// The data of the method Digital Signature; `None` if it is another, or its data ends too early.
    pub fn digital_signature(&self) -> Option<DigitalSignature<'a>> {
        let (length, rest) =
            self.data.split_first().filter(|_| self.method == AuthenticationMethod::DIGITAL_SIGNATURE)?;
        let (algorithm_identifier, signature) = rest.split_at_checked(usize::from(*length))?;
        Some(DigitalSignature { algorithm_identifier, signature })
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let method = AuthenticationMethod(reader.u8("Authentication.method")?);
        let reserved = reader.array("Authentication.reserved")?;
        Ok(Self { method, reserved, data: reader.rest() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.method.0);
        out.extend_from_slice(&self.reserved);
        out.extend_from_slice(self.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::v2::Body;
    use crate::ike::v2::checks::survives;

    #[test]
    fn proofs_survive() {
        survives(Body::Authentication(Authentication::new(AuthenticationMethod::SHARED_KEY_MIC, &[7; 32])));
    }

    #[test]
    fn a_digital_signature_names_its_algorithm() {
        let auth = |data| Authentication::new(AuthenticationMethod::DIGITAL_SIGNATURE, data);
        let expected = DigitalSignature { algorithm_identifier: &[0x30, 0], signature: &[1, 2, 3] };
        assert_eq!(auth(&[2, 0x30, 0, 1, 2, 3]).digital_signature(), Some(expected));
        assert_eq!(auth(&[3, 0x30, 0]).digital_signature(), None);
        assert_eq!(auth(&[]).digital_signature(), None);
        let other = Authentication::new(AuthenticationMethod::SHARED_KEY_MIC, &[0]);
        assert_eq!(other.digital_signature(), None);
    }
}
