//! Reading, opening and checking the messages of an IKEv2 SA (RFC 7296).

mod keys;
mod payloads;

use std::collections::BTreeMap;

use keyferry_parsers::ike::rules::Position;
use keyferry_parsers::ike::v2::{
    Authentication, AuthenticationMethod, Body, NotifyType, Payload, Proposal, ProtocolId, SecurityAssociation,
    TransformType,
};
use keyferry_parsers::ike::{Chain, ExchangeType, Flags, PayloadType, RawMessage};

use crate::hex;
use crate::ike::v2::algorithms;
use crate::ike::v2::keymat::{auth_shared_key, child_keymat, signed_octets};
use crate::replay::account::{Account, Fault, IdentityEntry, Outcome, Side};
use crate::replay::ike_secrets::Spi;

pub(super) use keys::Seed;

use keys::{Algorithms, Keys, chosen};
use payloads::Payloads;

use super::proof::{Check, signature_v2};
use super::sa::{Reading, Record};
use super::{certificate, kept, offer, story};

/// Exchanges of which the request is remembered.
const MAX_EXCHANGES: usize = 64;
/// Bytes of an Encrypted payload that hold a single notification, with the largest IV, padding and checksum: an answer to
/// IKE_AUTH with identity and AUTH in it is longer.
const LONE_NOTIFICATION: usize = 16 + 32 + 24;

/// What is known of an IKEv2 SA.
#[derive(Default)]
pub(super) struct V2 {
    spis: (Spi, Spi),
    initiator: Peer,
    responder: Peer,
    algorithms: Option<Algorithms>,
    keys: Option<Keys>,
    requests: BTreeMap<(bool, u32), Request>,
    /// What an SA that was rekeyed passes on to this one.
    seed: Option<Seed>,
    /// Of a rekey of this SA, for the tracker.
    pub(super) successor: Option<(Spi, Spi, Seed)>,
    /// The group that the responder wants instead.
    wrong_group: bool,
    authenticated: bool,
    /// AUTH is about more than is followed here: EAP's key, IKE_INTERMEDIATE (RFC 9242), a post-quantum key (RFC 8784).
    auth_beyond: bool,
    /// The last answer to IKE_AUTH could not be read, and was as short as a refusal.
    short_answer: bool,
    /// A further exchange was answered.
    used: bool,
}

/// What one side has sent.
#[derive(Default)]
struct Peer {
    /// Its last IKE_SA_INIT message.
    init: Vec<u8>,
    nonce: Vec<u8>,
    id: Vec<u8>,
    certificate: Option<Vec<u8>>,
}

/// A request that makes an SA.
#[derive(Default, Clone)]
struct Request {
    nonce: Vec<u8>,
    ke: bool,
    /// Of the IKE SA that is to replace this one.
    ike_spi: Option<Spi>,
    child_spi: Vec<u8>,
}

impl V2 {
    pub(super) fn new(spis: (Spi, Spi)) -> Self {
        Self { spis, ..Self::default() }
    }

    pub(super) fn set_responder_spi(&mut self, spi: Spi) {
        self.spis.1 = spi;
    }

    /// No algorithms were chosen, nor a further exchange seen.
    pub(super) fn is_undecided(&self) -> bool {
        self.responder.nonce.is_empty() && !self.initiator.init.is_empty() && !self.used
    }

    /// It replaces an SA that was opened.
    pub(super) fn set_seed(&mut self, seed: Seed) {
        self.algorithms = Some(seed.algorithms);
        self.authenticated = true;
        self.seed = Some(seed);
    }

    /// Takes one message that was not there before: `pieces` are the datagrams that it came in, `raw` the first of them.
    pub(super) fn read(
        &mut self,
        raw: &RawMessage<'_>,
        pieces: &[&[u8]],
        from: Side,
        record: &mut Record<'_>,
    ) -> Reading {
        record.proof.has_secrets =
            record.secrets.are_for(self.spis) || (self.seed.is_none() && !record.secrets.psks(self.spis).is_empty());
        let response = raw.header.flags.contains(Flags::RESPONSE);
        let position = if response { Position::Response } else { Position::Request };
        let clear = Payloads::read(raw.payloads());
        if raw.header.exchange_type == ExchangeType::IKE_SA_INIT {
            let peer = if from == Side::Initiator { &mut self.initiator } else { &mut self.responder };
            peer.init = pieces.first().map(|bytes| kept(bytes)).unwrap_or_default();
        }
        self.used |=
            response && !matches!(raw.header.exchange_type, ExchangeType::IKE_SA_INIT | ExchangeType::IKE_AUTH);
        self.understand(raw, from, &clear, record);
        let is_encrypted = |types: &PayloadType| matches!(*types, PayloadType::V2_SK | PayloadType::V2_SKF);
        if !clear.types.last().is_some_and(is_encrypted) || clear.malformed.is_some() {
            return Reading { clear: clear.types, inner: Some(Vec::new()), malformed: clear.malformed, position };
        }
        self.derive(record);
        match self.open(pieces, from) {
            Ok((first, plain)) => {
                record.proof.message(Check::Right);
                let inner = Payloads::read(Chain::v2(first, &plain));
                self.understand(raw, from, &inner, record);
                Reading { clear: clear.types, inner: Some(inner.types), malformed: inner.malformed, position }
            }
            Err(check) => {
                record.proof.message(check);
                if raw.header.exchange_type == ExchangeType::IKE_AUTH && from == Side::Responder {
                    let length = clear.bodies.last().map_or(0, encrypted_length);
                    self.short_answer = pieces.len() == 1 && length <= LONE_NOTIFICATION;
                    self.authenticated = !self.short_answer;
                }
                let wrong = "its integrity checksum is wrong: a secret does not belong here, or it was altered";
                let malformed = (check == Check::Wrong).then(|| wrong.to_owned());
                Reading { clear: clear.types, inner: None, malformed, position }
            }
        }
    }

    /// What is inside the SK payload, or the SKF payloads, and the type of the first payload there.
    fn open(&self, pieces: &[&[u8]], from: Side) -> Result<(PayloadType, Vec<u8>), Check> {
        let keys = self.keys.as_ref().ok_or(Check::Unknown)?;
        let [i, r] = [0, 1];
        let at = if from == Side::Initiator { i } else { r };
        let (sk_e, sk_a) = keys.sk_e.get(at).zip(keys.sk_a.get(at)).ok_or(Check::Unknown)?;
        let (mut first, mut plain) = (None, Vec::new());
        for piece in pieces {
            let raw = RawMessage::parse(piece).map_err(|_| Check::Unknown)?;
            let last = raw.payloads().last().and_then(Result::ok).ok_or(Check::Unknown)?;
            let payload = Payload::from_raw(last).map_err(|_| Check::Unknown)?;
            let body = piece.len().saturating_sub(encrypted_length(&payload.body));
            first.get_or_insert(last.next_payload);
            plain.extend(keys.protection.open(sk_e, sk_a, piece, body).map_err(|_| Check::Wrong)?);
        }
        Ok((first.unwrap_or(PayloadType::NONE), plain))
    }

    fn derive(&mut self, record: &mut Record<'_>) {
        if self.keys.is_some() {
            return;
        }
        let secrets = record.secrets;
        let derived = secrets.g_ir(self.spis).zip(self.algorithms).and_then(|(g_ir, algorithms)| {
            let first = (self.initiator.nonce.as_slice(), self.responder.nonce.as_slice());
            Keys::derive(algorithms, g_ir, self.seed.as_ref(), first, &self.spis)
        });
        if let Some(keys) = &derived {
            record.account.keys.extend(keys.named());
            record.proof.without_identities |= self.seed.is_some();
        }
        self.keys = derived.or_else(|| {
            let table = secrets.v2_keys(self.spis)?;
            record.proof.without_identities = true;
            Some(Keys::of_table(table))
        });
    }

    /// Keeps what later messages need, and tells the account.
    fn understand(&mut self, raw: &RawMessage<'_>, from: Side, payloads: &Payloads<'_>, record: &mut Record<'_>) {
        let exchange = raw.header.exchange_type;
        let response = raw.header.flags.contains(Flags::RESPONSE);
        self.auth_beyond |= exchange == ExchangeType::IKE_INTERMEDIATE;
        if exchange == ExchangeType::IKE_SA_INIT {
            self.understand_init(from, response, payloads, record.account);
        }
        for (body, bytes) in payloads.bodies.iter().zip(&payloads.bytes) {
            let peer = if from == Side::Initiator { &mut self.initiator } else { &mut self.responder };
            match body {
                Body::IdI(id) | Body::IdR(id) => {
                    // The initiator may name the responder it wants (RFC 7296 section 1.2).
                    let own = matches!(body, Body::IdI(_)) == (from == Side::Initiator);
                    if own {
                        peer.id = kept(bytes);
                        let value = certificate::identity(id.identity(), id.data);
                        record.account.identities.push(IdentityEntry { from, kind: id.id_type.to_string(), value });
                    }
                }
                Body::Certificate(payload) => {
                    if let Some(der) = certificate::der(payload) {
                        peer.certificate.get_or_insert_with(|| kept(der));
                        record.account.certificates.extend(certificate::entry(from, der));
                    }
                }
                Body::Eap(_) => self.auth_beyond = true,
                Body::Notify(notify) if notify.notify_type == NotifyType::PPK_IDENTITY => self.auth_beyond = true,
                Body::Notify(notify) => self.notified(exchange, notify.notify_type, from, record.account),
                _ => {}
            }
        }
        for body in &payloads.bodies {
            if let Body::Authentication(auth) = body {
                let check = self.check_auth(from, auth, record);
                record.proof.identity(from, check);
                record.account.chosen.auth = Some(auth.method.to_string());
                weak_signature(record.account, auth);
                self.authenticated |= from == Side::Responder;
            }
        }
        if matches!(exchange, ExchangeType::IKE_AUTH | ExchangeType::CREATE_CHILD_SA) {
            self.understand_sa(raw, from, response, payloads, record.account);
        }
    }

    fn understand_init(&mut self, from: Side, response: bool, payloads: &Payloads<'_>, account: &mut Account) {
        for body in &payloads.bodies {
            let peer = if from == Side::Initiator { &mut self.initiator } else { &mut self.responder };
            match body {
                Body::Nonce(nonce) => peer.nonce = kept(nonce),
                Body::SecurityAssociation(sa) if response => {
                    account.chosen = offer::chosen_v2(sa).unwrap_or_default();
                    self.algorithms = sa.proposals.first().and_then(chosen);
                    self.wrong_group = false;
                }
                Body::SecurityAssociation(sa) => account.offered = offer::offered_v2(sa),
                _ => {}
            }
        }
    }

    fn notified(&mut self, exchange: ExchangeType, notify: NotifyType, from: Side, account: &mut Account) {
        if !notify.is_error() {
            return;
        }
        if exchange == ExchangeType::IKE_SA_INIT && notify == NotifyType::INVALID_KE_PAYLOAD {
            self.wrong_group = true;
            return;
        }
        // What is refused later leaves the IKE SA and its first child as they were.
        let counts = match exchange {
            ExchangeType::IKE_SA_INIT | ExchangeType::IKE_AUTH => true,
            _ => matches!(notify, NotifyType::AUTHENTICATION_FAILED | NotifyType::INVALID_SYNTAX),
        };
        if counts {
            let (fault, cause) = story::error_v2(notify, from);
            account.fail(fault, cause);
        }
    }

    fn check_auth(&self, from: Side, auth: &Authentication<'_>, record: &Record<'_>) -> Check {
        let Some((prf, sk)) = self.keys.as_ref().and_then(|keys| keys.derived.as_ref()) else {
            // A table of keys proves integrity, and that is all it can.
            return if self.keys.is_some() { Check::Right } else { Check::Unknown };
        };
        if self.auth_beyond {
            return Check::Unknown;
        }
        let (peer, other, sk_p) = match from {
            Side::Initiator => (&self.initiator, &self.responder, &sk.sk_pi),
            Side::Responder => (&self.responder, &self.initiator, &sk.sk_pr),
        };
        let octets = signed_octets(*prf, &peer.init, &other.nonce, sk_p, &peer.id, None);
        if auth.method != AuthenticationMethod::SHARED_KEY_MIC {
            return peer.certificate.as_deref().map_or(Check::Unknown, |der| signature_v2(der, auth, &octets));
        }
        let psks = record.secrets.psks(self.spis);
        if psks.is_empty() {
            return Check::Unknown;
        }
        psks.into_iter().any(|psk| auth_shared_key(*prf, psk.as_bytes(), &octets) == *auth.data).into()
    }

    /// What makes a child, or the next IKE SA.
    fn understand_sa(
        &mut self,
        raw: &RawMessage<'_>,
        from: Side,
        response: bool,
        payloads: &Payloads<'_>,
        account: &mut Account,
    ) {
        let mut request = Request::default();
        let mut proposals: &[Proposal<'_>] = &[];
        for body in &payloads.bodies {
            match body {
                Body::Nonce(nonce) => request.nonce = kept(nonce),
                Body::KeyExchange(_) => request.ke = true,
                Body::SecurityAssociation(sa) => proposals = &sa.proposals,
                _ => {}
            }
        }
        let Some((prf, sk)) = self.keys.as_ref().and_then(|keys| keys.derived.as_ref()) else { return };
        let Some(proposal) = proposals.first() else { return };
        request.ike_spi = proposal.spi.try_into().ok().filter(|_| proposal.protocol_id == ProtocolId::IKE);
        request.child_spi = proposal.spi.to_vec();
        let id = ((from == Side::Initiator) != response, raw.header.message_id);
        if !response {
            if self.requests.len() >= MAX_EXCHANGES {
                self.requests.pop_first();
            }
            self.requests.insert(id, request);
            return;
        }
        let Some(asked) = self.requests.remove(&id) else { return };
        if let (Some(spi_i), Some(spi_r)) = (asked.ike_spi, request.ike_spi) {
            self.successor = chosen(proposal).map(|algorithms| {
                let sa = SecurityAssociation { proposals: vec![proposal.clone()] };
                let seed = Seed {
                    old_prf: *prf,
                    sk_d: sk.sk_d.duplicate(),
                    ni: asked.nonce,
                    nr: request.nonce,
                    algorithms,
                    offered: offer::offered_v2(&sa),
                    chosen: offer::chosen_v2(&sa).unwrap_or_default(),
                };
                (spi_i, spi_r, seed)
            });
            return;
        }
        if asked.ke || request.ke {
            return;
        }
        let (ni, nr) = match raw.header.exchange_type {
            ExchangeType::IKE_AUTH => (&self.initiator.nonce, &self.responder.nonce),
            _ => (&asked.nonce, &request.nonce),
        };
        let first = |transform_type| proposal.of_type(transform_type).next();
        let integ = first(TransformType::INTEG).map(|transform| transform.transform_id);
        let lengths =
            first(TransformType::ENCR).and_then(|encr| algorithms::esp(encr.transform_id, encr.key_length(), integ));
        let keymat = lengths
            .and_then(|lengths| child_keymat(*prf, &sk.sk_d, None, (ni, nr), &[], lengths.total().saturating_mul(2)));
        if let Some(keymat) = keymat {
            let (i, r) = (hex::encode(&asked.child_spi), hex::encode(&request.child_spi));
            account.keys.push((format!("KEYMAT {} {i} {r}", proposal.protocol_id), hex::encode(keymat.as_bytes())));
        }
    }

    /// What came of it.
    pub(super) fn finish(&mut self, account: &mut Account) {
        if self.wrong_group {
            let (fault, cause) = story::error_v2(NotifyType::INVALID_KE_PAYLOAD, Side::Responder);
            account.fail(fault, cause);
        }
        if account.outcome == Outcome::Failed {
            return;
        }
        if self.authenticated || self.used {
            account.outcome = Outcome::Established;
        } else if self.short_answer {
            account.fail(
                Fault::Both,
                "the answer to IKE_AUTH is encrypted and as short as a refusal: most likely AUTHENTICATION_FAILED or no \
                 common child SA; with secrets it can be read",
            );
        }
    }
}

/// From the IV to the checksum.
fn encrypted_length(body: &Body<'_>) -> usize {
    match body {
        Body::Encrypted(encrypted) => encrypted.data.len(),
        Body::EncryptedFragment(fragment) => fragment.data.len(),
        _ => 0,
    }
}

fn weak_signature(account: &mut Account, auth: &Authentication<'_>) {
    const SHA1_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05];
    let digital = auth.digital_signature().map(|digital| digital.algorithm_identifier);
    let by_name = digital.is_some_and(|name| name.windows(SHA1_WITH_RSA.len()).any(|window| window == SHA1_WITH_RSA));
    if by_name || auth.method == AuthenticationMethod::RSA_DIGITAL_SIGNATURE {
        account.weakness("signatures with SHA-1");
    }
}
