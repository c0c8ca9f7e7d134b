//! The key schedules against published known answers and against what another implementation logged. Every case of
//! every file counts; a section or a label that is not understood fails. tests/vectors/README.md has the origins.

mod vectors {
    pub mod capture;
    pub mod fax;
    pub mod ikev1;
    pub mod ikev2;
    pub mod logged;
    pub mod nist;
}
