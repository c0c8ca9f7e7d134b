//! The hybrid key exchange X25519MLKEM768 for rustls (draft-ietf-tls-ecdhe-mlkem), over RustCrypto's
//! ML-KEM-768 and the X25519 of ring. The session keys hold while either of the two does.
//!
//! | | ML-KEM-768 (FIPS 203) | X25519 (RFC 7748) |
//! |---|---|---|
//! | client's share | encapsulation key, 1184 bytes | public key, 32 bytes |
//! | server's share | ciphertext, 1088 bytes | public key, 32 bytes |
//! | secret | shared key, 32 bytes | shared secret, 32 bytes |
//!
//! Each row is the concatenation, ML-KEM first.

use std::fmt;

use ml_kem::ml_kem_768::{Ciphertext, DecapsulationKey, EncapsulationKey};
use ml_kem::{B32, Decapsulate, KeyExport, Seed, TryKeyInit};
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SecureRandom, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};
use zeroize::{Zeroize, Zeroizing};

const ENCAPSULATION_KEY_LENGTH: usize = 1184;
const CIPHERTEXT_LENGTH: usize = 1088;
const X25519_LENGTH: usize = 32;
const SECRET_LENGTH: usize = 64;

const INVALID_KEY_SHARE: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

/// The group, with its X25519 half and its source of randomness.
pub struct X25519MlKem768 {
    x25519: &'static dyn SupportedKxGroup,
    random: &'static dyn SecureRandom,
}

impl X25519MlKem768 {
    /// `random` feeds ML-KEM; `x25519` brings its own.
    pub const fn new(x25519: &'static dyn SupportedKxGroup, random: &'static dyn SecureRandom) -> Self {
        Self { x25519, random }
    }
}

impl SupportedKxGroup for X25519MlKem768 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let x25519 = self.x25519.start()?;
        let mut seed = Seed::default();
        self.random.fill(&mut seed)?;
        let decapsulation_key = DecapsulationKey::from_seed(seed);
        seed.zeroize();
        let encapsulation_key = decapsulation_key.encapsulation_key().to_bytes();
        let share = [encapsulation_key.as_slice(), x25519.pub_key()].concat();
        Ok(Box::new(Active { x25519, decapsulation_key, share }))
    }

    /// The server's side. The encapsulation key is checked as FIPS 203 section 7.2 demands.
    fn start_and_complete(&self, peer_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (encapsulation_key, peer_x25519) = split(peer_share, ENCAPSULATION_KEY_LENGTH)?;
        let encapsulation_key = EncapsulationKey::new_from_slice(encapsulation_key).map_err(|_| INVALID_KEY_SHARE)?;
        let x25519 = self.x25519.start_and_complete(peer_x25519)?;

        let mut message = B32::default();
        self.random.fill(&mut message)?;
        let (ciphertext, mut shared_key) = encapsulation_key.encapsulate_deterministic(&message);
        message.zeroize();
        let secret = concatenate(&shared_key, x25519.secret.secret_bytes());
        shared_key.zeroize();
        Ok(CompletedKeyExchange {
            group: self.name(),
            pub_key: [ciphertext.as_slice(), &x25519.pub_key].concat(),
            secret,
        })
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

impl fmt::Debug for X25519MlKem768 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X25519MLKEM768")
    }
}

/// The client's side between its hello and the server's.
struct Active {
    x25519: Box<dyn ActiveKeyExchange>,
    decapsulation_key: DecapsulationKey,
    share: Vec<u8>,
}

impl ActiveKeyExchange for Active {
    fn complete(self: Box<Self>, peer_share: &[u8]) -> Result<SharedSecret, Error> {
        let (ciphertext, peer_x25519) = split(peer_share, CIPHERTEXT_LENGTH)?;
        let ciphertext = Ciphertext::try_from(ciphertext).map_err(|_| INVALID_KEY_SHARE)?;
        // ring refuses an all-zero shared secret, so a public key of small order ends here.
        let x25519 = self.x25519.complete(peer_x25519)?;
        let mut shared_key = self.decapsulation_key.decapsulate(&ciphertext);
        let secret = concatenate(&shared_key, x25519.secret_bytes());
        shared_key.zeroize();
        Ok(secret)
    }

    /// Offers the X25519 share on its own too, so that a peer without ML-KEM costs no round trip.
    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        Some((self.x25519.group(), self.x25519.pub_key()))
    }

    fn complete_hybrid_component(self: Box<Self>, peer_share: &[u8]) -> Result<SharedSecret, Error> {
        self.x25519.complete(peer_share)
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

/// A share of exactly `ml_kem_length` bytes and an X25519 key.
fn split(share: &[u8], ml_kem_length: usize) -> Result<(&[u8], &[u8]), Error> {
    share.split_at_checked(ml_kem_length).filter(|(_, x25519)| x25519.len() == X25519_LENGTH).ok_or(INVALID_KEY_SHARE)
}

fn concatenate(ml_kem: &[u8], x25519: &[u8]) -> SharedSecret {
    // Enough room from the start: a growing vector would leave a copy behind.
    let mut secret = Zeroizing::new(Vec::with_capacity(SECRET_LENGTH));
    secret.extend_from_slice(ml_kem);
    secret.extend_from_slice(x25519);
    SharedSecret::from(std::mem::take(&mut *secret))
}

#[cfg(test)]
mod tests;
