//! keyferry: a gateway that performs the key exchange of TLS (and, to come, IKE) for devices too small
//! to do it, hands them the session keys over a secured channel and forwards only ciphertext.
//!
//! The data path, top to bottom; imports only point down:
//!
//! ```text
//! cli       what was typed
//! config    what it means
//! daemon    the live driver: sockets, clock and threads around one gateway
//! replay    the captured driver: what a capture file tells of handshakes
//! io        the only sockets, clocks, files, threads and unsafe code
//! gateway   sans-IO heart: admission, offers, flows, hand-over
//! ike  tls  terminals
//! policy    who may talk to whom, and what the other must prove
//! signer    who a terminal is, and what is signed in its name
//! crypto    one facade over the libraries
//! packet    IP, UDP and TCP of captured frames
//! stats  error  hex
//! ```
//!
//! Everything from `gateway` down takes time, bytes and randomness as arguments and builds without
//! the feature `daemon`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![deny(unsafe_code)]

pub mod crypto;
pub mod error;
pub mod gateway;
pub mod hex;
pub mod ike;
pub mod packet;
pub mod policy;
pub mod signer;
pub mod stats;
pub mod terminals;
pub mod tls;

#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod io;
#[cfg(feature = "daemon")]
pub mod replay;
