//! Bodies of 20 KiB travel in blocks both ways and arrive whole, once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong"
)]

mod pair;

use keyferry_channel::{Code, Failure, Refused};
use pair::{GATEWAY, Handler, Link, Pair, TERMINAL};

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 / 7) as u8).collect()
}

#[test]
fn whatever_the_length_the_body_comes_back() {
    for side in [TERMINAL, GATEWAY] {
        for length in [0, 1, 511, 512, 513, 1023, 1024, 1025, 1536, 1537, 20 * 1024, 32 * 1024] {
            let mut pair = Pair::settled(length as u64);
            pair.request(side, 1, &body(length)).unwrap();
            pair.run();
            assert_eq!(pair.answered(side, 1), Some(body(length)), "{length} bytes");
            assert_eq!(pair.sides[1 - side].delivered, [body(length)]);
            assert!(pair.sent.iter().all(|(_, datagram)| datagram.len() <= 1100));
        }
    }
}

#[test]
fn twenty_kibibytes_up_and_down_under_loss() {
    let mut answered = 0;
    for seed in 0..60 {
        let mut pair = Pair::new(seed);
        pair.link = Link { loss: seed % 16, duplication: 10, reordering: 10 };
        let side = (seed % 2) as usize;
        pair.request(side, 1, &body(20 * 1024)).unwrap();
        pair.request(side, 2, &body(3000)).unwrap();
        pair.run();
        for (id, length) in [(1, 20 * 1024), (2, 3000)] {
            let delivered = pair.sides[1 - side].delivered.iter().filter(|seen| seen.len() == length).count();
            assert!(delivered <= 1);
            assert_eq!(pair.sides[side].outcomes[&id].len(), 1);
            if let Some(answer) = pair.answered(side, id) {
                assert_eq!(answer, body(length));
                answered += 1;
            }
        }
        assert!(pair.sides[1 - side].delivered.iter().all(|seen| *seen == body(seen.len())));
    }
    assert!(answered >= 100, "{answered} of 120");
}

#[test]
fn a_long_answer_to_a_short_question() {
    let mut pair = Pair::settled(4);
    pair.sides[GATEWAY].handler = Handler::Long(20 * 1024);
    pair.request(TERMINAL, 1, b"?").unwrap();
    pair.run();
    assert_eq!(pair.answered(TERMINAL, 1).unwrap().len(), 20 * 1024);
    assert_eq!(pair.sides[GATEWAY].delivered.len(), 1, "fetching blocks asks no question");
}

#[test]
fn a_second_long_answer_meanwhile_is_refused_with_5_03() {
    let mut pair = Pair::settled(5);
    pair.sides[GATEWAY].handler = Handler::Long(5000);
    pair.request(TERMINAL, 1, b"first").unwrap();
    pair.request(TERMINAL, 2, b"second").unwrap();
    pair.run();
    assert_eq!(pair.answered(TERMINAL, 1).unwrap().len(), 5000);
    assert_eq!(pair.sides[TERMINAL].outcomes[&2], [Ok((Code::SERVICE_UNAVAILABLE, Vec::new()))]);
}

#[test]
fn more_than_32_kibibytes_are_refused_at_the_door() {
    let mut pair = Pair::settled(6);
    assert_eq!(pair.request(TERMINAL, 1, &body(32 * 1024 + 1)), Err(Refused::TooLarge));
    assert!(pair.sent.is_empty());
}

#[test]
fn a_transfer_broken_off_leaves_no_memory_behind() {
    let mut pair = Pair::settled(7);
    pair.request(TERMINAL, 1, &body(20 * 1024)).unwrap();
    for _ in 0..8 {
        pair.step();
    }
    pair.link.loss = 100;
    pair.wire.clear();
    pair.run();
    assert_eq!(pair.sides[TERMINAL].outcomes[&1], [Err(Failure::TimedOut)]);
    assert!(pair.sides[GATEWAY].endpoint.is_idle(), "the unfinished body is dropped after 60 s");
    assert!(pair.sides[GATEWAY].delivered.is_empty());
}
