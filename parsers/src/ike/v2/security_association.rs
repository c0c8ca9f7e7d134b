//! The Security Association payload (RFC 7296 section 3.3): proposals, and the transforms to choose from.

use alloc::vec::Vec;

use super::{Encr, Integ, Prf, ProtocolId, SequenceNumbers, TransformAttribute, TransformType};
use crate::ike::chain::{RawPayload, put_structures, structures};
use crate::ike::proposal::{ProposalHead, parse_proposal, put_proposal};
use crate::ike::wire::Reader;
use crate::ike::{Attribute, Group, PayloadType};
use crate::{EmitError, ParseError};

/// What the initiator offers, or the responder chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityAssociation<'a> {
    /// Proposals in order of preference; the response has one.
    pub proposals: Vec<Proposal<'a>>,
}

impl<'a> SecurityAssociation<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        Ok(Self { proposals: structures("SA.proposals", PayloadType::P, bytes, Proposal::parse)? })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        put_structures(out, "SA.proposals", PayloadType::P, &self.proposals, |one| one.reserved, Proposal::emit)
    }
}

/// One protocol with its algorithms: one transform of each type is chosen (RFC 7296 section 3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal<'a> {
    /// Of the substructure's header; zero.
    pub reserved: u8,
    /// Counts the proposals from 1; in a response, which one was chosen.
    pub number: u8,
    /// What the SA is for.
    pub protocol_id: ProtocolId,
    /// The sender's SPI; in IKE_SA_INIT empty.
    pub spi: &'a [u8],
    /// Transforms; within a type in order of preference.
    pub transforms: Vec<Transform<'a>>,
}

impl<'a> Proposal<'a> {
    /// A proposal of that number.
    pub const fn new(number: u8, protocol_id: ProtocolId, spi: &'a [u8], transforms: Vec<Transform<'a>>) -> Self {
        Self { reserved: 0, number, protocol_id, spi, transforms }
    }

    /// The transforms of one type.
    pub fn of_type(&self, transform_type: TransformType) -> impl Iterator<Item = &Transform<'a>> {
        self.transforms.iter().filter(move |transform| transform.transform_type == transform_type)
    }

    fn parse(structure: RawPayload<'a>) -> Result<Self, ParseError> {
        let (head, transforms) = parse_proposal(structure.body, Transform::parse)?;
        let protocol_id = ProtocolId(head.protocol_id);
        Ok(Self { reserved: structure.reserved, number: head.number, protocol_id, spi: head.spi, transforms })
    }

    fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        let head = ProposalHead { number: self.number, protocol_id: self.protocol_id.0, spi: self.spi };
        put_proposal(out, &head, &self.transforms, |transform| transform.reserved, Transform::emit)
    }
}

/// One algorithm (RFC 7296 section 3.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform<'a> {
    /// Of the substructure's header; zero.
    pub reserved: u8,
    /// What kind of algorithm.
    pub transform_type: TransformType,
    /// After the type; zero.
    pub reserved2: u8,
    /// Which: [`Transform::algorithm`] reads it.
    pub transform_id: u16,
    /// Attributes; of those only the key length was ever defined.
    pub attributes: Vec<Attribute<'a>>,
}

/// An algorithm by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ENCR.
    Encr(Encr),
    /// PRF.
    Prf(Prf),
    /// INTEG.
    Integ(Integ),
    /// KE, or one of ADDKE1 to ADDKE7.
    KeyExchange(Group),
    /// SN.
    SequenceNumbers(SequenceNumbers),
    /// Any other.
    Other(u16),
}

impl<'a> Transform<'a> {
    /// A transform without attributes.
    pub const fn new(transform_type: TransformType, transform_id: u16) -> Self {
        Self { reserved: 0, transform_type, reserved2: 0, transform_id, attributes: Vec::new() }
    }

    /// With a key length in bits.
    #[must_use]
    pub fn with_key_length(mut self, bits: u16) -> Self {
        self.attributes.push(Attribute::basic(TransformAttribute::KEY_LENGTH.0, bits));
        self
    }

    /// The key length in bits, if it says one.
    pub fn key_length(&self) -> Option<u16> {
        let key_length = TransformAttribute::KEY_LENGTH.0;
        self.attributes.iter().find(|attribute| attribute.attribute_type == key_length).and_then(Attribute::short)
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        let id = self.transform_id;
        match self.transform_type {
            TransformType::ENCR => Algorithm::Encr(Encr(id)),
            TransformType::PRF => Algorithm::Prf(Prf(id)),
            TransformType::INTEG => Algorithm::Integ(Integ(id)),
            TransformType::SN => Algorithm::SequenceNumbers(SequenceNumbers(id)),
            TransformType(4 | 6..=12) => Algorithm::KeyExchange(Group(id)),
            _ => Algorithm::Other(id),
        }
    }

    fn parse(structure: RawPayload<'a>) -> Result<Self, ParseError> {
        let mut reader = Reader::new(structure.body);
        let transform_type = TransformType(reader.u8("Transform.transform_type")?);
        let reserved2 = reader.u8("Transform.reserved2")?;
        let transform_id = reader.u16("Transform.transform_id")?;
        let attributes = Attribute::parse_all(reader.rest())?;
        Ok(Self { reserved: structure.reserved, transform_type, reserved2, transform_id, attributes })
    }

    fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.extend_from_slice(&[self.transform_type.0, self.reserved2]);
        out.extend_from_slice(&self.transform_id.to_be_bytes());
        self.attributes.iter().try_for_each(|attribute| attribute.emit(out))
    }
}

impl From<Encr> for Transform<'_> {
    fn from(id: Encr) -> Self {
        Self::new(TransformType::ENCR, id.0)
    }
}

impl From<Prf> for Transform<'_> {
    fn from(id: Prf) -> Self {
        Self::new(TransformType::PRF, id.0)
    }
}

impl From<Integ> for Transform<'_> {
    fn from(id: Integ) -> Self {
        Self::new(TransformType::INTEG, id.0)
    }
}

impl From<Group> for Transform<'_> {
    fn from(id: Group) -> Self {
        Self::new(TransformType::KE, id.0)
    }
}

impl From<SequenceNumbers> for Transform<'_> {
    fn from(id: SequenceNumbers) -> Self {
        Self::new(TransformType::SN, id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::v2::Body;
    use crate::ike::v2::checks::survives;
    use alloc::vec;

    #[test]
    fn proposals_survive() {
        let ike = Proposal::new(
            1,
            ProtocolId::IKE,
            &[],
            vec![
                Transform::from(Encr::AES_CBC).with_key_length(256),
                Transform::from(Encr::TRIPLE_DES),
                Integ::HMAC_SHA2_256_128.into(),
                Prf::HMAC_SHA2_256.into(),
                Group::CURVE25519.into(),
            ],
        );
        assert_eq!(ike.of_type(TransformType::ENCR).map(Transform::key_length).collect::<Vec<_>>(), [Some(256), None]);
        let mut esn = Transform::from(SequenceNumbers::NO_EXTENDED);
        (esn.reserved, esn.reserved2) = (1, 2);
        let mut esp = Proposal::new(2, ProtocolId::ESP, &[1, 2, 3, 4], vec![esn]);
        esp.reserved = 3;
        survives(Body::SecurityAssociation(SecurityAssociation { proposals: vec![ike, esp] }));
    }

    #[test]
    fn a_transform_names_its_algorithm() {
        let algorithm = |transform_type, id| Transform::new(transform_type, id).algorithm();
        assert_eq!(algorithm(TransformType::ENCR, 20), Algorithm::Encr(Encr::AES_GCM_16));
        assert_eq!(algorithm(TransformType::ADDKE1, 36), Algorithm::KeyExchange(Group::ML_KEM_768));
        assert_eq!(algorithm(TransformType::KE, 31), Algorithm::KeyExchange(Group::CURVE25519));
        assert_eq!(algorithm(TransformType(99), 31), Algorithm::Other(31));
    }
}
