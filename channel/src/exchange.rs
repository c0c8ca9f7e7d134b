//! Reliability below the exchanges (RFC 7252 section 4): retransmission of what we sent, memory of what we answered.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use sha2::{Digest, Sha256};

use crate::Instant;
use crate::seed::Seed;

/// When a confirmable message is sent again.
pub(crate) struct Retransmission {
    pub at: Instant,
    timeout: Duration,
    left: u8,
    skipped: bool,
}

impl Retransmission {
    pub fn start(now: Instant, seed: &mut Seed) -> Self {
        let timeout = seed.jittered(ACK_TIMEOUT);
        Self { at: now + timeout, timeout, left: MAX_RETRANSMIT, skipped: false }
    }

    /// Counts one retransmission; false: it is time to give up.
    pub fn again(&mut self, now: Instant) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        self.timeout = self.timeout.saturating_mul(2);
        self.at = now + self.timeout;
        true
    }

    /// The peer seems to have the message: the next retransmission is left out, once. An acknowledgement is not
    /// authentic, so it must not end the schedule.
    pub fn skip(&mut self, now: Instant) {
        if !core::mem::replace(&mut self.skipped, true) {
            self.again(now);
        }
    }
}

/// A confirmable separate response that the peer has not acknowledged.
pub(crate) struct Separate {
    pub epoch: u32,
    pub message_id: u16,
    pub datagram: Vec<u8>,
    pub retransmission: Retransmission,
}

/// The last messages answered, so that a retransmission gets the same answer. A message is known by its digest, not by its
/// message id: an altered copy must get none.
#[derive(Default)]
pub(crate) struct Answered(VecDeque<Answer>);

struct Answer {
    message: MessageDigest,
    datagram: Vec<u8>,
    /// Also for a sender whose address is not the peer's yet: the answer is a challenge.
    any_path: bool,
    until: Instant,
}

/// Tells messages apart.
pub(crate) type MessageDigest = [u8; 16];

/// The digest of a datagram.
pub(crate) fn digest(datagram: &[u8]) -> MessageDigest {
    let mut short = [0; 16];
    short.iter_mut().zip(Sha256::digest(datagram)).for_each(|(short, long)| *short = long);
    short
}

impl Answered {
    pub fn remember(&mut self, message: MessageDigest, datagram: Vec<u8>, any_path: bool, now: Instant) {
        self.0.retain(|answer| answer.message != message);
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Answer { message, datagram, any_path, until: now + EXCHANGE_LIFETIME });
    }

    /// The answer to a message seen before, and whether any sender may have it.
    pub fn find(&self, message: &MessageDigest) -> Option<(&[u8], bool)> {
        let answer = self.0.iter().find(|answer| answer.message == *message)?;
        Some((&answer.datagram, answer.any_path))
    }

    /// Forgets what is too old; frees the memory when all is.
    pub fn expire(&mut self, now: Instant) {
        // All live equally long: the oldest is in front.
        while self.0.front().is_some_and(|answer| answer.until <= now) {
            self.0.pop_front();
        }
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
    }

    pub fn next_expiry(&self) -> Option<Instant> {
        self.0.front().map(|answer| answer.until)
    }
}

/// Half of RFC 7252's default, whose section 4.8.1 lets an environment choose; not below what RFC 8085 section 3.1.1 asks of
/// an initial time-out. Whoever waits for a session waits for every lost datagram.
const ACK_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_RETRANSMIT: u8 = 4;
pub(crate) const EXCHANGE_LIFETIME: Duration = Duration::from_secs(247);
const REMEMBERED: usize = 16;
