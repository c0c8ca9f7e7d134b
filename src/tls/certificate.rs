//! The facts of a certificate that a log or an error message wants. Judging it is the verifier's job.

use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

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
    fn dates_are_readable() {
        assert!(date(1_700_000_000).contains("2023"), "{}", date(1_700_000_000));
        assert!(date(u64::MAX).contains("1970"));
    }
}
