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
        AdminResponse::Stats(figures) => Ok(table::aligned(&rows(&figures))),
        AdminResponse::Text(text) => Ok(text),
        AdminResponse::Refused(why) | AdminResponse::Failed(why) => Err(Failure::refused(why)),
        _ => Err(Failure::refused("the gateway gave an answer that does not fit; is it of another version?")),
    }
}

/// One row for each figure, indented as deep as it lies.
fn rows(figures: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    add_rows(figures, 0, &mut rows);
    rows
}

fn add_rows(figures: &Value, depth: usize, rows: &mut Vec<Vec<String>>) {
    let Value::Object(entries) = figures else {
        return;
    };
    for (name, value) in entries {
        let name = format!("{}{}", "  ".repeat(depth), name.replace('_', " "));
        match value {
            Value::Object(_) => {
                rows.push(vec![name]);
                add_rows(value, depth.saturating_add(1), rows);
            }
            Value::Array(items) => {
                rows.push(vec![name, items.len().to_string()]);
                for item in items {
                    rows.push(vec![format!("{}- {}", "  ".repeat(depth.saturating_add(1)), in_a_line(item))]);
                }
            }
            value => rows.push(vec![name, in_a_line(value)]),
        }
    }
}

fn in_a_line(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        Value::Object(entries) => {
            let parts: Vec<String> =
                entries.iter().map(|(name, value)| format!("{name} {}", in_a_line(value))).collect();
            parts.join(", ")
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_with_their_nesting() {
        let figures = serde_json::json!({
            "sessions_delivered": 3,
            "queue_time": { "count": 2, "p99_us": 15 },
            "handshakes": [{ "protocol": "tls1.3", "cause": null, "count": 2 }],
        });
        let text = table::aligned(&rows(&figures));
        assert!(text.contains("sessions delivered  3\n"), "{text}");
        assert!(text.contains("queue time\n  count"), "{text}");
        assert!(text.contains("  - cause -, count 2, protocol tls1.3\n"), "{text}");
    }
}
