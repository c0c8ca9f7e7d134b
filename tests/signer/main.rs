//! The signer in this process: what it signs, and all that it does not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests are tests")]

mod good;
mod hostile;
mod imports;
mod mutations;
mod transcripts;
mod world;
