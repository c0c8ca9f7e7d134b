//! What a certificate of a capture says. Servers show the same ones again and again, so they are kept.

use std::collections::BTreeMap;
use std::net::IpAddr;

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::crypto::Hash;
use crate::hex;
use crate::replay::account::{CertificateEntry, Side};

/// Certificates that were read before.
#[derive(Default)]
pub(super) struct Certificates {
    known: BTreeMap<Vec<u8>, Facts>,
}

/// A certificate, and what an account has no place for.
#[derive(Clone)]
pub(super) struct Facts {
    /// What goes into the account.
    pub(super) entry: CertificateEntry,
    /// Bits of its key if it is RSA or DSA.
    pub(super) modulus_bits: Option<usize>,
    /// It is signed with MD5 or SHA-1, and not by itself.
    pub(super) weak_signature: Option<&'static str>,
}

/// So many are kept.
const MOST: usize = 1024;

impl Certificates {
    /// What a certificate says; `None` if it is not one.
    pub(super) fn read(&mut self, from: Side, der: &[u8]) -> Option<Facts> {
        let sha256 = Hash::Sha256.digest(&[der]);
        if let Some(facts) = self.known.get(&sha256) {
            let mut facts = facts.clone();
            facts.entry.from = from;
            return Some(facts);
        }
        let facts = facts(from, der, &sha256)?;
        if self.known.len() >= MOST {
            self.known.pop_first();
        }
        self.known.insert(sha256, facts.clone());
        Some(facts)
    }
}

fn facts(from: Side, der: &[u8], sha256: &[u8]) -> Option<Facts> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.iter().filter_map(name).collect());
    let (key, modulus_bits) = key(&certificate);
    let entry = CertificateEntry {
        from,
        subject: printable(&certificate.subject().to_string()),
        issuer: printable(&certificate.issuer().to_string()),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        names: names.unwrap_or_default(),
        key,
        sha256: hex::encode(sha256),
    };
    let itself = certificate.subject() == certificate.issuer();
    let weak_signature = match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.4" => Some("MD5"),
        "1.2.840.113549.1.1.5" | "1.2.840.10040.4.3" | "1.2.840.10045.4.1" => Some("SHA-1"),
        _ => None,
    };
    Some(Facts { entry, modulus_bits, weak_signature: weak_signature.filter(|_| !itself) })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => Some(printable(name)),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// Kind and size, and the size alone where it says how strong the key is.
fn key(certificate: &X509Certificate<'_>) -> (String, Option<usize>) {
    let info = certificate.public_key();
    let algorithm = info.algorithm.algorithm.to_id_string();
    let curve = || info.algorithm.parameters.as_ref()?.as_oid().ok().map(|oid| oid.to_id_string());
    match (info.parsed(), algorithm.as_str()) {
        (Ok(PublicKey::RSA(key)), _) => (format!("RSA {}", key.key_size()), Some(key.key_size())),
        (Ok(PublicKey::DSA(_)), _) => ("DSA".to_owned(), None),
        (Ok(PublicKey::EC(_)), _) => (format!("ECDSA {}", curve_name(curve().as_deref().unwrap_or("unknown"))), None),
        (_, "1.3.101.112") => ("Ed25519".to_owned(), None),
        (_, "1.3.101.113") => ("Ed448".to_owned(), None),
        (_, "2.16.840.1.101.3.4.3.17") => ("ML-DSA-44".to_owned(), None),
        (_, "2.16.840.1.101.3.4.3.18") => ("ML-DSA-65".to_owned(), None),
        (_, "2.16.840.1.101.3.4.3.19") => ("ML-DSA-87".to_owned(), None),
        (_, other) => (other.to_owned(), None),
    }
}

fn curve_name(oid: &str) -> &str {
    match oid {
        "1.2.840.10045.3.1.7" => "P-256",
        "1.3.132.0.34" => "P-384",
        "1.3.132.0.35" => "P-521",
        other => other,
    }
}

/// A name may hold what would confuse a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}
