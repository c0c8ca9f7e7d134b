//! The keys of an IKEv2 SA.

use keyferry_parsers::ike::v2::{Proposal, TransformType};

use crate::crypto::{Prf, Secret};
use crate::hex;
use crate::ike::v2::algorithms;
use crate::ike::v2::keymat::{SkKeys, skeyseed, skeyseed_rekey};
use crate::ike::v2::protect::Protection;
use crate::replay::account::Chosen;
use crate::replay::ike_secrets::{Spi, V2Keys};

/// What an IKE SA has agreed on.
#[derive(Clone, Copy)]
pub(super) struct Algorithms {
    pub(super) prf: Prf,
    pub(super) protection: Protection,
    /// Further key exchanges (RFC 9370) are not followed.
    pub(super) one_exchange: bool,
}

/// The algorithms of a chosen proposal of an IKE SA, if they are implemented.
pub(super) fn chosen(proposal: &Proposal<'_>) -> Option<Algorithms> {
    let first = |transform_type| proposal.of_type(transform_type).next();
    let encr = first(TransformType::ENCR)?;
    let integ = first(TransformType::INTEG).map(|transform| transform.transform_id);
    Some(Algorithms {
        prf: algorithms::prf(first(TransformType::PRF)?.transform_id)?,
        protection: algorithms::protection(encr.transform_id, encr.key_length(), integ)?,
        one_exchange: !proposal.transforms.iter().any(|each| {
            (TransformType::ADDKE1..=TransformType::ADDKE7).contains(&each.transform_type) && each.transform_id != 0
        }),
    })
}

/// What opens messages.
pub(super) struct Keys {
    pub(super) protection: Protection,
    /// SK_e and SK_a, the initiator's first.
    pub(super) sk_e: [Secret; 2],
    pub(super) sk_a: [Secret; 2],
    /// Unless they come from a table that has no more.
    pub(super) derived: Option<(Prf, SkKeys)>,
    skeyseed: Option<Secret>,
}

/// What a rekeyed IKE SA is made of, but for its g^ir.
pub(in crate::replay::ike) struct Seed {
    pub(super) old_prf: Prf,
    pub(super) sk_d: Secret,
    pub(super) ni: Vec<u8>,
    pub(super) nr: Vec<u8>,
    pub(super) algorithms: Algorithms,
    pub(in crate::replay::ike) offered: Vec<String>,
    pub(in crate::replay::ike) chosen: Chosen,
}

impl Keys {
    /// From g^ir and the nonces of IKE_SA_INIT, or from what the SA that was replaced passes on.
    pub(super) fn derive(
        algorithms: Algorithms,
        g_ir: &Secret,
        seed: Option<&Seed>,
        first: (&[u8], &[u8]),
        (spi_i, spi_r): &(Spi, Spi),
    ) -> Option<Self> {
        let Algorithms { prf, protection, one_exchange } = algorithms;
        let (skeyseed, nonces) = match seed {
            Some(Seed { old_prf, sk_d, ni, nr, .. }) => {
                (skeyseed_rekey(*old_prf, sk_d, g_ir.as_bytes(), ni, nr, &[]), (ni.as_slice(), nr.as_slice()))
            }
            None => (skeyseed(prf, first.0, first.1, g_ir.as_bytes()), first),
        };
        let sk = SkKeys::derive(prf, protection, &skeyseed, nonces, (spi_i, spi_r)).filter(|_| one_exchange)?;
        Some(Self {
            protection,
            sk_e: [sk.sk_ei.duplicate(), sk.sk_er.duplicate()],
            sk_a: [sk.sk_ai.duplicate(), sk.sk_ar.duplicate()],
            derived: Some((prf, sk)),
            skeyseed: Some(skeyseed),
        })
    }

    /// Those that a table has.
    pub(super) fn of_table(table: &V2Keys) -> Self {
        Self {
            protection: table.protection,
            sk_e: [table.sk_ei.duplicate(), table.sk_er.duplicate()],
            sk_a: [table.sk_ai.duplicate(), table.sk_ar.duplicate()],
            derived: None,
            skeyseed: None,
        }
    }

    /// For the account.
    pub(super) fn named(&self) -> Vec<(String, String)> {
        let (Some((_, sk)), Some(skeyseed)) = (&self.derived, &self.skeyseed) else {
            return Vec::new();
        };
        let named = [
            ("SKEYSEED", skeyseed),
            ("SK_d", &sk.sk_d),
            ("SK_ai", &sk.sk_ai),
            ("SK_ar", &sk.sk_ar),
            ("SK_ei", &sk.sk_ei),
            ("SK_er", &sk.sk_er),
            ("SK_pi", &sk.sk_pi),
            ("SK_pr", &sk.sk_pr),
        ];
        let named = named.into_iter().filter(|(_, key)| !key.as_bytes().is_empty());
        named.map(|(name, key)| (name.to_owned(), hex::encode(key.as_bytes()))).collect()
    }
}
