//! One handshake: records of the peer go into rustls, what it has to say comes out, and its errors become
//! ours.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use keyferry_parsers::tls::{Alert, AlertDescription, AlertLevel, RecordHeader};
use rustls::{HandshakeKind, ProtocolVersion};

use super::algorithms::Versions;
use super::capture::Capture;
use super::client_verifier::ClientVerifier;
use super::current;
use super::export::{ambiguous, export};
use super::refusal::{Scene, Who, alert_for, closed, not_tls, oversized, refusal};
use super::tickets::Purse;
use super::verifier::Verifier;
use super::wire::{Refused, Wire};
use crate::error::{Error, Reason};
use crate::tls::profile::ServerIdentity;
use crate::tls::{Established, Handshake, Progress};

/// One handshake.
pub(super) struct Session {
    state: State,
    capture: Arc<Capture>,
    peer: Peer,
    who: Who,
    versions: Versions,
    outgoing: Vec<u8>,
    /// Our ChangeCipherSpec is among what was sent: from then on a TLS 1.2 client encrypts.
    changed_cipher: bool,
}

/// The other side, and how it proves who it is.
pub(super) enum Peer {
    Server {
        verifier: Arc<Verifier>,
        name: ServerIdentity,
        purse: Option<Arc<Purse>>,
    },
    /// Without a verifier it stays anonymous.
    Client {
        verifier: Option<Arc<ClientVerifier>>,
        address: IpAddr,
    },
}

enum State {
    Running(Wire),
    Established,
    Over(Error),
}

impl Session {
    pub(super) fn new(wire: Wire, capture: Arc<Capture>, peer: Peer, who: Who, versions: Versions) -> Self {
        let state = State::Running(wire);
        let mut session = Self { state, capture, peer, who, versions, outgoing: Vec::new(), changed_cipher: false };
        session.collect();
        session
    }
}

impl Handshake for Session {
    fn feed(&mut self, unix_now: Duration, record: &[u8]) -> Result<Progress, Error> {
        match &self.state {
            State::Running(_) => {}
            State::Established => return Err(past_the_end()),
            State::Over(error) => return Err(error.clone()),
        }
        self.capture.set_time(unix_now);
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

    fn peer_proved(&self) -> bool {
        match &self.state {
            State::Established => true,
            State::Over(_) => false,
            State::Running(connection) => match &self.peer {
                Peer::Client { verifier: None, .. } => true,
                // The certificates of a resumed session prove nothing before Finished is verified.
                _ => {
                    connection.handshake_kind() != Some(HandshakeKind::Resumed)
                        && connection.peer_certificates().is_some()
                }
            },
        }
    }

    fn peer_closed(&mut self) -> Error {
        let error = match &self.state {
            State::Over(error) => return error.clone(),
            State::Established => return past_the_end(),
            State::Running(connection) => closed(&self.scene(connection)),
        };
        self.fail(error)
    }
}

impl Session {
    fn scene(&self, connection: &Wire) -> Scene<'_> {
        Scene::of(&self.who, self.versions, connection, &self.capture)
    }

    fn take(&mut self, record: &[u8]) -> Result<(), Error> {
        let parsed = record.first_chunk().map(RecordHeader::parse);
        match parsed {
            Some(Ok(header)) if header.record_length() == record.len() => self.process(record),
            Some(Err(_)) => self.no_record(record),
            _ => Err(Error::new(Reason::INTERNAL, "the TLS engine was fed something else than one record")),
        }
    }

    /// Bytes whose header says that they are no record, or one that is too long.
    fn no_record(&mut self, record: &[u8]) -> Result<(), Error> {
        let length =
            record.get(3..5).map_or(0, |bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)));
        let too_long = matches!(record, [20..=24, 3, ..]) && length > RecordHeader::MAX_CIPHERTEXT;
        if too_long && matches!(&self.state, State::Running(wire) if self.speaks_plainly(wire)) {
            // rustls would say decode_error (RFC 8446 section 5.1).
            self.outgoing = plain_alert(AlertDescription::RECORD_OVERFLOW);
            return Err(oversized(&self.who));
        }
        // rustls has the alert for the rest; where it would wait for more, this ends it.
        self.process(record)?;
        self.last_word(AlertDescription::DECODE_ERROR);
        Err(if too_long { oversized(&self.who) } else { not_tls(&self.who) })
    }

    fn process(&mut self, record: &[u8]) -> Result<(), Error> {
        let State::Running(wire) = &mut self.state else {
            return Ok(());
        };
        let until_hello = matches!(self.peer, Peer::Client { .. }).then_some(0);
        match current::during(&self.capture, until_hello, || wire.read(record)) {
            Ok(()) => Ok(()),
            Err(Refused::TooMuch) => {
                wire.close();
                Err(oversized(&self.who))
            }
            Err(Refused::Because(error)) => {
                let refused = self.refused(&error);
                if self.capture.refusal().is_none() && !matches!(error, rustls::Error::AlertReceived(_)) {
                    // A few of rustls' errors bring no alert.
                    self.last_word(alert_for(&error));
                }
                Err(refused)
            }
        }
    }

    /// Finds the cause of rustls' error, and sees to it that the peer gets an alert.
    fn refused(&mut self, error: &rustls::Error) -> Error {
        let State::Running(wire) = &mut self.state else {
            return ambiguous();
        };
        let own = self.capture.refusal();
        // In place of what rustls wanted to say: all of it is of this one call.
        let instead = match own {
            Some(own) => own.alert,
            None => alert_instead(error, wire),
        };
        let error = match own {
            Some(own) => own.error.clone(),
            None => refusal(error, &Scene::of(&self.who, self.versions, wire, &self.capture)),
        };
        match instead {
            Some(alert) => {
                wire.write(&mut Vec::new());
                self.outgoing = plain_alert(alert);
            }
            None if own.is_some() => wire.close(),
            None => {}
        }
        error
    }

    /// Where rustls has brought no alert, this one, or the end of the session where rustls alone could encrypt it.
    fn last_word(&mut self, alert: AlertDescription) {
        self.collect();
        let State::Running(wire) = &mut self.state else {
            return;
        };
        if !plainly(wire, self.changed_cipher) {
            // Where there is an alert, close_notify adds nothing.
            wire.close();
        } else if !ends_with_alert(&self.outgoing) {
            self.outgoing.extend(plain_alert(alert));
        }
    }

    fn speaks_plainly(&self, wire: &Wire) -> bool {
        plainly(wire, self.changed_cipher)
    }

    /// Ends the handshake; the alert, if there is one, goes to the peer.
    fn fail(&mut self, error: Error) -> Error {
        self.collect();
        self.state = State::Over(error.clone());
        error
    }

    /// Moves what rustls wants to send to `outgoing`.
    fn collect(&mut self) {
        if let State::Running(wire) = &mut self.state {
            let start = self.outgoing.len();
            wire.write(&mut self.outgoing);
            self.changed_cipher |= self.outgoing.get(start..).is_some_and(changes_cipher);
        }
    }

    fn establish(&mut self) -> Result<Established, Error> {
        let State::Running(wire) = std::mem::replace(&mut self.state, State::Established) else {
            return Err(ambiguous());
        };
        export(wire, &self.capture, &self.peer).inspect_err(|error| {
            // Our Finished: without it the peer has no session either.
            self.outgoing.clear();
            self.state = State::Over(error.clone());
        })
    }
}

/// Whether what we say now is surely not encrypted: before the hellos, and in TLS 1.2 before our ChangeCipherSpec,
/// which a server sends with the last thing it says.
fn plainly(wire: &Wire, changed_cipher: bool) -> bool {
    let is_tls12 = wire.protocol_version() == Some(ProtocolVersion::TLSv1_2);
    wire.negotiated_cipher_suite().is_none() || (is_tls12 && !(wire.is_client() && changed_cipher))
}

/// The alert of RFC 5246 section 7.4.6, where rustls sends that of TLS 1.3.
fn alert_instead(error: &rustls::Error, wire: &Wire) -> Option<AlertDescription> {
    let is_tls12 = wire.protocol_version() == Some(ProtocolVersion::TLSv1_2);
    (is_tls12 && *error == rustls::Error::NoCertificatesPresented).then_some(AlertDescription::HANDSHAKE_FAILURE)
}

/// Whether a ChangeCipherSpec is among these records.
fn changes_cipher(mut records: &[u8]) -> bool {
    while let Some((header, rest)) = records.split_first_chunk::<5>() {
        let [content_type, _, _, high, low] = *header;
        if content_type == 20 {
            return true;
        }
        records = rest.get(usize::from(u16::from_be_bytes([high, low]))..).unwrap_or_default();
    }
    false
}

fn ends_with_alert(records: &[u8]) -> bool {
    matches!(records.last_chunk(), Some([21, 3, 3, 0, 2, _, _]))
}

/// A fatal alert in a record of its own, before keys are in use (RFC 8446 section 5.1).
fn plain_alert(description: AlertDescription) -> Vec<u8> {
    let [level, description] = Alert { level: AlertLevel::FATAL, description }.emit();
    vec![21, 3, 3, 0, 2, level, description]
}

fn past_the_end() -> Error {
    Error::new(Reason::INTERNAL, "the TLS engine was fed past the end of the handshake")
}
