//! Judges the peer's certificate: a chain to a trust anchor, a pinned key, or both.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, PeerIncompatible, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{Error, Reason};
use crate::tls::profile::{Pin, Trust};

/// Prepared once per trust, shared by all its handshakes.
#[derive(Debug)]
pub(super) struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    pins: Vec<Pin>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Reads the anchors.
    ///
    /// # Errors
    /// `INTERNAL` where an anchor is not a certificate or there is nothing to trust.
    pub(super) fn new(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        if trust.anchors.is_empty() && trust.pins.is_empty() {
            return Err(Error::new(Reason::INTERNAL, "nothing to trust: configure an anchor or a pin"));
        }
        let mut roots = RootCertStore::empty();
        for (number, anchor) in trust.anchors.iter().enumerate() {
            roots.add(CertificateDer::from_slice(anchor).into_owned()).map_err(|error| {
                Error::new(Reason::INTERNAL, format!("trust anchor {number} is not a usable CA certificate: {error}"))
            })?;
        }
        let chain = if roots.is_empty() {
            None
        } else {
            let builder = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
            Some(builder.build().map_err(|error| Error::new(Reason::INTERNAL, format!("trust anchors: {error}")))?)
        };
        Ok(Self { chain, pins: trust.pins.clone(), algorithms: provider.signature_verification_algorithms })
    }

    /// Whether the name in the certificate is part of the proof, and not the key alone.
    pub(super) fn proves_name(&self) -> bool {
        self.chain.is_some()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.pins.is_empty() {
            let pin = Pin::of_certificate(end_entity);
            if !pin.is_some_and(|pin| self.pins.contains(&pin)) {
                return Err(CertificateError::Other(OtherError(Arc::new(NotPinned(pin)))).into());
            }
        }
        match &self.chain {
            Some(chain) => chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Ok(check_validity(end_entity, now).map(|()| ServerCertVerified::assertion())?),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
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

/// The peer's key is none of the pinned ones; carries its pin, where the certificate could be read.
#[derive(Debug, thiserror::Error)]
#[error("the key is not pinned")]
pub(super) struct NotPinned(pub(super) Option<Pin>);

fn check_validity(certificate: &[u8], now: UnixTime) -> Result<(), CertificateError> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let bound =
        |seconds: i64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds.try_into().unwrap_or(0)));
    let not_before = bound(certificate.validity().not_before.timestamp());
    let not_after = bound(certificate.validity().not_after.timestamp());
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before });
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after });
    }
    Ok(())
}
