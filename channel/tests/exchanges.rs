//! Requests get their answers, piggybacked or separate, whatever the link does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong"
)]

mod pair;

use std::time::Duration;

use keyferry_channel::Input;
use pair::{GATEWAY, Handler, Link, Pair, TERMINAL};

#[test]
fn an_answer_given_at_once_rides_on_the_acknowledgement() {
    for side in [TERMINAL, GATEWAY] {
        let mut pair = Pair::settled(1);
        pair.request(side, 7, b"body").unwrap();
        pair.run();
        assert_eq!(pair.answered(side, 7).unwrap(), b"body");
        assert_eq!(pair.sent.len(), 2, "one datagram each way");
    }
}

#[test]
fn a_late_answer_is_acknowledged_first_and_sent_separately() {
    let mut pair = Pair::settled(2);
    pair.sides[GATEWAY].handler = Handler::EchoAfter(Duration::from_secs(5));
    pair.request(TERMINAL, 7, b"body").unwrap();
    pair.run_for(Duration::from_millis(1500));
    assert_eq!(pair.sent.len(), 2, "request and empty acknowledgement, no retransmission");
    assert_eq!(pair.sent[1].1.len(), 4);
    pair.run();
    assert_eq!(pair.answered(TERMINAL, 7).unwrap(), b"body");
    assert_eq!(pair.sent.len(), 6, "one retransmission was left out; another, both acknowledgements, the answer");
}

/// Anybody can make up an empty message: 65,536 of them, one for each message id.
#[test]
fn made_up_acknowledgements_and_resets_cost_a_retransmission_at_most() {
    for first_byte in [0x60, 0x70] {
        let mut pair = Pair::settled(3);
        pair.link.loss = 100;
        pair.request(GATEWAY, 7, b"keys").unwrap();
        for round in 0..3 {
            for message_id in 0..=u16::MAX {
                let [high, low] = message_id.to_be_bytes();
                // Refused or not: what counts is that the request lives.
                let _ = pair.input(GATEWAY, Input::Datagram { bytes: &[first_byte, 0, high, low], path_is_new: false });
            }
            pair.run_for(Duration::from_secs(round));
        }
        pair.link.loss = 0;
        pair.run();
        assert_eq!(pair.answered(GATEWAY, 7).unwrap(), b"keys", "{first_byte:#x}");
    }
}

#[test]
fn a_silent_handler_leaves_a_failure_not_a_hang() {
    let mut pair = Pair::settled(3);
    pair.sides[GATEWAY].handler = Handler::Silent;
    pair.request(TERMINAL, 7, b"body").unwrap();
    pair.run();
    assert_eq!(pair.sides[TERMINAL].outcomes[&7], [Err(keyferry_channel::Failure::TimedOut)]);
}

#[test]
fn over_a_bad_link_every_request_is_delivered_at_most_once_and_ends_once() {
    let (mut answered, mut failed) = (0, 0);
    for seed in 0..1000 {
        let mut pair = Pair::new(seed);
        let percent = |dice: &mut pair::Dice, limit: u64| dice.roll() % (limit + 1);
        pair.link = Link {
            loss: percent(&mut pair.dice, 30),
            duplication: percent(&mut pair.dice, 30),
            reordering: percent(&mut pair.dice, 30),
        };
        if seed % 3 == 0 {
            pair.sides[GATEWAY].handler = Handler::EchoAfter(Duration::from_millis(1500));
        }
        for number in 0..12u64 {
            for side in [TERMINAL, GATEWAY] {
                pair.handover(side, number, &[side as u8, number as u8]).unwrap();
            }
        }
        pair.run();
        for side in [TERMINAL, GATEWAY] {
            for number in 0..12u64 {
                let body = vec![side as u8, number as u8];
                let outcomes = &pair.sides[side].outcomes[&number];
                assert_eq!(outcomes.len(), 1, "seed {seed}, request {number}: {outcomes:?}");
                let times = pair.sides[1 - side].delivered.iter().filter(|seen| **seen == body).count();
                assert!(times <= 1, "seed {seed}: delivered {times} times");
                match &outcomes[0] {
                    Ok((_, answer)) => {
                        assert_eq!((answer, times), (&body, 1));
                        answered += 1;
                    }
                    Err(_) => failed += 1,
                }
            }
        }
    }
    // With 15 % loss on average five attempts nearly always suffice.
    assert!(answered > 23_500, "{answered} answered, {failed} failed");
}
