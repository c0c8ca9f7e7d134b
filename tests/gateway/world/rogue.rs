//! A terminal that has a key of its own and says on its channel whatever a test wants.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use keyferry::terminals::{Path, TerminalRecord};
use keyferry_channel::{
    ChannelKey, Code, Endpoint, Event, Id, Input, Instant, Method, Output, Refused, RequestId, State,
};
use keyferry_parsers::messages::{Failure, Handover, KxAnswer, KxRequest, SessionPush};
use zeroize::Zeroizing;

use super::{GATEWAY_ID, World, from, ip, record};

/// One such terminal, and what it was told.
pub struct Rogue {
    pub record: TerminalRecord,
    pub address: SocketAddr,
    pub answers: BTreeMap<RequestId, (Code, Vec<u8>)>,
    pub handovers: Vec<Handover>,
    pub failures: Vec<Failure>,
    endpoint: Endpoint,
    next: u64,
}

impl Rogue {
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        match self.endpoint.poll_output() {
            Output::Timeout(at, _) => at,
            _ => panic!("a rogue was not drained"),
        }
    }

    /// The answer to a key exchange request that the gateway consented to.
    #[track_caller]
    pub fn answer(&self, request: RequestId) -> KxAnswer {
        let (code, payload) = &self.answers[&request];
        assert!(code.is_success(), "refused: {:?}", Failure::decode(payload));
        KxAnswer::decode(payload).unwrap()
    }

    /// The name of the refusal that a request got.
    #[track_caller]
    pub fn reason(&self, request: RequestId) -> String {
        let (code, payload) = &self.answers[&request];
        assert!(!code.is_success(), "not refused");
        Failure::decode(payload).unwrap().reason.to_string()
    }
}

impl World {
    /// Admits a terminal `rogue-N` at 10.7.1.(200+N) and returns its index.
    pub fn add_rogue(&mut self) -> usize {
        let index = self.rogues.len();
        let address = SocketAddr::new(ip(&format!("10.7.1.{}", 200 + index)), 5683);
        let key = ChannelKey::from_bytes([index as u8 + 100; 32]);
        let mut record = record(&format!("rogue-{index}"), &[2, index as u8]);
        record.addresses = vec![address.ip()];
        self.admit(&record, &key);
        let settings = keyferry_channel::Settings {
            own: record.kid,
            peer: Id::try_from(GATEWAY_ID).unwrap(),
            handovers_per_epoch: 8,
            epoch_lifetime: Duration::MAX,
        };
        let endpoint = Endpoint::new(settings, State::new(key), [0x77; 32], self.now);
        self.rogues.push(Rogue {
            record,
            address,
            answers: BTreeMap::new(),
            handovers: Vec::new(),
            failures: Vec::new(),
            endpoint,
            next: 0,
        });
        index
    }

    /// Sends a request with any payload.
    pub fn post(&mut self, rogue: usize, path: &[&str], payload: &[u8]) -> Result<RequestId, Refused> {
        let sender = &mut self.rogues[rogue];
        sender.next += 1;
        let id = RequestId(sender.next);
        let payload = Zeroizing::new(payload.to_vec());
        let request = Input::Request { id, code: Method::POST, path, payload, handover: false };
        let taken = sender.endpoint.handle_input(self.now, request);
        self.drain_rogue(rogue);
        taken.map(|()| id)
    }

    /// Sends a key exchange request and waits for its answer.
    #[track_caller]
    pub fn kx(&mut self, rogue: usize, request: &KxRequest) -> RequestId {
        let id = self.post(rogue, &["kf", "kx"], &request.encode()).unwrap();
        self.run_until(Duration::from_secs(5), |world| world.rogues[rogue].answers.contains_key(&id));
        id
    }

    pub(super) fn arrive_at_rogue(&mut self, path: Path, bytes: &[u8]) {
        if let Some(rogue) = self.rogues.iter().position(|rogue| rogue.address == path.remote) {
            let input = Input::Datagram { bytes, path_is_new: false };
            let _ = self.rogues[rogue].endpoint.handle_input(self.now, input);
            self.drain_rogue(rogue);
        }
    }

    pub(super) fn wake_rogues(&mut self) {
        for rogue in 0..self.rogues.len() {
            if self.rogues[rogue].deadline().is_some_and(|at| at <= self.now) {
                let _ = self.rogues[rogue].endpoint.handle_input(self.now, Input::Timeout);
                self.drain_rogue(rogue);
            }
        }
    }

    fn drain_rogue(&mut self, index: usize) {
        loop {
            let rogue = &mut self.rogues[index];
            match rogue.endpoint.poll_output() {
                Output::Timeout(..) => return,
                Output::Persist(_) => {}
                Output::Transmit(bytes) => {
                    let path = from(rogue.address);
                    self.send(path, true, bytes);
                }
                Output::Event(Event::Response { id, code, payload }) => {
                    rogue.answers.insert(id, (code, payload.to_vec()));
                }
                Output::Event(Event::Request { exchange, payload, .. }) => {
                    match SessionPush::decode(&payload) {
                        Ok(SessionPush::Handover(handover)) => rogue.handovers.push(*handover),
                        Ok(SessionPush::Failure(failure)) => rogue.failures.push(failure),
                        Err(_) => {}
                    }
                    let input = Input::Respond { exchange, code: Code::CHANGED, payload: Zeroizing::default() };
                    let _ = rogue.endpoint.handle_input(self.now, input);
                }
                Output::Event(_) => {}
            }
        }
    }
}
