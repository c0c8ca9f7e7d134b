//! Time as an argument: the driver reads the clock, the channel only compares.

use core::ops::Add;
use core::time::Duration;

/// A moment, in microseconds since any start that stays fixed while the program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment `micros` microseconds after the start.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; `None` if it lies ahead.
    pub fn checked_duration_since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_micros)
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time, so that `Duration::MAX` means "never".
    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_never_wrap() {
        let (early, late) = (Instant::from_micros(1), Instant::from_micros(3));
        assert_eq!(late.checked_duration_since(early), Some(Duration::from_micros(2)));
        assert_eq!(early.checked_duration_since(late), None);
        assert_eq!(early.saturating_duration_since(late), Duration::ZERO);
        assert_eq!((late + Duration::MAX).as_micros(), u64::MAX);
    }
}
