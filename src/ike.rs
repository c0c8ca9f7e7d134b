//! IKE (RFC 2409 and RFC 7296): so far its key schedules and the protection of its messages, as pure functions.
//!
//! They stand between whoever follows a handshake and `crypto`. Everything is the RFCs' own: what they write as a
//! formula is a function here, and its arguments have the names that they have there.
//!
//! ```text
//! v1, v2      algorithms  which numbers on the wire mean which algorithm
//!             keymat      from the Diffie-Hellman secret to every key, HASH and AUTH
//!             protect     opens and seals encrypted messages
//! encryption  what encrypts a message or ESP packets
//! esp         how KEYMAT becomes the keys of an IPsec SA
//! ```

mod encryption;
mod esp;
mod padding;
pub mod v1;
pub mod v2;

pub use encryption::Encryption;
pub use esp::{EspKeyLengths, EspKeys};
