//! A terminal asks for a peer, and what becomes of it.

use super::*;

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
fn tls_1_2_is_taken_if_it_was_asked_for() {
    let mut world = World::consenting();
    let request = Connect { oldest_version: ProtocolVersion::TLS_1_2, ..request() };
    world.input(Input::Connect { id: RequestId(1), request });
    assert_eq!(world.push("session", tls12_keys().encode()).0, Code::CHANGED);
    assert_eq!(world.told(), ["offer 1 10.7.2.2", "session 1 7"]);
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
