//! The only sockets, clocks, files, threads and, in `path`, unsafe code. Everything below takes what it
//! needs as arguments; everything above asks for it here.
#![allow(clippy::disallowed_methods, reason = "the clocks are read here so that they need not be read below")]

pub mod admin;
pub mod clock;
pub mod files;
pub mod harden;
pub mod host;
pub mod keylog;
pub mod path;
pub mod pcap;
pub mod persist;
pub mod report;
pub mod resolver;
pub mod revocation;
pub mod signer;
pub mod slots;
pub mod socket;
pub mod store;
pub mod udp;
pub mod workers;
