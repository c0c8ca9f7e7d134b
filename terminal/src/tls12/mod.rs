//! TLS 1.2 after the handshake: records from write keys that a gateway handed over, no renegotiation, close_notify.
//!
//! Data path: TCP bytes -> `record` (framing) -> `keys` (AEAD) -> `session` (what the record means) -> plaintext.

mod keys;
mod renegotiation;
mod session;

pub use crate::fault::{Fault, HandoverRefused};
pub use crate::session::Event;
pub use keyferry_parsers::tls::AlertDescription;
pub use session::Session;
