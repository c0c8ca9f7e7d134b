//! `keyferry check`.

use std::fs;

use serde_json::Value;

use crate::operator::{CONFIG, Operator};

#[test]
fn check_tells_mistakes_with_their_line_and_exits_with_1() {
    let operator = Operator::new();
    assert!(operator.ok(&["check"]).ends_with("no mistakes\n"));
    fs::write(operator.path("keyferry.toml"), CONFIG.replace("ports = [443]", "port = [443]")).unwrap();
    let output = operator.run(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("keyferry.toml:14:1: mistake: peer.port: "), "{text}");
    assert!(text.contains("did you mean `ports`?"), "{text}");
    let output = operator.run(&["check", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings.len(), 2);
    assert!(findings.iter().any(|finding| finding["key"] == "peer.port" && finding["line"] == 14));
    operator.fails(2, &["list"], "unrecognized subcommand");
    operator.fails(2, &["terminal", "list"], "peer.port");
    fs::remove_file(operator.path("keyferry.toml")).unwrap();
    operator.fails(2, &["check"], "--config FILE");
}
