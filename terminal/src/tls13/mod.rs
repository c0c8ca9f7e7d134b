//! TLS 1.3 after the handshake: records, KeyUpdate, close_notify, from keys that a gateway handed over.
//!
//! Data path: TCP bytes -> `record` (framing) -> `keys` (AEAD) -> `session` (what the record means) -> plaintext.

mod fault;
mod keys;
mod post_handshake;
mod record;
mod session;

pub use fault::Fault;
pub use keyferry_parsers::tls::AlertDescription;
pub use session::{Event, HandoverRefused, Session};
