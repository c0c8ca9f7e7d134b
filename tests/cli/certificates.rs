//! `keyferry terminal certificate`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use keyferry::io::store::Store;
use keyferry::signer::{LocalSigner, Signer};
use keyferry::terminals::TerminalId;
use keyferry_channel::Instant;
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::Value;

use crate::operator::{Operator, contains, shows};

/// With a terminal and the files of a certificate.
fn operator() -> Operator {
    let operator = Operator::new();
    operator.certify("meter-1", &KeyPair::generate().unwrap(), 2040);
    operator.ok(&["terminal", "add", "meter-1", "--json"]);
    operator
}

fn add<'a>(chain: &'a str, key: &'a str) -> [&'a str; 8] {
    ["terminal", "certificate", "add", "meter-1", "--chain", chain, "--key", key]
}

fn list(operator: &Operator) -> Vec<Value> {
    serde_json::from_str(&operator.ok(&["terminal", "certificate", "list", "meter-1", "--json"])).unwrap()
}

#[test]
fn a_certificate_is_added_listed_replaced_and_removed() {
    let operator = operator();
    assert!(operator.ok(&["terminal", "certificate", "list", "meter-1"]).contains("has no certificate"));
    let added = operator.ok(&add("meter-1.pem", "meter-1.key"));
    assert!(added.contains("certificate default of terminal meter-1 is valid until 2040-01-01"), "{added}");
    assert!(added.contains("the gateway has the private key now; delete meter-1.key here"), "{added}");
    let text = operator.ok(&["terminal", "certificate", "list", "meter-1"]);
    assert!(text.contains("meter-1.example") && text.contains("ECDSA P-256"), "{text}");
    let [first] = list(&operator).try_into().unwrap();
    assert_eq!((first["name"].as_str(), first["private_key"].as_str()), (Some("default"), Some("gateway")));

    operator.certify("new", &KeyPair::generate_for(&PKCS_ED25519).unwrap(), 2041);
    operator.ok(&add("new.pem", "new.key"));
    operator.ok(&[&add("meter-1.pem", "meter-1.key")[..], &["--name", "old"]].concat());
    let [default, old] = list(&operator).try_into().unwrap();
    assert_eq!((default["key"].as_str(), old["key"].as_str()), (Some("Ed25519"), Some("ECDSA P-256")));
    assert_eq!(old["id"], first["id"]);

    operator.ok(&["terminal", "certificate", "remove", "meter-1", "default"]);
    assert_eq!(list(&operator).len(), 1);
    operator.refused(&["terminal", "certificate", "remove", "meter-1", "default"], "has no certificate default");
    operator.ok(&["terminal", "revoke", "meter-1"]);
    assert!(list(&operator).is_empty());
    operator.refused(&add("new.pem", "new.key"), "meter-1 is revoked");
}

#[test]
fn what_is_stored_can_be_signed_with() {
    let operator = operator();
    operator.ok(&add("meter-1.pem", "meter-1.key"));
    let mut store = Store::open(&operator.path("state"), &operator.path("store.key")).unwrap();
    let [stored] = store.credentials_of(&TerminalId::try_from("meter-1").unwrap()).unwrap().try_into().ok().unwrap();
    let signer = LocalSigner::new(
        || Instant::from_micros(0),
        |bytes| {
            bytes.fill(7);
            Ok(())
        },
    );
    signer.insert("meter-1", stored.credential, &stored.private_key.unwrap()).unwrap();
    signer.open("meter-1").unwrap();
}

#[test]
fn nothing_printed_or_stored_shows_the_private_key() {
    let operator = operator();
    let output = operator.run(&[&add("meter-1.pem", "meter-1.key")[..], &["--json"]].concat());
    let pem = fs::read_to_string(operator.path("meter-1.key")).unwrap();
    let body: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let key = KeyPair::from_pem(&pem).unwrap();
    let places = [
        output.stdout,
        output.stderr,
        fs::read(operator.path("state/store.redb")).unwrap(),
        fs::read(operator.path("state/channel.slots")).unwrap(),
    ];
    for place in &places {
        assert!(!shows(place, key.serialized_der()) && !contains(place, body[1].as_bytes()));
    }
}

#[test]
fn what_is_wrong_with_the_files_is_told() {
    let operator = operator();
    operator.certify("other", &KeyPair::generate().unwrap(), 2040);
    operator.refused(&add("meter-1.pem", "other.key"), "other.key: the private key is not that of the certif");
    operator.refused(&add("meter-1.key", "meter-1.key"), "there is no certificate in the chain");
    operator.refused(&add("meter-1.pem", "meter-1.pem"), "no -----BEGIN PRIVATE KEY----- block");
    operator.refused(&add("absent.pem", "meter-1.key"), "absent.pem");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    operator.write("encrypted.key", encrypted, 0o600);
    operator.refused(&add("meter-1.pem", "encrypted.key"), "openssl pkey -in FILE -out PLAIN");
    let both = ["other.pem", "meter-1.pem"].map(|name| fs::read_to_string(operator.path(name)).unwrap()).concat();
    operator.write("both.pem", &both, 0o644);
    operator.refused(&add("both.pem", "other.key"), "put the leaf first");
    operator.refused(&[&add("meter-1.pem", "meter-1.key")[..], &["--name", "a b"]].concat(), "1 to 64");
    let mut unknown = add("meter-1.pem", "meter-1.key");
    unknown[3] = "meter-9";
    operator.refused(&unknown, "there is no terminal meter-9");
    assert!(list(&operator).is_empty());
}

#[test]
fn doubtful_files_are_warned_about() {
    let operator = operator();
    operator.certify("old", &KeyPair::generate().unwrap(), 2020);
    let text = operator.warned(&add("old.pem", "old.key"));
    assert!(text.contains("old.pem expired on 2020-01-01"), "{text}");
    fs::set_permissions(operator.path("meter-1.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let text = operator.warned(&add("meter-1.pem", "meter-1.key"));
    assert!(text.contains("others can read meter-1.key"), "{text}");
}
