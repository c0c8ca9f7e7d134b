//! A terminal against a gateway's endpoint in memory, in virtual time.

mod assisted;
mod messages;
mod ports;
mod pushes;
mod requests;

use super::*;
use crate::samples;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use keyferry_channel::{ChannelKey, Id, Settings, State};
use keyferry_parsers::messages::{Listen, ProofMethod, ProvedPeer};
use keyferry_parsers::tls::ProtocolVersion;

const PORT: u16 = 40_000;

/// How the gateway answers what the terminal asks.
type Answers = Box<dyn FnMut(&str, &[u8]) -> Option<(Code, Zeroizing<Vec<u8>>)>>;

struct World {
    now: Instant,
    terminal: Terminal,
    gateway: Endpoint,
    answers: Answers,
    events: Vec<Event>,
    pushed: Vec<(RequestId, Code, Vec<u8>)>,
    pushes: u64,
}

impl World {
    fn new(limit: usize, answers: Answers) -> Self {
        let now = Instant::from_micros(1_000_000);
        let end = |own: &[u8], peer: &[u8], seed| {
            let settings = Settings {
                own: Id::try_from(own).unwrap(),
                peer: Id::try_from(peer).unwrap(),
                handovers_per_epoch: 8,
                epoch_lifetime: Duration::MAX,
            };
            Endpoint::new(settings, State::new(ChannelKey::from_bytes([9; 32])), [seed; 32], now)
        };
        Self {
            now,
            terminal: Terminal::new(end(&[1], &[0], 1), limit, now),
            gateway: end(&[0], &[1], 2),
            answers,
            events: Vec::new(),
            pushed: Vec::new(),
            pushes: 0,
        }
    }

    /// A gateway that consents to everything: session 7, the address of the sample.
    fn consenting() -> Self {
        Self::new(8, Box::new(|path, _| (path == "/kf/connect").then(|| (Code::CONTENT, answer().encode()))))
    }

    fn silent(limit: usize) -> Self {
        Self::new(limit, Box::new(|_, _| None))
    }

    fn input(&mut self, input: Input<'_>) {
        self.terminal.handle_input(self.now, input).unwrap();
        self.settle();
    }

    fn connect(&mut self, id: u64) {
        self.input(Input::Connect { id: RequestId(id), request: request() });
    }

    /// The gateway's `POST /kf/<resource>`; the answer lands in `pushed`.
    fn push(&mut self, resource: &str, payload: Zeroizing<Vec<u8>>) -> (Code, Vec<u8>) {
        self.push_with(Method::POST, &["kf", resource], payload)
    }

    fn push_with(&mut self, code: Method, path: &[&str], payload: Zeroizing<Vec<u8>>) -> (Code, Vec<u8>) {
        self.pushes += 1;
        let id = RequestId(self.pushes);
        let request = channel::Input::Request { id, code, path, payload, handover: true };
        self.gateway.handle_input(self.now, request).unwrap();
        self.settle();
        let (_, code, payload) = self.pushed.iter().find(|(pushed, ..)| *pushed == id).expect("answered").clone();
        (code, payload)
    }

    /// Lets both ends talk until neither has anything to say.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            loop {
                match self.terminal.poll_output() {
                    Output::Transmit(bytes) => {
                        quiet = false;
                        let datagram = channel::Input::Datagram { bytes: &bytes, path_is_new: false };
                        let _ = self.gateway.handle_input(self.now, datagram);
                    }
                    Output::Event(event) => self.events.push(event),
                    Output::Persist(_) => {}
                    Output::Timeout(..) => break,
                }
            }
            loop {
                match self.gateway.poll_output() {
                    channel::Output::Transmit(bytes) => {
                        quiet = false;
                        let _ = self.terminal.handle_input(self.now, Input::Datagram(&bytes));
                    }
                    channel::Output::Event(event) => self.gateway_event(event),
                    channel::Output::Persist(_) => {}
                    channel::Output::Timeout(..) => break,
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn gateway_event(&mut self, event: channel::Event) {
        match event {
            channel::Event::Request { exchange, path, payload, .. } => {
                if let Some((code, payload)) = (self.answers)(&path, &payload) {
                    let respond = channel::Input::Respond { exchange, code, payload };
                    self.gateway.handle_input(self.now, respond).unwrap();
                }
            }
            channel::Event::Response { id, code, payload } => self.pushed.push((id, code, payload.to_vec())),
            _ => {}
        }
    }

    /// Virtual time passes; timers run.
    fn sleep(&mut self, wait: Duration) {
        let end = self.now + wait;
        while self.now < end {
            self.now = end.min(self.now + Duration::from_millis(100));
            let _ = self.terminal.handle_input(self.now, Input::Timeout);
            let _ = self.gateway.handle_input(self.now, channel::Input::Timeout);
            self.settle();
        }
    }

    /// What the application has seen so far, in short.
    fn told(&mut self) -> Vec<String> {
        let name = |event| match event {
            Event::Listening { id, seconds } => alloc::format!("listening {} {seconds}", id.0),
            Event::Incoming { id, handover } => alloc::format!("incoming {} {}", id.0, handover.session),
            Event::Assisted { id, needed, address, .. } => alloc::format!("assisted {} {needed:?} {address:?}", id.0),
            Event::ToPeer { id, bytes } => alloc::format!("to peer {} {}", id.0, String::from_utf8_lossy(&bytes)),
            Event::Needs { id, step } => alloc::format!("needs {} {step}", id.0),
            Event::Offer { id, answer } => alloc::format!("offer {} {}", id.0, answer.address),
            Event::Session { id, handover } => alloc::format!("session {} {}", id.0, handover.session),
            Event::Failed { id, why } => alloc::format!("failed {} {why:?}", id.0),
            Event::Echoed { id } => alloc::format!("echoed {}", id.0),
            Event::Advanced { epoch } => alloc::format!("epoch {epoch}"),
        };
        self.events.drain(..).map(name).collect()
    }
}

fn request() -> Connect {
    Connect::new(PeerName::Name("server.example".into()), 443, PORT)
}

fn answer() -> ConnectAnswer {
    ConnectAnswer { session: SessionId(7), address: [10, 7, 2, 2].into(), seconds: 10 }
}

fn keys() -> Handover {
    samples::handover(0x1301, &[1; 32], &[2; 32])
}

fn tls12_keys() -> Handover {
    let mut keys = samples::handover(0xc02b, &[1; 28], &[2; 28]);
    keys.tls_version = ProtocolVersion::TLS_1_2;
    keys
}

fn reason_of(payload: &[u8]) -> Reason {
    Failure::decode(payload).unwrap().reason
}
