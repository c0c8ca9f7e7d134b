//! A CA, and the certificates and revocation lists that it signs.

use std::sync::Arc;

use keyferry::crypto::Secret;
use keyferry::signer::Credential;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A CA and what it signs.
pub struct Pki {
    root: Issuer<'static, KeyPair>,
    anchor: Vec<u8>,
    stranger: Issuer<'static, KeyPair>,
}

/// What is in somebody's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub names: Vec<String>,
    /// Years of the validity: from, to.
    pub validity: (i32, i32),
    /// Signed by an authority nobody trusts.
    pub stranger: bool,
    pub serial: u64,
}

impl Leaf {
    /// A good certificate for `name`.
    pub fn of(name: &str) -> Self {
        Self { names: vec![name.to_owned()], validity: (2020, 2040), stranger: false, serial: 4711 }
    }
}

impl Pki {
    pub fn new() -> Self {
        let (root, anchor) = authority("Test root");
        let (stranger, _) = authority("Stranger");
        Self { root, anchor, stranger }
    }

    pub fn anchor(&self) -> Vec<u8> {
        self.anchor.clone()
    }

    /// The trust of peers in this CA.
    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.anchor())).unwrap();
        Arc::new(roots)
    }

    pub fn sign(&self, leaf: &Leaf) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let (certificate, key) = self.leaf(leaf);
        (certificate.into(), PrivateKeyDer::try_from(key).unwrap())
    }

    /// What a terminal gets from its operator.
    pub fn credential(&self, label: &str, leaf: &Leaf) -> (Arc<Credential>, Secret) {
        let (certificate, key) = self.leaf(leaf);
        (Arc::new(Credential::new(label, vec![certificate]).unwrap()), Secret::from_slice(&key))
    }

    /// A list of certificates that are revoked, in force from 2020 until the end of the year before `until`.
    pub fn revocation_list(&self, revoked: &[u64], until: i32) -> Vec<u8> {
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 2, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.root).unwrap().der().to_vec()
    }

    fn leaf(&self, leaf: &Leaf) -> (Vec<u8>, Vec<u8>) {
        let mut params = CertificateParams::new(leaf.names.clone()).unwrap();
        params.not_before = date_time_ymd(leaf.validity.0, 1, 1);
        params.not_after = date_time_ymd(leaf.validity.1, 1, 1);
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        let key = KeyPair::generate().unwrap();
        let issuer = if leaf.stranger { &self.stranger } else { &self.root };
        (params.signed_by(&key, issuer).unwrap().der().to_vec(), key.serialize_der())
    }
}

fn authority(name: &str) -> (Issuer<'static, KeyPair>, Vec<u8>) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    let key = KeyPair::generate().unwrap();
    let anchor = params.self_signed(&key).unwrap().der().to_vec();
    (Issuer::new(params, key), anchor)
}
