//! Ten thousand signing requests, each spoiled at random in one way: none is signed.
//!
//! What the peer may choose as it likes (see [`is_free`]) is not touched: with it changed, the request is one for
//! another handshake that is just as good. Everything else is.

use std::collections::BTreeMap;

use keyferry::error::Reason;
use keyferry::signer::{CredentialId, Purpose, Signer, SigningRequest};
use keyferry_parsers::tls::SignatureScheme;
use sha2::{Digest, Sha256};

use super::transcripts::{Scenario, all, is_free};
use super::world::{OTHER, OWNER, World};

const REQUESTS: usize = 10_000;
const KINDS: usize = 14;

#[test]
fn ten_thousand_mutated_requests_and_no_signature() {
    let world = World::new();
    let scenarios = all(&world);
    let mut random = Random(0x6b65_7966_6572_7279);
    let (mut signatures, mut made) = (0, BTreeMap::<usize, usize>::new());
    while made.values().sum::<usize>() < REQUESTS {
        let scenario = random.choose(&scenarios);
        let kind = random.below(KINDS);
        let Some(request) = mutated(&world, &scenarios, scenario, kind, &mut random) else {
            continue;
        };
        *made.entry(kind).or_default() += 1;
        match world.signer.sign(&request) {
            Ok(_) => {
                signatures += 1;
                println!("kind {kind}: {:?}, {:?}, {:?}", scenario.purpose, scenario.scheme, scenario.suite);
            }
            Err(error) => assert_eq!(error.reason, Reason::SIGNER_REFUSED, "{error}"),
        }
    }
    assert_eq!(signatures, 0);
    assert_eq!(made.values().sum::<usize>(), REQUESTS);
    assert!(made.len() == KINDS && made.values().all(|count| *count >= 300), "{made:?}");
    // The same signer signs on: what was refused was refused for what it was.
    for scenario in scenarios.iter().step_by(17) {
        world.signer.sign(&scenario.request(&world)).unwrap();
    }
}

/// One request that is wrong in one way; None where this way would change nothing, or only what is free.
fn mutated(
    world: &World,
    all: &[Scenario],
    scenario: &Scenario,
    kind: usize,
    random: &mut Random,
) -> Option<SigningRequest> {
    let opened = world.signer.open(OWNER).unwrap();
    let good = scenario.request_with(&opened);
    let mut messages = scenario.messages(&opened.random);
    let (count, length) = (messages.len(), good.transcript.len());
    let mut bad = good.clone();
    match kind {
        0 | 1 => {
            let position = random.below(length);
            bad.transcript[position] ^= 1 << random.below(8);
            (!is_free(&good.transcript, position)).then_some(())?;
        }
        2 => {
            let position = random.below(length);
            bad.transcript[position] = random.next() as u8;
            (!is_free(&good.transcript, position)).then_some(())?;
        }
        3 => bad.transcript.truncate(random.below(length)),
        4 => bad.transcript.extend(random.bytes(1, 64)),
        5 => {
            messages.swap(random.below(count), random.below(count));
            bad.transcript = messages.concat();
        }
        6 => {
            let (from, to) = (random.below(count), random.below(count + 1));
            messages.insert(to, messages[from].clone());
            bad.transcript = messages.concat();
        }
        7 => {
            messages.remove(random.below(count));
            bad.transcript = messages.concat();
        }
        8 => {
            // A message of another handshake, over the same random. Of the same side: a peer whose random happens
            // to be ours breaks nothing.
            let same_side = |other: &&Scenario| is_server(other.purpose) == is_server(scenario.purpose);
            let others: Vec<&Scenario> = all.iter().filter(same_side).collect();
            let other = random.choose(&others).messages(&opened.random);
            let position = random.below(count);
            let replaced = std::mem::replace(&mut messages[position], random.choose(&other).clone());
            // The peer's certificate is the peer's choice.
            (!is_free(&replaced, replaced.len() / 2)).then_some(())?;
            bad.transcript = messages.concat();
        }
        9 => {
            let transcript = match random.below(4) {
                0 => Sha256::digest(&good.transcript).to_vec(),
                1 => random.bytes(0, 300),
                2 => scenario.messages(&random.bytes(32, 32).try_into().unwrap()).concat(),
                _ => {
                    let cut = random.below(length);
                    [random.bytes(1, 48).as_slice(), &good.transcript[cut..]].concat()
                }
            };
            bad.transcript = transcript;
        }
        10 => {
            let purposes = [Purpose::Tls13Server, Purpose::Tls13Client, Purpose::Tls12Server, Purpose::Tls12Client];
            bad.purpose = *random.choose(&purposes);
        }
        11 => {
            bad.scheme = match random.below(2) {
                0 => SignatureScheme(random.next() as u16),
                _ => *random.choose(SignatureScheme::ALL),
            };
        }
        12 => match random.below(5) {
            0 => bad.owner = OTHER.into(),
            1 => bad.owner = "meter-3".into(),
            2 => bad.handshake = random.next(),
            3 => bad.handshake = world.signer.open(OTHER).unwrap().handshake,
            _ => bad.handshake = world.signer.open(OWNER).unwrap().handshake,
        },
        _ => match random.below(4) {
            0 => bad.credential = world.others.id,
            1 => bad.credential = random.choose(all).credential.id,
            2 => bad.credential = CredentialId(random.bytes(32, 32).try_into().unwrap()),
            _ if bad.params.is_empty() => bad.params = random.bytes(1, 40),
            _ => {
                // What stands before the public value; or one too short.
                match random.below(5) {
                    4 => bad.params.truncate(random.below(good.params.len())),
                    position => bad.params[position] ^= 1 << random.below(8),
                }
            }
        },
    }
    (bad != good).then_some(bad)
}

fn is_server(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::Tls13Server | Purpose::Tls12Server)
}

/// xorshift64*: the same requests in every run but for what the signer itself draws.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    fn choose<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len())]
    }

    fn bytes(&mut self, least: usize, most: usize) -> Vec<u8> {
        let length = least + self.below(most - least + 1);
        (0..length).map(|_| self.next() as u8).collect()
    }
}
