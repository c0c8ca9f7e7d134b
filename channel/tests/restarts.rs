//! A crash anywhere: no nonce is used twice, nothing is delivered twice, and the channel works again by itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong"
)]

mod pair;

use std::time::Duration;

use keyferry_channel::{Code, Event, Input};
use pair::{GATEWAY, KEY, Link, Pair, TERMINAL, spy};

/// Requests and hand-overs both ways over several epochs. Returns whether the fuse blew.
fn session(pair: &mut Pair) -> bool {
    for number in 0..12u64 {
        // A crash forgets the requests of the side; the next ones must work.
        let _ = pair.request(TERMINAL, number, &[1, number as u8]);
        let _ = pair.handover(GATEWAY, number, &[2, number as u8]);
        let _ = pair.handover(GATEWAY, 100 + number, &[3, number as u8]);
        pair.run();
    }
    pair.fuse.is_none()
}

#[test]
fn a_crash_at_every_output_of_either_side() {
    for side in [TERMINAL, GATEWAY] {
        for outputs in 0.. {
            let mut pair = Pair::new(outputs as u64);
            pair.link = Link { loss: 10, duplication: 10, reordering: 10 };
            pair.fuse = Some((side, outputs));
            let blown = session(&mut pair);
            pair.fuse = None;
            spy::assert_nonces_unique(&pair.sent, &KEY, 10);
            for side in &pair.sides {
                let mut delivered = side.delivered.clone();
                delivered.sort();
                delivered.dedup();
                assert_eq!(delivered.len(), side.delivered.len(), "delivered twice");
            }
            // It works again, both ways.
            pair.link = Link::default();
            for side in [TERMINAL, GATEWAY] {
                pair.request(side, 900, b"alive?").unwrap();
                pair.run();
                assert!(
                    pair.answered(side, 900).is_some(),
                    "crash after {outputs} outputs: {:?}, {:?}",
                    pair.sides[side].outcomes[&900],
                    pair.sides[1 - side].refused,
                );
            }
            if !blown {
                assert!(outputs > 100, "the session has more outputs than {outputs}");
                break;
            }
        }
    }
}

#[test]
fn many_crashes_of_both_sides_on_a_bad_link() {
    for seed in 0..40 {
        let mut pair = Pair::new(seed);
        pair.link = Link { loss: 20, duplication: 20, reordering: 20 };
        for number in 0..30u64 {
            let _ = pair.request(TERMINAL, number, &[1, number as u8]);
            let _ = pair.handover(GATEWAY, number, &[2, number as u8]);
            for _ in 0..pair.dice.roll() % 10 {
                pair.step();
            }
            if pair.dice.chance(30) {
                let side = (pair.dice.roll() % 2) as usize;
                pair.crash(side);
            }
        }
        pair.run();
        spy::assert_nonces_unique(&pair.sent, &KEY, 40);
    }
}

#[test]
fn echo_rebuilds_the_window_after_a_restart() {
    let mut pair = Pair::settled(3);
    pair.request(TERMINAL, 1, b"before").unwrap();
    pair.run();
    let recorded = pair.sent[0].1.clone();
    pair.crash(GATEWAY);
    let sent = pair.sent.len();
    pair.request(TERMINAL, 2, b"after").unwrap();
    pair.run();
    assert_eq!(pair.answered(TERMINAL, 2).unwrap(), b"after");
    assert_eq!(pair.sent.len() - sent, 4, "request, challenge, request with Echo, answer");
    // Without a further round for the next, and a recording from before the restart is worth nothing.
    pair.request(TERMINAL, 3, b"next").unwrap();
    pair.run();
    assert_eq!(pair.sent.len() - sent, 6);
    let delivered = pair.sides[GATEWAY].delivered.len();
    let _ = pair.input(GATEWAY, Input::Datagram { bytes: &recorded, path_is_new: false });
    assert_eq!(pair.sides[GATEWAY].delivered.len(), delivered);
}

#[test]
fn eight_requests_in_flight_survive_the_challenge_in_any_order() {
    for seed in 0..50 {
        let mut pair = Pair::settled(seed);
        pair.crash(GATEWAY);
        pair.link.reordering = 80;
        for number in 0..8u64 {
            pair.request(TERMINAL, number, &[number as u8]).unwrap();
        }
        pair.run();
        for number in 0..8u64 {
            assert_eq!(pair.answered(TERMINAL, number).unwrap(), [number as u8], "seed {seed}");
        }
    }
}

#[test]
fn a_new_address_must_answer_a_challenge_first() {
    let mut pair = Pair::settled(4);
    pair.request(TERMINAL, 1, b"moved").unwrap();
    let datagram = pair.wire.pop().unwrap().2;
    pair.input(GATEWAY, Input::Datagram { bytes: &datagram, path_is_new: true }).unwrap_err();
    let challenge = pair.wire.pop().unwrap();
    assert_eq!(challenge.1, TERMINAL);
    assert!(challenge.2.len() <= datagram.len(), "no amplification: {} for {}", challenge.2.len(), datagram.len());
    assert!(pair.sides[GATEWAY].events.is_empty(), "not heard: the address is not shown to be the peer's");
    // The datagram itself is spent: neither address can use it again.
    pair.input(GATEWAY, Input::Datagram { bytes: &datagram, path_is_new: false }).unwrap();
    assert!(pair.sides[GATEWAY].delivered.is_empty());
    pair.wire.clear();
    pair.input(TERMINAL, Input::Datagram { bytes: &challenge.2, path_is_new: false }).unwrap();
    let again = pair.wire.pop().unwrap().2;
    pair.input(GATEWAY, Input::Datagram { bytes: &again, path_is_new: true }).unwrap();
    assert!(matches!(pair.sides[GATEWAY].events[..], [Event::Heard, Event::Request { .. }]));
    pair.run();
    assert_eq!(pair.answered(TERMINAL, 1).unwrap(), b"moved");
}

#[test]
fn the_caller_sees_nothing_of_the_challenge() {
    let mut pair = Pair::new(5);
    pair.request(GATEWAY, 1, &[5; 5000]).unwrap();
    pair.run();
    assert_eq!(pair.sides[GATEWAY].outcomes[&1], [Ok((Code::CHANGED, vec![5; 5000]))]);
    pair.run_for(Duration::from_secs(400));
}

/// The challenge came too late for the proof of a lower number to cover what it asked about.
#[test]
fn a_challenged_request_is_not_carried_out_when_it_comes_again_later() {
    let mut pair = Pair::settled(6);
    pair.crash(GATEWAY);
    let datagram = |pair: &mut Pair| pair.wire.pop().unwrap().2;
    pair.request(TERMINAL, 1, b"first").unwrap();
    let first = datagram(&mut pair);
    pair.input(GATEWAY, Input::Datagram { bytes: &first, path_is_new: false }).unwrap_err();
    let challenge = datagram(&mut pair);
    pair.input(TERMINAL, Input::Datagram { bytes: &challenge, path_is_new: false }).unwrap();
    let proof = datagram(&mut pair);
    // A later number is challenged before the lower one arrives with its proof.
    pair.request(TERMINAL, 2, b"second").unwrap();
    let recorded = datagram(&mut pair);
    pair.input(GATEWAY, Input::Datagram { bytes: &recorded, path_is_new: false }).unwrap_err();
    pair.input(GATEWAY, Input::Datagram { bytes: &proof, path_is_new: false }).unwrap();
    pair.run();
    // Enough that the answer to the recording is no longer remembered, few enough that it is still in the window.
    for number in 10..30u64 {
        pair.request(TERMINAL, number, b"more").unwrap();
        pair.run();
    }
    for number in [1, 2].into_iter().chain(10..30) {
        assert!(pair.answered(TERMINAL, number).is_some());
    }
    let result = pair.input(GATEWAY, Input::Datagram { bytes: &recorded, path_is_new: false });
    assert_eq!(result, Err(keyferry_channel::Refused::EchoRequired));
    let times = pair.sides[GATEWAY].delivered.iter().filter(|body| *body == b"second").count();
    assert_eq!(times, 1, "by its repetition with Echo, and not by the recording");
}
