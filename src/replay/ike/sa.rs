//! One IKE SA: its messages as entries of the account, retransmissions and fragments among them.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use keyferry_parsers::ike::rules::{self, Position};
use keyferry_parsers::ike::v1::Fragment;
use keyferry_parsers::ike::{ExchangeType, PayloadType, RawMessage, v1, v2};

use crate::replay::account::{Account, MessageEntry, Outcome, Protocol, Side};
use crate::replay::ike_secrets::{IkeSecrets, Spi};

use super::fragments::{Fragments, Piece, Set, SetId};
use super::proof::Proof;
use super::v1::V1;
use super::v2::{Seed, V2};
use super::{Limits, Received, story};

/// Messages that a retransmission is compared with.
const MAX_SEEN: usize = 64;
/// Payloads that an entry names, and what else of an account grows with hostile messages.
const MAX_NAMES: usize = 48;
/// Keys of one account.
const MAX_KEYS: usize = 256;
/// Payloads that all entries name.
const MAX_ALL_NAMES: usize = 4096;

/// What a reader of one version found in a message.
pub(super) struct Reading {
    /// What anyone can read.
    pub(super) clear: Vec<PayloadType>,
    /// What was encrypted; `None` if it could not be opened.
    pub(super) inner: Option<Vec<PayloadType>>,
    pub(super) malformed: Option<String>,
    pub(super) position: Position,
}

/// What a reader writes to.
pub(super) struct Record<'a> {
    pub(super) secrets: &'a IkeSecrets,
    pub(super) account: &'a mut Account,
    pub(super) proof: &'a mut Proof,
}

/// An IKE SA.
pub(super) struct Sa {
    account: Account,
    proof: Proof,
    version: Version,
    fragments: Fragments,
    seen: VecDeque<Seen>,
    /// Messages beyond the limit.
    uncounted: u64,
    answered: bool,
    names_left: usize,
}

enum Version {
    V1(Box<V1>),
    V2(Box<V2>),
}

/// A message that was there, and which entry it has.
struct Seen {
    from: Side,
    exchange: ExchangeType,
    message_id: u32,
    digest: u64,
    entry: usize,
}

/// A message, in however many datagrams it came.
struct Whole<'a> {
    time: Duration,
    from: Side,
    raw: RawMessage<'a>,
    pieces: &'a [&'a [u8]],
    fragments: u32,
    length: u32,
}

impl Sa {
    /// The SA of which `received` is the first message.
    pub(super) fn new(received: &Received<'_>) -> Self {
        let header = &received.raw.header;
        let spis = (header.initiator_spi, header.responder_spi);
        let (protocol, version) = match header.version.major() {
            1 => (Protocol::Ikev1, Version::V1(Box::new(V1::new(spis)))),
            _ => (Protocol::Ikev2, Version::V2(Box::new(V2::new(spis)))),
        };
        let (initiator, responder) = match received.first_side() {
            Side::Initiator => (received.source, received.destination),
            Side::Responder => (received.destination, received.source),
        };
        let mut account = Account::new(protocol, initiator, responder, exchange_name(header.exchange_type));
        account.version = header.version.to_string();
        account.spi_i = Some(spis.0);
        account.spi_r = Some(spis.1).filter(|spi| *spi != Spi::default());
        Self {
            account,
            proof: Proof::default(),
            version,
            fragments: Fragments::default(),
            seen: VecDeque::new(),
            uncounted: 0,
            answered: false,
            names_left: MAX_ALL_NAMES,
        }
    }

    /// It replaces another one.
    pub(super) fn set_seed(&mut self, seed: Seed) {
        self.account.offered.clone_from(&seed.offered);
        self.account.chosen = seed.chosen.clone();
        if let Version::V2(version) = &mut self.version {
            version.set_seed(seed);
        }
    }

    /// The responder has answered.
    pub(super) fn set_responder_spi(&mut self, spi: Spi) {
        self.account.spi_r = Some(spi);
        match &mut self.version {
            Version::V1(version) => version.set_responder_spi(spi),
            Version::V2(version) => version.set_responder_spi(spi),
        }
    }

    /// The responder has not chosen algorithms yet, and may begin anew.
    pub(super) fn is_undecided(&self) -> bool {
        match &self.version {
            Version::V1(_) => false,
            Version::V2(version) => version.is_undecided(),
        }
    }

    pub(super) fn successor(&mut self) -> Option<(Spi, Spi, Seed)> {
        match &mut self.version {
            Version::V1(_) => None,
            Version::V2(version) => version.successor.take(),
        }
    }

    /// Who sent it: by the header, of IKEv1 by the addresses, of which a NAT may change the ports.
    pub(super) fn side(&self, received: &Received<'_>) -> Side {
        if matches!(self.version, Version::V2(_)) {
            return received.first_side();
        }
        let score = |from: SocketAddr, to: SocketAddr| {
            let same =
                |own: SocketAddr, other: SocketAddr| u8::from(own == other) + 2 * u8::from(own.ip() == other.ip());
            same(from, received.source) + same(to, received.destination)
        };
        let (initiator, responder) = (self.account.initiator, self.account.responder);
        if score(initiator, responder) >= score(responder, initiator) { Side::Initiator } else { Side::Responder }
    }

    /// Takes a message, or a fragment of one.
    pub(super) fn message(&mut self, received: &Received<'_>, secrets: &IkeSecrets, limits: &Limits) {
        let from = self.side(received);
        self.answered |= from == Side::Responder;
        let whole = Whole {
            time: received.time,
            from,
            raw: received.raw,
            pieces: &[received.bytes],
            fragments: if received.fragmented { 2 } else { 1 },
            length: received.length,
        };
        if let Some(broken) = &received.broken {
            let names = received.raw.payloads().map_while(Result::ok).map(|payload| payload.payload_type).collect();
            return self.push(&whole, names, Some(broken.clone()), limits);
        }
        match self.piece(received) {
            None => self.whole(&whole, secrets, limits),
            Some((id, piece)) => {
                if let Some(set) = self.fragments.add(id, piece) {
                    self.assembled(&whole, set, secrets, limits);
                }
            }
        }
        self.bound();
    }

    /// The message as a piece of another one, if it is one.
    fn piece<'a>(&self, received: &Received<'a>) -> Option<(SetId, Piece<'a>)> {
        let header = &received.raw.header;
        let last = received.raw.payloads().last()?.ok()?;
        let (fragment_id, number, total, data) = match (last.payload_type, &self.version) {
            (PayloadType::FRAGMENT, Version::V1(_)) => match v1::Body::parse(last.payload_type, last.body).ok()? {
                v1::Body::Fragment(fragment) => {
                    let Fragment { fragment_id, fragment_number, data, .. } = fragment;
                    let number = u16::from(fragment_number);
                    (fragment_id, number, fragment.is_last().then_some(number), data)
                }
                _ => return None,
            },
            (PayloadType::V2_SKF, Version::V2(_)) => match v2::Payload::from_raw(last).ok()?.body {
                v2::Body::EncryptedFragment(fragment) => {
                    let total = fragment.total_fragments;
                    (total, fragment.fragment_number, Some(total), received.bytes)
                }
                _ => return None,
            },
            _ => return None,
        };
        let from_initiator = self.side(received) == Side::Initiator;
        let id = SetId { from_initiator, exchange: header.exchange_type.0, message_id: header.message_id, fragment_id };
        Some((id, Piece { number, total, data, wire_length: received.length, time: received.time }))
    }

    fn assembled(&mut self, last: &Whole<'_>, set: Set, secrets: &IkeSecrets, limits: &Limits) {
        let fragments = set.count();
        if let Version::V2(_) = self.version {
            let pieces: Vec<&[u8]> = set.pieces.values().map(Vec::as_slice).collect();
            let Some(raw) = pieces.first().and_then(|first| RawMessage::parse(first).ok()) else { return };
            let whole = Whole { raw, pieces: &pieces, fragments, length: set.wire_length, ..*last };
            return self.whole(&whole, secrets, limits);
        }
        let bytes: Vec<u8> = set.pieces.into_values().flatten().collect();
        match RawMessage::parse(&bytes) {
            // What a fragment carries is a message of this very SA, and no fragment again.
            Ok(raw) if raw.next_payload != PayloadType::FRAGMENT && raw.header.version.major() == 1 => {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let whole = Whole { raw, pieces: &[&bytes], fragments, length, ..*last };
                self.whole(&whole, secrets, limits);
            }
            result => {
                let fault = result.err().map_or_else(|| "is a fragment again".to_owned(), |error| error.to_string());
                let whole = Whole { fragments, length: set.wire_length, ..*last };
                let malformed = format!("put together from fragments, it cannot be read: {fault}");
                self.push(&whole, vec![PayloadType::FRAGMENT], Some(malformed), limits);
            }
        }
    }

    /// Takes a message that is whole.
    fn whole(&mut self, whole: &Whole<'_>, secrets: &IkeSecrets, limits: &Limits) {
        let header = &whole.raw.header;
        let digest = digest(whole.pieces);
        let same = |seen: &&Seen| {
            seen.digest == digest
                && seen.from == whole.from
                && seen.message_id == header.message_id
                && seen.exchange == header.exchange_type
        };
        if let Some(entry) = self.seen.iter().find(same).map(|seen| seen.entry) {
            let before = self.account.messages.get(entry).cloned();
            if let Some(mut before) = before.filter(|_| self.account.messages.len() < limits.messages) {
                before.payloads.truncate(self.names_left);
                self.names_left = self.names_left.saturating_sub(before.payloads.len());
                self.account.messages.push(MessageEntry { t: whole.time, retransmission: true, ..before });
            } else {
                self.uncounted = self.uncounted.saturating_add(1);
            }
            return;
        }
        if self.seen.len() >= MAX_SEEN {
            self.seen.pop_front();
        }
        let (from, exchange, message_id) = (whole.from, header.exchange_type, header.message_id);
        self.seen.push_back(Seen { from, exchange, message_id, digest, entry: self.account.messages.len() });
        let mut record = Record { secrets, account: &mut self.account, proof: &mut self.proof };
        let reading = match &mut self.version {
            Version::V1(version) => version.read(&whole.raw, from, &mut record),
            Version::V2(version) => version.read(&whole.raw, whole.pieces, from, &mut record),
        };
        let Reading { clear, inner, malformed, position } = reading;
        let payloads = rules::Payloads { clear: &clear, encrypted: inner.as_deref() };
        let broken = || rules::check(exchange, position, payloads).err().map(|broken| broken.to_string());
        let malformed = malformed.or_else(broken);
        let names = clear.iter().chain(inner.iter().flatten()).copied().collect();
        self.push(whole, names, malformed, limits);
        story::weaknesses(&mut self.account);
    }

    fn push(&mut self, whole: &Whole<'_>, names: Vec<PayloadType>, malformed: Option<String>, limits: &Limits) {
        if self.account.messages.len() >= limits.messages {
            self.uncounted = self.uncounted.saturating_add(1);
            return;
        }
        let names: Vec<String> = names.iter().take(MAX_NAMES.min(self.names_left)).map(ToString::to_string).collect();
        self.names_left = self.names_left.saturating_sub(names.len());
        self.account.messages.push(MessageEntry {
            t: whole.time,
            from: whole.from,
            kind: whole.raw.header.exchange_type.to_string(),
            message_id: Some(whole.raw.header.message_id),
            payloads: names,
            bytes: whole.length,
            retransmission: false,
            fragments: whole.fragments,
            malformed,
        });
    }

    fn bound(&mut self) {
        self.account.identities.truncate(MAX_NAMES);
        self.account.certificates.truncate(MAX_NAMES);
        self.account.keys.truncate(MAX_KEYS);
    }

    /// The account as it stands, and how many messages were too many for it.
    pub(super) fn finish(mut self, limits: &Limits) -> (Account, u64) {
        for (id, set) in self.fragments.drain() {
            self.incomplete(&id, &set, limits);
        }
        match &mut self.version {
            Version::V1(version) => version.finish(&mut self.account),
            Version::V2(version) => version.finish(&mut self.account),
        }
        let repeated = self.account.messages.iter().filter(|message| message.retransmission).count();
        if !self.answered && repeated > 0 && self.account.outcome == Outcome::Incomplete {
            story::no_answer(&mut self.account, repeated.saturating_add(1));
        }
        self.account.verification = self.proof.verification();
        (self.account, self.uncounted)
    }

    /// A message of which fragments are missing, unless it came once before.
    fn incomplete(&mut self, id: &SetId, set: &Set, limits: &Limits) {
        let exchange = ExchangeType(id.exchange);
        let is_it = |seen: &Seen| (seen.from, seen.exchange, seen.message_id) == (id.from(), exchange, id.message_id);
        if self.seen.iter().any(is_it) || self.account.messages.len() >= limits.messages {
            return;
        }
        let payload =
            if self.account.protocol == Protocol::Ikev1 { PayloadType::FRAGMENT } else { PayloadType::V2_SKF };
        let of = set.total.map_or_else(String::new, |total| format!(" of {total}"));
        self.account.messages.push(MessageEntry {
            t: set.time,
            from: id.from(),
            kind: exchange.to_string(),
            message_id: Some(id.message_id),
            payloads: vec![payload.to_string()],
            bytes: set.wire_length,
            retransmission: false,
            fragments: set.count(),
            malformed: Some(format!("only {}{of} fragments came", set.count())),
        });
    }
}

/// Enough to tell a retransmission; nobody is protected by it.
fn digest(pieces: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    pieces.iter().for_each(|piece| hasher.write(piece));
    hasher.finish()
}

fn exchange_name(exchange: ExchangeType) -> &'static str {
    match exchange {
        ExchangeType::BASE => "base",
        ExchangeType::IDENTITY_PROTECTION => "main",
        ExchangeType::AUTHENTICATION_ONLY => "authentication_only",
        ExchangeType::AGGRESSIVE => "aggressive",
        ExchangeType::INFORMATIONAL_V1 | ExchangeType::INFORMATIONAL => "informational",
        ExchangeType::TRANSACTION => "transaction",
        ExchangeType::QUICK_MODE => "quick",
        ExchangeType::NEW_GROUP_MODE => "new_group",
        ExchangeType::IKE_SA_INIT => "ike_sa_init",
        ExchangeType::IKE_AUTH => "ike_auth",
        ExchangeType::CREATE_CHILD_SA => "create_child_sa",
        ExchangeType::IKE_SESSION_RESUME => "ike_session_resume",
        _ => "other",
    }
}
