//! The device side of keyferry, for a device that has AES and SHA-256 and nothing else.
//!
//! - [`client::Terminal`]: asks the gateway, over the channel, for a connection to a peer, or announces a port where peers
//!   may come, and takes the keys; with the gateway on the path, or carrying the handshake to it (assisted mode).
//! - [`Session`]: encrypts and decrypts TLS records with those keys, end to end with the peer; TLS 1.3 and TLS 1.2, as
//!   client or server.
//! - `agent` (feature `std`): both, with sockets, files and a clock, for Linux; the command `keyferry-terminal`.
//!
//! The first two are sans-IO: bytes, time and randomness are arguments. No public-key code is linked, which
//! `tests/no_public_key.rs` proves over the dependency tree.
//!
//! # Memory
//! Printed by `cargo test -p keyferry-terminal --test memory -- --nocapture`; on a 64-bit machine, where pointers and the
//! AES key schedules are larger than on a small device:
//! - a [`Session`]: 240 bytes, 1472 bytes of keys on the heap (TLS 1.2: less), and a buffer for one received record, which
//!   grows to the peer's largest record (16.6 KB at most, 18.5 KB in TLS 1.2) and holds ciphertext and plaintext in turn;
//! - a [`client::Terminal`]: 1088 bytes, its channel included, some 250 bytes for each request under way, and 40 bytes for
//!   each session that it remembers (as many as requests may be under way, at least 16). A handshake in assisted mode
//!   takes 300 bytes more, and up to eight pieces of the peer's bytes, 1 KB each, that are on their way.
//!
//! Flash: see `size/` beside this crate; 103 KB on a Cortex-M4 with everything in it.
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod aead;
#[cfg(feature = "std")]
pub mod agent;
pub mod client;
mod connection;
mod fault;
mod record;
mod session;
pub mod tls12;
pub mod tls13;

pub use fault::{Fault, HandoverRefused};
pub use session::{Event, Session};

pub use keyferry_channel as channel;
pub use keyferry_channel::Instant;
pub use keyferry_parsers::messages;

#[cfg(test)]
mod samples;
