//! Follows IKE through a capture: every datagram to the SA that it belongs to, every SA into one account.
//!
//! ```text
//! ike            which datagrams are IKE, and of which SA
//!   sa           one SA: entries, retransmissions, fragments (fragments)
//!     v1, v2     reads, opens and checks the messages of one version
//!       offer    proposals in words
//!       proof    what the secrets have proved; signatures
//!       story    causes and weaknesses in words
//! ```
//!
//! An exchange belongs to the SA whose SPIs are in its header: quick modes, rekeys of children and deletes are messages of
//! the account of their IKE SA, and an IKE SA that replaces another is an account of its own.
//!
//! Assumptions, where messages cannot be read: main mode is complete with its sixth message, aggressive mode with its
//! third, IKEv2 with an answer to IKE_AUTH that is longer than a lone notification or with any exchange after it.

mod certificate;
mod fragments;
mod offer;
mod proof;
mod sa;
mod story;
mod v1;
mod v2;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use keyferry_parsers::ike::{
    ExchangeType, Flags, Header, PayloadType, RawMessage, looks_like_ike, strip_non_esp_marker,
};

use crate::packet::Datagram;
use crate::replay::account::{Account, Side};
use crate::replay::ike_secrets::{IkeSecrets, Spi};

use sa::Sa;
use v2::Seed;

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// SAs at a time; the one that has been silent for longest is done when a new one comes.
    pub sas: usize,
    /// Messages of one account.
    pub messages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sas: 512, messages: 400 }
    }
}

/// Bytes that are kept of one field for later checks. Those of real messages are smaller, with ML-KEM and certificates,
/// too.
const MAX_KEPT: usize = 8 * 1024;

fn kept(bytes: &[u8]) -> Vec<u8> {
    bytes.get(..MAX_KEPT).unwrap_or(bytes).to_vec()
}

/// Keys of SAs that have not begun yet.
const MAX_SEEDS: usize = 64;

/// All SAs of a capture. Give it datagrams in their order, then [`Tracker::finish`].
pub struct Tracker {
    secrets: IkeSecrets,
    limits: Limits,
    sas: BTreeMap<Spis, (u64, Sa)>,
    /// SAs by when they were last heard of.
    turns: BTreeMap<u64, Spis>,
    turn: u64,
    seeds: BTreeMap<Spis, Seed>,
    uncounted: u64,
}

/// Initiator's and responder's; the latter is zero until it has answered.
type Spis = (Spi, Spi);

/// A message as it was received.
struct Received<'a> {
    time: Duration,
    source: SocketAddr,
    destination: SocketAddr,
    fragmented: bool,
    raw: RawMessage<'a>,
    bytes: &'a [u8],
    /// As its header says.
    length: u32,
    /// Why it is not what its header says.
    broken: Option<String>,
}

impl Tracker {
    /// One that has seen nothing.
    pub fn new(secrets: IkeSecrets, limits: Limits) -> Self {
        let (sas, turns, seeds) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { secrets, limits, sas, turns, turn: 0, seeds, uncounted: 0 }
    }

    /// Takes a datagram; false if it is not IKE. `done` gets the accounts of SAs that made room for new ones.
    pub fn datagram(&mut self, datagram: &Datagram<'_>, done: &mut dyn FnMut(Account)) -> bool {
        let Some(received) = received(datagram) else {
            return false;
        };
        let spis = self.find(&received, done);
        let successor = match self.sas.get_mut(&spis) {
            Some((_, sa)) => {
                sa.message(&received, &self.secrets, &self.limits);
                sa.successor()
            }
            None => None,
        };
        if let Some((spi_i, spi_r, seed)) = successor {
            if self.seeds.len() >= MAX_SEEDS {
                self.seeds.pop_first();
            }
            self.seeds.insert((spi_i, spi_r), seed);
        }
        true
    }

    /// The capture is over: every account as it stands, in the order of their first messages.
    pub fn finish(&mut self, done: &mut dyn FnMut(Account)) {
        self.turns.clear();
        let sas = std::mem::take(&mut self.sas).into_values();
        let mut accounts: Vec<Account> = sas.map(|(_, sa)| account(sa, &self.limits, &mut self.uncounted)).collect();
        accounts.sort_by_key(|account: &Account| account.messages.first().map(|message| message.t));
        accounts.into_iter().for_each(done);
    }

    /// Messages that the accounts so far do not list, because they were too many.
    pub fn uncounted(&self) -> u64 {
        self.uncounted
    }

    /// The SA of a message, which is new if there was none.
    fn find(&mut self, received: &Received<'_>, done: &mut dyn FnMut(Account)) -> Spis {
        let header = &received.raw.header;
        let (i, r) = (header.initiator_spi, header.responder_spi);
        let (spis, sa) = match self.take(i, r) {
            Some((spis, sa)) => (spis, sa),
            None => {
                self.make_room(done);
                let mut sa = Sa::new(received);
                if let Some(seed) = self.seeds.remove(&(i, r)) {
                    sa.set_seed(seed);
                }
                ((i, r), sa)
            }
        };
        self.turn = self.turn.saturating_add(1);
        self.turns.insert(self.turn, spis);
        self.sas.insert(spis, (self.turn, sa));
        spis
    }

    /// Takes out the SA of these SPIs, known by a responder's SPI from now on if there is one.
    fn take(&mut self, i: Spi, r: Spi) -> Option<(Spis, Sa)> {
        const NONE: Spi = [0; 8];
        let latest = || {
            let all = self.sas.range((i, NONE)..=(i, [0xff; 8]));
            all.max_by_key(|(_, (turn, _))| *turn).map(|(spis, (_, sa))| (*spis, sa))
        };
        let known = if r == NONE {
            // The first message again, perhaps with a cookie, after the answer to it.
            latest()?.0
        } else if self.sas.contains_key(&(i, r)) {
            (i, r)
        } else {
            // A responder that asked for a cookie or another group need not have kept its SPI.
            latest().filter(|(spis, sa)| spis.1 == NONE || sa.is_undecided())?.0
        };
        let (turn, mut sa) = self.sas.remove(&known)?;
        self.turns.remove(&turn);
        if r != NONE && known.1 != r {
            sa.set_responder_spi(r);
            return Some(((i, r), sa));
        }
        Some((known, sa))
    }

    fn make_room(&mut self, done: &mut dyn FnMut(Account)) {
        while self.sas.len() >= self.limits.sas.max(1) {
            let Some((_, spis)) = self.turns.pop_first() else { return };
            if let Some((_, sa)) = self.sas.remove(&spis) {
                done(account(sa, &self.limits, &mut self.uncounted));
            }
        }
    }
}

fn account(sa: Sa, limits: &Limits, uncounted: &mut u64) -> Account {
    let (account, too_many) = sa.finish(limits);
    *uncounted = uncounted.saturating_add(too_many);
    account
}

impl Received<'_> {
    /// Who sends it, by the message alone: of IKEv2 its flag says so.
    fn first_side(&self) -> Side {
        let header = &self.raw.header;
        let by_responder = if header.version.major() == 1 {
            let phase_1 = matches!(header.exchange_type, ExchangeType::IDENTITY_PROTECTION | ExchangeType::AGGRESSIVE);
            phase_1 && self.raw.next_payload == PayloadType::SA && header.responder_spi != Spi::default()
        } else {
            !header.flags.contains(Flags::INITIATOR)
        };
        if by_responder { Side::Responder } else { Side::Initiator }
    }
}

/// The IKE message in a datagram, if there is one.
fn received<'a>(datagram: &Datagram<'a>) -> Option<Received<'a>> {
    let bytes = message(datagram)?;
    let (raw, length, broken) = cut(bytes, datagram.missing)?;
    Some(Received {
        time: datagram.arrival.time,
        source: datagram.source,
        destination: datagram.destination,
        fragmented: datagram.fragmented,
        raw,
        bytes,
        length,
        broken,
    })
}

fn message<'a>(datagram: &Datagram<'a>) -> Option<&'a [u8]> {
    let payload = datagram.payload;
    let on = |port| datagram.source.port() == port || datagram.destination.port() == port;
    let after_marker = strip_non_esp_marker(payload);
    if on(4500) && after_marker.is_some() {
        return after_marker;
    }
    let likely = |bytes: &&[u8]| looks_like_ike(bytes);
    match after_marker.filter(likely) {
        Some(bytes) => Some(bytes),
        None => Some(payload).filter(|bytes| likely(bytes) || on(500)),
    }
}

/// The header, and what follows it even if that is not as long as the header says.
fn cut(bytes: &[u8], missing: usize) -> Option<(RawMessage<'_>, u32, Option<String>)> {
    const LENGTH_AT: usize = Header::LENGTH - 4;
    let (mut header, body) = bytes.split_first_chunk::<{ Header::LENGTH }>().map(|(header, body)| (*header, body))?;
    let (_, length) = header.split_last_chunk_mut::<4>()?;
    let said = u32::from_be_bytes(*length);
    *length = (LENGTH_AT as u32 + 4).to_be_bytes();
    let RawMessage { header, next_payload, .. } = RawMessage::parse(&header).ok()?;
    if !matches!(header.version.major(), 1 | 2) {
        return None;
    }
    let broken = match RawMessage::parse(bytes) {
        Ok(raw) => return Some((raw, said, None)),
        Err(_) if missing > 0 => "the capture has cut it short".to_owned(),
        Err(_) => format!("its header says {said} bytes, but it has {}", bytes.len()),
    };
    // What follows the end that it names is no part of it.
    let end = usize::try_from(said).unwrap_or(usize::MAX).saturating_sub(Header::LENGTH);
    let body = body.get(..end).unwrap_or(body);
    Some((RawMessage { header, next_payload, body }, said, Some(broken)))
}

#[cfg(test)]
mod tests;
