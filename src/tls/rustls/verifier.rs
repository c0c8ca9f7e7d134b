//! Judges a server's certificate: a chain to a trust anchor, a pinned key, or both. What it shares with the
//! judge of clients' certificates is here, too.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::VerifierBuilderError;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{Error, Reason};
use crate::tls::certificate::next_update;
use crate::tls::profile::{Pin, Revocation, Trust};

/// Prepared once per trust, shared by all its handshakes.
#[derive(Debug)]
pub(super) struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    pins: Vec<Pin>,
    crls_until: Option<u64>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Reads anchors and revocation lists.
    ///
    /// # Errors
    /// `INTERNAL` where one cannot be read or there is nothing to trust.
    pub(super) fn new(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let chain = roots(trust)?.map(|roots| {
            let builder = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
            let builder = match crls(trust) {
                None => builder,
                Some((crls, Revocation::Chain)) => builder.with_crls(crls).enforce_revocation_expiration(),
                Some((crls, Revocation::EndEntity)) => {
                    builder.with_crls(crls).enforce_revocation_expiration().only_check_end_entity_revocation()
                }
            };
            builder.build().map_err(|error| unusable(&error))
        });
        let chain = chain.transpose()?;
        let crls_until = trust.crls.iter().filter_map(|list| next_update(list)).min();
        let algorithms = provider.signature_verification_algorithms;
        // A list of before 1970 is out of date at any time.
        let crls_until = crls_until.map(|time| time.try_into().unwrap_or(0));
        Ok(Self { chain, pins: trust.pins.clone(), crls_until, algorithms })
    }

    /// Seconds since 1970 at which the first revocation list is out of date; `None` without any.
    pub(super) fn crls_until(&self) -> Option<u64> {
        self.crls_until
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
        check_pins(&self.pins, end_entity)?;
        match &self.chain {
            Some(chain) => chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Ok(check_validity(end_entity, now).map(|()| ServerCertVerified::assertion())?),
        }
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

/// The peer's key is none of the pinned ones; carries its pin, where the certificate could be read.
#[derive(Debug, thiserror::Error)]
#[error("the key is not pinned")]
pub(super) struct NotPinned(pub(super) Option<Pin>);

/// The anchors; `None` if pins are all there is.
pub(super) fn roots(trust: &Trust) -> Result<Option<Arc<RootCertStore>>, Error> {
    if trust.anchors.is_empty() && trust.pins.is_empty() {
        return Err(Error::new(Reason::INTERNAL, "nothing to trust: configure an anchor or a pin"));
    }
    let mut roots = RootCertStore::empty();
    for (number, anchor) in trust.anchors.iter().enumerate() {
        roots.add(CertificateDer::from_slice(anchor).into_owned()).map_err(|error| {
            Error::new(Reason::INTERNAL, format!("trust anchor {number} is not a usable CA certificate: {error}"))
        })?;
    }
    Ok((!roots.is_empty()).then(|| Arc::new(roots)))
}

/// The revocation lists, if there are any.
pub(super) fn crls(trust: &Trust) -> Option<(Vec<CertificateRevocationListDer<'static>>, Revocation)> {
    let crls: Vec<_> = trust.crls.iter().map(|der| CertificateRevocationListDer::from(der.clone())).collect();
    (!crls.is_empty()).then_some((crls, trust.revocation))
}

pub(super) fn unusable(error: &VerifierBuilderError) -> Error {
    Error::new(Reason::INTERNAL, format!("trust anchors or revocation lists cannot be used: {error}"))
}

/// Where keys are pinned, this one must be among them.
pub(super) fn check_pins(pins: &[Pin], end_entity: &CertificateDer<'_>) -> Result<(), CertificateError> {
    if pins.is_empty() {
        return Ok(());
    }
    let pin = Pin::of_certificate(end_entity);
    if pin.is_some_and(|pin| pins.contains(&pin)) {
        return Ok(());
    }
    Err(CertificateError::Other(OtherError(Arc::new(NotPinned(pin)))))
}

/// Of a certificate whose key alone is the proof.
pub(super) fn check_validity(certificate: &[u8], now: UnixTime) -> Result<(), CertificateError> {
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
