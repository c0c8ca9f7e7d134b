use alloc::vec;
use core::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::mangle::mangle;
use crate::messages::tests::{any_binding, any_connect, any_text, bytes, ip, problem};
use crate::messages::{PeerName, Problem};

// Known answers, encoded by another implementation (cbor2 for Python).
const START_CLIENT: &str = "a20000025819a3006e7365727665722e6578616d706c65011901bb02199c41";
const START_SERVER: &str = "a5000001010245a1011920fb0384440a0701021920fb440a07020219c3510443160301";
const CARRY: &str = "a4000204441603030005070600";
const CARRY_CLOSED: &str = "a4000105070619100007f5";
const KEY: &str = "a400030384440a070102199c41440a0702021901bb050706191000";
const START_ANSWER: &str = "a50002044316030105070882020109440a070202";
const CARRY_ANSWER: &str = "a200010507";
const LAST_ANSWER: &str = "a3000304431403030507";

fn at(local_port: u16, remote_port: u16) -> Binding {
    Binding { local: SocketAddr::new(ip("10.7.1.2"), local_port), remote: SocketAddr::new(ip("10.7.2.2"), remote_port) }
}

fn client() -> KxRequest {
    let connect = Some(Connect::new(PeerName::Name("server.example".into()), 443, 40001));
    KxRequest::Start { role: Role::CLIENT, connect, listen: None, binding: None, bytes: vec![] }
}

fn server() -> KxRequest {
    KxRequest::Start {
        role: Role::SERVER,
        connect: None,
        listen: Some(Listen::new(8443)),
        binding: Some(at(8443, 50001)),
        bytes: vec![0x16, 3, 1],
    }
}

fn piece(step: Step, offset: u32, bytes: Vec<u8>, closed: bool) -> KxRequest {
    KxRequest::Carry { step, session: SessionId(7), offset, bytes, closed }
}

fn answer() -> KxAnswer {
    KxAnswer { session: SessionId(7), next: Step::KEY_GENERATION, needed: vec![], send: vec![], address: None }
}

#[test]
fn requests_are_what_another_implementation_makes_of_them() {
    for (request, hex) in [
        (client(), START_CLIENT),
        (server(), START_SERVER),
        (piece(Step::AUTHENTICATION, 0, vec![0x16, 3, 3, 0], false), CARRY),
        (piece(Step::KEY_GENERATION, 4096, vec![], true), CARRY_CLOSED),
        (KxRequest::Key { session: SessionId(7), length: 4096, binding: at(40001, 443) }, KEY),
    ] {
        assert_eq!(*request.encode(), bytes(hex));
        assert_eq!(KxRequest::decode(&bytes(hex)), Ok(request));
    }
}

#[test]
fn answers_are_what_another_implementation_makes_of_them() {
    let start = KxAnswer {
        next: Step::AUTHENTICATION,
        needed: vec![Step::AUTHENTICATION, Step::KEY_GENERATION],
        send: vec![0x16, 3, 1],
        address: Some(ip("10.7.2.2")),
        ..answer()
    };
    assert_eq!(KxAnswer::decode_start(&bytes(START_ANSWER)), Ok(start.clone()));
    let last = KxAnswer { next: Step::KEY, send: vec![0x14, 3, 3], ..answer() };
    for (answer, hex) in [(start, START_ANSWER), (answer(), CARRY_ANSWER), (last, LAST_ANSWER)] {
        assert_eq!(*answer.encode(), bytes(hex));
        assert_eq!(KxAnswer::decode(&bytes(hex)), Ok(answer));
    }
}

#[test]
fn a_step_that_is_not_known_is_unsupported() {
    for hex in ["a10004", "a100 18ff", "a100 190100", "a100 1bffffffffffffffff"] {
        assert_eq!(problem(KxRequest::decode(&bytes(hex))), Problem::Unsupported, "{hex}");
    }
    assert_eq!(problem(KxRequest::decode(&bytes("a10020"))), Problem::WrongType);
    assert_eq!(problem(KxRequest::decode(&bytes("a0"))), Problem::Missing);
}

#[test]
fn a_start_answer_that_needs_nothing_is_a_malfunction() {
    let nothing = KxAnswer { next: Step::KEY, ..answer() };
    assert_eq!(problem(KxAnswer::decode_start(&nothing.encode())), Problem::Missing);
    assert_eq!(problem(KxAnswer::decode_start(&bytes("a300030507 0880"))), Problem::Length); // an empty list
    let needed = |step| KxAnswer { needed: vec![step], ..answer() };
    assert!(KxAnswer::decode_start(&needed(Step::KEY_GENERATION).encode()).is_ok());
    for step in [Step::START, Step::KEY, Step(4)] {
        assert_eq!(problem(KxAnswer::decode_start(&needed(step).encode())), Problem::Value);
    }
    let many = KxAnswer { needed: vec![Step::AUTHENTICATION; 9], ..answer() };
    assert_eq!(problem(KxAnswer::decode_start(&many.encode())), Problem::Length);
}

#[test]
fn an_answer_names_a_step_that_can_be_taken() {
    for step in [Step::START, Step(4), Step(255)] {
        assert_eq!(problem(KxAnswer::decode(&KxAnswer { next: step, ..answer() }.encode())), Problem::Value);
    }
    let much = KxAnswer { send: vec![0; KxAnswer::MAX_SEND + 1], ..answer() };
    assert_eq!(problem(KxAnswer::decode(&much.encode())), Problem::Length);
    assert_eq!(problem(KxAnswer::decode(&bytes("a10001"))), Problem::Missing);
    assert_eq!(problem(KxAnswer::decode(&bytes("a10507"))), Problem::Missing);
    let mapped = KxAnswer { address: Some(ip("::ffff:10.7.2.2")), ..answer() };
    assert_eq!(problem(KxAnswer::decode(&mapped.encode())), Problem::Value);
}

#[test]
fn a_start_without_what_its_role_needs_is_refused() {
    let refused = |hex| problem(KxRequest::decode(&bytes(hex)));
    assert_eq!(refused("a10000"), Problem::Missing);
    // A server without binding.
    assert_eq!(refused("a300000101 0245a1011920fb"), Problem::Missing);
    assert_eq!(refused("a300000102 0245a1011920fb"), Problem::Unsupported); // role 2
    // A client that sends a listen.
    assert_eq!(refused("a20000 0245a1011920fb"), Problem::Missing);
    assert_eq!(refused("a20000 0240"), Problem::WrongType);
    assert_eq!(refused("a20000 02a1011920fb"), Problem::WrongType); // not wrapped in a byte string
}

#[test]
fn a_client_s_peer_has_not_spoken_yet() {
    let mut start = client();
    if let KxRequest::Start { bytes, .. } = &mut start {
        bytes.push(0x16);
    }
    assert_eq!(problem(KxRequest::decode(&start.encode())), Problem::Value);
}

#[test]
fn pieces_have_bounds() {
    let mut start = server();
    if let KxRequest::Start { bytes, .. } = &mut start {
        *bytes = vec![0; KxRequest::MAX_START];
    }
    assert_eq!(KxRequest::decode(&start.encode()), Ok(start.clone()));
    if let KxRequest::Start { bytes, .. } = &mut start {
        bytes.push(0);
    }
    assert_eq!(problem(KxRequest::decode(&start.encode())), Problem::Length);

    let most = piece(Step::AUTHENTICATION, u32::MAX, vec![0; KxRequest::MAX_PIECE], false);
    assert_eq!(KxRequest::decode(&most.encode()), Ok(most));
    let more = piece(Step::AUTHENTICATION, 0, vec![0; KxRequest::MAX_PIECE + 1], false);
    assert_eq!(problem(KxRequest::decode(&more.encode())), Problem::Length);
    // Offset 2^32, no offset, no session, a number for closed.
    let refused = |hex| problem(KxRequest::decode(&bytes(hex)));
    assert_eq!(refused("a300020507 061b0000000100000000"), Problem::Value);
    assert_eq!(refused("a200020507"), Problem::Missing);
    assert_eq!(refused("a200020600"), Problem::Missing);
    assert_eq!(refused("a40002050706000701"), Problem::WrongType);
}

#[test]
fn a_request_for_the_key_says_what_it_is_for() {
    let refused = |hex| problem(KxRequest::decode(&bytes(hex)));
    assert_eq!(refused("a300030507 0600"), Problem::Missing);
    let mixed = Binding { remote: "[fd07::1]:443".parse().unwrap(), ..at(40001, 443) };
    let key = KxRequest::Key { session: SessionId(7), length: 0, binding: mixed };
    assert_eq!(problem(KxRequest::decode(&key.encode())), Problem::Value);
}

#[test]
fn mangled_messages_do_not_panic() {
    for hex in [START_CLIENT, START_SERVER, CARRY, CARRY_CLOSED, KEY, START_ANSWER, CARRY_ANSWER, LAST_ANSWER] {
        let whole = bytes(hex);
        for length in 0..whole.len() {
            assert!(KxRequest::decode(&whole[..length]).is_err());
            assert!(KxAnswer::decode(&whole[..length]).is_err());
        }
        mangle(&whole, |mangled| {
            let _ = (KxRequest::decode(mangled), KxAnswer::decode(mangled), KxAnswer::decode_start(mangled));
        });
    }
}

fn any_request() -> impl Strategy<Value = KxRequest> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
    let client = (any_connect(), proptest::option::of(any_binding())).prop_map(|(connect, binding)| KxRequest::Start {
        role: Role::CLIENT,
        connect: Some(connect),
        listen: None,
        binding,
        bytes: vec![],
    });
    let server = (1..=u16::MAX, any_text(20), any_binding(), bytes()).prop_map(|(port, alpn, binding, bytes)| {
        let listen = Some(Listen { alpn: vec![alpn], ..Listen::new(port) });
        KxRequest::Start { role: Role::SERVER, connect: None, listen, binding: Some(binding), bytes }
    });
    let carry = (1..=2_u8, any::<u32>(), any::<u32>(), bytes(), any::<bool>()).prop_map(
        |(step, session, offset, bytes, closed)| KxRequest::Carry {
            step: Step(step),
            session: SessionId(session),
            offset,
            bytes,
            closed,
        },
    );
    let key = (any::<u32>(), any::<u32>(), any_binding()).prop_map(|(session, length, binding)| KxRequest::Key {
        session: SessionId(session),
        length,
        binding,
    });
    prop_oneof![client, server, carry, key]
}

proptest! {
    #[test]
    fn any_request_survives(request in any_request()) {
        prop_assert_eq!(KxRequest::decode(&request.encode()), Ok(request));
    }

    #[test]
    fn any_answer_survives(
        session: u32,
        next in 1..=3_u8,
        needed in proptest::collection::vec((1..=2_u8).prop_map(Step), 0..=8),
        send in proptest::collection::vec(any::<u8>(), 0..300),
        address in proptest::option::of(any_binding().prop_map(|binding| binding.remote.ip())),
    ) {
        let answer = KxAnswer { session: SessionId(session), next: Step(next), needed, send, address };
        prop_assert_eq!(KxAnswer::decode(&answer.encode()), Ok(answer));
    }

    #[test]
    fn any_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (KxRequest::decode(&bytes), KxAnswer::decode(&bytes));
    }
}
