//! What a handshake is allowed to be: whom to trust, what to offer. Comes from policy and request.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use keyferry_parsers::tls::{CipherSuite, NamedGroup};
use ring::digest;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::rustls::Tickets;
use crate::crypto::{GROUPS, SUITES};
use crate::signer::{Credential, Signer};

/// What policy says about the handshakes with one kind of server.
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

/// What policy says about the handshakes of peers that connect to one service of a terminal.
pub struct ServiceProfile {
    /// How a client proves who it is; `None`: it need not, and is not asked to.
    pub clients: Option<Trust>,
    /// Who of those that `clients` proves may connect: a name in the certificate's subjectAltName is one of these, of
    /// the kind that its form tells: an IP address, a URI (with a colon or slash; exactly this one), a mail address
    /// (its local part exactly), or else a DNS name. Wildcards match nothing. Empty: all of them.
    pub client_names: Vec<String>,
    /// Key exchange groups that are accepted.
    pub groups: Vec<NamedGroup>,
    /// The suites that may be used at all.
    pub suites: Vec<CipherSuite>,
    /// Application protocols, best first; empty: those that the terminal names.
    pub alpn: Vec<String>,
    /// Names that clients may ask for (SNI), perhaps with `*.`; empty: those in the terminal's
    /// certificates. Who asks for none is always served.
    pub names: Vec<String>,
    /// Where session secrets are written, when the operator has asked for it and has been warned.
    pub key_log: Option<Arc<dyn KeyLog>>,
}

impl ServiceProfile {
    /// Every group and suite for anonymous clients, no application protocol, and no key log.
    pub fn new() -> Self {
        Self {
            clients: None,
            client_names: Vec::new(),
            groups: GROUPS.to_vec(),
            suites: SUITES.to_vec(),
            alpn: Vec::new(),
            names: Vec::new(),
            key_log: None,
        }
    }
}

impl Default for ServiceProfile {
    fn default() -> Self {
        Self::new()
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
    /// Certificate revocation lists of those CAs, DER. Where there is one, every certificate that
    /// `revocation` covers must be in the scope of a list that has not expired.
    pub crls: Vec<Vec<u8>>,
    /// Which certificates the lists are asked about.
    pub revocation: Revocation,
}

/// Which certificates of a chain must not be revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revocation {
    /// All below the anchor.
    #[default]
    Chain,
    /// The peer's own.
    EndEntity,
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

/// Who a terminal is: what it can prove towards its peers, and who signs for it.
#[derive(Clone)]
pub struct Identity {
    /// The terminal's id, which the signer knows its credentials by.
    pub owner: String,
    /// Its credentials, best first.
    pub credentials: Vec<Arc<Credential>>,
    /// Has their private keys.
    pub signer: Arc<dyn Signer>,
}

/// What one session asks for, within a [`Profile`].
#[derive(Clone)]
pub struct Offer {
    /// Whom the terminal wants to talk to.
    pub server: ServerIdentity,
    /// Application protocols, best first; none: no ALPN.
    pub alpn: Vec<String>,
    /// The suites that the terminal can encrypt with, best first, those of TLS 1.2 among them if it can
    /// TLS 1.2. Those that the profile has, too, are offered to the peer, in this order; the versions
    /// that are offered follow.
    pub suites: Vec<CipherSuite>,
    /// Who the terminal is, should the peer want to know; `None`: it stays anonymous.
    pub identity: Option<Identity>,
    /// Where tickets of this terminal for peers of this profile are kept; `None`: no resumption.
    pub tickets: Option<Arc<Tickets>>,
}

/// What one peer that connects to a terminal may get, within a [`ServiceProfile`].
#[derive(Clone)]
pub struct Serve {
    /// The address it comes from; names it in errors and, where it proves nothing, in the hand-over.
    pub peer: IpAddr,
    /// The suites that the terminal can encrypt with, best first, as in [`Offer::suites`].
    pub suites: Vec<CipherSuite>,
    /// Application protocols that the terminal speaks, best first; empty: all of the profile's. With none here nor there
    /// none is chosen.
    pub alpn: Vec<String>,
    /// Who the terminal is.
    pub identity: Identity,
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
