//! Certificates and names of IKE as an account has them.

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};
use x509_parser::public_key::PublicKey;

use keyferry_parsers::ike::{Certificate, CertificateEncoding, Identity};

use crate::crypto::Hash;
use crate::hex;
use crate::replay::account::{CertificateEntry, Side};

/// Characters of an identity.
const MAX_IDENTITY: usize = 512;
/// Names at most of one certificate.
const MAX_NAMES: usize = 32;

/// The certificate in DER, if the payload holds one.
pub(super) fn der<'a>(payload: &Certificate<'a>) -> Option<&'a [u8]> {
    let is_x509 =
        matches!(payload.encoding, CertificateEncoding::X509_SIGNATURE | CertificateEncoding::X509_KEY_EXCHANGE);
    is_x509.then_some(payload.data)
}

/// What the account says of a certificate; `None` if it is none.
pub(super) fn entry(from: Side, der: &[u8]) -> Option<CertificateEntry> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some(CertificateEntry {
        from,
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        names: names(&certificate),
        key: key(&certificate),
        sha256: hex::encode(&Hash::Sha256.digest(&[der])),
    })
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    extension.value.general_names.iter().filter_map(name).take(MAX_NAMES).collect()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(octets) => Some(std::net::Ipv4Addr::from(octets).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|octets| std::net::Ipv6Addr::from(octets).to_string()),
        },
        _ => None,
    }
}

/// `RSA 2048`, `ECDSA P-256`; else the algorithm's object identifier.
fn key(certificate: &X509Certificate<'_>) -> String {
    let spki = certificate.public_key();
    match spki.parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("ECDSA P-{}", curve_bits(point.key_size())),
        _ => spki.algorithm.algorithm.to_id_string(),
    }
}

/// A point of P-521 is counted in whole bytes.
fn curve_bits(bits: usize) -> usize {
    if bits == 528 { 521 } else { bits }
}

/// An identity as text; a distinguished name as people write it. A hostile one is cut off.
pub(super) fn identity(identity: Option<Identity<'_>>, data: &[u8]) -> String {
    let text = whole_identity(identity, data);
    text.chars().take(MAX_IDENTITY).collect()
}

fn whole_identity(identity: Option<Identity<'_>>, data: &[u8]) -> String {
    match identity {
        Some(Identity::DerAsn1Dn(der)) => match X509Name::from_der(der) {
            Ok((_, name)) => name.to_string(),
            Err(_) => hex::encode(der),
        },
        Some(identity) => identity.to_string(),
        None => hex::encode(data),
    }
}
