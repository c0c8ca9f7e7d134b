//! `keyferry terminal add`, `list`, `show` and `revoke`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use crate::operator::Operator;

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
    operator.refused(&["terminal", "revoke", "meter-1"], "revoked already");
    operator.refused(&["terminal", "add", "meter-1"], "--again");
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
    operator.refused(&address, "--shared-address");
    operator.refused(&["terminal", "add", "meter-1"], "choose another id");
    operator.refused(&["terminal", "add", "a b"], "1 to 64");
    operator.refused(&["terminal", "add", "m", "--mac", "no"], "Ethernet");
    operator.fails(2, &["terminal", "add", "m", "--address", "here"], "--address");
    operator.refused(&["terminal", "show", "meter-9"], "no terminal meter-9");
    operator.refused(&["terminal", "revoke", "meter-9"], "no terminal meter-9");
    let existing = operator.path("exists.toml");
    fs::File::create(&existing).unwrap().write_all(b"mine").unwrap();
    operator.refused(&["terminal", "add", "m", "--config-out", "exists.toml"], "exists.toml");
    assert_eq!(fs::read(&existing).unwrap(), b"mine");
    operator.refused(&["terminal", "add", "meter-1", "--config-out", "new.toml"], "meter-1");
    assert!(!operator.path("new.toml").exists());
    let list = operator.json(&["terminal", "list", "--json"]);
    assert_eq!(list.as_array().unwrap().len(), 1);
}
