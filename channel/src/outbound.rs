//! Our requests: queue, protection, retransmission, and the answer.

use alloc::string::String;
use alloc::vec::Vec;

use zeroize::Zeroizing;

use crate::Instant;
use crate::block::{Block, MAX_BODY, SIZE_EXPONENT, WHOLE_PAYLOAD, append};
use crate::coap::{Code, Content, Kind, Message, Method, OptionNumber, OptionWriter, Token, emit_payload};
use crate::endpoint::Endpoint;
use crate::epoch::Readiness;
use crate::event::{Event, Failure, Output, Refused, RequestId};
use crate::exchange::{EXCHANGE_LIFETIME, Retransmission, digest};
use crate::inbound::empty_acknowledgement;
use crate::oscore::{OscoreOption, Outer, PartialIv};
use crate::short::Short;

/// A request, sent or not. Its plaintext stays until the answer, for a repetition with Echo: an empty acknowledgement is
/// not authenticated and so proves nothing.
pub(crate) struct Request {
    id: RequestId,
    method: Method,
    /// Segments, each behind a slash.
    path: String,
    payload: Zeroizing<Vec<u8>>,
    handover: bool,
    /// The epoch whose hand-overs it was counted among.
    counted: Option<u32>,
    /// From the peer's challenge, and the epoch it came under: it may go back under no other (RFC 9175 section 2.3).
    echo: Option<(u32, Short<40>)>,
    upload: Option<Upload>,
    download: Option<Download>,
}

/// How far a long payload has gone.
struct Upload {
    offset: usize,
    /// Bytes in the block that is on its way.
    piece: usize,
    size_exponent: u8,
    request_tag: Short<8>,
}

/// What has come of a long answer.
struct Download {
    body: Zeroizing<Vec<u8>>,
    size_exponent: u8,
    etag: Option<Short<8>>,
}

/// A request under way.
pub(crate) struct Outbound {
    request: Request,
    pub sent: Sent,
}

/// The message that carries it. Ciphertext.
pub(crate) struct Sent {
    pub epoch: u32,
    partial_iv: PartialIv,
    token: Token,
    message_id: u16,
    datagram: Vec<u8>,
    wait: Wait,
    hurried: bool,
}

enum Wait {
    Acknowledgement(Retransmission),
    Response(Instant),
}

impl Outbound {
    pub fn deadline(&self) -> (Instant, &'static str) {
        self.sent.deadline()
    }
}

impl Endpoint {
    pub(crate) fn request(
        &mut self,
        id: RequestId,
        method: Method,
        segments: &[&str],
        payload: Zeroizing<Vec<u8>>,
        handover: bool,
    ) -> Result<(), Refused> {
        let mut path = String::with_capacity(16);
        for segment in segments {
            path.push('/');
            path.push_str(segment);
        }
        if payload.len() > MAX_BODY || path.len() > MAX_PATH {
            return Err(Refused::TooLarge);
        }
        if self.queue.len() >= MAX_QUEUED {
            return Err(Refused::Overloaded);
        }
        if self.queue.is_empty() && self.outbound.is_empty() && self.prepare_epoch(handover) == Readiness::PeerSilent {
            return Err(Refused::PeerSilent);
        }
        let upload = (payload.len() > WHOLE_PAYLOAD).then(|| Upload {
            offset: 0,
            piece: 0,
            size_exponent: SIZE_EXPONENT,
            request_tag: Short::new(&self.seed.draw()).unwrap_or(Short::EMPTY),
        });
        let (counted, echo, download) = (None, None, None);
        self.queue.push_back(Request { id, method, path, payload, handover, counted, echo, upload, download });
        Ok(())
    }

    pub(crate) fn cancel(&mut self, id: RequestId) -> Result<(), Refused> {
        let queued = self.queue.iter().any(|request| request.id == id);
        if !queued && !self.outbound.iter().any(|outbound| outbound.request.id == id) {
            return Err(Refused::Unmatched);
        }
        self.queue.retain(|request| request.id != id);
        self.fail_outbound(Failure::Cancelled, |outbound| outbound.request.id == id);
        if queued {
            self.fail(id, Failure::Cancelled);
        }
        Ok(())
    }

    /// Sends waiting requests, in order, while there is room.
    pub(crate) fn start_waiting(&mut self) {
        while self.outbound.len() < MAX_IN_FLIGHT {
            let Some(next) = self.queue.front() else { return };
            // The receiver puts together one body at a time.
            if next.upload.is_some() && self.outbound.iter().any(|outbound| outbound.request.upload.is_some()) {
                return;
            }
            let handover = next.handover;
            if self.window_is_spent() {
                return self.hurry();
            }
            let readiness = self.prepare_epoch(handover);
            if readiness == Readiness::Wait {
                return;
            }
            let Some(next) = self.queue.pop_front() else { return };
            match readiness {
                Readiness::PeerSilent => self.fail(next.id, Failure::PeerSilent),
                _ => self.transmit(next),
            }
        }
    }

    /// A request that got lost must still fit into the peer's replay window when it comes again: no other may run further
    /// ahead of it than the smallest window in use.
    fn window_is_spent(&self) -> bool {
        let oldest = self.outbound.iter().filter(|outbound| outbound.sent.is_unacknowledged());
        let oldest = oldest.map(|outbound| outbound.sent.partial_iv.sequence_number()).min();
        oldest.is_some_and(|oldest| self.next_sequence_number() >= oldest.saturating_add(PEER_WINDOW))
    }

    /// So many later ones arrived that the oldest was lost, not the path: it goes out once before its time.
    fn hurry(&mut self) {
        let waiting = self.outbound.iter_mut().filter(|outbound| outbound.sent.is_unacknowledged());
        let oldest = waiting.min_by_key(|outbound| outbound.sent.partial_iv);
        if let Some(oldest) = oldest.filter(|oldest| !oldest.sent.hurried) {
            oldest.sent.hurried = true;
            let datagram = oldest.sent.datagram.clone();
            self.push(Output::Transmit(datagram));
        }
    }

    /// Sends what of the request is next: all of it, or a block.
    fn transmit(&mut self, mut request: Request) {
        if request.handover && request.counted != Some(self.state.epoch) {
            request.counted = Some(self.state.epoch);
            self.count_handover();
        }
        let Ok(partial_iv) = self.next_partial_iv() else { return self.fail(request.id, Failure::Exhausted) };
        let (message_id, token) = (self.next_message_id(), self.next_token());
        let outer = Outer { kind: Kind::Confirmable, message_id, token: &token, uri_host: None };
        let content = request.content(self.epochs.current.number);
        let Some(datagram) = self.epochs.current.context.protect_request(&outer, partial_iv, &content) else {
            return self.fail(request.id, Failure::TooLarge);
        };
        self.push(Output::Transmit(datagram.clone()));
        let wait = Wait::Acknowledgement(Retransmission::start(self.now, &mut self.seed));
        let sent =
            Sent { epoch: self.epochs.current.number, partial_iv, token, message_id, datagram, wait, hurried: false };
        self.outbound.push(Outbound { request, sent });
    }

    pub(crate) fn receive_response(
        &mut self,
        bytes: &[u8],
        message: &Message<'_>,
        option: &OscoreOption<'_>,
        path_is_new: bool,
    ) -> Result<(), Refused> {
        let message_digest = (message.kind == Kind::Confirmable).then(|| digest(bytes));
        if let Some(message_digest) = &message_digest
            && self.answer_again(message_digest, path_is_new)?
        {
            return Ok(());
        }
        let mut sent = self.outbound.iter().map(|outbound| &outbound.sent).chain(&self.given_up);
        let sent = sent.find(|sent| sent.is_answered_by(message)).ok_or(Refused::Unmatched)?;
        let (epoch, token) = (sent.epoch, sent.token);
        let context = &mut self.epochs.find(epoch).ok_or(Refused::EpochPassed)?.context;
        let content = context.unprotect_response(sent.partial_iv, option.partial_iv, message.payload);
        let content = content.ok_or(Refused::NotAuthentic)?;
        if epoch == self.epochs.current.number {
            self.confirm();
        }
        self.push(Output::Event(Event::Heard));
        if let Some(message_digest) = message_digest {
            let acknowledgement = empty_acknowledgement(message.message_id);
            self.push(Output::Transmit(acknowledgement.clone()));
            self.answered.remember(message_digest, acknowledgement, false, self.now);
        }
        self.given_up.retain(|sent| sent.token != token);
        // Not there: given up, and only to be acknowledged.
        if let Some(at) = self.outbound.iter().position(|outbound| outbound.sent.token == token) {
            let request = self.outbound.remove(at).request;
            self.conclude(request, epoch, &content);
        }
        Ok(())
    }

    /// Goes on with the request after an authentic response: repeats it with Echo, sends or fetches the next block, or
    /// hands the answer up.
    fn conclude(&mut self, mut request: Request, epoch: u32, content: &[u8]) {
        let Ok(content) = Content::parse(content) else { return self.fail(request.id, Failure::Malformed) };
        if !content.code.is_response() || content.options.check(&RESPONSE_OPTIONS).is_err() {
            return self.fail(request.id, Failure::Malformed);
        }
        let echo = content.options.find(OptionNumber::ECHO).and_then(Short::new);
        // Once per epoch: if the key advanced meanwhile, the repetition goes without Echo and may be challenged in its turn.
        let repeated = request.echo.is_some_and(|(challenged, _)| challenged == epoch);
        if let Some(echo) = echo.filter(|_| content.code == Code::UNAUTHORIZED && !repeated) {
            request.echo = Some((epoch, echo));
            return self.transmit(request);
        }
        request.echo = None;
        if content.code == Code::CONTINUE && request.upload.is_some() {
            return match request.next_piece(&content) {
                Ok(()) => self.transmit(request),
                Err(why) => self.fail(request.id, why),
            };
        }
        let other_download = self.outbound.iter().any(|outbound| outbound.request.download.is_some());
        match request.take_piece(&content, other_download) {
            Ok(Some(payload)) => {
                self.push(Output::Event(Event::Response { id: request.id, code: content.code, payload }));
            }
            Ok(None) => self.transmit(request),
            Err(why) => self.fail(request.id, why),
        }
    }

    pub(crate) fn receive_empty_for_request(&mut self, message_id: u16) -> Result<(), Refused> {
        let sent = self.outbound.iter_mut().find(|outbound| outbound.sent.message_id == message_id);
        if let Wait::Acknowledgement(retransmission) = &mut sent.ok_or(Refused::Unmatched)?.sent.wait {
            retransmission.skip(self.now);
        }
        Ok(())
    }

    pub(crate) fn expire_outbound(&mut self) {
        let now = self.now;
        self.given_up.retain(|sent| sent.deadline().0 > now);
        let mut given_up = false;
        for at in 0..self.outbound.len() {
            let Some(outbound) = self.outbound.get_mut(at).filter(|outbound| outbound.deadline().0 <= self.now) else {
                continue;
            };
            let again = match &mut outbound.sent.wait {
                Wait::Acknowledgement(retransmission) => retransmission.again(self.now),
                Wait::Response(_) => false,
            };
            if again {
                let datagram = outbound.sent.datagram.clone();
                self.push(Output::Transmit(datagram));
            }
            given_up |= !again;
        }
        if given_up {
            self.fail_outbound(Failure::TimedOut, |outbound| outbound.deadline().0 <= now);
        }
    }

    /// The epoch `number` is about to pass: requests under it that may have been lost go out once more, while the peer
    /// still knows it.
    pub(crate) fn resend_under(&mut self, number: u32) {
        let waiting = |outbound: &&Outbound| outbound.sent.epoch == number && outbound.sent.is_unacknowledged();
        let datagrams: Vec<_> =
            self.outbound.iter().filter(waiting).map(|outbound| outbound.sent.datagram.clone()).collect();
        datagrams.into_iter().for_each(|datagram| self.push(Output::Transmit(datagram)));
    }

    pub(crate) fn fail_outbound(&mut self, why: Failure, fails: impl Fn(&Outbound) -> bool) {
        while let Some(at) = self.outbound.iter().position(&fails) {
            let Outbound { request, sent } = self.outbound.remove(at);
            if matches!(why, Failure::Cancelled | Failure::TimedOut) {
                self.await_late_answer(sent);
            }
            self.fail(request.id, why);
        }
    }

    /// The peer may have the request and answer it yet. Unless somebody acknowledges that answer, it comes again and again
    /// and takes the place of another exchange.
    fn await_late_answer(&mut self, sent: Sent) {
        let until = self.now + EXCHANGE_LIFETIME;
        if self.given_up.len() >= MAX_GIVEN_UP {
            self.given_up.pop_front();
        }
        self.given_up.push_back(Sent { datagram: Vec::new(), wait: Wait::Response(until), ..sent });
    }

    /// A body is under way block by block, in either direction: its blocks should travel under one epoch.
    pub(crate) fn is_transferring(&self) -> bool {
        let blockwise = |request: &Request| request.upload.is_some() || request.download.is_some();
        self.outbound.iter().any(|outbound| blockwise(&outbound.request))
            || self.assembly.is_some()
            || self.served.is_some()
    }

    pub(crate) fn next_given_up(&self) -> Option<Instant> {
        // All wait equally long: the oldest is in front.
        self.given_up.front().map(|sent| sent.deadline().0)
    }

    fn fail(&mut self, id: RequestId, why: Failure) {
        self.push(Output::Event(Event::Failed { id, why }));
    }
}

impl Sent {
    fn deadline(&self) -> (Instant, &'static str) {
        match &self.wait {
            Wait::Acknowledgement(retransmission) => (retransmission.at, "retransmit a request"),
            Wait::Response(until) => (*until, "give up waiting for an answer"),
        }
    }

    fn is_unacknowledged(&self) -> bool {
        matches!(self.wait, Wait::Acknowledgement(_))
    }

    /// Token, and for a piggybacked response also message id.
    fn is_answered_by(&self, message: &Message<'_>) -> bool {
        let fits = match message.kind {
            Kind::Acknowledgement => message.message_id == self.message_id,
            Kind::Confirmable | Kind::NonConfirmable => true,
            Kind::Reset => false,
        };
        fits && message.token == self.token
    }
}

impl Request {
    /// What OSCORE encrypts, for the next message, which goes under `epoch`.
    fn content(&mut self, epoch: u32) -> Zeroizing<Vec<u8>> {
        let mut payload = if self.download.is_some() { &[][..] } else { &self.payload };
        let mut block1 = None;
        if let Some(upload) = self.upload.as_mut().filter(|_| self.download.is_none()) {
            // `next_piece` made sure that something is left.
            if let Some((block, piece)) = Block::cut(payload, upload.offset, upload.size_exponent) {
                (block1, payload, upload.piece) = (Some(block), piece, piece.len());
            }
        }
        let mut content = Zeroizing::new(Vec::with_capacity(payload.len().saturating_add(MAX_PATH + 96)));
        content.push(Code::from(self.method).0);
        let mut options = OptionWriter::new(&mut content);
        for segment in self.path.split('/').skip(1) {
            options.push(OptionNumber::URI_PATH, segment.as_bytes());
        }
        if let Some(download) = &self.download {
            options.push_uint(OptionNumber::BLOCK2, download.next_block().value());
        }
        if let Some(block1) = block1 {
            options.push_uint(OptionNumber::BLOCK1, block1.value());
        }
        if let Some((_, echo)) = self.echo.as_ref().filter(|(challenged, _)| *challenged == epoch) {
            options.push(OptionNumber::ECHO, echo.as_bytes());
        }
        if let Some(upload) = &self.upload {
            options.push(OptionNumber::REQUEST_TAG, upload.request_tag.as_bytes());
        }
        emit_payload(&mut content, payload);
        content
    }

    /// After 2.31 Continue. The peer may ask for smaller blocks from here on (RFC 7959 section 2.5).
    fn next_piece(&mut self, content: &Content<'_>) -> Result<(), Failure> {
        let block = content.options.find(OptionNumber::BLOCK1).and_then(Block::parse).ok_or(Failure::Malformed)?;
        let upload = self.upload.as_mut().ok_or(Failure::Malformed)?;
        upload.offset = upload.offset.saturating_add(upload.piece);
        upload.size_exponent = upload.size_exponent.min(block.size_exponent);
        if upload.offset >= self.payload.len() {
            return Err(Failure::Malformed);
        }
        Ok(())
    }

    /// The whole answer, if `content` completes it; `None`: there is another block to fetch.
    fn take_piece(
        &mut self,
        content: &Content<'_>,
        other_download: bool,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let Some(value) = content.options.find(OptionNumber::BLOCK2) else {
            return Ok(Some(Zeroizing::new(content.payload.to_vec())));
        };
        let block = Block::parse(value).ok_or(Failure::Malformed)?;
        let etag = content.options.find(OptionNumber::ETAG).and_then(Short::new);
        if self.download.is_none() && other_download && block.more {
            return Err(Failure::Overloaded);
        }
        let size_exponent = block.size_exponent;
        let mut download =
            self.download.take().unwrap_or(Download { body: Zeroizing::new(Vec::new()), size_exponent, etag });
        let whole = !block.more || content.payload.len() == block.size();
        if block.offset() != download.body.len() || download.etag != etag || !whole {
            return Err(Failure::Malformed);
        }
        append(&mut download.body, content.payload);
        if download.body.len() > MAX_BODY {
            return Err(Failure::TooLarge);
        }
        if !block.more {
            return Ok(Some(download.body));
        }
        download.size_exponent = size_exponent.min(download.size_exponent);
        self.payload = Zeroizing::new(Vec::new());
        self.download = Some(download);
        Ok(None)
    }
}

impl Download {
    fn next_block(&self) -> Block {
        let block = Block { number: 0, more: false, size_exponent: self.size_exponent };
        Block { number: (self.body.len() / block.size()) as u32, ..block }
    }
}

const RESPONSE_OPTIONS: [OptionNumber; 2] = [OptionNumber::BLOCK2, OptionNumber::BLOCK1];
const MAX_IN_FLIGHT: usize = 8;
/// RFC 8613's default; our own is twice as wide.
const PEER_WINDOW: u64 = 32;
/// More late answers than these would not be ordinary lateness.
const MAX_GIVEN_UP: usize = 32;
const MAX_QUEUED: usize = 64;
pub(crate) const MAX_PATH: usize = 64;
