//! DTLS in datagrams: the hellos, put together from their fragments, and what is in the clear after them. Nothing is
//! decrypted.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use keyferry_parsers::tls::dtls::{ClientHello, HandshakeFragment, Message, PlainRecord, Record};
use keyferry_parsers::tls::{Alert, ContentType, HandshakeType};

use super::connection::Shared;
use super::told::{Came, Offer, Told};
use crate::packet::Datagram;
use crate::replay::account::{Account, Outcome, Protocol, Side, Verification};

/// The handshakes under way.
#[derive(Default)]
pub(super) struct Flows {
    by_ends: BTreeMap<Ends, Flow>,
    /// In the order they began.
    order: VecDeque<Ends>,
}

/// Both ends, the lower one first.
type Ends = (SocketAddr, SocketAddr);

struct Flow {
    initiator: SocketAddr,
    told: Told,
    halves: [Half; 2],
    /// Its account was given. It stays, so that repeated messages do not look like a new one.
    done: bool,
}

#[derive(Default)]
struct Half {
    /// Types of the messages so far, by their numbers.
    seen: BTreeMap<u16, HandshakeType>,
    partial: Option<Partial>,
    finished: bool,
    sealed: u32,
}

/// A message whose fragments are still coming.
struct Partial {
    message_seq: u16,
    msg_type: HandshakeType,
    body: Vec<u8>,
    fragments: u32,
}

/// The longest message that is put together, in bytes.
const MOST_BODY: usize = 16 * 1024;
/// Message numbers that are remembered of a side.
const MOST_SEEN: usize = 64;

impl Flows {
    pub(super) fn datagram(
        &mut self,
        datagram: &Datagram<'_>,
        shared: &mut Shared,
        done: &mut dyn FnMut(Account),
    ) -> bool {
        if !matches!(datagram.payload.first(), Some(20..=26 | 0x20..=0x3f)) {
            return false;
        }
        let ends = ends(datagram);
        let opening = opening(datagram.payload);
        match self.by_ends.get(&ends) {
            Some(flow) if !flow.is_replaced_by(opening.as_ref()) => {}
            None if opening.is_none() => return false,
            _ => self.begin(ends, datagram, opening.as_ref(), shared, done),
        }
        let Some(flow) = self.by_ends.get_mut(&ends) else { return false };
        if !flow.done && flow.datagram(datagram, shared) {
            flow.done = true;
            let told = std::mem::replace(&mut flow.told, Told::new(Protocol::Dtls, ends.0, ends.1, 0));
            // To know a repeated hello by.
            flow.told.account.client_random = told.account.client_random;
            done(account(told, shared));
        }
        true
    }

    pub(super) fn finish(self, shared: &Shared, done: &mut dyn FnMut(Account)) {
        let Self { mut by_ends, order } = self;
        for ends in order {
            if let Some(flow) = by_ends.remove(&ends) {
                flow.finish(shared, done);
            }
        }
    }

    fn begin(
        &mut self,
        ends: Ends,
        datagram: &Datagram<'_>,
        opening: Option<&Opening>,
        shared: &Shared,
        done: &mut dyn FnMut(Account),
    ) {
        let (source, destination) = (datagram.source, datagram.destination);
        let by_client = opening.is_none_or(|opening| opening.msg_type == HandshakeType::CLIENT_HELLO);
        let (initiator, responder) = if by_client { (source, destination) } else { (destination, source) };
        let told = Told::new(Protocol::Dtls, initiator, responder, shared.limits.messages);
        let flow = Flow { initiator, told, halves: [Half::default(), Half::default()], done: false };
        match self.by_ends.insert(ends, flow) {
            Some(old) => old.finish(shared, done),
            None => self.order.push_back(ends),
        }
        if self.order.len() > shared.limits.flows.max(1)
            && let Some(oldest) = self.order.pop_front()
            && let Some(flow) = self.by_ends.remove(&oldest)
        {
            flow.finish(shared, done);
        }
    }
}

fn ends(datagram: &Datagram<'_>) -> Ends {
    let (source, destination) = (datagram.source, datagram.destination);
    if source < destination { (source, destination) } else { (destination, source) }
}

/// A message with which a handshake may be seen first.
struct Opening {
    msg_type: HandshakeType,
    /// Of a ClientHello in one piece.
    random: Option<[u8; 32]>,
}

fn opening(payload: &[u8]) -> Option<Opening> {
    let Ok((Record::Plain(record), _)) = Record::next(0, payload) else { return None };
    if record.content_type != ContentType::HANDSHAKE || record.epoch != 0 {
        return None;
    }
    let (fragment, _) = HandshakeFragment::next(record.fragment).ok()?;
    match fragment.msg_type {
        HandshakeType::CLIENT_HELLO | HandshakeType::SERVER_HELLO | HandshakeType::HELLO_VERIFY_REQUEST => {}
        _ => return None,
    }
    let starts = fragment.msg_type == HandshakeType::CLIENT_HELLO && fragment.fragment_offset == 0;
    let random = fragment.fragment.get(2..).and_then(|rest| rest.first_chunk()).copied();
    Some(Opening { msg_type: fragment.msg_type, random: random.filter(|_| starts) })
}

impl Flow {
    /// Another handshake between the same ports.
    fn is_replaced_by(&self, opening: Option<&Opening>) -> bool {
        let random = opening.and_then(|opening| opening.random);
        self.done && random.is_some() && random != self.told.account.client_random
    }

    /// True if the handshake is over.
    fn datagram(&mut self, datagram: &Datagram<'_>, shared: &mut Shared) -> bool {
        let side = if datagram.source == self.initiator { Side::Initiator } else { Side::Responder };
        let time = datagram.arrival.time;
        let mut rest = datagram.payload;
        while !rest.is_empty() {
            match Record::next(0, rest) {
                Ok((Record::Plain(record), after)) => {
                    self.plain(side, time, &record, shared);
                    rest = after;
                }
                Ok((Record::Unified(record), after)) => {
                    self.sealed_dtls13(side, time, record.encrypted_record.len());
                    rest = after;
                }
                Err(error) => {
                    let cut = if datagram.missing > 0 { "the capture has not all of it" } else { "cannot be read" };
                    self.told.list(came(side, time, 1), "unknown", rest.len(), Some(format!("{cut}: {error}")));
                    break;
                }
            }
            if self.told.account.outcome != Outcome::Incomplete {
                return true;
            }
        }
        false
    }

    fn plain(&mut self, side: Side, time: Duration, record: &PlainRecord<'_>, shared: &mut Shared) {
        let bytes = record.fragment.len().saturating_add(13);
        match (record.content_type, record.epoch) {
            (ContentType::HANDSHAKE, 0) => self.fragments(side, time, record.fragment, shared),
            (ContentType::HANDSHAKE, _) => {
                self.told.list(came(side, time, 1), "encrypted_handshake_message", bytes, None);
                self.half(side).finished = true;
                if self.halves.iter().all(|half| half.finished) {
                    self.told.established();
                }
            }
            (ContentType::CHANGE_CIPHER_SPEC, _) => {
                self.told.list(came(side, time, 1), "change_cipher_spec", bytes, None);
            }
            (ContentType::ALERT, 0) => self.alert(side, time, record.fragment),
            (ContentType::ALERT, _) => self.told.list(came(side, time, 1), "encrypted_alert", bytes, None),
            // Who has data in return has seen the other's Finished.
            (ContentType::APPLICATION_DATA, 1..) if side == Side::Responder && self.half(side).finished => {
                self.told.established();
            }
            _ => {}
        }
    }

    fn alert(&mut self, side: Side, time: Duration, fragment: &[u8]) {
        match Alert::parse(fragment) {
            Ok(alert) => {
                self.told.list(came(side, time, 1), &format!("alert({})", alert.description), 15, None);
                self.told.refused(side, alert);
            }
            Err(error) => {
                let malformed = Some(format!("cannot be read: {error}"));
                self.told.list(came(side, time, 1), "alert", fragment.len().saturating_add(13), malformed);
            }
        }
    }

    /// Protected records of DTLS 1.3: once the server goes on after the client's, both have keys.
    fn sealed_dtls13(&mut self, side: Side, time: Duration, length: usize) {
        let half = self.half(side);
        half.sealed = half.sealed.saturating_add(1);
        let client = self.half(Side::Initiator).sealed;
        if side == Side::Responder && client > 0 || client > 16 {
            return self.told.established();
        }
        self.told.list(came(side, time, 1), "encrypted_handshake", length, None);
    }

    fn fragments(&mut self, side: Side, time: Duration, mut bytes: &[u8], shared: &mut Shared) {
        while !bytes.is_empty() {
            match HandshakeFragment::next(bytes) {
                Ok((fragment, rest)) => {
                    self.fragment(side, time, &fragment, shared);
                    bytes = rest;
                }
                Err(error) => {
                    let malformed = Some(format!("cannot be read: {error}"));
                    return self.told.list(came(side, time, 1), "handshake", bytes.len(), malformed);
                }
            }
        }
    }

    fn fragment(&mut self, side: Side, time: Duration, fragment: &HandshakeFragment<'_>, shared: &mut Shared) {
        let HandshakeFragment { msg_type, message_seq, fragment_offset, .. } = *fragment;
        let half = self.half(side);
        if half.seen.get(&message_seq) == Some(&msg_type) {
            if fragment_offset == 0 {
                self.repeated(side, time, fragment);
            }
            return;
        }
        let mut partial = match half.partial.take() {
            Some(partial) if partial.message_seq == message_seq && partial.msg_type == msg_type => partial,
            _ => Partial { message_seq, msg_type, body: Vec::new(), fragments: 0 },
        };
        // A fragment that comes too early has to come again.
        let new = partial.body.len().checked_sub(fragment_offset).and_then(|known| fragment.fragment.get(known..));
        if let Some(new) = new
            && partial.body.len().saturating_add(new.len()) <= MOST_BODY
        {
            partial.body.extend_from_slice(new);
            partial.fragments = partial.fragments.saturating_add(1);
        }
        if partial.body.len() < fragment.length || partial.fragments == 0 {
            half.partial = Some(partial);
            return;
        }
        if half.seen.len() < MOST_SEEN {
            half.seen.insert(message_seq, msg_type);
        }
        self.message(came(side, time, partial.fragments), msg_type, &partial.body, shared);
    }

    fn repeated(&mut self, side: Side, time: Duration, fragment: &HandshakeFragment<'_>) {
        let kind = fragment.msg_type.to_string();
        let before = self.told.account.messages.len();
        let length = fragment.length.saturating_add(HandshakeFragment::HEADER_LENGTH);
        self.told.list(came(side, time, 1), &kind, length, None);
        if let Some(entry) = self.told.account.messages.get_mut(before) {
            entry.retransmission = true;
        }
    }

    fn message(&mut self, came: Came, msg_type: HandshakeType, body: &[u8], shared: &mut Shared) {
        let length = body.len().saturating_add(HandshakeFragment::HEADER_LENGTH);
        let (kind, malformed) = match Message::parse(msg_type, body) {
            Ok(Message::ClientHello(hello)) => {
                self.offer(&hello);
                ("client_hello", None)
            }
            Ok(Message::ServerHello(hello)) => {
                self.told.choice(&hello);
                let kind = if hello.is_hello_retry_request() { "hello_retry_request" } else { "server_hello" };
                (kind, None)
            }
            Ok(Message::HelloVerifyRequest(_)) => ("hello_verify_request", None),
            Ok(Message::Other { .. }) => return self.other(came, msg_type, body, shared),
            Err(error) => (msg_type.name().unwrap_or("handshake"), Some(format!("cannot be read: {error}"))),
        };
        self.told.list(came, kind, length, malformed);
    }

    /// A message that has the same body as in TLS.
    fn other(&mut self, came: Came, msg_type: HandshakeType, body: &[u8], shared: &mut Shared) {
        let [_, length @ ..] = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
        let raw = [&[msg_type.0][..], &length, body].concat();
        self.told.handshake(came, &raw, &mut shared.certificates);
    }

    fn offer(&mut self, hello: &ClientHello<'_>) {
        self.told.offer(&Offer {
            legacy_version: hello.legacy_version,
            random: hello.random,
            suites: &hello.cipher_suites,
            extensions: hello.extensions.as_deref().unwrap_or_default(),
        });
    }

    fn half(&mut self, side: Side) -> &mut Half {
        let [initiator, responder] = &mut self.halves;
        match side {
            Side::Initiator => initiator,
            Side::Responder => responder,
        }
    }

    fn finish(mut self, shared: &Shared, done: &mut dyn FnMut(Account)) {
        if self.done {
            return;
        }
        if self.told.is_tls13() && self.halves.iter().all(|half| half.sealed > 0) {
            self.told.established();
        }
        done(account(self.told, shared));
    }
}

fn came(from: Side, time: Duration, fragments: u32) -> Came {
    Came { from, time, fragments, span: (u64::MAX, u64::MAX) }
}

/// Secrets of DTLS are not made use of.
fn account(mut told: Told, shared: &Shared) -> Account {
    if told.account.client_random.is_some_and(|random| shared.key_log.knows(&random)) {
        told.account.verification = Verification::Unverifiable;
    }
    told.into_account()
}
