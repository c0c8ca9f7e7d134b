//! The numbers of IKEv1, as IANA names them (registries "ISAKMP", "IPSEC ISAKMP" and "IPSEC IKE"), with those that
//! drafts and implementations use beside them.

use crate::registry::registry;

registry! {
    /// A Domain of Interpretation: what most other numbers mean depends on it.
    pub struct Doi(u32), unknown "DOI {}" {
        ISAKMP = 0, "ISAKMP";
        IPSEC = 1, "IPSEC";
        GDOI = 2, "GDOI";
    }
}

registry! {
    /// A security protocol (RFC 2407 section 4.4.1).
    pub struct ProtocolId(u8), unknown "protocol {}" {
        ISAKMP = 1, "PROTO_ISAKMP" | "ISAKMP";
        IPSEC_AH = 2, "PROTO_IPSEC_AH" | "AH";
        IPSEC_ESP = 3, "PROTO_IPSEC_ESP" | "ESP";
        IPCOMP = 4, "PROTO_IPCOMP" | "IPCOMP";
        GIGABEAM_RADIO = 5, "PROTO_GIGABEAM_RADIO";
    }
}

registry! {
    /// Transforms of PROTO_ISAKMP (RFC 2407 section 4.4.2).
    pub struct IsakmpTransform(u8), unknown "ISAKMP transform {}" {
        KEY_IKE = 1, "KEY_IKE";
    }
}

registry! {
    /// Transforms of PROTO_IPSEC_AH (RFC 2407 section 4.4.3).
    pub struct AhTransform(u8), unknown "AH transform {}" {
        MD5 = 2, "AH_MD5";
        SHA = 3, "AH_SHA";
        DES = 4, "AH_DES";
        SHA2_256 = 5, "AH_SHA2-256";
        SHA2_384 = 6, "AH_SHA2-384";
        SHA2_512 = 7, "AH_SHA2-512";
        RIPEMD = 8, "AH_RIPEMD";
        AES_XCBC_MAC = 9, "AH_AES-XCBC-MAC";
        RSA = 10, "AH_RSA";
        AES_128_GMAC = 11, "AH_AES-128-GMAC";
        AES_192_GMAC = 12, "AH_AES-192-GMAC";
        AES_256_GMAC = 13, "AH_AES-256-GMAC";
    }
}

registry! {
    /// Transforms of PROTO_IPSEC_ESP (RFC 2407 section 4.4.4).
    pub struct EspTransform(u8), unknown "ESP transform {}" {
        DES_IV64 = 1, "ESP_DES_IV64";
        DES = 2, "ESP_DES";
        TRIPLE_DES = 3, "ESP_3DES";
        RC5 = 4, "ESP_RC5";
        IDEA = 5, "ESP_IDEA";
        CAST = 6, "ESP_CAST";
        BLOWFISH = 7, "ESP_BLOWFISH";
        TRIPLE_IDEA = 8, "ESP_3IDEA";
        DES_IV32 = 9, "ESP_DES_IV32";
        RC4 = 10, "ESP_RC4";
        NULL = 11, "ESP_NULL";
        AES_CBC = 12, "ESP_AES-CBC" | "ESP_AES";
        AES_CTR = 13, "ESP_AES-CTR";
        AES_CCM_8 = 14, "ESP_AES-CCM_8";
        AES_CCM_12 = 15, "ESP_AES-CCM_12";
        AES_CCM_16 = 16, "ESP_AES-CCM_16";
        AES_GCM_8 = 18, "ESP_AES-GCM_8";
        AES_GCM_12 = 19, "ESP_AES-GCM_12";
        AES_GCM_16 = 20, "ESP_AES-GCM_16";
        SEED_CBC = 21, "ESP_SEED_CBC";
        CAMELLIA = 22, "ESP_CAMELLIA";
        NULL_AUTH_AES_GMAC = 23, "ESP_NULL_AUTH_AES-GMAC";
    }
}

registry! {
    /// Transforms of PROTO_IPCOMP (RFC 2407 section 4.4.5).
    pub struct IpcompTransform(u8), unknown "IPCOMP transform {}" {
        OUI = 1, "IPCOMP_OUI";
        DEFLATE = 2, "IPCOMP_DEFLATE";
        LZS = 3, "IPCOMP_LZS";
        LZJH = 4, "IPCOMP_LZJH";
    }
}

registry! {
    /// Attributes of a phase 1 transform (RFC 2409 appendix A).
    pub struct Phase1Attribute(u16), unknown "attribute {}" {
        ENCRYPTION_ALGORITHM = 1, "Encryption Algorithm";
        HASH_ALGORITHM = 2, "Hash Algorithm";
        AUTHENTICATION_METHOD = 3, "Authentication Method";
        GROUP_DESCRIPTION = 4, "Group Description";
        GROUP_TYPE = 5, "Group Type";
        GROUP_PRIME = 6, "Group Prime/Irreducible Polynomial";
        GROUP_GENERATOR_ONE = 7, "Group Generator One";
        GROUP_GENERATOR_TWO = 8, "Group Generator Two";
        GROUP_CURVE_A = 9, "Group Curve A";
        GROUP_CURVE_B = 10, "Group Curve B";
        LIFE_TYPE = 11, "Life Type";
        LIFE_DURATION = 12, "Life Duration";
        PRF = 13, "PRF";
        KEY_LENGTH = 14, "Key Length";
        FIELD_SIZE = 15, "Field Size";
        GROUP_ORDER = 16, "Group Order";
    }
}

registry! {
    /// Attributes of a phase 2 transform (RFC 2407 section 4.5).
    pub struct IpsecAttribute(u16), unknown "attribute {}" {
        SA_LIFE_TYPE = 1, "SA Life Type";
        SA_LIFE_DURATION = 2, "SA Life Duration";
        GROUP_DESCRIPTION = 3, "Group Description";
        ENCAPSULATION_MODE = 4, "Encapsulation Mode";
        AUTHENTICATION_ALGORITHM = 5, "Authentication Algorithm";
        KEY_LENGTH = 6, "Key Length";
        KEY_ROUNDS = 7, "Key Rounds";
        COMPRESS_DICTIONARY_SIZE = 8, "Compress Dictionary Size";
        COMPRESS_PRIVATE_ALGORITHM = 9, "Compress Private Algorithm";
        ECN_TUNNEL = 10, "ECN Tunnel";
        EXTENDED_SEQUENCE_NUMBER = 11, "Extended (64-bit) Sequence Number";
        AUTHENTICATION_KEY_LENGTH = 12, "Authentication Key Length";
        SIGNATURE_ENCODING_ALGORITHM = 13, "Signature Encoding Algorithm";
        ADDRESS_PRESERVATION = 14, "Address Preservation";
        SA_DIRECTION = 15, "SA Direction";
    }
}

registry! {
    /// Encryption Algorithm of phase 1.
    pub struct EncryptionAlgorithm(u16), unknown "encryption algorithm {}" {
        DES_CBC = 1, "DES-CBC";
        IDEA_CBC = 2, "IDEA-CBC";
        BLOWFISH_CBC = 3, "Blowfish-CBC";
        RC5_R16_B64_CBC = 4, "RC5-R16-B64-CBC";
        TRIPLE_DES_CBC = 5, "3DES-CBC";
        CAST_CBC = 6, "CAST-CBC";
        AES_CBC = 7, "AES-CBC";
        CAMELLIA_CBC = 8, "CAMELLIA-CBC";
    }
}

registry! {
    /// Hash Algorithm of phase 1.
    pub struct HashAlgorithm(u16), unknown "hash algorithm {}" {
        MD5 = 1, "MD5";
        SHA = 2, "SHA" | "SHA1";
        TIGER = 3, "Tiger";
        SHA2_256 = 4, "SHA2-256";
        SHA2_384 = 5, "SHA2-384";
        SHA2_512 = 6, "SHA2-512";
    }
}

registry! {
    /// Authentication Method of phase 1; those above 64000 are of the drafts of Hybrid authentication and XAUTH.
    pub struct AuthenticationMethod(u16), unknown "authentication method {}" {
        PRE_SHARED_KEY = 1, "pre-shared key";
        DSS_SIGNATURES = 2, "DSS signatures";
        RSA_SIGNATURES = 3, "RSA signatures";
        RSA_ENCRYPTION = 4, "Encryption with RSA";
        RSA_REVISED_ENCRYPTION = 5, "Revised encryption with RSA";
        ECDSA_SIGNATURES = 8, "ECDSA signatures";
        ECDSA_SHA256_P256 = 9, "ECDSA with SHA-256 on the P-256 curve";
        ECDSA_SHA384_P384 = 10, "ECDSA with SHA-384 on the P-384 curve";
        ECDSA_SHA512_P521 = 11, "ECDSA with SHA-512 on the P-521 curve";
        HYBRID_INIT_RSA = 64221, "HybridInitRSA";
        HYBRID_RESP_RSA = 64222, "HybridRespRSA";
        HYBRID_INIT_DSS = 64223, "HybridInitDSS";
        HYBRID_RESP_DSS = 64224, "HybridRespDSS";
        XAUTH_INIT_PRE_SHARED = 65001, "XAUTHInitPreShared";
        XAUTH_RESP_PRE_SHARED = 65002, "XAUTHRespPreShared";
        XAUTH_INIT_DSS = 65003, "XAUTHInitDSS";
        XAUTH_RESP_DSS = 65004, "XAUTHRespDSS";
        XAUTH_INIT_RSA = 65005, "XAUTHInitRSA";
        XAUTH_RESP_RSA = 65006, "XAUTHRespRSA";
        XAUTH_INIT_RSA_ENCRYPTION = 65007, "XAUTHInitRSAEncryption";
        XAUTH_RESP_RSA_ENCRYPTION = 65008, "XAUTHRespRSAEncryption";
        XAUTH_INIT_RSA_REVISED_ENCRYPTION = 65009, "XAUTHInitRSARevisedEncryption";
        XAUTH_RESP_RSA_REVISED_ENCRYPTION = 65010, "XAUTHRespRSARevisedEncryption";
    }
}

registry! {
    /// Life Type of phase 1 and SA Life Type of phase 2: what a duration counts.
    pub struct LifeType(u16), unknown "life type {}" {
        SECONDS = 1, "seconds";
        KILOBYTES = 2, "kilobytes";
    }
}

registry! {
    /// Encapsulation Mode of phase 2 (RFC 2407 section 4.5, RFC 3947 section 5.1); those above 61440 are of the drafts of
    /// NAT traversal.
    pub struct EncapsulationMode(u16), unknown "encapsulation mode {}" {
        TUNNEL = 1, "Tunnel";
        TRANSPORT = 2, "Transport";
        UDP_ENCAPSULATED_TUNNEL = 3, "UDP-Encapsulated-Tunnel";
        UDP_ENCAPSULATED_TRANSPORT = 4, "UDP-Encapsulated-Transport";
        UDP_ENCAPSULATED_TUNNEL_DRAFT = 61443, "UDP-Encapsulated-Tunnel (draft)";
        UDP_ENCAPSULATED_TRANSPORT_DRAFT = 61444, "UDP-Encapsulated-Transport (draft)";
    }
}

registry! {
    /// Authentication Algorithm of phase 2.
    pub struct AuthenticationAlgorithm(u16), unknown "authentication algorithm {}" {
        HMAC_MD5 = 1, "HMAC-MD5";
        HMAC_SHA = 2, "HMAC-SHA";
        DES_MAC = 3, "DES-MAC";
        KPDK = 4, "KPDK";
        HMAC_SHA2_256 = 5, "HMAC-SHA2-256";
        HMAC_SHA2_384 = 6, "HMAC-SHA2-384";
        HMAC_SHA2_512 = 7, "HMAC-SHA2-512";
        HMAC_RIPEMD = 8, "HMAC-RIPEMD";
        AES_XCBC_MAC = 9, "AES-XCBC-MAC";
        SIG_RSA = 10, "SIG-RSA";
        AES_128_GMAC = 11, "AES-128-GMAC";
        AES_192_GMAC = 12, "AES-192-GMAC";
        AES_256_GMAC = 13, "AES-256-GMAC";
    }
}

registry! {
    /// The type of an identification (RFC 2407 section 4.6.2.1).
    pub struct IdType(u8), unknown "ID type {}" {
        IPV4_ADDR = 1, "ID_IPV4_ADDR";
        FQDN = 2, "ID_FQDN";
        USER_FQDN = 3, "ID_USER_FQDN";
        IPV4_ADDR_SUBNET = 4, "ID_IPV4_ADDR_SUBNET";
        IPV6_ADDR = 5, "ID_IPV6_ADDR";
        IPV6_ADDR_SUBNET = 6, "ID_IPV6_ADDR_SUBNET";
        IPV4_ADDR_RANGE = 7, "ID_IPV4_ADDR_RANGE";
        IPV6_ADDR_RANGE = 8, "ID_IPV6_ADDR_RANGE";
        DER_ASN1_DN = 9, "ID_DER_ASN1_DN";
        DER_ASN1_GN = 10, "ID_DER_ASN1_GN";
        KEY_ID = 11, "ID_KEY_ID";
        LIST = 12, "ID_LIST";
    }
}

registry! {
    /// What a notification says (RFC 2408 section 3.14.1, RFC 2407 section 4.6.3): errors below 16384, status above. R-U-THERE
    /// is of RFC 3706, UNITY-LOAD-BALANCE of Cisco.
    pub struct NotifyType(u16), unknown "notification {}" {
        INVALID_PAYLOAD_TYPE = 1, "INVALID-PAYLOAD-TYPE";
        DOI_NOT_SUPPORTED = 2, "DOI-NOT-SUPPORTED";
        SITUATION_NOT_SUPPORTED = 3, "SITUATION-NOT-SUPPORTED";
        INVALID_COOKIE = 4, "INVALID-COOKIE";
        INVALID_MAJOR_VERSION = 5, "INVALID-MAJOR-VERSION";
        INVALID_MINOR_VERSION = 6, "INVALID-MINOR-VERSION";
        INVALID_EXCHANGE_TYPE = 7, "INVALID-EXCHANGE-TYPE";
        INVALID_FLAGS = 8, "INVALID-FLAGS";
        INVALID_MESSAGE_ID = 9, "INVALID-MESSAGE-ID";
        INVALID_PROTOCOL_ID = 10, "INVALID-PROTOCOL-ID";
        INVALID_SPI = 11, "INVALID-SPI";
        INVALID_TRANSFORM_ID = 12, "INVALID-TRANSFORM-ID";
        ATTRIBUTES_NOT_SUPPORTED = 13, "ATTRIBUTES-NOT-SUPPORTED";
        NO_PROPOSAL_CHOSEN = 14, "NO-PROPOSAL-CHOSEN";
        BAD_PROPOSAL_SYNTAX = 15, "BAD-PROPOSAL-SYNTAX";
        PAYLOAD_MALFORMED = 16, "PAYLOAD-MALFORMED";
        INVALID_KEY_INFORMATION = 17, "INVALID-KEY-INFORMATION";
        INVALID_ID_INFORMATION = 18, "INVALID-ID-INFORMATION";
        INVALID_CERT_ENCODING = 19, "INVALID-CERT-ENCODING";
        INVALID_CERTIFICATE = 20, "INVALID-CERTIFICATE";
        CERT_TYPE_UNSUPPORTED = 21, "CERT-TYPE-UNSUPPORTED";
        INVALID_CERT_AUTHORITY = 22, "INVALID-CERT-AUTHORITY";
        INVALID_HASH_INFORMATION = 23, "INVALID-HASH-INFORMATION";
        AUTHENTICATION_FAILED = 24, "AUTHENTICATION-FAILED";
        INVALID_SIGNATURE = 25, "INVALID-SIGNATURE";
        ADDRESS_NOTIFICATION = 26, "ADDRESS-NOTIFICATION";
        NOTIFY_SA_LIFETIME = 27, "NOTIFY-SA-LIFETIME";
        CERTIFICATE_UNAVAILABLE = 28, "CERTIFICATE-UNAVAILABLE";
        UNSUPPORTED_EXCHANGE_TYPE = 29, "UNSUPPORTED-EXCHANGE-TYPE";
        UNEQUAL_PAYLOAD_LENGTHS = 30, "UNEQUAL-PAYLOAD-LENGTHS";
        CONNECTED = 16384, "CONNECTED";
        RESPONDER_LIFETIME = 24576, "RESPONDER-LIFETIME";
        REPLAY_STATUS = 24577, "REPLAY-STATUS";
        INITIAL_CONTACT = 24578, "INITIAL-CONTACT";
        R_U_THERE = 36136, "R-U-THERE";
        R_U_THERE_ACK = 36137, "R-U-THERE-ACK";
        UNITY_LOAD_BALANCE = 40501, "UNITY-LOAD-BALANCE";
    }
}

impl NotifyType {
    /// Whether it reports an error rather than a status.
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

registry! {
    /// What an Attributes payload is for (draft-ietf-ipsec-isakmp-mode-cfg section 3.2).
    pub struct ConfigType(u8), unknown "config type {}" {
        REQUEST = 1, "ISAKMP_CFG_REQUEST";
        REPLY = 2, "ISAKMP_CFG_REPLY";
        SET = 3, "ISAKMP_CFG_SET";
        ACK = 4, "ISAKMP_CFG_ACK";
    }
}

registry! {
    /// Attributes of an Attributes payload: of the configuration method (draft-ietf-ipsec-isakmp-mode-cfg section 3.3), of
    /// XAUTH (draft-ietf-ipsec-isakmp-xauth section 6.1), and of Cisco Unity.
    pub struct ConfigAttribute(u16), unknown "attribute {}" {
        INTERNAL_IP4_ADDRESS = 1, "INTERNAL_IP4_ADDRESS";
        INTERNAL_IP4_NETMASK = 2, "INTERNAL_IP4_NETMASK";
        INTERNAL_IP4_DNS = 3, "INTERNAL_IP4_DNS";
        INTERNAL_IP4_NBNS = 4, "INTERNAL_IP4_NBNS";
        INTERNAL_ADDRESS_EXPIRY = 5, "INTERNAL_ADDRESS_EXPIRY";
        INTERNAL_IP4_DHCP = 6, "INTERNAL_IP4_DHCP";
        APPLICATION_VERSION = 7, "APPLICATION_VERSION";
        INTERNAL_IP6_ADDRESS = 8, "INTERNAL_IP6_ADDRESS";
        INTERNAL_IP6_NETMASK = 9, "INTERNAL_IP6_NETMASK";
        INTERNAL_IP6_DNS = 10, "INTERNAL_IP6_DNS";
        INTERNAL_IP6_NBNS = 11, "INTERNAL_IP6_NBNS";
        INTERNAL_IP6_DHCP = 12, "INTERNAL_IP6_DHCP";
        INTERNAL_IP4_SUBNET = 13, "INTERNAL_IP4_SUBNET";
        SUPPORTED_ATTRIBUTES = 14, "SUPPORTED_ATTRIBUTES";
        INTERNAL_IP6_SUBNET = 15, "INTERNAL_IP6_SUBNET";
        XAUTH_TYPE = 16520, "XAUTH-TYPE";
        XAUTH_USER_NAME = 16521, "XAUTH-USER-NAME";
        XAUTH_USER_PASSWORD = 16522, "XAUTH-USER-PASSWORD";
        XAUTH_PASSCODE = 16523, "XAUTH-PASSCODE";
        XAUTH_MESSAGE = 16524, "XAUTH-MESSAGE";
        XAUTH_CHALLENGE = 16525, "XAUTH-CHALLENGE";
        XAUTH_DOMAIN = 16526, "XAUTH-DOMAIN";
        XAUTH_STATUS = 16527, "XAUTH-STATUS";
        XAUTH_NEXT_PIN = 16528, "XAUTH-NEXT-PIN";
        XAUTH_ANSWER = 16529, "XAUTH-ANSWER";
        UNITY_BANNER = 28672, "UNITY_BANNER";
        UNITY_SAVE_PASSWD = 28673, "UNITY_SAVE_PASSWD";
        UNITY_DEF_DOMAIN = 28674, "UNITY_DEF_DOMAIN";
        UNITY_SPLITDNS_NAME = 28675, "UNITY_SPLITDNS_NAME";
        UNITY_SPLIT_INCLUDE = 28676, "UNITY_SPLIT_INCLUDE";
        UNITY_NATT_PORT = 28677, "UNITY_NATT_PORT";
        UNITY_LOCAL_LAN = 28678, "UNITY_LOCAL_LAN";
        UNITY_PFS = 28679, "UNITY_PFS";
        UNITY_FW_TYPE = 28680, "UNITY_FW_TYPE";
        UNITY_BACKUP_SERVERS = 28681, "UNITY_BACKUP_SERVERS";
        UNITY_DDNS_HOSTNAME = 28682, "UNITY_DDNS_HOSTNAME";
    }
}
