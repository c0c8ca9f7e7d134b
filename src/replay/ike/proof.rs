//! What the secrets of an SA have proved so far, and the signatures among it.

use num_bigint::BigUint;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use keyferry_parsers::ike::v2::{Authentication, AuthenticationMethod};

use crate::replay::account::{Side, Verification};

/// Values of a public exponent are small; a modulus has at most this many bits.
const MAX_MODULUS_BITS: u64 = 16384;

/// What came of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// It is right.
    Right,
    /// It is not.
    Wrong,
    /// There is not enough to tell.
    Unknown,
}

impl From<bool> for Check {
    fn from(right: bool) -> Self {
        if right { Self::Right } else { Self::Wrong }
    }
}

/// What the checks of an SA add up to.
#[derive(Default)]
pub(super) struct Proof {
    /// There are secrets that may be meant for this SA.
    pub(super) has_secrets: bool,
    wrong: bool,
    /// Encrypted messages that were opened and authenticated.
    right: u32,
    /// Something was met that the secrets do not reach.
    unknown: bool,
    /// Whose proof of identity was found right.
    initiator: bool,
    responder: bool,
    /// The SA has no such proofs of its own, or they are out of reach of the kind of secrets given.
    pub(super) without_identities: bool,
}

impl Proof {
    /// A message's integrity.
    pub(super) fn message(&mut self, check: Check) {
        match check {
            Check::Right => self.right = self.right.saturating_add(1),
            Check::Wrong => self.wrong = true,
            Check::Unknown => self.unknown = true,
        }
    }

    /// One side's proof of who it is: HASH_I, SIG_R, AUTH.
    pub(super) fn identity(&mut self, of: Side, check: Check) {
        self.message(check);
        if check == Check::Right {
            match of {
                Side::Initiator => self.initiator = true,
                Side::Responder => self.responder = true,
            }
        }
    }

    pub(super) fn verification(&self) -> Verification {
        let identities = self.without_identities || (self.initiator && self.responder);
        match (self.has_secrets, self.wrong) {
            (false, _) => Verification::None,
            (true, true) => Verification::Wrong,
            (true, false) if identities && self.right > 0 && !self.unknown => Verification::Verified,
            (true, false) => Verification::Unverifiable,
        }
    }
}

/// Whether `signature` of IKEv1 is that of `hash` (RFC 2409 section 5.1): RSA over the bare hash, which is in PKCS #1
/// padding, but without the name of an algorithm.
pub(super) fn rsa_signature_v1(certificate: &[u8], hash: &[u8], signature: &[u8]) -> Check {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Check::Unknown;
    };
    let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else {
        return Check::Unknown;
    };
    let modulus = BigUint::from_bytes_be(key.modulus);
    let exponent = BigUint::from_bytes_be(key.exponent);
    if modulus.bits() > MAX_MODULUS_BITS || modulus.bits() == 0 || exponent.bits() > 64 {
        return Check::Unknown;
    }
    let length = usize::try_from(modulus.bits().div_ceil(8)).unwrap_or(usize::MAX);
    let block = BigUint::from_bytes_be(signature).modpow(&exponent, &modulus).to_bytes_be();
    // 00 01 FF .. FF 00 hash, of which a number has lost the first zero.
    let Some(padding) = length.checked_sub(hash.len()).and_then(|rest| rest.checked_sub(3)) else {
        return Check::Wrong;
    };
    let expected = [&[1], vec![0xff; padding].as_slice(), &[0], hash].concat();
    (padding >= 8 && block == expected).into()
}

/// Whether AUTH of IKEv2 is a signature of `octets` by the certificate's key (RFC 7296 section 2.15, RFC 4754, RFC 7427).
pub(super) fn signature_v2(certificate: &[u8], auth: &Authentication<'_>, octets: &[u8]) -> Check {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Check::Unknown;
    };
    let spki = certificate.public_key();
    let key = spki.subject_public_key.data.as_ref();
    let curve = match spki.parsed() {
        Ok(PublicKey::EC(point)) => point.key_size(),
        _ => 0,
    };
    let (algorithm, value): (Option<&dyn VerificationAlgorithm>, _) = match auth.method {
        AuthenticationMethod::RSA_DIGITAL_SIGNATURE => {
            (Some(&signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY), auth.data)
        }
        AuthenticationMethod::ECDSA_SHA256_P256 => (Some(&signature::ECDSA_P256_SHA256_FIXED), auth.data),
        AuthenticationMethod::ECDSA_SHA384_P384 => (Some(&signature::ECDSA_P384_SHA384_FIXED), auth.data),
        _ => match auth.digital_signature() {
            Some(digital) => (named(digital.algorithm_identifier, curve), digital.signature),
            None => (None, auth.data),
        },
    };
    let Some(algorithm) = algorithm else {
        return Check::Unknown;
    };
    UnparsedPublicKey::new(algorithm, key).verify(octets, value).is_ok().into()
}

/// The algorithm of an AlgorithmIdentifier in DER; `None` if it is not implemented.
fn named(identifier: &[u8], curve_bits: usize) -> Option<&'static dyn VerificationAlgorithm> {
    const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
    // Every AlgorithmIdentifier in use is shorter than 128 bytes: one byte of length.
    let (_, oid) = identifier.split_at_checked(2)?;
    if oid.starts_with(ED25519) {
        return Some(&signature::ED25519);
    }
    if let Some([arc, rest @ ..]) = oid.strip_prefix(RSA) {
        return match arc {
            5 => Some(&signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY),
            11 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            12 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            13 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            10 => pss(rest),
            _ => None,
        };
    }
    match (oid.strip_prefix(ECDSA)?.first()?, curve_bits) {
        (2, 256) => Some(&signature::ECDSA_P256_SHA256_ASN1),
        (3, 256) => Some(&signature::ECDSA_P256_SHA384_ASN1),
        (2, 384) => Some(&signature::ECDSA_P384_SHA256_ASN1),
        (3, 384) => Some(&signature::ECDSA_P384_SHA384_ASN1),
        _ => None,
    }
}

/// RSASSA-PSS by the hash that its parameters name first.
fn pss(parameters: &[u8]) -> Option<&'static dyn VerificationAlgorithm> {
    const SHA2: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
    let at = parameters.windows(SHA2.len()).position(|window| window == SHA2)?;
    match parameters.get(at.checked_add(SHA2.len())?)? {
        1 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        2 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        3 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verified_needs_both_identities_and_nothing_wrong() {
        let mut proof = Proof::default();
        assert_eq!(proof.verification(), Verification::None);
        proof.has_secrets = true;
        proof.identity(Side::Initiator, Check::Right);
        assert_eq!(proof.verification(), Verification::Unverifiable);
        proof.identity(Side::Responder, Check::Right);
        assert_eq!(proof.verification(), Verification::Verified);
        proof.message(Check::Unknown);
        assert_eq!(proof.verification(), Verification::Unverifiable);
        proof.message(Check::Wrong);
        assert_eq!(proof.verification(), Verification::Wrong);
    }
}
