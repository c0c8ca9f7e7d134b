//! The captured driver: a capture file through the same parsers and key schedules as live traffic, in the capture's own
//! time, into an account of every handshake in it.
//!
//! ```text
//! io::pcap  ->  packet  ->  tls, ike (trackers)  ->  account  ->  text, ladder, JSON
//! ```

pub mod account;
pub mod ike;
pub mod ike_secrets;
