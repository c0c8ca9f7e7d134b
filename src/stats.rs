//! What the gateway counts about itself. Filled by the gateway core, read by `keyferry stats`.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use keyferry_parsers::messages::Reason;

/// Every figure of one running gateway. Counters only grow; gauges are set by their owner.
pub struct Stats {
    /// Finished handshakes by what they were and how they ended.
    pub handshakes: BTreeMap<HandshakeKind, u64>,
    /// Microseconds a step waited for a worker.
    pub queue_time: Histogram<u64>,
    /// Microseconds of public-key and record work of one whole handshake.
    pub crypto_time: Histogram<u64>,
    /// Microseconds from the opening of the flow to the keys' departure.
    pub handshake_time: Histogram<u64>,
    /// Sessions handed over and acknowledged by their terminal.
    pub sessions_delivered: u64,
    /// Sessions handed over that have ended since.
    pub sessions_ended: u64,
    /// Plain bytes of ciphertext relayed from terminals to peers.
    pub bytes_up: u64,
    /// Plain bytes of ciphertext relayed from peers to terminals.
    pub bytes_down: u64,
    /// How flows were handed over, and why a fallback was taken.
    pub handovers: BTreeMap<&'static str, u64>,
    /// Channel datagrams received and sent.
    pub channel_received: u64,
    /// Channel datagrams sent.
    pub channel_sent: u64,
    /// Channel datagrams that were dropped without an answer, by cause.
    pub channel_refused: BTreeMap<&'static str, u64>,
    /// Requests of terminals refused before any packet left, by reason.
    pub requests_refused: BTreeMap<Reason, u64>,
    /// How often the packet rules had to be put back because somebody removed them.
    pub rules_restored: u64,
    /// TCP connections of terminals that nothing explained, by cause.
    pub flows_refused: BTreeMap<&'static str, u64>,
}

/// The key under which a finished handshake is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HandshakeKind {
    /// `tls1.3`.
    pub protocol: &'static str,
    /// The terminal's role: `client` or `server`.
    pub role: &'static str,
    /// None when the keys were delivered, else why not.
    pub failure: Option<Reason>,
}

impl Stats {
    /// Empty figures.
    pub fn new() -> Self {
        Self {
            handshakes: BTreeMap::new(),
            queue_time: microseconds(),
            crypto_time: microseconds(),
            handshake_time: microseconds(),
            sessions_delivered: 0,
            sessions_ended: 0,
            bytes_up: 0,
            bytes_down: 0,
            handovers: BTreeMap::new(),
            channel_received: 0,
            channel_sent: 0,
            channel_refused: BTreeMap::new(),
            requests_refused: BTreeMap::new(),
            rules_restored: 0,
            flows_refused: BTreeMap::new(),
        }
    }

    /// Counts one finished handshake.
    pub fn handshake(&mut self, kind: HandshakeKind) {
        count(&mut self.handshakes, kind);
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds one under `key`.
pub fn count<K: Ord>(counters: &mut BTreeMap<K, u64>, key: K) {
    let counter = counters.entry(key).or_default();
    *counter = counter.saturating_add(1);
}

/// Records a duration in a microsecond histogram; longer than an hour counts as an hour.
pub fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(micros.max(1));
}

fn microseconds() -> Histogram<u64> {
    const HOUR: u64 = 3_600_000_000;
    // Two significant digits: 1 % is finer than anybody's clock discipline, and keeps it under 10 KB.
    #[allow(clippy::expect_used, reason = "constant arguments that the constructor accepts")]
    Histogram::new_with_bounds(1, HOUR, 2).expect("constant bounds are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_beyond_the_range_is_kept_as_the_longest() {
        let mut stats = Stats::new();
        record(&mut stats.queue_time, Duration::from_secs(100_000));
        record(&mut stats.queue_time, Duration::ZERO);
        assert_eq!(stats.queue_time.len(), 2);
    }

    #[test]
    fn handshakes_are_counted_apart_by_outcome() {
        let mut stats = Stats::new();
        let delivered = HandshakeKind { protocol: "tls1.3", role: "client", failure: None };
        let refused = HandshakeKind { failure: Some(Reason::PEER_REFUSED), ..delivered };
        stats.handshake(delivered);
        stats.handshake(refused);
        stats.handshake(refused);
        assert_eq!(stats.handshakes[&delivered], 1);
        assert_eq!(stats.handshakes[&refused], 2);
    }
}
