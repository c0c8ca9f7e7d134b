//! IKEv2 (RFC 7296), with fragmentation (RFC 7383), signature authentication (RFC 7427) and several key exchanges
//! (RFC 9370).
//!
//! What is encrypted in a [`Message`] is in its last payload; once decrypted and freed of padding, [`Payload::parse_all`]
//! reads it.

mod authentication;
mod configuration;
mod eap;
mod encrypted;
mod identification;
mod key_exchange;
mod notify;
mod registries;
mod security_association;
mod traffic_selector;

use alloc::vec::Vec;

pub use authentication::{Authentication, DigitalSignature};
pub use configuration::{Configuration, ConfigurationAttribute};
pub use eap::Eap;
pub use encrypted::{Encrypted, EncryptedFragment};
pub use identification::Identification;
pub use key_exchange::KeyExchange;
pub use notify::{Delete, Notify};
pub use registries::{
    AuthenticationMethod, ConfigAttribute, ConfigType, EapCode, EapType, Encr, HashAlgorithm, IdType, Integ,
    NotifyType, Prf, ProtocolId, SequenceNumbers, TransformAttribute, TransformType, TsType,
};
pub use security_association::{Algorithm, Proposal, SecurityAssociation, Transform};
pub use traffic_selector::{AddressPair, AddressRange, TrafficSelector, TrafficSelectors};

use super::chain::{Chain, RawPayload};
use super::header::emit;
use super::wire::put_sized;
use super::{Certificate, CertificateRequest, Header, PayloadType, RawMessage, Version};
use crate::{EmitError, Fault, ParseError};

/// A message of IKEv2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The header.
    pub header: Header,
    /// The payloads; what is encrypted is in the last.
    pub payloads: Vec<Payload<'a>>,
}

impl<'a> Message<'a> {
    /// Reads exactly one message; of a datagram from port 4500, without the non-ESP marker.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        Self::from_raw(&RawMessage::parse(bytes)?)
    }

    /// Takes the body apart.
    pub fn from_raw(raw: &RawMessage<'a>) -> Result<Self, ParseError> {
        if raw.header.version.major() != Version::V2.major() {
            return Err(ParseError { place: "Header.version", fault: Fault::Illegal });
        }
        let payloads = raw.payloads().parse_all("Message", Payload::from_raw)?;
        Ok(Self { header: raw.header, payloads })
    }

    /// Writes the message.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        emit(&self.header, first(&self.payloads), out, |out| Payload::emit_all(&self.payloads, out))
    }

    /// The encrypted payload, if there is one.
    pub fn encrypted(&self) -> Option<Encrypted<'a>> {
        match self.payloads.last()?.body {
            Body::Encrypted(encrypted) => Some(encrypted),
            _ => None,
        }
    }
}

/// The type of the first payload: what a header or an encrypted payload says before it.
pub fn first(payloads: &[Payload<'_>]) -> PayloadType {
    payloads.first().map_or(PayloadType::NONE, |payload| payload.body.payload_type())
}

/// A payload: what it says, and the one byte of its header that does not follow from that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// Of the generic header: the critical bit, and seven that are zero.
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
    /// The critical bit in [`Payload::reserved`].
    pub const CRITICAL: u8 = 0x80;

    /// Whether the message is to be refused if the payload's type is not understood.
    pub const fn is_critical(&self) -> bool {
        self.reserved & Self::CRITICAL != 0
    }

    /// Reads decrypted payloads without their padding, the first of which is of type `first`.
    pub fn parse_all(first: PayloadType, decrypted: &'a [u8]) -> Result<Vec<Self>, ParseError> {
        Chain::v2(first, decrypted).parse_all("Encrypted", Self::from_raw)
    }

    /// Takes the body apart.
    pub fn from_raw(raw: RawPayload<'a>) -> Result<Self, ParseError> {
        let body = match raw.payload_type {
            PayloadType::V2_SK => Body::Encrypted(Encrypted { first: raw.next_payload, data: raw.body }),
            PayloadType::V2_SKF => Body::EncryptedFragment(EncryptedFragment::parse(raw.next_payload, raw.body)?),
            payload_type => Body::parse(payload_type, raw.body)?,
        };
        Ok(Self { reserved: raw.reserved, body })
    }

    /// Writes payloads one after the other, without padding: what is encrypted.
    pub fn emit_all(payloads: &[Self], out: &mut Vec<u8>) -> Result<(), EmitError> {
        let mut rest = payloads;
        while let [payload, following @ ..] = rest {
            let next = match &payload.body {
                Body::Encrypted(encrypted) => encrypted.first,
                Body::EncryptedFragment(fragment) => fragment.first,
                _ => first(following),
            };
            put_sized(out, "Payload.length", [next.0, payload.reserved], |out| payload.body.emit(out))?;
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
    /// KE: a public value.
    KeyExchange(KeyExchange<'a>),
    /// IDi: who the initiator is.
    IdI(Identification<'a>),
    /// IDr: who the responder is, or should be.
    IdR(Identification<'a>),
    /// CERT: a certificate.
    Certificate(Certificate<'a>),
    /// CERTREQ: the wish for a certificate.
    CertificateRequest(CertificateRequest<'a>),
    /// AUTH: proof of an identity.
    Authentication(Authentication<'a>),
    /// Ni, Nr: random bytes (RFC 7296 section 3.9).
    Nonce(&'a [u8]),
    /// N: news about an SA, or what the sender can do.
    Notify(Notify<'a>),
    /// D: SAs that go.
    Delete(Delete<'a>),
    /// V: who made the sender: see [`vendor_name`](crate::ike::vendor_name).
    VendorId(&'a [u8]),
    /// TSi: the traffic at the initiator's end.
    TsI(TrafficSelectors<'a>),
    /// TSr: the traffic at the responder's end.
    TsR(TrafficSelectors<'a>),
    /// SK: encrypted payloads.
    Encrypted(Encrypted<'a>),
    /// SKF: a piece of encrypted payloads.
    EncryptedFragment(EncryptedFragment<'a>),
    /// CP: configuration.
    Configuration(Configuration<'a>),
    /// EAP: authentication by another protocol.
    Eap(Eap<'a>),
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
            Self::SecurityAssociation(_) => PayloadType::V2_SA,
            Self::KeyExchange(_) => PayloadType::V2_KE,
            Self::IdI(_) => PayloadType::V2_IDI,
            Self::IdR(_) => PayloadType::V2_IDR,
            Self::Certificate(_) => PayloadType::V2_CERT,
            Self::CertificateRequest(_) => PayloadType::V2_CERTREQ,
            Self::Authentication(_) => PayloadType::V2_AUTH,
            Self::Nonce(_) => PayloadType::V2_NONCE,
            Self::Notify(_) => PayloadType::V2_N,
            Self::Delete(_) => PayloadType::V2_D,
            Self::VendorId(_) => PayloadType::V2_V,
            Self::TsI(_) => PayloadType::V2_TSI,
            Self::TsR(_) => PayloadType::V2_TSR,
            Self::Encrypted(_) => PayloadType::V2_SK,
            Self::EncryptedFragment(_) => PayloadType::V2_SKF,
            Self::Configuration(_) => PayloadType::V2_CP,
            Self::Eap(_) => PayloadType::V2_EAP,
            Self::Other { payload_type, .. } => *payload_type,
        }
    }

    /// Reads the body of a payload of that type, without its generic header. Of SK and SKF, which need that header,
    /// [`Payload::from_raw`] reads more than this.
    pub fn parse(payload_type: PayloadType, bytes: &'a [u8]) -> Result<Self, ParseError> {
        match payload_type {
            PayloadType::V2_SA => SecurityAssociation::parse(bytes).map(Self::SecurityAssociation),
            PayloadType::V2_KE => KeyExchange::parse(bytes).map(Self::KeyExchange),
            PayloadType::V2_IDI => Identification::parse(bytes).map(Self::IdI),
            PayloadType::V2_IDR => Identification::parse(bytes).map(Self::IdR),
            PayloadType::V2_CERT => Certificate::parse(bytes).map(Self::Certificate),
            PayloadType::V2_CERTREQ => CertificateRequest::parse(bytes).map(Self::CertificateRequest),
            PayloadType::V2_AUTH => Authentication::parse(bytes).map(Self::Authentication),
            PayloadType::V2_NONCE => Ok(Self::Nonce(bytes)),
            PayloadType::V2_N => Notify::parse(bytes).map(Self::Notify),
            PayloadType::V2_D => Delete::parse(bytes).map(Self::Delete),
            PayloadType::V2_V => Ok(Self::VendorId(bytes)),
            PayloadType::V2_TSI => TrafficSelectors::parse(bytes).map(Self::TsI),
            PayloadType::V2_TSR => TrafficSelectors::parse(bytes).map(Self::TsR),
            PayloadType::V2_CP => Configuration::parse(bytes).map(Self::Configuration),
            PayloadType::V2_EAP => Eap::parse(bytes).map(Self::Eap),
            _ => Ok(Self::Other { payload_type, data: bytes }),
        }
    }

    /// Writes the body without its generic header: `RestOfInitIDPayload` and the like of RFC 7296 section 2.15.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        match self {
            Self::SecurityAssociation(payload) => return payload.emit(out),
            Self::Notify(payload) => return payload.emit(out),
            Self::Delete(payload) => return payload.emit(out),
            Self::TsI(payload) | Self::TsR(payload) => return payload.emit(out),
            Self::Configuration(payload) => return payload.emit(out),
            Self::Eap(payload) => return payload.emit(out),
            Self::KeyExchange(payload) => payload.emit(out),
            Self::IdI(payload) | Self::IdR(payload) => payload.emit(out),
            Self::Certificate(payload) => payload.emit(out),
            Self::CertificateRequest(payload) => payload.emit(out),
            Self::Authentication(payload) => payload.emit(out),
            Self::EncryptedFragment(payload) => payload.emit(out),
            Self::Encrypted(Encrypted { data, .. })
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
    use alloc::vec;

    /// The payload survives emitting and parsing, and whatever is done to it does not panic: what still parses is emitted
    /// byte for byte.
    pub(crate) fn survives(body: Body<'_>) {
        let payloads = vec![Payload::from(body)];
        let first = first(&payloads);
        let bytes = emitted(&payloads);
        assert_eq!(Payload::parse_all(first, &bytes), Ok(payloads));
        mangle(&bytes, |mangled| {
            if let Ok(parsed) = Payload::parse_all(first, mangled) {
                assert_eq!(emitted(&parsed), mangled);
            }
        });
        // With a header that agrees, so that the body's own parser meets the end.
        for length in 4..bytes.len() {
            let mut cut = bytes[..length].to_vec();
            cut[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            if let Ok(parsed) = Payload::parse_all(first, &cut) {
                assert_eq!(emitted(&parsed), cut);
            }
        }
    }

    pub(crate) fn emitted(payloads: &[Payload<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        Payload::emit_all(payloads, &mut out).unwrap();
        out
    }
}

#[cfg(test)]
mod tests;
