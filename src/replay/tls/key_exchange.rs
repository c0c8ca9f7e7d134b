//! What the parsers of the live engine have no need to take apart: key exchanges of old versions and suites, and the
//! ServerHello of old drafts of TLS 1.3. And what the name of a suite says.

use keyferry_parsers::tls::{CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme};
use keyferry_parsers::{Fault, ParseError};

/// The server's contribution to the keys before TLS 1.3.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServerKeyExchange {
    /// The curve, or the size of the prime.
    pub(super) group: Option<String>,
    /// Bits of the prime.
    pub(super) dh_bits: Option<usize>,
    /// How it is signed.
    pub(super) auth: Option<String>,
}

impl ServerKeyExchange {
    /// Reads one of a suite (RFC 5246 section 7.4.3, RFC 8422 section 5.4). Of PSK and SRP suites nothing is read.
    pub(super) fn read(version: Option<ProtocolVersion>, suite: &str, body: &[u8]) -> Result<Self, ParseError> {
        let Some((exchange, _)) = suite.strip_prefix("TLS_").and_then(|suite| suite.split_once("_WITH_")) else {
            return Ok(Self::default());
        };
        let mut rest = body;
        let mut read = if exchange.starts_with("ECDHE_") || exchange == "ECDH_anon" {
            if exchange.ends_with("PSK") {
                return Ok(Self::default());
            }
            ec_params(&mut rest)?
        } else if (exchange.starts_with("DHE_") || exchange.starts_with("DH_anon")) && !exchange.contains("PSK") {
            dh_params(&mut rest)?
        } else {
            return Ok(Self::default());
        };
        read.auth = match exchange.trim_end_matches("_EXPORT").rsplit_once('_') {
            Some((_, "anon")) => Some("anonymous".to_owned()),
            _ if matches!(version, Some(ProtocolVersion::TLS_1_2 | ProtocolVersion::DTLS_1_2)) => {
                Some(SignatureScheme(number(&mut rest)?).to_string())
            }
            Some((_, signature)) => Some(signature.to_owned()),
            None => None,
        };
        Ok(read)
    }
}

fn ec_params(rest: &mut &[u8]) -> Result<ServerKeyExchange, ParseError> {
    const NAMED_CURVE: u8 = 3;
    let [curve_type] = *field(rest)?;
    if curve_type != NAMED_CURVE {
        return Err(ParseError { place: "ServerECDHParams.curve_type", fault: Fault::Illegal });
    }
    let group = NamedGroup(number(rest)?);
    let [length] = *field(rest)?;
    take(rest, length.into())?;
    Ok(ServerKeyExchange { group: Some(group.to_string()), ..ServerKeyExchange::default() })
}

fn dh_params(rest: &mut &[u8]) -> Result<ServerKeyExchange, ParseError> {
    let length = number(rest)?.into();
    let p = take(rest, length)?;
    for _ in ["dh_g", "dh_Ys"] {
        let length = number(rest)?.into();
        take(rest, length)?;
    }
    let zeros = p.iter().take_while(|byte| **byte == 0).count();
    let p = p.get(zeros..).unwrap_or_default();
    let leading = p.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = p.len().saturating_mul(8).saturating_sub(leading);
    Ok(ServerKeyExchange { group: Some(format!("DH {bits}")), dh_bits: Some(bits), auth: None })
}

/// The ServerHello of the drafts of TLS 1.3 up to 21: no session, no compression.
pub(super) struct DraftServerHello {
    pub(super) version: ProtocolVersion,
    pub(super) random: [u8; 32],
    pub(super) suite: CipherSuite,
    pub(super) group: Option<NamedGroup>,
}

impl DraftServerHello {
    /// Reads a whole message; `None` if it is another ServerHello.
    pub(super) fn read(raw: &[u8]) -> Option<Self> {
        let mut rest = raw.get(4..)?;
        let version = ProtocolVersion(number(&mut rest).ok()?);
        if version.0 >> 8 != 0x7f {
            return None;
        }
        let random = *field(&mut rest).ok()?;
        let suite = CipherSuite(number(&mut rest).ok()?);
        number(&mut rest).ok()?;
        Some(Self { version, random, suite, group: draft_group(rest) })
    }
}

/// key_share had the number 40 up to draft 22.
fn draft_group(mut extensions: &[u8]) -> Option<NamedGroup> {
    loop {
        let extension_type = number(&mut extensions).ok()?;
        let length = number(&mut extensions).ok()?.into();
        let mut data = take(&mut extensions, length).ok()?;
        if matches!(extension_type, 40 | 51) {
            return number(&mut data).ok().map(NamedGroup);
        }
    }
}

/// The hash at the end of a suite's name.
pub(super) fn hash_of(suite: &str) -> Option<&str> {
    let (_, hash) = suite.rsplit_once('_')?;
    matches!(hash, "MD5" | "SHA" | "SHA256" | "SHA384" | "SM3").then_some(hash)
}

/// The client encrypts the secret to the server's key, without forward secrecy.
pub(super) fn is_static_rsa(suite: &str) -> bool {
    suite.starts_with("TLS_RSA_") && !suite.starts_with("TLS_RSA_PSK_")
}

fn field<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<&'a [u8; N], ParseError> {
    let (field, rest) = bytes.split_first_chunk().ok_or(TRUNCATED)?;
    *bytes = rest;
    Ok(field)
}

fn number(bytes: &mut &[u8]) -> Result<u16, ParseError> {
    field(bytes).map(|field| u16::from_be_bytes(*field))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], ParseError> {
    let (field, rest) = bytes.split_at_checked(length).ok_or(TRUNCATED)?;
    *bytes = rest;
    Ok(field)
}

const TRUNCATED: ParseError = ParseError { place: "ServerKeyExchange", fault: Fault::Truncated };

#[cfg(test)]
mod tests {
    use super::*;

    fn read(version: ProtocolVersion, suite: &str, body: &[u8]) -> (Option<String>, Option<usize>, Option<String>) {
        let read = ServerKeyExchange::read(Some(version), suite, body).unwrap();
        (read.group, read.dh_bits, read.auth)
    }

    #[test]
    fn curves_primes_and_signatures() {
        let ecdhe = [3, 0, 29, 1, 7, 4, 1, 0, 0];
        let own = |text: &str| Some(text.to_owned());
        let suite = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA";
        assert_eq!(read(ProtocolVersion::TLS_1_2, suite, &ecdhe), (own("x25519"), None, own("rsa_pkcs1_sha256")));
        assert_eq!(read(ProtocolVersion::TLS_1_0, suite, &ecdhe), (own("x25519"), None, own("RSA")));
        let dhe = [0, 3, 0, 0x7f, 1, 0, 1, 2, 0, 1, 5, 2, 2];
        let suite = "TLS_DHE_DSS_WITH_AES_128_CBC_SHA";
        assert_eq!(read(ProtocolVersion::TLS_1_1, suite, &dhe), (own("DH 15"), Some(15), own("DSS")));
        let anonymous = "TLS_DH_anon_EXPORT_WITH_RC4_40_MD5";
        assert_eq!(read(ProtocolVersion::TLS_1_2, anonymous, &dhe), (own("DH 15"), Some(15), own("anonymous")));
        for length in 0..ecdhe.len() - 2 {
            let suite = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA";
            assert!(ServerKeyExchange::read(Some(ProtocolVersion::TLS_1_2), suite, &ecdhe[..length]).is_err());
        }
    }

    #[test]
    fn names_of_suites() {
        assert!(is_static_rsa("TLS_RSA_EXPORT_WITH_RC4_40_MD5") && !is_static_rsa("TLS_RSA_PSK_WITH_NULL_SHA"));
        assert_eq!(hash_of("TLS_AES_256_GCM_SHA384"), Some("SHA384"));
        assert_eq!(hash_of("TLS_RSA_WITH_AES_128_CCM_8"), None);
    }
}
