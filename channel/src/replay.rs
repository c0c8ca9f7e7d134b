//! The replay window (RFC 8613 section 7.4), one per epoch, and what is known about it after a restart (appendix B.1.2).

/// Which sequence numbers of the peer were accepted: the 64 up to the highest, and nothing above it.
pub(crate) struct ReplayWindow {
    highest: Option<u64>,
    /// Bit `n`: `highest - n` was seen.
    seen: u64,
    /// Numbers from here on were not used before our last start. Below, only an Echo value proves that a message is fresh.
    known_from: u64,
    /// Above every number that was answered with a challenge: such a message was not carried out, yet somebody may have
    /// recorded it.
    challenged: u64,
}

/// What the window says about a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Not seen before.
    Fresh,
    /// Not seen since our last start.
    Doubtful,
    /// Seen before, or too old to tell.
    Replayed,
}

impl ReplayWindow {
    /// For an epoch that begins now: nothing can have been received under it.
    pub const fn fresh() -> Self {
        Self { highest: None, seen: 0, known_from: 0, challenged: 0 }
    }

    /// For an epoch taken from storage.
    pub const fn unknown() -> Self {
        Self { highest: None, seen: 0, known_from: u64::MAX, challenged: 0 }
    }

    pub fn check(&self, number: u64) -> Freshness {
        let repeated = match self.highest.and_then(|highest| highest.checked_sub(number)) {
            Some(age) => age >= WIDTH || self.seen & 1 << age != 0,
            None => false,
        };
        match (repeated, number < self.known_from) {
            (true, _) => Freshness::Replayed,
            (false, true) => Freshness::Doubtful,
            (false, false) => Freshness::Fresh,
        }
    }

    /// Marks a number as seen.
    pub fn mark(&mut self, number: u64) {
        let highest = self.highest.unwrap_or(number);
        if let Some(ahead) = number.checked_sub(highest) {
            self.seen = if ahead >= WIDTH { 1 } else { self.seen << ahead | 1 };
            self.highest = Some(number);
        } else if let Some(age) = highest.checked_sub(number).filter(|age| *age < WIDTH) {
            self.seen |= 1 << age;
        }
    }

    /// A doubtful number is being challenged. It is not seen, its sender may have nothing to prove it with but another
    /// number; but it stays doubtful, whatever is proved meanwhile.
    pub fn doubt(&mut self, number: u64) {
        self.challenged = self.challenged.max(number.saturating_add(1));
    }

    /// Marks a number whose freshness was proved by Echo. Whoever sent it counts upwards, so that later numbers are fresh,
    /// but for those that came before the proof.
    pub fn mark_proved(&mut self, number: u64) {
        self.mark(number);
        self.known_from = self.known_from.min(number.max(self.challenged));
    }
}

const WIDTH: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_once_in_any_order() {
        let mut window = ReplayWindow::fresh();
        for number in [5, 3, 68, 4, 67] {
            assert_eq!(
                window.check(number),
                if number < 5 && number != 3 { Freshness::Replayed } else { Freshness::Fresh }
            );
            window.mark(number);
            assert_eq!(window.check(number), Freshness::Replayed);
        }
        assert_eq!(window.check(5), Freshness::Replayed);
        assert_eq!(window.check(6), Freshness::Fresh);
        window.mark(1 << 39);
        assert_eq!(window.check((1 << 39) - 64), Freshness::Replayed, "left of the window");
        assert_eq!(window.check((1 << 39) - 63), Freshness::Fresh);
    }

    #[test]
    fn after_a_restart_one_echo_settles_what_follows_and_each_earlier_number_needs_its_own() {
        let mut window = ReplayWindow::unknown();
        assert_eq!(window.check(100), Freshness::Doubtful);
        window.mark_proved(100);
        assert_eq!(window.check(100), Freshness::Replayed);
        assert_eq!(window.check(101), Freshness::Fresh);
        assert_eq!(window.check(99), Freshness::Doubtful);
        window.mark_proved(99);
        assert_eq!(window.check(99), Freshness::Replayed);
        assert_eq!(window.check(98), Freshness::Doubtful);
    }

    #[test]
    fn what_was_challenged_stays_doubtful_when_a_lower_number_is_proved() {
        let mut window = ReplayWindow::unknown();
        window.doubt(102);
        window.doubt(100);
        window.mark_proved(101);
        assert_eq!(window.check(102), Freshness::Doubtful);
        assert_eq!(window.check(103), Freshness::Fresh);
        window.mark_proved(102);
        assert_eq!(window.check(102), Freshness::Replayed);
    }
}
