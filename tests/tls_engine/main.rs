//! The TLS engine against a rustls server in memory, and against whatever a hostile path makes of its answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "clippy takes what stands outside a #[test] function for production code"
)]

mod peer;
mod pki;
mod terminal;

mod certificates;
mod client_certificates;
mod clients;
mod established;
mod hostile;
mod hostile_client;
mod hostile_flights;
mod hostile_hello;
mod refused;
mod refused_clients;
mod resumption;
mod revocation;
mod served;
