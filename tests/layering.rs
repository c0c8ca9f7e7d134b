//! Imports only point down. Reads every path in the sources and fails on one that points up or to the side,
//! on IO outside `io`, on rustls outside its two places, on unsafe code and on overlong files.
#![allow(clippy::expect_used, reason = "a source that cannot be read is a failed test")]

mod layering {
    pub mod rules;
    pub mod source;
}

use std::fs;
use std::path::{Path, PathBuf};

use layering::rules::{Violation, check};

#[test]
fn sources_keep_to_the_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut files = 0;
    for folder in ["src", "parsers/src", "channel/src", "terminal/src", "xtask/src"] {
        for path in rust_files(&root.join(folder)) {
            let name = path.strip_prefix(root).expect("inside the root");
            let text = fs::read_to_string(&path).expect("readable source");
            files += 1;
            found.extend(check(name.to_str().expect("UTF-8 path"), &text));
        }
    }
    assert!(files > 50, "only {files} files were read");
    let list: Vec<String> = found.iter().map(Violation::to_string).collect();
    assert!(found.is_empty(), "{} violations:\n{}", list.len(), list.join("\n"));
}

#[test]
fn import_of_a_higher_layer_is_caught() {
    assert_caught("src/policy/rule.rs", "use crate::gateway::Gateway;", "points up");
    assert_caught("src/io/store.rs", "use crate::{error::Error, config::Config};", "points up");
    assert_caught("src/io/path/mod.rs", "fn f() { crate::daemon::stop() }", "points up");
    assert_caught("src/tls/mod.rs", "use super::gateway;", "points up");
    assert_caught("src/tls/refusal.rs", "use super::super::gateway::Flow;", "points up");
    assert_caught("src/error.rs", "macro_rules! m { () => { crate::stats::count() } }", "points up");
}

#[test]
fn import_of_a_neighbour_is_caught() {
    assert_caught("src/tls/mod.rs", "use crate::ike::proposal;", "sideways");
    assert_caught("src/stats.rs", "use crate::packet::Header;", "sideways");
}

#[test]
fn import_that_hides_its_layer_is_caught() {
    assert_caught("src/policy/mod.rs", "use crate::Gateway;", "not in the order");
    assert_caught("src/policy/mod.rs", "use crate::*;", "name the module");
    assert_caught("src/helper.rs", "", "not in the order");
}

#[test]
fn io_outside_io_is_caught() {
    for line in [
        "use std::net::{IpAddr, TcpStream};",
        "use std::{fs, io};",
        "fn f() { std::thread::spawn(|| ()); }",
        "use tokio::sync::mpsc;",
        "use libc::setsockopt;",
        "use ::redb::Database;",
        "use std::os::unix::net::UnixStream;",
    ] {
        assert_caught("src/gateway/mod.rs", line, "belongs into src/io");
        assert_fine("src/io/admin.rs", line);
    }
    assert_fine("src/daemon.rs", "use tokio::sync::mpsc;");
    assert_caught("src/daemon.rs", "use tokio::net::TcpStream;", "belongs into src/io");
}

#[test]
fn rustls_outside_its_places_is_caught() {
    let line = "use rustls::ClientConfig;";
    assert_caught("src/gateway/mod.rs", line, "rustls");
    assert_caught("src/tls/mod.rs", "fn f(c: &rustls::ClientConnection) {}", "rustls");
    assert_fine("src/tls/rustls.rs", line);
    assert_fine("src/crypto/mod.rs", line);
    assert_fine("src/tls/mod.rs", "mod rustls; pub use self::rustls::Client;");
}

#[test]
fn unsafe_outside_the_path_is_caught() {
    let line = "fn f() { unsafe { g() } }";
    assert_caught("src/io/store.rs", line, "unsafe");
    assert_caught("parsers/src/lib.rs", line, "unsafe");
    assert_fine("src/io/path/sockets.rs", line);
}

#[test]
fn overlong_file_is_caught() {
    let line = "const X: u8 = 1;\n";
    assert_caught("parsers/src/tls.rs", &line.repeat(601), "601 lines");
    assert_fine("parsers/src/tls.rs", &line.repeat(600));
    let tests = "#[cfg(test)]\nmod tests {}\n";
    assert_fine("parsers/src/tls.rs", &format!("{}{tests}{}", line.repeat(500), line.repeat(500)));
    assert_fine("parsers/src/tls/tests.rs", &line.repeat(601));
}

#[test]
fn what_points_down_is_fine() {
    assert_fine("src/gateway/mod.rs", "use crate::tls::{self, Client}; use super::policy::Policy;");
    assert_fine("src/gateway/flow.rs", "use super::{Gateway, timers::Timer}; use std::net::IpAddr;");
    assert_fine("src/io/workers.rs", "use crate::gateway::Step;");
    assert_fine("src/main.rs", "fn main() { keyferry::cli::run() }");
    assert_fine("src/lib.rs", "pub use crate::cli::run;");
    assert_fine("src/error.rs", "// use crate::gateway;\n/// `crate::gateway`\nconst A: &str = \"crate::gateway\";");
}

#[test]
fn tests_in_a_file_may_name_anything() {
    assert_fine("src/policy/mod.rs", "#[cfg(test)] mod tests { use crate::gateway::Gateway; use std::fs; }");
    assert_fine("src/policy/tests.rs", "use crate::gateway::Gateway;");
    assert_fine("src/policy/mod.rs", "#[cfg(test)]\nuse crate::gateway::Gateway;");
    assert_caught("src/policy/mod.rs", "#[cfg(test)] mod tests; use crate::gateway::Gateway;", "points up");
    assert_caught("src/policy/mod.rs", "#[cfg(not(test))] use crate::gateway::Gateway;", "points up");
}

fn assert_caught(path: &str, text: &str, wanted: &str) {
    let found = check(path, text);
    assert!(
        found.iter().any(|violation| violation.to_string().contains(wanted)),
        "{path}: {text}\nwas to be caught as {wanted:?}, found {found:?}"
    );
}

fn assert_fine(path: &str, text: &str) {
    let found = check(path, text);
    assert!(found.is_empty(), "{path}: {text}\nis fine, found {found:?}");
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
