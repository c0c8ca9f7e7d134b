//! The gateway between real hosts and unmodified TLS servers, in network namespaces. All of it needs the right to make
//! those, so every test is ignored by plain `cargo test` and run by `cargo xtask test peers`.

#![allow(clippy::print_stderr, reason = "a failing test shows what the lab's programs logged")]
#![allow(clippy::indexing_slicing, reason = "a figure that is missing fails the test")]
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

mod harness;
mod knock;
mod packets;

mod aiocoap;
mod bulk;
mod closed;
mod early;
mod flood;
mod flush;
mod forbidden;
mod key_update;
mod link_traffic;
mod narrow;
mod nginx;
mod refusals;
mod restart;
mod revoke;
mod servers;
mod spoofing;
mod tcp_first;
mod two_terminals;
