//! The records of a handshake, in their order: messages are put together from them, keys change, and at some point it is
//! over.

use std::time::Duration;

use keyferry_parsers::tls::{Alert, ContentType, Handshake, HandshakeType, Record, ServerHello};

use super::connection::Shared;
use super::records::Span;
use super::secrets::{Content, Secrets};
use super::told::{Came, EarlyData, Told};
use crate::replay::account::{Account, Outcome, Side};

/// A handshake under way.
pub(super) struct Handshaking {
    pub(super) told: Told,
    secrets: Option<Box<Secrets>>,
    halves: [Half; 2],
    /// Bytes in the clear since the client's hello.
    clear: usize,
}

/// What one side sends.
#[derive(Default)]
pub(super) struct Half {
    /// A handshake message that is not whole.
    partial: Vec<u8>,
    fragments: u32,
    partial_start: u64,
    /// After its ChangeCipherSpec, up to TLS 1.2.
    changed: bool,
    /// Its Finished came, or what must be it.
    pub(super) finished: bool,
    /// Protected records, of TLS 1.3 or with application data.
    pub(super) sealed: u32,
    /// Its stream cannot be followed any more.
    lost: bool,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    More,
    Over,
}

/// So many records after the handshake are looked at, where secrets open them: tickets come there.
const MOST_AFTER: u32 = 8;
/// Bytes in the clear that may still come from a server after the client's hello.
const MOST_CLEAR: usize = 16 * 1024;

impl Handshaking {
    pub(super) fn new(told: Told) -> Self {
        Self { told, secrets: None, halves: [Half::default(), Half::default()], clear: 0 }
    }

    pub(super) fn half(&mut self, side: Side) -> &mut Half {
        let [initiator, responder] = &mut self.halves;
        match side {
            Side::Initiator => initiator,
            Side::Responder => responder,
        }
    }

    /// A record.
    pub(super) fn record(
        &mut self,
        side: Side,
        time: Duration,
        span: Span,
        record: &Record<'_>,
        shared: &mut Shared,
    ) -> Next {
        let came = Came { from: side, time, fragments: 1, span };
        let sealed = self.half(side).changed && !self.told.is_tls13();
        match record.content_type {
            ContentType::CHANGE_CIPHER_SPEC => self.change_cipher_spec(came, record, shared),
            ContentType::HANDSHAKE if !sealed => self.fragment(came, record.fragment, shared),
            ContentType::ALERT if !sealed => self.alert(came, record.fragment),
            ContentType::HANDSHAKE | ContentType::ALERT => self.sealed(came, record, shared),
            ContentType::APPLICATION_DATA => self.application_data(came, record, shared),
            ContentType::HEARTBEAT => {
                let kind = if sealed { "encrypted_heartbeat" } else { "heartbeat" };
                self.told.list(came, kind, with_header(record), None);
                Next::More
            }
            _ => self.foreign(side, time, span),
        }
    }

    fn change_cipher_spec(&mut self, came: Came, record: &Record<'_>, shared: &mut Shared) -> Next {
        let malformed = (record.fragment != [1]).then(|| "a ChangeCipherSpec is a single 1".to_owned());
        self.told.list(came, "change_cipher_spec", with_header(record), malformed);
        self.half(came.from).changed = true;
        if !self.told.is_tls13()
            && let Some(secrets) = &mut self.secrets
        {
            secrets.change_cipher_spec(came.from, &self.told, &shared.key_log);
        }
        Next::More
    }

    /// A protected record that says what it is: up to TLS 1.2.
    fn sealed(&mut self, came: Came, record: &Record<'_>, shared: &mut Shared) -> Next {
        if let Some(Content::Open(opened)) =
            self.secrets.as_mut().map(|secrets| secrets.open(came.from, record, &self.told))
        {
            return match opened.content_type {
                ContentType::HANDSHAKE => self.fragment(came, &opened.content, shared),
                _ => self.alert(came, &opened.content),
            };
        }
        if record.content_type == ContentType::ALERT {
            self.told.list(came, "encrypted_alert", with_header(record), None);
            if !self.is_established() {
                let who = super::story::name(came.from);
                let words =
                    format!("the {who} sent an alert during the handshake, which cannot be read without secrets");
                self.told.account.fail(super::story::fault(came.from), words);
            }
            return Next::Over;
        }
        self.told.list(came, "encrypted_handshake_message", with_header(record), None);
        self.half(came.from).finished = true;
        self.after_finished()
    }

    fn application_data(&mut self, came: Came, record: &Record<'_>, shared: &mut Shared) -> Next {
        let sent = {
            let half = self.half(came.from);
            half.sealed = half.sealed.saturating_add(1);
            half.sealed
        };
        if !self.told.is_tls13() {
            // The server has seen the client's Finished; a client may begin before it has seen the server's.
            let over = came.from == Side::Responder && self.half(came.from).changed || sent > MOST_AFTER;
            if over && came.from == Side::Responder {
                self.told.established();
            }
            return if over && self.told.version.is_some() || sent > MOST_AFTER { Next::Over } else { Next::More };
        }
        match self.secrets.as_mut().map(|secrets| secrets.open(came.from, record, &self.told)) {
            Some(Content::Open(opened)) => match opened.content_type {
                ContentType::HANDSHAKE => self.fragment(came, &opened.content, shared),
                ContentType::ALERT => self.alert(came, &opened.content),
                _ if self.is_established() => self.after_tls13(sent, true),
                _ => Next::More,
            },
            _ => self.sealed_tls13(came, record),
        }
    }

    /// Established: tickets and KeyUpdates are still of interest, data is not.
    fn after_tls13(&mut self, sent: u32, data: bool) -> Next {
        let server = self.half(Side::Responder).sealed;
        if sent > MOST_AFTER || (data && server > 0) { Next::Over } else { Next::More }
    }

    /// Handshake bytes: what is left of a message, then messages, then the start of one.
    fn fragment(&mut self, came: Came, bytes: &[u8], shared: &mut Shared) -> Next {
        let half = self.half(came.from);
        let mut waiting = std::mem::take(&mut half.partial);
        let (mut fragments, mut start) = (half.fragments.saturating_add(1), half.partial_start);
        let mut rest = bytes;
        if waiting.is_empty() {
            (fragments, start) = (1, came.span.0);
        } else {
            waiting.extend_from_slice(bytes);
            rest = &waiting;
        }
        let mut next = Next::More;
        while next == Next::More && !rest.is_empty() {
            let length = match rest.first_chunk().map(Handshake::message_length) {
                Some(Ok(length)) => length,
                Some(Err(error)) => return self.unreadable(came, rest.len(), &error.to_string()),
                None => usize::MAX,
            };
            let Some((message, after)) = rest.split_at_checked(length) else { break };
            next = self.message(Came { fragments, span: (start, came.span.1), ..came }, message, shared);
            (fragments, start) = (1, came.span.0);
            rest = after;
        }
        let partial = rest.to_vec();
        let half = self.half(came.from);
        (half.fragments, half.partial_start, half.partial) = (fragments, start, partial);
        next
    }

    fn unreadable(&mut self, came: Came, bytes: usize, why: &str) -> Next {
        self.told.list(came, "handshake", bytes, Some(format!("cannot be read: {why}")));
        self.half(came.from).partial = Vec::new();
        Next::More
    }

    fn message(&mut self, came: Came, raw: &[u8], shared: &mut Shared) -> Next {
        let msg_type = HandshakeType(raw.first().copied().unwrap_or_default());
        let retry = msg_type == HandshakeType::SERVER_HELLO
            && raw.get(6..38).is_some_and(|random| random == ServerHello::HELLO_RETRY_REQUEST);
        self.told.handshake(came, raw, &mut shared.certificates);
        if msg_type == HandshakeType::CLIENT_HELLO {
            self.keep_transcript(shared);
        }
        if let Some(secrets) = &mut self.secrets {
            if retry {
                secrets.retry(&self.told);
            }
            secrets.message(came.from, raw, &self.told);
        }
        match msg_type {
            HandshakeType::SERVER_HELLO if !retry && self.told.is_tls13() => {
                if let Some(secrets) = &mut self.secrets {
                    secrets.agreed_tls13(&self.told, &shared.key_log);
                }
                Next::More
            }
            HandshakeType::ENCRYPTED_EXTENSIONS if self.told.early_data == EarlyData::Offered => {
                self.told.early_data = EarlyData::None;
                self.end_of_early_data()
            }
            HandshakeType::END_OF_EARLY_DATA => self.end_of_early_data(),
            HandshakeType::FINISHED => {
                self.half(came.from).finished = true;
                if self.told.is_tls13()
                    && let Some(secrets) = &mut self.secrets
                {
                    secrets.application_keys(came.from, &self.told, &shared.key_log);
                }
                self.after_finished()
            }
            HandshakeType::KEY_UPDATE => {
                if let Some(secrets) = &mut self.secrets {
                    secrets.key_update(came.from);
                }
                Next::More
            }
            _ => Next::More,
        }
    }

    fn end_of_early_data(&mut self) -> Next {
        if let Some(secrets) = &mut self.secrets {
            secrets.end_of_early_data();
        }
        Next::More
    }

    /// Only where there are secrets, or might be: it costs memory.
    fn keep_transcript(&mut self, shared: &Shared) {
        let random = self.told.account.client_random;
        if self.secrets.is_none() && random.is_some_and(|random| shared.key_log.knows(&random)) {
            self.secrets = Some(Box::new(Secrets::new(shared.limits.transcript)));
        }
    }

    fn after_finished(&mut self) -> Next {
        if !self.halves.iter().all(|half| half.finished) {
            return Next::More;
        }
        self.told.established();
        for half in &mut self.halves {
            half.sealed = 0;
        }
        let tickets = self.told.is_tls13() && self.secrets.is_some();
        if tickets { Next::More } else { Next::Over }
    }

    pub(super) fn is_established(&self) -> bool {
        self.told.account.outcome == Outcome::Established
    }

    fn alert(&mut self, came: Came, bytes: &[u8]) -> Next {
        match Alert::parse(bytes) {
            Ok(alert) => {
                self.told.list(came, &format!("alert({})", alert.description), bytes.len().saturating_add(5), None);
                if self.is_established() {
                    // Of TLS 1.3 the server may refuse the client only after that.
                    if self.told.is_fatal(alert) {
                        self.told.refused(came.from, alert);
                    }
                    return Next::Over;
                }
                self.told.refused(came.from, alert);
            }
            Err(error) => {
                self.told.list(came, "alert", bytes.len().saturating_add(5), Some(format!("cannot be read: {error}")));
            }
        }
        if self.told.account.outcome == Outcome::Failed { Next::Over } else { Next::More }
    }

    /// What no record can be.
    pub(super) fn foreign(&mut self, side: Side, time: Duration, span: Span) -> Next {
        let came = Came { from: side, time, fragments: 1, span };
        if !self.half(side).lost {
            let length = usize::try_from(span.1.saturating_sub(span.0)).unwrap_or(usize::MAX);
            self.told.list(came, "unknown", length, Some("is no record of TLS".to_owned()));
        }
        if self.is_established() {
            return Next::Over;
        }
        let words = format!("what the {} sent is no TLS", super::story::name(side));
        self.told.account.fail(super::story::fault(side), words);
        Next::Over
    }

    /// The server still speaks another protocol.
    pub(super) fn in_the_clear(&mut self, length: usize) -> Next {
        self.clear = self.clear.saturating_add(length);
        if self.clear <= MOST_CLEAR {
            return Next::More;
        }
        let words = "the server does not speak TLS here: it went on in the clear".to_owned();
        self.told.account.fail(super::story::fault(Side::Responder), words);
        Next::Over
    }

    /// Bytes are missing.
    pub(super) fn gap(&mut self, side: Side, length: u64) {
        let half = self.half(side);
        half.partial = Vec::new();
        half.lost = true;
        if let Some(secrets) = &mut self.secrets {
            secrets.gap();
        }
        if !self.is_established() {
            self.told.missing(side, length);
        }
    }

    /// The stream ended in the middle of something.
    pub(super) fn left_over(&mut self, side: Side, waiting: usize) {
        let half = self.half(side);
        let bytes = half.partial.len().saturating_add(waiting);
        let msg_type = half.partial.first().map(|msg_type| HandshakeType(*msg_type));
        if bytes == 0 || self.is_established() {
            return;
        }
        let time = self.told.account.messages.last().map(|last| last.t).unwrap_or_default();
        let came = Came { from: side, time, fragments: 1, span: (u64::MAX, u64::MAX) };
        let kind = msg_type.and_then(HandshakeType::name).unwrap_or("unknown");
        self.told.list(came, kind, bytes, Some("its end is missing".to_owned()));
    }

    /// The connection ended.
    pub(super) fn broken_off(&mut self, by: Option<Side>) {
        self.settle_tls13();
        let lost = self.halves.iter().any(|half| half.lost);
        if self.told.account.outcome == Outcome::Incomplete && !lost {
            self.told.broken_off(by);
        }
    }

    pub(super) fn into_account(mut self) -> Account {
        self.settle_tls13();
        let mut told = self.told;
        if let Some(secrets) = self.secrets {
            secrets.tell(&mut told);
        }
        told.into_account()
    }

    /// A message of SSL 2.0.
    pub(super) fn old_message(&mut self, side: Side, time: Duration, span: Span, kind: &str, bytes: usize) {
        self.told.list(Came { from: side, time, fragments: 1, span }, kind, bytes, None);
    }

    /// A ClientHello in the form of SSL 2.0, which is hashed as it came (RFC 5246 appendix E.2).
    pub(super) fn old_client_hello(&mut self, time: Duration, span: Span, data: &[u8], shared: &Shared) {
        self.old_message(Side::Initiator, time, span, "client_hello", data.len());
        self.keep_transcript(shared);
        if let Some(secrets) = &mut self.secrets {
            secrets.message(Side::Initiator, data, &self.told);
        }
    }

    /// What follows the hellos of SSL 2.0 is encrypted, but for the client's first message.
    pub(super) fn old_record(&mut self, side: Side, time: Duration, span: Span, bytes: usize) -> Next {
        let half = self.half(side);
        half.sealed = half.sealed.saturating_add(1);
        half.finished = true;
        self.old_message(side, time, span, "encrypted_handshake_message", bytes);
        self.after_finished()
    }
}

fn with_header(record: &Record<'_>) -> usize {
    record.fragment.len().saturating_add(5)
}
