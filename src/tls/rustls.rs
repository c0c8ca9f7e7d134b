//! [`Handshake`] by rustls 0.23: the only file that names its connection types.
//!
//! rustls gives up the record keys of a finished handshake, but a terminal needs the *traffic secrets*
//! they come from, to do KeyUpdate by itself. Those are caught by a key log that belongs to one session
//! and are exported only if key and IV derived from them anew are the very ones that rustls uses.

mod refusal;
mod verifier;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyferry_parsers::messages::{ProofMethod, ProvedPeer};
use keyferry_parsers::tls::{CipherSuite, NamedGroup, RecordHeader};
use rustls::client::{ResolvesClientCert, Resumption, TicketRequest};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ExtractedSecrets, HandshakeKind, SignatureScheme,
};
use subtle::ConstantTimeEq;

use super::profile::{KeyLog, Offer, Pin, Profile, ServerIdentity};
use refusal::{not_tls, oversized, refusal};
use verifier::Verifier;

use super::{Established, Handshake, Progress};
use crate::crypto::{self, Secret};
use crate::error::{Error, Reason};

/// The prepared side of a [`Profile`]: anchors parsed, algorithms chosen. Keep one per policy rule and
/// revision; a handshake then costs little more than its arithmetic.
pub struct Client {
    provider: Arc<CryptoProvider>,
    suites: Vec<CipherSuite>,
    verifier: Arc<Verifier>,
    key_log: Option<Arc<dyn KeyLog>>,
}

impl Client {
    /// Prepares a profile.
    ///
    /// # Errors
    /// `INTERNAL` for what the configuration should have refused: an unusable anchor, nothing to
    /// trust, an unknown group or suite.
    pub fn new(profile: &Profile) -> Result<Self, Error> {
        let provider = crypto::provider(&profile.groups, &profile.suites)?;
        let verifier = Arc::new(Verifier::new(&profile.trust, &provider)?);
        Ok(Self { provider, suites: profile.suites.clone(), verifier, key_log: profile.key_log.clone() })
    }

    /// Starts a handshake. Its first [`drain`](Handshake::drain) gives the ClientHello.
    ///
    /// # Errors
    /// `MALFORMED_REQUEST` if the server's name is not a DNS name or an ALPN name is not of 1 to 255 bytes,
    /// `UNSUPPORTED` if terminal and policy share no suite, `INTERNAL` without randomness.
    pub fn start(&self, offer: &Offer) -> Result<Box<dyn Handshake>, Error> {
        let capture = Arc::new(Capture { key_log: self.key_log.clone(), ..Capture::default() });
        let config = self.config(offer, &capture)?;
        let connection = ClientConnection::new(Arc::new(config), server_name(&offer.server)?)
            .map_err(|error| refusal(&error, &offer.server, false))?;
        let mut session = Session {
            state: State::Running(Box::new(connection)),
            capture,
            verifier: self.verifier.clone(),
            server: offer.server.clone(),
            outgoing: Vec::new(),
        };
        session.collect();
        Ok(Box::new(session))
    }

    fn config(&self, offer: &Offer, capture: &Arc<Capture>) -> Result<ClientConfig, Error> {
        check_alpn(&offer.alpn)?;
        let provider = self.provider_for(&offer.suites)?;
        let mut config = ClientConfig::builder_with_details(provider, capture.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| Error::new(Reason::INTERNAL, format!("TLS algorithms do not fit together: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier.clone())
            .with_client_cert_resolver(capture.clone());
        config.alpn_protocols = offer.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.key_log = capture.clone();
        config.enable_secret_extraction = true;
        // Tickets would reach the terminal, which cannot use them, at the cost of its link.
        config.resumption = Resumption::disabled();
        config.send_ticket_request = Some(TicketRequest { new_session_count: 0, resumption_count: 0 });
        Ok(config)
    }

    /// The profile's algorithms, with the suites that the terminal can use in the terminal's order.
    fn provider_for(&self, wanted: &[CipherSuite]) -> Result<Arc<CryptoProvider>, Error> {
        if wanted == self.suites {
            return Ok(self.provider.clone());
        }
        let mut provider = CryptoProvider::clone(&self.provider);
        let mut allowed = std::mem::take(&mut provider.cipher_suites);
        for want in wanted {
            // Taken out, so that none is offered twice.
            let position = allowed.iter().position(|suite| u16::from(suite.suite()) == want.0);
            provider.cipher_suites.extend(position.map(|position| allowed.remove(position)));
        }
        if provider.cipher_suites.is_empty() {
            return Err(Error::new(
                Reason::UNSUPPORTED,
                "the terminal can use no cipher suite that policy allows: allow one more, or update the terminal",
            ));
        }
        Ok(Arc::new(provider))
    }
}

fn check_alpn(names: &[String]) -> Result<(), Error> {
    if names.iter().all(|name| (1..=255).contains(&name.len())) {
        return Ok(());
    }
    Err(Error::new(Reason::MALFORMED_REQUEST, "an application protocol (ALPN) has 1 to 255 bytes"))
}

fn server_name(server: &ServerIdentity) -> Result<ServerName<'static>, Error> {
    match server {
        ServerIdentity::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        // Not `ServerName::try_from`, which takes an address in dotted form for an address: what is
        // verified is what policy said it is.
        ServerIdentity::Name(name) => rustls::pki_types::DnsName::try_from(name.clone())
            .map(ServerName::DnsName)
            .map_err(|_| Error::new(Reason::MALFORMED_REQUEST, "the name of the peer is not a DNS name")),
    }
}

/// One handshake.
struct Session {
    state: State,
    capture: Arc<Capture>,
    verifier: Arc<Verifier>,
    server: ServerIdentity,
    outgoing: Vec<u8>,
}

enum State {
    Running(Box<ClientConnection>),
    Over(Error),
}

impl Handshake for Session {
    fn feed(&mut self, unix_now: Duration, record: &[u8]) -> Result<Progress, Error> {
        if let State::Over(error) = &self.state {
            return Err(error.clone());
        }
        self.capture.unix_now.store(unix_now.as_secs(), Ordering::Relaxed);
        if let Err(error) = self.take(record) {
            return Err(self.fail(error));
        }
        self.collect();
        match &self.state {
            State::Running(connection) if !connection.is_handshaking() => {
                self.establish().map(|established| Progress::Established(Box::new(established)))
            }
            _ => Ok(Progress::Handshaking),
        }
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.outgoing);
    }

    fn peer_closed(&mut self) -> Error {
        let (server, answered) = match &self.state {
            State::Over(error) => return error.clone(),
            State::Running(connection) => (&self.server, answered(connection)),
        };
        let detail = if answered {
            format!("{server} closed the connection in the middle of the handshake: its log says why")
        } else {
            format!("{server} closed the connection without an answer: is it a TLS server that listens on this port?")
        };
        self.fail(Error::new(Reason::PEER_CLOSED, detail))
    }
}

impl Session {
    fn take(&mut self, record: &[u8]) -> Result<(), Error> {
        let parsed = record.first_chunk().map(RecordHeader::parse);
        match parsed {
            Some(Ok(header)) if header.record_length() == record.len() => self.process(record),
            // rustls has the alert for what cannot be a record; where it would wait for more, this ends it.
            Some(Err(_)) => {
                self.process(record)?;
                if let State::Running(connection) = &mut self.state {
                    connection.send_close_notify();
                }
                let length =
                    record.get(3..5).map_or(0, |bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)));
                Err(if length > RecordHeader::MAX_CIPHERTEXT { oversized(&self.server) } else { not_tls(&self.server) })
            }
            _ => Err(Error::new(Reason::INTERNAL, "the TLS engine was fed something else than one record")),
        }
    }

    fn process(&mut self, mut record: &[u8]) -> Result<(), Error> {
        let State::Running(connection) = &mut self.state else {
            return Ok(());
        };
        // rustls takes a few kilobytes at a time and must look at them before it has room for more.
        while !record.is_empty() {
            if !connection.read_tls(&mut record).is_ok_and(|taken| taken > 0) {
                connection.send_close_notify();
                return Err(oversized(&self.server));
            }
            if let Err(error) = connection.process_new_packets() {
                // A few of its errors bring no alert; where there is one, this adds nothing.
                if !matches!(error, rustls::Error::AlertReceived(_)) {
                    connection.send_close_notify();
                }
                return Err(refusal(&error, &self.server, answered(connection)));
            }
        }
        Ok(())
    }

    /// Ends the handshake; the alert, if rustls has one, goes to the peer.
    fn fail(&mut self, error: Error) -> Error {
        self.collect();
        self.state = State::Over(error.clone());
        error
    }

    /// Moves what rustls wants to send to `outgoing`.
    fn collect(&mut self) {
        if let State::Running(connection) = &mut self.state {
            // A vector takes everything, so an error is not possible and zero is the end.
            while connection.wants_write() && connection.write_tls(&mut self.outgoing).is_ok_and(|written| written > 0)
            {
            }
        }
    }

    fn establish(&mut self) -> Result<Established, Error> {
        let over = Error::new(Reason::INTERNAL, "the TLS engine was fed past the end of the handshake");
        let State::Running(connection) = std::mem::replace(&mut self.state, State::Over(over)) else {
            return Err(ambiguous());
        };
        export(*connection, &self.capture, &self.verifier, &self.server).inspect_err(|error| {
            // Our Finished: without it the peer has no session either.
            self.outgoing.clear();
            self.state = State::Over(error.clone());
        })
    }
}

/// A record header (RFC 8446 section 5.1) and as many bytes as it says.
fn answered(connection: &ClientConnection) -> bool {
    connection.negotiated_cipher_suite().is_some()
}

/// Takes the session apart, or refuses where anything about its keys is unclear.
fn export(
    connection: ClientConnection,
    capture: &Capture,
    verifier: &Verifier,
    server: &ServerIdentity,
) -> Result<Established, Error> {
    let suite =
        connection.negotiated_cipher_suite().map(|suite| CipherSuite(suite.suite().into())).ok_or_else(ambiguous)?;
    let group = connection.negotiated_key_exchange_group().ok_or_else(ambiguous)?;
    let group = NamedGroup(group.name().into());
    let certificates: Vec<Vec<u8>> =
        connection.peer_certificates().ok_or_else(ambiguous)?.iter().map(|certificate| certificate.to_vec()).collect();
    let alpn =
        connection.alpn_protocol().map(|name| String::from_utf8(name.to_vec())).transpose().map_err(|_| ambiguous())?;
    let hello_retried = connection.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest);

    let extracted = connection.dangerous_extract_secrets().map_err(|_| ambiguous())?;
    let (tx_secret, rx_secret) =
        capture.traffic_secrets().filter(|secrets| agree(suite, secrets, &extracted)).ok_or_else(ambiguous)?;
    Ok(Established {
        suite,
        tx_secret: tx_secret.duplicate(),
        rx_secret: rx_secret.duplicate(),
        tx_sequence: extracted.tx.0,
        rx_sequence: extracted.rx.0,
        alpn,
        group,
        peer: proved_peer(verifier, certificates.first(), server),
        hello_retried,
        client_certificate_requested: capture.certificate_requested.load(Ordering::Relaxed),
        certificates,
    })
}

fn ambiguous() -> Error {
    Error::new(Reason::INTERNAL, "the keys of a finished handshake are not the ones expected; none was handed over")
}

/// By what the verifier, which has said yes, was convinced.
fn proved_peer(verifier: &Verifier, leaf: Option<&Vec<u8>>, server: &ServerIdentity) -> ProvedPeer {
    match leaf.and_then(|leaf| Pin::of_certificate(leaf)) {
        Some(pin) if !verifier.proves_name() => {
            ProvedPeer { method: ProofMethod::PINNED_KEY, identity: pin.to_string() }
        }
        _ => ProvedPeer { method: ProofMethod::CA_VERIFIED_NAME, identity: server.to_string() },
    }
}

/// Whether these secrets are behind the keys that rustls would use next, from record 0 on.
fn agree(suite: CipherSuite, (tx_secret, rx_secret): &(&Secret, &Secret), extracted: &ExtractedSecrets) -> bool {
    let one = |secret: &Secret, (sequence, keys): &(u64, ConnectionTrafficSecrets)| {
        let (key, iv) = match (suite, keys) {
            (CipherSuite::TLS_AES_128_GCM_SHA256, ConnectionTrafficSecrets::Aes128Gcm { key, iv })
            | (CipherSuite::TLS_AES_256_GCM_SHA384, ConnectionTrafficSecrets::Aes256Gcm { key, iv })
            | (CipherSuite::TLS_CHACHA20_POLY1305_SHA256, ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) => {
                (key.as_ref(), iv.as_ref())
            }
            _ => return false,
        };
        crypto::record_key(suite, secret).is_some_and(|derived| {
            let same = derived.key.as_bytes().ct_eq(key) & derived.iv.as_bytes().ct_eq(iv);
            *sequence == 0 && bool::from(same)
        })
    };
    one(tx_secret, &extracted.tx) && one(rx_secret, &extracted.rx)
}

/// What one session learns from rustls' call-backs, and the clock it is given.
#[derive(Default)]
struct Capture {
    unix_now: AtomicU64,
    // Set once: were a secret ever logged twice, the comparison with the extracted keys would decide.
    tx_secret: OnceLock<Secret>,
    rx_secret: OnceLock<Secret>,
    certificate_requested: AtomicBool,
    key_log: Option<Arc<dyn KeyLog>>,
}

impl Capture {
    fn traffic_secrets(&self) -> Option<(&Secret, &Secret)> {
        self.tx_secret.get().zip(self.rx_secret.get())
    }

    fn slot(&self, label: &str) -> Option<&OnceLock<Secret>> {
        match label {
            "CLIENT_TRAFFIC_SECRET_0" => Some(&self.tx_secret),
            "SERVER_TRAFFIC_SECRET_0" => Some(&self.rx_secret),
            _ => None,
        }
    }
}

impl rustls::KeyLog for Capture {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        if let Some(slot) = self.slot(label) {
            slot.get_or_init(|| Secret::from_slice(secret));
        }
        if let Some(key_log) = &self.key_log {
            key_log.log(label, client_random, secret);
        }
    }

    fn will_log(&self, label: &str) -> bool {
        self.slot(label).is_some() || self.key_log.is_some()
    }
}

impl TimeProvider for Capture {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.unix_now.load(Ordering::Relaxed))))
    }
}

impl ResolvesClientCert for Capture {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certificate_requested.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Capture")
    }
}

#[cfg(test)]
mod tests;
