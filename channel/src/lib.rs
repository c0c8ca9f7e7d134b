//! The channel between a terminal and its gateway: CoAP over UDP (RFC 7252), protected by OSCORE (RFC 8613) under a key
//! that advances one way. Both ends are client and server and use the same [`Endpoint`].
//!
//! The data path, from the wire inwards and back:
//!
//! ```text
//! datagram -> coap -> oscore::option -> epoch (which key?) -> oscore::protect -> replay -> block -> Event
//! Input    -> outbound or inbound -> block -> oscore::protect -> coap -> exchange (retransmission) -> Transmit
//! ```
//!
//! Nothing here opens a socket, reads a clock or draws randomness: time, bytes and a seed are arguments. One door in
//! ([`Endpoint::handle_input`]), one door out ([`Endpoint::poll_output`]). Only symmetric cryptography is linked.
//!
//! `PROTOCOL.md` beside this crate says what goes over the wire, complete enough to write another terminal from it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod block;
pub mod coap;
mod endpoint;
mod epoch;
mod event;
mod exchange;
mod inbound;
mod oscore;
mod outbound;
mod replay;
mod seed;
mod short;
mod state;
mod time;

pub use coap::{Code, Method};
pub use endpoint::{Endpoint, Settings};
pub use epoch::ChannelKey;
pub use event::{Event, ExchangeId, Failure, Input, Output, Refused, RequestId};
pub use oscore::{Id, IdLength, Peek, peek};
pub use state::{Previous, State, StateError};
pub use time::Instant;
