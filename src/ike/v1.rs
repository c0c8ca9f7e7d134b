//! IKEv1: ISAKMP (RFC 2408), its key exchange (RFC 2409) and the IPsec domain of interpretation (RFC 2407).

pub mod algorithms;
pub mod keymat;
pub mod protect;
