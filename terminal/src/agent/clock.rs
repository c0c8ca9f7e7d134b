//! The agent's clock: the channel and the sessions count from the same start.

use crate::Instant;
use std::time::Duration;

/// Copied to whoever needs the time.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    pub(super) fn now(self) -> Instant {
        Instant::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// For timers. A moment too far to express is one that never comes: a year.
    pub(super) fn at(self, moment: Instant) -> tokio::time::Instant {
        const NEVER: Duration = Duration::from_secs(365 * 86_400);
        self.start + Duration::from_micros(moment.as_micros()).min(NEVER)
    }
}
