//! The key schedule of TLS 1.3 (RFC 8446 section 7), from PSK and (EC)DHE to every secret, key and Finished.
//!
//! ```text
//!              0                        (EC)DHE                         0
//!              v                           v                            v
//! PSK -> early_secret -- derived -> handshake_secret -- derived -> master_secret
//!              |                           |                            |
//!        derive_secret               derive_secret                derive_secret
//! ```

use crate::crypto::{Hash, Prf, Secret, expand_label, hkdf_extract};

/// The hash of a suite, and with it its HKDF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuiteHash {
    /// Of the suites ending in SHA256.
    Sha256,
    /// Of the suites ending in SHA384.
    Sha384,
}

/// What [`SuiteHash::derive_secret`] can be asked for, each with the messages that the transcript hash is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Label(&'static [u8]);

impl Label {
    /// binder_key of an external PSK, of the early secret; nothing.
    pub const EXT_BINDER: Self = Self(b"ext binder");
    /// binder_key of a resumption PSK, of the early secret; nothing.
    pub const RES_BINDER: Self = Self(b"res binder");
    /// client_early_traffic_secret, of the early secret; ClientHello.
    pub const CLIENT_EARLY_TRAFFIC: Self = Self(b"c e traffic");
    /// early_exporter_master_secret, of the early secret; ClientHello.
    pub const EARLY_EXPORTER_MASTER: Self = Self(b"e exp master");
    /// client_handshake_traffic_secret, of the handshake secret; ClientHello to ServerHello.
    pub const CLIENT_HANDSHAKE_TRAFFIC: Self = Self(b"c hs traffic");
    /// server_handshake_traffic_secret, of the handshake secret; ClientHello to ServerHello.
    pub const SERVER_HANDSHAKE_TRAFFIC: Self = Self(b"s hs traffic");
    /// client_application_traffic_secret_0, of the master secret; ClientHello to server Finished.
    pub const CLIENT_APPLICATION_TRAFFIC: Self = Self(b"c ap traffic");
    /// server_application_traffic_secret_0, of the master secret; ClientHello to server Finished.
    pub const SERVER_APPLICATION_TRAFFIC: Self = Self(b"s ap traffic");
    /// exporter_master_secret, of the master secret; ClientHello to server Finished.
    pub const EXPORTER_MASTER: Self = Self(b"exp master");
    /// resumption_master_secret, of the master secret; ClientHello to client Finished.
    pub const RESUMPTION_MASTER: Self = Self(b"res master");
}

/// The keys that protect records (section 7.3).
pub struct TrafficKeys {
    /// As long as the AEAD's key.
    pub write_key: Secret,
    /// 12 bytes.
    pub write_iv: Secret,
}

/// Every secret here is as long as the hash; `None` stands for one of another length.
impl SuiteHash {
    /// The hash itself.
    pub const fn hash(self) -> Hash {
        match self {
            Self::Sha256 => Hash::Sha256,
            Self::Sha384 => Hash::Sha384,
        }
    }

    /// Early Secret (section 7.1) of a PSK, or of none.
    pub fn early_secret(self, psk: Option<&Secret>) -> Secret {
        let zeros = self.zeros();
        self.extract(&zeros, psk.unwrap_or(&zeros))
    }

    /// Handshake Secret (section 7.1) of the (EC)DHE shared secret; of none in psk_ke, which has no key exchange.
    pub fn handshake_secret(self, early_secret: &Secret, dhe: Option<&Secret>) -> Option<Secret> {
        Some(self.extract(&self.derived(early_secret)?, dhe.unwrap_or(&self.zeros())))
    }

    /// Master Secret (section 7.1).
    pub fn master_secret(self, handshake_secret: &Secret) -> Option<Secret> {
        Some(self.extract(&self.derived(handshake_secret)?, &self.zeros()))
    }

    /// Derive-Secret(secret, label, messages) (section 7.1), with the hash of the messages.
    pub fn derive_secret(self, secret: &Secret, label: Label, transcript_hash: &[u8]) -> Option<Secret> {
        self.expand_label(secret, label.0, transcript_hash, self.hash().output_length())
    }

    /// The PSK of a ticket (section 4.6.1).
    pub fn resumption_psk(self, resumption_master_secret: &Secret, ticket_nonce: &[u8]) -> Option<Secret> {
        self.expand_label(resumption_master_secret, b"resumption", ticket_nonce, self.hash().output_length())
    }

    /// finished_key (section 4.4.4) of a handshake traffic secret or binder_key.
    pub fn finished_key(self, base_key: &Secret) -> Option<Secret> {
        self.expand_label(base_key, b"finished", &[], self.hash().output_length())
    }

    /// verify_data of a Finished (section 4.4.4), whose base key is its sender's handshake traffic secret and whose
    /// messages are all before it; or a PSK binder (section 4.2.11.2), with binder_key and the truncated ClientHello.
    pub fn verify_data(self, base_key: &Secret, transcript_hash: &[u8]) -> Option<Secret> {
        Some(Prf::hmac(self.hash()).compute(self.finished_key(base_key)?.as_bytes(), &[transcript_hash]))
    }

    /// The application traffic secret after a KeyUpdate (section 7.2).
    pub fn next_traffic_secret(self, secret: &Secret) -> Option<Secret> {
        self.expand_label(secret, b"traffic upd", &[], self.hash().output_length())
    }

    /// Write key and IV of a traffic secret (section 7.3), the key `key_length` bytes long.
    /// [`record_key`](crate::crypto::record_key) does the same for the suites that the engine knows.
    pub fn traffic_keys(self, secret: &Secret, key_length: usize) -> Option<TrafficKeys> {
        Some(TrafficKeys {
            write_key: self.expand_label(secret, b"key", &[], key_length)?,
            write_iv: self.expand_label(secret, b"iv", &[], 12)?,
        })
    }

    /// What stands in the transcript for the first ClientHello after a HelloRetryRequest (section 4.4.1): a
    /// message_hash message with its hash.
    pub fn message_hash(self, client_hello: &[u8]) -> Vec<u8> {
        let hash = self.hash().digest(&[client_hello]);
        let length = match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        };
        [&[254, 0, 0, length], hash.as_slice()].concat()
    }

    fn derived(self, secret: &Secret) -> Option<Secret> {
        self.derive_secret(secret, Label(b"derived"), &self.hash().digest(&[]))
    }

    fn extract(self, salt: &Secret, ikm: &Secret) -> Secret {
        hkdf_extract(self.hash(), salt, ikm)
    }

    fn expand_label(self, secret: &Secret, label: &[u8], context: &[u8], length: usize) -> Option<Secret> {
        expand_label(self.hash(), secret, label, context, length)
    }

    fn zeros(self) -> Secret {
        Secret::zeroed(self.hash().output_length())
    }
}

#[cfg(test)]
mod tests;
