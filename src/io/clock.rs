//! The only place that reads the clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyferry_channel::Instant;

use crate::gateway::Now;

/// Time since the gateway started, and of the calendar.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// Both times, for the gateway.
    pub fn now(&self) -> Now {
        Now { monotonic: self.monotonic(), unix: unix_now() }
    }

    /// Time since the start.
    pub fn monotonic(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// When the runtime has to wake to be at `instant`.
    pub fn wake_at(&self, instant: Instant) -> std::time::Instant {
        // Beyond what the system can express: some day will do.
        const SOME_DAY: Duration = Duration::from_secs(86_400 * 365);
        let wait = Duration::from_micros(instant.as_micros()).min(SOME_DAY);
        self.start.checked_add(wait).unwrap_or(self.start)
    }
}

/// The moment, to measure how long something takes.
pub fn stopwatch() -> std::time::Instant {
    std::time::Instant::now()
}

/// Time since 1970; zero on a machine that believes it is earlier.
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    unix_now().as_secs()
}
