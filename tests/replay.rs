//! Every capture under `captures/` tells what the text beside it says: with `x.keylog` and `x.ike-secrets.jsonl` where
//! they are, message by message.
//!
//! `KEYFERRY_BLESS=1 cargo test --test replay` rewrites the texts: read the difference before you commit it.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use keyferry::io::pcap::Reader;
use keyferry::replay::account::Account;
use keyferry::replay::{Replay, Secrets, ladder, text};

#[test]
fn every_capture_tells_what_stands_beside_it() {
    let captures = captures();
    assert!(captures.len() >= 20, "{} captures", captures.len());
    let bless = std::env::var_os("KEYFERRY_BLESS").is_some();
    let mut differing = Vec::new();
    for capture in &captures {
        let (expected, told) = (beside(capture, "txt"), told(capture));
        if bless {
            fs::write(&expected, &told).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != told {
            differing.push(format!("{} tells:\n{told}", capture.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn the_same_capture_is_told_the_same_way_twice() {
    for capture in &captures() {
        assert_eq!(told(capture), told(capture), "{}", capture.display());
    }
}

fn told(capture: &Path) -> String {
    let mut secrets = Secrets::default();
    if let Ok(lines) = fs::read(beside(capture, "keylog")) {
        secrets.key_log.add(&lines).unwrap();
    }
    if let Ok(lines) = fs::read_to_string(beside(capture, "ike-secrets.jsonl")) {
        secrets.ike.add_json_lines("secrets", &lines).unwrap();
    }
    let mut out = String::new();
    let mut print = |account: Account| {
        let account = Account { keys: Vec::new(), ..account };
        writeln!(out, "{}{}", text::describe(&account), ladder::draw(&account)).unwrap();
    };
    let mut replay = Replay::new(secrets);
    let end = replay.read(&mut Reader::open(capture).unwrap(), &mut |_| {}, &mut print);
    replay.finish(&mut print);
    if let Err(error) = end {
        writeln!(out, "{}", error.fault).unwrap();
    }
    out
}

fn beside(capture: &Path, extension: &str) -> PathBuf {
    capture.with_extension(extension)
}

fn captures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let folders = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let is_capture =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng");
    let mut captures: Vec<PathBuf> = files.filter(is_capture).collect();
    captures.sort();
    captures
}
