//! Ports that a terminal announces, and the keys for those who call there.

use super::*;
use keyferry_parsers::messages::ListenAnswer;
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
