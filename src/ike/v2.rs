//! IKEv2 (RFC 7296).

pub mod algorithms;
pub mod keymat;
pub mod protect;
