//! The numbers that IKEv1 and IKEv2 share, as IANA names them (registries "ISAKMP" and "IKEv2 Parameters").

use crate::registry::registry;

registry! {
    /// What a payload is. The two versions of IKE use numbers of their own, so one registry holds both; where they share
    /// a name, `from_name` gives the number of IKEv1. Other names for the draft numbers of NAT traversal and for
    /// fragments are those of the implementations that use them.
    pub struct PayloadType(u8), unknown "payload type {}" {
        NONE = 0, "NONE";
        SA = 1, "SA";
        P = 2, "P";
        T = 3, "T";
        KE = 4, "KE";
        ID = 5, "ID";
        CERT = 6, "CERT";
        CR = 7, "CR" | "CERTREQ";
        HASH = 8, "HASH";
        SIG = 9, "SIG";
        NONCE = 10, "NONCE";
        N = 11, "N";
        D = 12, "D";
        VID = 13, "VID";
        ATTR = 14, "ATTR" | "MODE-CFG";
        SAK = 15, "SAK";
        SAT = 16, "SAT";
        KD = 17, "KD";
        SEQ = 18, "SEQ";
        POP = 19, "POP";
        NAT_D = 20, "NAT-D";
        NAT_OA = 21, "NAT-OA";
        GAP = 22, "GAP";
        V2_SA = 33, "SA";
        V2_KE = 34, "KE";
        V2_IDI = 35, "IDi";
        V2_IDR = 36, "IDr";
        V2_CERT = 37, "CERT";
        V2_CERTREQ = 38, "CERTREQ";
        V2_AUTH = 39, "AUTH";
        V2_NONCE = 40, "Nonce" | "Ni, Nr";
        V2_N = 41, "N";
        V2_D = 42, "D";
        V2_V = 43, "V";
        V2_TSI = 44, "TSi";
        V2_TSR = 45, "TSr";
        V2_SK = 46, "SK";
        V2_CP = 47, "CP";
        V2_EAP = 48, "EAP";
        V2_GSPM = 49, "GSPM";
        V2_IDG = 50, "IDg";
        V2_GSA = 51, "GSA";
        V2_KD = 52, "KD";
        V2_SKF = 53, "SKF";
        V2_PS = 54, "PS";
        NAT_D_DRAFT = 130, "NAT-D (draft)";
        NAT_OA_DRAFT = 131, "NAT-OA (draft)";
        FRAGMENT = 132, "FRAGMENT" | "IKE Fragment";
    }
}

registry! {
    /// Which exchange a message belongs to. 1 to 33 are of IKEv1, from 34 on of IKEv2.
    pub struct ExchangeType(u8), unknown "exchange type {}" {
        NONE = 0, "NONE";
        BASE = 1, "Base";
        IDENTITY_PROTECTION = 2, "Identity Protection" | "Main Mode";
        AUTHENTICATION_ONLY = 3, "Authentication Only";
        AGGRESSIVE = 4, "Aggressive";
        INFORMATIONAL_V1 = 5, "Informational";
        TRANSACTION = 6, "Transaction" | "Mode Config";
        QUICK_MODE = 32, "Quick Mode";
        NEW_GROUP_MODE = 33, "New Group Mode";
        IKE_SA_INIT = 34, "IKE_SA_INIT";
        IKE_AUTH = 35, "IKE_AUTH";
        CREATE_CHILD_SA = 36, "CREATE_CHILD_SA";
        INFORMATIONAL = 37, "INFORMATIONAL";
        IKE_SESSION_RESUME = 38, "IKE_SESSION_RESUME";
        GSA_AUTH = 39, "GSA_AUTH";
        GSA_REGISTRATION = 40, "GSA_REGISTRATION";
        GSA_REKEY = 41, "GSA_REKEY";
        GSA_INBAND_REKEY = 42, "GSA_INBAND_REKEY";
        IKE_INTERMEDIATE = 43, "IKE_INTERMEDIATE";
        IKE_FOLLOWUP_KE = 44, "IKE_FOLLOWUP_KE";
    }
}

registry! {
    /// A key exchange method: the Group Description of IKEv1 and Transform Type 4 of IKEv2, which number alike.
    pub struct Group(u16), unknown "group {}" {
        MODP_768 = 1, "768-bit MODP Group" | "modp768";
        MODP_1024 = 2, "1024-bit MODP Group" | "modp1024";
        EC2N_155 = 3, "EC2N group on GP[2^155]";
        EC2N_185 = 4, "EC2N group on GP[2^185]";
        MODP_1536 = 5, "1536-bit MODP Group" | "modp1536";
        MODP_2048 = 14, "2048-bit MODP Group" | "modp2048";
        MODP_3072 = 15, "3072-bit MODP Group" | "modp3072";
        MODP_4096 = 16, "4096-bit MODP Group" | "modp4096";
        MODP_6144 = 17, "6144-bit MODP Group" | "modp6144";
        MODP_8192 = 18, "8192-bit MODP Group" | "modp8192";
        ECP_256 = 19, "256-bit random ECP group" | "ecp256";
        ECP_384 = 20, "384-bit random ECP group" | "ecp384";
        ECP_521 = 21, "521-bit random ECP group" | "ecp521";
        MODP_1024_160 = 22, "1024-bit MODP Group with 160-bit Prime Order Subgroup" | "modp1024s160";
        MODP_2048_224 = 23, "2048-bit MODP Group with 224-bit Prime Order Subgroup" | "modp2048s224";
        MODP_2048_256 = 24, "2048-bit MODP Group with 256-bit Prime Order Subgroup" | "modp2048s256";
        ECP_192 = 25, "192-bit Random ECP Group" | "ecp192";
        ECP_224 = 26, "224-bit Random ECP Group" | "ecp224";
        BRAINPOOL_P224R1 = 27, "brainpoolP224r1";
        BRAINPOOL_P256R1 = 28, "brainpoolP256r1";
        BRAINPOOL_P384R1 = 29, "brainpoolP384r1";
        BRAINPOOL_P512R1 = 30, "brainpoolP512r1";
        CURVE25519 = 31, "Curve25519" | "x25519";
        CURVE448 = 32, "Curve448" | "x448";
        GOST3410_2012_256 = 33, "GOST3410_2012_256";
        GOST3410_2012_512 = 34, "GOST3410_2012_512";
        ML_KEM_512 = 35, "ml-kem-512" | "mlkem512";
        ML_KEM_768 = 36, "ml-kem-768" | "mlkem768";
        ML_KEM_1024 = 37, "ml-kem-1024" | "mlkem1024";
    }
}

registry! {
    /// What a certificate payload contains (RFC 7296 section 3.6; 0 to 10 are those of RFC 2408 section 3.9).
    pub struct CertificateEncoding(u8), unknown "certificate encoding {}" {
        NONE = 0, "NONE";
        PKCS7_X509 = 1, "PKCS #7 wrapped X.509 certificate";
        PGP = 2, "PGP Certificate";
        DNS_SIGNED_KEY = 3, "DNS Signed Key";
        X509_SIGNATURE = 4, "X.509 Certificate - Signature";
        X509_KEY_EXCHANGE = 5, "X.509 Certificate - Key Exchange";
        KERBEROS_TOKEN = 6, "Kerberos Token";
        CRL = 7, "Certificate Revocation List (CRL)";
        ARL = 8, "Authority Revocation List (ARL)";
        SPKI = 9, "SPKI Certificate";
        X509_ATTRIBUTE = 10, "X.509 Certificate - Attribute";
        RAW_RSA_KEY = 11, "Raw RSA Key";
        HASH_AND_URL_CERTIFICATE = 12, "Hash and URL of X.509 certificate";
        HASH_AND_URL_BUNDLE = 13, "Hash and URL of X.509 bundle";
        OCSP_CONTENT = 14, "OCSP Content";
        RAW_PUBLIC_KEY = 15, "Raw Public Key";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn both_versions_names_are_found() {
        assert_eq!(PayloadType(1).to_string(), "SA");
        assert_eq!(PayloadType(33).to_string(), "SA");
        assert_eq!(PayloadType::from_name("certreq"), Some(PayloadType::CR));
        assert_eq!(PayloadType(200).to_string(), "payload type 200");
        assert_eq!(Group::from_name("modp2048"), Some(Group::MODP_2048));
    }
}
