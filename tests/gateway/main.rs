//! The gateway as a whole, in memory and in virtual time: one behaviour a file, one program, so that it is
//! linked once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy takes what stands outside a #[test] function for production code"
)]

mod world;

mod floods;
mod forbidden;
mod forward_secrecy;
mod handover;
mod learnt_addresses;
mod lossy;
mod refused_peers;
mod replay;
mod revoked;
#[cfg(feature = "daemon")]
mod secrets;
mod store;
mod strangers;
mod tcp_first;
mod wrong_terminal;
