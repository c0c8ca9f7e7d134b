//! IKEv1: ISAKMP (RFC 2408) with the IPsec DOI (RFC 2407) and IKE (RFC 2409), NAT traversal (RFC 3947), and what was used
//! without ever being standardised: the Configuration Method, XAUTH and fragments.
//!
//! A [`Message`] whose encryption flag is set holds ciphertext; once decrypted, [`Payload::parse_all`] reads it.

mod fragment;
mod identification;
mod mode_config;
mod nat_traversal;
mod notification;
mod registries;
mod security_association;

use alloc::vec::Vec;

pub use fragment::Fragment;
pub use identification::Identification;
pub use mode_config::Attributes;
pub use nat_traversal::{NatDiscovery, NatOriginalAddress};
pub use notification::{Delete, Notification};
pub use registries::{
    AhTransform, AuthenticationAlgorithm, AuthenticationMethod, ConfigAttribute, ConfigType, Doi, EncapsulationMode,
    EncryptionAlgorithm, EspTransform, HashAlgorithm, IdType, IpcompTransform, IpsecAttribute, IsakmpTransform,
    LifeType, NotifyType, Phase1Attribute, ProtocolId,
};
pub use security_association::{Ipsec, Lifetime, Phase1, Proposal, SecurityAssociation, Situation, Transform};

use super::chain::{Chain, RawPayload};
use super::header::emit;
use super::wire::put_sized;
use super::{Certificate, CertificateRequest, Flags, Header, PayloadType, RawMessage, Version};
use crate::{EmitError, Fault, ParseError};

/// A message of IKEv1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The header. Emitting a message sets or clears its encryption flag as the content is; in a fragment it stays.
    pub header: Header,
    /// What follows it.
    pub content: Content<'a>,
}

/// What a message consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Payloads that anyone can read.
    Clear(Vec<Payload<'a>>),
    /// The encryption flag is set, and it is no fragment.
    Encrypted {
        /// The type of the first payload inside, which is not encrypted.
        first: PayloadType,
        /// The payloads and their padding, encrypted.
        ciphertext: &'a [u8],
    },
}

impl<'a> Message<'a> {
    /// Reads exactly one message; of a datagram from port 4500, without the non-ESP marker.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        Self::from_raw(&RawMessage::parse(bytes)?)
    }

    /// Takes the body apart.
    pub fn from_raw(raw: &RawMessage<'a>) -> Result<Self, ParseError> {
        if raw.header.version.major() != Version::V1.major() {
            return Err(ParseError { place: "Header.version", fault: Fault::Illegal });
        }
        let content = if raw.is_encrypted() {
            Content::Encrypted { first: raw.next_payload, ciphertext: raw.body }
        } else {
            Content::Clear(raw.payloads().parse_all("Message", Payload::from_raw)?)
        };
        Ok(Self { header: raw.header, content })
    }

    /// Writes the message.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        match &self.content {
            Content::Clear(payloads) => {
                let first = first(payloads);
                let flags = match first {
                    PayloadType::FRAGMENT => self.header.flags,
                    _ => self.header.flags.without(Flags::ENCRYPTION),
                };
                emit(&Header { flags, ..self.header }, first, out, |out| Payload::emit_all(payloads, out))
            }
            Content::Encrypted { first, ciphertext } => {
                let header = Header { flags: self.header.flags.with(Flags::ENCRYPTION), ..self.header };
                RawMessage { header, next_payload: *first, body: ciphertext }.emit(out)
            }
        }
    }

    /// The payloads, unless they are encrypted.
    pub fn payloads(&self) -> Option<&[Payload<'a>]> {
        match &self.content {
            Content::Clear(payloads) => Some(payloads),
            Content::Encrypted { .. } => None,
        }
    }
}

/// The type of the first payload: what a header or [`Payload::parse_all`] says before it.
pub fn first(payloads: &[Payload<'_>]) -> PayloadType {
    payloads.first().map_or(PayloadType::NONE, |payload| payload.body.payload_type())
}

/// A payload: what it says, and the one byte of its header that does not follow from that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// Of the generic header; zero.
    pub reserved: u8,
    /// What it says.
    pub body: Body<'a>,
}

impl<'a> From<Body<'a>> for Payload<'a> {
    fn from(body: Body<'a>) -> Self {
        Self { reserved: 0, body }
    }
}

impl<'a> Payload<'a> {
    /// Reads the payloads of a decrypted message, the first of which is of type `first`, and gives the padding behind
    /// them.
    pub fn parse_all(first: PayloadType, decrypted: &'a [u8]) -> Result<(Vec<Self>, &'a [u8]), ParseError> {
        Chain::v1(first, decrypted).parse(Self::from_raw)
    }

    /// Takes the body apart.
    pub fn from_raw(raw: RawPayload<'a>) -> Result<Self, ParseError> {
        Ok(Self { reserved: raw.reserved, body: Body::parse(raw.payload_type, raw.body)? })
    }

    /// Writes payloads one after the other, without padding: what is encrypted, and what HASH payloads cover.
    pub fn emit_all(payloads: &[Self], out: &mut Vec<u8>) -> Result<(), EmitError> {
        let mut rest = payloads;
        while let [payload, following @ ..] = rest {
            let head = [first(following).0, payload.reserved];
            put_sized(out, "Payload.length", head, |out| payload.body.emit(out))?;
            rest = following;
        }
        Ok(())
    }
}

/// What a payload says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// SA: algorithms, offered or chosen.
    SecurityAssociation(SecurityAssociation<'a>),
    /// KE: a Diffie-Hellman public value (RFC 2408 section 3.7).
    KeyExchange(&'a [u8]),
    /// ID: who the sender is, or which traffic is meant.
    Identification(Identification<'a>),
    /// CERT: a certificate.
    Certificate(Certificate<'a>),
    /// CR: the wish for a certificate.
    CertificateRequest(CertificateRequest<'a>),
    /// HASH: proof of the keys (RFC 2408 section 3.11).
    Hash(&'a [u8]),
    /// SIG: proof of a private key (RFC 2408 section 3.12).
    Signature(&'a [u8]),
    /// NONCE: random bytes (RFC 2408 section 3.13).
    Nonce(&'a [u8]),
    /// N: news about an SA.
    Notification(Notification<'a>),
    /// D: SAs that are gone.
    Delete(Delete<'a>),
    /// VID: who made the sender, or what it can do: see [`vendor_name`](crate::ike::vendor_name).
    VendorId(&'a [u8]),
    /// ATTR: configuration and XAUTH.
    Attributes(Attributes<'a>),
    /// NAT-D: an address as the sender sees it, hashed.
    NatDiscovery(NatDiscovery<'a>),
    /// NAT-OA: an address before translation.
    NatOriginalAddress(NatOriginalAddress<'a>),
    /// A piece of a message.
    Fragment(Fragment<'a>),
    /// Any other.
    Other {
        /// Its type.
        payload_type: PayloadType,
        /// Its body.
        data: &'a [u8],
    },
}

impl<'a> Body<'a> {
    /// The type that the header before it names.
    pub const fn payload_type(&self) -> PayloadType {
        match self {
            Self::SecurityAssociation(_) => PayloadType::SA,
            Self::KeyExchange(_) => PayloadType::KE,
            Self::Identification(_) => PayloadType::ID,
            Self::Certificate(_) => PayloadType::CERT,
            Self::CertificateRequest(_) => PayloadType::CR,
            Self::Hash(_) => PayloadType::HASH,
            Self::Signature(_) => PayloadType::SIG,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notification(_) => PayloadType::N,
            Self::Delete(_) => PayloadType::D,
            Self::VendorId(_) => PayloadType::VID,
            Self::Attributes(_) => PayloadType::ATTR,
            Self::NatDiscovery(payload) => payload.payload_type(),
            Self::NatOriginalAddress(payload) => payload.payload_type(),
            Self::Fragment(_) => PayloadType::FRAGMENT,
            Self::Other { payload_type, .. } => *payload_type,
        }
    }

    /// Reads the body of a payload of that type, without its generic header.
    pub fn parse(payload_type: PayloadType, bytes: &'a [u8]) -> Result<Self, ParseError> {
        match payload_type {
            PayloadType::SA => SecurityAssociation::parse(bytes).map(Self::SecurityAssociation),
            PayloadType::KE => Ok(Self::KeyExchange(bytes)),
            PayloadType::ID => Identification::parse(bytes).map(Self::Identification),
            PayloadType::CERT => Certificate::parse(bytes).map(Self::Certificate),
            PayloadType::CR => CertificateRequest::parse(bytes).map(Self::CertificateRequest),
            PayloadType::HASH => Ok(Self::Hash(bytes)),
            PayloadType::SIG => Ok(Self::Signature(bytes)),
            PayloadType::NONCE => Ok(Self::Nonce(bytes)),
            PayloadType::N => Notification::parse(bytes).map(Self::Notification),
            PayloadType::D => Delete::parse(bytes).map(Self::Delete),
            PayloadType::VID => Ok(Self::VendorId(bytes)),
            PayloadType::ATTR => Attributes::parse(bytes).map(Self::Attributes),
            PayloadType::NAT_D | PayloadType::NAT_D_DRAFT => {
                let draft = payload_type == PayloadType::NAT_D_DRAFT;
                Ok(Self::NatDiscovery(NatDiscovery { draft, hash: bytes }))
            }
            PayloadType::NAT_OA | PayloadType::NAT_OA_DRAFT => {
                let draft = payload_type == PayloadType::NAT_OA_DRAFT;
                NatOriginalAddress::parse(draft, bytes).map(Self::NatOriginalAddress)
            }
            PayloadType::FRAGMENT => Fragment::parse(bytes).map(Self::Fragment),
            _ => Ok(Self::Other { payload_type, data: bytes }),
        }
    }

    /// Writes the body without its generic header: `SAi_b`, `IDii_b` and the like of RFC 2409.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        match self {
            Self::SecurityAssociation(payload) => return payload.emit(out),
            Self::Notification(payload) => return payload.emit(out),
            Self::Delete(payload) => return payload.emit(out),
            Self::Attributes(payload) => return payload.emit(out),
            Self::Identification(payload) => payload.emit(out),
            Self::Certificate(payload) => payload.emit(out),
            Self::CertificateRequest(payload) => payload.emit(out),
            Self::NatOriginalAddress(payload) => payload.emit(out),
            Self::Fragment(payload) => payload.emit(out),
            Self::NatDiscovery(payload) => out.extend_from_slice(payload.hash),
            Self::KeyExchange(data)
            | Self::Hash(data)
            | Self::Signature(data)
            | Self::Nonce(data)
            | Self::VendorId(data)
            | Self::Other { data, .. } => out.extend_from_slice(data),
        }
        Ok(())
    }
}

/// For the tests of the payloads: what holds for each of them.
#[cfg(test)]
pub(super) mod checks {
    use super::*;
    use crate::mangle::mangle;

    /// The body survives emitting and parsing, and whatever is done to it does not panic: what still parses is emitted
    /// byte for byte.
    pub(crate) fn survives(body: Body<'_>) {
        let payload_type = body.payload_type();
        let mut bytes = Vec::new();
        body.emit(&mut bytes).unwrap();
        assert_eq!(Body::parse(payload_type, &bytes), Ok(body));
        mangle(&bytes, |mangled| {
            if let Ok(parsed) = Body::parse(payload_type, mangled) {
                let mut again = Vec::new();
                parsed.emit(&mut again).unwrap();
                assert_eq!(again, mangled);
            }
        });
    }
}

#[cfg(test)]
mod tests;
