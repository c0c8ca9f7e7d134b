//! What strongSwan logged of a handshake, and the comparison with what was derived.

use std::collections::{BTreeMap, BTreeSet};

use keyferry::crypto::Secret;
use keyferry::hex;
use serde_json::Value;

/// Logged for debugging, not derived from anything else: the other end's NAT detection, possibly forged.
const NOT_DERIVED: [&str; 5] =
    ["natd_chunk", "precalculated src_hash", "precalculated dst_hash", "received src_hash", "received dst_hash"];

pub struct Logged {
    pub psk: Vec<u8>,
    pub config: Value,
    /// Both ends' entries, in order.
    pub initiator: Vec<(String, Vec<u8>)>,
    pub responder: Vec<(String, Vec<u8>)>,
}

impl Logged {
    pub fn read(scenario: &str) -> Self {
        let path = format!("{}/tests/vectors/ike/{scenario}.keys.json", env!("CARGO_MANIFEST_DIR"));
        let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let entries = |log: &str| {
            let entry = |entry: &Value| {
                let text = |name: &str| entry[name].as_str().unwrap().to_owned();
                (text("label"), hex::decode(&text("hex")).unwrap())
            };
            file[log].as_array().unwrap().iter().map(entry).collect()
        };
        Self {
            psk: file["psk"].as_str().unwrap().into(),
            config: file["config"].clone(),
            initiator: entries("initiator_log"),
            responder: entries("responder_log"),
        }
    }

    /// The initiator's values of that label, in order.
    pub fn all(&self, label: &str) -> Vec<&[u8]> {
        self.initiator.iter().filter(|(name, _)| name == label).map(|(_, value)| value.as_slice()).collect()
    }

    fn by_label(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let mut labels = BTreeMap::<_, BTreeSet<_>>::new();
        for (label, value) in self.initiator.iter().chain(&self.responder) {
            if !NOT_DERIVED.contains(&label.as_str()) {
                labels.entry(label.as_str()).or_default().insert(hex::encode(value));
            }
        }
        labels
    }
}

/// What was derived, by strongSwan's labels.
#[derive(Default)]
pub struct Derived(BTreeMap<String, BTreeSet<String>>);

impl Derived {
    pub fn add(&mut self, label: &str, value: impl AsRef<[u8]>) {
        self.0.entry(label.into()).or_default().insert(hex::encode(value.as_ref()));
    }

    pub fn add_secret(&mut self, label: &str, value: &Secret) {
        self.add(label, value.as_bytes());
    }

    /// Fails unless every logged value was derived, and nothing else under a logged label.
    pub fn assert_is(&self, logged: &Logged) {
        let logged = logged.by_label();
        assert!(logged.len() > 10);
        for (label, values) in &logged {
            assert_eq!(self.0.get(*label), Some(values), "{label}");
        }
        let unlogged: Vec<_> = self.0.keys().filter(|label| !logged.contains_key(label.as_str())).collect();
        assert!(unlogged.is_empty(), "derived, but not in the log: {unlogged:?}");
    }
}

/// The parts of a logged NAT detection: SPIs, address and port.
pub fn natd_chunk(chunk: &[u8]) -> (&[u8; 8], &[u8; 8], std::net::IpAddr, u16) {
    let address: [u8; 4] = chunk[16..20].try_into().unwrap();
    let port = u16::from_be_bytes(chunk[20..].try_into().unwrap());
    (chunk[..8].try_into().unwrap(), chunk[8..16].try_into().unwrap(), address.into(), port)
}
