//! The command line as the operator and scripts see it: output, exit codes, files. Without a gateway;
//! without root.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests are tests

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

struct Operator {
    directory: TempDir,
}

impl Operator {
    fn new() -> Self {
        let operator = Self { directory: tempfile::tempdir().unwrap() };
        fs::write(operator.path("keyferry.toml"), CONFIG).unwrap();
        operator
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
        command.current_dir(self.directory.path()).args(["--config", "keyferry.toml"]).args(arguments);
        command.output().unwrap()
    }

    /// Standard output of a command that must succeed.
    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of a command that must end with `code`.
    #[track_caller]
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(!text.is_empty());
        text
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }
}

const CONFIG: &str = r#"
[gateway]
state_directory = "state"
key_file = "store.key"
admin_socket = "run/admin.sock"
[network]
terminal_interfaces = ["lo"]
[channel]
listen = ["10.7.1.1:5683", "[fd07:1::1]:5683"]
[trust.plant]
pins = ["sha256:0000000000000000000000000000000000000000000000000000000000000000"]
[[peer]]
name = "server.example"
ports = [443]
terminals = ["*"]
trust = "plant"
"#;

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
    assert!(operator.fails(2, &["list"]).contains("unrecognized subcommand"));
    assert!(operator.fails(2, &["terminal", "list"]).contains("peer.port"));
    fs::remove_file(operator.path("keyferry.toml")).unwrap();
    assert!(operator.fails(2, &["check"]).contains("--config FILE"));
}

#[test]
fn a_terminal_is_added_listed_shown_and_revoked() {
    let operator = Operator::new();
    assert!(operator.ok(&["terminal", "list"]).contains("no terminals"));
    let said = operator.ok(&[
        "terminal",
        "add",
        "meter-1",
        "--address",
        "10.7.1.10",
        "--group",
        "sensors",
        "--config-out",
        "m.toml",
    ]);
    assert!(said.contains("added terminal meter-1 (kid 0100)"), "{said}");
    assert_eq!(fs::metadata(operator.path("m.toml")).unwrap().mode() & 0o777, 0o600);
    let file: toml::Table = fs::read_to_string(operator.path("m.toml")).unwrap().parse().unwrap();
    let text = |key: &str| file[key].as_str().unwrap();
    assert_eq!([text("id"), text("sender_id"), text("gateway_id")], ["meter-1", "0100", "00"]);
    assert_eq!(text("gateway"), "10.7.1.1:5683");
    assert_eq!(text("key_file"), "m.key");
    assert_eq!(fs::metadata(operator.path("m.key")).unwrap().mode() & 0o777, 0o600);
    let key = fs::read_to_string(operator.path("m.key")).unwrap();
    assert_eq!(key.len(), 64);

    let list = operator.ok(&["terminal", "list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(lines[0].starts_with("ID       GROUP    ADDRESSES"), "{list}");
    assert!(lines[1].starts_with("meter-1  sensors  10.7.1.10"), "{list}");
    assert!(!list.contains(&key));
    assert!(operator.ok(&["terminal", "show", "meter-1"]).contains("kid        0100\n"));
    assert_eq!(operator.json(&["terminal", "show", "meter-1", "--json"])["group"], "sensors");

    assert!(operator.ok(&["terminal", "revoke", "meter-1"]).contains("is revoked"));
    assert!(operator.ok(&["terminal", "list"]).contains("revoked 20"));
    assert!(operator.fails(1, &["terminal", "revoke", "meter-1"]).contains("revoked already"));
    assert!(operator.fails(1, &["terminal", "add", "meter-1"]).contains("--again"));
    let again = operator.json(&["terminal", "add", "meter-1", "--again", "--json"]);
    assert_eq!(again["terminal"]["kid"], "0101");
    assert_eq!(again["key"].as_str().unwrap().len(), 64);
}

#[test]
fn without_a_file_the_configuration_goes_to_standard_output() {
    let operator = Operator::new();
    let arguments = ["terminal", "add", "meter-1", "--address", "fd07:1::9"];
    let file: toml::Table = operator.ok(&arguments).parse().unwrap();
    assert_eq!(file["gateway"].as_str(), Some("[fd07:1::1]:5683"), "the address of the terminal's family");
    let other = ["terminal", "add", "meter-2", "--gateway", "192.0.2.1:5683"];
    let file: toml::Table = operator.ok(&other).parse().unwrap();
    assert_eq!(file["gateway"].as_str(), Some("192.0.2.1:5683"));
}

#[test]
fn what_cannot_be_is_refused_with_a_reason_and_nothing_is_added() {
    let operator = Operator::new();
    operator.ok(&["terminal", "add", "meter-1", "--address", "10.7.1.10"]);
    let address = ["terminal", "add", "meter-2", "--address", "10.7.1.10"];
    assert!(operator.fails(1, &address).contains("--shared-address"));
    assert!(operator.fails(1, &["terminal", "add", "meter-1"]).contains("choose another id"));
    assert!(operator.fails(1, &["terminal", "add", "a b"]).contains("1 to 64"));
    assert!(operator.fails(1, &["terminal", "add", "m", "--mac", "no"]).contains("Ethernet"));
    assert!(operator.fails(2, &["terminal", "add", "m", "--address", "here"]).contains("--address"));
    assert!(operator.fails(1, &["terminal", "show", "meter-9"]).contains("no terminal meter-9"));
    assert!(operator.fails(1, &["terminal", "revoke", "meter-9"]).contains("no terminal meter-9"));
    let existing = operator.path("exists.toml");
    fs::File::create(&existing).unwrap().write_all(b"mine").unwrap();
    assert!(operator.fails(1, &["terminal", "add", "m", "--config-out", "exists.toml"]).contains("exists.toml"));
    assert_eq!(fs::read(&existing).unwrap(), b"mine");
    assert!(operator.fails(1, &["terminal", "add", "meter-1", "--config-out", "new.toml"]).contains("meter-1"));
    assert!(!operator.path("new.toml").exists());
    let list = operator.json(&["terminal", "list", "--json"]);
    assert_eq!(list.as_array().unwrap().len(), 1);
}

#[test]
fn without_a_gateway_stats_exit_with_3() {
    let operator = Operator::new();
    assert!(operator.fails(3, &["stats"]).contains("no gateway is running"));
    assert!(operator.fails(3, &["stats", "--json"]).contains("admin.sock"));
    assert!(operator.fails(2, &["stats", "--json", "--prometheus"]).contains("cannot be used with"));
}

#[test]
fn help_teaches_and_completions_are_scripts() {
    let operator = Operator::new();
    let help = operator.ok(&["--help"]);
    for part in ["Examples:", "Exit codes:", "terminal", "uninstall"] {
        assert!(help.contains(part), "{part}");
    }
    assert!(operator.ok(&["terminal", "add", "--help"]).contains("--shared-address"));
    assert!(operator.ok(&["run", "--help"]).contains("insecure-keylog"));
    assert!(operator.ok(&["completions", "bash"]).contains("_keyferry"));
}
