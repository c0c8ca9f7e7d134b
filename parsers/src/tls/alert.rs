//! Alerts: why a side ends the connection (RFC 8446 section 6).

use core::fmt;

use super::wire::{complete, u8};
use crate::ParseError;
use crate::registry::registry;

registry! {
    /// How bad it is; ignored in TLS 1.3, where the description decides.
    pub struct AlertLevel(u8), unknown "level {}" {
        WARNING = 1, "warning";
        FATAL = 2, "fatal";
    }
}

registry! {
    /// What happened.
    pub struct AlertDescription(u8), unknown "alert {}" {
        CLOSE_NOTIFY = 0, "close_notify";
        UNEXPECTED_MESSAGE = 10, "unexpected_message";
        BAD_RECORD_MAC = 20, "bad_record_mac";
        RECORD_OVERFLOW = 22, "record_overflow";
        HANDSHAKE_FAILURE = 40, "handshake_failure";
        BAD_CERTIFICATE = 42, "bad_certificate";
        UNSUPPORTED_CERTIFICATE = 43, "unsupported_certificate";
        CERTIFICATE_REVOKED = 44, "certificate_revoked";
        CERTIFICATE_EXPIRED = 45, "certificate_expired";
        CERTIFICATE_UNKNOWN = 46, "certificate_unknown";
        ILLEGAL_PARAMETER = 47, "illegal_parameter";
        UNKNOWN_CA = 48, "unknown_ca";
        ACCESS_DENIED = 49, "access_denied";
        DECODE_ERROR = 50, "decode_error";
        DECRYPT_ERROR = 51, "decrypt_error";
        PROTOCOL_VERSION = 70, "protocol_version";
        INSUFFICIENT_SECURITY = 71, "insufficient_security";
        INTERNAL_ERROR = 80, "internal_error";
        INAPPROPRIATE_FALLBACK = 86, "inappropriate_fallback";
        USER_CANCELED = 90, "user_canceled";
        NO_RENEGOTIATION = 100, "no_renegotiation";
        MISSING_EXTENSION = 109, "missing_extension";
        UNSUPPORTED_EXTENSION = 110, "unsupported_extension";
        UNRECOGNIZED_NAME = 112, "unrecognized_name";
        BAD_CERTIFICATE_STATUS_RESPONSE = 113, "bad_certificate_status_response";
        UNKNOWN_PSK_IDENTITY = 115, "unknown_psk_identity";
        CERTIFICATE_REQUIRED = 116, "certificate_required";
        GENERAL_ERROR = 117, "general_error";
        NO_APPLICATION_PROTOCOL = 120, "no_application_protocol";
        ECH_REQUIRED = 121, "ech_required";
    }
}

/// An alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// How bad it is.
    pub level: AlertLevel,
    /// What happened.
    pub description: AlertDescription,
}

impl Alert {
    /// Reads the content of an alert record: exactly one alert (RFC 8446 section 5.1).
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        complete("Alert", bytes, |input| {
            let (input, level) = u8("Alert.level")(input)?;
            let (input, description) = u8("Alert.description")(input)?;
            Ok((input, Self { level: AlertLevel(level), description: AlertDescription(description) }))
        })
    }

    /// The content of an alert record.
    pub const fn emit(self) -> [u8; 2] {
        [self.level.0, self.description.0]
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.level, self.description)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn an_alert_reads_like_the_standard() {
        assert_eq!(Alert::parse(&[2, 48]).unwrap().to_string(), "fatal unknown_ca");
        assert_eq!(Alert::parse(&[7, 200]).unwrap().to_string(), "level 7 alert 200");
    }

    #[test]
    fn one_alert_is_two_bytes() {
        assert!(Alert::parse(&[]).is_err());
        assert!(Alert::parse(&[2]).is_err());
        assert!(Alert::parse(&[2, 40, 0]).is_err());
    }

    proptest! {
        #[test]
        fn any_alert_survives(bytes: [u8; 2]) {
            prop_assert_eq!(Alert::parse(&bytes).unwrap().emit(), bytes);
        }
    }
}
