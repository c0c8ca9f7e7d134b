//! The TLS tracker against tshark's reading of the same captures, field by field; and what secrets prove.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a capture that cannot be read is a failed test")]

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyferry::io::pcap::{Item, Reader};
use keyferry::packet::{Consumer, Datagram, Event, Frame, Interest, Stack};
use keyferry::replay::account::{Account, Outcome, Verification};
use keyferry::replay::keylog::KeyLog;
use keyferry::replay::tls::{Limits, Tracker};
use serde_json::Value;

/// Where the two differ, and why.
const EXPLAINED: &[(&str, &str)] = &[
    // The Certificate ends in the middle of a certificate; tshark takes what follows for more of it, here it is read on.
    ("tls__tls1.2-protocol-violation.pcap", "type too many 14"),
    // tshark does not take apart the ServerHello after this HelloRetryRequest.
    ("tls__hrr.pcap", "type too many 2"),
];

struct Collect {
    tracker: Tracker,
    accounts: Vec<Account>,
}

impl Consumer for Collect {
    fn datagram(&mut self, datagram: &Datagram<'_>) {
        self.tracker.datagram(datagram, &mut |account| self.accounts.push(account));
    }

    fn stream(&mut self, event: &Event<'_>) -> Interest {
        self.tracker.stream(event, &mut |account| self.accounts.push(account))
    }
}

/// The accounts of a capture, with the key log beside it if there is one.
fn replay(capture: &Path, key_log: Option<&[u8]>) -> Vec<Account> {
    replay_altered(&std::fs::read(capture).unwrap(), key_log, |_, _| {})
}

/// The same of a capture whose frames are altered before they are read.
fn replay_altered(capture: &[u8], key_log: Option<&[u8]>, alter: impl Fn(Duration, &mut [u8])) -> Vec<Account> {
    let mut secrets = KeyLog::default();
    if let Some(text) = key_log {
        secrets.add(text).unwrap();
    }
    let mut collect = Collect { tracker: Tracker::new(secrets, Limits::default()), accounts: Vec::new() };
    let Ok(mut reader) = Reader::new("capture", Cursor::new(capture.to_vec())) else { return Vec::new() };
    let mut stack = Stack::new(keyferry::packet::Limits::default());
    while let Ok(Some(item)) = reader.next() {
        match item {
            Item::Frame(frame) => {
                let mut data = frame.data.to_vec();
                alter(frame.time, &mut data);
                stack.frame(&Frame { data: &data, ..frame }, &mut collect);
            }
            Item::Secrets { data, .. } => drop(collect.tracker.key_log().add(data)),
        }
    }
    stack.finish(&mut collect);
    let Collect { mut tracker, mut accounts } = collect;
    tracker.finish(&mut |account| accounts.push(account));
    accounts
}

fn captures() -> Vec<PathBuf> {
    let root = std::env::var_os("KEYFERRY_CAPTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("captures"), PathBuf::from);
    let folders = ["tls", "zeek"].map(|folder| root.join(folder));
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let mut files: Vec<_> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcap"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no captures under {}", root.display());
    files
}

fn oracle(capture: &Path) -> Vec<Value> {
    let packed = std::fs::File::open(format!("{}.oracle.json.gz", capture.display())).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn texts<'a>(frame: &'a Value, field: &str) -> Vec<&'a str> {
    let values = [format!("tls.{field}"), format!("dtls.{field}")].into_iter();
    values.filter_map(|name| frame[name.as_str()].as_array()).flatten().filter_map(Value::as_str).collect()
}

/// What tshark read, as a bag of texts per field.
fn expected(frames: &[Value]) -> BTreeMap<&'static str, Vec<String>> {
    let mut fields: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for frame in frames {
        let types = texts(frame, "handshake.type");
        for kind in &types {
            fields.entry("type").or_default().push((*kind).to_owned());
        }
        for random in texts(frame, "handshake.random") {
            fields.entry("random").or_default().push(random.to_owned());
        }
        for sni in texts(frame, "handshake.extensions_server_name") {
            fields.entry("sni").or_default().push(sni.to_owned());
        }
        for alert in texts(frame, "alert_message.desc") {
            fields.entry("alert").or_default().push(alert.to_owned());
        }
        if types.contains(&"2") {
            fields
                .entry("chosen")
                .or_default()
                .extend(texts(frame, "handshake.ciphersuite").iter().map(|s| (*s).to_owned()));
        }
        let lengths = texts(frame, "handshake.length");
        if lengths.len() == types.len() {
            fields.entry("length").or_default().extend(lengths.iter().map(|length| (*length).to_owned()));
        }
        for certificate in texts(frame, "handshake.certificate") {
            fields.entry("certificate").or_default().push(certificate.to_owned());
        }
        if types.first() == Some(&"1") && types.len() == 1 {
            fields.entry("suites").or_default().push(texts(frame, "handshake.ciphersuite").join(" "));
        }
    }
    fields
}

#[test]
fn what_tshark_read_is_in_the_accounts() {
    let (mut compared, mut differences) = (0, Vec::new());
    for capture in captures() {
        let accounts = replay(&capture, None);
        let name = capture.file_name().unwrap().to_string_lossy().into_owned();
        let expected = expected(&oracle(&capture));
        let hex = |bytes: &[u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let randoms: Vec<String> =
            accounts.iter().flat_map(|a| [a.client_random, a.server_random]).flatten().map(|r| hex(&r)).collect();
        let suites: Vec<String> = accounts
            .iter()
            .map(|account| account.offered.iter().map(|name| number(name)).collect::<Vec<_>>().join(" "))
            .collect();
        let mut check = |field: &str, value: &str, there: bool| {
            compared += 1;
            if !there {
                differences.push(format!("{name}: {field} {value}"));
            }
        };
        for (field, values) in &expected {
            let retry = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c";
            match *field {
                "random" => values.iter().filter(|v| *v != retry).for_each(|v| check(field, v, randoms.contains(v))),
                "sni" => {
                    values.iter().for_each(|v| check(field, v, accounts.iter().any(|a| a.sni.as_ref() == Some(v))))
                }
                "suites" => values.iter().for_each(|v| check(field, v, suites.contains(v))),
                "chosen" => values.iter().for_each(|v| {
                    let suite = |a: &Account| a.chosen.cipher.as_deref().map(number);
                    check(field, v, accounts.iter().any(|a| suite(a).as_ref() == Some(v)));
                }),
                "length" => values.iter().for_each(|v| {
                    let body: u32 = v.parse().unwrap();
                    let mut all = accounts.iter().flat_map(|account| &account.messages);
                    check(field, v, all.any(|m| m.bytes == body + 4 || m.bytes == body + 12));
                }),
                "certificate" => values.iter().for_each(|v| {
                    let der = keyferry::hex::decode(v).unwrap();
                    let sha256 = keyferry::hex::encode(&keyferry::crypto::Hash::Sha256.digest(&[&der]));
                    let mut all = accounts.iter().flat_map(|account| &account.certificates);
                    check(field, &sha256, all.any(|certificate| certificate.sha256 == sha256));
                }),
                "alert" => {
                    let listed: Vec<u8> =
                        accounts.iter().flat_map(|a| &a.messages).filter_map(|m| alert(&m.kind)).collect();
                    values.iter().for_each(|v| check(field, v, listed.contains(&v.parse().unwrap())));
                }
                _ => {
                    let mut listed: Vec<u8> =
                        accounts.iter().flat_map(|a| &a.messages).filter_map(|m| kind(&m.kind)).collect();
                    for value in values {
                        let at = listed.iter().position(|kind| *kind == value.parse::<u8>().unwrap());
                        check(field, value, at.is_some());
                        if let Some(at) = at {
                            listed.remove(at);
                        }
                    }
                    listed.iter().for_each(|kind| check("type too many", &kind.to_string(), false));
                }
            }
        }
    }
    let found = differences.len();
    differences.retain(|difference| !EXPLAINED.iter().any(|(file, what)| *difference == format!("{file}: {what}")));
    println!("{compared} fields compared, {found} different, {} of them not explained", differences.len());
    assert!(differences.is_empty(), "{differences:#?}");
}

fn number(suite: &str) -> String {
    keyferry_parsers::tls::CipherSuite::from_name(suite)
        .map_or_else(|| suite.to_owned(), |suite| format!("{:#06x}", suite.0))
}

fn kind(name: &str) -> Option<u8> {
    if name == "hello_retry_request" {
        return Some(2);
    }
    keyferry_parsers::tls::HandshakeType::from_name(name).map(|kind| kind.0)
}

fn alert(name: &str) -> Option<u8> {
    let name = name.strip_prefix("alert(")?.strip_suffix(')')?;
    keyferry_parsers::tls::AlertDescription::from_name(name).map(|alert| alert.0)
}

fn keyed() -> Vec<(PathBuf, Vec<u8>)> {
    let keyed: Vec<_> = captures()
        .into_iter()
        .filter_map(|capture| Some((capture.clone(), std::fs::read(capture.with_extension("keylog")).ok()?)))
        // One of them fails before there are keys.
        .filter(|(capture, _)| replay(capture, None).iter().any(|account| account.server_random.is_some()))
        .collect();
    assert!(keyed.len() >= 5, "{} captures with keys", keyed.len());
    keyed
}

#[test]
fn keyed_captures_are_verified() {
    for (capture, key_log) in keyed() {
        for account in replay(&capture, Some(&key_log)) {
            assert_eq!(account.verification, Verification::Verified, "{} {account:?}", capture.display());
            assert_eq!(account.outcome, Outcome::Established);
            assert_eq!(account.messages.iter().filter(|message| message.kind == "finished").count(), 2);
            assert!(account.keys.len() >= 5 && account.messages.iter().all(|message| message.malformed.is_none()));
        }
        assert!(replay(&capture, None).iter().all(|account| account.verification == Verification::None));
    }
}

#[test]
fn a_wrong_secret_is_noticed() {
    for (capture, key_log) in keyed() {
        let other = |line: &str| match line.strip_suffix('0') {
            Some(start) => format!("{start}1\n"),
            None => format!("{}0\n", &line[..line.len().saturating_sub(1)]),
        };
        let key_log = String::from_utf8(key_log).unwrap();
        let wrong: String = key_log.lines().filter(|line| !line.starts_with('#')).map(other).collect();
        for account in replay(&capture, Some(wrong.as_bytes())) {
            assert_eq!(account.verification, Verification::Wrong, "{}", capture.display());
        }
    }
}

#[test]
fn a_finished_with_one_bit_altered_is_wrong() {
    for (capture, key_log) in keyed() {
        let bytes = std::fs::read(&capture).unwrap();
        let finished: Vec<Duration> = replay(&capture, Some(&key_log))
            .iter()
            .flat_map(|account| &account.messages)
            .filter_map(|message| (message.kind == "finished").then_some(message.t))
            .collect();
        assert_eq!(finished.len(), 2);
        for at in finished {
            // The Finished is the last in its frame: a bit of its MAC or tag.
            let accounts = replay_altered(&bytes, Some(&key_log), |time, frame| {
                if let Some(last) = frame.last_mut().filter(|_| time == at) {
                    *last ^= 1;
                }
            });
            let [account] = accounts.as_slice() else { panic!("{} accounts", accounts.len()) };
            assert_eq!(account.verification, Verification::Wrong, "{} at {at:?}", capture.display());
        }
    }
}

#[test]
fn a_damaged_capture_is_read_as_far_as_it_goes() {
    for capture in captures() {
        let bytes = std::fs::read(&capture).unwrap();
        let key_log = std::fs::read(capture.with_extension("keylog")).ok();
        for at in (0..bytes.len()).step_by(bytes.len() / 50 + 1) {
            replay_altered(&bytes[..at], key_log.as_deref(), |_, _| {});
            for change in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                replay_altered(&bytes, key_log.as_deref(), |_, _| {});
            }
        }
    }
}
