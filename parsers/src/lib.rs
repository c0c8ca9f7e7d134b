//! Wire formats of keyferry: bytes to messages and back.
//!
//! The first and the last station of the data path: what a socket delivers is parsed here before anything else looks
//! at it, and what leaves is emitted here. No state, no policy and no cryptography; all input is hostile.
//!
//! - [`ike`]: ISAKMP, IKEv1 and IKEv2.
//! - [`messages`]: the CBOR payloads of the channel between terminal and gateway.
//! - [`tls`]: the TLS record layer and the TLS 1.3 handshake messages.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod error;
pub mod ike;
#[cfg(test)]
mod mangle;
pub mod messages;
mod registry;
pub mod tls;

pub use error::{EmitError, Fault, ParseError};
