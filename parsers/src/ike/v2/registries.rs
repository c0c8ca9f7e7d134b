//! The numbers of IKEv2, as IANA names them (registry "Internet Key Exchange Version 2 (IKEv2) Parameters").

use crate::registry::registry;

registry! {
    /// A security protocol (RFC 7296 section 3.3.1).
    pub struct ProtocolId(u8), unknown "protocol {}" {
        IKE = 1, "IKE";
        AH = 2, "AH";
        ESP = 3, "ESP";
        FC_ESP_HEADER = 4, "FC_ESP_HEADER";
        FC_CT_AUTHENTICATION = 5, "FC_CT_AUTHENTICATION";
        GIKE_UPDATE = 6, "GIKE_UPDATE";
    }
}

registry! {
    /// What kind of algorithm a transform names (RFC 7296 section 3.3.2, RFC 9370 section 2.2).
    pub struct TransformType(u8), unknown "transform type {}" {
        ENCR = 1, "ENCR";
        PRF = 2, "PRF";
        INTEG = 3, "INTEG";
        KE = 4, "KE" | "DH" | "D-H";
        SN = 5, "SN" | "ESN";
        ADDKE1 = 6, "ADDKE1";
        ADDKE2 = 7, "ADDKE2";
        ADDKE3 = 8, "ADDKE3";
        ADDKE4 = 9, "ADDKE4";
        ADDKE5 = 10, "ADDKE5";
        ADDKE6 = 11, "ADDKE6";
        ADDKE7 = 12, "ADDKE7";
        KWA = 13, "KWA";
        GCAUTH = 14, "GCAUTH";
    }
}

registry! {
    /// Transform Type 1: encryption algorithms.
    pub struct Encr(u16), unknown "ENCR {}" {
        DES_IV64 = 1, "ENCR_DES_IV64";
        DES = 2, "ENCR_DES";
        TRIPLE_DES = 3, "ENCR_3DES";
        RC5 = 4, "ENCR_RC5";
        IDEA = 5, "ENCR_IDEA";
        CAST = 6, "ENCR_CAST";
        BLOWFISH = 7, "ENCR_BLOWFISH";
        TRIPLE_IDEA = 8, "ENCR_3IDEA";
        DES_IV32 = 9, "ENCR_DES_IV32";
        NULL = 11, "ENCR_NULL";
        AES_CBC = 12, "ENCR_AES_CBC";
        AES_CTR = 13, "ENCR_AES_CTR";
        AES_CCM_8 = 14, "ENCR_AES_CCM_8";
        AES_CCM_12 = 15, "ENCR_AES_CCM_12";
        AES_CCM_16 = 16, "ENCR_AES_CCM_16";
        AES_GCM_8 = 18, "ENCR_AES_GCM_8";
        AES_GCM_12 = 19, "ENCR_AES_GCM_12";
        AES_GCM_16 = 20, "ENCR_AES_GCM_16";
        NULL_AUTH_AES_GMAC = 21, "ENCR_NULL_AUTH_AES_GMAC";
        XTS_AES = 22, "XTS-AES";
        CAMELLIA_CBC = 23, "ENCR_CAMELLIA_CBC";
        CAMELLIA_CTR = 24, "ENCR_CAMELLIA_CTR";
        CAMELLIA_CCM_8 = 25, "ENCR_CAMELLIA_CCM_8";
        CAMELLIA_CCM_12 = 26, "ENCR_CAMELLIA_CCM_12";
        CAMELLIA_CCM_16 = 27, "ENCR_CAMELLIA_CCM_16";
        CHACHA20_POLY1305 = 28, "ENCR_CHACHA20_POLY1305";
        AES_CCM_8_IIV = 29, "ENCR_AES_CCM_8_IIV";
        AES_GCM_16_IIV = 30, "ENCR_AES_GCM_16_IIV";
        CHACHA20_POLY1305_IIV = 31, "ENCR_CHACHA20_POLY1305_IIV";
        KUZNYECHIK_MGM_KTREE = 32, "ENCR_KUZNYECHIK_MGM_KTREE";
        MAGMA_MGM_KTREE = 33, "ENCR_MAGMA_MGM_KTREE";
        KUZNYECHIK_MGM_MAC_KTREE = 34, "ENCR_KUZNYECHIK_MGM_MAC_KTREE";
        MAGMA_MGM_MAC_KTREE = 35, "ENCR_MAGMA_MGM_MAC_KTREE";
    }
}

registry! {
    /// Transform Type 2: pseudo-random functions.
    pub struct Prf(u16), unknown "PRF {}" {
        HMAC_MD5 = 1, "PRF_HMAC_MD5";
        HMAC_SHA1 = 2, "PRF_HMAC_SHA1";
        HMAC_TIGER = 3, "PRF_HMAC_TIGER";
        AES128_XCBC = 4, "PRF_AES128_XCBC";
        HMAC_SHA2_256 = 5, "PRF_HMAC_SHA2_256";
        HMAC_SHA2_384 = 6, "PRF_HMAC_SHA2_384";
        HMAC_SHA2_512 = 7, "PRF_HMAC_SHA2_512";
        AES128_CMAC = 8, "PRF_AES128_CMAC";
        HMAC_STREEBOG_512 = 9, "PRF_HMAC_STREEBOG_512";
    }
}

registry! {
    /// Transform Type 3: integrity algorithms.
    pub struct Integ(u16), unknown "INTEG {}" {
        NONE = 0, "NONE";
        HMAC_MD5_96 = 1, "AUTH_HMAC_MD5_96";
        HMAC_SHA1_96 = 2, "AUTH_HMAC_SHA1_96";
        DES_MAC = 3, "AUTH_DES_MAC";
        KPDK_MD5 = 4, "AUTH_KPDK_MD5";
        AES_XCBC_96 = 5, "AUTH_AES_XCBC_96";
        HMAC_MD5_128 = 6, "AUTH_HMAC_MD5_128";
        HMAC_SHA1_160 = 7, "AUTH_HMAC_SHA1_160";
        AES_CMAC_96 = 8, "AUTH_AES_CMAC_96";
        AES_128_GMAC = 9, "AUTH_AES_128_GMAC";
        AES_192_GMAC = 10, "AUTH_AES_192_GMAC";
        AES_256_GMAC = 11, "AUTH_AES_256_GMAC";
        HMAC_SHA2_256_128 = 12, "AUTH_HMAC_SHA2_256_128";
        HMAC_SHA2_384_192 = 13, "AUTH_HMAC_SHA2_384_192";
        HMAC_SHA2_512_256 = 14, "AUTH_HMAC_SHA2_512_256";
    }
}

registry! {
    /// Transform Type 5: what sequence numbers are like.
    pub struct SequenceNumbers(u16), unknown "sequence numbers {}" {
        NO_EXTENDED = 0, "32-bit Sequential Numbers" | "No Extended Sequence Numbers";
        EXTENDED = 1, "Partially Transmitted 64-bit Sequential Numbers" | "Extended Sequence Numbers";
        UNSPECIFIED = 2, "32-bit Unspecified Numbers";
    }
}

registry! {
    /// Attributes of a transform (RFC 7296 section 3.3.5).
    pub struct TransformAttribute(u16), unknown "attribute {}" {
        KEY_LENGTH = 14, "Key Length (in bits)";
    }
}

registry! {
    /// The type of an identification (RFC 7296 section 3.5).
    pub struct IdType(u8), unknown "ID type {}" {
        IPV4_ADDR = 1, "ID_IPV4_ADDR";
        FQDN = 2, "ID_FQDN";
        RFC822_ADDR = 3, "ID_RFC822_ADDR";
        IPV6_ADDR = 5, "ID_IPV6_ADDR";
        DER_ASN1_DN = 9, "ID_DER_ASN1_DN";
        DER_ASN1_GN = 10, "ID_DER_ASN1_GN";
        KEY_ID = 11, "ID_KEY_ID";
        FC_NAME = 12, "ID_FC_NAME";
        NULL = 13, "ID_NULL";
    }
}

registry! {
    /// How AUTH proves an identity (RFC 7296 section 3.8, RFC 7427, RFC 7619).
    pub struct AuthenticationMethod(u8), unknown "authentication method {}" {
        RSA_DIGITAL_SIGNATURE = 1, "RSA Digital Signature";
        SHARED_KEY_MIC = 2, "Shared Key Message Integrity Code";
        DSS_DIGITAL_SIGNATURE = 3, "DSS Digital Signature";
        ECDSA_SHA256_P256 = 9, "ECDSA with SHA-256 on the P-256 curve";
        ECDSA_SHA384_P384 = 10, "ECDSA with SHA-384 on the P-384 curve";
        ECDSA_SHA512_P521 = 11, "ECDSA with SHA-512 on the P-521 curve";
        GENERIC_SECURE_PASSWORD = 12, "Generic Secure Password Authentication Method";
        NULL_AUTHENTICATION = 13, "NULL Authentication";
        DIGITAL_SIGNATURE = 14, "Digital Signature";
    }
}

registry! {
    /// What a notification says (RFC 7296 section 3.10.1): errors below 16384, status above.
    pub struct NotifyType(u16), unknown "notification {}" {
        UNSUPPORTED_CRITICAL_PAYLOAD = 1, "UNSUPPORTED_CRITICAL_PAYLOAD";
        INVALID_IKE_SPI = 4, "INVALID_IKE_SPI";
        INVALID_MAJOR_VERSION = 5, "INVALID_MAJOR_VERSION";
        INVALID_SYNTAX = 7, "INVALID_SYNTAX";
        INVALID_MESSAGE_ID = 9, "INVALID_MESSAGE_ID";
        INVALID_SPI = 11, "INVALID_SPI";
        NO_PROPOSAL_CHOSEN = 14, "NO_PROPOSAL_CHOSEN";
        INVALID_KE_PAYLOAD = 17, "INVALID_KE_PAYLOAD";
        AUTHENTICATION_FAILED = 24, "AUTHENTICATION_FAILED";
        SINGLE_PAIR_REQUIRED = 34, "SINGLE_PAIR_REQUIRED";
        NO_ADDITIONAL_SAS = 35, "NO_ADDITIONAL_SAS";
        INTERNAL_ADDRESS_FAILURE = 36, "INTERNAL_ADDRESS_FAILURE";
        FAILED_CP_REQUIRED = 37, "FAILED_CP_REQUIRED";
        TS_UNACCEPTABLE = 38, "TS_UNACCEPTABLE";
        INVALID_SELECTORS = 39, "INVALID_SELECTORS";
        UNACCEPTABLE_ADDRESSES = 40, "UNACCEPTABLE_ADDRESSES";
        UNEXPECTED_NAT_DETECTED = 41, "UNEXPECTED_NAT_DETECTED";
        USE_ASSIGNED_HOA = 42, "USE_ASSIGNED_HoA";
        TEMPORARY_FAILURE = 43, "TEMPORARY_FAILURE";
        CHILD_SA_NOT_FOUND = 44, "CHILD_SA_NOT_FOUND";
        INVALID_GROUP_ID = 45, "INVALID_GROUP_ID";
        AUTHORIZATION_FAILED = 46, "AUTHORIZATION_FAILED";
        STATE_NOT_FOUND = 47, "STATE_NOT_FOUND";
        TS_MAX_QUEUE = 48, "TS_MAX_QUEUE";
        REGISTRATION_FAILED = 49, "REGISTRATION_FAILED";
        INITIAL_CONTACT = 16384, "INITIAL_CONTACT";
        SET_WINDOW_SIZE = 16385, "SET_WINDOW_SIZE";
        ADDITIONAL_TS_POSSIBLE = 16386, "ADDITIONAL_TS_POSSIBLE";
        IPCOMP_SUPPORTED = 16387, "IPCOMP_SUPPORTED";
        NAT_DETECTION_SOURCE_IP = 16388, "NAT_DETECTION_SOURCE_IP";
        NAT_DETECTION_DESTINATION_IP = 16389, "NAT_DETECTION_DESTINATION_IP";
        COOKIE = 16390, "COOKIE";
        USE_TRANSPORT_MODE = 16391, "USE_TRANSPORT_MODE";
        HTTP_CERT_LOOKUP_SUPPORTED = 16392, "HTTP_CERT_LOOKUP_SUPPORTED";
        REKEY_SA = 16393, "REKEY_SA";
        ESP_TFC_PADDING_NOT_SUPPORTED = 16394, "ESP_TFC_PADDING_NOT_SUPPORTED";
        NON_FIRST_FRAGMENTS_ALSO = 16395, "NON_FIRST_FRAGMENTS_ALSO";
        MOBIKE_SUPPORTED = 16396, "MOBIKE_SUPPORTED";
        ADDITIONAL_IP4_ADDRESS = 16397, "ADDITIONAL_IP4_ADDRESS";
        ADDITIONAL_IP6_ADDRESS = 16398, "ADDITIONAL_IP6_ADDRESS";
        NO_ADDITIONAL_ADDRESSES = 16399, "NO_ADDITIONAL_ADDRESSES";
        UPDATE_SA_ADDRESSES = 16400, "UPDATE_SA_ADDRESSES";
        COOKIE2 = 16401, "COOKIE2";
        NO_NATS_ALLOWED = 16402, "NO_NATS_ALLOWED";
        AUTH_LIFETIME = 16403, "AUTH_LIFETIME";
        MULTIPLE_AUTH_SUPPORTED = 16404, "MULTIPLE_AUTH_SUPPORTED";
        ANOTHER_AUTH_FOLLOWS = 16405, "ANOTHER_AUTH_FOLLOWS";
        REDIRECT_SUPPORTED = 16406, "REDIRECT_SUPPORTED";
        REDIRECT = 16407, "REDIRECT";
        REDIRECTED_FROM = 16408, "REDIRECTED_FROM";
        TICKET_LT_OPAQUE = 16409, "TICKET_LT_OPAQUE";
        TICKET_REQUEST = 16410, "TICKET_REQUEST";
        TICKET_ACK = 16411, "TICKET_ACK";
        TICKET_NACK = 16412, "TICKET_NACK";
        TICKET_OPAQUE = 16413, "TICKET_OPAQUE";
        LINK_ID = 16414, "LINK_ID";
        USE_WESP_MODE = 16415, "USE_WESP_MODE";
        ROHC_SUPPORTED = 16416, "ROHC_SUPPORTED";
        EAP_ONLY_AUTHENTICATION = 16417, "EAP_ONLY_AUTHENTICATION";
        CHILDLESS_IKEV2_SUPPORTED = 16418, "CHILDLESS_IKEV2_SUPPORTED";
        QUICK_CRASH_DETECTION = 16419, "QUICK_CRASH_DETECTION";
        IKEV2_MESSAGE_ID_SYNC_SUPPORTED = 16420, "IKEV2_MESSAGE_ID_SYNC_SUPPORTED";
        IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED = 16421, "IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED";
        IKEV2_MESSAGE_ID_SYNC = 16422, "IKEV2_MESSAGE_ID_SYNC";
        IPSEC_REPLAY_COUNTER_SYNC = 16423, "IPSEC_REPLAY_COUNTER_SYNC";
        SECURE_PASSWORD_METHODS = 16424, "SECURE_PASSWORD_METHODS";
        PSK_PERSIST = 16425, "PSK_PERSIST";
        PSK_CONFIRM = 16426, "PSK_CONFIRM";
        ERX_SUPPORTED = 16427, "ERX_SUPPORTED";
        IFOM_CAPABILITY = 16428, "IFOM_CAPABILITY";
        GROUP_SENDER = 16429, "GROUP_SENDER";
        IKEV2_FRAGMENTATION_SUPPORTED = 16430, "IKEV2_FRAGMENTATION_SUPPORTED";
        SIGNATURE_HASH_ALGORITHMS = 16431, "SIGNATURE_HASH_ALGORITHMS";
        CLONE_IKE_SA_SUPPORTED = 16432, "CLONE_IKE_SA_SUPPORTED";
        CLONE_IKE_SA = 16433, "CLONE_IKE_SA";
        PUZZLE = 16434, "PUZZLE";
        USE_PPK = 16435, "USE_PPK";
        PPK_IDENTITY = 16436, "PPK_IDENTITY";
        NO_PPK_AUTH = 16437, "NO_PPK_AUTH";
        INTERMEDIATE_EXCHANGE_SUPPORTED = 16438, "INTERMEDIATE_EXCHANGE_SUPPORTED";
        IP4_ALLOWED = 16439, "IP4_ALLOWED";
        IP6_ALLOWED = 16440, "IP6_ALLOWED";
        ADDITIONAL_KEY_EXCHANGE = 16441, "ADDITIONAL_KEY_EXCHANGE";
        USE_AGGFRAG = 16442, "USE_AGGFRAG";
        SUPPORTED_AUTH_METHODS = 16443, "SUPPORTED_AUTH_METHODS";
        SA_RESOURCE_INFO = 16444, "SA_RESOURCE_INFO";
        USE_PPK_INT = 16445, "USE_PPK_INT";
        PPK_IDENTITY_KEY = 16446, "PPK_IDENTITY_KEY";
    }
}

impl NotifyType {
    /// Whether it reports an error rather than a status.
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

registry! {
    /// Hash algorithms for signatures (RFC 7427 section 4).
    pub struct HashAlgorithm(u16), unknown "hash algorithm {}" {
        SHA1 = 1, "SHA1";
        SHA2_256 = 2, "SHA2-256";
        SHA2_384 = 3, "SHA2-384";
        SHA2_512 = 4, "SHA2-512";
        IDENTITY = 5, "Identity";
        STREEBOG_256 = 6, "STREEBOG_256";
        STREEBOG_512 = 7, "STREEBOG_512";
    }
}

registry! {
    /// The type of a traffic selector (RFC 7296 section 3.13.1).
    pub struct TsType(u8), unknown "TS type {}" {
        IPV4_ADDR_RANGE = 7, "TS_IPV4_ADDR_RANGE";
        IPV6_ADDR_RANGE = 8, "TS_IPV6_ADDR_RANGE";
        FC_ADDR_RANGE = 9, "TS_FC_ADDR_RANGE";
        SECLABEL = 10, "TS_SECLABEL";
    }
}

registry! {
    /// What a Configuration payload is for (RFC 7296 section 3.15).
    pub struct ConfigType(u8), unknown "config type {}" {
        REQUEST = 1, "CFG_REQUEST";
        REPLY = 2, "CFG_REPLY";
        SET = 3, "CFG_SET";
        ACK = 4, "CFG_ACK";
    }
}

registry! {
    /// Attributes of a Configuration payload (RFC 7296 section 3.15.1).
    pub struct ConfigAttribute(u16), unknown "attribute {}" {
        INTERNAL_IP4_ADDRESS = 1, "INTERNAL_IP4_ADDRESS";
        INTERNAL_IP4_NETMASK = 2, "INTERNAL_IP4_NETMASK";
        INTERNAL_IP4_DNS = 3, "INTERNAL_IP4_DNS";
        INTERNAL_IP4_NBNS = 4, "INTERNAL_IP4_NBNS";
        INTERNAL_IP4_DHCP = 6, "INTERNAL_IP4_DHCP";
        APPLICATION_VERSION = 7, "APPLICATION_VERSION";
        INTERNAL_IP6_ADDRESS = 8, "INTERNAL_IP6_ADDRESS";
        INTERNAL_IP6_DNS = 10, "INTERNAL_IP6_DNS";
        INTERNAL_IP6_DHCP = 12, "INTERNAL_IP6_DHCP";
        INTERNAL_IP4_SUBNET = 13, "INTERNAL_IP4_SUBNET";
        SUPPORTED_ATTRIBUTES = 14, "SUPPORTED_ATTRIBUTES";
        INTERNAL_IP6_SUBNET = 15, "INTERNAL_IP6_SUBNET";
        MIP6_HOME_PREFIX = 16, "MIP6_HOME_PREFIX";
        INTERNAL_IP6_LINK = 17, "INTERNAL_IP6_LINK";
        INTERNAL_IP6_PREFIX = 18, "INTERNAL_IP6_PREFIX";
        HOME_AGENT_ADDRESS = 19, "HOME_AGENT_ADDRESS";
        P_CSCF_IP4_ADDRESS = 20, "P_CSCF_IP4_ADDRESS";
        P_CSCF_IP6_ADDRESS = 21, "P_CSCF_IP6_ADDRESS";
        FTT_KAT = 22, "FTT_KAT";
        EXTERNAL_SOURCE_IP4_NAT_INFO = 23, "EXTERNAL_SOURCE_IP4_NAT_INFO";
        TIMEOUT_PERIOD_FOR_LIVENESS_CHECK = 24, "TIMEOUT_PERIOD_FOR_LIVENESS_CHECK";
        INTERNAL_DNS_DOMAIN = 25, "INTERNAL_DNS_DOMAIN";
        INTERNAL_DNSSEC_TA = 26, "INTERNAL_DNSSEC_TA";
        ENCDNS_IP4 = 27, "ENCDNS_IP4";
        ENCDNS_IP6 = 28, "ENCDNS_IP6";
        ENCDNS_DIGEST_INFO = 29, "ENCDNS_DIGEST_INFO";
    }
}

registry! {
    /// What an EAP packet is (RFC 3748 section 4).
    pub struct EapCode(u8), unknown "EAP code {}" {
        REQUEST = 1, "Request";
        RESPONSE = 2, "Response";
        SUCCESS = 3, "Success";
        FAILURE = 4, "Failure";
        INITIATE = 5, "Initiate";
        FINISH = 6, "Finish";
    }
}

registry! {
    /// What an EAP request or response is about (RFC 3748 section 5).
    pub struct EapType(u8), unknown "EAP type {}" {
        IDENTITY = 1, "Identity";
        NOTIFICATION = 2, "Notification";
        LEGACY_NAK = 3, "Legacy Nak";
        MD5_CHALLENGE = 4, "MD5-Challenge";
        OTP = 5, "One-Time Password (OTP)";
        GTC = 6, "Generic Token Card (GTC)";
        EAP_TLS = 13, "EAP-TLS";
        EAP_SIM = 18, "EAP-SIM";
        EAP_TTLS = 21, "EAP-TTLS";
        EAP_AKA = 23, "EAP-AKA";
        PEAP = 25, "PEAP";
        EAP_MSCHAP_V2 = 26, "EAP-MSCHAP-V2" | "MS-EAP-Authentication";
        EAP_FAST = 43, "EAP-FAST";
        EAP_PSK = 47, "EAP-PSK";
        EAP_AKA_PRIME = 50, "EAP-AKA'";
        EAP_GPSK = 51, "EAP-GPSK";
        EAP_PWD = 52, "EAP-pwd";
        TEAP = 55, "TEAP";
        EXPANDED = 254, "Expanded";
    }
}
