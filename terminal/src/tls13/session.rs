//! A TLS 1.3 connection whose handshake somebody else did: plaintext in, records out, and back.
//!
//! Sans-IO. [`Session::open`] takes bytes of the TCP stream as they come and yields events in order;
//! [`Session::seal`] appends records. What the session has to say by itself (an answer to KeyUpdate, an alert)
//! waits in [`Session::drain`]: call it after every `open`.

use super::fault::Fault;
use super::keys::{Suite, TrafficKey};
use super::post_handshake::{PostHandshake, key_update_message};
use super::record::{MAX_FRAGMENT, RecordBuffer, write_record};
use crate::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::time::Duration;
use keyferry_parsers::messages::{Handover, Limits, Secret};
use keyferry_parsers::tls::{AlertDescription, CipherSuite, ContentType, ProtocolVersion};

/// Records in a row within [`IDLE_WINDOW`] that carry no data: a peer that sends more only wastes our time.
const MAX_IDLE_RECORDS: u8 = 32;
/// A second. A peer that renews its keys now and then on a silent session does no harm.
const IDLE_WINDOW: Duration = Duration::from_secs(1);
/// What a KeyUpdate and an alert take of a key's byte limit, TLSInnerPlaintext.
const CONTROL_BYTES: u64 = 16;
/// AlertLevel (RFC 8446 section 6).
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// What came out of the peer's stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Plaintext, 1 to 16384 bytes, in place; erased at the next call.
    Data(&'a [u8]),
    /// The peer's close_notify: it sends nothing more, and nothing is missing. We may still send.
    Closed,
}

/// Why a hand-over is not accepted. Nothing was sent or opened with its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoverRefused {
    /// Not TLS 1.3.
    Version(ProtocolVersion),
    /// Not a suite of this terminal.
    Suite(CipherSuite),
    /// A traffic secret that does not have the length of the suite's hash.
    SecretLength,
    /// Limits that leave no room for a single record, or that are already reached.
    Limits,
}

impl fmt::Display for HandoverRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the gateway's fault: it handed over ")?;
        match self {
            Self::Version(version) => write!(f, "keys of {version}; this terminal speaks TLS 1.3"),
            Self::Suite(suite) => write!(f, "keys for {suite}, which this terminal cannot use"),
            Self::SecretLength => f.write_str("a traffic secret whose length is not that of the suite's hash"),
            Self::Limits => f.write_str("limits that leave no room for one record"),
        }
    }
}

impl core::error::Error for HandoverRefused {}

/// One TLS 1.3 connection. Its keys are erased on any fault, on expiry, when both sides have closed, and on drop.
pub struct Session {
    life: Life,
    incoming: RecordBuffer,
    /// Ciphertext that the gateway had read past the handshake: the beginning of the stream.
    prefix: Vec<u8>,
    prefix_taken: usize,
    handshake: PostHandshake,
    outgoing: Vec<u8>,
    limits: Limits,
    expires: Instant,
    idle_records: u8,
    /// When the count of idle records began.
    idle_since: Instant,
    update_asked: bool,
    sent_close: bool,
    received_close: bool,
}

/// The keys live exactly as long as the session does.
enum Life {
    /// Boxed, so that a session that is moved leaves no copy of its keys behind.
    Alive(Box<Keys>),
    Over(Fault),
}

struct Keys {
    tx: TrafficKey,
    rx: TrafficKey,
}

/// What one record was, with the borrow of its content left for later.
enum Record {
    Data(Range<usize>),
    Closed,
    Internal,
}

impl Session {
    /// Bytes that a living session holds on the heap, beside its record buffer.
    pub const HEAP: usize = size_of::<Keys>();

    /// Takes over at `now`, from which the session's lifetime counts.
    pub fn new(handover: Handover, now: Instant) -> Result<Self, HandoverRefused> {
        let (tx, rx) = traffic_keys(&handover)?;
        let lifetime = u64::from(handover.limits.seconds).saturating_mul(1_000_000);
        Ok(Self {
            life: Life::Alive(Box::new(Keys { tx, rx })),
            incoming: RecordBuffer::default(),
            prefix: handover.prefix,
            prefix_taken: 0,
            handshake: PostHandshake::START,
            outgoing: Vec::new(),
            limits: handover.limits,
            expires: Instant::from_micros(now.as_micros().saturating_add(lifetime)),
            idle_records: 0,
            idle_since: now,
            update_asked: false,
            sent_close: false,
            received_close: false,
        })
    }

    /// Would [`Session::new`] take this hand-over? A terminal asks before it tells the gateway yes.
    pub fn check(handover: &Handover) -> Result<(), HandoverRefused> {
        traffic_keys(handover).map(drop)
    }

    /// Encrypts `plaintext` into records of at most 16384 bytes, appended to `out`; KeyUpdates that the limits
    /// demand go between them. On an error `out` may hold whole records, which must still be sent.
    pub fn seal(&mut self, now: Instant, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        self.expire(now)?;
        if self.sent_close {
            return Err(Fault::Closed);
        }
        self.drain(out);
        for fragment in plaintext.chunks(MAX_FRAGMENT) {
            self.write_fragment(fragment, out).map_err(|fault| self.fail(fault))?;
        }
        Ok(())
    }

    /// Takes bytes of the stream from `input` until an event is complete; `None`: all taken, more is needed.
    /// The hand-over's prefix goes first, so call it once with nothing before the first bytes arrive.
    pub fn open(&mut self, now: Instant, input: &mut &[u8]) -> Result<Option<Event<'_>>, Fault> {
        if self.received_close {
            // Whatever follows a close_notify is ignored (RFC 8446 section 6.1).
            *input = &[];
            return Ok(None);
        }
        self.expire(now)?;
        match self.next_event(now, input) {
            Ok(Some(Record::Data(range))) => Ok(Some(Event::Data(self.incoming.content(range)))),
            Ok(Some(_)) => Ok(Some(Event::Closed)),
            Ok(None) => Ok(None),
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// Moves to `out` what the session itself has to send. Also after a fault: the alert is here.
    pub fn drain(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.outgoing);
    }

    /// Says close_notify: we send nothing more. The peer may. A second call does nothing.
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.sent_close {
            return Ok(());
        }
        self.drain(out);
        self.write(ContentType::ALERT, &[WARNING, AlertDescription::CLOSE_NOTIFY.0], out)?;
        self.sent_close = true;
        self.end_if_closed();
        Ok(())
    }

    /// Changes our sending key now (RFC 8446 section 4.6.3).
    pub fn key_update(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.expire(now)?;
        if self.sent_close {
            return Err(Fault::Closed);
        }
        self.drain(out);
        self.write_key_update(false, out).map_err(|fault| self.fail(fault))
    }

    /// When the lifetime given by the gateway's policy is over.
    pub fn expires(&self) -> Instant {
        self.expires
    }

    /// The peer has said close_notify. If TCP ends before that, the stream was truncated.
    pub fn is_closed_by_peer(&self) -> bool {
        self.received_close
    }

    fn next_event(&mut self, now: Instant, input: &mut &[u8]) -> Result<Option<Record>, Fault> {
        while self.fill(input)? {
            match self.open_record(now)? {
                Record::Internal => {}
                record => return Ok(Some(record)),
            }
        }
        Ok(None)
    }

    /// Completes one record, from the prefix before the stream.
    fn fill(&mut self, input: &mut &[u8]) -> Result<bool, Fault> {
        let mut prefix = self.prefix.get(self.prefix_taken..).unwrap_or_default();
        let complete = self.incoming.fill(&mut prefix)?;
        self.prefix_taken = self.prefix.len().saturating_sub(prefix.len());
        if complete {
            return Ok(true);
        }
        self.prefix = Vec::new();
        self.prefix_taken = 0;
        self.incoming.fill(input)
    }

    fn open_record(&mut self, now: Instant) -> Result<Record, Fault> {
        let Life::Alive(keys) = &mut self.life else { return Err(self.fault()) };
        let (kind, range) = self.incoming.open(&mut keys.rx)?;
        if kind != ContentType::HANDSHAKE && self.handshake.is_partial() {
            return Err(Fault::UnexpectedMessage("another record in the middle of a handshake message"));
        }
        if kind == ContentType::APPLICATION_DATA && !range.is_empty() {
            self.idle_records = 0;
            self.ask_for_update()?;
            return Ok(Record::Data(range));
        }
        self.count_idle(now)?;
        match kind {
            ContentType::APPLICATION_DATA => Ok(Record::Internal),
            ContentType::HANDSHAKE => self.receive_handshake(range),
            ContentType::ALERT => self.receive_alert(range),
            _ => Err(Fault::UnexpectedMessage("a record of unknown content type")),
        }
    }

    fn count_idle(&mut self, now: Instant) -> Result<(), Fault> {
        if now.saturating_duration_since(self.idle_since) >= IDLE_WINDOW {
            self.idle_since = now;
            self.idle_records = 0;
        }
        self.idle_records = self.idle_records.saturating_add(1);
        if self.idle_records > MAX_IDLE_RECORDS {
            return Err(Fault::UnexpectedMessage("a flood of records without data"));
        }
        Ok(())
    }

    fn receive_handshake(&mut self, range: Range<usize>) -> Result<Record, Fault> {
        if let Some(update) = self.handshake.feed(self.incoming.content(range))? {
            let Life::Alive(keys) = &mut self.life else { return Err(self.fault()) };
            keys.rx.update().ok_or(Fault::KeyExhausted)?;
            self.update_asked = false;
            // One answer serves all requests that came before it could be sent (RFC 8446 section 4.6.3).
            if update.update_requested && self.outgoing.is_empty() && !self.sent_close {
                self.answer_update(false)?;
            }
        }
        Ok(Record::Internal)
    }

    fn receive_alert(&mut self, range: Range<usize>) -> Result<Record, Fault> {
        let description = match self.incoming.content(range) {
            [_level, description] => AlertDescription(*description),
            // RFC 8446 section 5.4.
            [] => return Err(Fault::UnexpectedMessage("an empty alert record")),
            _ => return Err(Fault::DecodeError("an alert that is not two bytes long")),
        };
        match description {
            AlertDescription::CLOSE_NOTIFY => {
                self.received_close = true;
                self.end_if_closed();
                Ok(Record::Closed)
            }
            AlertDescription::USER_CANCELED => Ok(Record::Internal),
            alert => Err(Fault::PeerAlert(alert)),
        }
    }

    /// Asks the peer, once, to renew a key that has protected as much as policy allows.
    fn ask_for_update(&mut self) -> Result<(), Fault> {
        let Life::Alive(keys) = &self.life else { return Err(self.fault()) };
        let due = keys.rx.records() >= self.limits.records || keys.rx.bytes() >= self.limits.bytes;
        if due && !self.update_asked && !self.sent_close {
            self.update_asked = true;
            self.answer_update(true)?;
        }
        Ok(())
    }

    fn update_due(&self, next: usize) -> bool {
        let Life::Alive(keys) = &self.life else { return false };
        let bytes = keys.tx.bytes().saturating_add(next as u64).saturating_add(1 + CONTROL_BYTES);
        // One record is kept back for the KeyUpdate itself.
        keys.tx.records().saturating_add(1) >= self.limits.records || bytes > self.limits.bytes
    }

    fn answer_update(&mut self, ask: bool) -> Result<(), Fault> {
        let mut out = core::mem::take(&mut self.outgoing);
        let done = self.write_key_update(ask, &mut out);
        self.outgoing = out;
        done
    }

    fn write_fragment(&mut self, fragment: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.update_due(fragment.len()) {
            self.write_key_update(false, out)?;
        }
        self.write(ContentType::APPLICATION_DATA, fragment, out)
    }

    fn write_key_update(&mut self, update_requested: bool, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.write(ContentType::HANDSHAKE, &key_update_message(update_requested), out)?;
        let Life::Alive(keys) = &mut self.life else { return Err(self.fault()) };
        keys.tx.update().ok_or(Fault::KeyExhausted)
    }

    fn write(&mut self, kind: ContentType, content: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let Life::Alive(keys) = &mut self.life else { return Err(self.fault()) };
        write_record(&mut keys.tx, kind, content, out).ok_or(Fault::KeyExhausted)
    }

    fn expire(&mut self, now: Instant) -> Result<(), Fault> {
        if matches!(self.life, Life::Alive(_)) && now >= self.expires {
            self.fail(Fault::SessionExpired);
        }
        match self.life {
            Life::Alive(_) => Ok(()),
            Life::Over(fault) => Err(fault),
        }
    }

    /// Tells the peer, erases the keys, and remembers the fault.
    fn fail(&mut self, fault: Fault) -> Fault {
        if let (Some(alert), Life::Alive(keys), false) = (fault.alert(), &mut self.life, self.sent_close) {
            let level = if alert == AlertDescription::CLOSE_NOTIFY { WARNING } else { FATAL };
            // Without a key to say it the connection ends without an alert.
            let _ = write_record(&mut keys.tx, ContentType::ALERT, &[level, alert.0], &mut self.outgoing);
        }
        self.end(fault);
        fault
    }

    fn end_if_closed(&mut self) {
        if self.sent_close && self.received_close {
            self.end(Fault::Closed);
        }
    }

    fn end(&mut self, fault: Fault) {
        self.life = Life::Over(fault);
        self.incoming.clear();
        self.prefix = Vec::new();
        self.prefix_taken = 0;
    }

    fn fault(&self) -> Fault {
        match self.life {
            Life::Over(fault) => fault,
            Life::Alive(_) => Fault::Closed,
        }
    }
}

/// The keys of both directions, sending first, if version, suite, secrets and limits fit together.
fn traffic_keys(handover: &Handover) -> Result<(TrafficKey, TrafficKey), HandoverRefused> {
    if handover.tls_version != ProtocolVersion::TLS_1_3 {
        return Err(HandoverRefused::Version(handover.tls_version));
    }
    let refused = HandoverRefused::Suite(handover.suite);
    let suite = Suite::from_number(handover.suite).ok_or(refused)?;
    let limits = &handover.limits;
    let room = limits.records >= 2 && limits.bytes >= MAX_FRAGMENT as u64 + 1 + CONTROL_BYTES;
    if !room || limits.seconds == 0 || handover.tx_sequence >= limits.records {
        return Err(HandoverRefused::Limits);
    }
    let key = |secret: &Secret, sequence| {
        TrafficKey::new(suite, secret.as_bytes(), sequence).ok_or(HandoverRefused::SecretLength)
    };
    Ok((key(&handover.tx_secret, handover.tx_sequence)?, key(&handover.rx_secret, handover.rx_sequence)?))
}

#[cfg(test)]
mod tests;
