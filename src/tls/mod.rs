//! The TLS engine: one handshake of TLS 1.3 or 1.2, as the client or as the server, in the terminal's place,
//! as a sans-IO machine that eats the peer's records and ends with the keys for the terminal.
//!
//! It stands between `gateway`, which carries records from and to sockets, and `signer` and `crypto`. The
//! words here are keyferry's own: `rustls` is the only module that names rustls' types.
//!
//! ```text
//! Profile        -- Client::new  --> Client  -- start(Offer) --> Handshake -- feed, drain --> Established
//! ServiceProfile -- Service::new --> Service -- start(Serve) -->
//! (policy)                           (kept)                      (one per session)
//! ```

mod certificate;
pub mod keymat;
mod profile;
pub mod protect;
mod rustls;

use std::time::Duration;

use keyferry_parsers::messages::{ProvedPeer, Role};
use keyferry_parsers::tls::{CipherSuite, NamedGroup, ProtocolVersion};

use crate::crypto::Secret;
use crate::error::Error;

pub use self::rustls::{Client, Service, Tickets};
pub use certificate::{Leaf, next_update};
pub use profile::{Identity, KeyLog, Offer, Pin, Profile, Revocation, Serve, ServerIdentity, ServiceProfile, Trust};

/// A handshake in progress.
///
/// Feed it each record of the peer; after each call, error or not, [`drain`](Handshake::drain) what
/// goes to the peer. It is over with [`Progress::Established`] or the first error.
pub trait Handshake: Send {
    /// Takes exactly one TLS record, header included, and the wall time since 1970 that certificates
    /// are judged by.
    ///
    /// Records that the peer sends after its Finished belong to the terminal and must not come here.
    ///
    /// # Errors
    /// Whose fault it was that there will be no session. The alert that tells the peer is in `drain`;
    /// a further call repeats the error. `INTERNAL` when called after [`Progress::Established`], or
    /// with anything but one record.
    fn feed(&mut self, unix_now: Duration, record: &[u8]) -> Result<Progress, Error>;

    /// Appends what waits to be sent to the peer: a client's hello at first (a server waits for one), our
    /// Finished at the end, the alert after an error.
    fn drain(&mut self, out: &mut Vec<u8>);

    /// Whether the peer has proved who it is, or need not: from then on only Finished is missing.
    fn peer_proved(&self) -> bool;

    /// The peer closed its side before the handshake was over. Returns the error that this means.
    fn peer_closed(&mut self) -> Error;
}

/// What came of a record.
pub enum Progress {
    /// The peer has more to say.
    Handshaking,
    /// The peer proved who it is, both Finished are verified or drained: the session is the terminal's.
    Established(Box<Established>),
}

/// A session to hand over. `tx` and `rx` are seen from the terminal.
pub struct Established {
    /// Which end the terminal is.
    pub role: Role,
    /// TLS 1.3 or TLS 1.2.
    pub version: ProtocolVersion,
    /// The suite that was agreed on; with the version it tells what the secrets are.
    pub suite: CipherSuite,
    /// TLS 1.3: the terminal's `application_traffic_secret_0` (RFC 8446 section 7.1), as long as the
    /// suite's hash. TLS 1.2: `write_key || write_iv` of 16 + 12 or 32 + 12 bytes; of an AES-GCM suite the
    /// IV is four bytes of salt and eight at which the explicit nonces start.
    pub tx_secret: Secret,
    /// The same for what the peer sends.
    pub rx_secret: Secret,
    /// Sequence number of the first record that the terminal sends: 0, or 1 in TLS 1.2, where Finished
    /// was protected by the same keys.
    pub tx_sequence: u64,
    /// Sequence number of the first record that the terminal receives.
    pub rx_sequence: u64,
    /// The application protocol that was chosen; `None` if none was, which RFC 7301 allows a server.
    pub alpn: Option<String>,
    /// The name that the peer asked for (SNI), where the terminal is the server.
    pub server_name: Option<String>,
    /// The group that the key exchange used.
    pub group: NamedGroup,
    /// Who the peer proved to be, and how.
    pub peer: ProvedPeer,
    /// A HelloRetryRequest for another key share cost a round trip.
    pub hello_retried: bool,
    /// A ticket of an earlier session took the place of the certificates, which are those of that session.
    pub resumed: bool,
    /// The peer asked for a client certificate and got none. If it insists, it will say so to the
    /// terminal, with the alert `certificate_required` after the hand-over.
    pub client_certificate_requested: bool,
    /// The certificates that the peer sent, DER, its own first; none from an anonymous client.
    pub certificates: Vec<Vec<u8>>,
    /// Takes the tickets that come after the hand-over, where [`Offer::tickets`] asked for them.
    pub ticket_taker: Option<Box<dyn TicketTaker>>,
}

/// What is left of a resumable session after its hand-over: enough to read a NewSessionTicket that the
/// terminal sends back, not enough to open or forge a record of the first 32 generations of its keys.
pub trait TicketTaker: Send {
    /// Takes the body of a NewSessionTicket (RFC 8446 section 4.6.1), without the handshake header, at a wall
    /// time since 1970.
    ///
    /// # Errors
    /// `MALFORMED_REQUEST` if it is not one.
    fn take(&mut self, unix_now: Duration, body: &[u8]) -> Result<(), Error>;
}

impl Established {
    /// The facts of the peer's certificate that a log wants. Parsed on demand, since not every
    /// session is logged in full; `None` if x509-parser is stricter than the verifier was.
    pub fn leaf(&self) -> Option<Leaf> {
        Leaf::parse(self.certificates.first()?)
    }
}

/// What one traffic key may protect before a KeyUpdate is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimits {
    /// Records.
    pub records: u64,
    /// Bytes: that many records of full size, 2^14 bytes.
    pub bytes: u64,
}

/// The limits of a suite; `None` for one that this engine does not negotiate. In TLS 1.2, which has no
/// KeyUpdate, the session ends there.
///
/// AES-GCM: 2^24 records, below the 2^24.5 of RFC 8446 section 5.5. ChaCha20-Poly1305 has no limit
/// that matters there; 2^36, the bound that RFC 9147 section 4.5.3 puts on forgeries, keeps it finite.
pub fn limits(suite: CipherSuite) -> Option<KeyLimits> {
    let records: u64 = match suite.tls13_equivalent()? {
        CipherSuite::TLS_AES_128_GCM_SHA256 | CipherSuite::TLS_AES_256_GCM_SHA384 => 1 << 24,
        CipherSuite::TLS_CHACHA20_POLY1305_SHA256 => 1 << 36,
        _ => return None,
    };
    Some(KeyLimits { records, bytes: records << 14 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SUITES;

    #[test]
    fn clients_are_shared_between_workers_and_sessions_travel() {
        fn shared<T: Send + Sync>() {}
        fn travels<T: Send + ?Sized>() {}
        shared::<Client>();
        shared::<Service>();
        shared::<Tickets>();
        travels::<dyn Handshake>();
        travels::<Progress>();
    }

    #[test]
    fn every_suite_that_is_offered_has_limits() {
        for suite in SUITES {
            let limits = limits(suite).unwrap();
            let chacha20 = suite.tls13_equivalent() == Some(CipherSuite::TLS_CHACHA20_POLY1305_SHA256);
            assert!((limits.records as f64) < 2f64.powf(24.5) || chacha20);
            assert_eq!(limits.bytes / limits.records, 16384);
        }
        assert!(limits(CipherSuite::TLS_AES_128_CCM_SHA256).is_none());
    }
}
