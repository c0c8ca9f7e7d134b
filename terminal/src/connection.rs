//! What both versions of TLS have in common once the handshake is over: keys that live as long as the session, its
//! lifetime, close_notify, alerts, and a bound on records that carry nothing. The versions' sessions are built on it.

use crate::Instant;
use crate::fault::{Fault, HandoverRefused};
use crate::record::{Incoming, MAX_FRAGMENT, Protection};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;
use keyferry_parsers::messages::Limits;
use keyferry_parsers::tls::{AlertDescription, ContentType};

/// Records in a row within a [`Window`] that carry no data: a peer that sends more only wastes our time.
const MAX_IDLE_RECORDS: u32 = 32;
/// What a KeyUpdate and an alert take of a key's byte limit, TLSInnerPlaintext.
pub(crate) const CONTROL_BYTES: u64 = 16;
/// AlertLevel (RFC 8446 section 6, RFC 5246 section 7.2).
pub(crate) const WARNING: u8 = 1;
pub(crate) const FATAL: u8 = 2;

/// One connection, protected by `P` in both directions. Its keys are erased on any fault, on expiry, when both sides have
/// closed, and on drop.
pub(crate) struct Connection<P> {
    life: Life<P>,
    incoming: Incoming,
    pub(crate) outgoing: Vec<u8>,
    pub(crate) limits: Limits,
    expires: Instant,
    idle_records: Window,
    sent_close: bool,
    received_close: bool,
}

/// Counts what a peer may do now and then but not at a stretch: a peer that renews its keys on a silent session, say, does
/// no harm, however long the session lives.
pub(crate) struct Window {
    since: Instant,
    count: u32,
}

impl Window {
    const LENGTH: Duration = Duration::from_secs(1);

    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    /// So many more; how many in this window.
    pub(crate) fn count(&mut self, now: Instant, more: u32) -> u32 {
        if now.saturating_duration_since(self.since) >= Self::LENGTH {
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(more);
        self.count
    }

    fn clear(&mut self) {
        self.count = 0;
    }
}

/// The keys live exactly as long as the session does.
pub(crate) enum Life<P> {
    /// Boxed, so that a session that is moved leaves no copy of its keys behind.
    Alive(Box<Keys<P>>),
    Over(Fault),
}

/// Both directions.
pub(crate) struct Keys<P> {
    pub(crate) tx: P,
    pub(crate) rx: P,
}

impl<P: Protection> Connection<P> {
    pub(crate) fn new(keys: Keys<P>, limits: Limits, prefix: Vec<u8>, now: Instant) -> Self {
        let lifetime = u64::from(limits.seconds).saturating_mul(1_000_000);
        Self {
            life: Life::Alive(Box::new(keys)),
            incoming: Incoming::new(prefix),
            outgoing: Vec::new(),
            limits,
            expires: Instant::from_micros(now.as_micros().saturating_add(lifetime)),
            idle_records: Window::new(now),
            sent_close: false,
            received_close: false,
        }
    }

    pub(crate) fn keys(&mut self) -> Result<&mut Keys<P>, Fault> {
        match &mut self.life {
            Life::Alive(keys) => Ok(keys),
            Life::Over(fault) => Err(*fault),
        }
    }

    pub(crate) fn expires(&self) -> Instant {
        self.expires
    }

    pub(crate) fn has_sent_close(&self) -> bool {
        self.sent_close
    }

    pub(crate) fn has_received_close(&self) -> bool {
        self.received_close
    }

    /// Completes and decrypts one record; `None`: more bytes are needed.
    pub(crate) fn next_record(&mut self, input: &mut &[u8]) -> Result<Option<(ContentType, Range<usize>)>, Fault> {
        if !self.incoming.fill::<P>(input)? {
            return Ok(None);
        }
        match &mut self.life {
            Life::Alive(keys) => self.incoming.open(&mut keys.rx).map(Some),
            Life::Over(fault) => Err(*fault),
        }
    }

    /// The plaintext at `range`, valid until the next record.
    pub(crate) fn content(&self, range: Range<usize>) -> &[u8] {
        self.incoming.content(range)
    }

    /// A record that carried data has come.
    pub(crate) fn not_idle(&mut self) {
        self.idle_records.clear();
    }

    /// A record that carried none has come.
    pub(crate) fn count_idle(&mut self, now: Instant) -> Result<(), Fault> {
        if self.idle_records.count(now, 1) > MAX_IDLE_RECORDS {
            return Err(Fault::UnexpectedMessage("a flood of records without data"));
        }
        Ok(())
    }

    /// The level and description of an alert record.
    pub(crate) fn alert(&self, range: Range<usize>) -> Result<(u8, AlertDescription), Fault> {
        match self.content(range) {
            [level, description] => Ok((*level, AlertDescription(*description))),
            // RFC 8446 section 5.4.
            [] => Err(Fault::UnexpectedMessage("an empty alert record")),
            _ => Err(Fault::DecodeError("an alert that is not two bytes long")),
        }
    }

    /// The peer's close_notify.
    pub(crate) fn receive_close(&mut self) {
        self.received_close = true;
        self.end_if_closed();
    }

    /// Is there room under the limits for `content` bytes more, and behind them for a last word?
    pub(crate) fn has_room(&self, content: usize) -> bool {
        let Life::Alive(keys) = &self.life else { return true };
        let key = keys.tx.key();
        let bytes = key.bytes().saturating_add(content as u64).saturating_add(1 + CONTROL_BYTES);
        key.sequence_number().saturating_add(1) < self.limits.records && bytes <= self.limits.bytes
    }

    /// Has the peer's key protected `times` as much as the limits allow?
    pub(crate) fn is_peer_at(&self, times: u64) -> bool {
        let Life::Alive(keys) = &self.life else { return false };
        let key = keys.rx.key();
        key.sequence_number() >= self.limits.records.saturating_mul(times)
            || key.bytes() >= self.limits.bytes.saturating_mul(times)
    }

    pub(crate) fn write(&mut self, kind: ContentType, content: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        self.keys()?.tx.seal(kind, content, out).ok_or(Fault::KeyExhausted)
    }

    /// Has the session itself say something: it waits for [`Self::drain`].
    pub(crate) fn say(&mut self, kind: ContentType, content: &[u8]) -> Result<(), Fault> {
        match &mut self.life {
            Life::Alive(keys) => keys.tx.seal(kind, content, &mut self.outgoing).ok_or(Fault::KeyExhausted),
            Life::Over(fault) => Err(*fault),
        }
    }

    /// Says close_notify, once, for [`Self::drain`].
    pub(crate) fn say_close(&mut self) -> Result<(), Fault> {
        if !self.sent_close {
            self.say(ContentType::ALERT, &[WARNING, AlertDescription::CLOSE_NOTIFY.0])?;
            self.sent_close = true;
            self.end_if_closed();
        }
        Ok(())
    }

    pub(crate) fn drain(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.outgoing);
    }

    /// The same, appended to `out` with what waits before it.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let said = self.say_close();
        self.drain(out);
        said
    }

    /// Before anything is sent: is the session alive, and our direction open?
    pub(crate) fn check_open(&mut self, now: Instant) -> Result<(), Fault> {
        self.expire(now)?;
        if self.sent_close { Err(Fault::Closed) } else { Ok(()) }
    }

    pub(crate) fn expire(&mut self, now: Instant) -> Result<(), Fault> {
        if matches!(self.life, Life::Alive(_)) && now >= self.expires {
            self.fail(Fault::SessionExpired);
        }
        match self.life {
            Life::Alive(_) => Ok(()),
            Life::Over(fault) => Err(fault),
        }
    }

    /// Tells the peer, erases the keys, and remembers the fault.
    pub(crate) fn fail(&mut self, fault: Fault) -> Fault {
        if let (Some(alert), Life::Alive(keys), false) = (fault.alert(), &mut self.life, self.sent_close) {
            let level = if alert == AlertDescription::CLOSE_NOTIFY { WARNING } else { FATAL };
            // Without a key to say it the connection ends without an alert.
            let _ = keys.tx.seal(ContentType::ALERT, &[level, alert.0], &mut self.outgoing);
        }
        self.end(fault);
        fault
    }

    #[cfg(test)]
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.life, Life::Over(_))
    }

    fn end_if_closed(&mut self) {
        if self.sent_close && self.received_close {
            self.end(Fault::Closed);
        }
    }

    fn end(&mut self, fault: Fault) {
        self.life = Life::Over(fault);
        self.incoming.clear();
    }
}

/// Can a session be held at all within these limits, from record `tx_sequence` on?
pub(crate) fn check_limits(limits: &Limits, tx_sequence: u64) -> Result<(), HandoverRefused> {
    // One record of data, and one for the last word.
    let records = tx_sequence.saturating_add(2) <= limits.records;
    let bytes = limits.bytes >= MAX_FRAGMENT as u64 + 1 + CONTROL_BYTES;
    if records && bytes && limits.seconds > 0 { Ok(()) } else { Err(HandoverRefused::Limits) }
}
