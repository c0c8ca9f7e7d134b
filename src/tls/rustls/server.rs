//! The terminal's handshakes with peers that connect to it.

use std::fmt;
use std::sync::Arc;

use keyferry_parsers::messages::Role;
use keyferry_parsers::tls::{AlertDescription, SignatureScheme};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{NamedGroup, ServerConfig, ServerConnection};

use super::algorithms::{Algorithms, Chosen, Configurations};
use super::capture::Capture;
use super::client::alpn;
use super::client_verifier::ClientVerifier;
use super::identity::{Prover, certified_key};
use super::refusal::{Scene, Who, refusal};
use super::session::{Peer, Session};
use super::wire::Wire;
use crate::error::{Error, Reason};
use crate::signer::Credential;
use crate::tls::Handshake;
use crate::tls::certificate::printable;
use crate::tls::profile::{KeyLog, Serve, ServiceProfile};

/// The prepared side of a [`ServiceProfile`]. Keep one per policy rule and revision.
pub struct Service {
    algorithms: Algorithms,
    configurations: Configurations<ServerConfig>,
    clients: Option<Arc<ClientVerifier>>,
    alpn: Vec<String>,
    names: Arc<[String]>,
    key_log: Option<Arc<dyn KeyLog>>,
}

impl Service {
    /// Prepares a profile.
    ///
    /// # Errors
    /// `INTERNAL` for what the configuration should have refused: an unusable anchor or revocation list,
    /// nothing to trust, an unknown group or suite.
    pub fn new(profile: &ServiceProfile) -> Result<Self, Error> {
        let algorithms = Algorithms::new(&profile.groups, &profile.suites)?;
        let verifier = |trust| ClientVerifier::new(trust, &profile.client_names, algorithms.provider()).map(Arc::new);
        let clients = profile.clients.as_ref().map(verifier).transpose()?;
        Ok(Self {
            algorithms,
            configurations: Configurations::new(),
            clients,
            alpn: profile.alpn.clone(),
            names: profile.names.clone().into(),
            key_log: profile.key_log.clone(),
        })
    }

    /// Starts a handshake. Nothing is to be sent before the peer's ClientHello was fed.
    ///
    /// # Errors
    /// `UNSUPPORTED` if terminal and policy share no suite, or no application protocol where both name some;
    /// `INTERNAL` for algorithms that do not fit together.
    pub fn start(&self, serve: &Serve) -> Result<Box<dyn Handshake>, Error> {
        let (chosen, mut config) =
            self.configurations.get(&self.algorithms, &serve.suites, true, |chosen| self.configure(chosen))?;
        let capture = Arc::new(Capture::new(self.key_log.clone(), Prover::new(&serve.identity, Role::SERVER)));
        config.cert_resolver = Arc::new(ServerCertificates {
            session: capture.clone(),
            names: self.names.clone(),
            provider: chosen.provider.clone(),
        });
        config.alpn_protocols = alpn(&self.alpn_for(&serve.alpn)?)?;
        config.key_log = capture.clone();
        config.time_provider = capture.clone();

        let who = Who::Client(serve.peer);
        let connection = ServerConnection::new(Arc::new(config))
            .map_err(|error| refusal(&error, &Scene::before(&who, chosen.versions)))?;
        let peer = Peer::Client { verifier: self.clients.clone(), address: serve.peer };
        Ok(Box::new(Session::new(Wire::Stream(Box::new(connection.into())), capture, peer, who, chosen.versions)))
    }

    /// All that sessions have in common.
    fn configure(&self, chosen: &Chosen) -> Result<ServerConfig, Error> {
        let verifier: Arc<dyn ClientCertVerifier> = match &self.clients {
            Some(verifier) => verifier.clone(),
            None => Arc::new(NoClientAuth),
        };
        let mut config = ServerConfig::builder_with_details(chosen.provider.clone(), Arc::new(Capture::default()))
            .with_protocol_versions(chosen.versions.supported())
            .map_err(|error| Error::new(Reason::INTERNAL, format!("TLS algorithms do not fit together: {error}")))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(NoCertificate));
        config.require_ems = true;
        // The terminal's order of suites counts: it pays for them.
        config.ignore_client_order = true;
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn alpn_for(&self, terminal: &[String]) -> Result<Vec<String>, Error> {
        match (self.alpn.as_slice(), terminal) {
            ([], _) => return Ok(terminal.to_vec()),
            (_, []) => return Ok(self.alpn.clone()),
            _ => {}
        }
        let common: Vec<String> = self.alpn.iter().filter(|name| terminal.contains(name)).cloned().collect();
        if common.is_empty() {
            return Err(Error::new(
                Reason::UNSUPPORTED,
                "the terminal speaks no application protocol (ALPN) that policy has for this service",
            ));
        }
        Ok(common)
    }
}

/// Stands where each session puts its own.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// Chooses the certificate by what the client asked for.
struct ServerCertificates {
    session: Arc<Capture>,
    names: Arc<[String]>,
    provider: Arc<CryptoProvider>,
}

impl ResolvesServerCert for ServerCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.choose(&hello) {
            Ok(credential) => Some(certified_key(&self.session, credential)),
            Err((error, alert)) => {
                self.session.refuse(error, Some(alert));
                None
            }
        }
    }
}

impl ServerCertificates {
    fn choose(&self, hello: &ClientHello<'_>) -> Result<&Arc<Credential>, (Error, AlertDescription)> {
        let credentials = self.session.prover.as_ref().map_or(&[][..], Prover::credentials);
        if credentials.is_empty() {
            let error = Error::new(Reason::NO_CERTIFICATE, "the terminal has no certificate: import one for it");
            return Err((error, AlertDescription::INTERNAL_ERROR));
        }
        let name = hello.server_name();
        let named = |credential: &Credential| name.is_none_or(|name| covers(credential.names(), name));
        let accepted = if self.names.is_empty() {
            credentials.iter().any(|credential| named(credential))
        } else {
            name.is_none_or(|name| covers(&self.names, name))
        };
        if !accepted {
            let detail = format!(
                "a client asked for `{}`, which no certificate of the terminal and no rule names: import a \
                 certificate for it, or correct the client",
                printable(name.unwrap_or_default())
            );
            return Err((Error::new(Reason::NO_CERTIFICATE, detail), AlertDescription::UNRECOGNIZED_NAME));
        }
        // Judged here, since without a suite in common rustls leaves no signature algorithm to choose from.
        if !self.provider.cipher_suites.iter().any(|suite| hello.cipher_suites().contains(&suite.suite())) {
            let detail =
                "a client shares no cipher suite with what policy and terminal allow: allow more, or update it";
            return Err((Error::new(Reason::NO_COMMON_SUITE, detail), AlertDescription::HANDSHAKE_FAILURE));
        }
        let now = self.session.unix_now();
        let expired = |credential: &Credential| !(credential.not_before()..=credential.not_after()).contains(&now);
        let fitting = credentials.iter().filter(|credential| self.verifiable(credential, hello));
        let allowed = fitting.filter(|credential| named(credential) || !self.names.is_empty());
        // The first of the best: which fits in what counts most.
        let best =
            allowed.min_by_key(|credential| (!named(credential), expired(credential), !takes_curve(hello, credential)));
        best.ok_or_else(|| {
            let detail = "a client can verify no signature that the terminal's certificate makes: import one with \
                          an ECDSA P-256 key, which every client can verify, or update the client";
            (Error::new(Reason::NO_COMMON_SIGNATURE, detail), AlertDescription::HANDSHAKE_FAILURE)
        })
    }
}

impl ServerCertificates {
    /// Whether the client can verify what this credential signs, in the version that will be spoken.
    fn verifiable(&self, credential: &Credential, hello: &ClientHello<'_>) -> bool {
        // Not told in so many words, but who offers suites of TLS 1.3 speaks it.
        let mut shared =
            self.provider.cipher_suites.iter().filter(|suite| hello.cipher_suites().contains(&suite.suite()));
        let is_tls13 = shared.any(|suite| suite.tls13().is_some());
        let offered = |scheme: SignatureScheme| hello.signature_schemes().contains(&scheme.0.into());
        // RFC 8446 section 4.2.3: PKCS#1 v1.5 is for certificates there.
        credential.schemes().iter().any(|&scheme| offered(scheme) && !(is_tls13 && is_pkcs1(scheme)))
    }
}

/// Whether the client's groups have the curve of an ECDSA key, as they should where TLS 1.2 is spoken (RFC 8422 section
/// 5.1). Not all do that can verify it.
fn takes_curve(hello: &ClientHello<'_>, credential: &Credential) -> bool {
    let curve = match credential.schemes().first() {
        Some(&SignatureScheme::ECDSA_SECP256R1_SHA256) => NamedGroup::secp256r1,
        Some(&SignatureScheme::ECDSA_SECP384R1_SHA384) => NamedGroup::secp384r1,
        _ => return true,
    };
    hello.named_groups().is_none_or(|groups| groups.contains(&curve))
}

fn is_pkcs1(scheme: SignatureScheme) -> bool {
    use SignatureScheme as S;
    matches!(scheme, S::RSA_PKCS1_SHA256 | S::RSA_PKCS1_SHA384 | S::RSA_PKCS1_SHA512)
}

/// Whether one of `names` is `wanted`, or stands for it with `*` as its leftmost label (RFC 9525 section 6.3).
fn covers(names: &[String], wanted: &str) -> bool {
    names.iter().any(|name| {
        let below = name.strip_prefix("*.").zip(wanted.split_once('.'));
        name.eq_ignore_ascii_case(wanted)
            || below.is_some_and(|(domain, (_, parent))| domain.eq_ignore_ascii_case(parent))
    })
}

impl fmt::Debug for ServerCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerCertificates")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_one_label() {
        let names = ["Meter.example".to_owned(), "*.plant.example".to_owned()];
        for wanted in ["meter.example", "METER.EXAMPLE", "a.plant.example"] {
            assert!(covers(&names, wanted), "{wanted}");
        }
        for wanted in ["plant.example", "a.b.plant.example", "example", "", "xmeter.example", ".example"] {
            assert!(!covers(&names, wanted), "{wanted}");
        }
    }
}
