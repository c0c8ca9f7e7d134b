//! The Security Association payload: proposals, their transforms, and the attributes of those (RFC 2408 sections 3.4 to
//! 3.6, RFC 2407 section 4.6.1).

use alloc::vec::Vec;

use super::{
    AuthenticationAlgorithm, AuthenticationMethod, Doi, EncapsulationMode, EncryptionAlgorithm, HashAlgorithm,
    IpsecAttribute, LifeType, Phase1Attribute, ProtocolId,
};
use crate::ike::chain::{RawPayload, put_structures, structures};
use crate::ike::proposal::{ProposalHead, parse_proposal, put_proposal};
use crate::ike::wire::Reader;
use crate::ike::{Attribute, Group, PayloadType};
use crate::{EmitError, ParseError};

/// What the initiator offers, or the responder chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityAssociation<'a> {
    /// Of the IPsec DOI, in the situation everybody uses.
    Ipsec {
        /// Bits that say when the SA is to be used; neither secrecy nor integrity levels are among them.
        situation: Situation,
        /// Proposals in order of preference; those of one number belong together.
        proposals: Vec<Proposal<'a>>,
    },
    /// Of another DOI, or with labels: where the proposals begin is not known.
    Other {
        /// The DOI.
        doi: Doi,
        /// Situation and proposals.
        rest: &'a [u8],
    },
}

/// The situation of the IPsec DOI (RFC 2407 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation(pub u32);

impl Situation {
    /// SIT_IDENTITY_ONLY: the SA is identified by its peers alone.
    pub const IDENTITY_ONLY: Self = Self(1);
    /// SIT_SECRECY and SIT_INTEGRITY: levels and categories follow the situation.
    const LABELLED: u32 = 2 | 4;
}

impl<'a> SecurityAssociation<'a> {
    /// An SA of these proposals, SIT_IDENTITY_ONLY.
    pub const fn new(proposals: Vec<Proposal<'a>>) -> Self {
        Self::Ipsec { situation: Situation::IDENTITY_ONLY, proposals }
    }

    /// The proposals that can be read.
    pub fn proposals(&self) -> &[Proposal<'a>] {
        match self {
            Self::Ipsec { proposals, .. } => proposals,
            Self::Other { .. } => &[],
        }
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let doi = Doi(reader.u32("SA.doi")?);
        if doi != Doi::IPSEC {
            return Ok(Self::Other { doi, rest: reader.rest() });
        }
        let (_, labelled) = bytes.split_at_checked(4).unwrap_or_default();
        let situation = reader.u32("SA.situation")?;
        if situation & Situation::LABELLED != 0 {
            return Ok(Self::Other { doi, rest: labelled });
        }
        let proposals = structures("SA.proposals", PayloadType::P, reader.rest(), Proposal::parse)?;
        Ok(Self::Ipsec { situation: Situation(situation), proposals })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        match self {
            Self::Ipsec { situation, proposals } => {
                out.extend_from_slice(&Doi::IPSEC.0.to_be_bytes());
                out.extend_from_slice(&situation.0.to_be_bytes());
                put_structures(out, "SA.proposals", PayloadType::P, proposals, |one| one.reserved, Proposal::emit)
            }
            Self::Other { doi, rest } => {
                out.extend_from_slice(&doi.0.to_be_bytes());
                out.extend_from_slice(rest);
                Ok(())
            }
        }
    }
}

/// One protocol with the transforms that would do (RFC 2408 section 3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal<'a> {
    /// Of the generic header; zero.
    pub reserved: u8,
    /// Proposals of the same number are offered together.
    pub number: u8,
    /// What the SA is for.
    pub protocol_id: ProtocolId,
    /// The sender's SPI; in phase 1 usually empty.
    pub spi: &'a [u8],
    /// Transforms in order of preference.
    pub transforms: Vec<Transform<'a>>,
}

impl<'a> Proposal<'a> {
    /// A proposal of that number.
    pub const fn new(number: u8, protocol_id: ProtocolId, spi: &'a [u8], transforms: Vec<Transform<'a>>) -> Self {
        Self { reserved: 0, number, protocol_id, spi, transforms }
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

/// One set of algorithms (RFC 2408 section 3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform<'a> {
    /// Of the generic header; zero.
    pub reserved: u8,
    /// Counts the transforms.
    pub number: u8,
    /// An algorithm of the protocol: [`IsakmpTransform`](super::IsakmpTransform),
    /// [`EspTransform`](super::EspTransform), [`AhTransform`](super::AhTransform) or
    /// [`IpcompTransform`](super::IpcompTransform).
    pub transform_id: u8,
    /// After the transform ID; zero.
    pub reserved2: u16,
    /// What else it says: [`Transform::phase1`] and [`Transform::ipsec`] look them up.
    pub attributes: Vec<Attribute<'a>>,
}

impl<'a> Transform<'a> {
    /// A transform of that number.
    pub const fn new(number: u8, transform_id: u8, attributes: Vec<Attribute<'a>>) -> Self {
        Self { reserved: 0, number, transform_id, reserved2: 0, attributes }
    }

    /// The attributes read as those of phase 1.
    pub const fn phase1(&self) -> Phase1<'_> {
        Phase1(self)
    }

    /// The attributes read as those of an IPsec SA.
    pub const fn ipsec(&self) -> Ipsec<'_> {
        Ipsec(self)
    }

    fn attribute(&self, attribute_type: u16) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.attribute_type == attribute_type)
    }

    fn parse(structure: RawPayload<'a>) -> Result<Self, ParseError> {
        let mut reader = Reader::new(structure.body);
        let number = reader.u8("Transform.number")?;
        let transform_id = reader.u8("Transform.transform_id")?;
        let reserved2 = reader.u16("Transform.reserved2")?;
        let attributes = Attribute::parse_all(reader.rest())?;
        Ok(Self { reserved: structure.reserved, number, transform_id, reserved2, attributes })
    }

    fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.extend_from_slice(&[self.number, self.transform_id]);
        out.extend_from_slice(&self.reserved2.to_be_bytes());
        self.attributes.iter().try_for_each(|attribute| attribute.emit(out))
    }
}

/// How long an SA may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// What the duration counts.
    pub life_type: LifeType,
    /// How many of them.
    pub duration: u64,
}

/// A transform of phase 1 (RFC 2409 appendix A). Each method is `None` where the attribute is missing or has no such
/// value.
#[derive(Clone, Copy, Debug)]
pub struct Phase1<'a>(&'a Transform<'a>);

impl Phase1<'_> {
    /// The cipher.
    pub fn encryption_algorithm(&self) -> Option<EncryptionAlgorithm> {
        self.short(Phase1Attribute::ENCRYPTION_ALGORITHM).map(EncryptionAlgorithm)
    }

    /// The cipher's key length in bits, where it is not fixed.
    pub fn key_length(&self) -> Option<u16> {
        self.short(Phase1Attribute::KEY_LENGTH)
    }

    /// The hash; the prf is its HMAC.
    pub fn hash_algorithm(&self) -> Option<HashAlgorithm> {
        self.short(Phase1Attribute::HASH_ALGORITHM).map(HashAlgorithm)
    }

    /// How the peers prove who they are.
    pub fn authentication_method(&self) -> Option<AuthenticationMethod> {
        self.short(Phase1Attribute::AUTHENTICATION_METHOD).map(AuthenticationMethod)
    }

    /// The Diffie-Hellman group.
    pub fn group_description(&self) -> Option<Group> {
        self.short(Phase1Attribute::GROUP_DESCRIPTION).map(Group)
    }

    /// The lifetimes of the SA, in order.
    pub fn lifetimes(&self) -> impl Iterator<Item = Lifetime> {
        lifetimes(self.0, Phase1Attribute::LIFE_TYPE.0, Phase1Attribute::LIFE_DURATION.0)
    }

    /// Any attribute.
    pub fn attribute(&self, attribute: Phase1Attribute) -> Option<&Attribute<'_>> {
        self.0.attribute(attribute.0)
    }

    fn short(&self, attribute: Phase1Attribute) -> Option<u16> {
        self.attribute(attribute).and_then(Attribute::short)
    }
}

/// A transform of an IPsec SA (RFC 2407 section 4.5). Each method is `None` where the attribute is missing or has no such
/// value.
#[derive(Clone, Copy, Debug)]
pub struct Ipsec<'a>(&'a Transform<'a>);

impl Ipsec<'_> {
    /// Tunnel or transport, in UDP or not.
    pub fn encapsulation_mode(&self) -> Option<EncapsulationMode> {
        self.short(IpsecAttribute::ENCAPSULATION_MODE).map(EncapsulationMode)
    }

    /// What protects ESP's or AH's integrity.
    pub fn authentication_algorithm(&self) -> Option<AuthenticationAlgorithm> {
        self.short(IpsecAttribute::AUTHENTICATION_ALGORITHM).map(AuthenticationAlgorithm)
    }

    /// The cipher's key length in bits, where it is not fixed.
    pub fn key_length(&self) -> Option<u16> {
        self.short(IpsecAttribute::KEY_LENGTH)
    }

    /// The Diffie-Hellman group, for perfect forward secrecy.
    pub fn group_description(&self) -> Option<Group> {
        self.short(IpsecAttribute::GROUP_DESCRIPTION).map(Group)
    }

    /// Whether sequence numbers have 64 bits.
    pub fn extended_sequence_number(&self) -> bool {
        self.short(IpsecAttribute::EXTENDED_SEQUENCE_NUMBER) == Some(1)
    }

    /// The lifetimes of the SA, in order.
    pub fn lifetimes(&self) -> impl Iterator<Item = Lifetime> {
        lifetimes(self.0, IpsecAttribute::SA_LIFE_TYPE.0, IpsecAttribute::SA_LIFE_DURATION.0)
    }

    /// Any attribute.
    pub fn attribute(&self, attribute: IpsecAttribute) -> Option<&Attribute<'_>> {
        self.0.attribute(attribute.0)
    }

    fn short(&self, attribute: IpsecAttribute) -> Option<u16> {
        self.attribute(attribute).and_then(Attribute::short)
    }
}

/// A life type says what the durations after it count; seconds where none was said (RFC 2407 section 4.5).
fn lifetimes(transform: &Transform<'_>, type_: u16, duration_: u16) -> impl Iterator<Item = Lifetime> {
    transform
        .attributes
        .iter()
        .scan(LifeType::SECONDS, move |life_type, attribute| {
            if attribute.attribute_type == type_ {
                *life_type = LifeType(attribute.short().unwrap_or_default());
            }
            let duration = attribute.number().filter(|_| attribute.attribute_type == duration_);
            Some(duration.map(|duration| Lifetime { life_type: *life_type, duration }))
        })
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::v1::checks::survives;
    use crate::ike::v1::{Body, EspTransform, IsakmpTransform};
    use alloc::vec;

    fn phase1_transform<'a>() -> Transform<'a> {
        let attributes = vec![
            Attribute::basic(Phase1Attribute::ENCRYPTION_ALGORITHM.0, EncryptionAlgorithm::AES_CBC.0),
            Attribute::basic(Phase1Attribute::KEY_LENGTH.0, 256),
            Attribute::basic(Phase1Attribute::HASH_ALGORITHM.0, HashAlgorithm::SHA2_256.0),
            Attribute::basic(Phase1Attribute::GROUP_DESCRIPTION.0, Group::MODP_2048.0),
            Attribute::basic(Phase1Attribute::AUTHENTICATION_METHOD.0, AuthenticationMethod::PRE_SHARED_KEY.0),
            Attribute::basic(Phase1Attribute::LIFE_TYPE.0, LifeType::SECONDS.0),
            Attribute::variable(Phase1Attribute::LIFE_DURATION.0, &[0, 1, 0x51, 0x80]),
        ];
        Transform::new(1, IsakmpTransform::KEY_IKE.0, attributes)
    }

    #[test]
    fn a_phase_1_offer_survives() {
        let proposal = Proposal::new(1, ProtocolId::ISAKMP, &[], vec![phase1_transform(), phase1_transform()]);
        survives(Body::SecurityAssociation(SecurityAssociation::new(vec![proposal])));
    }

    #[test]
    fn attributes_of_phase_1_have_their_names() {
        let transform = phase1_transform();
        let phase1 = transform.phase1();
        assert_eq!(phase1.encryption_algorithm(), Some(EncryptionAlgorithm::AES_CBC));
        assert_eq!(phase1.key_length(), Some(256));
        assert_eq!(phase1.hash_algorithm(), Some(HashAlgorithm::SHA2_256));
        assert_eq!(phase1.authentication_method(), Some(AuthenticationMethod::PRE_SHARED_KEY));
        assert_eq!(phase1.group_description(), Some(Group::MODP_2048));
        assert!(phase1.lifetimes().eq([Lifetime { life_type: LifeType::SECONDS, duration: 86400 }]));
    }

    #[test]
    fn several_protocols_and_reserved_bytes_survive() {
        let attributes = vec![
            Attribute::basic(IpsecAttribute::ENCAPSULATION_MODE.0, EncapsulationMode::TUNNEL.0),
            Attribute::basic(IpsecAttribute::SA_LIFE_DURATION.0, 3600),
            Attribute::basic(IpsecAttribute::SA_LIFE_TYPE.0, LifeType::KILOBYTES.0),
            Attribute::basic(IpsecAttribute::SA_LIFE_DURATION.0, 5000),
        ];
        let mut transform = Transform::new(1, EspTransform::AES_CBC.0, attributes);
        (transform.reserved, transform.reserved2) = (7, 0x0809);
        assert_eq!(transform.ipsec().encapsulation_mode(), Some(EncapsulationMode::TUNNEL));
        assert!(!transform.ipsec().extended_sequence_number());
        assert!(transform.ipsec().lifetimes().eq([
            Lifetime { life_type: LifeType::SECONDS, duration: 3600 },
            Lifetime { life_type: LifeType::KILOBYTES, duration: 5000 },
        ]));
        let mut esp = Proposal::new(1, ProtocolId::IPSEC_ESP, &[1, 2, 3, 4], vec![transform]);
        esp.reserved = 9;
        let ipcomp = Proposal::new(1, ProtocolId::IPCOMP, &[1, 2], vec![Transform::new(1, 2, vec![])]);
        survives(Body::SecurityAssociation(SecurityAssociation::new(vec![esp, ipcomp])));
    }

    #[test]
    fn other_situations_are_kept_whole() {
        for bytes in [&[0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3][..], &[0, 0, 0, 2, 9], &[0, 0, 0, 0]] {
            let parsed = SecurityAssociation::parse(bytes).unwrap();
            assert!(parsed.proposals().is_empty());
            survives(Body::SecurityAssociation(parsed));
        }
    }
}
