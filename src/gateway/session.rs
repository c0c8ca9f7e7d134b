//! One session on its way to its terminal, whoever carries the bytes of its handshake, and how that handshake
//! begins.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use keyferry_channel::Instant;
use keyferry_parsers::messages::{Connect, Reason, SessionId};
use keyferry_parsers::tls::{CipherSuite, ProtocolVersion};

use super::step::Work;
use super::{FlowId, Gateway};
use crate::crypto::SUITES;
use crate::error::Error;
use crate::policy::{Decision, ServiceDecision, TerminalRef};
use crate::stats::HandshakeKind;
use crate::terminals::TerminalId;
use crate::tls::{self, Identity, ServerIdentity};

/// Who carries the bytes between the engine and the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Carrier {
    /// The gateway, on the path.
    Path(FlowId),
    /// The terminal, over its channel.
    Terminal(SessionId),
}

/// What is known of a session before there are keys.
pub(super) struct Session {
    pub(super) terminal: TerminalId,
    pub(super) number: SessionId,
    pub(super) wanted: Wanted,
    pub(super) opened: Instant,
    pub(super) crypto_time: Duration,
    /// Known once the handshake is done.
    pub(super) version: Option<ProtocolVersion>,
}

/// What the session shall be, whether the terminal asked for it or policy says so.
#[derive(Clone)]
pub(super) enum Wanted {
    /// The terminal connects to a peer.
    Peer {
        decision: Decision,
        /// What the terminal can compute, in its order of preference, for each version.
        cipher_suites: Vec<CipherSuite>,
    },
    /// A peer connects to the terminal.
    Service {
        /// Where from.
        peer: IpAddr,
        decision: ServiceDecision,
        cipher_suites: Vec<CipherSuite>,
        /// What the terminal speaks on this port; empty: what policy says.
        alpn: Vec<String>,
    },
}

impl Session {
    pub(super) fn new(number: SessionId, terminal: TerminalId, wanted: Wanted, opened: Instant) -> Self {
        Self { terminal, number, wanted, opened, crypto_time: Duration::ZERO, version: None }
    }

    /// Under what the outcome is counted.
    pub(super) fn kind(&self, failure: Option<Reason>) -> HandshakeKind {
        let protocol = match self.version {
            Some(ProtocolVersion::TLS_1_3) => "tls1.3",
            Some(ProtocolVersion::TLS_1_2) => "tls1.2",
            _ => "tls",
        };
        HandshakeKind { protocol, role: self.wanted.role(), failure }
    }
}

impl Wanted {
    /// The terminal's role, for the statistics.
    pub(super) fn role(&self) -> &'static str {
        match self {
            Self::Peer { .. } => "client",
            Self::Service { .. } => "server",
        }
    }

    /// Whether the peer's certificate is judged by this trust.
    pub(super) fn is_judged_by(&self, trust: &str) -> bool {
        match self {
            Self::Peer { decision, .. } => decision.rule.trust.name == trust,
            Self::Service { decision, .. } => {
                decision.service.clients.as_ref().is_some_and(|clients| clients.name == trust)
            }
        }
    }

    /// How long the session may live.
    pub(super) fn session_seconds(&self) -> u32 {
        match self {
            Self::Peer { decision, .. } => decision.rule.session_seconds,
            Self::Service { decision, .. } => decision.service.session_seconds,
        }
    }
}

/// What the terminal can protect: the suites it names and, where it knows TLS 1.2, those of TLS 1.2 with the
/// same cipher and hash.
pub(super) fn computable(named: &[CipherSuite], oldest_version: ProtocolVersion) -> Vec<CipherSuite> {
    let mut suites: Vec<CipherSuite> =
        named.iter().copied().filter(|suite| suite.tls13_equivalent() == Some(*suite)).collect();
    if oldest_version == ProtocolVersion::TLS_1_2 {
        let older = |named: &CipherSuite| {
            let named = *named;
            SUITES.into_iter().filter(move |suite| *suite != named && suite.tls13_equivalent() == Some(named))
        };
        suites.extend(named.iter().flat_map(older));
    }
    suites
}

/// The suites of a terminal that has not said what it can.
pub(super) fn assumed_computable() -> Vec<CipherSuite> {
    Connect::DEFAULT_CIPHER_SUITES.to_vec()
}

impl Gateway {
    /// The first step of a session's handshake. The bytes of an `assisted` one cross the terminal's link.
    pub(super) fn begin(&mut self, session: &Session, assisted: bool) -> Result<Work, Error> {
        let tickets = self.tickets_of(session);
        let changed = || Error::new(Reason::INTERNAL, "policy changed while the connection was opened; try again");
        match &session.wanted {
            Wanted::Peer { decision, cipher_suites } => {
                let current = decision.revision == self.policy.revision();
                let clients = self.clients.get(decision.index).filter(|_| current).ok_or_else(changed)?;
                let offer = tls::Offer {
                    server: server_identity(&decision.rule.name),
                    alpn: decision.alpn.clone(),
                    suites: cipher_suites.clone(),
                    identity: self.identity(&session.terminal).filter(|_| decision.rule.client_certificate),
                    tickets,
                };
                let client = if assisted { &clients.assisted } else { &clients.inline };
                Ok(Work::Start { client: Arc::clone(client), offer })
            }
            Wanted::Service { peer, decision, cipher_suites, alpn } => {
                let current = decision.revision == self.policy.revision();
                let service = self.services.get(decision.index).filter(|_| current).ok_or_else(changed)?;
                let identity = self.identity(&session.terminal).ok_or_else(|| no_certificate(&session.terminal))?;
                let serve = tls::Serve { peer: *peer, suites: cipher_suites.clone(), alpn: alpn.clone(), identity };
                Ok(Work::Serve { service: Arc::clone(service), serve })
            }
        }
    }

    /// Who a terminal can prove to be; `None` without a certificate.
    pub(super) fn identity(&self, id: &TerminalId) -> Option<Identity> {
        let terminal = self.terminals.get(id).filter(|terminal| !terminal.credentials.is_empty())?;
        let signer = Arc::clone(self.signer.as_ref()?);
        Some(Identity { owner: id.to_string(), credentials: terminal.credentials.clone(), signer })
    }

    /// A terminal as policy sees it.
    pub(super) fn terminal_ref(&self, id: &TerminalId) -> Option<TerminalRef<'_>> {
        let record = &self.terminals.get(id)?.record;
        Some(TerminalRef { id: record.id.as_str(), group: record.group.as_deref() })
    }

    pub(super) fn new_session(&mut self) -> SessionId {
        loop {
            let mut bytes = [0; 4];
            (self.random)(&mut bytes);
            let session = SessionId(u32::from_be_bytes(bytes));
            if !self.sessions.contains(&session) && !self.offers.contains(session) {
                return session;
            }
        }
    }
}

/// The refusal that tells how to give a terminal a certificate.
pub(super) fn no_certificate(terminal: &TerminalId) -> Error {
    let detail = format!(
        "terminal {terminal} has no certificate to serve with: keyferry terminal certificate add {terminal} \
         --chain FILE --key FILE"
    );
    Error::new(Reason::NO_CERTIFICATE, detail)
}

/// What the certificate must name: an address where the rule is named by one.
fn server_identity(name: &str) -> ServerIdentity {
    name.parse().map_or_else(|_| ServerIdentity::Name(name.to_owned()), ServerIdentity::Address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_knows_tls_1_2_gets_the_suites_with_its_own_ciphers_only() {
        let named = [CipherSuite::TLS_AES_128_GCM_SHA256];
        assert_eq!(computable(&named, ProtocolVersion::TLS_1_3), named);
        let older = [CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
        assert!(computable(&older, ProtocolVersion::TLS_1_3).is_empty(), "named although it is not announced");
        assert_eq!(
            computable(&named, ProtocolVersion::TLS_1_2),
            [
                CipherSuite::TLS_AES_128_GCM_SHA256,
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            ]
        );
    }
}
