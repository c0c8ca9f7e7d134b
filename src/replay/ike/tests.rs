//! Real captures, with their secrets, without them, and with bytes altered.

mod sealed;

use std::path::{Path, PathBuf};

use keyferry_parsers::ike::v2::{Body, Message, Notify, NotifyType};

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

/// Wireshark's table for a capture, made from the keys of the accounts.
fn key<'a>(account: &'a Account, name: &str) -> &'a str {
    account.keys.iter().find(|(known, _)| known == name).map(|(_, key)| key.as_str()).unwrap()
}

#[test]
fn wiresharks_table_of_version_2_proves_integrity() {
    let name = "ikev2-psk-cookie";
    let account = of_capture(name, secrets(name)).remove(0);
    let spi = |spi: Option<Spi>| crate::hex::encode(&spi.unwrap());
    let key = |name| key(&account, name);
    let mut table = IkeSecrets::default();
    let line = format!(
        "{},{},{},{},\"AES-CBC-128 [RFC3602]\",{},{},\"HMAC_SHA2_256_128 [RFC4868]\"",
        spi(account.spi_i),
        spi(account.spi_r),
        key("SK_ei"),
        key("SK_er"),
        key("SK_ai"),
        key("SK_ar")
    );
    table.add_v2_table("table", &line).unwrap();
    let opened = of_capture(name, table).remove(0);
    assert_eq!(opened.verification, Verification::Verified);
    assert_eq!(opened.identities, account.identities);
}

#[test]
fn wiresharks_table_of_version_1_opens_but_proves_nothing() {
    let name = "ikev1-main-psk-aes128-sha1-modp2048";
    let account = of_capture(name, secrets(name)).remove(0);
    let mut table = IkeSecrets::default();
    let line = format!("{},{}", crate::hex::encode(&account.spi_i.unwrap()), key(&account, "encryption key"));
    table.add_v1_table("table", &line).unwrap();
    let opened = of_capture(name, table).remove(0);
    assert_eq!(opened.verification, Verification::Unverifiable);
    assert_eq!(opened.identities, account.identities);
    let payloads = |account: &Account| account.messages.iter().map(|one| one.payloads.clone()).collect::<Vec<_>>();
    assert_eq!(payloads(&opened), payloads(&account));
}

/// The capture begins with a request and its answer; the addresses of the two.
fn asked_and_answered() -> (Vec<u8>, Vec<u8>, SocketAddr, SocketAddr) {
    let all = frames(&folder().join("ikev2-psk-cookie.pcap"));
    let message = |frame: &Owned| {
        let at = (0..frame.data.len()).find(|at| looks_like_ike(&frame.data[*at..])).unwrap();
        frame.data[at..].to_vec()
    };
    let (i, r) = ("10.0.0.1:500".parse().unwrap(), "10.0.0.2:500".parse().unwrap());
    (message(&all[0]), message(&all[1]), i, r)
}

/// An answer to `request` with nothing but a notification.
fn notification(request: &[u8], spi_r: Spi, notify: NotifyType, data: &[u8]) -> Vec<u8> {
    let mut header = RawMessage::parse(request).unwrap().header;
    (header.responder_spi, header.flags) = (spi_r, Flags::RESPONSE);
    let mut answer = Vec::new();
    let payloads = vec![Body::Notify(Notify::new(notify, data)).into()];
    Message { header, payloads }.emit(&mut answer).unwrap();
    answer
}

#[test]
fn a_cookie_or_another_group_keeps_the_account() {
    let (request, answer, i, r) = asked_and_answered();
    let mut again = request.clone();
    *again.last_mut().unwrap() ^= 1;
    for notify in [NotifyType::COOKIE, NotifyType::INVALID_KE_PAYLOAD] {
        for spi_r in [[0; 8], [7; 8]] {
            let refused = notification(&request, spi_r, notify, &[0, 14]);
            let mut tracker = Tracker::new(IkeSecrets::default(), Limits::default());
            for (message, from, to) in [(&request, i, r), (&refused, r, i), (&again, i, r), (&answer, r, i)] {
                assert!(tracker.datagram(&datagram(message, from, to), &mut |_| panic!("done")));
            }
            let mut accounts = Vec::new();
            tracker.finish(&mut |account| accounts.push(account));
            assert_eq!(accounts.len(), 1, "{notify} {spi_r:?}");
            assert_eq!((accounts[0].messages.len(), accounts[0].outcome), (4, Outcome::Incomplete));
            assert_eq!(accounts[0].spi_r, Some(RawMessage::parse(&answer).unwrap().header.responder_spi));
        }
    }
}

#[test]
fn fragments_are_one_message() {
    let aggressive = of_capture("ikev1-aggr-rsasig-aes128-sha256-modp2048", IkeSecrets::default()).remove(0);
    assert_eq!(aggressive.exchange, "aggressive");
    assert_eq!((aggressive.messages[1].fragments, aggressive.messages[1].bytes), (2, 2335));
    assert_eq!(aggressive.certificates.len(), 1);
    assert_eq!(aggressive.certificates[0].from, Side::Responder);
}

#[test]
fn an_sa_that_replaces_another_is_an_account_of_its_own() {
    let accounts = of_capture("ikev1-main-psk-rekey-dpd-delete", IkeSecrets::default());
    assert_eq!(accounts.len(), 2);
    assert!(accounts[0].spi_i != accounts[1].spi_i);
}

#[test]
fn silence_is_told_from_a_capture_that_ends() {
    let first = frames(&folder().join("ikev2-psk-cookie.pcap")).remove(0);
    let once = accounts(std::slice::from_ref(&first), IkeSecrets::default()).remove(0);
    assert_eq!((once.outcome, once.cause), (Outcome::Incomplete, None));
    let thrice = accounts(&[first.clone(), first.clone(), first], IkeSecrets::default()).remove(0);
    assert_eq!(thrice.outcome, Outcome::Failed);
    assert!(thrice.cause.unwrap().contains("nobody answers at 10.77.0.2:500: the first message was sent 3 times"));
    assert_eq!(thrice.messages.iter().filter(|message| message.retransmission).count(), 2);
}

#[test]
fn few_sas_are_remembered() {
    let all: Vec<Owned> = KEYED.iter().flat_map(|name| frames(&folder().join(format!("{name}.pcap")))).collect();
    let limits = Limits { sas: 1, messages: 3 };
    let mut run = Run { tracker: Tracker::new(IkeSecrets::default(), limits), accounts: Vec::new() };
    let mut stack = Stack::new(crate::packet::Limits::default());
    for Owned { time, link, data } in &all {
        let original_length = u32::try_from(data.len()).unwrap();
        stack.frame(&Frame { time: *time, link: *link, data, original_length, interface: 0 }, &mut run);
        assert!(run.tracker.sas.len() <= 1 && run.tracker.turns.len() <= 1);
    }
    assert!(run.accounts.len() >= 6);
    assert!(run.accounts.iter().all(|account| account.messages.len() <= 3));
    assert!(run.tracker.uncounted() > 20);
}

/// A datagram of IKE as `message` is sent.
fn datagram(message: &[u8], from: SocketAddr, to: SocketAddr) -> Datagram<'_> {
    let arrival = crate::packet::Arrival::default();
    Datagram { arrival, source: from, destination: to, payload: message, missing: 0, fragmented: false }
}

#[test]
fn a_refusal_is_told_in_plain_words() {
    let (request, _, i, r) = asked_and_answered();
    for (notify, words) in [
        (NotifyType::NO_PROPOSAL_CHOSEN, "accepts none of the offered proposals"),
        (NotifyType::INVALID_KE_PAYLOAD, "wants another group, and was not asked again"),
    ] {
        let answer = notification(&request, [7; 8], notify, &[0, 14]);
        let mut tracker = Tracker::new(IkeSecrets::default(), Limits::default());
        assert!(tracker.datagram(&datagram(&request, i, r), &mut |_| panic!("done")));
        assert!(tracker.datagram(&datagram(&answer, r, i), &mut |_| panic!("done")));
        let mut accounts = Vec::new();
        tracker.finish(&mut |account| accounts.push(account));
        assert_eq!(accounts.len(), 1);
        assert_eq!((accounts[0].outcome, accounts[0].spi_r), (Outcome::Failed, Some([7; 8])));
        assert!(accounts[0].cause.as_ref().unwrap().contains(words), "{:?}", accounts[0].cause);
    }
}

#[test]
fn what_is_not_ike_is_left_alone() {
    let mut tracker = Tracker::new(IkeSecrets::default(), Limits::default());
    let (i, r) = ("10.0.0.1:4500".parse().unwrap(), "10.0.0.2:4500".parse().unwrap());
    for message in [&[0xff][..], &[0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9], &[0; 4], b""] {
        assert!(!tracker.datagram(&datagram(message, i, r), &mut |_| ()));
    }
    tracker.finish(&mut |_| panic!("an account"));
}
