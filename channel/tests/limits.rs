//! Everything that can grow has an end, and an idle channel is small.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong"
)]

mod pair;

use std::time::Duration;

use keyferry_channel::{ChannelKey, Endpoint, Failure, Input, Instant, Refused, RequestId, State};
use pair::{GATEWAY, Handler, Pair, TERMINAL};

#[test]
fn eight_requests_fly_sixty_four_wait_and_more_are_refused() {
    let mut pair = Pair::settled(1);
    pair.link.loss = 100;
    for number in 0..72 {
        pair.request(TERMINAL, number, b"x").unwrap();
    }
    assert_eq!(pair.sent.len(), 8);
    assert_eq!(pair.request(TERMINAL, 72, b"x"), Err(Refused::Overloaded));
    pair.link.loss = 0;
    pair.run();
    for number in 0..72 {
        assert!(pair.answered(TERMINAL, number).is_some(), "{number}: {:?}", pair.sides[TERMINAL].outcomes[&number]);
    }
}

#[test]
fn sixteen_exchanges_are_open_and_more_must_come_again() {
    let mut pair = Pair::settled(2);
    pair.sides[GATEWAY].handler = Handler::Silent;
    for number in 0..24 {
        pair.request(TERMINAL, number, b"x").unwrap();
        pair.run_for(Duration::from_millis(1200));
        // Make room at the terminal only: the gateway keeps the exchange.
        pair.input(TERMINAL, Input::Cancel { id: RequestId(number) }).unwrap();
    }
    assert_eq!(pair.sides[GATEWAY].delivered.len(), 16);
    assert!(pair.sides[GATEWAY].refused.contains(&Refused::Overloaded));
    pair.run();
    assert!(pair.sides[GATEWAY].endpoint.is_idle(), "given up after 60 s");
    pair.sides[GATEWAY].handler = Handler::Echo;
    pair.request(TERMINAL, 99, b"room").unwrap();
    pair.run();
    assert_eq!(pair.answered(TERMINAL, 99).unwrap(), b"room");
}

#[test]
fn cancelled_requests_fail_once_and_late_answers_change_nothing() {
    let mut pair = Pair::settled(3);
    pair.request(TERMINAL, 1, b"x").unwrap();
    pair.input(TERMINAL, Input::Cancel { id: RequestId(1) }).unwrap();
    pair.run();
    assert_eq!(pair.sides[TERMINAL].outcomes[&1], [Err(Failure::Cancelled)]);
    assert!(pair.sides[TERMINAL].refused.is_empty(), "the answer fits the request, but nobody waits for it");
    assert_eq!(pair.input(TERMINAL, Input::Cancel { id: RequestId(1) }), Err(Refused::Unmatched));
}

/// Their answers come separately, after the terminal lost interest: by cancelling, or because its time was up.
#[test]
fn late_answers_to_requests_given_up_are_acknowledged() {
    for cancelled in [true, false] {
        let mut pair = Pair::settled(6);
        let late = Duration::from_secs(if cancelled { 5 } else { 58 });
        pair.sides[GATEWAY].handler = Handler::EchoAfter(late);
        for number in 0..8 {
            pair.request(TERMINAL, number, b"x").unwrap();
        }
        pair.run_for(Duration::from_secs(1));
        if cancelled {
            for id in (0..8).map(RequestId) {
                pair.input(TERMINAL, Input::Cancel { id }).unwrap();
            }
        } else {
            // The answers stay on the way until the terminal gave up.
            pair.run_for(Duration::from_secs(56));
            pair.link.loss = 100;
            pair.run_for(Duration::from_secs(6));
            pair.link.loss = 0;
        }
        let sent = pair.sent.len();
        pair.run();
        let why = if cancelled { Failure::Cancelled } else { Failure::TimedOut };
        for number in 0..8 {
            assert_eq!(pair.sides[TERMINAL].outcomes[&number], [Err(why)]);
        }
        assert!(pair.sides[TERMINAL].refused.is_empty(), "{:?}", pair.sides[TERMINAL].refused);
        assert_eq!(pair.sent.len() - sent, 16, "eight answers and as many acknowledgements, none repeated");
        assert!(pair.sides[GATEWAY].endpoint.is_idle());
        // An acknowledgement that got lost is repeated, although nobody remembers the request.
        let answer =
            pair.sent.iter().rfind(|(from, datagram)| *from == GATEWAY && datagram.len() > 4).unwrap().1.clone();
        pair.input(TERMINAL, Input::Datagram { bytes: &answer, path_is_new: false }).unwrap();
        assert_eq!(pair.wire.pop().unwrap().2.len(), 4);
        // And nothing is kept for good.
        pair.run_for(Duration::from_secs(400));
        assert_eq!(pair.deadline(TERMINAL), (None::<Instant>, "idle"));
    }
}

#[test]
fn answers_nobody_acknowledges_give_way_to_new_requests() {
    let mut pair = Pair::settled(7);
    pair.sides[GATEWAY].handler = Handler::EchoAfter(Duration::from_secs(1));
    // The terminal forgets its requests with every restart and so cannot acknowledge the answers.
    for number in 0..20 {
        pair.request(TERMINAL, number, &[number as u8]).unwrap();
        pair.run_for(Duration::from_millis(600));
        pair.crash(TERMINAL);
        pair.run_for(Duration::from_millis(500));
    }
    assert_eq!(pair.sides[GATEWAY].delivered.len(), 20);
    assert!(!pair.sides[GATEWAY].refused.contains(&Refused::Overloaded));
    pair.request(TERMINAL, 99, b"room").unwrap();
    pair.run();
    assert_eq!(pair.answered(TERMINAL, 99).unwrap(), b"room");
}

#[test]
fn the_last_sequence_number_is_the_last() {
    let mut state = State::new(ChannelKey::from_bytes(pair::KEY));
    state.reserved = (1 << 40) - 1;
    let mut pair = Pair::settled(4);
    pair.sides[TERMINAL].stored = state.encode().to_vec();
    pair.crash(TERMINAL);
    pair.request(TERMINAL, 1, b"last").unwrap();
    pair.run();
    assert_eq!(pair.answered(TERMINAL, 1).unwrap(), b"last");
    pair.request(TERMINAL, 2, b"none left").unwrap();
    assert_eq!(pair.sides[TERMINAL].outcomes[&2], [Err(Failure::Exhausted)]);
    pair.crash(TERMINAL);
    pair.request(TERMINAL, 3, b"nor after a restart").unwrap();
    assert_eq!(pair.sides[TERMINAL].outcomes[&3], [Err(Failure::Exhausted)]);
}

#[test]
fn an_idle_endpoint_takes_less_than_a_kilobyte() {
    assert!(size_of::<Endpoint>() < 1024, "{} bytes", size_of::<Endpoint>());
    // What hangs on it is freed with the last deadline.
    let mut pair = Pair::settled(5);
    pair.run_for(Duration::from_secs(400));
    for side in [TERMINAL, GATEWAY] {
        assert_eq!(pair.deadline(side), (None::<Instant>, "idle"));
    }
}
