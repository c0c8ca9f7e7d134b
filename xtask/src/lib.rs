//! The lab: a plant in network namespaces on one machine, with real peers. The interop tests of the
//! root package and `cargo xtask demo` are built on it.
//!
//! ```text
//!   terminal  10.7.1.2 --- term0 --- gateway --- uplink --- 10.7.2.2  peer
//!   second    10.7.3.2 --- term1 ---
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the lab runs in real time")]

pub mod lab;
pub mod packages;
