//! A private key that signs, as ring holds it. ring does not wipe keys; the process that has them makes no
//! core dumps instead.

use std::borrow::Cow;

use keyferry_parsers::tls::SignatureScheme;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair};
use x509_parser::asn1_rs::{FromDer, Integer, OctetString, Sequence};

use super::credential::{BadCredential, Credential, KeyKind};

/// The private key of a credential.
pub(super) enum KeyPair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl KeyPair {
    /// Reads a private key in DER: PKCS#8 (RFC 5958), or what an RSA key (PKCS#1) or an EC key (RFC 5915,
    /// "SEC 1") is without that wrapper. It must be that of the credential's certificate.
    pub(super) fn read(credential: &Credential, der: &[u8]) -> Result<Self, BadCredential> {
        let key = match credential.kind() {
            KeyKind::Rsa => RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)).ok().map(Self::Rsa),
            KeyKind::P256 => ecdsa(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, credential, der),
            KeyKind::P384 => ecdsa(&signature::ECDSA_P384_SHA384_ASN1_SIGNING, credential, der),
            KeyKind::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(Self::Ed25519),
        };
        match key {
            Some(key) if key.public_key() == credential.public_key() => Ok(key),
            _ => Err(BadCredential(
                format!(
                    "the private key is not that of the certificate, which has a key of {}; it is read as PKCS#8, \
                     PKCS#1 or SEC 1, unencrypted",
                    credential.key_kind()
                )
                .into(),
            )),
        }
    }

    /// Signs `message`; `None` for a scheme that is not the key's.
    pub(super) fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(rsa_encoding(scheme)?, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Self::Ecdsa(key) => Some(key.sign(&random, message).ok()?.as_ref().to_vec()),
            Self::Ed25519(key) => Some(key.sign(message).as_ref().to_vec()),
        }
    }

    fn public_key(&self) -> &[u8] {
        match self {
            Self::Rsa(key) => key.public_key().as_ref(),
            Self::Ecdsa(key) => key.public_key().as_ref(),
            Self::Ed25519(key) => key.public_key().as_ref(),
        }
    }
}

fn ecdsa(algorithm: &'static signature::EcdsaSigningAlgorithm, credential: &Credential, der: &[u8]) -> Option<KeyPair> {
    let private = ec_private_key(ec_private_key_of_pkcs8(der).unwrap_or(der))?;
    // The public key in the file is optional; the certificate's must fit, or ring refuses.
    let public = credential.public_key();
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, private, public, &SystemRandom::new())
        .ok()
        .map(KeyPair::Ecdsa)
}

/// The ECPrivateKey inside a PrivateKeyInfo: version, algorithm, octets, attributes.
fn ec_private_key_of_pkcs8(der: &[u8]) -> Option<&[u8]> {
    let (rest, _version) = Integer::from_der(sequence(der)?).ok()?;
    let (rest, _algorithm) = Sequence::from_der(rest).ok()?;
    let (_, octets) = OctetString::from_der(rest).ok()?;
    borrowed(octets.into_cow())
}

/// The `privateKey` of an ECPrivateKey: version 1, octets, then optional fields.
fn ec_private_key(der: &[u8]) -> Option<&[u8]> {
    let (rest, _version) = Integer::from_der(sequence(der)?).ok()?;
    let (_, octets) = OctetString::from_der(rest).ok()?;
    borrowed(octets.into_cow())
}

fn sequence(der: &[u8]) -> Option<&[u8]> {
    let (_, sequence) = Sequence::from_der(der).ok()?;
    borrowed(sequence.content)
}

/// DER is read in place; a copy of a private key is not taken.
fn borrowed(bytes: Cow<'_, [u8]>) -> Option<&[u8]> {
    match bytes {
        Cow::Borrowed(bytes) => Some(bytes),
        Cow::Owned(_) => None,
    }
}

fn rsa_encoding(scheme: SignatureScheme) -> Option<&'static dyn RsaEncoding> {
    Some(match scheme {
        SignatureScheme::RSA_PSS_RSAE_SHA256 => &signature::RSA_PSS_SHA256,
        SignatureScheme::RSA_PSS_RSAE_SHA384 => &signature::RSA_PSS_SHA384,
        SignatureScheme::RSA_PSS_RSAE_SHA512 => &signature::RSA_PSS_SHA512,
        SignatureScheme::RSA_PKCS1_SHA256 => &signature::RSA_PKCS1_SHA256,
        SignatureScheme::RSA_PKCS1_SHA384 => &signature::RSA_PKCS1_SHA384,
        SignatureScheme::RSA_PKCS1_SHA512 => &signature::RSA_PKCS1_SHA512,
        _ => return None,
    })
}
