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
    /// A key exchange group (RFC 8446 section 4.2.7).
    pub struct NamedGroup(u16), unknown "group {:#06x}" {
        SECT163K1 = 0x0001, "sect163k1";
        SECT163R2 = 0x0003, "sect163r2";
        SECT233R1 = 0x0007, "sect233r1";
        SECT283K1 = 0x0009, "sect283k1";
        SECT283R1 = 0x000a, "sect283r1";
        SECT409K1 = 0x000b, "sect409k1";
        SECT409R1 = 0x000c, "sect409r1";
        SECT571K1 = 0x000d, "sect571k1";
        SECT571R1 = 0x000e, "sect571r1";
        SECP192R1 = 0x0013, "secp192r1";
        SECP224R1 = 0x0015, "secp224r1";
        SECP256K1 = 0x0016, "secp256k1";
        SECP256R1 = 0x0017, "secp256r1" | "P-256";
        SECP384R1 = 0x0018, "secp384r1" | "P-384";
        SECP521R1 = 0x0019, "secp521r1" | "P-521";
        BRAINPOOL_P256R1 = 0x001a, "brainpoolP256r1";
        BRAINPOOL_P384R1 = 0x001b, "brainpoolP384r1";
        BRAINPOOL_P512R1 = 0x001c, "brainpoolP512r1";
        X25519 = 0x001d, "x25519";
        X448 = 0x001e, "x448";
        BRAINPOOL_P256R1_TLS13 = 0x001f, "brainpoolP256r1tls13";
        BRAINPOOL_P384R1_TLS13 = 0x0020, "brainpoolP384r1tls13";
        BRAINPOOL_P512R1_TLS13 = 0x0021, "brainpoolP512r1tls13";
        CURVE_SM2 = 0x0029, "curveSM2";
        FFDHE2048 = 0x0100, "ffdhe2048";
        FFDHE3072 = 0x0101, "ffdhe3072";
        FFDHE4096 = 0x0102, "ffdhe4096";
        FFDHE6144 = 0x0103, "ffdhe6144";
        FFDHE8192 = 0x0104, "ffdhe8192";
        MLKEM512 = 0x0200, "MLKEM512";
        MLKEM768 = 0x0201, "MLKEM768";
        MLKEM1024 = 0x0202, "MLKEM1024";
        SECP256R1_MLKEM768 = 0x11eb, "SecP256r1MLKEM768";
        X25519_MLKEM768 = 0x11ec, "X25519MLKEM768";
        SECP384R1_MLKEM1024 = 0x11ed, "SecP384r1MLKEM1024";
        X25519_KYBER768_DRAFT00 = 0x6399, "X25519Kyber768Draft00";
        SECP256R1_KYBER768_DRAFT00 = 0x639a, "SecP256r1Kyber768Draft00";
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
        ECDSA_BRAINPOOL_P256R1_TLS13_SHA256 = 0x081a, "ecdsa_brainpoolP256r1tls13_sha256";
        ECDSA_BRAINPOOL_P384R1_TLS13_SHA384 = 0x081b, "ecdsa_brainpoolP384r1tls13_sha384";
        ECDSA_BRAINPOOL_P512R1_TLS13_SHA512 = 0x081c, "ecdsa_brainpoolP512r1tls13_sha512";
        MLDSA44 = 0x0904, "mldsa44";
        MLDSA65 = 0x0905, "mldsa65";
        MLDSA87 = 0x0906, "mldsa87";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_either_name() {
        assert_eq!(NamedGroup::from_name("P-256"), Some(NamedGroup::SECP256R1));
        assert_eq!(NamedGroup::from_name("secp256r1"), Some(NamedGroup::SECP256R1));
        assert_eq!(NamedGroup::from_name("X25519"), Some(NamedGroup::X25519));
        assert_eq!(NamedGroup::from_name("X25519MLKEM768"), Some(NamedGroup(0x11ec)));
    }
}
