//! The terminal carries the bytes of a handshake that the gateway computes.

use super::*;
use core::net::IpAddr;
use keyferry_parsers::messages::{KxAnswer, KxRequest, Step};
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
        let mut answer =
            KxAnswer { session: SessionId(7), next: Step::KEY_GENERATION, needed: vec![], send: vec![], address: None };
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
    assert_eq!(told, ["to peer 1 1000", "needs 1 authentication", "to peer 1 2000", "to peer 1 2700", "needs 1 key",]);
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
    let answer = KxAnswer { session: SessionId(7), next: Step::KEY, needed: vec![], send: vec![], address: Some(PEER) };
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
