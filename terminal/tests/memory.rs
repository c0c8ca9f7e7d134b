//! What a session and a terminal cost in memory; lib.rs quotes these figures.
#![allow(clippy::print_stdout, reason = "printing is what this test is for")]

use keyferry_terminal::client::Terminal;
use keyferry_terminal::{Session, tls12};

#[test]
fn sizes_stay_within_what_the_documentation_says() {
    let (session, keys, terminal) = (size_of::<Session>(), Session::HEAP, size_of::<Terminal>());
    println!(
        "Session {session} bytes, {keys} of keys, and its record buffer; Terminal {terminal} bytes, and its tables"
    );
    assert!(tls12::Session::HEAP <= keys, "TLS 1.2 takes less");
    assert!(session <= 256, "{session}");
    assert!(keys <= 1536, "{keys}");
    assert!(terminal <= 1088, "{terminal}");
}
