//! `keyferry terminal certificate` as the operator and scripts see it. Without a gateway, without a signer;
//! without root.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests are tests

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use keyferry::io::store::Store;
use keyferry::signer::{LocalSigner, Signer};
use keyferry::terminals::TerminalId;
use keyferry_channel::Instant;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ED25519, date_time_ymd};
use serde_json::Value;
use tempfile::TempDir;

const CONFIG: &str = r#"
[gateway]
state_directory = "state"
key_file = "store.key"
admin_socket = "run/admin.sock"
[network]
terminal_interfaces = ["lo"]
[channel]
listen = ["10.7.1.1:5683"]
[trust.plant]
pins = ["sha256:0000000000000000000000000000000000000000000000000000000000000000"]
[[peer]]
name = "server.example"
ports = [443]
terminals = ["*"]
trust = "plant"
"#;

struct Operator {
    directory: TempDir,
}

impl Operator {
    /// With a terminal and the files of a certificate.
    fn new() -> Self {
        let operator = Self { directory: tempfile::tempdir().unwrap() };
        operator.write("keyferry.toml", CONFIG, 0o600);
        operator.certify("meter-1", &KeyPair::generate().unwrap(), 2040);
        operator.ok(&["terminal", "add", "meter-1", "--json"]);
        operator
    }

    /// Writes NAME.pem and NAME.key.
    fn certify(&self, name: &str, key: &KeyPair, until: i32) {
        let mut params = CertificateParams::new([format!("{name}.example")]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(until, 1, 1);
        self.write(&format!("{name}.pem"), &params.self_signed(key).unwrap().pem(), 0o644);
        self.write(&format!("{name}.key"), &key.serialize_pem(), 0o600);
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
        command.current_dir(self.directory.path()).args(["--config", "keyferry.toml"]).args(arguments);
        command.output().unwrap()
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], why: &str) {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains(why), "{text}");
    }

    fn add<'a>(&self, chain: &'a str, key: &'a str) -> [&'a str; 8] {
        ["terminal", "certificate", "add", "meter-1", "--chain", chain, "--key", key]
    }

    fn list(&self) -> Vec<Value> {
        serde_json::from_str(&self.ok(&["terminal", "certificate", "list", "meter-1", "--json"])).unwrap()
    }
}

#[test]
fn a_certificate_is_added_listed_replaced_and_removed() {
    let operator = Operator::new();
    assert!(operator.ok(&["terminal", "certificate", "list", "meter-1"]).contains("has no certificate"));
    let added = operator.ok(&operator.add("meter-1.pem", "meter-1.key"));
    assert!(added.contains("certificate default of terminal meter-1 is valid until 2040-01-01"), "{added}");
    assert!(added.contains("the gateway has the private key now; delete meter-1.key here"), "{added}");
    let text = operator.ok(&["terminal", "certificate", "list", "meter-1"]);
    assert!(text.contains("meter-1.example") && text.contains("ECDSA P-256"), "{text}");
    let [first] = operator.list().try_into().unwrap();
    assert_eq!((first["name"].as_str(), first["private_key"].as_str()), (Some("default"), Some("gateway")));

    operator.certify("new", &KeyPair::generate_for(&PKCS_ED25519).unwrap(), 2041);
    operator.ok(&operator.add("new.pem", "new.key"));
    operator.ok(&[&operator.add("meter-1.pem", "meter-1.key")[..], &["--name", "old"]].concat());
    let [default, old] = operator.list().try_into().unwrap();
    assert_eq!((default["key"].as_str(), old["key"].as_str()), (Some("Ed25519"), Some("ECDSA P-256")));
    assert_eq!(old["id"], first["id"]);

    operator.ok(&["terminal", "certificate", "remove", "meter-1", "default"]);
    assert_eq!(operator.list().len(), 1);
    operator.fails(&["terminal", "certificate", "remove", "meter-1", "default"], "has no certificate default");
    operator.ok(&["terminal", "revoke", "meter-1"]);
    assert!(operator.list().is_empty());
    operator.fails(&operator.add("new.pem", "new.key"), "meter-1 is revoked");
}

#[test]
fn what_is_stored_can_be_signed_with() {
    let operator = Operator::new();
    operator.ok(&operator.add("meter-1.pem", "meter-1.key"));
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
    let operator = Operator::new();
    let output = operator.run(&[&operator.add("meter-1.pem", "meter-1.key")[..], &["--json"]].concat());
    let pem = fs::read_to_string(operator.path("meter-1.key")).unwrap();
    let body: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let key = KeyPair::from_pem(&pem).unwrap();
    let scalar = &key.serialized_der()[36..68];
    let places = [
        output.stdout,
        output.stderr,
        fs::read(operator.path("state/store.redb")).unwrap(),
        fs::read(operator.path("state/channel.slots")).unwrap(),
    ];
    let digits = keyferry::hex::encode(scalar);
    let shown = |place: &[u8], what: &[u8]| place.windows(what.len()).any(|window| window == what);
    for place in &places {
        assert!(!shown(place, scalar) && !shown(place, digits.as_bytes()) && !shown(place, body[1].as_bytes()));
    }
}

#[test]
fn what_is_wrong_with_the_files_is_told() {
    let operator = Operator::new();
    operator.certify("other", &KeyPair::generate().unwrap(), 2040);
    operator.fails(&operator.add("meter-1.pem", "other.key"), "other.key: the private key is not that of the certif");
    operator.fails(&operator.add("meter-1.key", "meter-1.key"), "there is no certificate in the chain");
    operator.fails(&operator.add("meter-1.pem", "meter-1.pem"), "no -----BEGIN PRIVATE KEY----- block");
    operator.fails(&operator.add("absent.pem", "meter-1.key"), "absent.pem");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    operator.write("encrypted.key", encrypted, 0o600);
    operator.fails(&operator.add("meter-1.pem", "encrypted.key"), "openssl pkey -in FILE -out PLAIN");
    let both = ["other.pem", "meter-1.pem"].map(|name| fs::read_to_string(operator.path(name)).unwrap()).concat();
    operator.write("both.pem", &both, 0o644);
    operator.fails(&operator.add("both.pem", "other.key"), "put the leaf first");
    operator.fails(&[&operator.add("meter-1.pem", "meter-1.key")[..], &["--name", "a b"]].concat(), "1 to 64");
    let mut unknown = operator.add("meter-1.pem", "meter-1.key");
    unknown[3] = "meter-9";
    operator.fails(&unknown, "there is no terminal meter-9");
    assert!(operator.list().is_empty());
}

#[test]
fn doubtful_files_are_warned_about() {
    let operator = Operator::new();
    operator.certify("old", &KeyPair::generate().unwrap(), 2020);
    let output = operator.run(&operator.add("old.pem", "old.key"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && text.contains("old.pem expired on 2020-01-01"), "{text}");
    fs::set_permissions(operator.path("meter-1.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = operator.run(&operator.add("meter-1.pem", "meter-1.key"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && text.contains("others can read meter-1.key"), "{text}");
}
