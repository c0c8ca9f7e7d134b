//! Nothing recorded is ever delivered again. A copy of a message just answered is what a retransmission looks like: it gets
//! the very same answer, once it comes from the peer's own address, and nothing else does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong"
)]

mod pair;

use std::collections::BTreeSet;
use std::time::Duration;

use keyferry_channel::Input;
use pair::{GATEWAY, Pair, TERMINAL};

/// A session of requests both ways, long bodies and hand-overs over several epochs; `after` is called behind every step.
fn session(mut after: impl FnMut(&mut Pair)) {
    let mut pair = Pair::settled(1);
    for number in 0..10u64 {
        pair.request(TERMINAL, number, &[1, number as u8]).unwrap();
        pair.handover(GATEWAY, number, &[2, number as u8]).unwrap();
        if number == 5 {
            pair.request(GATEWAY, 100, &[7; 3000]).unwrap();
        }
        while pair.step() && !pair.sides.iter().all(|side| side.endpoint.is_idle()) {
            after(&mut pair);
        }
    }
    assert_eq!(pair.epoch(GATEWAY), 1);
    assert_eq!(pair.sides[GATEWAY].delivered.len(), 10);
    assert_eq!(pair.sides[TERMINAL].delivered.len(), 11);
}

/// Replays every datagram that has arrived, at both ends.
fn replay_all(pair: &mut Pair, path_is_new: bool) {
    let on_the_way: BTreeSet<Vec<u8>> = pair.wire.iter().map(|(_, _, datagram)| datagram.clone()).collect();
    let recorded: Vec<_> = pair.sent.iter().filter(|(_, seen)| !on_the_way.contains(seen)).cloned().collect();
    let answers: BTreeSet<Vec<u8>> = pair.sent.iter().map(|(_, datagram)| datagram.clone()).collect();
    let wire = pair.wire.len();
    for (from, datagram) in recorded {
        for side in [TERMINAL, GATEWAY] {
            let seen = (pair.sides[side].delivered.len(), pair.sides[side].events.len(), pair.sent.len());
            let result = pair.input(side, Input::Datagram { bytes: &datagram, path_is_new });
            let now = (pair.sides[side].delivered.len(), pair.sides[side].events.len(), pair.sent.len());
            assert_eq!((seen.0, seen.1), (now.0, now.1), "a replay was delivered");
            for (_, sent) in &pair.sent[seen.2..] {
                assert!(answers.contains(sent), "a replay drew a new message");
                assert!(side != from && result.is_ok() && !path_is_new);
            }
        }
    }
    pair.wire.truncate(wire);
    let length = answers.len();
    pair.sent.dedup();
    assert!(pair.sent.len() >= length);
}

#[test]
fn every_datagram_at_every_later_point_from_a_strange_address() {
    session(|pair| {
        let sent = pair.sent.len();
        replay_all(pair, true);
        assert_eq!(pair.sent.len(), sent, "something was sent");
    });
}

#[test]
fn every_datagram_at_every_later_point_from_the_peers_address() {
    let mut steps = 0;
    session(|pair| {
        steps += 1;
        if steps % 5 == 0 {
            let sent = pair.sent.clone();
            replay_all(pair, false);
            pair.sent = sent;
        }
    });
}

#[test]
fn nothing_is_sent_once_the_answers_are_forgotten() {
    let mut pair = Pair::settled(2);
    pair.request(TERMINAL, 1, b"body").unwrap();
    pair.run();
    pair.run_for(Duration::from_secs(300));
    let sent = pair.sent.len();
    replay_all(&mut pair, false);
    assert_eq!(pair.sent.len(), sent);
}
