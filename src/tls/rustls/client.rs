//! The terminal's handshakes with servers.

use std::sync::Arc;
use std::time::Duration;

use keyferry_parsers::messages::Role;
use rustls::client::{Resumption, TicketRequest, Tls12Resumption, UnbufferedClientConnection};
use rustls::pki_types::{DnsName, ServerName};
use rustls::{ClientConfig, ClientConnection};

use super::algorithms::{Algorithms, Chosen, Configurations};
use super::capture::Capture;
use super::current;
use super::identity::{ClientCertificates, Prover};
use super::refusal::{Scene, Who, refusal};
use super::session::{Peer, Session};
use super::tickets::Purse;
use super::verifier::Verifier;
use super::wire::Wire;
use crate::error::{Error, Reason};
use crate::tls::Handshake;
use crate::tls::profile::{KeyLog, Offer, Profile, ServerIdentity};

/// The prepared side of a [`Profile`]: anchors parsed, algorithms chosen. Keep one per policy rule and
/// revision; a handshake then costs little more than its arithmetic.
pub struct Client {
    algorithms: Algorithms,
    configurations: Configurations<ClientConfig>,
    verifier: Arc<Verifier>,
    certificates: Arc<ClientCertificates>,
    key_log: Option<Arc<dyn KeyLog>>,
}

impl Client {
    /// Prepares a profile.
    ///
    /// # Errors
    /// `INTERNAL` for what the configuration should have refused: an unusable anchor or revocation list,
    /// nothing to trust, an unknown group or suite.
    pub fn new(profile: &Profile) -> Result<Self, Error> {
        let algorithms = Algorithms::new(&profile.groups, &profile.suites)?;
        let verifier = Arc::new(Verifier::new(&profile.trust, algorithms.provider())?);
        let key_log = profile.key_log.clone();
        let configurations = Configurations::new();
        Ok(Self { algorithms, configurations, verifier, certificates: Arc::new(ClientCertificates), key_log })
    }

    /// Starts a handshake at a wall time since 1970. Its first [`drain`](Handshake::drain) gives the
    /// ClientHello.
    ///
    /// # Errors
    /// `MALFORMED_REQUEST` if the server's name is not a DNS name or an ALPN name is not of 1 to 255 bytes,
    /// `UNSUPPORTED` if terminal and policy share no suite, `INTERNAL` without randomness.
    pub fn start(&self, unix_now: Duration, offer: &Offer) -> Result<Box<dyn Handshake>, Error> {
        let server = server_name(&offer.server)?;
        let prover = offer.identity.as_ref().and_then(|identity| Prover::new(identity, Role::CLIENT));
        let (chosen, mut config) =
            self.configurations
                .get(&self.algorithms, &offer.suites, prover.is_some(), |chosen| self.configure(chosen))?;
        let capture = Arc::new(Capture::new(self.key_log.clone(), prover));
        capture.set_time(unix_now);
        config.alpn_protocols = alpn(&offer.alpn)?;
        config.key_log = capture.clone();
        config.time_provider = capture.clone();
        let purse = offer.tickets.as_ref().map(|tickets| Purse::new(tickets, unix_now));
        if let Some(purse) = &purse {
            // Without leave to take its keys out, rustls leaves nothing behind that can take a ticket.
            config.enable_secret_extraction = true;
            config.resumption = Resumption::store(purse.clone()).tls12_resumption(Tls12Resumption::Disabled);
            config.send_ticket_request = Some(TicketRequest { new_session_count: 1, resumption_count: 1 });
        }

        let who = Who::Server(offer.server.clone());
        // rustls draws a legacy_session_id before the random, if it offers TLS 1.3.
        let until_hello = usize::from(chosen.versions.tls13());
        let config = Arc::new(config);
        let wire = current::during(&capture, Some(until_hello), || match &purse {
            None => ClientConnection::new(config, server).map(|connection| Wire::Stream(Box::new(connection.into()))),
            Some(_) => UnbufferedClientConnection::new(config, server).map(Wire::resumable),
        })
        .map_err(|error| refusal(&error, &Scene::before(&who, chosen.versions)))?;
        let peer = Peer::Server { verifier: self.verifier.clone(), name: offer.server.clone(), purse };
        Ok(Box::new(Session::new(wire, capture, peer, who, chosen.versions)))
    }

    /// All that sessions have in common.
    fn configure(&self, chosen: &Chosen) -> Result<ClientConfig, Error> {
        let mut config = ClientConfig::builder_with_details(chosen.provider.clone(), Arc::new(Capture::default()))
            .with_protocol_versions(chosen.versions.supported())
            .map_err(|error| Error::new(Reason::INTERNAL, format!("TLS algorithms do not fit together: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier.clone())
            .with_client_cert_resolver(self.certificates.clone());
        config.require_ems = true;
        // Tickets are asked for only where they can be used: they would reach the terminal at the cost of its link.
        config.resumption = Resumption::disabled();
        config.send_ticket_request = Some(TicketRequest { new_session_count: 0, resumption_count: 0 });
        Ok(config)
    }
}

/// As they go into the hello.
pub(super) fn alpn(names: &[String]) -> Result<Vec<Vec<u8>>, Error> {
    if !names.iter().all(|name| (1..=255).contains(&name.len())) {
        return Err(Error::new(Reason::MALFORMED_REQUEST, "an application protocol (ALPN) has 1 to 255 bytes"));
    }
    Ok(names.iter().map(|name| name.as_bytes().to_vec()).collect())
}

fn server_name(server: &ServerIdentity) -> Result<ServerName<'static>, Error> {
    match server {
        ServerIdentity::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        // Not `ServerName::try_from`, which takes an address in dotted form for an address: what is
        // verified is what policy said it is.
        ServerIdentity::Name(name) => DnsName::try_from(name.clone())
            .map(ServerName::DnsName)
            .map_err(|_| Error::new(Reason::MALFORMED_REQUEST, "the name of the peer is not a DNS name")),
    }
}
