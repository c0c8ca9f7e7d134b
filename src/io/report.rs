//! The gateway's figures as the operator reads them: JSON, and Prometheus text.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::error::Fault;
use crate::gateway::View;
use crate::stats::{HandshakeKind, Stats};

/// Percentiles that are shown of every duration.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.50), ("p90", 0.90), ("p99", 0.99), ("max", 1.0)];

/// The figures as JSON. Durations are in microseconds.
pub fn json(stats: &Stats, view: View, uptime_seconds: u64) -> Value {
    let handshakes: Vec<Value> = stats.handshakes.iter().map(|(kind, count)| handshake(kind, *count)).collect();
    let requests: Vec<Value> = stats
        .requests_refused
        .iter()
        .map(|(reason, count)| json!({ "cause": reason.to_string(), "fault": Fault::of(*reason).to_string(), "count": count }))
        .collect();
    json!({
        "schema": 1,
        "uptime_seconds": uptime_seconds,
        "terminals": view.terminals,
        "offers": view.offers,
        "handshakes_open": view.handshakes,
        "handshakes": handshakes,
        "sessions": {
            "open": view.sessions,
            "delivered": stats.sessions_delivered,
            "ended": stats.sessions_ended,
            "bytes_up": stats.bytes_up,
            "bytes_down": stats.bytes_down,
        },
        "handovers": stats.handovers,
        "queue_time_us": durations(&stats.queue_time),
        "crypto_time_us": durations(&stats.crypto_time),
        "handshake_time_us": durations(&stats.handshake_time),
        "channel": {
            "received": stats.channel_received,
            "sent": stats.channel_sent,
            "refused": stats.channel_refused,
        },
        "requests_refused": requests,
        "flows_refused": stats.flows_refused,
        "rules_restored": stats.rules_restored,
    })
}

/// The figures in the Prometheus text format. Durations are in seconds, as is the custom there.
pub fn prometheus(stats: &Stats, view: View, uptime_seconds: u64) -> String {
    let mut text = Exposition(String::new());
    text.single("keyferry_uptime_seconds", "gauge", "Time since the gateway started.", uptime_seconds);
    text.single("keyferry_terminals", "gauge", "Admitted terminals.", view.terminals as u64);
    text.single("keyferry_offers", "gauge", "Offers that terminals have not taken up yet.", view.offers as u64);
    text.single("keyferry_handshakes_open", "gauge", "Handshakes under way.", view.handshakes as u64);
    text.single("keyferry_sessions_open", "gauge", "Sessions handed over and still carried.", view.sessions as u64);
    text.single("keyferry_sessions_delivered_total", "counter", "Sessions handed over.", stats.sessions_delivered);
    text.single("keyferry_sessions_ended_total", "counter", "Handed-over sessions that ended.", stats.sessions_ended);
    text.family("keyferry_session_bytes_total", "counter", "Ciphertext carried for handed-over sessions that ended.");
    text.sample("keyferry_session_bytes_total", "direction=\"up\"", stats.bytes_up);
    text.sample("keyferry_session_bytes_total", "direction=\"down\"", stats.bytes_down);
    text.family("keyferry_handshakes_total", "counter", "Finished handshakes by outcome, and by cause of failure.");
    for (kind, count) in &stats.handshakes {
        let (outcome, cause, fault) = outcome(kind);
        let labels = format!(
            "protocol=\"{}\",role=\"{}\",outcome=\"{outcome}\",cause=\"{cause}\",fault=\"{fault}\"",
            kind.protocol, kind.role
        );
        text.sample("keyferry_handshakes_total", &labels, *count);
    }
    text.labelled("keyferry_handovers_total", "Hand-overs by way.", "way", &stats.handovers);
    text.single("keyferry_channel_received_total", "counter", "Channel datagrams received.", stats.channel_received);
    text.single("keyferry_channel_sent_total", "counter", "Channel datagrams sent.", stats.channel_sent);
    text.labelled("keyferry_channel_refused_total", "Channel datagrams dropped.", "cause", &stats.channel_refused);
    text.labelled("keyferry_flows_refused_total", "TCP connections nobody asked for.", "cause", &stats.flows_refused);
    text.single("keyferry_rules_restored_total", "counter", "Packet rules put back.", stats.rules_restored);
    text.family("keyferry_requests_refused_total", "counter", "Requests refused before a packet left.");
    for (reason, count) in &stats.requests_refused {
        text.sample("keyferry_requests_refused_total", &format!("cause=\"{reason}\""), *count);
    }
    text.summary("keyferry_queue_seconds", "Time a handshake step waited for a worker.", &stats.queue_time);
    text.summary("keyferry_crypto_seconds", "Computing time of one handshake.", &stats.crypto_time);
    text.summary("keyferry_handshake_seconds", "From TCP to the keys' departure.", &stats.handshake_time);
    text.0
}

fn handshake(kind: &HandshakeKind, count: u64) -> Value {
    let (outcome, cause, fault) = outcome(kind);
    let mut value = json!({ "protocol": kind.protocol, "role": kind.role, "outcome": outcome, "count": count });
    if let Some(fields) = value.as_object_mut().filter(|_| kind.failure.is_some()) {
        fields.insert("cause".into(), cause.into());
        fields.insert("fault".into(), fault.into());
    }
    value
}

fn outcome(kind: &HandshakeKind) -> (&'static str, String, String) {
    match kind.failure {
        None => ("delivered", String::new(), String::new()),
        Some(reason) => ("failed", reason.to_string(), Fault::of(reason).to_string()),
    }
}

fn durations(histogram: &Histogram<u64>) -> Value {
    let mut value = json!({ "count": histogram.len(), "mean": histogram.mean() });
    if let Some(fields) = value.as_object_mut() {
        for (name, quantile) in QUANTILES {
            fields.insert(name.into(), histogram.value_at_quantile(quantile).into());
        }
    }
    value
}

struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn labelled(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        counters: &std::collections::BTreeMap<&'static str, u64>,
    ) {
        self.family(name, "counter", help);
        for (value, count) in counters {
            self.sample(name, &format!("{label}=\"{value}\""), *count);
        }
    }

    fn summary(&mut self, name: &str, help: &str, histogram: &Histogram<u64>) {
        self.family(name, "summary", help);
        for quantile in [0.5, 0.9, 0.99] {
            let seconds = histogram.value_at_quantile(quantile) as f64 / 1e6;
            let _ = writeln!(self.0, "{name}{{quantile=\"{quantile}\"}} {seconds}");
        }
        let _ = writeln!(self.0, "{name}_count {}", histogram.len());
        let _ = writeln!(self.0, "{name}_sum {}", histogram.mean() * histogram.len() as f64 / 1e6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::stats::record;
    use std::time::Duration;

    fn sample() -> (Stats, View) {
        let mut stats = Stats::new();
        let delivered = HandshakeKind { protocol: "tls1.3", role: "client", failure: None };
        stats.handshake(delivered);
        stats.handshake(HandshakeKind { failure: Some(Reason::CERTIFICATE_EXPIRED), ..delivered });
        record(&mut stats.crypto_time, Duration::from_micros(250));
        (stats, View { terminals: 2, offers: 0, handshakes: 1, sessions: 1 })
    }

    #[test]
    fn json_names_outcome_cause_and_fault() {
        let (stats, view) = sample();
        let value = json(&stats, view, 7);
        assert_eq!(value["handshakes"][0]["outcome"], "delivered");
        assert_eq!(value["handshakes"][1]["cause"], "certificate-expired");
        assert_eq!(value["handshakes"][1]["fault"], "peer incompatible");
        assert!((249..=252).contains(&value["crypto_time_us"]["p50"].as_u64().unwrap()));
    }

    #[test]
    fn every_prometheus_sample_belongs_to_a_declared_family() {
        let (stats, view) = sample();
        let text = prometheus(&stats, view, 7);
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap().to_owned();
            } else if !line.starts_with('#') {
                assert!(line.starts_with(&family), "{line} is not of {family}");
                assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(text.contains("cause=\"certificate-expired\",fault=\"peer incompatible\"} 1"));
    }
}
