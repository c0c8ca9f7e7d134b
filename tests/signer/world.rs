//! A signer with the certificates of two terminals, under a clock that stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyferry::crypto::Secret;
use keyferry::signer::{Credential, LocalSigner};
use keyferry_channel::Instant;
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    SignatureAlgorithm,
};
use ring::rand::{SecureRandom, SystemRandom};

const RSA_KEY: &str = include_str!("../tls_engine/data/rsa-2048.pem");

pub const OWNER: &str = "meter-1";
pub const OTHER: &str = "meter-2";

pub struct World {
    pub signer: LocalSigner,
    /// Seconds since the start.
    pub clock: Arc<AtomicU64>,
    /// Of OWNER.
    pub p256: Arc<Credential>,
    pub p384: Arc<Credential>,
    pub ed25519: Arc<Credential>,
    pub rsa: Arc<Credential>,
    /// Of OTHER.
    pub others: Arc<Credential>,
}

impl World {
    pub fn new() -> Self {
        let (signer, clock) = empty();
        let [p256, p384, ed25519, others] = [
            (OWNER, "p256", &PKCS_ECDSA_P256_SHA256),
            (OWNER, "p384", &PKCS_ECDSA_P384_SHA384),
            (OWNER, "ed25519", &PKCS_ED25519),
            (OTHER, "p256", &PKCS_ECDSA_P256_SHA256),
        ]
        .map(|(owner, name, algorithm)| insert(&signer, owner, name, &key(algorithm)));
        let rsa = KeyPair::from_pem_and_sign_algo(RSA_KEY, &PKCS_RSA_SHA256).unwrap();
        let rsa = insert(&signer, OWNER, "rsa", &rsa);
        Self { signer, clock, p256, p384, ed25519, rsa, others }
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }
}

pub fn empty() -> (LocalSigner, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&clock);
    let signer = LocalSigner::new(
        move || Instant::from_micros(now.load(Ordering::Relaxed) * 1_000_000),
        |bytes| {
            SystemRandom::new().fill(bytes).unwrap();
            Ok(())
        },
    );
    (signer, clock)
}

pub fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

pub fn credential(owner: &str, name: &str, key: &KeyPair) -> Arc<Credential> {
    let certificate = CertificateParams::new([format!("{owner}.example")]).unwrap().self_signed(key).unwrap();
    Arc::new(Credential::new(name, vec![certificate.der().to_vec()]).unwrap())
}

pub fn insert(signer: &LocalSigner, owner: &str, name: &str, key: &KeyPair) -> Arc<Credential> {
    let credential = credential(owner, name, key);
    signer.insert(owner, Arc::clone(&credential), &Secret::from_slice(key.serialized_der())).unwrap();
    credential
}
