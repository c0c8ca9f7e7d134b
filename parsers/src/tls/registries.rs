//! The numbers of TLS that configuration, log and channel messages name, too.

use crate::registry::registry;

registry! {
    /// A protocol version (RFC 8446 section 4.2.1).
    pub struct ProtocolVersion(u16), unknown "version {:#06x}" {
        SSL_2_0 = 0x0002, "SSL 2.0";
        SSL_3_0 = 0x0300, "SSL 3.0";
        TLS_1_0 = 0x0301, "TLS 1.0";
        TLS_1_1 = 0x0302, "TLS 1.1";
        TLS_1_2 = 0x0303, "TLS 1.2";
        TLS_1_3 = 0x0304, "TLS 1.3";
        DTLS_1_3 = 0xfefc, "DTLS 1.3";
        DTLS_1_2 = 0xfefd, "DTLS 1.2";
        DTLS_1_0 = 0xfeff, "DTLS 1.0";
    }
}

registry! {
    /// A cipher suite (RFC 8446 appendix B.4; of TLS 1.2: RFC 5289, RFC 7905, and some for the log).
    pub struct CipherSuite(u16), unknown "cipher suite {:#06x}" {
        TLS_RSA_WITH_AES_128_CBC_SHA = 0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA";
        TLS_RSA_WITH_AES_256_CBC_SHA = 0x0035, "TLS_RSA_WITH_AES_256_CBC_SHA";
        TLS_RSA_WITH_AES_128_GCM_SHA256 = 0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256";
        TLS_RSA_WITH_AES_256_GCM_SHA384 = 0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384";
        TLS_EMPTY_RENEGOTIATION_INFO_SCSV = 0x00ff, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV";
        TLS_AES_128_GCM_SHA256 = 0x1301, "TLS_AES_128_GCM_SHA256";
        TLS_AES_256_GCM_SHA384 = 0x1302, "TLS_AES_256_GCM_SHA384";
        TLS_CHACHA20_POLY1305_SHA256 = 0x1303, "TLS_CHACHA20_POLY1305_SHA256";
        TLS_AES_128_CCM_SHA256 = 0x1304, "TLS_AES_128_CCM_SHA256";
        TLS_AES_128_CCM_8_SHA256 = 0x1305, "TLS_AES_128_CCM_8_SHA256";
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 = 0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 = 0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
        TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 = 0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 = 0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384";
        TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 = 0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256";
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 = 0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    }
}

impl CipherSuite {
    /// Bytes of the suite's hash and so of a traffic secret; `None` unless it is a known TLS 1.3 suite.
    pub const fn hash_length(self) -> Option<usize> {
        match self {
            Self::TLS_AES_256_GCM_SHA384 => Some(48),
            Self::TLS_AES_128_GCM_SHA256
            | Self::TLS_CHACHA20_POLY1305_SHA256
            | Self::TLS_AES_128_CCM_SHA256
            | Self::TLS_AES_128_CCM_8_SHA256 => Some(32),
            _ => None,
        }
    }

    /// Bytes of one direction's secret in a hand-over: the traffic secret in TLS 1.3; write key and 12 bytes of IV in
    /// TLS 1.2. `None` unless it is a known AEAD suite of that version.
    pub const fn secret_length(self, version: ProtocolVersion) -> Option<usize> {
        match (version, self) {
            (ProtocolVersion::TLS_1_3, suite) => suite.hash_length(),
            (
                ProtocolVersion::TLS_1_2,
                Self::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 | Self::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            ) => Some(16 + 12),
            (
                ProtocolVersion::TLS_1_2,
                Self::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
                | Self::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
                | Self::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
                | Self::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            ) => Some(32 + 12),
            _ => None,
        }
    }

    /// The TLS 1.3 suite with the same AEAD and hash: what a terminal must be able to compute. A TLS 1.3 suite's is
    /// itself; `None` for every suite that is neither TLS 1.3 nor ECDHE with such an AEAD.
    pub const fn tls13_equivalent(self) -> Option<Self> {
        match self {
            Self::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 | Self::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => {
                Some(Self::TLS_AES_128_GCM_SHA256)
            }
            Self::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 | Self::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => {
                Some(Self::TLS_AES_256_GCM_SHA384)
            }
            Self::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 | Self::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => {
                Some(Self::TLS_CHACHA20_POLY1305_SHA256)
            }
            suite if suite.hash_length().is_some() => Some(suite),
            _ => None,
        }
    }
}

registry! {
    /// A key exchange group (RFC 8446 section 4.2.7).
    pub struct NamedGroup(u16), unknown "group {:#06x}" {
        SECP256R1 = 0x0017, "secp256r1" | "P-256";
        SECP384R1 = 0x0018, "secp384r1" | "P-384";
        SECP521R1 = 0x0019, "secp521r1" | "P-521";
        X25519 = 0x001d, "x25519";
        X448 = 0x001e, "x448";
        FFDHE2048 = 0x0100, "ffdhe2048";
        FFDHE3072 = 0x0101, "ffdhe3072";
        FFDHE4096 = 0x0102, "ffdhe4096";
        FFDHE6144 = 0x0103, "ffdhe6144";
        FFDHE8192 = 0x0104, "ffdhe8192";
        SECP256R1_MLKEM768 = 0x11eb, "SecP256r1MLKEM768";
        X25519_MLKEM768 = 0x11ec, "X25519MLKEM768";
        SECP384R1_MLKEM1024 = 0x11ed, "SecP384r1MLKEM1024";
    }
}

registry! {
    /// A signature algorithm (RFC 8446 section 4.2.3).
    pub struct SignatureScheme(u16), unknown "signature scheme {:#06x}" {
        RSA_PKCS1_SHA1 = 0x0201, "rsa_pkcs1_sha1";
        ECDSA_SHA1 = 0x0203, "ecdsa_sha1";
        RSA_PKCS1_SHA256 = 0x0401, "rsa_pkcs1_sha256";
        ECDSA_SECP256R1_SHA256 = 0x0403, "ecdsa_secp256r1_sha256";
        RSA_PKCS1_SHA384 = 0x0501, "rsa_pkcs1_sha384";
        ECDSA_SECP384R1_SHA384 = 0x0503, "ecdsa_secp384r1_sha384";
        RSA_PKCS1_SHA512 = 0x0601, "rsa_pkcs1_sha512";
        ECDSA_SECP521R1_SHA512 = 0x0603, "ecdsa_secp521r1_sha512";
        RSA_PSS_RSAE_SHA256 = 0x0804, "rsa_pss_rsae_sha256";
        RSA_PSS_RSAE_SHA384 = 0x0805, "rsa_pss_rsae_sha384";
        RSA_PSS_RSAE_SHA512 = 0x0806, "rsa_pss_rsae_sha512";
        ED25519 = 0x0807, "ed25519";
        ED448 = 0x0808, "ed448";
        RSA_PSS_PSS_SHA256 = 0x0809, "rsa_pss_pss_sha256";
        RSA_PSS_PSS_SHA384 = 0x080a, "rsa_pss_pss_sha384";
        RSA_PSS_PSS_SHA512 = 0x080b, "rsa_pss_pss_sha512";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn groups_are_found_by_either_name() {
        assert_eq!(NamedGroup::from_name("P-256"), Some(NamedGroup::SECP256R1));
        assert_eq!(NamedGroup::from_name("secp256r1"), Some(NamedGroup::SECP256R1));
        assert_eq!(NamedGroup::from_name("X25519"), Some(NamedGroup::X25519));
        assert_eq!(NamedGroup::from_name("X25519MLKEM768"), Some(NamedGroup(0x11ec)));
    }

    #[test]
    fn an_unknown_suite_shows_its_number_and_has_no_hash_length() {
        assert_eq!(CipherSuite(0x0a0a).to_string(), "cipher suite 0x0a0a");
        assert_eq!(CipherSuite(0x0a0a).hash_length(), None);
        assert_eq!(CipherSuite::TLS_AES_256_GCM_SHA384.hash_length(), Some(48));
        assert_eq!(CipherSuite::TLS_AES_128_GCM_SHA256.hash_length(), Some(32));
    }

    #[test]
    fn a_secret_is_as_long_as_suite_and_version_say() {
        let lengths = |suite| {
            let suite = CipherSuite(suite);
            (suite.secret_length(ProtocolVersion::TLS_1_2), suite.secret_length(ProtocolVersion::TLS_1_3))
        };
        assert_eq!([0x1301, 0x1303].map(lengths), [(None, Some(32)); 2]);
        assert_eq!(lengths(0x1302), (None, Some(48)));
        assert_eq!([0xc02b, 0xc02f].map(lengths), [(Some(28), None); 2]);
        assert_eq!([0xc02c, 0xc030, 0xcca8, 0xcca9].map(lengths), [(Some(44), None); 4]);
        assert_eq!([0x002f, 0x009c, 0x0a0a].map(lengths), [(None, None); 3]);
        assert_eq!(CipherSuite::TLS_AES_128_GCM_SHA256.secret_length(ProtocolVersion::TLS_1_1), None);
    }

    #[test]
    fn a_tls_1_2_suite_has_an_equivalent_with_the_same_aead() {
        let equivalent = |suite| CipherSuite(suite).tls13_equivalent().map(|suite| suite.0);
        assert_eq!([0xc02b, 0xc02f, 0x1301].map(equivalent), [Some(0x1301); 3]);
        assert_eq!([0xc02c, 0xc030, 0x1302].map(equivalent), [Some(0x1302); 3]);
        assert_eq!([0xcca8, 0xcca9, 0x1303].map(equivalent), [Some(0x1303); 3]);
        assert_eq!([0x002f, 0x009c, 0x0a0a].map(equivalent), [None; 3]); // no forward secrecy, no AEAD, unknown
    }
}
