//! IKE: the messages of ISAKMP and IKEv1 ([`v1`]) and of IKEv2 ([`v2`]).
//!
//! The data path: [`looks_like_ike`] and [`strip_non_esp_marker`] pick datagrams, [`RawMessage`] cuts one at the header
//! that both versions share, [`v1::Message`] or [`v2::Message`] takes it apart. A [`Chain`] goes through payloads without
//! looking inside, also where a message is broken further on. Messages borrow from the bytes they were parsed from.
//!
//! Emitting what was parsed gives the same bytes, so that what a HASH, a signature or an AUTH covers can be emitted
//! again; reserved fields are kept for that reason. What may be in a message is for [`rules`]; what it means there is for
//! the engines.

mod attribute;
mod certificate;
mod chain;
mod header;
mod identity;
mod proposal;
mod registries;
pub mod rules;
mod spi;
pub mod v1;
pub mod v2;
mod vendor_id;
mod wire;

pub use attribute::{Attribute, AttributeValue};
pub use certificate::{Certificate, CertificateRequest};
pub use chain::{Chain, RawPayload};
pub use header::{Flags, Header, RawMessage, Version, looks_like_ike, strip_non_esp_marker};
pub use identity::Identity;
pub use registries::{CertificateEncoding, ExchangeType, Group, PayloadType};
pub use vendor_id::vendor_name;
