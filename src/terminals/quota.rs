//! How much one terminal may ask for, so that a broken or hostile one cannot starve the others.

use std::time::Duration;

use keyferry_channel::Instant;

/// A token bucket for handshakes and a count of what is still open.
pub struct Quota {
    per_second: u32,
    tokens: u32,
    refilled: Instant,
    pending: u32,
    sessions: u32,
}

impl Quota {
    /// A full bucket: `per_second` handshakes a second, twice that in one burst.
    pub fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, tokens: per_second.saturating_mul(2), refilled: now, pending: 0, sessions: 0 }
    }

    /// Takes a place for one handshake unless the rate or `limit` open ones are reached.
    pub fn admit(&mut self, now: Instant, limit: u32) -> bool {
        self.refill(now);
        if self.tokens == 0 || self.pending >= limit {
            return false;
        }
        self.tokens -= 1;
        self.pending += 1;
        true
    }

    /// Gives the place back: delivered, failed or lapsed.
    pub fn release(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    /// A session was handed over.
    pub fn session_began(&mut self) {
        self.sessions = self.sessions.saturating_add(1);
    }

    /// A handed-over session ended.
    pub fn session_ended(&mut self) {
        self.sessions = self.sessions.saturating_sub(1);
    }

    /// Sessions handed over that still run.
    pub fn sessions(&self) -> u32 {
        self.sessions
    }

    /// Handshakes open now.
    pub fn pending(&self) -> u32 {
        self.pending
    }

    fn refill(&mut self, now: Instant) {
        if self.per_second == 0 {
            return;
        }
        let each = Duration::from_secs(1) / self.per_second;
        let elapsed = now.saturating_duration_since(self.refilled);
        let earned = u32::try_from(elapsed.as_micros() / each.as_micros().max(1)).unwrap_or(u32::MAX);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(self.per_second.saturating_mul(2));
            self.refilled = self.refilled + each.saturating_mul(earned).min(elapsed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_bounded_and_refills_with_time() {
        let start = Instant::from_micros(0);
        let mut quota = Quota::new(10, start);
        let burst = (0..100).filter(|_| quota.admit(start, 1000)).count();
        assert_eq!(burst, 20);
        let later = start + Duration::from_millis(350);
        let refilled = (0..100).filter(|_| quota.admit(later, 1000)).count();
        assert_eq!(refilled, 3);
        assert!(quota.admit(later + Duration::from_millis(50), 1000), "the remainder of 350 ms counts");
    }

    #[test]
    fn open_handshakes_are_bounded_until_released() {
        let now = Instant::from_micros(0);
        let mut quota = Quota::new(100, now);
        assert!(quota.admit(now, 2) && quota.admit(now, 2));
        assert!(!quota.admit(now, 2));
        quota.release();
        assert!(quota.admit(now, 2));
    }
}
