//! One end of a channel: the door in, the door out, and the timers. [`crate::outbound`] makes our requests,
//! [`crate::inbound`] answers the peer's, [`crate::epoch`] advances the key.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::block::{Assembly, Served};
use crate::coap::{Code, Kind, Message, OptionNumber, Token};
use crate::epoch::Epochs;
use crate::event::{ExchangeId, Input, Output, Refused};
use crate::exchange::{Answered, Separate};
use crate::inbound::{Challenge, Inbound};
use crate::oscore::{Id, OscoreOption, PartialIv};
use crate::outbound::{Outbound, Request, Sent};
use crate::seed::Seed;
use crate::{Instant, State};

/// What both ends agreed on, or one decided for itself, before the first message.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our OSCORE sender id.
    pub own: Id,
    /// The peer's. Must differ from `own`.
    pub peer: Id,
    /// The key advances before the next hand-over after this many, 1 to 8.
    pub handovers_per_epoch: u8,
    /// The key advances before the next request once an epoch is this old; `Duration::MAX` leaves it to the peer.
    pub epoch_lifetime: Duration,
}

/// One end of a channel. Idle, it takes about 1 KB.
pub struct Endpoint {
    pub(crate) settings: Settings,
    pub(crate) state: State,
    pub(crate) epochs: Epochs,
    pub(crate) seed: Seed,
    pub(crate) now: Instant,
    pub(crate) challenge: Option<Challenge>,
    next_sequence_number: u64,
    next_message_id: u16,
    next_token: u16,
    next_exchange: u64,
    /// Our requests under way, at most 8, and those that wait, at most 64.
    pub(crate) outbound: Vec<Outbound>,
    pub(crate) queue: VecDeque<Request>,
    /// Requests of ours given up whose answers may still come: without content, at most 32.
    pub(crate) given_up: VecDeque<Sent>,
    /// The peer's requests that have no answer yet, and answers it has not acknowledged: together at most 16.
    pub(crate) inbound: Vec<Inbound>,
    pub(crate) separate: Vec<Separate>,
    pub(crate) answered: Answered,
    pub(crate) assembly: Option<Assembly>,
    pub(crate) served: Option<Served>,
    outputs: VecDeque<Output>,
}

impl Endpoint {
    /// An endpoint that goes on where `state` was persisted. `seed` must be fresh randomness at every start.
    pub fn new(settings: Settings, state: State, seed: [u8; 32], now: Instant) -> Self {
        let mut seed = Seed::new(seed);
        let [a, b, c, d, ..] = seed.draw();
        Self {
            epochs: Epochs::load(&settings, &state, now),
            next_sequence_number: state.reserved,
            next_message_id: u16::from_be_bytes([a, b]),
            next_token: u16::from_be_bytes([c, d]),
            next_exchange: 0,
            settings,
            state,
            seed,
            now,
            challenge: None,
            outbound: Vec::new(),
            queue: VecDeque::new(),
            given_up: VecDeque::new(),
            inbound: Vec::new(),
            separate: Vec::new(),
            answered: Answered::default(),
            assembly: None,
            served: None,
            outputs: VecDeque::new(),
        }
    }

    /// The door in. Drain [`poll_output`](Self::poll_output) afterwards, also after an error: timers that were due have
    /// been served, and [`Refused::EchoRequired`] comes with a challenge to transmit.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Refused> {
        self.now = self.now.max(now);
        self.expire(matches!(input, Input::Timeout));
        let result = match input {
            Input::Datagram { bytes, path_is_new } => self.receive(bytes, path_is_new),
            Input::Request { id, code, path, payload, handover } => self.request(id, code, path, payload, handover),
            Input::Respond { exchange, code, payload } => self.respond(exchange, code, payload),
            Input::Cancel { id } => self.cancel(id),
            Input::Advance => {
                self.epochs.wanted = true;
                Ok(())
            }
            Input::Timeout => Ok(()),
        };
        self.start_waiting();
        result
    }

    /// The door out: call until it answers [`Output::Timeout`], whose moment then lies later than the last `now`.
    pub fn poll_output(&mut self) -> Output {
        match self.outputs.pop_front() {
            Some(output) => output,
            None => match self.next_deadline() {
                Some((at, why)) => Output::Timeout(Some(at), why),
                None => Output::Timeout(None, "idle"),
            },
        }
    }

    /// What would be persisted now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// No exchange is under way in either direction.
    pub fn is_idle(&self) -> bool {
        self.outbound.is_empty()
            && self.queue.is_empty()
            && self.inbound.is_empty()
            && self.separate.is_empty()
            && self.assembly.is_none()
            && self.served.is_none()
    }

    /// The present epoch is older than its lifetime: the next request will advance the key. An idle channel needs a
    /// request for that, such as one to `/kf/echo`.
    pub fn is_epoch_due(&self, now: Instant) -> bool {
        self.epochs.wanted || self.epochs.is_older_than(self.settings.epoch_lifetime, now)
    }

    fn receive(&mut self, bytes: &[u8], path_is_new: bool) -> Result<(), Refused> {
        let message = Message::parse(bytes).map_err(|_| Refused::Malformed)?;
        if message.code == Code::EMPTY {
            return self.receive_empty(message.kind, message.message_id);
        }
        let value = message.options.find(OptionNumber::OSCORE).ok_or(Refused::NotOscore)?;
        message.options.check(&OUTER_OPTIONS).map_err(|_| Refused::Malformed)?;
        let option = OscoreOption::parse(value).ok_or(Refused::Malformed)?;
        match message.code {
            // RFC 8613 section 4.2: the outer codes say nothing.
            Code(0x02) => self.receive_request(bytes, &message, &option, path_is_new),
            Code::CHANGED => self.receive_response(bytes, &message, &option, path_is_new),
            _ => Err(Refused::Malformed),
        }
    }

    /// An acknowledgement counts only for a message of our own that waits for it; a ping gets no answer. Anybody can
    /// make either up: a reset counts for nothing, and an acknowledgement saves a retransmission of a request at most.
    fn receive_empty(&mut self, kind: Kind, message_id: u16) -> Result<(), Refused> {
        if kind != Kind::Acknowledgement {
            return Err(Refused::Unmatched);
        }
        let waiting = self.separate.len();
        self.separate.retain(|separate| separate.message_id != message_id);
        if self.separate.len() < waiting {
            return Ok(());
        }
        self.receive_empty_for_request(message_id)
    }

    /// Serves every timer that is due.
    fn expire(&mut self, may_release: bool) {
        self.expire_previous();
        self.expire_outbound();
        self.expire_inbound();
        self.answered.expire(self.now);
        if may_release && self.is_idle() && self.given_up.is_empty() && self.answered.next_expiry().is_none() {
            self.epochs.release_ciphers();
            self.outbound = Vec::new();
            self.queue = VecDeque::new();
            self.given_up = VecDeque::new();
            self.inbound = Vec::new();
            self.separate = Vec::new();
            self.outputs.shrink_to_fit();
        }
    }

    fn next_deadline(&self) -> Option<(Instant, &'static str)> {
        let named = |at: Option<Instant>, why| at.map(|at| (at, why));
        let others = [
            named(self.epochs.previous_until, "drop the previous epoch"),
            named(self.answered.next_expiry(), "forget an old answer"),
            named(self.next_given_up(), "stop waiting for a late answer"),
            named(self.assembly.as_ref().map(|assembly| assembly.until), "drop an unfinished body"),
            named(self.served.as_ref().map(|served| served.until), "drop a body not fetched"),
            self.separate.iter().map(|separate| (separate.retransmission.at, "retransmit a response")).min(),
        ];
        let outbound = self.outbound.iter().map(Outbound::deadline);
        let inbound = self.inbound.iter().map(Inbound::deadline);
        others.into_iter().flatten().chain(outbound).chain(inbound).min_by_key(|(at, _)| *at)
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn persist(&mut self) {
        self.push(Output::Persist(self.state.encode()));
    }

    /// A sender sequence number that was never used, and never will be again even after a crash: numbers are reserved
    /// durably before the first of them is used (RFC 8613 appendix B.1.1).
    pub(crate) fn next_partial_iv(&mut self) -> Result<PartialIv, Refused> {
        let number = self.next_sequence_number;
        let partial_iv = PartialIv::new(number).ok_or(Refused::Exhausted)?;
        if number >= self.state.reserved {
            self.state.reserved = number.saturating_add(LOOK_AHEAD).min(PartialIv::MAX + 1);
            self.persist();
        }
        self.next_sequence_number = number.saturating_add(1);
        Ok(partial_iv)
    }

    pub(crate) fn next_sequence_number(&self) -> u64 {
        self.next_sequence_number
    }

    pub(crate) fn next_message_id(&mut self) -> u16 {
        self.next_message_id = self.next_message_id.wrapping_add(1);
        self.next_message_id
    }

    /// Two bytes tell our 8 requests apart; that a response is genuine is OSCORE's to say.
    pub(crate) fn next_token(&mut self) -> Token {
        self.next_token = self.next_token.wrapping_add(1);
        Token::new(&self.next_token.to_be_bytes()).unwrap_or(Token::EMPTY)
    }

    pub(crate) fn next_exchange(&mut self) -> ExchangeId {
        self.next_exchange = self.next_exchange.wrapping_add(1);
        ExchangeId(self.next_exchange)
    }
}

/// Critical options tolerated outside OSCORE. Others would be class E, which no sender puts there.
const OUTER_OPTIONS: [OptionNumber; 3] = [OptionNumber::URI_HOST, OptionNumber::URI_PORT, OptionNumber::OSCORE];
/// How many sequence numbers one durable write reserves.
const LOOK_AHEAD: u64 = 256;
