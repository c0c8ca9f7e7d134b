//! The programs as the operator and scripts see them: output, exit codes, files. Without a gateway; without root, but for
//! the signer process.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests are tests")]

mod certificates;
mod check;
mod help;
mod operator;
mod signer_process;
mod stats;
mod terminals;
