//! The keys of an IKEv1 SA, as far as the secrets reach.

use keyferry_parsers::ike::v1::{AuthenticationMethod, Body, Proposal, ProtocolId, Transform};

use crate::crypto::{Cipher, Hash, Prf, Secret};
use crate::hex;
use crate::ike::v1::algorithms;
use crate::ike::v1::keymat::{QuickMode, Skeyids, encryption_key, skeyid_psk, skeyid_signatures};
use crate::replay::ike_secrets::{IkeSecrets, Spi};

/// Proposals of which keys are computed; an answer has one for each protocol.
const MAX_PROPOSALS: usize = 4;

/// What phase 1 has agreed on.
#[derive(Clone, Copy)]
pub(super) struct Algorithms {
    pub(super) hash: Hash,
    pub(super) cipher: Option<Cipher>,
    pub(super) method: AuthenticationMethod,
}

impl Algorithms {
    /// Those of a transform; `None` if its hash is not implemented.
    pub(super) fn of(transform: &Transform<'_>) -> Option<Self> {
        let phase1 = transform.phase1();
        Some(Self {
            hash: algorithms::hash(phase1.hash_algorithm()?.0)?,
            cipher: algorithms::cipher(phase1.encryption_algorithm()?.0, phase1.key_length()),
            method: phase1.authentication_method()?,
        })
    }
}

/// Of one shared key, or whatever else gives keys; what the secrets do not reach is `None`.
pub(super) struct Keys {
    pub(super) skeyid: Option<Secret>,
    pub(super) skeyids: Option<Skeyids>,
    pub(super) encryption: Option<Secret>,
}

impl Keys {
    /// For the account.
    pub(super) fn named(&self) -> Vec<(String, String)> {
        let skeyids = self.skeyids.as_ref();
        let named = [
            ("SKEYID", self.skeyid.as_ref()),
            ("SKEYID_d", skeyids.map(|keys| &keys.skeyid_d)),
            ("SKEYID_a", skeyids.map(|keys| &keys.skeyid_a)),
            ("SKEYID_e", skeyids.map(|keys| &keys.skeyid_e)),
            ("encryption key", self.encryption.as_ref()),
        ];
        named.into_iter().filter_map(|(name, key)| Some((name.to_owned(), hex::encode(key?.as_bytes())))).collect()
    }
}

/// All keys that the secrets give: for each shared key that may be meant, or the one that a signature goes with, or a
/// table has.
pub(super) fn derive(
    algorithms: Algorithms,
    spis: (Spi, Spi),
    (ni_b, nr_b): (&[u8], &[u8]),
    secrets: &IkeSecrets,
) -> Vec<Keys> {
    let Algorithms { hash, cipher, method } = algorithms;
    let (prf, g_ir) = (Prf::hmac(hash), secrets.g_ir(spis));
    let skeyids: Vec<Secret> = if is_psk(method) {
        secrets.psks(spis).into_iter().map(|psk| skeyid_psk(prf, psk.as_bytes(), ni_b, nr_b)).collect()
    } else if is_signature(method) {
        g_ir.iter().map(|g_ir| skeyid_signatures(prf, ni_b, nr_b, g_ir.as_bytes())).collect()
    } else {
        Vec::new()
    };
    let table = secrets.v1_key(spis.0);
    let complete = |skeyid: Secret| {
        let skeyids = g_ir.map(|g_ir| Skeyids::derive(prf, &skeyid, g_ir.as_bytes(), &spis.0, &spis.1));
        let derived = skeyids.as_ref().zip(cipher);
        let derived = derived.map(|(keys, cipher)| encryption_key(prf, &keys.skeyid_e, cipher.key_length()));
        let encryption = derived.or_else(|| table.map(Secret::duplicate));
        Keys { skeyid: Some(skeyid), skeyids, encryption }
    };
    let mut keys: Vec<Keys> = skeyids.into_iter().map(complete).collect();
    if let (true, Some(key)) = (keys.is_empty(), table) {
        keys.push(Keys { skeyid: None, skeyids: None, encryption: Some(key.duplicate()) });
    }
    keys
}

/// KEYMAT of the SAs towards the sender of a quick mode message (RFC 2409 section 5.5), without perfect forward secrecy.
pub(super) fn keymat_of(
    prf: Prf,
    skeyid_d: &Secret,
    (ni_b, nr_b): (&[u8], &[u8]),
    bodies: &[Body<'_>],
) -> Vec<(String, String)> {
    let sas = bodies.iter().filter_map(|body| match body {
        Body::SecurityAssociation(sa) => Some(sa),
        _ => None,
    });
    let keymat = |proposal: &Proposal<'_>| {
        let transform = proposal.transforms.first()?;
        let ipsec = transform.ipsec();
        let auth = ipsec.authentication_algorithm().map(|algorithm| algorithm.0);
        let lengths = match proposal.protocol_id {
            ProtocolId::IPSEC_ESP => algorithms::esp(transform.transform_id, ipsec.key_length(), auth)?,
            ProtocolId::IPSEC_AH => algorithms::ah(auth?)?,
            _ => return None,
        };
        let mode = QuickMode { g_qm_xy: None, protocol: proposal.protocol_id.0, spi: proposal.spi, ni_b, nr_b };
        let keymat = mode.keymat(prf, skeyid_d, lengths.total());
        let name = format!("KEYMAT {} {}", proposal.protocol_id, hex::encode(proposal.spi));
        Some((name, hex::encode(keymat.as_bytes())))
    };
    sas.flat_map(|sa| sa.proposals().iter().take(MAX_PROPOSALS).filter_map(keymat)).collect()
}

pub(super) fn is_psk(method: AuthenticationMethod) -> bool {
    use AuthenticationMethod as M;
    matches!(method, M::PRE_SHARED_KEY | M::XAUTH_INIT_PRE_SHARED | M::XAUTH_RESP_PRE_SHARED)
}

fn is_signature(method: AuthenticationMethod) -> bool {
    use AuthenticationMethod as M;
    let encrypted = [M::RSA_ENCRYPTION, M::RSA_REVISED_ENCRYPTION];
    let xauth = [M::XAUTH_INIT_RSA_ENCRYPTION, M::XAUTH_RESP_RSA_ENCRYPTION];
    let revised = [M::XAUTH_INIT_RSA_REVISED_ENCRYPTION, M::XAUTH_RESP_RSA_REVISED_ENCRYPTION];
    !is_psk(method) && ![encrypted, xauth, revised].as_flattened().contains(&method)
}
