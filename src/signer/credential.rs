//! The public part of a credential: a certificate chain under the operator's name for it.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use keyferry_parsers::tls::SignatureScheme;
use ring::digest;
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_SIG_ED25519};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::key::KeyPair;
use crate::crypto::Secret;
use crate::hex;

/// Certificates in a chain, the leaf included.
const LONGEST_CHAIN: usize = 10;
/// Bytes of a chain: it is in every transcript, and in assisted mode in one message of the channel.
const LARGEST_CHAIN: usize = 24 << 10;
const LONGEST_NAME: usize = 64;

/// SHA-256 of the leaf certificate, DER.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CredentialId(pub [u8; 32]);

/// A certificate chain that a terminal proves itself with. Its private key is with a [`Signer`](super::Signer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// What it is known by.
    pub id: CredentialId,
    /// The operator's name for it, one of a terminal's own.
    pub name: String,
    /// X.509 in DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    key: KeyKind,
    public_key: Vec<u8>,
    names: Vec<String>,
    issuers: Vec<Vec<u8>>,
    not_before: i64,
    not_after: i64,
}

/// Why a chain cannot be a credential, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadCredential(pub Cow<'static, str>);

/// The kinds of keys that sign here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl CredentialId {
    /// The id of this leaf certificate.
    pub fn of(leaf: &[u8]) -> Self {
        let mut id = [0; 32];
        id.copy_from_slice(digest::digest(&digest::SHA256, leaf).as_ref());
        Self(id)
    }
}

impl Credential {
    /// Reads a chain in DER, leaf first. Whether anybody trusts it, or it is valid now, is not judged.
    ///
    /// # Errors
    /// What is wrong: a name or certificate that cannot be read, a chain out of order, a key that is none of
    /// RSA (2048 to 4096 bits), ECDSA P-256 or P-384, and Ed25519.
    pub fn new(name: &str, chain: Vec<Vec<u8>>) -> Result<Self, BadCredential> {
        check_name(name)?;
        let bytes: usize = chain.iter().map(Vec::len).sum();
        if chain.len() > LONGEST_CHAIN || bytes > LARGEST_CHAIN {
            return bad(format!("the chain is longer than {LONGEST_CHAIN} certificates or {LARGEST_CHAIN} bytes"));
        }
        let Some(first) = chain.first() else {
            return bad("there is no certificate in the chain");
        };
        check_order(&chain)?;
        let leaf = certificate(first, 1)?;
        let (not_before, not_after) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
        let (id, key, names) = (CredentialId::of(first), KeyKind::of(leaf.public_key())?, names(&leaf)?);
        let public_key = leaf.public_key().subject_public_key.data.to_vec();
        let issuer =
            |(position, der): (usize, &Vec<u8>)| Ok(certificate(der, position + 1)?.issuer().as_raw().to_vec());
        let issuers = chain.iter().enumerate().map(issuer).collect::<Result<_, BadCredential>>()?;
        Ok(Self { id, name: name.to_owned(), key, public_key, names, issuers, not_before, not_after, chain })
    }

    /// The leaf certificate, DER.
    pub fn leaf(&self) -> &[u8] {
        self.chain.first().map_or(&[], Vec::as_slice)
    }

    /// The algorithms that its key can sign with, best first. `rsa_pkcs1_*` are for TLS 1.2 alone.
    pub fn schemes(&self) -> &'static [SignatureScheme] {
        self.key.schemes()
    }

    /// The DNS names (as in the certificate, perhaps with `*.`) and IP addresses of the subjectAltName, as text.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The names of who issued each certificate of the chain, DER.
    pub fn issuers(&self) -> &[Vec<u8>] {
        &self.issuers
    }

    /// Seconds since 1970 at which the leaf starts to be valid.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Seconds since 1970 after which the leaf is no longer valid.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// The kind of key, for people.
    pub fn key_kind(&self) -> &'static str {
        match self.key {
            KeyKind::Rsa => "RSA",
            KeyKind::P256 => "ECDSA P-256",
            KeyKind::P384 => "ECDSA P-384",
            KeyKind::Ed25519 => "Ed25519",
        }
    }

    /// Whether this is the private key of the leaf: PKCS#8, PKCS#1 or SEC 1, DER.
    ///
    /// # Errors
    /// It is another certificate's, or cannot be read.
    pub fn check_private_key(&self, private_key: &Secret) -> Result<(), BadCredential> {
        KeyPair::read(self, private_key.as_bytes()).map(drop)
    }

    pub(super) fn kind(&self) -> KeyKind {
        self.key
    }

    /// The bits of subjectPublicKey, as ring gives them for a key pair.
    pub(super) fn public_key(&self) -> &[u8] {
        &self.public_key
    }
}

/// Names are typed, listed and logged, like terminals' ids.
fn check_name(name: &str) -> Result<(), BadCredential> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:@".contains(c);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(allowed) {
        return bad("a certificate's name is 1 to 64 letters, digits or any of . _ - : @");
    }
    Ok(())
}

/// Each certificate is followed by its issuer's.
fn check_order(chain: &[Vec<u8>]) -> Result<(), BadCredential> {
    for (number, pair) in (1_usize..).zip(chain.windows(2)) {
        let [subject, issuer] = pair else { continue };
        let next = number.saturating_add(1);
        let (subject, issuer) = (certificate(subject, number)?, certificate(issuer, next)?);
        if subject.issuer().as_raw() != issuer.subject().as_raw() {
            return bad(format!(
                "certificate {next} of the chain is not that of the issuer of certificate {number}: put the leaf \
                 first and each issuer after it"
            ));
        }
    }
    Ok(())
}

fn certificate(der: &[u8], number: usize) -> Result<X509Certificate<'_>, BadCredential> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => bad(format!("certificate {number} of the chain cannot be read")),
    }
}

fn names(leaf: &X509Certificate<'_>) -> Result<Vec<String>, BadCredential> {
    let Ok(extension) = leaf.subject_alternative_name() else {
        return bad("the certificate's subjectAltName cannot be read");
    };
    let names = extension.iter().flat_map(|extension| &extension.value.general_names);
    Ok(names.filter_map(name).collect())
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

impl KeyKind {
    fn of(key: &SubjectPublicKeyInfo<'_>) -> Result<Self, BadCredential> {
        let unsupported = "the certificate's key is of a kind that keyferry does not sign with: RSA of 2048 to 4096 \
                           bits, ECDSA P-256 and P-384 and Ed25519 are";
        if key.algorithm.algorithm == OID_SIG_ED25519 {
            return Ok(Self::Ed25519);
        }
        match key.parsed() {
            Ok(PublicKey::RSA(rsa)) if (2048..=4096).contains(&rsa.key_size()) => Ok(Self::Rsa),
            Ok(PublicKey::EC(_)) => {
                let parameters = key.algorithm.parameters.as_ref();
                match parameters.and_then(|parameters| parameters.as_oid().ok()) {
                    Some(curve) if curve == OID_EC_P256 => Ok(Self::P256),
                    Some(curve) if curve == OID_NIST_EC_P384 => Ok(Self::P384),
                    _ => bad(unsupported),
                }
            }
            _ => bad(unsupported),
        }
    }

    pub(super) fn schemes(self) -> &'static [SignatureScheme] {
        match self {
            Self::Rsa => &[
                SignatureScheme::RSA_PSS_RSAE_SHA256,
                SignatureScheme::RSA_PSS_RSAE_SHA384,
                SignatureScheme::RSA_PSS_RSAE_SHA512,
                SignatureScheme::RSA_PKCS1_SHA256,
                SignatureScheme::RSA_PKCS1_SHA384,
                SignatureScheme::RSA_PKCS1_SHA512,
            ],
            Self::P256 => &[SignatureScheme::ECDSA_SECP256R1_SHA256],
            Self::P384 => &[SignatureScheme::ECDSA_SECP384R1_SHA384],
            Self::Ed25519 => &[SignatureScheme::ED25519],
        }
    }
}

fn bad<T>(why: impl Into<Cow<'static, str>>) -> Result<T, BadCredential> {
    Err(BadCredential(why.into()))
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
