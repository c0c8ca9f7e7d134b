//! Turns what rustls says into whose fault it was and what to change.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use keyferry_parsers::tls::AlertDescription;
use rustls::pki_types::UnixTime;
use rustls::{
    CertificateError, CommonState, HandshakeType, InvalidMessage, OtherError, PeerIncompatible, PeerMisbehaved,
};

use super::algorithms::Versions;
use super::capture::Capture;
use super::verifier::NotPinned;
use crate::error::{Error, Reason};
use crate::tls::certificate::{Name, date, printable};
use crate::tls::profile::{Pin, ServerIdentity};

/// Whom the handshake is with.
#[derive(Clone, Debug)]
pub(super) enum Who {
    /// The terminal is the client.
    Server(ServerIdentity),
    /// The terminal is the server.
    Client(IpAddr),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(name) => name.fmt(f),
            Self::Client(address) => write!(f, "the client at {address}"),
        }
    }
}

/// How far a handshake had come.
pub(super) struct Scene<'a> {
    who: &'a Who,
    versions: Versions,
    /// The ServerHello is behind us.
    agreed: bool,
    /// The peer wanted to know who the terminal is and was not told.
    anonymous: bool,
    /// The names of a client that policy does not know.
    not_allowed: &'a [Name],
}

impl<'a> Scene<'a> {
    /// Before anything was said.
    pub(super) fn before(who: &'a Who, versions: Versions) -> Self {
        Self { who, versions, agreed: false, anonymous: false, not_allowed: &[] }
    }

    pub(super) fn of(who: &'a Who, versions: Versions, connection: &CommonState, capture: &'a Capture) -> Self {
        let agreed = connection.negotiated_cipher_suite().is_some();
        let anonymous = capture.stayed_anonymous.load(Ordering::Relaxed);
        let not_allowed = capture.not_allowed.get().map_or(&[][..], Vec::as_slice);
        Self { who, versions, agreed, anonymous, not_allowed }
    }
}

/// The error that ends a handshake.
pub(super) fn refusal(error: &rustls::Error, scene: &Scene<'_>) -> Error {
    use rustls::Error as E;
    let who = scene.who;
    match error {
        E::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => not_allowed(scene),
        E::InvalidCertificate(error) => certificate(error, who),
        E::InvalidCertRevocationList(error) => Error::new(
            Reason::REVOCATION_UNKNOWN,
            format!("a revocation list for the certificates of {who} is not genuine ({error:?}): fetch it anew"),
        ),
        E::NoCertificatesPresented => no_certificate(who),
        E::NoApplicationProtocol => Error::new(
            Reason::NO_COMMON_ALPN,
            format!("{who} speaks none of the service's application protocols (ALPN): allow another, or correct it"),
        ),
        E::AlertReceived(alert) => peer_alert(AlertDescription((*alert).into()), scene),
        E::PeerIncompatible(error) => incompatible(error, scene),
        E::PeerMisbehaved(error) => misbehaved(error, who),
        E::InvalidMessage(error) => malformed(*error, who),
        E::PeerSentOversizedRecord => oversized(who),
        E::DecryptError => Error::new(
            Reason::PEER_PROTOCOL,
            format!(
                "a record or the Finished of {who} does not verify: its TLS is broken, or somebody altered it on the way"
            ),
        ),
        // Also within a handshake, where RFC 5246 section 7.4.1.1 would have it ignored: rustls does not, and no server
        // that has reason to begin anew says so before it has begun.
        E::InappropriateHandshakeMessage { got_type: HandshakeType::HelloRequest, .. } => Error::new(
            Reason::PEER_RENEGOTIATION,
            format!("{who} wants to renegotiate, which keyferry never does: switch renegotiation off there"),
        ),
        E::InappropriateMessage { got_type, .. } => unexpected(&format!("{got_type:?}"), who),
        E::InappropriateHandshakeMessage { got_type, .. } => unexpected(&format!("{got_type:?}"), who),
        other => Error::new(Reason::INTERNAL, format!("TLS with {who}: {}", printable(&other.to_string()))),
    }
}

/// The alert that goes with an error where rustls has sent none.
pub(super) fn alert_for(error: &rustls::Error) -> AlertDescription {
    use rustls::Error as E;
    match error {
        E::InvalidMessage(_) => AlertDescription::DECODE_ERROR,
        E::PeerMisbehaved(_) => AlertDescription::ILLEGAL_PARAMETER,
        E::PeerIncompatible(_) => AlertDescription::HANDSHAKE_FAILURE,
        E::DecryptError => AlertDescription::DECRYPT_ERROR,
        _ => AlertDescription::INTERNAL_ERROR,
    }
}

/// The peer closed its side before the handshake was over.
pub(super) fn closed(scene: &Scene<'_>) -> Error {
    let who = scene.who;
    let detail = match (scene.agreed, who) {
        (true, _) => format!("{who} closed the connection in the middle of the handshake: its log says why"),
        (false, Who::Server(_)) => {
            format!("{who} closed the connection without an answer: is it a TLS server that listens on this port?")
        }
        (false, Who::Client(_)) => {
            format!("{who} closed the connection before its hello was whole: is it a TLS client?")
        }
    };
    Error::new(Reason::PEER_CLOSED, detail)
}

/// Bytes that are no record.
pub(super) fn not_tls(who: &Who) -> Error {
    Error::new(Reason::PEER_MALFORMED, format!("{who} does not speak TLS on this port: check the port"))
}

/// A message, or a record, larger than anything a handshake needs.
pub(super) fn oversized(who: &Who) -> Error {
    Error::new(
        Reason::PEER_OVERSIZED,
        format!("{who} sent a record over 16 KiB or a handshake message over 64 KiB: shorten its certificate chain"),
    )
}

fn no_certificate(who: &Who) -> Error {
    match who {
        Who::Server(_) => {
            Error::new(Reason::CERTIFICATE_INVALID, format!("{who} sent no certificate: configure one there"))
        }
        Who::Client(_) => Error::new(
            Reason::CLIENT_CERTIFICATE_REQUIRED,
            format!("{who} sent no certificate, and policy demands one: configure one there"),
        ),
    }
}

fn certificate(error: &CertificateError, who: &Who) -> Error {
    use CertificateError as C;
    let (reason, detail) = match error {
        C::UnknownIssuer => (
            Reason::CERTIFICATE_UNKNOWN_CA,
            format!(
                "no configured trust anchor issued the certificate of {who}: add its CA to the \
                 anchors, or let the peer send the intermediate certificates too"
            ),
        ),
        C::Expired => (Reason::CERTIFICATE_EXPIRED, format!("a certificate of {who} has expired: renew it there")),
        C::ExpiredContext { time, not_after } => (
            Reason::CERTIFICATE_EXPIRED,
            format!(
                "a certificate of {who} expired on {}, and the gateway's clock says {}: renew the \
                 one or set the other",
                at(*not_after),
                at(*time)
            ),
        ),
        C::NotValidYet => (
            Reason::CERTIFICATE_NOT_YET_VALID,
            format!("a certificate of {who} is not valid yet: check the gateway's clock"),
        ),
        C::NotValidYetContext { time, not_before } => (
            Reason::CERTIFICATE_NOT_YET_VALID,
            format!(
                "a certificate of {who} is valid from {}, and the gateway's clock says {}: check the clock",
                at(*not_before),
                at(*time)
            ),
        ),
        C::NotValidForName => (
            Reason::CERTIFICATE_NAME_MISMATCH,
            format!("the certificate is not for {who}: ask for a name that it has, or replace it"),
        ),
        C::NotValidForNameContext { presented, .. } => (
            Reason::CERTIFICATE_NAME_MISMATCH,
            format!(
                "the certificate is not for {who} but for {}: ask for a name that it has, or replace it",
                names(presented)
            ),
        ),
        C::Revoked => {
            (Reason::CERTIFICATE_REVOKED, format!("a certificate of {who} has been revoked by its issuer: replace it"))
        }
        C::UnknownRevocationStatus => (
            Reason::REVOCATION_UNKNOWN,
            format!(
                "no configured revocation list says whether a certificate of {who} was revoked: add that of its \
                 issuer, or check the end entity only"
            ),
        ),
        C::ExpiredRevocationList => (
            Reason::REVOCATION_UNKNOWN,
            format!("the revocation list for a certificate of {who} is out of date: fetch it anew"),
        ),
        C::ExpiredRevocationListContext { time, next_update } => (
            Reason::REVOCATION_UNKNOWN,
            format!(
                "the revocation list for a certificate of {who} was to be renewed by {}, and the gateway's clock \
                 says {}: fetch it anew",
                at(*next_update),
                at(*time)
            ),
        ),
        C::BadSignature => (
            Reason::CERTIFICATE_INVALID,
            format!(
                "a signature of {who} does not verify, its own or one in its certificates: either \
                 they are not genuine, or the configured CA has got a new key under its old name: \
                 then renew the anchor"
            ),
        ),
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => (
            Reason::CERTIFICATE_INVALID,
            format!("the certificate of {who} is not for this side of TLS (extended key usage): replace it"),
        ),
        C::Other(OtherError(other)) => match other.downcast_ref::<NotPinned>() {
            Some(NotPinned(pin)) => not_pinned(pin.as_ref(), who),
            None => invalid(&other.to_string(), who),
        },
        other => invalid(&format!("{other:?}"), who),
    };
    Error::new(reason, detail)
}

fn not_allowed(scene: &Scene<'_>) -> Error {
    let presented: Vec<String> = scene.not_allowed.iter().map(Name::to_string).collect();
    Error::new(
        Reason::CLIENT_NOT_ALLOWED,
        format!(
            "the certificate of {} is genuine, but it is for {}, and policy allows none of these: add one there",
            scene.who,
            names(&presented)
        ),
    )
}

fn not_pinned(pin: Option<&Pin>, who: &Who) -> (Reason, String) {
    let detail = match pin {
        Some(pin) => format!("the key of {who} is not pinned: if it is the right one, add `{pin}` to the pins"),
        None => format!("the certificate of {who} cannot be read, so its key is not a pinned one: replace it"),
    };
    (Reason::CERTIFICATE_NOT_PINNED, detail)
}

fn invalid(what: &str, who: &Who) -> (Reason, String) {
    (
        Reason::CERTIFICATE_INVALID,
        format!("the certificates of {who} are not acceptable ({}): replace them", printable(what)),
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

fn peer_alert(alert: AlertDescription, scene: &Scene<'_>) -> Error {
    use AlertDescription as A;
    let (reason, remedy) = match alert {
        A::CLOSE_NOTIFY => {
            (Reason::PEER_CLOSED, "it ended the session in the middle of the handshake; its log says why".to_owned())
        }
        A::PROTOCOL_VERSION => {
            (Reason::PEER_VERSION, format!("it does not speak {}: update it", scene.versions.text()))
        }
        A::HANDSHAKE_FAILURE | A::INSUFFICIENT_SECURITY if !scene.agreed => (
            Reason::NO_COMMON_SUITE,
            "it shares no cipher suite, key exchange group or signature algorithm with what policy and \
             terminal allow: allow more, or configure it there"
                .to_owned(),
        ),
        A::NO_APPLICATION_PROTOCOL => (
            Reason::NO_COMMON_ALPN,
            "it speaks none of the application protocols that were offered (ALPN): offer another".to_owned(),
        ),
        // The second is what servers of TLS 1.2 say.
        A::CERTIFICATE_REQUIRED | A::HANDSHAKE_FAILURE if alert == A::CERTIFICATE_REQUIRED || scene.anonymous => (
            Reason::CLIENT_CERTIFICATE_REQUIRED,
            "it demands a client certificate that it can verify: import one for the terminal, or make it optional \
             there"
                .to_owned(),
        ),
        A::UNRECOGNIZED_NAME => {
            (Reason::PEER_ALERT, "it does not serve that name: check the name asked for".to_owned())
        }
        A::BAD_CERTIFICATE
        | A::UNSUPPORTED_CERTIFICATE
        | A::CERTIFICATE_REVOKED
        | A::CERTIFICATE_EXPIRED
        | A::CERTIFICATE_UNKNOWN
        | A::UNKNOWN_CA
        | A::ACCESS_DENIED => {
            (Reason::PEER_ALERT, "it does not accept the terminal's certificate; its log says why".to_owned())
        }
        _ => (Reason::PEER_ALERT, "its log says why".to_owned()),
    };
    Error::new(reason, format!("{} refused with alert {alert} ({}): {remedy}", scene.who, alert.0))
}

fn incompatible(error: &PeerIncompatible, scene: &Scene<'_>) -> Error {
    use PeerIncompatible as I;
    let who = scene.who;
    let (reason, detail) = match error {
        I::ServerTlsVersionIsDisabledByOurConfig
        | I::ServerDoesNotSupportTls12Or13
        | I::SupportedVersionsExtensionRequired
        | I::Tls12NotOffered
        | I::Tls12NotOfferedOrEnabled => {
            (Reason::PEER_VERSION, format!("{who} does not speak {}: update it", scene.versions.text()))
        }
        I::NoCipherSuitesInCommon => (
            Reason::NO_COMMON_SUITE,
            format!("{who} shares no cipher suite that goes with the certificate's key: allow more"),
        ),
        I::NoKxGroupsInCommon => (Reason::NO_COMMON_GROUP, format!("{who} shares no key exchange group: allow more")),
        I::NoSignatureSchemesInCommon | I::SignatureAlgorithmsExtensionRequired => (
            Reason::NO_COMMON_SIGNATURE,
            format!(
                "{who} can verify no signature that the terminal's certificate makes: import one with an ECDSA P-256 \
                 key, or update it"
            ),
        ),
        I::ExtendedMasterSecretExtensionRequired => (
            Reason::NO_EXTENDED_MASTER_SECRET,
            format!("{who} speaks TLS 1.2 without extended_master_secret (RFC 7627): update it"),
        ),
        I::NoCertificateRequestSignatureSchemesInCommon => (
            Reason::CLIENT_CERTIFICATE_REQUIRED,
            format!(
                "{who} asks for a client certificate with algorithms that TLS 1.3 does not have: \
                 make it optional there"
            ),
        ),
        other => (Reason::PEER_PROTOCOL, format!("{who} is incompatible ({other:?}): update it")),
    };
    Error::new(reason, detail)
}

fn misbehaved(error: &PeerMisbehaved, who: &Who) -> Error {
    let what = match error {
        PeerMisbehaved::InvalidKeyShare => "its key share is not a valid public key".to_owned(),
        PeerMisbehaved::SelectedUnofferedCipherSuite => "it chose a cipher suite that was not offered".to_owned(),
        other => format!("{other:?}"),
    };
    Error::new(
        Reason::PEER_PROTOCOL,
        format!("{who} broke the TLS protocol: {what}. Update its software, and suspect the path"),
    )
}

fn malformed(error: InvalidMessage, who: &Who) -> Error {
    use InvalidMessage as M;
    match error {
        M::HandshakePayloadTooLarge | M::CertificatePayloadTooLarge | M::MessageTooLarge => oversized(who),
        other => Error::new(
            Reason::PEER_MALFORMED,
            format!("{who} sent what is not TLS ({other:?}): is it the right port? Else update its software"),
        ),
    }
}

fn unexpected(message: &str, who: &Who) -> Error {
    Error::new(
        Reason::PEER_PROTOCOL,
        format!("{who} sent {message} where TLS has no place for it: update its software"),
    )
}
