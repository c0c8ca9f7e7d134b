//! A TLS 1.2 connection whose handshake somebody else did: plaintext in, records out, and back.
//!
//! The same face as [`tls13::Session`](crate::tls13::Session). TLS 1.2 has no KeyUpdate and this end does not renegotiate: a
//! key that has protected as much as the limits allow ends the session, with close_notify.

use super::keys::{WriteKey, algorithm};
use super::renegotiation::Renegotiation;
use crate::Instant;
use crate::connection::{Connection, FATAL, Keys, WARNING, Window, check_limits};
use crate::fault::{Fault, HandoverRefused};
use crate::record::MAX_FRAGMENT;
use crate::session::Event;
use alloc::vec::Vec;
use core::ops::Range;
use keyferry_parsers::messages::{Handover, Secret};
use keyferry_parsers::tls::{AlertDescription, ContentType, ProtocolVersion};

/// Wishes to renegotiate within a [`Window`] that are turned down; a peer with more does not listen.
const MAX_RENEGOTIATIONS: u32 = 4;

/// One TLS 1.2 connection. Its keys are erased on any fault, on expiry, when both sides have closed, and on drop.
pub struct Session {
    connection: Connection<WriteKey>,
    renegotiation: Renegotiation,
    /// Wishes to renegotiate of late.
    wishes: Window,
}

/// What one record was, with the borrow of its content left for later.
enum Record {
    Data(Range<usize>),
    Closed,
    Internal,
}

impl Session {
    /// Bytes that a living session holds on the heap, beside its record buffer.
    pub const HEAP: usize = size_of::<Keys<WriteKey>>();

    /// Takes over at `now`, from which the session's lifetime counts.
    pub fn new(handover: Handover, now: Instant) -> Result<Self, HandoverRefused> {
        let keys = write_keys(&handover)?;
        Ok(Self {
            connection: Connection::new(keys, handover.limits, handover.prefix, now),
            renegotiation: Renegotiation::new(handover.role),
            wishes: Window::new(now),
        })
    }

    /// Would [`Session::new`] take this hand-over? A terminal asks before it tells the gateway yes.
    pub fn check(handover: &Handover) -> Result<(), HandoverRefused> {
        write_keys(handover).map(drop)
    }

    /// Encrypts `plaintext` into records of at most 16384 bytes, appended to `out`. On an error `out` may hold whole
    /// records, which must still be sent; [`Fault::KeyExhausted`] is the end of what the limits allow.
    pub fn seal(&mut self, now: Instant, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        self.connection.check_open(now)?;
        self.drain(out);
        for fragment in plaintext.chunks(MAX_FRAGMENT) {
            self.write_fragment(fragment, out).map_err(|fault| self.connection.fail(fault))?;
        }
        Ok(())
    }

    /// Takes bytes of the stream from `input` until an event is complete; `None`: all taken, more is needed.
    /// The hand-over's prefix goes first, so call it once with nothing before the first bytes arrive.
    pub fn open(&mut self, now: Instant, input: &mut &[u8]) -> Result<Option<Event<'_>>, Fault> {
        if self.connection.has_received_close() {
            // Whatever follows a close_notify is ignored (RFC 5246 section 7.2.1).
            *input = &[];
            return Ok(None);
        }
        self.connection.expire(now)?;
        match self.next_event(now, input) {
            Ok(Some(Record::Data(range))) => Ok(Some(Event::Data(self.connection.content(range)))),
            Ok(Some(Record::Closed)) => Ok(Some(Event::Closed)),
            Ok(Some(Record::Internal) | None) => Ok(None),
            Err(fault) => Err(self.connection.fail(fault)),
        }
    }

    /// Moves to `out` what the session itself has to send. Also after a fault: the alert is here.
    pub fn drain(&mut self, out: &mut Vec<u8>) {
        self.connection.drain(out);
    }

    /// Says close_notify: we send nothing more. What is on its way from the peer may still be read. A second call does
    /// nothing.
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.connection.close(out)
    }

    /// When the lifetime given by the gateway's policy is over.
    pub fn expires(&self) -> Instant {
        self.connection.expires()
    }

    /// The peer has said close_notify. If TCP ends before that, the stream was truncated.
    pub fn is_closed_by_peer(&self) -> bool {
        self.connection.has_received_close()
    }

    fn next_event(&mut self, now: Instant, input: &mut &[u8]) -> Result<Option<Record>, Fault> {
        loop {
            if self.connection.is_peer_at(1) {
                return Err(Fault::KeyExhausted);
            }
            let Some((kind, range)) = self.connection.next_record(input)? else { return Ok(None) };
            match self.receive(now, kind, range)? {
                Record::Internal => {}
                record => return Ok(Some(record)),
            }
        }
    }

    fn receive(&mut self, now: Instant, kind: ContentType, range: Range<usize>) -> Result<Record, Fault> {
        if kind != ContentType::HANDSHAKE && self.renegotiation.is_partial() {
            return Err(Fault::UnexpectedMessage("another record in the middle of a handshake message"));
        }
        if kind == ContentType::APPLICATION_DATA && !range.is_empty() {
            self.connection.not_idle();
            return Ok(Record::Data(range));
        }
        self.connection.count_idle(now)?;
        match kind {
            ContentType::APPLICATION_DATA => Ok(Record::Internal),
            ContentType::HANDSHAKE => self.receive_handshake(now, range),
            ContentType::ALERT => self.receive_alert(range),
            ContentType::CHANGE_CIPHER_SPEC => Err(Fault::UnexpectedMessage("a ChangeCipherSpec after the handshake")),
            _ => Err(Fault::UnexpectedMessage("a record of unknown content type")),
        }
    }

    fn receive_handshake(&mut self, now: Instant, range: Range<usize>) -> Result<Record, Fault> {
        let wishes = self.renegotiation.feed(self.connection.content(range))?;
        if self.wishes.count(now, wishes) > MAX_RENEGOTIATIONS {
            return Err(Fault::UnexpectedMessage("a renegotiation that was turned down before"));
        }
        for _ in 0..wishes {
            self.say(AlertDescription::NO_RENEGOTIATION)?;
        }
        Ok(Record::Internal)
    }

    fn receive_alert(&mut self, range: Range<usize>) -> Result<Record, Fault> {
        match self.connection.alert(range)? {
            (_, AlertDescription::CLOSE_NOTIFY) => {
                // The peer reads no more: it is answered in kind at once (RFC 5246 section 7.2.1).
                self.connection.say_close()?;
                self.connection.receive_close();
                Ok(Record::Closed)
            }
            (WARNING, _) => Ok(Record::Internal),
            (FATAL, alert) => Err(Fault::PeerAlert(alert)),
            _ => Err(Fault::IllegalParameter("Alert.level")),
        }
    }

    /// A warning, unless we have closed.
    fn say(&mut self, warning: AlertDescription) -> Result<(), Fault> {
        if self.connection.has_sent_close() {
            return Ok(());
        }
        if !self.connection.has_room(0) {
            return Err(Fault::KeyExhausted);
        }
        self.connection.say(ContentType::ALERT, &[WARNING, warning.0])
    }

    fn write_fragment(&mut self, fragment: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        if !self.connection.has_room(fragment.len()) {
            return Err(Fault::KeyExhausted);
        }
        self.connection.write(ContentType::APPLICATION_DATA, fragment, out)
    }
}

/// The keys of both directions, if version, suite, secrets and limits fit together.
fn write_keys(handover: &Handover) -> Result<Keys<WriteKey>, HandoverRefused> {
    if handover.tls_version != ProtocolVersion::TLS_1_2 {
        return Err(HandoverRefused::Version(handover.tls_version));
    }
    let algorithm = algorithm(handover.suite).ok_or(HandoverRefused::Suite(handover.suite))?;
    check_limits(&handover.limits, handover.tx_sequence)?;
    let key = |secret: &Secret, sequence| {
        WriteKey::new(algorithm, secret.as_bytes(), sequence).ok_or(HandoverRefused::SecretLength)
    };
    Ok(Keys {
        tx: key(&handover.tx_secret, handover.tx_sequence)?,
        rx: key(&handover.rx_secret, handover.rx_sequence)?,
    })
}

#[cfg(test)]
mod tests;
