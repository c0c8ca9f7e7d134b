//! What a cipher suite is made of: the hash of its key schedule and what protects its records. Its name says it all,
//! so the name is read; a suite that the registry has no name for has no answer here either.

use keyferry_parsers::tls::{CipherSuite, ProtocolVersion};

use super::tls13::SuiteHash;
use super::{KeyBlockLengths, TlsPrf};
use crate::crypto::{Aead, AesKey, Cipher, Hash, Tag};

/// What protects records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordProtection {
    /// CBC and HMAC, up to TLS 1.2.
    Cbc(Cipher, Hash),
    /// From TLS 1.2 on.
    Aead(Aead),
}

/// A cipher suite of TLS 1.0, 1.1 or 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls12Suite {
    /// The PRF of suite and version.
    pub prf: TlsPrf,
    /// Of its records.
    pub protection: RecordProtection,
    /// How its key_block is cut.
    pub key_block: KeyBlockLengths,
}

impl Tls12Suite {
    /// That suite in that version. `None` if either is unknown, they do not go together, or the cipher is not
    /// implemented, as RC4 and NULL are not.
    pub fn new(version: ProtocolVersion, suite: CipherSuite) -> Option<Self> {
        let (_, algorithms) = suite.name()?.split_once("_WITH_")?;
        let (cipher, hash) = split_hash(algorithms);
        let protection = protection(cipher, hash)?;
        let old = version < ProtocolVersion::TLS_1_2;
        let prf = match hash {
            _ if old => TlsPrf::Md5Sha1,
            Some(Hash::Sha384) => TlsPrf::Sha384,
            _ => TlsPrf::Sha256,
        };
        let known = (ProtocolVersion::TLS_1_0..=ProtocolVersion::TLS_1_2).contains(&version);
        let fits = !(old && matches!(protection, RecordProtection::Aead(_)));
        (known && fits).then(|| Self { prf, protection, key_block: key_block(version, protection) })
    }
}

/// The hash and AEAD of a TLS 1.3 suite, `None` for any other.
pub fn tls13_suite(suite: CipherSuite) -> Option<(SuiteHash, Aead)> {
    let (cipher, hash) = split_hash(suite.name()?.strip_prefix("TLS_")?);
    let hash = match hash? {
        Hash::Sha256 => SuiteHash::Sha256,
        Hash::Sha384 => SuiteHash::Sha384,
        _ => return None,
    };
    match protection(cipher, None)? {
        RecordProtection::Aead(aead) => Some((hash, aead)),
        RecordProtection::Cbc(..) => None,
    }
}

fn split_hash(algorithms: &str) -> (&str, Option<Hash>) {
    match algorithms.rsplit_once('_') {
        Some((cipher, "SHA384")) => (cipher, Some(Hash::Sha384)),
        Some((cipher, "SHA256")) => (cipher, Some(Hash::Sha256)),
        Some((cipher, "SHA")) => (cipher, Some(Hash::Sha1)),
        Some((cipher, "MD5")) => (cipher, Some(Hash::Md5)),
        _ => (algorithms, None),
    }
}

fn protection(cipher: &str, mac: Option<Hash>) -> Option<RecordProtection> {
    let cbc = |cipher| mac.map(|mac| RecordProtection::Cbc(cipher, mac));
    let aead = |aead| Some(RecordProtection::Aead(aead));
    match cipher {
        "DES_CBC" => cbc(Cipher::DesCbc),
        "3DES_EDE_CBC" => cbc(Cipher::TripleDesCbc),
        "AES_128_CBC" => cbc(Cipher::AesCbc(AesKey::Bits128)),
        "AES_256_CBC" => cbc(Cipher::AesCbc(AesKey::Bits256)),
        "AES_128_GCM" => aead(Aead::AesGcm(AesKey::Bits128, Tag::Octets16)),
        "AES_256_GCM" => aead(Aead::AesGcm(AesKey::Bits256, Tag::Octets16)),
        "AES_128_CCM" => aead(Aead::AesCcm(AesKey::Bits128, Tag::Octets16)),
        "AES_256_CCM" => aead(Aead::AesCcm(AesKey::Bits256, Tag::Octets16)),
        "AES_128_CCM_8" => aead(Aead::AesCcm(AesKey::Bits128, Tag::Octets8)),
        "AES_256_CCM_8" => aead(Aead::AesCcm(AesKey::Bits256, Tag::Octets8)),
        "CHACHA20_POLY1305" => aead(Aead::ChaCha20Poly1305),
        _ => None,
    }
}

const fn key_block(version: ProtocolVersion, protection: RecordProtection) -> KeyBlockLengths {
    match protection {
        RecordProtection::Cbc(cipher, mac) => {
            // From TLS 1.1 on every record brings its own IV.
            let iv = if version.0 == ProtocolVersion::TLS_1_0.0 { cipher.iv_length() } else { 0 };
            KeyBlockLengths { mac_key: mac.output_length(), key: cipher.key_length(), iv }
        }
        RecordProtection::Aead(aead) => {
            let iv = match aead {
                Aead::ChaCha20Poly1305 => 12,
                Aead::AesGcm(..) | Aead::AesCcm(..) => 4,
            };
            KeyBlockLengths { mac_key: 0, key: aead.key_length(), iv }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(version: ProtocolVersion, name: &str) -> Option<(TlsPrf, KeyBlockLengths)> {
        let suite = CipherSuite::from_name(name).unwrap();
        Tls12Suite::new(version, suite).map(|suite| (suite.prf, suite.key_block))
    }

    #[test]
    fn key_blocks_of_suites_and_versions() {
        let lengths = |mac_key, key, iv| KeyBlockLengths { mac_key, key, iv };
        let (tls10, tls12) = (ProtocolVersion::TLS_1_0, ProtocolVersion::TLS_1_2);
        let cbc = "TLS_RSA_WITH_AES_128_CBC_SHA";
        assert_eq!(tls(tls10, cbc), Some((TlsPrf::Md5Sha1, lengths(20, 16, 16))));
        assert_eq!(tls(ProtocolVersion::TLS_1_1, cbc), Some((TlsPrf::Md5Sha1, lengths(20, 16, 0))));
        assert_eq!(tls(tls12, cbc), Some((TlsPrf::Sha256, lengths(20, 16, 0))));
        let gcm = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384";
        assert_eq!(tls(tls12, gcm), Some((TlsPrf::Sha384, lengths(0, 32, 4))));
        assert_eq!(tls(tls10, gcm), None);
        let chacha = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
        assert_eq!(tls(tls12, chacha), Some((TlsPrf::Sha256, lengths(0, 32, 12))));
        assert_eq!(tls(tls12, "TLS_AES_128_GCM_SHA256"), None);
        assert_eq!(tls(ProtocolVersion::TLS_1_3, gcm), None);
    }

    #[test]
    fn names_without_a_hash_and_with_a_short_tag() {
        let ccm = Aead::AesCcm(AesKey::Bits128, Tag::Octets8);
        assert_eq!(split_hash("AES_128_CCM_8"), ("AES_128_CCM_8", None));
        assert_eq!(protection("AES_128_CCM_8", None), Some(RecordProtection::Aead(ccm)));
        assert_eq!(tls13_suite(CipherSuite::TLS_AES_128_CCM_8_SHA256), Some((SuiteHash::Sha256, ccm)));
        assert_eq!(tls13_suite(CipherSuite::TLS_RSA_WITH_AES_128_GCM_SHA256), None);
        assert_eq!(protection("RC4_128", Some(Hash::Sha1)), None);
    }
}
