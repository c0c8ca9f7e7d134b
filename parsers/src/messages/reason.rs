//! Why a session was refused or failed: one number for the wire, one stable name for log and statistics.

use crate::registry::registry;

registry! {
    /// A reason for failure. The hundreds tell whose fault it was: 1 the terminal's, 2 the peer misbehaved, 3 the peer
    /// is incompatible, 4 policy forbids it, 5 the gateway or the path.
    pub struct Reason(u16), unknown "reason-{}" {
        MALFORMED_REQUEST = 101, "malformed-request";
        UNSUPPORTED = 102, "unsupported";
        SOURCE_PORT_IN_USE = 103, "source-port-in-use";
        NOT_OPENED = 104, "not-opened";
        ADDRESS_NOT_BOUND = 105, "address-not-bound";
        CLOSED_BY_TERMINAL = 106, "closed-by-terminal";
        NOT_ACKNOWLEDGED = 107, "not-acknowledged";
        EARLY_DATA = 108, "early-data";
        NOT_LISTENING = 109, "not-listening";
        STALE = 110, "stale";

        PEER_CLOSED = 201, "peer-closed";
        PEER_STALLED = 202, "peer-stalled";
        PEER_MALFORMED = 203, "peer-malformed";
        PEER_ALERT = 204, "peer-alert";
        PEER_PROTOCOL = 205, "peer-protocol";
        PEER_OVERSIZED = 206, "peer-oversized";
        PEER_RENEGOTIATION = 207, "peer-renegotiation";

        CERTIFICATE_UNKNOWN_CA = 301, "certificate-unknown-ca";
        CERTIFICATE_EXPIRED = 302, "certificate-expired";
        CERTIFICATE_NAME_MISMATCH = 303, "certificate-name-mismatch";
        CERTIFICATE_NOT_YET_VALID = 304, "certificate-not-yet-valid";
        CERTIFICATE_INVALID = 305, "certificate-invalid";
        CERTIFICATE_NOT_PINNED = 306, "certificate-not-pinned";
        PEER_VERSION = 307, "peer-version";
        NO_COMMON_SUITE = 308, "no-common-suite";
        NO_COMMON_GROUP = 309, "no-common-group";
        NO_COMMON_ALPN = 310, "no-common-alpn";
        CERTIFICATE_REVOKED = 311, "certificate-revoked";
        CLIENT_CERTIFICATE_REQUIRED = 312, "client-certificate-required";
        REVOCATION_UNKNOWN = 313, "revocation-unknown";
        NO_EXTENDED_MASTER_SECRET = 314, "no-extended-master-secret";
        CLIENT_NOT_ALLOWED = 315, "client-not-allowed";
        NO_COMMON_SIGNATURE = 316, "no-common-signature";

        FORBIDDEN_PEER = 401, "forbidden-peer";
        FORBIDDEN_PORT = 402, "forbidden-port";
        FORBIDDEN_ADDRESS = 403, "forbidden-address";
        QUOTA = 404, "quota";
        FORBIDDEN_ALPN = 405, "forbidden-alpn";
        FORBIDDEN_CLIENT = 406, "forbidden-client";

        NAME_NOT_FOUND = 501, "name-not-found";
        PEER_UNREACHABLE = 502, "peer-unreachable";
        PEER_REFUSED = 503, "peer-refused";
        OVERLOADED = 504, "overloaded";
        STORE_UNAVAILABLE = 505, "store-unavailable";
        INTERNAL = 506, "internal";
        SHUTTING_DOWN = 507, "shutting-down";
        NO_CERTIFICATE = 508, "no-certificate";
        SIGNER_REFUSED = 509, "signer-refused";
        SIGNER_UNAVAILABLE = 510, "signer-unavailable";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_reason_is_found_by_its_name() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(&reason.to_string()), Some(*reason));
        }
    }

    #[test]
    fn no_number_is_given_twice() {
        assert!(Reason::ALL.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_reason_of_a_later_version_shows_its_number() {
        assert_eq!(Reason(699).to_string(), "reason-699");
        assert_eq!(Reason::PEER_STALLED.to_string(), "peer-stalled");
    }
}
