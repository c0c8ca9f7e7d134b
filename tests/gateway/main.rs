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

mod assisted;
mod assisted_abuse;
mod assisted_failures;
mod assisted_hostile;
mod callers;
mod floods;
mod forbidden;
mod forward_secrecy;
mod handover;
mod hostile_requests;
mod inbound_floods;
mod inbound_revoked;
mod learnt_addresses;
mod lossy;
mod own_certificates;
mod reaching;
mod refused_peers;
mod replay;
mod resumption;
mod revocation_lists;
mod revoked;
#[cfg(feature = "daemon")]
mod secrets;
mod served;
mod shared_listeners;
mod store;
mod strangers;
mod tcp_first;
mod tls12;
mod uninvited;
mod workers;
mod wrong_terminal;
