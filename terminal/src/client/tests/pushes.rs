//! What the gateway sends by itself: keys and failures, and which of them a terminal takes.

use super::*;

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
