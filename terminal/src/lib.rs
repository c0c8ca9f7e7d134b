//! The device side of keyferry, for a device that has AES and SHA-256 and nothing else.
//!
//! - [`client::Terminal`]: asks the gateway, over the channel, for a connection to a peer, and takes the keys.
//! - [`tls13::Session`]: encrypts and decrypts TLS 1.3 records with those keys, end to end with the peer.
//! - `agent` (feature `std`): both, with sockets, files and a clock, for Linux; the command `keyferry-terminal`.
//!
//! The first two are sans-IO: bytes, time and randomness are arguments. No public-key code is linked, which
//! `tests/no_public_key.rs` proves over the dependency tree.
//!
//! # Memory
//! Printed by `cargo test -p keyferry-terminal --test memory -- --nocapture`; on a 64-bit machine, where pointers and the
//! AES key schedules are larger than on a small device:
//! - a [`tls13::Session`]: 176 bytes, 1440 bytes of keys on the heap, and a buffer for one received record, which grows to
//!   the peer's largest record (16.6 KB at most) and holds ciphertext and plaintext in turn;
//! - a [`client::Terminal`]: 1032 bytes, its channel included, some 250 bytes for each request under way, and 40 bytes for
//!   each session that it remembers (as many as requests may be under way, at least 16).
//!
//! Flash: see `size/` beside this crate.
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(feature = "std")]
pub mod agent;
pub mod client;
pub mod tls13;

pub use keyferry_channel as channel;
pub use keyferry_channel::Instant;
pub use keyferry_parsers::messages;

#[cfg(test)]
mod samples;
