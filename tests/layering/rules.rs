//! The rules: the order of the layers, and who may name what.

use std::fmt;

use super::source::{NamedPath, paths};

/// The modules of `src/`, top to bottom. A module may import from the rows below its own.
const ORDER: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["config"],
    &["daemon", "replay"],
    &["io"],
    &["gateway"],
    &["ike", "tls"],
    &["terminals"],
    &["policy"],
    &["signer"],
    &["crypto"],
    &["stats", "packet"],
    &["error", "hex"],
];

/// Crates and parts of std that do IO.
const IO: &[&[&str]] = &[
    &["tokio"],
    &["redb"],
    &["socket2"],
    &["libc"],
    &["rustix"],
    &["pnet_datalink"],
    &["std", "fs"],
    &["std", "thread"],
    &["std", "os", "unix", "net"],
    &["std", "net", "TcpStream"],
    &["std", "net", "TcpListener"],
    &["std", "net", "UdpSocket"],
    &["std", "net", "ToSocketAddrs"],
];

/// What the live driver may name all the same: the runtime and its channels, but no socket and no file.
const DAEMON: &[&[&str]] = &[
    &["tokio", "runtime"],
    &["tokio", "select"],
    &["tokio", "signal"],
    &["tokio", "spawn"],
    &["tokio", "sync"],
    &["tokio", "task"],
    &["tokio", "time"],
];

const MAX_LINES: usize = 600;

/// One broken rule.
#[derive(Debug)]
pub struct Violation {
    place: String,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// What a file breaks. `path` is relative to the root of the workspace.
pub fn check(path: &str, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return found;
    }
    let mut report = |line: usize, what: String| {
        found.push(Violation { place: format!("{path}:{line}"), what });
    };
    if let Some(what) = overlong(text) {
        report(1, what);
    }
    let own = own_module(path);
    if let Some(module) = own.first()
        && row(module).is_none()
    {
        report(1, format!("the module {module} is not in the order of the layers"));
    }
    for named in paths(text) {
        let broken = [
            import(&own, &named),
            io_out_of_place(path, &own, &named),
            rustls_out_of_place(path, &named),
            unsafe_out_of_place(path, &named),
        ];
        for what in broken.into_iter().flatten() {
            report(named.line, what);
        }
    }
    found
}

fn overlong(text: &str) -> Option<String> {
    let lines = text.lines().take_while(|line| !line.trim_start().starts_with("#[cfg(test)]")).count();
    (lines > MAX_LINES).then(|| format!("{lines} lines before its tests; split it ({MAX_LINES} at most)"))
}

/// The module path of a file of the gateway; empty for lib.rs and for the other crates.
fn own_module(path: &str) -> Vec<String> {
    let Some(inner) = path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")) else {
        return Vec::new();
    };
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    if inner == "lib" {
        return Vec::new();
    }
    inner.split('/').map(str::to_owned).collect()
}

fn row(module: &str) -> Option<usize> {
    ORDER.iter().position(|row| row.contains(&module))
}

/// An import of another module of the gateway that does not point down.
fn import(own: &[String], named: &NamedPath) -> Option<String> {
    let module = own.first()?;
    let target = target(own, named)?;
    if target == module {
        return None;
    }
    let written = named.segments.join("::");
    if target == "*" {
        return Some(format!("{written}: name the module"));
    }
    match (row(target), row(module)?) {
        (None, _) => Some(format!("{written}: {target} is not in the order of the layers; name its module")),
        (Some(theirs), ours) if theirs < ours => Some(format!("{written} points up from {module}")),
        (Some(theirs), ours) if theirs == ours => Some(format!("{written} points sideways from {module}")),
        _ => None,
    }
}

/// The module of the gateway that a path starts with, if it is one of ours.
fn target<'a>(own: &'a [String], named: &'a NamedPath) -> Option<&'a str> {
    let mut segments = named.segments.iter().map(String::as_str).peekable();
    let first = segments.next()?;
    if first == "crate" || first == "keyferry" {
        return segments.next();
    }
    if first != "super" {
        return None;
    }
    let mut up = 1;
    while segments.next_if_eq(&"super").is_some() {
        up += 1;
    }
    // Where an inline module stands, the first `super` leads only to its own file.
    let left = (own.len() + named.depth).checked_sub(up)?;
    if left == 0 { segments.next() } else { own.first().map(String::as_str) }
}

fn io_out_of_place(path: &str, own: &[String], named: &NamedPath) -> Option<String> {
    let module = own.first()?;
    let begins = |starts: &[&[&str]]| {
        starts
            .iter()
            .any(|start| named.segments.len() >= start.len() && named.segments.iter().zip(*start).all(|(a, b)| a == b))
    };
    if path.starts_with("src/io") || !begins(IO) {
        return None;
    }
    // A lone word, such as a variable named `tokio`, is no import.
    if named.segments.len() < 2 || (module == "daemon" && begins(DAEMON)) {
        return None;
    }
    Some(format!("{} belongs into src/io", named.segments.join("::")))
}

fn rustls_out_of_place(path: &str, named: &NamedPath) -> Option<String> {
    let places = ["src/tls/rustls.rs", "src/tls/rustls/", "src/crypto/", "src/crypto.rs", "xtask/"];
    let named_here = named.segments.len() > 1 && named.segments.first().is_some_and(|first| first == "rustls");
    (named_here && !places.iter().any(|place| path.starts_with(place)))
        .then(|| format!("{} names rustls outside tls/rustls.rs and crypto", named.segments.join("::")))
}

fn unsafe_out_of_place(path: &str, named: &NamedPath) -> Option<String> {
    let is_unsafe = named.segments.iter().any(|segment| segment == "unsafe");
    (is_unsafe && !path.starts_with("src/io/path")).then(|| "unsafe code outside src/io/path".to_owned())
}
