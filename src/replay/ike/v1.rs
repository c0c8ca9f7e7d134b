//! Reading, opening and checking the messages of an IKEv1 SA (RFC 2409).
//!
//! Keys come from what is in the messages and from the secrets as soon as both are there. Where several shared keys may be
//! meant, all are tried until one fits.

mod keys;
mod payloads;

use std::collections::BTreeMap;

use keyferry_parsers::ike::rules::Position;
use keyferry_parsers::ike::v1::{Body, NotifyType};
use keyferry_parsers::ike::{Chain, ExchangeType, PayloadType, RawMessage, RawPayload};

use crate::crypto::{Prf, Secret};
use crate::ike::v1::keymat::{self, Phase1, phase_1_iv, phase_2_iv};
use crate::ike::v1::protect;
use crate::replay::account::{Account, Fault, IdentityEntry, Outcome, Side};
use crate::replay::ike_secrets::Spi;

use keys::{Algorithms, Keys, is_psk, keymat_of};
use payloads::Payloads;

use super::proof::{Check, rsa_signature_v1};
use super::sa::{Reading, Record};
use super::{certificate, kept, offer, story};

/// Exchanges of phase 2 at a time.
const MAX_EXCHANGES: usize = 64;

/// What is known of an IKEv1 SA.
#[derive(Default)]
pub(super) struct V1 {
    spis: (Spi, Spi),
    algorithms: Option<Algorithms>,
    sai_b: Vec<u8>,
    initiator: Peer,
    responder: Peer,
    keys: Vec<Keys>,
    /// The last block of phase 1 so far.
    iv: Option<Vec<u8>>,
    exchanges: BTreeMap<u32, Exchange>,
    /// The last message of phase 1 was there.
    complete: bool,
    /// A quick mode was there, and so phase 1 was over.
    quick: bool,
    /// A quick mode was answered.
    child: bool,
    /// The responder has answered main mode's proof of identity with a notification that cannot be read.
    refused: bool,
}

/// What one side has sent in phase 1, without payload headers.
#[derive(Default)]
struct Peer {
    ke: Vec<u8>,
    nonce: Vec<u8>,
    id: Vec<u8>,
    certificate: Option<Vec<u8>>,
}

/// An exchange of phase 2.
#[derive(Default)]
struct Exchange {
    starter: Option<Side>,
    messages: u8,
    iv: Option<Vec<u8>>,
    ni: Vec<u8>,
    nr: Vec<u8>,
    /// With perfect forward secrecy, whose secret nobody gave.
    ke: bool,
}

impl V1 {
    pub(super) fn new(spis: (Spi, Spi)) -> Self {
        Self { spis, ..Self::default() }
    }

    pub(super) fn set_responder_spi(&mut self, spi: Spi) {
        self.spis.1 = spi;
    }

    /// Takes one message that is no fragment and was not there before.
    pub(super) fn read(&mut self, raw: &RawMessage<'_>, from: Side, record: &mut Record<'_>) -> Reading {
        let by_psk = self.algorithms.is_some_and(|algorithms| is_psk(algorithms.method));
        record.proof.has_secrets =
            record.secrets.are_for(self.spis) || (by_psk && !record.secrets.psks(self.spis).is_empty());
        if !raw.is_encrypted() {
            let payloads = Payloads::read(raw.payloads(), false);
            let position = self.position(raw, from, &payloads.types);
            self.understand(raw, from, &payloads, record);
            return Reading { clear: payloads.types, inner: Some(Vec::new()), malformed: payloads.malformed, position };
        }
        let position = self.position(raw, from, &[]);
        let reading = match self.open(raw, record) {
            Err(malformed) => Reading { clear: Vec::new(), inner: None, malformed, position },
            Ok(plain) => {
                let payloads = Payloads::read(Chain::v1(raw.next_payload, &plain), true);
                self.check_phase_2(raw, from, &plain, &payloads, record);
                self.understand(raw, from, &payloads, record);
                let malformed = payloads.malformed;
                Reading { clear: Vec::new(), inner: Some(payloads.types), malformed, position }
            }
        };
        self.note_hidden(raw, from, position, &reading);
        reading
    }

    /// By what is in it, so that a lost message does not shift the others.
    fn position(&mut self, raw: &RawMessage<'_>, from: Side, types: &[PayloadType]) -> Position {
        let exchange = raw.header.exchange_type;
        let second = u8::from(from == Side::Responder);
        if raw.header.message_id == 0 || exchange == ExchangeType::AGGRESSIVE {
            let first = match (types.contains(&PayloadType::SA), types.contains(&PayloadType::KE)) {
                (true, _) => 1,
                (false, true) => 3,
                (false, false) if exchange == ExchangeType::AGGRESSIVE => return Position::Message(3),
                (false, false) => 5,
            };
            return Position::Message(second.saturating_add(first));
        }
        let exchange = self.exchange(raw.header.message_id);
        exchange.starter.get_or_insert(from);
        exchange.messages = exchange.messages.saturating_add(1);
        Position::Message(exchange.messages)
    }

    fn exchange(&mut self, message_id: u32) -> &mut Exchange {
        if !self.exchanges.contains_key(&message_id) && self.exchanges.len() >= MAX_EXCHANGES {
            self.exchanges.pop_first();
        }
        self.exchanges.entry(message_id).or_default()
    }

    /// What the order of messages tells even where they cannot be read.
    fn note_hidden(&mut self, raw: &RawMessage<'_>, from: Side, position: Position, reading: &Reading) {
        let last = matches!(
            (raw.header.exchange_type, position),
            (ExchangeType::IDENTITY_PROTECTION, Position::Message(6))
                | (ExchangeType::AGGRESSIVE, Position::Message(3))
        );
        self.complete |= last;
        if raw.header.exchange_type == ExchangeType::QUICK_MODE {
            self.quick = true;
            self.child |= matches!(position, Position::Message(2..));
        }
        let informational = raw.header.exchange_type == ExchangeType::INFORMATIONAL_V1;
        self.refused |= informational && from == Side::Responder && !self.complete && reading.inner.is_none();
    }

    /// The plaintext; else, if more than a secret is missing, what the matter is.
    fn open(&mut self, raw: &RawMessage<'_>, record: &mut Record<'_>) -> Result<Vec<u8>, Option<String>> {
        self.derive(record);
        let message_id = raw.header.message_id;
        let (Some(Algorithms { hash, cipher: Some(cipher), .. }), Some(iv)) = (self.algorithms, self.iv.clone()) else {
            record.proof.message(Check::Unknown);
            return Err(None);
        };
        let iv = match message_id {
            0 => iv,
            id => {
                let first = || phase_2_iv(hash, &iv, id, cipher.iv_length());
                self.exchange(id).iv.take().unwrap_or_else(first)
            }
        };
        let tried: Vec<_> = self
            .keys
            .iter()
            .map(|keys| protect::open(cipher, keys.encryption.as_ref()?, &iv, raw.body))
            .map(|opened| opened.map(|opened| opened.payloads))
            .collect();
        let last = raw.body.len().checked_sub(cipher.iv_length()).and_then(|at| raw.body.get(at..)).map(<[u8]>::to_vec);
        match message_id {
            0 => self.iv = last.or(self.iv.take()),
            id => self.exchange(id).iv = last,
        }
        if self.keys.iter().all(|keys| keys.encryption.is_none()) {
            record.proof.message(Check::Unknown);
            return Err(None);
        }
        let fits = |plain: &Vec<u8>| Payloads::read(Chain::v1(raw.next_payload, plain), true).malformed.is_none();
        let found = tried.into_iter().enumerate().find_map(|(at, plain)| plain.filter(fits).map(|plain| (at, plain)));
        let Some((at, plain)) = found else {
            record.proof.message(Check::Wrong);
            return Err(Some(
                "does not decrypt to payloads: a secret does not belong here, or it was altered".to_owned(),
            ));
        };
        self.keep(at);
        Ok(plain)
    }

    /// This shared key was meant.
    fn keep(&mut self, at: usize) {
        if at < self.keys.len() {
            self.keys.swap(0, at);
            self.keys.truncate(1);
        }
    }

    /// All keys that the secrets and the messages so far give.
    fn derive(&mut self, record: &mut Record<'_>) {
        let Some(algorithms) = self.algorithms else {
            return;
        };
        let (i, r) = (&self.initiator, &self.responder);
        if !self.keys.is_empty() || i.nonce.is_empty() || r.nonce.is_empty() {
            return;
        }
        if let Some(cipher) = algorithms.cipher {
            self.iv.get_or_insert_with(|| phase_1_iv(algorithms.hash, &i.ke, &r.ke, cipher.iv_length()));
        }
        self.keys = keys::derive(algorithms, self.spis, (&i.nonce, &r.nonce), record.secrets);
    }

    /// HASH(1), HASH(2), HASH(3) of what comes after phase 1.
    fn check_phase_2(
        &mut self,
        raw: &RawMessage<'_>,
        from: Side,
        plain: &[u8],
        payloads: &Payloads<'_>,
        record: &mut Record<'_>,
    ) {
        let message_id = raw.header.message_id;
        if message_id == 0 {
            return;
        }
        let nonce = payloads.of(PayloadType::NONCE);
        let exchange = self.exchange(message_id);
        let is_first = exchange.starter == Some(from) && exchange.messages == 1;
        if let Some(nonce) = nonce {
            let own = if is_first { &mut exchange.ni } else { &mut exchange.nr };
            own.clear();
            own.extend_from_slice(&kept(nonce));
        }
        exchange.ke |= payloads.of(PayloadType::KE).is_some();
        let (ni, nr, ke, messages) = (exchange.ni.clone(), exchange.nr.clone(), exchange.ke, exchange.messages);
        let Some((hash, skeyids)) = self.algorithms.zip(self.keys.first().and_then(|keys| keys.skeyids.as_ref()))
        else {
            return record.proof.message(Check::Unknown);
        };
        let (prf, key) = (Prf::hmac(hash.hash), &skeyids.skeyid_a);
        let end = plain.len().saturating_sub(payloads.padding);
        let Some((PayloadType::HASH, value)) = payloads.raw.first().map(|first| (first.payload_type, first.body))
        else {
            return record.proof.message(Check::Wrong);
        };
        let rest = plain.get(value.len().saturating_add(4)..end).unwrap_or_default();
        let right = match (raw.header.exchange_type, messages) {
            (ExchangeType::QUICK_MODE, 2) if nonce.is_some() => {
                keymat::hash_2(prf, key, message_id, &ni, rest) == *value
            }
            (ExchangeType::QUICK_MODE, 2..) => {
                keymat::hash_3(prf, key, message_id, &ni, &nr) == *value
                    || keymat::hash_1(prf, key, message_id, rest) == *value
                    || keymat::hash_2(prf, key, message_id, &ni, rest) == *value
            }
            _ => keymat::hash_1(prf, key, message_id, rest) == *value,
        };
        record.proof.message(right.into());
        if !ke && !nr.is_empty() {
            record.account.keys.extend(keymat_of(prf, &skeyids.skeyid_d, (&ni, &nr), &payloads.bodies));
        }
    }

    /// Keeps what later messages need, and tells the account.
    fn understand(&mut self, raw: &RawMessage<'_>, from: Side, payloads: &Payloads<'_>, record: &mut Record<'_>) {
        let phase_1 = raw.header.message_id == 0 && raw.header.exchange_type != ExchangeType::INFORMATIONAL_V1;
        if phase_1 && raw.header.exchange_type == ExchangeType::AGGRESSIVE {
            self.complete |= from == Side::Initiator && payloads.of(PayloadType::SA).is_none();
        }
        for (raw, body) in payloads.raw.iter().zip(&payloads.bodies) {
            if phase_1 {
                self.understand_phase_1(from, raw, body, record.account);
            }
            if let Body::Notification(notification) = body {
                self.notified(notification.notify_type, from, record.account);
            }
        }
        let mut proofs =
            payloads.raw.iter().filter(|raw| matches!(raw.payload_type, PayloadType::HASH | PayloadType::SIG));
        if let Some(proof) = proofs.next().filter(|_| phase_1) {
            let check = self.check_identity(from, proof, record);
            record.proof.identity(from, check);
        }
    }

    fn understand_phase_1(&mut self, from: Side, raw: &RawPayload<'_>, body: &Body<'_>, account: &mut Account) {
        let peer = match from {
            Side::Initiator => &mut self.initiator,
            Side::Responder => &mut self.responder,
        };
        match body {
            Body::SecurityAssociation(sa) if from == Side::Initiator => {
                self.sai_b = kept(raw.body);
                account.offered = offer::offered_v1(sa);
            }
            Body::SecurityAssociation(sa) => {
                account.chosen = offer::chosen_v1(sa).unwrap_or_default();
                let transform = sa.proposals().first().and_then(|proposal| proposal.transforms.first());
                self.algorithms = transform.and_then(Algorithms::of);
            }
            Body::KeyExchange(ke) => peer.ke = kept(ke),
            Body::Nonce(nonce) => peer.nonce = kept(nonce),
            Body::Identification(id) => {
                peer.id = kept(raw.body);
                let value = certificate::identity(id.identity(), id.data);
                account.identities.push(IdentityEntry { from, kind: id.id_type.to_string(), value });
            }
            Body::Certificate(payload) => {
                if let Some(der) = certificate::der(payload) {
                    peer.certificate.get_or_insert_with(|| kept(der));
                    account.certificates.extend(certificate::entry(from, der));
                }
            }
            _ => {}
        }
    }

    fn notified(&mut self, notify: NotifyType, from: Side, account: &mut Account) {
        // An SA that has carried a quick mode lives on when another one is refused.
        if notify.is_error() && notify != NotifyType::NOTIFY_SA_LIFETIME && !self.child {
            let (fault, cause) = story::error_v1(notify, from);
            account.fail(fault, cause);
        }
    }

    /// HASH_I or HASH_R, or the signature of it.
    fn check_identity(&mut self, from: Side, proof: &RawPayload<'_>, record: &mut Record<'_>) -> Check {
        self.derive(record);
        let Some(Algorithms { hash, .. }) = self.algorithms else {
            return Check::Unknown;
        };
        let peer = if from == Side::Initiator { &self.initiator } else { &self.responder };
        let phase1 = Phase1 {
            g_xi: &self.initiator.ke,
            g_xr: &self.responder.ke,
            cky_i: &self.spis.0,
            cky_r: &self.spis.1,
            sai_b: &self.sai_b,
        };
        let prf = Prf::hmac(hash);
        let hashes: Vec<Option<Secret>> = self
            .keys
            .iter()
            .map(|keys| match (&keys.skeyid, from) {
                (Some(skeyid), Side::Initiator) => Some(phase1.hash_i(prf, skeyid, &peer.id)),
                (Some(skeyid), Side::Responder) => Some(phase1.hash_r(prf, skeyid, &peer.id)),
                (None, _) => None,
            })
            .collect();
        if hashes.iter().all(Option::is_none) {
            return Check::Unknown;
        }
        if proof.payload_type == PayloadType::SIG {
            let signed = hashes.into_iter().flatten().next();
            return match peer.certificate.as_deref().zip(signed) {
                Some((certificate, hash)) => rsa_signature_v1(certificate, hash.as_bytes(), proof.body),
                None => Check::Unknown,
            };
        }
        match hashes.iter().position(|hash| hash.as_ref().is_some_and(|hash| *hash == *proof.body)) {
            Some(at) => {
                self.keep(at);
                Check::Right
            }
            None => Check::Wrong,
        }
    }

    /// What came of it, and the keys that belong to it.
    pub(super) fn finish(&mut self, account: &mut Account) {
        if account.outcome != Outcome::Failed && (self.complete || self.quick) {
            account.outcome = Outcome::Established;
        } else if self.refused && !self.complete {
            account.fail(
                Fault::Both,
                "the responder answers the initiator's proof of identity with an encrypted notification: most likely the \
                 pre-shared keys, certificates or IDs do not match",
            );
        }
        if let Some(keys) = self.keys.first() {
            account.keys.splice(0..0, keys.named());
        }
    }
}
