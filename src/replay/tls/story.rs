//! What came of a handshake, why, and what should not be used any more, in plain words.

use keyferry_parsers::tls::{Alert, AlertDescription, AlertLevel, ProtocolVersion};

use super::told::{Told, show_version};
use crate::replay::account::{Account, Fault, Outcome, Side};

impl Told {
    /// Whether an alert ends the handshake. In TLS 1.3 its level says nothing.
    pub(super) fn is_fatal(&self, alert: Alert) -> bool {
        let mild = [AlertDescription::CLOSE_NOTIFY, AlertDescription::USER_CANCELED];
        alert.level == AlertLevel::FATAL || (self.is_tls13() && !mild.contains(&alert.description))
    }

    /// An alert came before the handshake was over.
    pub(super) fn refused(&mut self, from: Side, alert: Alert) {
        if alert.description == AlertDescription::CLOSE_NOTIFY {
            let cause = format!("the {} closed the connection during the handshake: close_notify", name(from));
            return self.account.fail(fault(from), cause);
        }
        if !self.is_fatal(alert) {
            return;
        }
        let (who, words) = self.explain(from, alert.description);
        self.account.fail(who, format!("{words}: {}", alert.description));
    }

    /// The connection ended before the handshake did. `by` is known of a reset alone.
    pub(super) fn broken_off(&mut self, by: Option<Side>) {
        let Some(message) = self.account.messages.last() else { return };
        let (from, last) = (message.from, message.kind.clone());
        if let Some(by) = by {
            let cause = format!("the {} reset the connection during the handshake, after {last}", name(by));
            return self.account.fail(fault(by), cause);
        }
        let next = from.other();
        let cause = format!(
            "the connection was closed during the handshake, without an alert, after {last} of the {}, when it was the \
             {}'s turn",
            name(from),
            name(next)
        );
        self.account.fail(fault(next), cause);
    }

    /// Bytes of a side are not in the capture.
    pub(super) fn missing(&mut self, from: Side, length: u64) {
        if self.account.cause.is_none() {
            self.account.cause = Some(format!("{length} bytes of the {} are missing from the capture", name(from)));
            self.account.fault = Some(Fault::Network);
        }
    }

    /// Who has to change something, and why.
    fn explain(&self, from: Side, alert: AlertDescription) -> (Fault, String) {
        use AlertDescription as Alert;
        let (me, you) = (name(from), name(from.other()));
        let (mine, yours) = (fault(from), fault(from.other()));
        let answer = self.account.server_random.is_none() && from == Side::Responder;
        match alert {
            Alert::HANDSHAKE_FAILURE | Alert::CERTIFICATE_REQUIRED | Alert::BAD_CERTIFICATE
                if self.no_client_certificate && from == Side::Responder =>
            {
                (yours, format!("the {me} asked the {you} for a certificate and got none"))
            }
            Alert::HANDSHAKE_FAILURE if answer => {
                (Fault::Both, format!("the {me} shares no cipher suite, group or signature scheme with the {you}"))
            }
            Alert::HANDSHAKE_FAILURE => (Fault::Both, format!("the {me} does not accept what was negotiated")),
            Alert::INSUFFICIENT_SECURITY => {
                (Fault::Both, format!("the {me} wants stronger algorithms than the {you} has"))
            }
            Alert::PROTOCOL_VERSION => {
                let what = match (from, self.version.or(self.offered_version)) {
                    (Side::Responder, Some(offered)) => format!("up to {}", show_version(offered)),
                    (Side::Initiator, Some(chosen)) => show_version(chosen),
                    (_, None) => "that version".to_owned(),
                };
                let verb = if from == Side::Responder { "offers" } else { "chose" };
                (Fault::Both, format!("the {me} speaks no version that the {you} {verb} ({what})"))
            }
            Alert::NO_APPLICATION_PROTOCOL => {
                (Fault::Both, format!("the {me} speaks none of the application protocols that the {you} offers"))
            }
            Alert::UNRECOGNIZED_NAME => match &self.account.sni {
                Some(sni) => (Fault::Both, format!("the {me} is not {sni}, for whom the {you} asks")),
                None => (Fault::Both, format!("the {me} does not know the name that the {you} asks for")),
            },
            Alert::UNKNOWN_CA => {
                (Fault::Both, format!("the {me} does not trust the authority that issued the {you}'s certificate"))
            }
            Alert::CERTIFICATE_EXPIRED => (yours, format!("the {you}'s certificate is not valid at this time")),
            Alert::CERTIFICATE_REVOKED => (yours, format!("the {you}'s certificate was revoked")),
            Alert::BAD_CERTIFICATE | Alert::UNSUPPORTED_CERTIFICATE | Alert::CERTIFICATE_UNKNOWN => {
                (Fault::Both, format!("the {me} does not accept the {you}'s certificate"))
            }
            Alert::CERTIFICATE_REQUIRED => (yours, format!("the {me} wants a certificate of the {you}")),
            Alert::BAD_CERTIFICATE_STATUS_RESPONSE => (yours, format!("the {you}'s OCSP response is not good")),
            Alert::UNKNOWN_PSK_IDENTITY => (Fault::Both, format!("the {me} does not know the {you}'s pre-shared key")),
            Alert::ACCESS_DENIED => (Fault::Both, format!("the {me} knows who the {you} is and does not let it in")),
            Alert::DECRYPT_ERROR => (yours, format!("the {you}'s signature or Finished is wrong")),
            Alert::BAD_RECORD_MAC => (yours, format!("a record of the {you} has a wrong MAC")),
            Alert::UNEXPECTED_MESSAGE
            | Alert::RECORD_OVERFLOW
            | Alert::ILLEGAL_PARAMETER
            | Alert::DECODE_ERROR
            | Alert::MISSING_EXTENSION
            | Alert::UNSUPPORTED_EXTENSION => (yours, format!("the {you} sent what the protocol does not allow")),
            Alert::INAPPROPRIATE_FALLBACK => {
                (yours, format!("the {you} fell back to an older version than both sides have"))
            }
            Alert::ECH_REQUIRED => (Fault::Both, format!("the {me} could not read the {you}'s encrypted hello")),
            Alert::INTERNAL_ERROR => (mine, format!("the {me} failed for reasons of its own")),
            Alert::USER_CANCELED => (mine, format!("the {me} was told to give up")),
            _ => (mine, format!("the {me} gave up")),
        }
    }

    /// The account as it stands, with the weaknesses that it shows.
    pub(super) fn into_account(mut self) -> Account {
        self.close_list();
        self.version_weakness();
        self.suite_weakness();
        if self.dh_bits.is_some_and(|bits| bits < 2048) {
            self.account.weakness(format!("Diffie-Hellman with {} bits", self.dh_bits.unwrap_or_default()));
        }
        if self.smallest_key.is_some_and(|bits| bits < 2048) {
            self.account.weakness(format!("a certificate's key with {} bits", self.smallest_key.unwrap_or_default()));
        }
        if let Some(hash) = self.weak_signature {
            self.account.weakness(format!("a certificate signed with {hash}"));
        }
        self.validity();
        self.account
    }

    fn version_weakness(&mut self) {
        let Some(version) = self.version else { return };
        match version {
            ProtocolVersion::SSL_2_0
            | ProtocolVersion::SSL_3_0
            | ProtocolVersion::TLS_1_0
            | ProtocolVersion::TLS_1_1
            | ProtocolVersion::DTLS_1_0 => self.account.weakness(version.to_string()),
            ProtocolVersion::TLS_1_2 | ProtocolVersion::DTLS_1_2 => {}
            _ => return,
        }
        if version != ProtocolVersion::SSL_2_0 && !self.extended_master_secret {
            self.account.weakness("no extended master secret");
        }
    }

    fn suite_weakness(&mut self) {
        let suite = self.account.chosen.cipher.clone().unwrap_or_default();
        for (part, weakness) in [
            ("_RC4_", "RC4"),
            ("_RC2_", "RC2"),
            ("_3DES_", "3DES"),
            ("_DES_", "DES"),
            ("_DES40_", "DES"),
            ("_IDEA_", "IDEA"),
            ("_EXPORT", "export-grade encryption"),
            ("_WITH_NULL", "no encryption"),
            ("_anon_", "nobody proves who they are"),
        ] {
            if suite.contains(part) {
                self.account.weakness(weakness);
            }
        }
        if suite.ends_with("_MD5") {
            self.account.weakness("MD5");
        }
        if self.account.chosen.auth.as_deref() == Some("RSA key transport") {
            self.account.weakness("no forward secrecy: RSA key transport");
        }
        let auth = self.account.chosen.auth.as_deref().unwrap_or_default();
        if auth.ends_with("_sha1") || auth.ends_with("_md5") {
            let hash = if auth.ends_with("1") { "SHA-1" } else { "MD5" };
            self.account.weakness(format!("a key exchange signed with {hash}"));
        }
    }

    /// Of the leaf certificates, at the time they were shown.
    fn validity(&mut self) {
        let Some(now) = self.account.messages.first().and_then(|first| i64::try_from(first.t.as_secs()).ok()) else {
            return;
        };
        for side in [Side::Responder, Side::Initiator] {
            let leaf = self.account.certificates.iter().find(|certificate| certificate.from == side);
            let Some((not_before, not_after)) = leaf.map(|leaf| (leaf.not_before, leaf.not_after)) else { continue };
            if now > not_after {
                self.account.weakness(format!("the {}'s certificate had expired", name(side)));
            } else if now < not_before {
                self.account.weakness(format!("the {}'s certificate was not valid yet", name(side)));
            }
        }
    }

    /// Both sides have keys.
    pub(super) fn established(&mut self) {
        if self.account.outcome == Outcome::Incomplete {
            self.account.outcome = Outcome::Established;
            self.account.cause = None;
            self.account.fault = None;
        }
    }
}

/// In TLS the sides have names of their own.
pub(super) fn name(side: Side) -> &'static str {
    match side {
        Side::Initiator => "client",
        Side::Responder => "server",
    }
}

pub(super) fn fault(side: Side) -> Fault {
    match side {
        Side::Initiator => Fault::Initiator,
        Side::Responder => Fault::Responder,
    }
}
