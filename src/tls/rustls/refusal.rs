//! Turns what rustls says into whose fault it was and what to change.

use keyferry_parsers::tls::AlertDescription;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, InvalidMessage, OtherError, PeerIncompatible, PeerMisbehaved};

use super::verifier::NotPinned;
use crate::error::{Error, Reason};
use crate::tls::certificate::{date, printable};
use crate::tls::profile::ServerIdentity;

/// The error that ends a handshake with `server`. `answered`: the peer had sent its ServerHello.
pub(super) fn refusal(error: &rustls::Error, server: &ServerIdentity, answered: bool) -> Error {
    use rustls::Error as E;
    match error {
        E::InvalidCertificate(error) => certificate(error, server),
        E::NoCertificatesPresented => {
            Error::new(Reason::CERTIFICATE_INVALID, format!("{server} sent no certificate: configure one there"))
        }
        E::AlertReceived(alert) => peer_alert(AlertDescription((*alert).into()), server, answered),
        E::PeerIncompatible(error) => incompatible(error, server),
        E::PeerMisbehaved(error) => misbehaved(error, server),
        E::InvalidMessage(error) => malformed(*error, server),
        E::PeerSentOversizedRecord => oversized(server),
        E::DecryptError => Error::new(
            Reason::PEER_PROTOCOL,
            format!(
                "a record or the Finished of {server} does not verify: its TLS is broken, or somebody altered \
                 it on the way"
            ),
        ),
        E::InappropriateMessage { got_type, .. } => unexpected(format!("{got_type:?}"), server),
        E::InappropriateHandshakeMessage { got_type, .. } => unexpected(format!("{got_type:?}"), server),
        other => Error::new(Reason::INTERNAL, format!("TLS with {server}: {}", printable(&other.to_string()))),
    }
}

/// A message, or a record, larger than anything a handshake needs.
pub(super) fn not_tls(server: &ServerIdentity) -> Error {
    Error::new(Reason::PEER_MALFORMED, format!("{server} does not speak TLS on this port: check the port"))
}

pub(super) fn oversized(server: &ServerIdentity) -> Error {
    Error::new(
        Reason::PEER_OVERSIZED,
        format!(
            "{server} sent a record over 16 KiB or a handshake message over 64 KiB: shorten its \
             certificate chain"
        ),
    )
}

fn certificate(error: &CertificateError, server: &ServerIdentity) -> Error {
    use CertificateError as C;
    let (reason, detail) = match error {
        C::UnknownIssuer => (
            Reason::CERTIFICATE_UNKNOWN_CA,
            format!(
                "no configured trust anchor issued the certificate of {server}: add its CA to the \
                 anchors, or let the peer send the intermediate certificates too"
            ),
        ),
        C::Expired => (Reason::CERTIFICATE_EXPIRED, format!("a certificate of {server} has expired: renew it there")),
        C::ExpiredContext { time, not_after } => (
            Reason::CERTIFICATE_EXPIRED,
            format!(
                "a certificate of {server} expired on {}, and the gateway's clock says {}: renew the \
                 one or set the other",
                at(*not_after),
                at(*time)
            ),
        ),
        C::NotValidYet => (
            Reason::CERTIFICATE_NOT_YET_VALID,
            format!("a certificate of {server} is not valid yet: check the gateway's clock"),
        ),
        C::NotValidYetContext { time, not_before } => (
            Reason::CERTIFICATE_NOT_YET_VALID,
            format!(
                "a certificate of {server} is valid from {}, and the gateway's clock says {}: check the clock",
                at(*not_before),
                at(*time)
            ),
        ),
        C::NotValidForName => (
            Reason::CERTIFICATE_NAME_MISMATCH,
            format!("the certificate is not for {server}: ask for a name that it has, or replace it"),
        ),
        C::NotValidForNameContext { presented, .. } => (
            Reason::CERTIFICATE_NAME_MISMATCH,
            format!(
                "the certificate is not for {server} but for {}: ask for a name that it has, or replace it",
                names(presented)
            ),
        ),
        C::Revoked => (
            Reason::CERTIFICATE_REVOKED,
            format!("a certificate of {server} has been revoked by its issuer: replace it"),
        ),
        C::BadSignature => (
            Reason::CERTIFICATE_INVALID,
            format!(
                "a signature of {server} does not verify, its own or one in its certificates: either \
                 they are not genuine, or the configured CA has got a new key under its old name: \
                 then renew the anchor"
            ),
        ),
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => (
            Reason::CERTIFICATE_INVALID,
            format!("the certificate of {server} is not for TLS servers (extended key usage): replace it"),
        ),
        C::Other(OtherError(other)) => match other.downcast_ref::<NotPinned>() {
            Some(NotPinned(pin)) => not_pinned(pin.as_ref(), server),
            None => invalid(&other.to_string(), server),
        },
        other => invalid(&format!("{other:?}"), server),
    };
    Error::new(reason, detail)
}

fn not_pinned(pin: Option<&super::Pin>, server: &ServerIdentity) -> (Reason, String) {
    let detail = match pin {
        Some(pin) => format!("the key of {server} is not pinned: if it is the right one, add `{pin}` to the pins"),
        None => format!("the certificate of {server} cannot be read, so its key is not a pinned one: replace it"),
    };
    (Reason::CERTIFICATE_NOT_PINNED, detail)
}

fn invalid(what: &str, server: &ServerIdentity) -> (Reason, String) {
    (
        Reason::CERTIFICATE_INVALID,
        format!("the certificates of {server} are not acceptable ({}): replace them", printable(what)),
    )
}

fn names(presented: &[String]) -> String {
    match presented {
        [] => "no name at all (no subjectAltName)".to_owned(),
        names => printable(&names.join(", ").replace('"', "")),
    }
}

fn at(time: UnixTime) -> String {
    date(time.as_secs())
}

fn peer_alert(alert: AlertDescription, server: &ServerIdentity, answered: bool) -> Error {
    use AlertDescription as A;
    let (reason, remedy) = match alert {
        A::CLOSE_NOTIFY => {
            (Reason::PEER_CLOSED, "it ended the session in the middle of the handshake; its log says why")
        }
        A::PROTOCOL_VERSION => (Reason::PEER_VERSION, "it does not speak TLS 1.3: update it"),
        A::HANDSHAKE_FAILURE | A::INSUFFICIENT_SECURITY if !answered => (
            Reason::NO_COMMON_SUITE,
            "it shares no cipher suite, key exchange group or signature algorithm with what policy and \
             terminal allow: allow more, or configure it there",
        ),
        A::NO_APPLICATION_PROTOCOL => (
            Reason::NO_COMMON_ALPN,
            "it speaks none of the application protocols that were offered (ALPN): offer another",
        ),
        A::CERTIFICATE_REQUIRED => (
            Reason::CLIENT_CERTIFICATE_REQUIRED,
            "it demands a client certificate, which keyferry does not have: make it optional there",
        ),
        A::UNRECOGNIZED_NAME => (Reason::PEER_ALERT, "it does not serve that name: check the name asked for"),
        _ => (Reason::PEER_ALERT, "its log says why"),
    };
    Error::new(reason, format!("{server} refused with alert {alert} ({}): {remedy}", alert.0))
}

fn incompatible(error: &PeerIncompatible, server: &ServerIdentity) -> Error {
    use PeerIncompatible as I;
    let (reason, detail) = match error {
        I::ServerTlsVersionIsDisabledByOurConfig
        | I::ServerDoesNotSupportTls12Or13
        | I::SupportedVersionsExtensionRequired
        | I::Tls12NotOffered
        | I::Tls12NotOfferedOrEnabled => {
            (Reason::PEER_VERSION, format!("{server} answers with an older version than TLS 1.3: update it"))
        }
        I::NoCipherSuitesInCommon => (Reason::NO_COMMON_SUITE, format!("{server} shares no cipher suite: allow more")),
        I::NoKxGroupsInCommon => {
            (Reason::NO_COMMON_GROUP, format!("{server} shares no key exchange group: allow more"))
        }
        I::NoCertificateRequestSignatureSchemesInCommon => (
            Reason::CLIENT_CERTIFICATE_REQUIRED,
            format!(
                "{server} asks for a client certificate with algorithms that TLS 1.3 does not have: \
                 make it optional there"
            ),
        ),
        other => (Reason::PEER_PROTOCOL, format!("{server} is incompatible ({other:?}): update it")),
    };
    Error::new(reason, detail)
}

fn misbehaved(error: &PeerMisbehaved, server: &ServerIdentity) -> Error {
    let what = match error {
        PeerMisbehaved::InvalidKeyShare => "its key share is not a valid public key".to_owned(),
        PeerMisbehaved::SelectedUnofferedCipherSuite => "it chose a cipher suite that was not offered".to_owned(),
        other => format!("{other:?}"),
    };
    Error::new(
        Reason::PEER_PROTOCOL,
        format!("{server} broke the TLS protocol: {what}. Update its software, and suspect the path"),
    )
}

fn malformed(error: InvalidMessage, server: &ServerIdentity) -> Error {
    use InvalidMessage as M;
    match error {
        M::HandshakePayloadTooLarge | M::CertificatePayloadTooLarge | M::MessageTooLarge => oversized(server),
        other => Error::new(
            Reason::PEER_MALFORMED,
            format!("{server} sent what is not TLS ({other:?}): is it the right port? Else update its software"),
        ),
    }
}

fn unexpected(message: String, server: &ServerIdentity) -> Error {
    Error::new(
        Reason::PEER_PROTOCOL,
        format!("{server} sent {message} where TLS 1.3 has no place for it: update its software"),
    )
}
