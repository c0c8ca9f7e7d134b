//! Real captures, with their secrets, without them, and with bytes altered.

use std::path::{Path, PathBuf};

use super::*;
use crate::io::pcap::{Item, Reader};
use crate::packet::{Consumer, Event, Frame, Interest, LinkType, Stack};
use crate::replay::account::{Outcome, Verification};

const KEYED: [&str; 6] = [
    "ikev1-aggr-rsasig-aes128-sha256-modp2048",
    "ikev1-main-psk-aes128-sha1-modp2048",
    "ikev1-main-psk-rekey-dpd-delete",
    "ikev1-main-rsasig-aes256-sha384-modp3072-p500",
    "ikev2-ecdsa-aes128gcm16-prfsha256-x25519",
    "ikev2-psk-cookie",
];

/// A frame that has left its file.
#[derive(Clone)]
struct Owned {
    time: Duration,
    link: LinkType,
    data: Vec<u8>,
}

struct Run {
    tracker: Tracker,
    accounts: Vec<Account>,
}

impl Consumer for Run {
    fn datagram(&mut self, datagram: &Datagram<'_>) {
        self.tracker.datagram(datagram, &mut |account| self.accounts.push(account));
    }

    fn stream(&mut self, _: &Event<'_>) -> Interest {
        Interest::None
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/ike")
}

fn frames(path: &Path) -> Vec<Owned> {
    let mut reader = Reader::open(path).unwrap();
    let mut frames = Vec::new();
    while let Ok(Some(item)) = reader.next() {
        if let Item::Frame(Frame { time, link, data, .. }) = item {
            frames.push(Owned { time, link, data: data.to_vec() });
        }
    }
    frames
}

fn secrets(name: &str) -> IkeSecrets {
    let mut secrets = IkeSecrets::default();
    let path = folder().join(name).with_extension("ike-secrets.jsonl");
    secrets.add_json_lines(name, &std::fs::read_to_string(path).unwrap()).unwrap();
    secrets
}

fn accounts(frames: &[Owned], secrets: IkeSecrets) -> Vec<Account> {
    let mut run = Run { tracker: Tracker::new(secrets, Limits::default()), accounts: Vec::new() };
    let mut stack = Stack::new(crate::packet::Limits::default());
    for frame in frames {
        let (link, data, original_length) = (frame.link, &frame.data, u32::try_from(frame.data.len()).unwrap());
        stack.frame(&Frame { time: frame.time, link, data, original_length, interface: 0 }, &mut run);
    }
    stack.finish(&mut run);
    let Run { mut tracker, mut accounts } = run;
    tracker.finish(&mut |account| accounts.push(account));
    accounts
}

fn of_capture(name: &str, secrets: IkeSecrets) -> Vec<Account> {
    accounts(&frames(&folder().join(format!("{name}.pcap"))), secrets)
}

#[test]
fn with_its_secrets_each_capture_is_verified() {
    for name in KEYED {
        let accounts = of_capture(name, secrets(name));
        assert!(!accounts.is_empty(), "{name}");
        for account in accounts {
            let text = serde_json::to_string_pretty(&account).unwrap();
            assert_eq!(account.verification, Verification::Verified, "{name} {text}");
            assert_eq!(account.outcome, Outcome::Established, "{name} {text}");
            assert!(account.messages.iter().all(|message| message.malformed.is_none()), "{name} {text}");
            assert_eq!(account.identities.len(), 2, "{name} {text}");
        }
    }
}

#[test]
fn without_secrets_nothing_is_verified_and_the_outcome_is_the_same() {
    for name in KEYED {
        for account in of_capture(name, IkeSecrets::default()) {
            assert_eq!(account.verification, Verification::None, "{name}");
            assert_eq!(account.outcome, Outcome::Established, "{name}");
            assert!(account.keys.is_empty() && account.chosen.cipher.is_some(), "{name}");
        }
    }
}

#[test]
fn a_wrong_secret_is_wrong() {
    let name = "ikev2-psk-cookie";
    let text = std::fs::read_to_string(folder().join(name).with_extension("ike-secrets.jsonl")).unwrap();
    for (from, to) in [("correct horse", "correct house"), ("\"g_ir\": \"", "\"g_ir\": \"00")] {
        let mut secrets = IkeSecrets::default();
        secrets.add_json_lines(name, &text.replace(from, to)).unwrap();
        assert_eq!(of_capture(name, secrets)[0].verification, Verification::Wrong, "{to}");
    }
}

/// Where in a frame to alter a byte that a HASH, a signature or a checksum depends on; `None` if it has none.
fn guarded(frame: &[u8]) -> Option<usize> {
    let at = (0..frame.len()).find(|at| looks_like_ike(&frame[*at..]))?;
    let raw = RawMessage::parse(&frame[at..]).unwrap();
    match raw.payloads().last().map(|payload| payload.unwrap().payload_type) {
        Some(PayloadType::V2_SK) => Some(frame.len() - 1),
        // The last fragment ends with a signature.
        Some(PayloadType::FRAGMENT) if raw.body[7] == 1 => Some(frame.len() - 1),
        None if raw.is_encrypted() => Some(at + Header::LENGTH + 16),
        _ => None,
    }
}

#[test]
fn an_altered_hash_or_checksum_is_wrong() {
    for name in KEYED {
        let whole = frames(&folder().join(format!("{name}.pcap")));
        let mut altered = 0;
        for at in 0..whole.len() {
            let Some(byte) = guarded(&whole[at].data) else { continue };
            let mut frames = whole.clone();
            frames[at].data[byte] ^= 0x10;
            let verifications: Vec<_> = accounts(&frames, secrets(name)).iter().map(|one| one.verification).collect();
            assert!(verifications.contains(&Verification::Wrong), "{name} frame {} {verifications:?}", at + 1);
            altered += 1;
        }
        assert!(altered >= 4, "{name}");
    }
}

/// Each frame cut at every `step`th byte, and every such byte altered three ways.
fn mangle(frames: &[Owned], step: usize, secrets: impl Fn() -> IkeSecrets) {
    for at in 0..frames.len() {
        for byte in (0..frames[at].data.len()).step_by(step) {
            let mut mangled = frames.to_vec();
            for value in [0, 0xff, mangled[at].data[byte] ^ 1] {
                mangled[at].data[byte] = value;
                accounts(&mangled, secrets());
            }
            mangled[at].data.truncate(byte);
            accounts(&mangled, secrets());
        }
    }
}

#[test]
fn mangled_frames_do_no_harm() {
    for name in ["ikev1-main-psk-aes128-sha1-modp2048", "ikev2-psk-cookie"] {
        mangle(&frames(&folder().join(format!("{name}.pcap"))), 23, || secrets(name));
    }
}

#[test]
#[ignore = "needs KEYFERRY_CAPTURES, a folder of captures, and minutes"]
fn mangled_captures_do_no_harm() {
    let root = PathBuf::from(std::env::var("KEYFERRY_CAPTURES").unwrap());
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().contains(".pcap") && !path.to_str().unwrap().contains(".json") {
            let frames = frames(&path);
            println!("{}: {} frames", path.display(), frames.len());
            mangle(&frames, 1, IkeSecrets::default);
        }
    }
}

/// For a comparison with other tools: the accounts of all captures in `KEYFERRY_CAPTURES`, a line each.
#[test]
#[ignore = "needs KEYFERRY_CAPTURES, and prints"]
fn print_accounts() {
    let root = PathBuf::from(std::env::var("KEYFERRY_CAPTURES").unwrap());
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().contains(".pcap") && !path.to_str().unwrap().contains(".json") {
            for account in accounts(&frames(&path), IkeSecrets::default()) {
                println!("{}\t{}", path.file_name().unwrap().display(), serde_json::to_string(&account).unwrap());
            }
        }
    }
}
