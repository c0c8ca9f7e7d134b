//! What a handshake is allowed to be: whom to trust, what to offer. Comes from policy and request.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use keyferry_parsers::tls::{CipherSuite, NamedGroup};
use ring::digest;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::crypto::{GROUPS, SUITES};

/// What policy says about the handshakes with one kind of peer.
pub struct Profile {
    /// How a peer proves who it is.
    pub trust: Trust,
    /// Key exchange groups to offer, best first. The first one's share goes into the hello.
    pub groups: Vec<NamedGroup>,
    /// The suites that may be used at all.
    pub suites: Vec<CipherSuite>,
    /// Where session secrets are written, when the operator has asked for it and has been warned.
    pub key_log: Option<Arc<dyn KeyLog>>,
}

impl Profile {
    /// Every group and suite, and no key log.
    pub fn new(trust: Trust) -> Self {
        Self { trust, groups: GROUPS.to_vec(), suites: SUITES.to_vec(), key_log: None }
    }
}

/// How a peer proves who it is. Where there are anchors and pins, it must satisfy both; what it signs is
/// verified in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Certificates of the CAs, DER. A chain to one of them proves the name, within every
    /// certificate's validity.
    pub anchors: Vec<Vec<u8>>,
    /// Keys that peers are known to have. Without anchors the key itself is the proof: neither issuer nor
    /// name in its certificate matter, but the certificate must not have expired, so that a pin does not
    /// outlive the operator's intent.
    pub pins: Vec<Pin>,
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo, DER. Shown as `sha256:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// The pin of the key in a certificate (DER); `None` if it is not one.
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self::of_spki(certificate.public_key().raw))
    }

    /// The pin of a SubjectPublicKeyInfo (DER).
    pub fn of_spki(der: &[u8]) -> Self {
        let mut pin = [0; 32];
        let digest = digest::digest(&digest::SHA256, der);
        pin.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        Self(pin)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whom the peer must prove to be, unless its key is pinned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerIdentity {
    /// A DNS name; goes into the hello as `server_name` (SNI), too.
    Name(String),
    /// An address, which the certificate must name. There is no SNI then (RFC 6066 section 3).
    Address(IpAddr),
}

impl fmt::Display for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// What one session asks for, within a [`Profile`].
#[derive(Clone, Debug)]
pub struct Offer {
    /// Whom the terminal wants to talk to.
    pub server: ServerIdentity,
    /// Application protocols, best first; none: no ALPN.
    pub alpn: Vec<String>,
    /// The suites that the terminal can encrypt with, best first. Those that the profile has, too,
    /// are offered to the peer, in this order.
    pub suites: Vec<CipherSuite>,
}

/// Takes session secrets in the form of an SSLKEYLOGFILE. Whoever reads them reads the sessions: it
/// exists for the operator's explicit flag alone.
pub trait KeyLog: Send + Sync {
    /// One line: `label`, the 32 bytes of the client's random, the secret.
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_the_sha_256_of_the_key() {
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Pin::of_spki(b"abc").to_string(), text);
        assert!(Pin::of_certificate(b"not a certificate").is_none());
    }
}
