//! The gateway between real hosts and unmodified TLS servers, in network namespaces. All of it needs the right to make
//! those, so every test is ignored by plain `cargo test` and run by `cargo xtask test peers`.

#![allow(clippy::print_stderr, reason = "a failing test shows what the lab's programs logged")]
#![allow(clippy::disallowed_methods, reason = "these tests run in real time")]

mod harness;
mod packets;

mod bulk;
mod key_update;
mod link_traffic;
mod nginx;
mod servers;
mod two_terminals;
