//! A TLS 1.3 connection whose handshake somebody else did: plaintext in, records out, and back.
//!
//! Sans-IO. [`Session::open`] takes bytes of the TCP stream as they come and yields events in order;
//! [`Session::seal`] appends records. What the session has to say by itself (an answer to KeyUpdate, an alert)
//! waits in [`Session::drain`]: call it after every `open`.

use super::keys::{Suite, TrafficKey};
use super::post_handshake::{PostHandshake, key_update_message};
use crate::Instant;
use crate::connection::{Connection, Keys, check_limits};
use crate::fault::{Fault, HandoverRefused};
use crate::record::MAX_FRAGMENT;
use crate::session::Event;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;
use keyferry_parsers::messages::{Handover, Secret};
use keyferry_parsers::tls::{AlertDescription, ContentType, ProtocolVersion};

/// A session that its gateway can resume ends instead of this KeyUpdate of a direction: the gateway keeps the secrets
/// that it leads to, to make sense of the peer's tickets.
const LAST_UPDATE: u32 = 32;
/// A peer that was asked for a new key may use the old one so many times as much as allowed: what it sent before it
/// heard us is no fault of it.
const PEER_MARGIN: u64 = 2;
/// Tickets that wait to be taken out; more are dropped.
const MAX_TICKETS: usize = 4;

/// One TLS 1.3 connection. Its keys are erased on any fault, on expiry, when both sides have closed, and on drop.
pub struct Session {
    connection: Connection<TrafficKey>,
    handshake: PostHandshake,
    tickets: VecDeque<Vec<u8>>,
    resumable: bool,
    update_asked: bool,
    /// The peer's wish for a new key was granted, and nothing was sent under it yet.
    answered: bool,
}

/// What one record was, with the borrow of its content left for later.
enum Record {
    Data(Range<usize>),
    Ticket(Vec<u8>),
    Closed,
    Internal,
}

impl Session {
    /// Bytes that a living session holds on the heap, beside its record buffer.
    pub const HEAP: usize = size_of::<Keys<TrafficKey>>();

    /// Takes over at `now`, from which the session's lifetime counts.
    pub fn new(handover: Handover, now: Instant) -> Result<Self, HandoverRefused> {
        let keys = traffic_keys(&handover)?;
        Ok(Self {
            connection: Connection::new(keys, handover.limits, handover.prefix, now),
            handshake: PostHandshake::new(handover.role, handover.resumable),
            tickets: VecDeque::new(),
            resumable: handover.resumable,
            update_asked: false,
            answered: false,
        })
    }

    /// Would [`Session::new`] take this hand-over? A terminal asks before it tells the gateway yes.
    pub fn check(handover: &Handover) -> Result<(), HandoverRefused> {
        traffic_keys(handover).map(drop)
    }

    /// Encrypts `plaintext` into records of at most 16384 bytes, appended to `out`; KeyUpdates that the limits
    /// demand go between them. On an error `out` may hold whole records, which must still be sent.
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
            // Whatever follows a close_notify is ignored (RFC 8446 section 6.1).
            *input = &[];
            return Ok(None);
        }
        self.connection.expire(now)?;
        match self.next_event(now, input) {
            Ok(Some(Record::Data(range))) => Ok(Some(Event::Data(self.connection.content(range)))),
            Ok(Some(Record::Ticket(ticket))) => Ok(Some(Event::Ticket(ticket))),
            Ok(Some(Record::Closed)) => Ok(Some(Event::Closed)),
            Ok(Some(Record::Internal) | None) => Ok(None),
            Err(fault) => Err(self.connection.fail(fault)),
        }
    }

    /// Moves to `out` what the session itself has to send. Also after a fault: the alert is here.
    pub fn drain(&mut self, out: &mut Vec<u8>) {
        self.connection.drain(out);
    }

    /// Says close_notify: we send nothing more. The peer may. A second call does nothing.
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.connection.close(out)
    }

    /// Changes our sending key now (RFC 8446 section 4.6.3).
    pub fn key_update(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.connection.check_open(now)?;
        let said = self.say_key_update(false).map_err(|fault| self.connection.fail(fault));
        self.drain(out);
        said
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
            if let Some(ticket) = self.tickets.pop_front() {
                return Ok(Some(Record::Ticket(ticket)));
            }
            if self.connection.is_peer_at(PEER_MARGIN) {
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
        if kind != ContentType::HANDSHAKE && self.handshake.is_partial() {
            return Err(Fault::UnexpectedMessage("another record in the middle of a handshake message"));
        }
        if kind == ContentType::APPLICATION_DATA && !range.is_empty() {
            self.connection.not_idle();
            self.ask_for_update()?;
            return Ok(Record::Data(range));
        }
        self.connection.count_idle(now)?;
        match kind {
            ContentType::APPLICATION_DATA => Ok(Record::Internal),
            ContentType::HANDSHAKE => self.receive_handshake(range),
            ContentType::ALERT => self.receive_alert(range),
            _ => Err(Fault::UnexpectedMessage("a record of unknown content type")),
        }
    }

    fn receive_handshake(&mut self, range: Range<usize>) -> Result<Record, Fault> {
        let tickets = &mut self.tickets;
        let keep = |ticket| {
            if tickets.len() < MAX_TICKETS {
                tickets.push_back(ticket);
            }
        };
        if let Some(update) = self.handshake.feed(self.connection.content(range), keep)? {
            let resumable = self.resumable;
            next_secret(&mut self.connection.keys()?.rx, resumable)?;
            self.update_asked = false;
            // One answer serves all requests until there is data under the new key (RFC 8446 section 4.6.3).
            if update.update_requested && !self.answered && !self.connection.has_sent_close() {
                self.answered = true;
                self.say_key_update(false)?;
            }
        }
        Ok(Record::Internal)
    }

    fn receive_alert(&mut self, range: Range<usize>) -> Result<Record, Fault> {
        // The level says nothing in TLS 1.3 (RFC 8446 section 6).
        match self.connection.alert(range)? {
            (_, AlertDescription::CLOSE_NOTIFY) => {
                self.connection.receive_close();
                Ok(Record::Closed)
            }
            (_, AlertDescription::USER_CANCELED) => Ok(Record::Internal),
            (_, alert) => Err(Fault::PeerAlert(alert)),
        }
    }

    /// Asks the peer, once, to renew a key that has protected as much as policy allows.
    fn ask_for_update(&mut self) -> Result<(), Fault> {
        if self.connection.is_peer_at(1) && !self.update_asked && !self.connection.has_sent_close() {
            self.update_asked = true;
            self.say_key_update(true)?;
        }
        Ok(())
    }

    fn write_fragment(&mut self, fragment: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        if !self.connection.has_room(fragment.len()) {
            self.say_key_update(false)?;
            self.drain(out);
        }
        self.answered = false;
        self.connection.write(ContentType::APPLICATION_DATA, fragment, out)
    }

    fn say_key_update(&mut self, update_requested: bool) -> Result<(), Fault> {
        let resumable = self.resumable;
        may_update(&self.connection.keys()?.tx, resumable)?;
        self.connection.say(ContentType::HANDSHAKE, &key_update_message(update_requested))?;
        next_secret(&mut self.connection.keys()?.tx, resumable)
    }
}

fn next_secret(key: &mut TrafficKey, resumable: bool) -> Result<(), Fault> {
    may_update(key, resumable)?;
    key.update().ok_or(Fault::KeyExhausted)
}

fn may_update(key: &TrafficKey, resumable: bool) -> Result<(), Fault> {
    if resumable && key.updates().saturating_add(1) >= LAST_UPDATE { Err(Fault::KeyExhausted) } else { Ok(()) }
}

/// The keys of both directions, if version, suite, secrets and limits fit together.
fn traffic_keys(handover: &Handover) -> Result<Keys<TrafficKey>, HandoverRefused> {
    if handover.tls_version != ProtocolVersion::TLS_1_3 {
        return Err(HandoverRefused::Version(handover.tls_version));
    }
    let refused = HandoverRefused::Suite(handover.suite);
    let suite = Suite::from_number(handover.suite).ok_or(refused)?;
    check_limits(&handover.limits, handover.tx_sequence)?;
    let key = |secret: &Secret, sequence| {
        TrafficKey::new(suite, secret.as_bytes(), sequence).ok_or(HandoverRefused::SecretLength)
    };
    Ok(Keys {
        tx: key(&handover.tx_secret, handover.tx_sequence)?,
        rx: key(&handover.rx_secret, handover.rx_sequence)?,
    })
}

#[cfg(test)]
mod tests;
