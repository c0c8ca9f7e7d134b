//! Proposals in words: what was offered and what was chosen, by IANA's names.

use std::fmt::Display;

use keyferry_parsers::ike::{v1, v2};

use crate::replay::account::Chosen;

/// Texts at most of one offer: hostile ones have thousands of transforms.
const MAX_OFFERED: usize = 256;

/// One text for each transform of phase 1: cipher, hash, group, authentication.
pub(super) fn offered_v1(sa: &v1::SecurityAssociation<'_>) -> Vec<String> {
    let transforms = sa.proposals().iter().flat_map(|proposal| &proposal.transforms);
    transforms.take(MAX_OFFERED).map(|transform| joined(&parts_v1(transform))).collect()
}

/// What a phase 1 answer has chosen: its first transform.
pub(super) fn chosen_v1(sa: &v1::SecurityAssociation<'_>) -> Option<Chosen> {
    let transform = sa.proposals().first()?.transforms.first()?;
    let [cipher, hash, group, auth] = parts_v1(transform);
    Some(Chosen { cipher, prf: None, hash, group, auth })
}

fn parts_v1(transform: &v1::Transform<'_>) -> [Option<String>; 4] {
    let phase1 = transform.phase1();
    [
        phase1.encryption_algorithm().map(|cipher| with_length(&cipher, phase1.key_length())),
        phase1.hash_algorithm().map(|hash| hash.to_string()),
        phase1.group_description().map(|group| group.to_string()),
        phase1.authentication_method().map(|method| method.to_string()),
    ]
}

/// One text for each proposal: its types separated by `/`, the choices within a type by commas.
pub(super) fn offered_v2(sa: &v2::SecurityAssociation<'_>) -> Vec<String> {
    sa.proposals.iter().take(MAX_OFFERED).map(|proposal| joined(&parts_v2(proposal))).collect()
}

/// What an answer has chosen: its one proposal.
pub(super) fn chosen_v2(sa: &v2::SecurityAssociation<'_>) -> Option<Chosen> {
    let [cipher, prf, hash, group] = parts_v2(sa.proposals.first()?);
    Some(Chosen { cipher, prf, hash, group, auth: None })
}

fn parts_v2(proposal: &v2::Proposal<'_>) -> [Option<String>; 4] {
    use v2::TransformType;
    [TransformType::ENCR, TransformType::PRF, TransformType::INTEG, TransformType::KE].map(|transform_type| {
        let names: Vec<String> = proposal.of_type(transform_type).take(MAX_OFFERED).map(name_v2).collect();
        (!names.is_empty()).then(|| names.join(","))
    })
}

fn name_v2(transform: &v2::Transform<'_>) -> String {
    match transform.algorithm() {
        v2::Algorithm::Encr(encr) => with_length(&encr, transform.key_length()),
        v2::Algorithm::Prf(prf) => prf.to_string(),
        v2::Algorithm::Integ(integ) => integ.to_string(),
        v2::Algorithm::KeyExchange(group) => group.to_string(),
        v2::Algorithm::SequenceNumbers(numbers) => numbers.to_string(),
        v2::Algorithm::Other(id) => format!("{} {id}", transform.transform_type),
    }
}

fn with_length(cipher: &impl Display, bits: Option<u16>) -> String {
    match bits {
        Some(bits) => format!("{cipher}-{bits}"),
        None => cipher.to_string(),
    }
}

fn joined(parts: &[Option<String>]) -> String {
    let parts: Vec<&str> = parts.iter().flatten().map(String::as_str).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyferry_parsers::ike::{Attribute, Group};

    #[test]
    fn transforms_of_phase_1_read_as_a_line() {
        let attributes =
            [(1, 7), (14, 256), (2, 4), (4, 14), (3, 1)].map(|(kind, value)| Attribute::basic(kind, value));
        let transform = v1::Transform::new(1, 1, attributes.to_vec());
        let sa = v1::SecurityAssociation::new(vec![v1::Proposal::new(1, v1::ProtocolId::ISAKMP, &[], vec![transform])]);
        assert_eq!(offered_v1(&sa), ["AES-CBC-256/SHA2-256/2048-bit MODP Group/pre-shared key"]);
        let chosen = chosen_v1(&sa).unwrap();
        assert_eq!((chosen.cipher.as_deref(), chosen.auth.as_deref()), (Some("AES-CBC-256"), Some("pre-shared key")));
    }

    #[test]
    fn a_proposal_of_version_2_reads_as_a_line() {
        let transforms = vec![
            v2::Transform::from(v2::Encr::AES_GCM_16).with_key_length(128),
            v2::Prf::HMAC_SHA2_256.into(),
            Group::CURVE25519.into(),
            Group::ECP_256.into(),
        ];
        let sa =
            v2::SecurityAssociation { proposals: vec![v2::Proposal::new(1, v2::ProtocolId::IKE, &[], transforms)] };
        assert_eq!(offered_v2(&sa), ["ENCR_AES_GCM_16-128/PRF_HMAC_SHA2_256/Curve25519,256-bit random ECP group"]);
        assert_eq!(chosen_v2(&sa).unwrap().hash, None);
    }
}
