//! One TCP connection: is it TLS, and from its first record to the end of the handshake, what is it?

use std::net::SocketAddr;
use std::time::Duration;

use keyferry_parsers::tls::{ProtocolVersion, ssl2};

use super::Limits;
use super::certificates::Certificates;
use super::handshake::{Handshaking, Next};
use super::records::{Flow, Records, Span, Step};
use super::starttls::{self, Start};
use super::told::{Offer, Told, show_version};
use crate::packet::{Closed, Direction};
use crate::replay::account::{Account, Protocol, Side};
use crate::replay::keylog::KeyLog;

/// What all connections share.
pub(super) struct Shared {
    pub(super) key_log: KeyLog,
    pub(super) certificates: Certificates,
    pub(super) limits: Limits,
}

/// A TCP connection.
pub(super) struct Connection {
    client: SocketAddr,
    server: SocketAddr,
    /// Bytes in the clear so far, of either direction.
    clear: [u64; 2],
    /// A first segment that is too short to tell what it is.
    first: [Vec<u8>; 2],
    tls: Option<Box<Tls>>,
}

/// Once it is known to be TLS.
struct Tls {
    /// Who is the client of TLS.
    initiator: Direction,
    handshaking: Handshaking,
    records: [Records; 2],
    /// The responder's records have begun.
    answered: bool,
}

/// What a connection is after an event.
pub(super) enum Verdict {
    /// Go on.
    More,
    /// It is no TLS.
    Other,
    /// Its handshake is over, one way or the other.
    Done(Box<Account>),
}

impl Connection {
    pub(super) fn new(client: SocketAddr, server: SocketAddr) -> Self {
        Self { client, server, clear: [0; 2], first: [const { Vec::new() }; 2], tls: None }
    }

    /// The next bytes of a direction.
    pub(super) fn data(
        &mut self,
        direction: Direction,
        time: Duration,
        offset: u64,
        bytes: &[u8],
        shared: &mut Shared,
    ) -> Verdict {
        if self.tls.is_none() {
            return self.clear(direction, time, offset, bytes, shared);
        }
        let next = self.tls.as_mut().map(|tls| tls.data(direction, time, offset, bytes, shared));
        self.verdict(next)
    }

    /// Bytes of a direction that will never come.
    pub(super) fn gap(&mut self, direction: Direction, length: u64) -> Verdict {
        match &mut self.tls {
            Some(tls) => tls.gap(direction, length),
            None => {
                let [first, clear] = [direction; 2].map(index);
                if let (Some(first), Some(clear)) = (self.first.get_mut(first), self.clear.get_mut(clear)) {
                    first.clear();
                    *clear = clear.saturating_add(length);
                }
            }
        }
        Verdict::More
    }

    /// Bytes of a direction that came again.
    pub(super) fn retransmitted(&mut self, direction: Direction, span: Span) {
        if let Some(tls) = &mut self.tls {
            let side = tls.side(direction);
            tls.handshaking.told.retransmitted(side, span);
        }
    }

    /// Its end.
    pub(super) fn closed(self, how: Option<Closed>) -> Option<Account> {
        let tls = *self.tls?;
        let initiator = tls.initiator;
        let side = |direction| if direction == initiator { Side::Initiator } else { Side::Responder };
        let mut handshaking = tls.handshaking;
        match how {
            Some(Closed::Finished) => handshaking.broken_off(None),
            Some(Closed::Reset(direction)) => handshaking.broken_off(Some(side(direction))),
            Some(Closed::Replaced | Closed::Evicted | Closed::CaptureEnded) | None => {}
        }
        for (side, records) in [Side::Initiator, Side::Responder].into_iter().zip(&tls.records) {
            handshaking.left_over(side, records.waiting());
        }
        Some(handshaking.into_account())
    }

    fn verdict(&mut self, next: Option<Next>) -> Verdict {
        match next {
            Some(Next::Over) => match self.tls.take() {
                Some(tls) => Verdict::Done(Box::new(tls.handshaking.into_account())),
                None => Verdict::Other,
            },
            Some(Next::More) | None => Verdict::More,
        }
    }

    /// Not known to be TLS yet.
    fn clear(
        &mut self,
        direction: Direction,
        time: Duration,
        mut offset: u64,
        bytes: &[u8],
        shared: &mut Shared,
    ) -> Verdict {
        let (Some(first), Some(clear)) = (self.first.get_mut(index(direction)), self.clear.get_mut(index(direction)))
        else {
            return Verdict::Other;
        };
        *clear = clear.saturating_add(bytes.len() as u64);
        let clear = *clear;
        // The start of a record may come byte by byte.
        let mut whole = std::mem::take(first);
        let bytes = if whole.is_empty() {
            bytes
        } else {
            offset = offset.saturating_sub(whole.len() as u64);
            whole.extend_from_slice(bytes);
            &whole
        };
        if let Some((at, start)) = starttls::find(bytes) {
            let mut tls =
                Box::new(self.begin(direction, start, offset.saturating_add(at as u64), shared.limits.messages));
            let next = tls.data(direction, time, offset, bytes.get(at..).unwrap_or_default(), shared);
            self.tls = Some(tls);
            return self.verdict(Some(next));
        }
        if bytes.len() < starttls::NEEDED && matches!(bytes.first(), Some(20..=22 | 0x80..)) {
            let kept = bytes.to_vec();
            if let Some(first) = self.first.get_mut(index(direction)) {
                *first = kept;
            }
            return Verdict::More;
        }
        if clear > shared.limits.clear_bytes { Verdict::Other } else { Verdict::More }
    }

    fn begin(&self, direction: Direction, start: Start, at: u64, most: usize) -> Tls {
        let initiator = match start {
            Start::ClientHello | Start::Ssl2ClientHello => direction,
            Start::ServerHello | Start::Ssl2ServerHello | Start::Alert => direction.reverse(),
        };
        let (from, to) = match initiator {
            Direction::FromClient => (self.client, self.server),
            Direction::FromServer => (self.server, self.client),
        };
        let ssl2 = matches!(start, Start::Ssl2ClientHello | Start::Ssl2ServerHello);
        let records = Records::start(at, ssl2);
        let told = Told::new(Protocol::Tls, from, to, most);
        let answered = initiator != direction;
        // Where the server is seen first, the client may be in the middle of something.
        let records = if answered { [Records::anywhere(), records] } else { [records, Records::default()] };
        Tls { initiator, handshaking: Handshaking::new(told), records, answered }
    }
}

impl Tls {
    fn side(&self, direction: Direction) -> Side {
        if direction == self.initiator { Side::Initiator } else { Side::Responder }
    }

    fn data(
        &mut self,
        direction: Direction,
        time: Duration,
        offset: u64,
        mut bytes: &[u8],
        shared: &mut Shared,
    ) -> Next {
        let side = self.side(direction);
        if side == Side::Responder && !self.answered {
            let start = starttls::find(bytes);
            // What was said in the clear before, and came late; or too little to tell.
            let (at, start) = match start {
                Some((at, start)) => (at, Some(start)),
                None if matches!(bytes.first(), Some(20..=24)) => (0, None),
                None => return self.handshaking.in_the_clear(bytes.len()),
            };
            self.answered = true;
            bytes = bytes.get(at..).unwrap_or_default();
            let ssl2 = start == Some(Start::Ssl2ServerHello);
            *self.records_of(side) = Records::start(offset.saturating_add(at as u64), ssl2);
        }
        let mut records = std::mem::take(self.records_of(side));
        let handshaking = &mut self.handshaking;
        let mut next = Next::More;
        records.feed(bytes, |step, span, ssl2| {
            next = match step {
                Step::Record(record) => handshaking.record(side, time, span, &record, shared),
                Step::Ssl2(data) => old_hello(handshaking, side, time, span, data, ssl2, shared),
                Step::Foreign => handshaking.foreign(side, time, span),
            };
            if next == Next::Over { Flow::Stop } else { Flow::On }
        });
        *self.records_of(side) = records;
        next
    }

    fn gap(&mut self, direction: Direction, length: u64) {
        let side = self.side(direction);
        if side == Side::Responder && !self.answered {
            return self.handshaking.told.missing(side, length);
        }
        self.records_of(side).gap(length);
        self.handshaking.gap(side, length);
    }

    fn records_of(&mut self, side: Side) -> &mut Records {
        let [initiator, responder] = &mut self.records;
        match side {
            Side::Initiator => initiator,
            Side::Responder => responder,
        }
    }
}

/// A record of SSL 2.0: a hello, of whatever version, or what follows the hellos of SSL 2.0.
fn old_hello(
    handshaking: &mut Handshaking,
    side: Side,
    time: Duration,
    span: Span,
    data: &[u8],
    ssl2: &mut bool,
    shared: &Shared,
) -> Next {
    match (ssl2::Message::parse(data), side) {
        (Ok(ssl2::Message::ClientHello(hello)), Side::Initiator) => {
            let mut random = [0; 32];
            let challenge = hello.challenge.iter().rev();
            random.iter_mut().rev().zip(challenge).for_each(|(to, from)| *to = *from);
            let suites: Vec<_> = hello.cipher_specs.iter().filter_map(|spec| spec.cipher_suite()).collect();
            let told = &mut handshaking.told;
            told.offer(&Offer { legacy_version: hello.version, random: &random, suites: &suites, extensions: &[] });
            told.account.offered = hello
                .cipher_specs
                .iter()
                .map(|spec| match spec.cipher_suite() {
                    Some(suite) => super::told::suite_name(suite),
                    None => spec.name().map_or_else(|| format!("{:#08x}", spec.0), str::to_owned),
                })
                .collect();
            handshaking.old_client_hello(time, span, data, shared);
            *ssl2 = hello.version == ProtocolVersion::SSL_2_0;
            Next::More
        }
        (Ok(ssl2::Message::ServerHello(hello)), Side::Responder) => {
            let told = &mut handshaking.told;
            told.version = Some(hello.version);
            told.account.version = show_version(hello.version);
            handshaking.old_message(side, time, span, "server_hello", data.len());
            Next::More
        }
        (Ok(ssl2::Message::Error(_)), _) => {
            handshaking.old_message(side, time, span, "error", data.len());
            let words = format!("the {} reported an error of SSL 2.0", super::story::name(side));
            handshaking.told.account.fail(super::story::fault(side), words);
            Next::Over
        }
        _ => handshaking.old_record(side, time, span, data.len()),
    }
}

fn index(direction: Direction) -> usize {
    match direction {
        Direction::FromClient => 0,
        Direction::FromServer => 1,
    }
}
