//! The key schedules against published known answers and against what another implementation logged. Every case of
//! every file counts; a section or a label that is not understood fails. tests/vectors/README.md has the origins.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a file that cannot be read or understood is a failed test"
)]

mod vectors {
    pub mod capture;
    pub mod fax;
    pub mod ikev1;
    pub mod ikev2;
    pub mod logged;
    pub mod nist;
    pub mod tls;
}
