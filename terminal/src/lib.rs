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
//! What they cost, beside the stack, is printed by `cargo test -p keyferry-terminal --test memory -- --nocapture`.
//! On a 32-bit device and on Linux alike, count for a [`tls13::Session`] about 1.5 KB (two AES key schedules) and
//! one received record, 16.6 KB when the peer sends full ones, as long as its largest record otherwise; for a
//! [`client::Terminal`] about 2 KB when idle, and 200 bytes for a request under way.
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
