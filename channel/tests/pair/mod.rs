//! Two endpoints, virtual time, and a link that loses, repeats and reorders as its seed says.
#![allow(dead_code, reason = "every test uses its own part")]

pub mod spy;

use std::collections::BTreeMap;
use std::time::Duration;

use keyferry_channel::{
    ChannelKey, Code, Endpoint, Event, Failure, Id, Input, Instant, Method, Output, Refused, RequestId, Settings, State,
};
use zeroize::Zeroizing;

pub const KEY: [u8; 32] = [0x4b; 32];
pub const TERMINAL: usize = 0;
pub const GATEWAY: usize = 1;

/// A small generator: the same seed gives the same run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }

    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        seed.chunks_mut(4).for_each(|chunk| chunk.copy_from_slice(&(self.roll() as u32).to_be_bytes()));
        seed
    }
}

#[derive(Clone, Copy, Default)]
pub struct Link {
    pub loss: u64,
    pub duplication: u64,
    pub reordering: u64,
}

/// How the upper layer of a side answers requests.
#[derive(Clone, Copy)]
pub enum Handler {
    /// At once, with the body it got.
    Echo,
    /// After that long, with the body it got.
    EchoAfter(Duration),
    /// At once, with a body of that length made of the path.
    Long(usize),
    /// Never.
    Silent,
}

/// How a request ended.
pub type Outcome = Result<(Code, Vec<u8>), Failure>;

pub struct Side {
    pub endpoint: Endpoint,
    /// As last persisted: all that survives a crash.
    pub stored: Vec<u8>,
    pub handler: Handler,
    pub events: Vec<Event>,
    /// Payloads of the requests delivered upwards.
    pub delivered: Vec<Vec<u8>>,
    pub outcomes: BTreeMap<u64, Vec<Outcome>>,
    pub refused: Vec<Refused>,
    pub persisted: usize,
}

pub struct Pair {
    pub now: Instant,
    pub sides: [Side; 2],
    pub link: Link,
    pub dice: Dice,
    /// On the wire: when it arrives, where, what.
    pub wire: Vec<(Instant, usize, Vec<u8>)>,
    /// Everything ever sent: by whom, what.
    pub sent: Vec<(usize, Vec<u8>)>,
    /// Answers the handlers owe: when, who, to which exchange, what.
    answers: Vec<(Instant, usize, keyferry_channel::ExchangeId, Vec<u8>)>,
    pub path_is_new: bool,
    /// That side crashes after so many more outputs, in the middle of acting on them.
    pub fuse: Option<(usize, usize)>,
}

pub fn settings(side: usize) -> Settings {
    let ids = [id(&[0x11, 0x22]), id(&[0x00])];
    Settings {
        own: ids[side],
        peer: ids[1 - side],
        handovers_per_epoch: 8,
        epoch_lifetime: if side == GATEWAY { Duration::from_secs(86400) } else { Duration::MAX },
    }
}

pub fn id(bytes: &[u8]) -> Id {
    Id::try_from(bytes).unwrap()
}

impl Pair {
    /// Two ends that start now with a fresh key. Their replay windows are unknown, as after any start.
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let now = Instant::from_micros(1_000_000);
        let sides = [TERMINAL, GATEWAY].map(|side| {
            let state = State::new(ChannelKey::from_bytes(KEY));
            Side {
                stored: state.encode().to_vec(),
                endpoint: Endpoint::new(settings(side), state, dice.seed(), now),
                handler: Handler::Echo,
                events: Vec::new(),
                delivered: Vec::new(),
                outcomes: BTreeMap::new(),
                refused: Vec::new(),
                persisted: 0,
            }
        });
        let link = Link::default();
        Self {
            now,
            sides,
            link,
            dice,
            wire: Vec::new(),
            sent: Vec::new(),
            answers: Vec::new(),
            path_is_new: false,
            fuse: None,
        }
    }

    /// As `new`, after one request each way has settled the replay windows.
    pub fn settled(seed: u64) -> Self {
        let mut pair = Self::new(seed);
        for side in [TERMINAL, GATEWAY] {
            pair.request(side, u64::MAX, b"hello").unwrap();
            pair.run();
            assert!(pair.answered(side, u64::MAX).is_some());
            pair.sides[side].outcomes.clear();
            pair.sides[1 - side].delivered.clear();
        }
        for side in &mut pair.sides {
            side.events.clear();
            side.refused.clear();
        }
        pair.sent.clear();
        pair
    }

    pub fn request(&mut self, side: usize, id: u64, payload: &[u8]) -> Result<(), Refused> {
        self.send(side, id, payload, false)
    }

    pub fn handover(&mut self, side: usize, id: u64, payload: &[u8]) -> Result<(), Refused> {
        self.send(side, id, payload, true)
    }

    fn send(&mut self, side: usize, id: u64, payload: &[u8], handover: bool) -> Result<(), Refused> {
        let payload = Zeroizing::new(payload.to_vec());
        let input = Input::Request { id: RequestId(id), code: Method::POST, path: &["kf", "echo"], payload, handover };
        self.input(side, input)
    }

    /// Feeds a side and acts on what comes out.
    pub fn input(&mut self, side: usize, input: Input<'_>) -> Result<(), Refused> {
        let is_timeout = matches!(input, Input::Timeout);
        let result = self.sides[side].endpoint.handle_input(self.now, input);
        if let Err(why) = result {
            self.sides[side].refused.push(why);
        }
        let outputs = self.drain(side);
        // The contract: a timeout leads to output or to a later deadline, and every deadline has a name.
        let (at, why) = self.deadline(side);
        assert!(!why.is_empty());
        assert!(
            at.is_none_or(|at| at > self.now),
            "{why} is due already; {outputs} outputs after timeout: {is_timeout}"
        );
        result
    }

    pub fn deadline(&mut self, side: usize) -> (Option<Instant>, &'static str) {
        match self.sides[side].endpoint.poll_output() {
            Output::Timeout(at, why) => (at, why),
            other => panic!("not drained: {other:?}"),
        }
    }

    fn drain(&mut self, side: usize) -> usize {
        let mut outputs = 0;
        loop {
            outputs += 1;
            if self.burn(side) {
                self.crash(side);
                continue;
            }
            match self.sides[side].endpoint.poll_output() {
                Output::Persist(state) => {
                    self.sides[side].stored = state.to_vec();
                    self.sides[side].persisted += 1;
                }
                Output::Transmit(datagram) => self.transmit(side, datagram),
                Output::Event(event) => self.event(side, event),
                Output::Timeout(..) => return outputs,
            }
        }
    }

    /// One output less until the crash; true: now.
    fn burn(&mut self, side: usize) -> bool {
        match &mut self.fuse {
            Some((who, 0)) if *who == side => {
                self.fuse = None;
                true
            }
            Some((who, left)) if *who == side => {
                *left -= 1;
                false
            }
            _ => false,
        }
    }

    pub fn transmit(&mut self, from: usize, datagram: Vec<u8>) {
        self.sent.push((from, datagram.clone()));
        let copies = if self.dice.chance(self.link.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.dice.chance(self.link.loss) {
                let jitter = if self.dice.chance(self.link.reordering) { self.dice.roll() % 3_000_000 } else { 0 };
                let at = self.now + Duration::from_micros(10_000 + jitter);
                self.wire.push((at, 1 - from, datagram.clone()));
            }
        }
    }

    fn event(&mut self, side: usize, event: Event) {
        match &event {
            Event::Request { exchange, payload, path, .. } => {
                self.sides[side].delivered.push(payload.to_vec());
                let (wait, body) = match self.sides[side].handler {
                    Handler::Silent => return self.sides[side].events.push(event),
                    Handler::Echo => (Duration::ZERO, payload.to_vec()),
                    Handler::EchoAfter(wait) => (wait, payload.to_vec()),
                    Handler::Long(length) => (Duration::ZERO, path.bytes().cycle().take(length).collect()),
                };
                self.answers.push((self.now + wait, side, *exchange, body));
            }
            Event::Response { id, code, payload } => {
                self.sides[side].outcomes.entry(id.0).or_default().push(Ok((*code, payload.to_vec())));
            }
            Event::Failed { id, why } => self.sides[side].outcomes.entry(id.0).or_default().push(Err(*why)),
            Event::Heard | Event::Advanced { .. } => {}
        }
        self.sides[side].events.push(event);
    }

    /// The next thing that happens: an arrival, an answer from a handler, or a timer. False: nothing ever will.
    pub fn step(&mut self) -> bool {
        let arrival = self.wire.iter().map(|(at, ..)| *at).min();
        let answer = self.answers.iter().map(|(at, ..)| *at).min();
        let timer = [TERMINAL, GATEWAY].into_iter().filter_map(|side| self.deadline(side).0).min();
        let Some(next) = [arrival, answer, timer].into_iter().flatten().min() else { return false };
        self.now = self.now.max(next);
        if arrival == Some(next) {
            let at = self.wire.iter().position(|(at, ..)| *at == next).unwrap();
            let (_, side, datagram) = self.wire.remove(at);
            let _ = self.input(side, Input::Datagram { bytes: &datagram, path_is_new: self.path_is_new });
        } else if answer == Some(next) {
            let at = self.answers.iter().position(|(at, ..)| *at == next).unwrap();
            let (_, side, exchange, body) = self.answers.remove(at);
            let payload = Zeroizing::new(body);
            let _ = self.input(side, Input::Respond { exchange, code: Code::CHANGED, payload });
        } else {
            for side in [TERMINAL, GATEWAY] {
                if self.deadline(side).0.is_some_and(|at| at <= self.now) {
                    let _ = self.input(side, Input::Timeout);
                }
            }
        }
        true
    }

    /// Until nothing is under way. Steps are bounded: a loop without progress fails.
    pub fn run(&mut self) {
        for _ in 0..200_000 {
            let busy = !self.wire.is_empty() || !self.answers.is_empty();
            if !busy && self.sides.iter().all(|side| side.endpoint.is_idle()) {
                return;
            }
            if !self.step() {
                return;
            }
        }
        panic!("no end in sight");
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timer = [TERMINAL, GATEWAY].into_iter().filter_map(|side| self.deadline(side).0).min();
            let others = self.wire.iter().map(|(at, ..)| *at).chain(self.answers.iter().map(|(at, ..)| *at)).min();
            match timer.into_iter().chain(others).min() {
                Some(next) if next <= end => self.step(),
                _ => break,
            };
        }
        self.now = end;
    }

    /// The answer's body, if there was exactly one outcome and it was a success.
    pub fn answered(&self, side: usize, id: u64) -> Option<Vec<u8>> {
        match self.sides[side].outcomes.get(&id).map(Vec::as_slice) {
            Some([Ok((code, body))]) if code.is_success() => Some(body.clone()),
            _ => None,
        }
    }

    /// The side loses its memory and starts again from what it persisted.
    pub fn crash(&mut self, side: usize) {
        let state = State::decode(&self.sides[side].stored).unwrap();
        let seed = self.dice.seed();
        self.sides[side].endpoint = Endpoint::new(settings(side), state, seed, self.now);
        self.answers.retain(|(_, who, ..)| *who != side);
        // What it did before it forgot: a request it had no chance to answer comes again.
        self.sides[side].delivered.clear();
    }

    pub fn epoch(&self, side: usize) -> u32 {
        self.sides[side].endpoint.state().epoch
    }
}
