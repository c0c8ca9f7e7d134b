//! A terminal against a gateway's endpoint in memory, in virtual time.

use super::*;
use crate::samples;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use keyferry_channel::{ChannelKey, Id, Settings, State};
use keyferry_parsers::messages::Binding;

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

fn reason_of(payload: &[u8]) -> Reason {
    Failure::decode(payload).unwrap().reason
}

#[test]
fn a_request_becomes_an_offer_and_a_session() {
    let mut world = World::consenting();
    world.connect(1);
    assert_eq!(world.told(), ["offer 1 10.7.2.2"]);
    assert_eq!(world.push("session", keys().encode()), (Code::CHANGED, vec![]));
    assert_eq!(world.told(), ["session 1 7"]);
    assert_eq!(world.terminal.pending(), 0);
}

#[test]
fn a_push_that_comes_twice_is_delivered_once() {
    let mut world = World::consenting();
    world.connect(1);
    for _ in 0..3 {
        assert_eq!(world.push("session", keys().encode()).0, Code::CHANGED);
    }
    assert_eq!(world.told(), ["offer 1 10.7.2.2", "session 1 7"]);
}

#[test]
fn other_keys_for_a_session_that_is_settled_are_refused() {
    let mut world = World::consenting();
    world.connect(1);
    world.push("session", keys().encode());
    let mut other = keys();
    other.tx_secret = keyferry_parsers::messages::Secret::new(&[3; 32]).unwrap();
    assert_eq!(world.push("session", other.encode()).0, Code::CONFLICT);
    assert_eq!(world.told(), ["offer 1 10.7.2.2", "session 1 7"]);
}

#[test]
fn a_peer_that_proved_another_name_is_refused() {
    let cases = [
        (ProofMethod::CA_VERIFIED_NAME, "SERVER.example", Code::CHANGED),
        (ProofMethod::CA_VERIFIED_NAME, "other.example", Code::CONFLICT),
        (ProofMethod::PINNED_KEY, "sha256:00", Code::CHANGED),
    ];
    for (method, identity, code) in cases {
        let mut world = World::consenting();
        world.connect(1);
        let mut handover = keys();
        handover.peer = ProvedPeer { method, identity: identity.into() };
        assert_eq!(world.push("session", handover.encode()).0, code, "{identity}");
    }
}

#[test]
fn a_pushed_failure_ends_the_request() {
    let mut world = World::consenting();
    world.connect(1);
    world.told();
    let failure =
        Failure { session: Some(SessionId(7)), reason: Reason::CERTIFICATE_EXPIRED, detail: Some("2024".into()) };
    assert_eq!(world.push("session", failure.encode()).0, Code::CHANGED);
    let [Event::Failed { why, .. }] = &world.events[..] else { panic!() };
    assert_eq!(alloc::format!("{why}"), "the peer does not fit: certificate-expired (2024)");
    assert_eq!(*why, Why::Failure(failure));
}

#[test]
fn keys_for_another_connection_are_refused() {
    let changes: [fn(&mut Binding); 3] = [
        |binding| binding.local.set_port(PORT + 1),
        |binding| binding.remote.set_port(444),
        |binding| binding.remote.set_ip([10, 7, 2, 3].into()),
    ];
    for change in changes {
        let mut world = World::consenting();
        world.connect(1);
        world.told();
        let mut handover = keys();
        change(&mut handover.binding);
        let (code, payload) = world.push("session", handover.encode());
        assert_eq!((code, reason_of(&payload)), (Code::CONFLICT, Reason::ADDRESS_NOT_BOUND));
        assert_eq!(world.told(), ["failed 1 UnusableKeys(address-not-bound)"]);
    }
}

#[test]
fn keys_that_were_not_asked_for_are_refused() {
    let mut world = World::consenting();
    let (code, payload) = world.push("session", keys().encode());
    assert_eq!((code, reason_of(&payload)), (Code::CONFLICT, Reason::CLOSED_BY_TERMINAL));

    world.connect(1);
    let mut other = keys();
    other.session = SessionId(8);
    assert_eq!(world.push("session", other.encode()).0, Code::CONFLICT);
    world.input(Input::Cancel { id: RequestId(1) });
    assert_eq!(world.push("session", keys().encode()).0, Code::CONFLICT);
    assert_eq!(world.told(), ["offer 1 10.7.2.2"]);
}

#[test]
fn keys_that_cannot_be_used_are_refused() {
    let changes: [fn(&mut Handover); 3] = [
        |keys| keys.limits.records = 0,
        |keys| keys.alpn = Some("h2".into()),
        |keys| keys.tls_version = keyferry_parsers::tls::ProtocolVersion::TLS_1_2,
    ];
    for change in changes {
        let mut world = World::consenting();
        world.connect(1);
        world.told();
        let mut handover = keys();
        change(&mut handover);
        let (code, payload) = world.push("session", handover.encode());
        assert_eq!((code, reason_of(&payload)), (Code::CONFLICT, Reason::UNSUPPORTED));
        assert_eq!(world.told(), ["failed 1 UnusableKeys(unsupported)"]);
    }
}

#[test]
fn a_suite_that_was_not_offered_is_refused() {
    let mut world = World::consenting();
    let mut request = request();
    request.cipher_suites = vec![keyferry_parsers::tls::CipherSuite::TLS_CHACHA20_POLY1305_SHA256];
    world.input(Input::Connect { id: RequestId(1), request });
    let (code, payload) = world.push("session", keys().encode());
    assert_eq!((code, reason_of(&payload)), (Code::CONFLICT, Reason::UNSUPPORTED));
}

#[test]
fn tcp_first_is_matched_by_both_addresses() {
    let mut world = World::consenting();
    let Binding { local, remote } = keys().binding;
    world.input(Input::Expect { id: RequestId(5), local, remote });
    let mut other = keys();
    other.binding.local.set_port(1);
    assert_eq!(world.push("session", other.encode()).0, Code::CONFLICT);
    assert_eq!(world.push("session", keys().encode()).0, Code::CHANGED);
    assert_eq!(world.told(), ["session 5 7"]);
}

#[test]
fn malformed_pushes_and_unknown_resources_are_refused() {
    let mut world = World::consenting();
    for payload in [&[][..], &[0xa0], &[0xff; 40]] {
        let (code, answer) = world.push("session", Zeroizing::new(payload.to_vec()));
        assert_eq!((code, reason_of(&answer)), (Code::BAD_REQUEST, Reason::MALFORMED_REQUEST));
    }
    assert_eq!(world.push("nothing", Zeroizing::default()).0, Code::NOT_FOUND);
    assert_eq!(world.push_with(Method::GET, &["kf", "session"], keys().encode()).0, Code::METHOD_NOT_ALLOWED);
    assert!(world.told().is_empty());
}

#[test]
fn echo_works_both_ways() {
    let mut world = World::new(4, Box::new(|_, payload| Some((Code::CONTENT, Zeroizing::new(payload.to_vec())))));
    let echo = Echo(vec![1, 2, 3]);
    assert_eq!(world.push("echo", echo.encode()), (Code::CHANGED, echo.encode().to_vec()));
    world.input(Input::Echo { id: RequestId(1), echo });
    assert_eq!(world.told(), ["echoed 1"]);
}

#[test]
fn an_altered_echo_is_no_echo() {
    let mut world = World::new(4, Box::new(|_, _| Some((Code::CONTENT, Echo(vec![9]).encode()))));
    world.input(Input::Echo { id: RequestId(1), echo: Echo(vec![1]) });
    assert!(world.told()[0].starts_with("failed 1"));
}

#[test]
fn a_silent_gateway_is_reported_in_under_three_seconds() {
    let mut world = World::silent(8);
    world.connect(1);
    world.sleep(Duration::from_millis(2700));
    assert!(world.told().is_empty());
    world.sleep(Duration::from_millis(200));
    assert_eq!(world.told(), ["failed 1 GatewaySilent"]);
    assert_eq!(world.terminal.pending(), 0);
}

#[test]
fn keys_that_do_not_come_are_reported() {
    let mut world = World::consenting();
    world.connect(1);
    world.told();
    world.sleep(Duration::from_secs(21));
    assert!(world.told().is_empty(), "twice the offer's ten seconds, and two for the link");
    world.sleep(Duration::from_millis(1100));
    assert_eq!(world.told(), ["failed 1 KeysLate"]);
    assert_eq!(world.push("session", keys().encode()).0, Code::CONFLICT, "too late");
}

#[test]
fn a_refusal_names_its_reason() {
    let failure = Failure { session: None, reason: Reason::FORBIDDEN_PEER, detail: None };
    let payload = failure.encode();
    let mut world = World::new(4, Box::new(move |_, _| Some((Code::FORBIDDEN, payload.clone()))));
    world.connect(1);
    let [Event::Failed { why, .. }] = &world.events[..] else { panic!() };
    assert_eq!(*why, Why::Failure(failure));
}

#[test]
fn an_answer_that_makes_no_sense_is_the_gateways_fault() {
    let mut world = World::new(4, Box::new(|_, _| Some((Code::CONTENT, Zeroizing::new(vec![0xa0])))));
    world.connect(1);
    assert!(world.told()[0].starts_with("failed 1 BadAnswer"));

    let mut world = World::consenting();
    let request = Connect::new(PeerName::Address([10, 7, 2, 9].into()), 443, PORT);
    world.input(Input::Connect { id: RequestId(1), request });
    assert_eq!(world.told(), ["failed 1 WrongAddress"]);
}

#[test]
fn requests_are_bounded_and_queue_for_the_channel() {
    let mut world = World::silent(100);
    for id in 0..=100 {
        world.connect(id);
    }
    assert_eq!(world.told(), ["failed 100 TooMany"]);
    world.sleep(Duration::from_secs(3));
    assert_eq!(world.told().len(), 100, "more than the channel carries at once, and none forgotten");

    let mut session = 0;
    let mut world = World::new(
        100,
        Box::new(move |_, _| {
            session += 1;
            Some((Code::CONTENT, ConnectAnswer { session: SessionId(session), ..answer() }.encode()))
        }),
    );
    for id in 0..100 {
        // All before the first answer can come.
        world.terminal.handle_input(world.now, Input::Connect { id: RequestId(id), request: request() }).unwrap();
    }
    world.settle();
    assert_eq!(world.told().iter().filter(|told| told.starts_with("offer")).count(), 100);
}

#[test]
fn a_foreign_datagram_changes_nothing() {
    let mut world = World::consenting();
    for datagram in [&b""[..], b"hello", &[0x40, 1, 0, 1], &[0x60, 0, 0, 1]] {
        assert!(world.terminal.handle_input(world.now, Input::Datagram(datagram)).is_err());
    }
    world.settle();
    assert!(world.told().is_empty());
}
