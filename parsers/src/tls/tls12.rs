//! The handshake messages that TLS 1.2 has alone, or in another form than TLS 1.3 (RFC 5246, RFC 8422, RFC 5077).
//!
//! [`Handshake::parse_as`](super::Handshake::parse_as) reads them. The hellos and CertificateVerify look alike in both
//! versions, and HelloRequest and ServerHelloDone have no content.

mod certificate;
mod certificate_request;
mod certificate_status;
mod client_key_exchange;
mod new_session_ticket;
mod server_key_exchange;

pub use certificate::Certificate;
pub use certificate_request::{CertificateRequest, ClientCertificateType};
pub use certificate_status::{CertificateStatus, CertificateStatusType};
pub use client_key_exchange::ClientKeyExchange;
pub use new_session_ticket::NewSessionTicket;
pub use server_key_exchange::{EcCurveType, ServerEcdhParams, ServerKeyExchange};
