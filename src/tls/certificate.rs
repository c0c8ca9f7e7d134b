//! The facts of a certificate that a log or an error message wants. Judging it is the verifier's job.

use std::fmt;
use std::net::IpAddr;

use x509_parser::prelude::{ASN1Time, CertificateRevocationList, FromDer, GeneralName, X509Certificate};

/// What the peer's own certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Distinguished name of the subject.
    pub subject: String,
    /// Distinguished name of the issuer.
    pub issuer: String,
    /// Serial number, hex with colons.
    pub serial: String,
    /// Seconds since 1970 at which it starts to be valid.
    pub not_before: i64,
    /// Seconds since 1970 after which it is no longer valid.
    pub not_after: i64,
}

impl Leaf {
    /// Reads a certificate; `None` if it is not one.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        Some(Self {
            subject: printable(&certificate.subject().to_string()),
            issuer: printable(&certificate.issuer().to_string()),
            serial: certificate.raw_serial_as_string(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }
}

/// When a revocation list (DER) says that the next one will be there, in seconds since 1970; `None` if it does not say,
/// or is not one.
pub fn next_update(list: &[u8]) -> Option<i64> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    list.next_update().map(|time| time.timestamp())
}

/// A name that a certificate proves, or that policy asks for. A kind proves nothing of another: who may issue
/// certificates for mail addresses must not be able to make one for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// dNSName.
    Dns(String),
    /// iPAddress.
    Address(IpAddr),
    /// rfc822Name.
    Mail(String),
    /// uniformResourceIdentifier.
    Uri(String),
}

impl Name {
    /// A name as an operator writes it: the kind shows in its form. A URI may have an `@`, too, but no mail address a
    /// colon.
    pub(super) fn of_policy(text: &str) -> Self {
        let own = text.to_owned();
        match text.parse() {
            Ok(address) => Self::Address(address),
            Err(_) if text.contains(':') => Self::Uri(own),
            Err(_) if text.contains('@') => Self::Mail(own),
            Err(_) if text.contains('/') => Self::Uri(own),
            Err(_) => Self::Dns(own),
        }
    }

    /// Whether this name of policy is the `presented` one. A wildcard in a certificate is nobody's name.
    pub(super) fn is(&self, presented: &Self) -> bool {
        match (self, presented) {
            (Self::Dns(own), Self::Dns(other)) => !other.contains('*') && own.eq_ignore_ascii_case(other),
            // RFC 5280 section 7.5: the host is a domain name, what stands before it is the host's own affair.
            (Self::Mail(own), Self::Mail(other)) => match (own.rsplit_once('@'), other.rsplit_once('@')) {
                (Some((own, host)), Some((other, other_host))) => own == other && host.eq_ignore_ascii_case(other_host),
                _ => false,
            },
            _ => self == presented,
        }
    }

    fn of(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(name) => Some(Self::Dns((*name).to_owned())),
            GeneralName::RFC822Name(name) => Some(Self::Mail((*name).to_owned())),
            GeneralName::URI(name) => Some(Self::Uri((*name).to_owned())),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(Self::Address)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Name {
    /// Made harmless for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::Mail(name) | Self::Uri(name) => f.write_str(&printable(name)),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The names that a certificate (DER) proves: those of its subjectAltName, in their order.
pub(super) fn names(der: &[u8]) -> Vec<Name> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Vec::new();
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    names.iter().flat_map(|names| &names.value.general_names).filter_map(Name::of).collect()
}

/// A date as people read it.
pub(super) fn date(unix_seconds: u64) -> String {
    i64::try_from(unix_seconds)
        .ok()
        .and_then(|seconds| ASN1Time::from_timestamp(seconds).ok())
        .map_or_else(|| format!("{unix_seconds} s after 1970"), |time| time.to_string())
}

/// Text of the peer's own making, made harmless for a terminal or a log: no control characters, and
/// not longer than a line.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 160;
    let mut line = String::new();
    for character in text.escape_debug() {
        if line.len() >= LONGEST {
            line.push_str("...");
            break;
        }
        line.push(character);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_cut_and_escaped() {
        assert_eq!(printable("plain \u{1b}[2J\n"), "plain \\u{1b}[2J\\n");
        assert_eq!(printable(&"x".repeat(5000)).len(), 163);
        assert_eq!(printable(&"x".repeat(160)).len(), 160);
        assert_eq!(printable(&"\u{1f525}".repeat(5000)).len(), 163);
    }

    #[test]
    fn names_of_one_kind_are_not_those_of_another() {
        let presented = [
            Name::Dns("Plant.example".to_owned()),
            Name::Dns("10.7.2.2".to_owned()),
            Name::Dns("ops@plant.example".to_owned()),
            Name::Dns("*.wild.example".to_owned()),
            Name::Mail("Ops@Plant.example".to_owned()),
            Name::Uri("urn:Plant:7".to_owned()),
            Name::Uri("sip:ops@plant.example".to_owned()),
            Name::Address([10, 7, 2, 2].into()),
        ];
        let matches = |text: &str| {
            let policy = Name::of_policy(text);
            presented.iter().position(|name| policy.is(name))
        };
        assert_eq!(matches("plant.EXAMPLE"), Some(0));
        assert_eq!(matches("10.7.2.2"), Some(7));
        assert_eq!(matches("ops@plant.example"), None, "the local part has its case");
        assert_eq!(matches("Ops@PLANT.example"), Some(4));
        assert_eq!(matches("urn:Plant:7"), Some(5));
        assert_eq!(matches("urn:plant:7"), None);
        assert_eq!(matches("sip:ops@plant.example"), Some(6));
        assert_eq!(matches("a.wild.example"), None);
        assert_eq!(matches("*.wild.example"), None);
    }

    #[test]
    fn dates_are_readable() {
        assert!(date(1_700_000_000).contains("2023"), "{}", date(1_700_000_000));
        assert!(date(u64::MAX).contains("1970"));
    }
}
