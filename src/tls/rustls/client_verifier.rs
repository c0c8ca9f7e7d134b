//! Judges a client's certificate: a chain to a trust anchor, a pinned key, or both; then its names.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};

use super::current;
use super::verifier::{check_pins, check_validity, crls, roots, unusable};
use crate::error::Error;
use crate::tls::certificate::{self, Leaf, Name};
use crate::tls::profile::{Pin, Revocation, Trust};

/// Prepared once per profile, shared by all its handshakes.
pub(super) struct ClientVerifier {
    chain: Option<Arc<dyn ClientCertVerifier>>,
    pins: Vec<Pin>,
    names: Vec<Name>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// Reads anchors and revocation lists. `names`: who may connect; empty: everybody the trust proves.
    ///
    /// # Errors
    /// `INTERNAL` where one cannot be read or there is nothing to trust.
    pub(super) fn new(trust: &Trust, names: &[String], provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let chain = roots(trust)?.map(|roots| {
            let builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
            let builder = match crls(trust) {
                None => builder,
                Some((crls, Revocation::Chain)) => builder.with_crls(crls).enforce_revocation_expiration(),
                Some((crls, Revocation::EndEntity)) => {
                    builder.with_crls(crls).enforce_revocation_expiration().only_check_end_entity_revocation()
                }
            };
            builder.build().map_err(|error| unusable(&error))
        });
        Ok(Self {
            chain: chain.transpose()?,
            pins: trust.pins.clone(),
            names: names.iter().map(|name| Name::of_policy(name)).collect(),
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// Whether the names in the certificate are part of the proof, and not the key alone.
    pub(super) fn proves_name(&self) -> bool {
        self.chain.is_some()
    }

    /// What a client with this certificate is called: the name that policy knows it by, else its first name,
    /// else its subject.
    pub(super) fn name_of(&self, leaf: &[u8]) -> String {
        let names = certificate::names(leaf);
        let allowed = names.iter().find(|name| self.allows(name));
        let first = allowed.or(names.first()).map(Name::to_string);
        let subject = || Leaf::parse(leaf).map(|leaf| leaf.subject).filter(|subject| !subject.is_empty());
        first.or_else(subject).unwrap_or_else(|| "a client without a name".to_owned())
    }

    fn allows(&self, name: &Name) -> bool {
        self.names.iter().any(|allowed| allowed.is(name))
    }
}

impl ClientCertVerifier for ClientVerifier {
    /// Told to clients, so that they choose the right one of their certificates.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |chain| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        check_pins(&self.pins, end_entity)?;
        match &self.chain {
            Some(chain) => {
                chain.verify_client_cert(end_entity, intermediates, now)?;
            }
            None => check_validity(end_entity, now)?,
        }
        if self.names.is_empty() {
            return Ok(ClientCertVerified::assertion());
        }
        let names = certificate::names(end_entity);
        if names.iter().any(|name| self.allows(name)) {
            return Ok(ClientCertVerified::assertion());
        }
        // rustls' word for this, which has the right alert, carries no names.
        if let Some(session) = current::session() {
            session.not_allowed.get_or_init(|| names);
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientVerifier")
    }
}
