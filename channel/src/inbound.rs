//! The peer's requests: authentication, freshness, block-wise bodies, and our answers.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use zeroize::Zeroizing;

use crate::Instant;
use crate::block::{Assembly, Block, BodyKey, MAX_BODY, RequestTags, SIZE_EXPONENT, Served, WHOLE_PAYLOAD, append};
use crate::coap::{Code, Content, Kind, Message, Method, OptionNumber, OptionWriter, Options, Token, emit_payload};
use crate::endpoint::Endpoint;
use crate::epoch::{Epoch, parse_epoch};
use crate::event::{Event, ExchangeId, Output, Refused};
use crate::exchange::{MessageDigest, Retransmission, Separate, digest};
use crate::oscore::{OscoreOption, Outer, PartialIv};
use crate::outbound::MAX_PATH;
use crate::replay::{Freshness, ReplayWindow};
use crate::short::Short;

/// A request that waits for its answer from above.
pub(crate) struct Inbound {
    exchange: ExchangeId,
    key: BodyKey,
    /// Of the last block of its body, to be repeated in the answer.
    block1: Option<Block>,
    /// The block size the peer asked for.
    size_exponent: Option<u8>,
    pub reply: Reply,
    /// When the peer gets an empty acknowledgement; `None`: it has, or needs none.
    acknowledge_at: Option<Instant>,
    until: Instant,
}

/// What an answer needs to know of its request.
pub(crate) struct Reply {
    kind: Kind,
    message_id: u16,
    token: Token,
    pub epoch: u32,
    partial_iv: PartialIv,
    digest: MessageDigest,
}

/// The Echo value that proves a request to be younger than our challenge.
pub(crate) struct Challenge {
    value: [u8; 8],
    made: Instant,
}

/// What an answer carries besides code and payload.
#[derive(Default)]
struct AnswerOptions {
    etag: Option<Short<8>>,
    block2: Option<Block>,
    block1: Option<Block>,
    echo: Option<[u8; 8]>,
}

impl Inbound {
    pub fn deadline(&self) -> (Instant, &'static str) {
        match self.acknowledge_at {
            Some(at) => (at, "acknowledge a request not answered yet"),
            None => (self.until, "forget a request not answered"),
        }
    }
}

impl Endpoint {
    pub(crate) fn receive_request(
        &mut self,
        bytes: &[u8],
        message: &Message<'_>,
        option: &OscoreOption<'_>,
        path_is_new: bool,
    ) -> Result<(), Refused> {
        if option.kid != Some(self.settings.peer.as_bytes()) {
            return Err(Refused::UnknownKid);
        }
        if !matches!(message.kind, Kind::Confirmable | Kind::NonConfirmable) {
            return Err(Refused::Malformed);
        }
        let partial_iv = option.partial_iv.ok_or(Refused::Malformed)?;
        let epoch = option.kid_context.and_then(parse_epoch).ok_or(Refused::Malformed)?;
        let digest = digest(bytes);
        if self.answer_again(&digest, path_is_new)? {
            return Ok(());
        }
        let content = self.open_request(epoch, partial_iv, message.payload)?;
        let (kind, message_id, token) = (message.kind, message.message_id, message.token);
        let reply = Reply { kind, message_id, token, epoch, partial_iv, digest };
        self.check_freshness(&reply, &content, path_is_new)?;
        self.push(Output::Event(Event::Heard));
        self.accept(reply, &content)
    }

    /// Repeats the answer to a message seen before. A sender at a new address gets none but a challenge: it may be anybody
    /// who replays a recording.
    pub(crate) fn answer_again(&mut self, digest: &MessageDigest, path_is_new: bool) -> Result<bool, Refused> {
        let datagram = match self.answered.find(digest) {
            Some((_, any_path)) if path_is_new && !any_path => return Err(Refused::Replayed),
            Some((datagram, _)) => datagram.to_vec(),
            None => {
                let open = self.inbound.iter().any(|inbound| inbound.reply.digest == *digest);
                // Its answer is not ready; the acknowledgement will come in time.
                return if open && path_is_new { Err(Refused::Replayed) } else { Ok(open) };
            }
        };
        self.push(Output::Transmit(datagram));
        Ok(true)
    }

    /// Decrypts, and follows the peer into a later epoch if the message proves it.
    fn open_request(
        &mut self,
        number: u32,
        partial_iv: PartialIv,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Refused> {
        if let Some(epoch) = self.epochs.find(number) {
            let content = epoch.context.unprotect_request(partial_iv, ciphertext).ok_or(Refused::NotAuthentic)?;
            if number == self.epochs.current.number {
                self.confirm();
            }
            return Ok(content);
        }
        let key = self.key_ahead(number)?;
        let mut epoch = Epoch::derive(number, &key, &self.settings, ReplayWindow::fresh());
        let content = epoch.context.unprotect_request(partial_iv, ciphertext).ok_or(Refused::NotAuthentic)?;
        self.follow(key, epoch);
        Ok(content)
    }

    /// The replay window and, where it or the path demands it, Echo (RFC 8613 appendix B.1.2, RFC 9175 section 2).
    fn check_freshness(&mut self, reply: &Reply, content: &[u8], path_is_new: bool) -> Result<(), Refused> {
        let number = reply.partial_iv.sequence_number();
        let freshness = self.window_of(reply)?.check(number);
        if freshness == Freshness::Replayed {
            return Err(Refused::Replayed);
        }
        let proved = self.proves_freshness(content);
        if proved || freshness == Freshness::Fresh && !path_is_new {
            self.make_room()?;
            match freshness {
                Freshness::Fresh => self.window_of(reply)?.mark(number),
                _ => self.window_of(reply)?.mark_proved(number),
            }
            return Ok(());
        }
        match freshness {
            Freshness::Fresh => self.window_of(reply)?.mark(number),
            _ => self.window_of(reply)?.doubt(number),
        }
        self.send_challenge(reply)?;
        Err(Refused::EchoRequired)
    }

    /// For one exchange more. A peer that leaves answers unacknowledged may have no use for them, but it has for this one.
    fn make_room(&mut self) -> Result<(), Refused> {
        if self.inbound.len().saturating_add(self.separate.len()) < MAX_EXCHANGES {
            return Ok(());
        }
        if self.separate.is_empty() {
            return Err(Refused::Overloaded);
        }
        // The oldest is in front.
        self.separate.remove(0);
        Ok(())
    }

    fn window_of(&mut self, reply: &Reply) -> Result<&mut ReplayWindow, Refused> {
        Ok(&mut self.epochs.find(reply.epoch).ok_or(Refused::EpochPassed)?.window)
    }

    fn proves_freshness(&self, content: &[u8]) -> bool {
        let Some(challenge) = &self.challenge else { return false };
        let echo = Content::parse(content).ok().and_then(|content| content.options.find(OptionNumber::ECHO));
        echo == Some(challenge.value.as_slice())
    }

    /// A protected 4.01 with an Echo value, under a Partial IV of our own: before the restart the request's nonce may have
    /// served for another answer.
    fn send_challenge(&mut self, reply: &Reply) -> Result<(), Refused> {
        let (now, seed) = (self.now, &mut self.seed);
        let fresh = |challenge: &Challenge| now.saturating_duration_since(challenge.made) < CHALLENGE_LIFETIME;
        let challenge = self.challenge.take().filter(fresh);
        let challenge = challenge.unwrap_or_else(|| Challenge { value: seed.draw(), made: now });
        let options = AnswerOptions { echo: Some(challenge.value), ..AnswerOptions::default() };
        self.challenge = Some(challenge);
        let content = answer_content(Code::UNAUTHORIZED, &options, &[]);
        let own = Some(self.next_partial_iv()?);
        self.send_answer(reply, false, own, &content)
    }

    /// An authentic, fresh request: mistakes in it get a protected answer.
    fn accept(&mut self, reply: Reply, content: &[u8]) -> Result<(), Refused> {
        match self.interpret(reply, content) {
            Ok(result) => result,
            // Where nobody waits for an acknowledgement, what cannot be understood gets silence (RFC 7252 section 5.4.1).
            Err((reply, Code::BAD_OPTION)) if reply.kind == Kind::NonConfirmable => Err(Refused::Malformed),
            Err((reply, code)) => {
                self.send_answer(&reply, false, None, &answer_content(code, &AnswerOptions::default(), &[]))
            }
        }
    }

    fn interpret(&mut self, reply: Reply, content: &[u8]) -> Result<Result<(), Refused>, (Reply, Code)> {
        let parsed = match Asked::parse(content) {
            Ok(parsed) => parsed,
            Err(code) => return Err((reply, code)),
        };
        let Asked { key, block1, block2, payload } = parsed;
        if let Some(block) = block2.filter(|block| block.number > 0) {
            return match self.serve(&key, block) {
                Ok(content) => Ok(self.send_answer(&reply, false, None, &content)),
                Err(code) => Err((reply, code)),
            };
        }
        let payload = match block1.filter(|block| block.number > 0 || block.more) {
            None => Zeroizing::new(payload.to_vec()),
            Some(block) => match self.assemble(&key, block, payload) {
                Ok(Some(body)) => body,
                Ok(None) => {
                    let options = AnswerOptions { block1: Some(block), ..AnswerOptions::default() };
                    return Ok(self.send_answer(&reply, false, None, &answer_content(Code::CONTINUE, &options, &[])));
                }
                Err(code) => return Err((reply, code)),
            },
        };
        self.deliver(reply, key, block1, block2, payload);
        Ok(Ok(()))
    }

    fn deliver(
        &mut self,
        reply: Reply,
        key: BodyKey,
        block1: Option<Block>,
        block2: Option<Block>,
        payload: Zeroizing<Vec<u8>>,
    ) {
        let exchange = self.next_exchange();
        let (code, path) = (key.method, key.path.clone());
        let acknowledge_at = (reply.kind == Kind::Confirmable).then(|| self.now + ACKNOWLEDGE_AFTER);
        let until = self.now + ANSWER_WITHIN;
        let size_exponent = block2.map(|block| block.size_exponent);
        self.inbound.push(Inbound { exchange, key, block1, size_exponent, reply, acknowledge_at, until });
        self.push(Output::Event(Event::Request { exchange, code, path, payload }));
    }

    /// Adds a block to the one body in assembly; the whole body if it was the last.
    fn assemble(&mut self, key: &BodyKey, block: Block, piece: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Code> {
        if block.more && piece.len() != block.size() || piece.len() > block.size() {
            return Err(Code::BAD_REQUEST);
        }
        let until = self.now + BODY_LIFETIME;
        if block.number == 0 {
            self.assembly = Some(Assembly { key: key.clone(), body: Zeroizing::new(Vec::new()), until });
        }
        let assembly = self.assembly.as_mut().filter(|assembly| assembly.key == *key);
        let assembly = assembly.filter(|assembly| assembly.body.len() == block.offset());
        let assembly = assembly.ok_or(Code::REQUEST_ENTITY_INCOMPLETE)?;
        if assembly.body.len().saturating_add(piece.len()) > MAX_BODY {
            self.assembly = None;
            return Err(Code::REQUEST_ENTITY_TOO_LARGE);
        }
        append(&mut assembly.body, piece);
        assembly.until = until;
        Ok(if block.more { None } else { self.assembly.take().map(|assembly| assembly.body) })
    }

    /// A later block of the long answer the peer is fetching.
    fn serve(&mut self, key: &BodyKey, block: Block) -> Result<Zeroizing<Vec<u8>>, Code> {
        let until = self.now + BODY_LIFETIME;
        let served = self.served.as_mut().filter(|served| served.key == *key);
        let served = served.ok_or(Code::REQUEST_ENTITY_INCOMPLETE)?;
        let (block, piece) = Block::cut(&served.body, block.offset(), block.size_exponent).ok_or(Code::BAD_OPTION)?;
        served.until = until;
        let options = AnswerOptions { etag: Some(served.etag), block2: Some(block), ..AnswerOptions::default() };
        let content = answer_content(served.code, &options, piece);
        if !block.more {
            self.served = None;
        }
        Ok(content)
    }

    pub(crate) fn respond(
        &mut self,
        exchange: ExchangeId,
        code: Code,
        payload: Zeroizing<Vec<u8>>,
    ) -> Result<(), Refused> {
        if payload.len() > MAX_BODY {
            return Err(Refused::TooLarge);
        }
        let at = self.inbound.iter().position(|inbound| inbound.exchange == exchange).ok_or(Refused::Unmatched)?;
        let inbound = self.inbound.remove(at);
        let acknowledged = inbound.acknowledge_at.is_none();
        let (reply, mut options) = (inbound.reply, AnswerOptions { block1: inbound.block1, ..Default::default() });
        let asked = inbound.size_exponent.map(|exponent| 16 << exponent);
        let content = if payload.len() <= asked.unwrap_or(WHOLE_PAYLOAD).min(WHOLE_PAYLOAD) {
            answer_content(code, &options, &payload)
        } else if self.served.is_some() {
            answer_content(Code::SERVICE_UNAVAILABLE, &options, &[])
        } else {
            let etag = Short::new(&self.seed.draw()).unwrap_or(Short::EMPTY);
            let exponent = inbound.size_exponent.unwrap_or(SIZE_EXPONENT).min(SIZE_EXPONENT);
            let (block, piece) = Block::cut(&payload, 0, exponent).ok_or(Refused::TooLarge)?;
            (options.etag, options.block2) = (Some(etag), Some(block));
            let content = answer_content(code, &options, piece);
            let until = self.now + BODY_LIFETIME;
            self.served = Some(Served { key: inbound.key, code, body: payload, etag, until });
            content
        };
        self.send_answer(&reply, acknowledged, None, &content)
    }

    /// Sends an answer: on the acknowledgement, or as a message of its own when that has gone.
    fn send_answer(
        &mut self,
        reply: &Reply,
        acknowledged: bool,
        own: Option<PartialIv>,
        content: &[u8],
    ) -> Result<(), Refused> {
        let kind = match reply.kind {
            Kind::Confirmable if acknowledged => Kind::Confirmable,
            Kind::Confirmable => Kind::Acknowledgement,
            _ => Kind::NonConfirmable,
        };
        let piggybacked = kind == Kind::Acknowledgement;
        let message_id = if piggybacked { reply.message_id } else { self.next_message_id() };
        let outer = Outer { kind, message_id, token: &reply.token, uri_host: None };
        let context = &mut self.epochs.find(reply.epoch).ok_or(Refused::EpochPassed)?.context;
        let datagram = context.protect_response(&outer, reply.partial_iv, own, content).ok_or(Refused::TooLarge)?;
        self.push(Output::Transmit(datagram.clone()));
        if kind == Kind::Confirmable {
            let retransmission = Retransmission::start(self.now, &mut self.seed);
            self.separate.push(Separate { epoch: reply.epoch, message_id, datagram, retransmission });
        } else if piggybacked {
            self.answered.remember(reply.digest, datagram, own.is_some(), self.now);
        }
        Ok(())
    }

    pub(crate) fn expire_inbound(&mut self) {
        let now = self.now;
        for at in 0..self.inbound.len() {
            let Some(inbound) = self.inbound.get_mut(at) else { continue };
            if inbound.acknowledge_at.is_some_and(|at| at <= now) {
                inbound.acknowledge_at = None;
                let acknowledgement = empty_acknowledgement(inbound.reply.message_id);
                self.answered.remember(inbound.reply.digest, acknowledgement.clone(), false, now);
                self.push(Output::Transmit(acknowledgement));
            }
        }
        self.inbound.retain(|inbound| inbound.until > now);
        self.expire_separate();
        self.assembly = self.assembly.take().filter(|assembly| assembly.until > now);
        self.served = self.served.take().filter(|served| served.until > now);
    }

    fn expire_separate(&mut self) {
        let now = self.now;
        let mut again = Vec::new();
        self.separate.retain_mut(|separate| {
            if separate.retransmission.at > now {
                return true;
            }
            let more = separate.retransmission.again(now);
            if more {
                again.push(separate.datagram.clone());
            }
            more
        });
        again.into_iter().for_each(|datagram| self.push(Output::Transmit(datagram)));
    }
}

/// A request, taken apart.
struct Asked<'a> {
    key: BodyKey,
    block1: Option<Block>,
    block2: Option<Block>,
    payload: &'a [u8],
}

impl<'a> Asked<'a> {
    /// The error is what the peer gets.
    fn parse(content: &'a [u8]) -> Result<Self, Code> {
        let content = Content::parse(content).map_err(|_| Code::BAD_REQUEST)?;
        if !content.code.is_request() {
            return Err(Code::BAD_REQUEST);
        }
        content.options.check(&REQUEST_OPTIONS).map_err(|_| Code::BAD_OPTION)?;
        let (path, request_tags) = (path(&content.options)?, RequestTags::of(&content.options));
        let key = BodyKey { method: Method(content.code.0), path, request_tags };
        let block = |number| match content.options.find(number).map(Block::parse) {
            Some(None) => Err(Code::BAD_OPTION),
            found => Ok(found.flatten()),
        };
        let (block1, block2) = (block(OptionNumber::BLOCK1)?, block(OptionNumber::BLOCK2)?);
        Ok(Self { key, block1, block2, payload: content.payload })
    }
}

/// The Uri-Path segments, each behind a slash.
fn path(options: &Options<'_>) -> Result<String, Code> {
    let mut path = String::with_capacity(16);
    for (number, segment) in options.iter() {
        if number != OptionNumber::URI_PATH {
            continue;
        }
        let segment = core::str::from_utf8(segment).map_err(|_| Code::BAD_REQUEST)?;
        if segment.contains('/') {
            return Err(Code::BAD_REQUEST);
        }
        path.push('/');
        path.push_str(segment);
        if path.len() > MAX_PATH {
            return Err(Code::NOT_FOUND);
        }
    }
    Ok(path)
}

/// What OSCORE encrypts, for an answer.
fn answer_content(code: Code, answer: &AnswerOptions, payload: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut content = Zeroizing::new(Vec::with_capacity(payload.len().saturating_add(40)));
    content.push(code.0);
    let mut options = OptionWriter::new(&mut content);
    if let Some(etag) = &answer.etag {
        options.push(OptionNumber::ETAG, etag.as_bytes());
    }
    if let Some(block2) = answer.block2 {
        options.push_uint(OptionNumber::BLOCK2, block2.value());
    }
    if let Some(block1) = answer.block1 {
        options.push_uint(OptionNumber::BLOCK1, block1.value());
    }
    if let Some(echo) = &answer.echo {
        options.push(OptionNumber::ECHO, echo);
    }
    emit_payload(&mut content, payload);
    content
}

pub(crate) fn empty_acknowledgement(message_id: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(4);
    crate::coap::emit_header(&mut out, Kind::Acknowledgement, Code::EMPTY, message_id, &Token::EMPTY);
    out
}

const REQUEST_OPTIONS: [OptionNumber; 3] = [OptionNumber::URI_PATH, OptionNumber::BLOCK2, OptionNumber::BLOCK1];
const MAX_EXCHANGES: usize = 16;
/// Half of the peer's ACK_TIMEOUT, so that the acknowledgement is there before it sends again.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const BODY_LIFETIME: Duration = Duration::from_secs(60);
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
