//! The key advances one way, survives loss and crashes, and leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong"
)]

mod pair;

use std::time::Duration;

use keyferry_channel::coap::{Content, OptionNumber};
use keyferry_channel::{ChannelKey, Event, Failure, Input, Refused, State};
use pair::{GATEWAY, KEY, Pair, TERMINAL, spy};

fn key_of(epoch: u32) -> [u8; 32] {
    (0..epoch).fold(KEY, |key, _| spy::next(&key))
}

fn advance(pair: &mut Pair, side: usize) {
    pair.input(side, Input::Advance).unwrap();
    pair.request(side, 500, b"advance").unwrap();
    pair.run();
    assert!(pair.answered(side, 500).is_some());
    pair.sides[side].outcomes.remove(&500);
}

fn assert_settled(pair: &Pair, epoch: u32) {
    for side in &pair.sides {
        let state = side.endpoint.state();
        assert_eq!((state.epoch, *state.key.as_bytes()), (epoch, key_of(epoch)));
        assert!(state.confirmed && state.previous.is_none(), "the key before is erased");
        let stored = State::decode(&side.stored).unwrap();
        assert!(stored.epoch == epoch && stored.previous.is_none(), "on disk as well");
    }
}

#[test]
fn the_gateway_advances_before_the_ninth_hand_over() {
    let mut pair = Pair::settled(1);
    for number in 0..8 {
        pair.handover(GATEWAY, number, b"keys").unwrap();
        pair.run();
    }
    assert_settled(&pair, 0);
    pair.handover(GATEWAY, 8, b"keys").unwrap();
    pair.run();
    assert_settled(&pair, 1);
    assert!(pair.sides[TERMINAL].events.iter().any(|event| matches!(event, Event::Advanced { epoch: 1 })));
    assert_eq!(pair.sides[GATEWAY].endpoint.state().handovers, 1);
}

#[test]
fn the_gateway_advances_when_the_epoch_is_a_day_old() {
    let mut pair = Pair::settled(2);
    pair.run_for(Duration::from_secs(86_000));
    pair.request(GATEWAY, 1, b"echo").unwrap();
    pair.run();
    assert_settled(&pair, 0);
    assert!(!pair.sides[GATEWAY].endpoint.is_epoch_due(pair.now));
    pair.run_for(Duration::from_secs(401));
    assert!(pair.sides[GATEWAY].endpoint.is_epoch_due(pair.now));
    pair.request(GATEWAY, 2, b"echo").unwrap();
    pair.run();
    assert_settled(&pair, 1);
}

#[test]
fn either_side_may_advance() {
    let mut pair = Pair::settled(3);
    for epoch in 1..20 {
        advance(&mut pair, epoch as usize % 2);
        assert_settled(&pair, epoch);
    }
}

#[test]
fn a_lost_advance_does_not_part_the_two() {
    let mut pair = Pair::settled(4);
    pair.input(GATEWAY, Input::Advance).unwrap();
    pair.link.loss = 100;
    pair.request(GATEWAY, 1, b"lost").unwrap();
    pair.run();
    assert_eq!(pair.sides[GATEWAY].outcomes[&1], [Err(Failure::TimedOut)]);
    assert_eq!((pair.epoch(GATEWAY), pair.epoch(TERMINAL)), (1, 0));
    pair.link.loss = 0;
    // The terminal still asks under the epoch before, and is understood.
    pair.request(TERMINAL, 1, b"old").unwrap();
    pair.run();
    assert_eq!(pair.answered(TERMINAL, 1).unwrap(), b"old");
    assert!(pair.sides[GATEWAY].endpoint.state().previous.is_some(), "not confirmed by a message under the old key");
    pair.request(GATEWAY, 2, b"new").unwrap();
    pair.run();
    assert_settled(&pair, 1);
}

#[test]
fn a_crash_between_persist_and_transmit() {
    for side in [TERMINAL, GATEWAY] {
        for outputs in 0..6 {
            let mut pair = Pair::settled(5);
            pair.fuse = Some((side, outputs));
            for starter in [GATEWAY, TERMINAL] {
                pair.input(starter, Input::Advance).unwrap();
                let _ = pair.request(starter, 1, b"advance");
                pair.run();
            }
            for starter in [GATEWAY, TERMINAL, GATEWAY] {
                pair.request(starter, 2, b"after").unwrap();
                pair.run();
                assert!(pair.answered(starter, 2).is_some(), "crash of {side} after {outputs} outputs");
                pair.sides[starter].outcomes.clear();
            }
            assert_eq!(pair.epoch(GATEWAY), pair.epoch(TERMINAL));
            assert_settled(&pair, pair.epoch(GATEWAY));
        }
    }
}

#[test]
fn both_advance_at_once() {
    let mut pair = Pair::settled(6);
    for side in [TERMINAL, GATEWAY] {
        pair.input(side, Input::Advance).unwrap();
        pair.request(side, 1, b"both").unwrap();
    }
    pair.run();
    for side in [TERMINAL, GATEWAY] {
        assert_eq!(pair.answered(side, 1).unwrap(), b"both");
    }
    assert_settled(&pair, 1);
}

/// The terminal as it was `behind` epochs ago: an old copy of its state was restored.
fn fallen_behind(behind: u32) -> Pair {
    let mut pair = Pair::settled(7);
    (0..behind).for_each(|_| advance(&mut pair, GATEWAY));
    let mut state = State::new(ChannelKey::from_bytes(KEY));
    state.reserved = 4096;
    pair.sides[TERMINAL].stored = state.encode().to_vec();
    pair.crash(TERMINAL);
    pair.sides[TERMINAL].refused.clear();
    pair
}

#[test]
fn a_peer_up_to_eight_epochs_ahead_is_followed() {
    for behind in 1..=8 {
        let mut pair = fallen_behind(behind);
        pair.request(GATEWAY, 1, b"ahead").unwrap();
        pair.run();
        assert_eq!(pair.answered(GATEWAY, 1).unwrap(), b"ahead");
        assert_settled(&pair, behind);
    }
}

#[test]
fn a_peer_nine_epochs_ahead_is_refused() {
    let mut pair = fallen_behind(9);
    pair.request(GATEWAY, 1, b"too far").unwrap();
    pair.run();
    assert_eq!(pair.sides[GATEWAY].outcomes[&1], [Err(Failure::TimedOut)]);
    assert!(pair.sides[TERMINAL].refused.iter().all(|why| *why == Refused::EpochTooFar));
    assert_eq!(pair.epoch(TERMINAL), 0);
    pair.request(TERMINAL, 1, b"passed").unwrap();
    pair.run();
    assert!(pair.sides[GATEWAY].refused.contains(&Refused::EpochPassed));
}

#[test]
fn a_later_epoch_without_its_key_moves_nothing() {
    let mut pair = Pair::settled(8);
    pair.request(TERMINAL, 1, b"body").unwrap();
    let mut datagram = pair.wire.pop().unwrap().2;
    let at = datagram.windows(4).position(|window| window == [1, 0, 0x11, 0x22]).unwrap() + 1;
    for epoch in 1..=8 {
        datagram[at] = epoch;
        let result = pair.input(GATEWAY, Input::Datagram { bytes: &datagram, path_is_new: false });
        assert_eq!(result, Err(Refused::NotAuthentic));
    }
    assert_settled(&pair, 0);
}

#[test]
fn hand_overs_stop_while_the_peer_is_silent_under_a_new_key() {
    let mut pair = Pair::settled(9);
    pair.input(GATEWAY, Input::Advance).unwrap();
    pair.link.loss = 100;
    for number in 0..8 {
        pair.handover(GATEWAY, number, b"keys").unwrap();
        pair.run();
    }
    assert_eq!(pair.handover(GATEWAY, 8, b"keys"), Err(Refused::PeerSilent));
    let sent = pair.sent.len();
    pair.link.loss = 0;
    // Anything else goes, and an answer to it opens the way again.
    pair.request(GATEWAY, 9, b"echo").unwrap();
    pair.run();
    assert!(pair.sent.len() > sent);
    pair.handover(GATEWAY, 10, b"keys").unwrap();
    pair.run();
    assert_eq!(pair.answered(GATEWAY, 10).unwrap(), b"keys");
    assert_settled(&pair, 2);
}

#[test]
fn a_fast_series_of_hand_overs_beside_requests_loses_nothing() {
    for seed in 0..20 {
        let mut pair = Pair::settled(seed);
        for round in 0..10u64 {
            for number in 0..10u64 {
                pair.handover(GATEWAY, round * 10 + number, &[number as u8]).unwrap();
                pair.request(TERMINAL, round * 10 + number, &[number as u8]).unwrap();
                pair.link.loss = seed % 3;
            }
            pair.run();
        }
        for side in [TERMINAL, GATEWAY] {
            for number in 0..100u64 {
                assert!(pair.answered(side, number).is_some(), "seed {seed}: {:?}", pair.sides[side].outcomes[&number]);
            }
        }
        assert!(pair.epoch(GATEWAY) >= 12);
    }
}

#[test]
fn no_epoch_begins_while_a_body_is_under_way() {
    for side in [TERMINAL, GATEWAY] {
        // Whoever sends the body, and whoever fetches or serves it: its echo is as long.
        for steps in [1, 3, 6, 9, 12] {
            let mut pair = Pair::settled(7);
            pair.request(side, 1, &[1; 3000]).unwrap();
            (0..steps).for_each(|_| assert!(pair.step()));
            for who in [TERMINAL, GATEWAY] {
                pair.input(who, Input::Advance).unwrap();
                pair.request(who, 2, b"short").unwrap();
            }
            // What waits for the next epoch is not held up, but goes under this one.
            for _ in 0..6 {
                pair.step();
            }
            assert_eq!([pair.epoch(TERMINAL), pair.epoch(GATEWAY)], [0, 0], "after {steps} steps");
            pair.run();
            assert_eq!(pair.answered(side, 1).unwrap(), [1; 3000]);
            pair.request(side, 3, b"next").unwrap();
            pair.run();
            assert_eq!([pair.epoch(TERMINAL), pair.epoch(GATEWAY)], [1, 1]);
        }
    }
}

#[test]
fn a_body_goes_on_in_the_epoch_that_crossed_its_first_block() {
    let mut pair = Pair::settled(8);
    pair.request(TERMINAL, 1, &[1; 3000]).unwrap();
    // On the way at the same time: the gateway knows of no body yet.
    pair.input(GATEWAY, Input::Advance).unwrap();
    pair.request(GATEWAY, 1, b"advance").unwrap();
    pair.run();
    assert_eq!(pair.answered(TERMINAL, 1).unwrap(), [1; 3000]);
    assert_eq!(pair.sides[GATEWAY].delivered, [vec![1; 3000]]);
    assert_settled(&pair, 1);
}

#[test]
fn a_challenge_is_answered_under_its_own_epoch_only() {
    let mut pair = Pair::settled(9);
    pair.path_is_new = true;
    pair.request(TERMINAL, 1, b"body").unwrap();
    // The challenge is on its way.
    assert!(pair.step());
    let (_, _, challenge) = pair.wire.pop().unwrap();
    pair.input(GATEWAY, Input::Advance).unwrap();
    pair.request(GATEWAY, 1, b"advance").unwrap();
    let (_, _, advance) = pair.wire.pop().unwrap();
    pair.input(TERMINAL, Input::Datagram { bytes: &advance, path_is_new: false }).unwrap();
    assert_eq!(pair.epoch(TERMINAL), 1);
    let sent = pair.sent.len();
    pair.input(TERMINAL, Input::Datagram { bytes: &challenge, path_is_new: true }).unwrap();
    pair.run();
    assert_eq!(pair.answered(TERMINAL, 1).unwrap(), b"body");
    assert_eq!(pair.sides[GATEWAY].delivered, [b"body"]);
    let all: Vec<_> = pair.sent.iter().filter_map(|(from, datagram)| spy::look(*from, datagram)).collect();
    let late = pair.sent[sent..].iter().filter_map(|(from, datagram)| spy::look(*from, datagram));
    let carries_echo: Vec<_> = late
        .filter(|seen| seen.from == TERMINAL && seen.request)
        .map(|seen| {
            let (_, content) = spy::open(&seen, &all, &key_of(1), 1).unwrap();
            Content::parse(&content).unwrap().options.find(OptionNumber::ECHO).is_some()
        })
        .collect();
    assert_eq!(carries_echo, [false, true], "without the old epoch's Echo, then with the new one's");
}
