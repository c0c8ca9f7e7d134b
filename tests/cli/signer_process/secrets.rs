//! Where private keys are, and where they are not.

use std::fs;
use std::os::unix::fs::MetadataExt;

use keyferry::error::Reason;
use keyferry::io::clock::Clock;
use keyferry::io::signer::Keys;
use keyferry::io::store::Store;
use keyferry::signer::Signer;
use rcgen::KeyPair;

use super::{OWNER, Process, credential, request};
use crate::operator::{Operator, shows};

#[test]
fn it_dumps_no_core_and_leaves_no_key_in_the_clear() {
    let mut process = Process::start("root");
    let remote = process.remote();
    let (credential, private_key) = credential();
    remote.import(OWNER, &credential, &private_key).unwrap();
    remote.sign(&request(&credential, &remote.open(OWNER).unwrap())).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let log = process.kill();
    assert!(log.contains("signer is up"), "{log}");
    for name in ["state/store.redb", "state/channel.slots", "store.key"] {
        assert_eq!(fs::metadata(process.path(name)).unwrap().mode() & 0o777, 0o600, "{name}");
        assert!(!shows(&fs::read(process.path(name)).unwrap(), private_key.as_bytes()), "{name}");
    }
    assert!(!shows(log.as_bytes(), private_key.as_bytes()));
}

/// The operator's way: the signer gets the private key, the gateway's store does not.
#[test]
fn the_gateways_store_has_no_private_key() {
    let process = Process::start("root");
    let operator = Operator::configured(&format!("[signer]\nsocket = \"{}\"\n", process.socket().display()));
    let key = KeyPair::generate().unwrap();
    operator.certify(OWNER, &key, 2040);
    operator.ok(&["terminal", "add", OWNER, "--json"]);
    let add = ["terminal", "certificate", "add", OWNER, "--chain", "meter-1.pem", "--key", "meter-1.key"];
    let output = operator.run(&add);
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&text).contains("the signer has the private key now"));
    assert!(!shows(&text, key.serialized_der()));

    // What the gateway reads at its start, and what it makes of it.
    let mut store = Store::open(&operator.path("state"), &operator.path("store.key")).unwrap();
    let stored = store.credentials().unwrap();
    assert_eq!((stored.len(), stored[0].private_key.is_none()), (1, true));
    let keys = Keys::new(Some(&process.socket()), Clock::start());
    keys.admit(&stored[0]).unwrap();
    let signer = keys.signer();
    signer.sign(&request(&stored[0].credential, &signer.open(OWNER).unwrap())).unwrap();
    drop(store);
    for name in ["state/store.redb", "state/channel.slots"] {
        assert!(!shows(&fs::read(operator.path(name)).unwrap(), key.serialized_der()), "{name}");
    }

    // Revoked without a running gateway: the signer hears of it all the same.
    operator.ok(&["terminal", "revoke", OWNER]);
    assert_eq!(signer.open(OWNER).unwrap_err().reason, Reason::SIGNER_REFUSED);
}
