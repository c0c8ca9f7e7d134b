//! TLS 1.3 after the handshake: KeyUpdate, tickets, close_notify, from traffic secrets that a gateway handed over.
//!
//! Data path: TCP bytes -> `record` (framing) -> `keys` (AEAD) -> `session` (what the record means) -> plaintext.

mod keys;
mod post_handshake;
mod session;

pub use crate::fault::{Fault, HandoverRefused};
pub use crate::session::Event;
pub use keyferry_parsers::tls::AlertDescription;
pub use session::Session;
