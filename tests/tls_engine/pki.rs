//! A certificate authority in memory, made anew for every test.

use std::sync::Arc;

use keyferry::tls::{Pin, Trust};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm, date_time_ymd,
};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

/// Every test's time: 15 June 2030. Certificates are valid from 2029 to 2031 unless a test says otherwise.
pub const NOW: u64 = 1_907_712_000;

pub const NAME: &str = "server.example";

/// A root and an intermediate, so that every chain has two certificates below the anchor.
pub struct Pki {
    pub root: CertifiedIssuer<'static, KeyPair>,
    pub intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub fn new() -> Self {
        Self::named("test", |_| ())
    }

    /// With a change to the intermediate.
    pub fn named(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let root =
            CertifiedIssuer::self_signed(authority(&format!("{name} root")), key(&PKCS_ECDSA_P256_SHA256)).unwrap();
        let mut params = authority(&format!("{name} intermediate"));
        change(&mut params);
        let intermediate = CertifiedIssuer::signed_by(params, key(&PKCS_ECDSA_P256_SHA256), &root).unwrap();
        Self { root, intermediate }
    }

    /// A server certificate for [`NAME`] over an ECDSA P-256 key, with its chain.
    pub fn server(&self) -> Identity {
        self.server_with(key(&PKCS_ECDSA_P256_SHA256), |_| ())
    }

    pub fn server_with(&self, key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, NAME);
        within_2029_to_2031(&mut params);
        change(&mut params);
        let leaf = params.signed_by(&key, &self.intermediate).unwrap();
        Identity { chain: vec![leaf.der().clone(), self.intermediate.der().clone()], key }
    }

    /// Trust in the root alone.
    pub fn trust(&self) -> Trust {
        Trust { anchors: vec![self.root.der().to_vec()], ..Trust::default() }
    }
}

/// What a server proves itself with.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
}

impl Identity {
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        Arc::new(CertifiedKey::new(self.chain.clone(), any_supported_type(&der).unwrap()))
    }

    pub fn pin(&self) -> Pin {
        Pin::of_certificate(&self.chain[0]).unwrap()
    }

    /// Trust in this very key and in no CA.
    pub fn pinned(&self) -> Trust {
        Trust { pins: vec![self.pin()], ..Trust::default() }
    }
}

pub fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

/// Makers of the keys that TLS servers and clients have.
pub fn every_key() -> [fn() -> KeyPair; 4] {
    [|| key(&PKCS_ECDSA_P256_SHA256), || key(&PKCS_ECDSA_P384_SHA384), || key(&PKCS_ED25519), rsa_key]
}

pub fn rsa_key() -> KeyPair {
    KeyPair::from_pkcs8_pem_and_sign_algo(include_str!("data/rsa-2048.pem"), &rcgen::PKCS_RSA_SHA256).unwrap()
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    within_2029_to_2031(&mut params);
    params
}

fn within_2029_to_2031(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2029, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
}
