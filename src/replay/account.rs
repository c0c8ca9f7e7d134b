//! The account of one handshake, or of one IKE SA with all that followed: what trackers fill in, what is printed.
//!
//! The names of its JSON are a promise to scripts; names of payloads and algorithms are IANA's.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// One TLS connection, or one IKE SA with its rekeys.
#[derive(Clone, Debug, Serialize)]
pub struct Account {
    /// Version of these names.
    pub schema: u32,
    /// What was spoken.
    pub protocol: Protocol,
    /// As agreed on, else as offered: `1.3`, `1.0`, `SSL 2.0`.
    pub version: String,
    /// Who spoke first; of a connection found in its middle, who seems to be the client.
    pub initiator: SocketAddr,
    /// Whom to.
    pub responder: SocketAddr,
    /// `main`, `aggressive`, `ike_sa_init`, `client_hello`; else the exchange that was seen first.
    pub exchange: &'static str,
    /// Of IKE.
    #[serde(serialize_with = "hex")]
    pub spi_i: Option<[u8; 8]>,
    /// Of IKE; `None` while the responder has chosen none.
    #[serde(serialize_with = "hex")]
    pub spi_r: Option<[u8; 8]>,
    /// Of TLS: the hello that counted.
    #[serde(serialize_with = "hex")]
    pub client_random: Option<[u8; 32]>,
    /// Of TLS: not that of a HelloRetryRequest.
    #[serde(serialize_with = "hex")]
    pub server_random: Option<[u8; 32]>,
    /// The server name that the client asked for.
    pub sni: Option<String>,
    /// The application protocol: agreed on where that was seen, else offered.
    pub alpn: Vec<String>,
    /// The initiator's wishes, in its order: cipher suites of TLS, one text per proposal or transform of IKE.
    pub offered: Vec<String>,
    /// What the responder chose.
    pub chosen: Chosen,
    /// In the order they came.
    pub messages: Vec<MessageEntry>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it failed, in plain words.
    pub cause: Option<String>,
    /// Who has to change something.
    pub fault: Option<Fault>,
    /// Whether what was computed was right, where secrets were given.
    pub verification: Verification,
    /// What should not be used any more, in plain words.
    pub weaknesses: Vec<String>,
    /// Who the two claimed to be.
    pub identities: Vec<IdentityEntry>,
    /// What they showed to prove it, leaf first.
    pub certificates: Vec<CertificateEntry>,
    /// With `--show-keys`: name and hexadecimal value of each secret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<(String, String)>,
}

impl Account {
    /// Version of the JSON's names.
    pub const SCHEMA: u32 = 1;

    /// One of which nothing is known but who speaks.
    pub fn new(protocol: Protocol, initiator: SocketAddr, responder: SocketAddr, exchange: &'static str) -> Self {
        Self {
            schema: Self::SCHEMA,
            protocol,
            version: String::new(),
            initiator,
            responder,
            exchange,
            spi_i: None,
            spi_r: None,
            client_random: None,
            server_random: None,
            sni: None,
            alpn: Vec::new(),
            offered: Vec::new(),
            chosen: Chosen::default(),
            messages: Vec::new(),
            outcome: Outcome::Incomplete,
            cause: None,
            fault: None,
            verification: Verification::None,
            weaknesses: Vec::new(),
            identities: Vec::new(),
            certificates: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// It failed, for this cause. The first cause stays: others follow from it.
    pub fn fail(&mut self, fault: Fault, cause: impl Into<String>) {
        if self.outcome != Outcome::Failed {
            self.outcome = Outcome::Failed;
            self.fault = Some(fault);
            self.cause = Some(cause.into());
        }
    }

    /// Takes note of something that should not be used any more, once.
    pub fn weakness(&mut self, weakness: impl Into<String>) {
        let weakness = weakness.into();
        if !self.weaknesses.contains(&weakness) {
            self.weaknesses.push(weakness);
        }
    }
}

/// What was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// IKEv1 and other ISAKMP.
    Ikev1,
    /// IKEv2.
    Ikev2,
    /// TLS and SSL.
    Tls,
    /// DTLS.
    Dtls,
}

/// The algorithms that the responder chose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Chosen {
    /// The cipher suite of TLS; the encryption algorithm of IKE with its key length.
    pub cipher: Option<String>,
    /// IKEv2's pseudorandom function.
    pub prf: Option<String>,
    /// IKEv1's hash; IKEv2's integrity algorithm.
    pub hash: Option<String>,
    /// The group of the key exchange.
    pub group: Option<String>,
    /// How the peers prove who they are: IKE's authentication method, TLS' signature scheme.
    pub auth: Option<String>,
}

/// One message.
#[derive(Clone, Debug, Serialize)]
pub struct MessageEntry {
    /// Seconds since 1970.
    #[serde(serialize_with = "seconds")]
    pub t: Duration,
    /// Who sent it.
    pub from: Side,
    /// TLS: the handshake message, alert or `change_cipher_spec`; IKE: the exchange.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of IKE.
    pub message_id: Option<u32>,
    /// Of IKE, in their order; those inside an encrypted one follow it where it could be opened.
    pub payloads: Vec<String>,
    /// Its length: of TLS with its header, of IKE the header's length field.
    pub bytes: u32,
    /// It had been sent before.
    pub retransmission: bool,
    /// In how many pieces it came: TLS records, IKE fragments, IP fragments.
    pub fragments: u32,
    /// What of it could not be read, in plain words.
    pub malformed: Option<String>,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The client of TLS.
    Initiator,
    /// The server of TLS.
    Responder,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Both sides have keys, by all that can be seen.
    Established,
    /// Somebody said no, or was wrong.
    Failed,
    /// The capture ends, or silence fell, before that could be seen.
    Incomplete,
}

/// Who has to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// Who began.
    Initiator,
    /// Who answered.
    Responder,
    /// They do not fit together: either of them.
    Both,
    /// Neither: messages were lost.
    Network,
}

/// Whether what was computed was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verification {
    /// All that the secrets reach was decrypted and found right, up to the proof of the keys.
    Verified,
    /// Something was not right: a MAC, HASH, AUTH or Finished, or a secret that does not belong here.
    Wrong,
    /// There are secrets for it, but they do not reach far enough.
    Unverifiable,
    /// No secrets.
    None,
}

/// Who somebody claimed to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdentityEntry {
    /// Who claimed.
    pub from: Side,
    /// IANA's name of its kind: `ID_FQDN`.
    #[serde(rename = "type")]
    pub kind: String,
    /// As text.
    pub value: String,
}

/// A certificate that was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateEntry {
    /// Who showed it.
    pub from: Side,
    /// Its subject.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Seconds since 1970 from which it is valid.
    pub not_before: i64,
    /// Seconds since 1970 until which it is valid.
    pub not_after: i64,
    /// The names that it is for.
    pub names: Vec<String>,
    /// Kind and size of its key: `RSA 2048`, `ECDSA P-256`.
    pub key: String,
    /// SHA-256 of its DER, in hexadecimal.
    pub sha256: String,
}

fn hex<const N: usize, S: Serializer>(bytes: &Option<[u8; N]>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.map(|bytes| crate::hex::encode(&bytes)).serialize(serializer)
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // A capture's microseconds survive in an f64 for the next centuries.
    serializer.serialize_f64((time.as_secs_f64() * 1e6).round() / 1e6)
}
