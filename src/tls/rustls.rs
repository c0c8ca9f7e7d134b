//! [`Handshake`](super::Handshake) by rustls 0.23: the only module that names its types.
//!
//! Two things rustls does not offer, and how they are had all the same:
//!
//! * It gives up the record keys of a finished handshake, but at the cost of deriving them again, and a TLS 1.3
//!   terminal needs the *traffic secrets* they come from, to do KeyUpdate by itself. `capture` catches those with a key
//!   log that belongs to one session; `watch` sees which keys rustls uses, and for how many records. `export` hands over
//!   only what both agree on.
//! * It lets a signer see a digest, but ours signs only what it was given whole. `transcript` keeps what
//!   rustls hashes; `current` brings it to `identity`, which asks the signer.
//!
//! | | |
//! |---|---|
//! | `client`, `server` | from profile and wish to a configured connection |
//! | `session`, `wire` | records in, records out |
//! | `verifier`, `client_verifier` | who the peer is |
//! | `refusal` | what went wrong, and what to change |
//! | `tickets` | resumption |

mod algorithms;
mod capture;
mod client;
mod client_verifier;
mod current;
mod export;
mod identity;
mod refusal;
mod server;
mod session;
mod tickets;
mod transcript;
mod verifier;
mod watch;
mod wire;

pub use client::Client;
pub use server::Service;
pub use tickets::Tickets;
