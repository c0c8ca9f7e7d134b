//! TLS: the record layer and the handshake messages of TLS 1.3 (RFC 8446) and 1.2 ([`tls12`]), and the hellos of its
//! relatives: [`dtls`] and [`ssl2`].
//!
//! The data path: a reader learns from [`RecordHeader`] how many bytes to take, [`Record`] takes them apart, and
//! [`Handshake`] reads the messages inside. Messages borrow from the bytes they were parsed from; what is hashed or
//! signed stays available as it came ([`Handshake::raw`]). Emitting what was parsed gives the same bytes.
//!
//! Only what the standard says about a message alone is checked here; what it may contain at that point of a handshake
//! is for the engine.

mod alert;
mod certificate;
mod certificate_request;
mod certificate_verify;
mod cipher_suite;
mod client_hello;
pub mod dtls;
mod encrypted_extensions;
mod extension;
mod finished;
mod handshake;
mod key_update;
mod new_session_ticket;
mod raw_hello;
mod record;
mod registries;
mod server_hello;
pub mod ssl2;
pub mod tls12;
mod wire;

pub use alert::{Alert, AlertDescription, AlertLevel};
pub use certificate::{Certificate, CertificateEntry};
pub use certificate_request::CertificateRequest;
pub use certificate_verify::CertificateVerify;
pub use cipher_suite::CipherSuite;
pub use client_hello::ClientHello;
pub use encrypted_extensions::EncryptedExtensions;
pub use extension::{
    EcPointFormat, Extension, ExtensionType, KeyShareEntry, PskKeyExchangeMode, ServerName, StatusRequest,
};
pub use finished::Finished;
pub use handshake::{Handshake, HandshakeType, Message};
pub use key_update::{KeyUpdate, KeyUpdateRequest};
pub use new_session_ticket::NewSessionTicket;
pub use raw_hello::RawClientHello;
pub use record::{ContentType, Record, RecordHeader};
pub use registries::{NamedGroup, ProtocolVersion, SignatureScheme};
pub use server_hello::ServerHello;
