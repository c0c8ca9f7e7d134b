//! The gateway between real hosts and unmodified TLS servers, in network namespaces. All of it needs the right to make
//! those, so every test is ignored by plain `cargo test` and run by `cargo xtask test peers`.

#![allow(clippy::print_stderr, reason = "a failing test shows what the lab's programs logged")]
#![allow(clippy::indexing_slicing, reason = "a figure that is missing fails the test")]
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

mod harness;
mod knock;
mod packets;
mod serving;

mod aiocoap;
mod assisted;
mod behind_nat;
mod bulk;
mod callers_flood;
mod client_certificates;
mod client_hellos;
mod clients;
mod closed;
mod early;
mod flood;
mod flush;
mod forbidden;
mod hostile_hellos;
mod key_update;
mod link_traffic;
mod mutual;
mod narrow;
mod nginx;
mod refusals;
mod renegotiation;
mod restart;
mod resumption;
mod revocation_lists;
mod revoke;
mod servers;
mod service_bulk;
mod service_restart;
mod spoofing;
mod tcp_first;
mod two_terminals;
mod unserved;
