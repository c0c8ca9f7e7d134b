//! `keyferry stats`.

use serde_json::Value;

use super::{Failure, json, table};
use crate::config::Config;
use crate::io::admin::{self, AdminRequest, AdminResponse};

/// Show the figures of the running gateway.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  keyferry stats
  keyferry stats --json | jq .handshakes
  keyferry stats --prometheus > /var/lib/node_exporter/keyferry.prom

Exit code 3: no gateway is running.")]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long, conflicts_with = "prometheus")]
    json: bool,
    /// Print the Prometheus text format.
    #[arg(long)]
    prometheus: bool,
}

pub(super) fn execute(config: &Config, arguments: &Arguments) -> Result<String, Failure> {
    let request = if arguments.prometheus { AdminRequest::Prometheus } else { AdminRequest::Stats };
    match admin::call(&config.gateway.admin_socket, &request)? {
        AdminResponse::Stats(figures) if arguments.json => json(&figures),
        AdminResponse::Stats(figures) => Ok(account(&figures)),
        AdminResponse::Text(text) => Ok(text),
        AdminResponse::Refused(why) | AdminResponse::Failed(why) => Err(Failure::refused(why)),
        _ => Err(Failure::refused("the gateway gave an answer that does not fit; is it of another version?")),
    }
}

/// The figures as an operator reads them: what happened first, then how long it took, then what was refused.
fn account(figures: &Value) -> String {
    let number = |path: &str| figures.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let mut rows = vec![
        row("gateway", format!("up {}, {} terminals", duration(number("/uptime_seconds")), number("/terminals"))),
        row(
            "sessions",
            format!(
                "{} open, {} delivered, {} ended; of those {} to peers, {} to terminals",
                number("/sessions/open"),
                number("/sessions/delivered"),
                number("/sessions/ended"),
                bytes(number("/sessions/bytes_up")),
                bytes(number("/sessions/bytes_down")),
            ),
        ),
        row("under way", format!("{} handshakes, {} offers", number("/handshakes_open"), number("/offers"))),
    ];
    let handshakes = list(figures, "/handshakes").iter().map(handshake).collect();
    rows.extend(group("handshakes", handshakes));
    rows.extend(group("hand-overs", counters(figures, "/handovers")));
    for (name, path) in TIMES {
        rows.push(row(name, times(figures.pointer(path).unwrap_or(&Value::Null))));
    }
    let (received, sent) = (number("/channel/received"), number("/channel/sent"));
    rows.push(row("channel", format!("{received} datagrams received, {sent} sent")));
    rows.extend(group("channel refused", counters(figures, "/channel/refused")));
    let requests = list(figures, "/requests_refused").iter().map(|item| counted(item, &cause(item))).collect();
    rows.extend(group("requests refused", requests));
    rows.extend(group("TCP refused", counters(figures, "/flows_refused")));
    if number("/rules_restored") > 0 {
        let remedy = "somebody removes them: an nftables reload?";
        rows.push(row("packet rules", format!("put back {} times; {remedy}", number("/rules_restored"))));
    }
    table::aligned(&rows)
}

/// The durations, by name and place.
const TIMES: [(&str, &str); 3] =
    [("queue time", "/queue_time_us"), ("crypto time", "/crypto_time_us"), ("handshake time", "/handshake_time_us")];

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

/// Several values under one name; nothing where there is none.
fn group(name: &str, values: Vec<String>) -> Vec<Vec<String>> {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    names.zip(values).map(|(name, value)| row(name, value)).collect()
}

fn list<'a>(figures: &'a Value, path: &str) -> &'a [Value] {
    figures.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn counters(figures: &Value, path: &str) -> Vec<String> {
    let counters = figures.pointer(path).and_then(Value::as_object);
    counters.into_iter().flatten().map(|(name, count)| format!("{count} {name}")).collect()
}

fn handshake(item: &Value) -> String {
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
    let kind = format!("{} as {}", text("protocol"), text("role"));
    match item.get("cause") {
        None => counted(item, &format!("{kind}: {}", text("outcome"))),
        Some(_) => counted(item, &format!("{kind}: {}: {}", text("outcome"), cause(item))),
    }
}

fn cause(item: &Value) -> String {
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("{} ({})", text("cause"), text("fault"))
}

fn counted(item: &Value, what: &str) -> String {
    format!("{} {what}", item.get("count").and_then(Value::as_u64).unwrap_or_default())
}

fn times(figures: &Value) -> String {
    let number = |name: &str| figures.get(name).and_then(Value::as_u64).unwrap_or_default();
    let time = |name: &str| microseconds(number(name));
    match number("count") {
        0 => "none yet".to_owned(),
        count => format!(
            "median {}, 90 % under {}, 99 % under {}, longest {} (of {count})",
            time("p50"),
            time("p90"),
            time("p99"),
            time("max")
        ),
    }
}

fn microseconds(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} us"),
        1_000..1_000_000 => format!("{:.1} ms", value as f64 / 1e3),
        _ => format!("{:.2} s", value as f64 / 1e6),
    }
}

fn bytes(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", value as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value as f64 / 1e6),
        _ => format!("{:.1} GB", value as f64 / 1e9),
    }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min {} s", seconds % 60),
        3_600..86_400 => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Reason;
    use crate::gateway::View;
    use crate::io::report;
    use crate::stats::{HandshakeKind, Stats, record};

    #[test]
    fn the_account_names_what_happened_and_whose_fault_it_was() {
        let mut stats = Stats::new();
        let delivered = HandshakeKind { protocol: "tls1.3", role: "client", failure: None };
        stats.handshake(delivered);
        stats.handshake(HandshakeKind { failure: Some(Reason::CERTIFICATE_EXPIRED), ..delivered });
        stats.requests_refused.insert(Reason::FORBIDDEN_PEER, 3);
        stats.bytes_down = 20_000_000;
        record(&mut stats.crypto_time, Duration::from_micros(250));
        let view = View { terminals: 2, offers: 0, handshakes: 1, sessions: 1 };
        let text = account(&report::json(&stats, view, 3_700));
        for line in [
            "up 1 h 1 min, 2 terminals",
            "20.0 MB to terminals",
            "1 tls1.3 as client: delivered\n",
            "1 tls1.3 as client: failed: certificate-expired (peer incompatible)\n",
            "queue time        none yet\n",
            "3 forbidden-peer (policy)\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
