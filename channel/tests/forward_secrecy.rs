//! Whoever takes everything that is stored today, and has recorded every datagram, reads no hand-over but the last 16.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong"
)]

mod pair;

use keyferry_channel::State;
use pair::{GATEWAY, KEY, Link, Pair, TERMINAL, spy};

/// Every key that follows from a stored state, near enough to matter, with its epoch.
fn reachable(stored: &[u8]) -> Vec<(u32, [u8; 32])> {
    let state = State::decode(stored).unwrap();
    let mut keys = vec![(state.epoch, *state.key.as_bytes())];
    if let Some(previous) = &state.previous {
        keys.push((previous.epoch, *previous.key.as_bytes()));
    }
    for (epoch, key) in keys.clone() {
        let mut key = key;
        for later in 1..=20 {
            key = spy::next(&key);
            keys.push((epoch + later, key));
        }
    }
    keys
}

/// The hand-overs that can be read, by their number in the plaintext. Keys are tried for every epoch, not only their own:
/// the spy need not believe what is written on them.
fn readable(pair: &Pair, keys: &[(u32, [u8; 32])], last_epoch: u32) -> Vec<u64> {
    let seen: Vec<_> = pair.sent.iter().filter_map(|(from, datagram)| spy::look(*from, datagram)).collect();
    let requests: Vec<_> = seen.iter().filter(|seen| seen.request).cloned().collect();
    let mut found = Vec::new();
    for message in &seen {
        for (epoch, key) in keys {
            let claimed =
                message.kid_context.as_ref().map(|bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
            let epochs = [Some(*epoch), claimed.filter(|claimed| *claimed <= last_epoch)];
            for epoch in epochs.into_iter().flatten() {
                if let Some((_, content)) = spy::open(message, &requests, key, epoch) {
                    let secret = content.windows(7).position(|window| window == b"secret-");
                    found.extend(secret.map(|at| u64::from_be_bytes(content[at + 7..at + 15].try_into().unwrap())));
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn secret(number: u64) -> Vec<u8> {
    [b"secret-".as_slice(), &number.to_be_bytes()].concat()
}

#[test]
fn at_every_moment_only_the_last_sixteen_hand_overs_can_be_read() {
    let mut pair = Pair::settled(1);
    for number in 0..60 {
        pair.handover(GATEWAY, number, &secret(number)).unwrap();
        pair.run();
        for side in [TERMINAL, GATEWAY] {
            let keys = reachable(&pair.sides[side].stored);
            let found = readable(&pair, &keys, pair.epoch(GATEWAY));
            assert!(found.iter().all(|old| old + 16 > number), "after {number}, side {side} gives away {found:?}");
            assert!(found.contains(&number), "the spy can read at all");
        }
    }
    // And the spy is a good one: with the first key it reads everything.
    let all = readable(
        &pair,
        &(0..20)
            .scan(KEY, |key, epoch| {
                let present = (epoch, *key);
                *key = spy::next(key);
                Some(present)
            })
            .collect::<Vec<_>>(),
        20,
    );
    assert_eq!(all, (0..60).collect::<Vec<_>>());
}

#[test]
fn nor_on_a_bad_link_with_crashes() {
    for seed in 0..10 {
        let mut pair = Pair::settled(seed);
        pair.link = Link { loss: 25, duplication: 20, reordering: 20 };
        let mut sent = Vec::new();
        for number in 0..40 {
            if pair.handover(GATEWAY, number, &secret(number)).is_ok() {
                sent.push(number);
            }
            pair.run();
            if pair.dice.chance(20) {
                pair.crash(GATEWAY);
            }
            if number % 8 == 0 {
                for side in [TERMINAL, GATEWAY] {
                    let keys = reachable(&pair.sides[side].stored);
                    let found = readable(&pair, &keys, pair.epoch(GATEWAY));
                    let oldest = sent[sent.len().saturating_sub(16)];
                    assert!(found.iter().all(|old| *old >= oldest), "seed {seed}, {number}: {found:?}");
                }
            }
        }
    }
}
