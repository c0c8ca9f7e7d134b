//! A terminal against a gateway's endpoint in memory, in virtual time.

use super::*;
use crate::samples;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use keyferry_channel::{ChannelKey, Id, Settings, State};
use keyferry_parsers::messages::{
    Binding, KxAnswer, KxRequest, Listen, ListenAnswer, ProofMethod, ProvedPeer, Step, Ticket,
};
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
        (ProofMethod::ANONYMOUS, "10.7.2.2", Code::CONFLICT),
        (ProofMethod(9), "server.example", Code::CONFLICT),
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
    let failure = Failure {
        session: Some(SessionId(7)),
        reason: Reason::CERTIFICATE_EXPIRED,
        detail: Some("2024".into()),
        last_words: Vec::new(),
    };
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
    let changes: [fn(&mut Handover); 3] =
        [|keys| keys.limits.records = 0, |keys| keys.alpn = Some("h2".into()), |keys| *keys = tls12_keys()];
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
fn a_connection_without_request_takes_only_what_every_terminal_can() {
    type Change = fn(&mut Handover);
    let cases: [(Change, Reason); 4] = [
        (|keys| *keys = tls12_keys(), Reason::UNSUPPORTED),
        (|keys| keys.limits.seconds = 0, Reason::UNSUPPORTED),
        (|keys| keys.peer.method = ProofMethod::ANONYMOUS, Reason::CERTIFICATE_NAME_MISMATCH),
        (|keys| keys.peer.method = ProofMethod(9), Reason::CERTIFICATE_NAME_MISMATCH),
    ];
    for (change, reason) in cases {
        let mut world = World::consenting();
        let Binding { local, remote } = keys().binding;
        world.input(Input::Expect { id: RequestId(5), local, remote });
        let mut handover = keys();
        change(&mut handover);
        let (code, payload) = world.push("session", handover.encode());
        assert_eq!((code, reason_of(&payload)), (Code::CONFLICT, reason));
        assert_eq!(world.told(), [alloc::format!("failed 5 UnusableKeys({reason:?})")]);
    }
}

#[test]
fn a_failure_of_a_session_that_nobody_waits_for_is_no_news() {
    let failure = |session| Failure {
        session: Some(SessionId(session)),
        reason: Reason::NOT_ACKNOWLEDGED,
        detail: None,
        last_words: Vec::new(),
    };
    let mut world = World::consenting();
    assert_eq!(world.push("session", failure(99).encode()), (Code::CHANGED, vec![]), "never heard of");
    world.connect(1);
    world.push("session", keys().encode());
    assert_eq!(world.push("session", failure(7).encode()), (Code::CHANGED, vec![]), "handed over");
    world.connect(2);
    let mut refused = keys();
    refused.session = SessionId(7);
    refused.limits.seconds = 0;
    assert_eq!(world.push("session", refused.encode()).0, Code::CONFLICT);
    assert_eq!(world.push("session", failure(7).encode()), (Code::CHANGED, vec![]), "refused by ourselves");
    world.told();
    // A session that has failed gets no keys any more.
    let mut world = World::consenting();
    world.connect(1);
    assert_eq!(world.push("session", failure(7).encode()).0, Code::CHANGED);
    assert_eq!(world.push("session", failure(7).encode()).0, Code::CHANGED);
    assert_eq!(world.push("session", keys().encode()).0, Code::CONFLICT);
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
    let failure = Failure { session: None, reason: Reason::FORBIDDEN_PEER, detail: None, last_words: Vec::new() };
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

#[test]
fn tls_1_2_is_taken_if_it_was_asked_for() {
    let mut world = World::consenting();
    let request = Connect { oldest_version: ProtocolVersion::TLS_1_2, ..request() };
    world.input(Input::Connect { id: RequestId(1), request });
    assert_eq!(world.push("session", tls12_keys().encode()).0, Code::CHANGED);
    assert_eq!(world.told(), ["offer 1 10.7.2.2", "session 1 7"]);
}

#[test]
fn a_ticket_goes_to_the_gateway() {
    let (tell, heard) = std::sync::mpsc::channel();
    let answers = move |path: &str, payload: &[u8]| {
        tell.send((path.to_string(), payload.to_vec())).unwrap();
        Some((Code::CHANGED, Zeroizing::default()))
    };
    let mut world = World::new(1, Box::new(answers));
    world.input(Input::Ticket { session: SessionId(7), body: vec![1, 2] });
    let (path, payload) = heard.try_recv().unwrap();
    assert_eq!(path, "/kf/ticket");
    assert_eq!(Ticket::decode(&payload), Ok(Ticket { session: SessionId(7), body: vec![1, 2] }));
    assert!(world.told().is_empty());
}

mod ports {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// What the gateway was asked, and what it answers from now on; `None`: it is away.
    type Gateway = (Arc<Mutex<Vec<Listen>>>, Arc<Mutex<Option<(Code, Vec<u8>)>>>);

    fn world() -> (World, Gateway) {
        let granted = (Code::CONTENT, ListenAnswer { seconds: 300 }.encode().to_vec());
        let gateway: Gateway = (Arc::default(), Arc::new(Mutex::new(Some(granted))));
        let (asked, answer) = gateway.clone();
        let answers = move |path: &str, payload: &[u8]| {
            assert_eq!(path, "/kf/listen");
            asked.lock().unwrap().push(Listen::decode(payload).unwrap());
            answer.lock().unwrap().clone().map(|(code, payload)| (code, Zeroizing::new(payload)))
        };
        (World::new(1, Box::new(answers)), gateway)
    }

    #[test]
    fn a_short_grant_is_renewed_sooner() {
        let (mut world, (asked, answer)) = world();
        *answer.lock().unwrap() = Some((Code::CONTENT, ListenAnswer { seconds: 30 }.encode().to_vec()));
        world.input(Input::Listen { id: RequestId(3), listen: Listen::new(PORT) });
        world.sleep(Duration::from_secs(21));
        assert_eq!(asked.lock().unwrap().len(), 2);
    }

    fn listening() -> (World, Gateway) {
        let (mut world, gateway) = world();
        world.input(Input::Listen { id: RequestId(3), listen: Listen::new(PORT) });
        assert_eq!(world.told(), ["listening 3 300"]);
        (world, gateway)
    }

    fn incoming() -> Handover {
        let peer = ProvedPeer { method: ProofMethod::ANONYMOUS, identity: "10.7.2.2".into() };
        Handover { role: Role::SERVER, peer, ..keys() }
    }

    #[test]
    fn keys_for_an_announced_port_come_out() {
        let (mut world, _) = listening();
        let mut second = Handover { session: SessionId(8), ..incoming() };
        second.binding.remote.set_port(444);
        assert_eq!(world.push("session", incoming().encode()).0, Code::CHANGED);
        assert_eq!(world.push("session", incoming().encode()).0, Code::CHANGED);
        assert_eq!(world.push("session", second.encode()).0, Code::CHANGED);
        assert_eq!(world.told(), ["incoming 3 7", "incoming 3 8"], "each once");
    }

    #[test]
    fn others_for_the_same_connection_are_refused() {
        let (mut world, _) = listening();
        let second = |session| Handover { session: SessionId(session), ..incoming() };
        assert_eq!(world.push("session", incoming().encode()).0, Code::CHANGED);
        world.sleep(Duration::from_secs(9));
        let (code, payload) = world.push("session", second(8).encode());
        assert_eq!((code, reason_of(&payload)), (Code::CONFLICT, Reason::ADDRESS_NOT_BOUND));
        assert_eq!(world.told(), ["incoming 3 7"]);
        // The peer may use its port again once the connection is gone.
        world.sleep(Duration::from_secs(2));
        assert_eq!(world.push("session", second(9).encode()).0, Code::CHANGED);
        assert_eq!(world.told(), ["incoming 3 9"]);
    }

    #[test]
    fn what_is_remembered_of_connections_is_bounded() {
        let (mut world, _) = listening();
        for number in 0..100 {
            let mut handover = Handover { session: SessionId(number), ..incoming() };
            handover.binding.remote.set_port(10_000 + number as u16);
            assert_eq!(world.push("session", handover.encode()).0, Code::CHANGED);
        }
        assert_eq!(world.terminal.settled.len(), 16);
    }

    #[test]
    fn other_keys_do_not() {
        let refused = |change: &dyn Fn(&mut Handover)| {
            let (mut world, _) = listening();
            let mut handover = incoming();
            change(&mut handover);
            let (code, payload) = world.push("session", handover.encode());
            assert_eq!((code, world.told().len()), (Code::CONFLICT, 0));
            reason_of(&payload)
        };
        assert_eq!(refused(&|keys| keys.binding.local.set_port(PORT + 1)), Reason::NOT_LISTENING);
        assert_eq!(refused(&|keys| keys.role = Role::CLIENT), Reason::CLOSED_BY_TERMINAL);
        assert_eq!(refused(&|keys| *keys = Handover { role: Role::SERVER, ..tls12_keys() }), Reason::UNSUPPORTED);
        assert_eq!(refused(&|keys| keys.limits.seconds = 0), Reason::UNSUPPORTED);
    }

    #[test]
    fn a_servers_keys_never_answer_a_clients_request() {
        let mut world = World::consenting();
        world.connect(1);
        let (code, payload) = world.push("session", incoming().encode());
        assert_eq!((code, reason_of(&payload)), (Code::CONFLICT, Reason::NOT_LISTENING));
        let Binding { local, remote } = keys().binding;
        world.input(Input::Expect { id: RequestId(5), local, remote });
        assert_eq!(world.push("session", incoming().encode()).0, Code::CONFLICT);
        assert_eq!(world.push("session", keys().encode()).0, Code::CHANGED);
        assert_eq!(world.told(), ["offer 1 10.7.2.2", "session 1 7"]);
    }

    #[test]
    fn a_port_is_announced_anew_before_it_lapses() {
        let (mut world, (asked, _)) = listening();
        world.sleep(Duration::from_secs(59));
        assert!(world.told().is_empty());
        world.sleep(Duration::from_secs(2));
        assert_eq!(world.told(), ["listening 3 300"], "long before: a gateway that restarted has forgotten it");
        assert_eq!(asked.lock().unwrap().len(), 2);
    }

    #[test]
    fn it_is_after_the_gateway_was_away() {
        let (mut world, (asked, answer)) = listening();
        let granted = answer.lock().unwrap().take();
        world.sleep(Duration::from_secs(400));
        assert!(world.told().is_empty(), "trouble passes");
        let tried = asked.lock().unwrap().len();
        assert!((5..=15).contains(&tried), "with pauses that grow: {tried}");
        *answer.lock().unwrap() = granted;
        world.sleep(Duration::from_secs(64));
        assert_eq!(world.told(), ["listening 3 300"]);
        assert_eq!(world.push("session", incoming().encode()).0, Code::CHANGED);
    }

    #[test]
    fn it_is_not_when_policy_says_no() {
        let no = Failure { session: None, reason: Reason::FORBIDDEN_PORT, detail: None, last_words: vec![] };
        let (mut world, (_, answer)) = listening();
        *answer.lock().unwrap() = Some((Code::FORBIDDEN, no.encode().to_vec()));
        world.sleep(Duration::from_secs(300));
        assert!(world.told()[0].starts_with("failed 3 Failure"));
        assert_eq!(world.push("session", incoming().encode()).0, Code::CONFLICT);
    }

    #[test]
    fn a_first_announcement_that_fails_is_told() {
        let (mut world, (_, answer)) = world();
        *answer.lock().unwrap() = None;
        world.input(Input::Listen { id: RequestId(3), listen: Listen::new(PORT) });
        world.sleep(Duration::from_secs(3));
        assert_eq!(world.told(), ["failed 3 GatewaySilent"]);
        world.input(Input::Listen { id: RequestId(4), listen: Listen::new(PORT) });
        world.input(Input::Listen { id: RequestId(5), listen: Listen::new(PORT) });
        assert_eq!(world.told(), ["failed 5 AlreadyListening"]);
    }

    #[test]
    fn a_port_that_is_given_up_is_taken_back() {
        let (mut world, (asked, _)) = listening();
        world.input(Input::Cancel { id: RequestId(3) });
        let last = asked.lock().unwrap().last().cloned().unwrap();
        assert_eq!((last.port, last.seconds), (PORT, 0));
        assert_eq!(reason_of(&world.push("session", incoming().encode()).1), Reason::NOT_LISTENING);
        world.sleep(Duration::from_secs(400));
        assert_eq!(asked.lock().unwrap().len(), 2);
    }
}

mod assisted {
    use super::*;
    use core::net::IpAddr;
    use std::string::ToString;
    use std::sync::{Arc, Mutex};

    const PEER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 7, 2, 2));

    /// A gateway that has a handshake of `length` bytes from the peer, and what it was asked.
    fn world(length: usize) -> (World, Arc<Mutex<Vec<KxRequest>>>) {
        let asked: Arc<Mutex<Vec<KxRequest>>> = Arc::default();
        let (told, mut got) = (asked.clone(), 0);
        let answers = move |path: &str, payload: &[u8]| {
            assert_eq!(path, "/kf/kx");
            assert!(payload.len() <= 1024, "each request in one message");
            let request = KxRequest::decode(payload).unwrap();
            told.lock().unwrap().push(request.clone());
            let mut answer = KxAnswer {
                session: SessionId(7),
                next: Step::KEY_GENERATION,
                needed: vec![],
                send: vec![],
                address: None,
            };
            match request {
                KxRequest::Start { bytes, .. } => {
                    got += bytes.len();
                    answer.needed = vec![Step::KEY_GENERATION, Step::AUTHENTICATION];
                    answer.send = b"hello".to_vec();
                    answer.address = Some(PEER);
                }
                KxRequest::Carry { closed: true, .. } => {
                    let last_words = b"alert".to_vec();
                    let failure = Failure { session: None, reason: Reason::PEER_CLOSED, detail: None, last_words };
                    return Some((Code::BAD_GATEWAY, failure.encode()));
                }
                KxRequest::Carry { bytes, .. } => {
                    got += bytes.len();
                    answer.send = got.to_string().into_bytes();
                    answer.next = if got < length { Step::AUTHENTICATION } else { Step::KEY };
                }
                KxRequest::Key { .. } => return Some((Code::CHANGED, Zeroizing::default())),
            }
            Some((Code::CONTENT, answer.encode()))
        };
        (World::new(2, Box::new(answers)), asked)
    }

    fn start(world: &mut World) {
        world.input(Input::Assist { id: RequestId(1), start: Start::Client(request()) });
        assert_eq!(
            world.told(),
            ["assisted 1 [KEY_GENERATION, AUTHENTICATION] Some(10.7.2.2)", "to peer 1 hello"].map(shown)
        );
        world.input(Input::PeerOpened { id: RequestId(1), binding: keys().binding });
    }

    /// As the steps' own `Debug` has them.
    fn shown(text: &str) -> String {
        let steps = alloc::format!("{:?}", [Step::KEY_GENERATION, Step::AUTHENTICATION]);
        text.replace("[KEY_GENERATION, AUTHENTICATION]", &steps)
    }

    #[test]
    fn a_flight_costs_one_round_trip_and_ends_in_keys() {
        let (mut world, asked) = world(2500);
        start(&mut world);
        world.input(Input::PeerBytes { id: RequestId(1), bytes: &[9; 2700] });
        let told = world.told();
        assert_eq!(
            told,
            ["to peer 1 1000", "needs 1 authentication", "to peer 1 2000", "to peer 1 2700", "needs 1 key",]
        );
        let asked = asked.lock().unwrap();
        let offsets: Vec<u32> = asked
            .iter()
            .filter_map(|request| if let KxRequest::Carry { offset, .. } = request { Some(*offset) } else { None })
            .collect();
        assert_eq!(offsets, [0, 1000, 2000]);
        let key = KxRequest::Key { session: SessionId(7), length: 2700, binding: keys().binding };
        assert_eq!(asked.last(), Some(&key));
        drop(asked);
        // What comes behind the handshake belongs to the session.
        world.input(Input::PeerBytes { id: RequestId(1), bytes: b"later" });
        let handover = Handover { prefix: b"early ".to_vec(), ..keys() };
        assert_eq!(world.push("session", handover.encode()).0, Code::CHANGED);
        let [Event::Session { handover, .. }] = &world.events[..] else { panic!() };
        assert_eq!(handover.prefix, b"early later");
        assert_eq!(world.terminal.pending(), 0);
    }

    #[test]
    fn pieces_go_side_by_side_and_no_more_than_the_channel_carries() {
        let (mut world, asked) = world(1 << 20);
        start(&mut world);
        world.terminal.handle_input(world.now, Input::PeerBytes { id: RequestId(1), bytes: &[9; 20_000] }).unwrap();
        let mut sent = 0;
        while let Output::Transmit(_) = world.terminal.poll_output() {
            sent += 1;
        }
        assert_eq!(sent, 8, "before any answer");
        world.sleep(Duration::from_millis(2500));
        assert_eq!(asked.lock().unwrap().len(), 1 + 20, "retransmitted, and the rest behind them");
    }

    #[test]
    fn answers_that_overtake_each_other_reach_the_peer_in_order() {
        let (mut assist, mut exchanges, mut events) = {
            let mut exchanges = Exchanges::default();
            let assist = Assist::start(RequestId(1), Start::Client(request()), &mut exchanges);
            (assist, exchanges, VecDeque::new())
        };
        let answer = |next, needed, send: &[u8]| {
            KxAnswer { session: SessionId(7), next, needed, send: send.to_vec(), address: Some(PEER) }.encode()
        };
        let started = answer(Step::KEY_GENERATION, vec![Step::AUTHENTICATION], b"");
        assist.started(RequestId(1), &started, &mut events).ok().unwrap();
        assist.hear(&[1; 1500]).ok().unwrap();
        assist.advance(RequestId(1), &mut exchanges, &mut events);
        events.clear();
        assist.answered(1000, &answer(Step::KEY, vec![], b"two")).ok().unwrap();
        assist.advance(RequestId(1), &mut exchanges, &mut events);
        assert!(events.is_empty());
        assist.answered(0, &answer(Step::AUTHENTICATION, vec![], b"one")).ok().unwrap();
        assist.advance(RequestId(1), &mut exchanges, &mut events);
        let sent: Vec<Vec<u8>> = events
            .into_iter()
            .filter_map(|event| if let Event::ToPeer { bytes, .. } = event { Some(bytes) } else { None })
            .collect();
        assert_eq!(sent, [b"one", b"two"]);
    }

    #[test]
    fn a_server_starts_with_what_it_has_read() {
        let (mut world, asked) = world(1700);
        let binding = keys().binding;
        let server = Start::Server { listen: Listen::new(PORT), binding, bytes: vec![9; 1700] };
        world.input(Input::Assist { id: RequestId(1), start: server });
        assert_eq!(world.told().last().unwrap(), "needs 1 key");
        let steps: Vec<Step> = asked.lock().unwrap().iter().map(KxRequest::step).collect();
        assert_eq!(steps, [Step::START, Step::KEY_GENERATION, Step::KEY]);
        let mut handover = Handover { role: Role::SERVER, ..keys() };
        handover.binding.remote.set_port(5);
        let (code, payload) = world.push("session", handover.encode());
        assert_eq!((code, reason_of(&payload)), (Code::CONFLICT, Reason::ADDRESS_NOT_BOUND));
        assert_eq!(world.told(), ["failed 1 UnusableKeys(address-not-bound)"]);
    }

    #[test]
    fn keys_before_the_question_for_them_are_refused() {
        let (mut world, _) = world(2500);
        start(&mut world);
        assert_eq!(world.push("session", keys().encode()).0, Code::CONFLICT);
        assert_eq!(world.told(), ["failed 1 UnusableKeys(address-not-bound)"]);
    }

    #[test]
    fn last_words_come_before_the_end() {
        let (mut world, _) = world(2500);
        start(&mut world);
        world.input(Input::PeerBytes { id: RequestId(1), bytes: &[9; 10] });
        world.input(Input::PeerClosed { id: RequestId(1) });
        let told = world.told();
        assert_eq!(told[..3], ["to peer 1 10", "needs 1 authentication", "to peer 1 alert"]);
        assert!(told[3].starts_with("failed 1 Failure"), "{told:?}");
        assert_eq!(world.terminal.pending(), 0);
    }

    #[test]
    fn last_words_that_would_come_out_of_order_are_left_out() {
        // The answer to the first piece is lost, that to the second says no.
        let answers = |_: &str, payload: &[u8]| match KxRequest::decode(payload).unwrap() {
            KxRequest::Start { .. } => {
                let needed = vec![Step::AUTHENTICATION];
                let (session, next) = (SessionId(7), Step::AUTHENTICATION);
                Some((Code::CONTENT, KxAnswer { session, next, needed, send: vec![], address: Some(PEER) }.encode()))
            }
            KxRequest::Carry { offset: 0, .. } => None,
            _ => {
                let last_words = b"alert".to_vec();
                let failure = Failure { session: None, reason: Reason::PEER_ALERT, detail: None, last_words };
                Some((Code::BAD_GATEWAY, failure.encode()))
            }
        };
        let mut world = World::new(1, Box::new(answers));
        world.input(Input::Assist { id: RequestId(1), start: Start::Client(request()) });
        world.input(Input::PeerOpened { id: RequestId(1), binding: keys().binding });
        world.told();
        world.input(Input::PeerBytes { id: RequestId(1), bytes: &[9; 1500] });
        let told = world.told();
        assert!(told.len() == 1 && told[0].starts_with("failed 1 Failure"), "{told:?}");
    }

    #[test]
    fn a_start_that_needs_nothing_is_a_malfunction() {
        let answer =
            KxAnswer { session: SessionId(7), next: Step::KEY, needed: vec![], send: vec![], address: Some(PEER) };
        let mut world = World::new(1, Box::new(move |_, _| Some((Code::CONTENT, answer.encode()))));
        world.input(Input::Assist { id: RequestId(1), start: Start::Client(request()) });
        assert!(world.told()[0].starts_with("failed 1 BadAnswer"));
        assert_eq!(world.push("session", keys().encode()).0, Code::CONFLICT);
    }

    #[test]
    fn silence_of_either_is_told() {
        let mut silent = World::silent(1);
        silent.input(Input::Assist { id: RequestId(1), start: Start::Client(request()) });
        silent.sleep(Duration::from_millis(2900));
        assert_eq!(silent.told(), ["failed 1 GatewaySilent"]);

        let (mut world, _) = world(100);
        start(&mut world);
        world.sleep(Duration::from_secs(19));
        assert!(world.told().is_empty());
        world.sleep(Duration::from_secs(2));
        assert_eq!(world.told(), ["failed 1 PeerSilent"]);

        let (mut world, _) = super::assisted::world(100);
        start(&mut world);
        world.input(Input::PeerBytes { id: RequestId(1), bytes: &[9; 100] });
        world.told();
        world.sleep(Duration::from_secs(9));
        assert!(world.told().is_empty(), "a push may be repeated for a while");
        world.sleep(Duration::from_secs(2));
        assert_eq!(world.told(), ["failed 1 KeysLate"]);
    }
}
