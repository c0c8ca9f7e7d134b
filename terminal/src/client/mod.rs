//! The terminal's side of the channel: asks the gateway for sessions and takes the keys it sends.
//!
//! Sans-IO, in front of a channel [`Endpoint`]. Data path: datagram -> endpoint -> `receive` -> (is this what we
//! asked for? `check`) -> [`Event`]; the keys in [`Event::Session`] and [`Event::Incoming`] go to
//! [`Session`](crate::Session). Ports are in `listen`, handshakes from afar in `assist`; `exchanges` holds what all of
//! them have under way on the channel.

mod assist;
mod check;
mod event;
mod exchanges;
mod listen;
mod table;

pub use event::{Event, Input, Output, Start, Why};

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use assist::Assist;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use exchanges::{Exchanges, Purpose};
use keyferry_channel as channel;
use keyferry_channel::{Code, Endpoint, ExchangeId, Instant, Method, Refused, RequestId};
use keyferry_parsers::messages::{
    Binding, Connect, ConnectAnswer, Echo, Failure, Handover, PeerName, Reason, Role, SessionId, SessionPush, Ticket,
};
use listen::Ports;
use sha2::{Digest, Sha256};
use table::Table;
use zeroize::Zeroizing;

/// How long the gateway may take to answer a request: a terminal knows in under 3 s that it is not there.
pub const ANSWER_DEADLINE: Duration = Duration::from_millis(2800);
/// On top of the offer's own time, for what is on its way.
const LINK_ALLOWANCE: u64 = 2;
/// How long keys may take for a connection that was opened without asking.
const EXPECT_DEADLINE: Duration = Duration::from_secs(22);
/// How long keys that the gateway has promised may take on a link that loses datagrams.
const KEYS_DEADLINE: Duration = Duration::from_secs(10);
/// A connection that was accepted once is the same if its addresses and ports come again within this time, that in which
/// keys and connection must find each other; later they may belong to another one.
const SAME_CONNECTION: Duration = Duration::from_secs(10);
/// How long a peer may say nothing in assisted mode.
const PEER_DEADLINE: Duration = Duration::from_secs(20);

/// The device side of one channel.
pub struct Terminal {
    endpoint: Endpoint,
    now: Instant,
    limit: usize,
    pending: Table<Pending>,
    ports: Ports,
    exchanges: Exchanges,
    /// Sessions already dealt with, so that a push that comes twice is answered the same and delivered once.
    settled: VecDeque<Settled>,
    events: VecDeque<Event>,
}

struct Settled {
    session: SessionId,
    /// SHA-256 of the push: other keys for the same session are refused.
    digest: [u8; 32],
    /// Keys of a server: others for the same connection are refused, until that time.
    accepted: Option<(Binding, Instant)>,
}

struct Pending {
    deadline: Instant,
    stage: Stage,
}

/// What a request waits for.
enum Stage {
    /// The gateway's answer.
    Asked(Connect),
    /// Keys, for the session and address that the gateway named.
    Offered { request: Connect, session: SessionId, address: IpAddr },
    /// Keys, for a connection that was opened without asking.
    Expected { local: SocketAddr, remote: SocketAddr },
    /// An echo.
    Echo(Echo),
    /// The gateway or the peer, by turns.
    Assisted(Box<Assist>),
}

impl Terminal {
    /// `limit`: how many requests may be under way at once, ports aside; a device with one connection is served by 1.
    pub fn new(endpoint: Endpoint, limit: usize, now: Instant) -> Self {
        Self {
            endpoint,
            now,
            limit,
            pending: Table::default(),
            ports: Ports::default(),
            exchanges: Exchanges::default(),
            settled: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The one door in. An error concerns a datagram only, has had no effect and is there to be counted.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Refused> {
        self.now = now;
        let handled = match input {
            Input::Datagram(bytes) => {
                self.endpoint.handle_input(now, channel::Input::Datagram { bytes, path_is_new: false })
            }
            Input::Timeout => self.endpoint.handle_input(now, channel::Input::Timeout),
            request => {
                self.request(request);
                Ok(())
            }
        };
        self.expire();
        self.flush();
        handled
    }

    /// The one door out: drain until [`Output::Timeout`].
    pub fn poll_output(&mut self) -> Output {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Output::Event(event);
            }
            match self.endpoint.poll_output() {
                channel::Output::Persist(state) => return Output::Persist(state),
                channel::Output::Transmit(bytes) => return Output::Transmit(bytes),
                channel::Output::Event(event) => self.receive(event),
                channel::Output::Timeout(when, why) => return self.timeout(when, why),
            }
        }
    }

    /// The channel's current epoch.
    pub fn epoch(&self) -> u32 {
        self.endpoint.state().epoch
    }

    /// Requests under way, ports aside.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    fn request(&mut self, input: Input<'_>) {
        match input {
            Input::Connect { id, request } => {
                let payload = request.encode();
                self.ask(id, Stage::Asked(request), "connect", payload);
            }
            Input::Echo { id, echo } => {
                let payload = echo.encode();
                self.ask(id, Stage::Echo(echo), "echo", payload);
            }
            Input::Expect { id, local, remote } => {
                if self.has_room(id) {
                    self.admit(id, Stage::Expected { local, remote }, EXPECT_DEADLINE);
                }
            }
            Input::Listen { id, listen } => {
                if let Err(why) = self.ports.add(id, listen, self.now, &mut self.exchanges) {
                    self.events.push_back(Event::Failed { id, why });
                }
            }
            Input::Assist { id, start } => {
                if self.has_room(id) {
                    let assist = Assist::start(id, start, &mut self.exchanges);
                    self.admit(id, Stage::Assisted(Box::new(assist)), ANSWER_DEADLINE);
                }
            }
            Input::PeerOpened { id, binding } => self.assist(id, |assist, _| {
                assist.opened(binding);
                Ok(())
            }),
            Input::PeerBytes { id, bytes } => self.assist(id, |assist, _| assist.hear(bytes)),
            Input::PeerClosed { id } => self.assist(id, |assist, _| {
                assist.hear_close();
                Ok(())
            }),
            Input::Ticket { session, body } => {
                self.exchanges.post(Purpose::Nobody, "ticket", Ticket { session, body }.encode());
            }
            Input::Cancel { id } => self.forget(id),
            // Dealt with at the door.
            Input::Datagram(_) | Input::Timeout => {}
        }
    }

    fn ask(&mut self, id: RequestId, stage: Stage, resource: &'static str, payload: Zeroizing<Vec<u8>>) {
        if self.has_room(id) {
            self.exchanges.post(Purpose::Ask(id), resource, payload);
            self.admit(id, stage, ANSWER_DEADLINE);
        }
    }

    fn has_room(&mut self, id: RequestId) -> bool {
        let room = self.pending.len() < self.limit;
        if !room {
            self.events.push_back(Event::Failed { id, why: Why::TooMany });
        }
        room
    }

    fn admit(&mut self, id: RequestId, stage: Stage, patience: Duration) {
        self.pending.insert(id, Pending { deadline: self.now + patience, stage });
    }

    /// Gives the channel as many requests as it takes.
    fn flush(&mut self) {
        for (purpose, refused) in self.exchanges.flush(&mut self.endpoint, self.now) {
            self.failed(purpose, Why::Channel(refused));
        }
    }

    fn receive(&mut self, event: channel::Event) {
        match event {
            channel::Event::Request { exchange, code, path, payload } => self.serve(exchange, code, &path, &payload),
            channel::Event::Response { id, code, payload } => {
                if let Some(purpose) = self.exchanges.take(id) {
                    self.answered(purpose, code, &payload);
                }
                self.flush();
            }
            channel::Event::Failed { id, why } => {
                if let Some(purpose) = self.exchanges.take(id) {
                    self.failed(purpose, failed_request(why));
                }
                self.flush();
            }
            channel::Event::Heard => {}
            channel::Event::Advanced { epoch } => self.events.push_back(Event::Advanced { epoch }),
        }
    }

    fn answered(&mut self, purpose: Purpose, code: Code, payload: &[u8]) {
        match purpose {
            Purpose::Nobody => {}
            Purpose::Listen(id) => self.ports.answered(id, self.now, code, payload, &mut self.events),
            Purpose::Piece(id, offset) if !code.is_success() => self.refused_piece(id, offset, refusal(code, payload)),
            Purpose::Ask(id) | Purpose::Start(id) | Purpose::Key(id) if !code.is_success() => {
                self.fail(id, refusal(code, payload));
            }
            Purpose::Ask(id) => self.told(id, payload),
            Purpose::Start(id) => self.assist(id, |assist, events| assist.started(id, payload, events)),
            Purpose::Piece(id, offset) => self.assist(id, |assist, _| assist.answered(offset, payload)),
            Purpose::Key(id) => self.assist(id, |assist, _| {
                assist.promised();
                Ok(())
            }),
        }
    }

    fn failed(&mut self, purpose: Purpose, why: Why) {
        match purpose {
            Purpose::Nobody => {}
            Purpose::Listen(id) => self.ports.failed(id, self.now, why, &mut self.events),
            Purpose::Ask(id) | Purpose::Start(id) | Purpose::Piece(id, _) | Purpose::Key(id) => self.fail(id, why),
        }
    }

    fn told(&mut self, id: RequestId, payload: &[u8]) {
        let Some(pending) = self.pending.remove(id) else { return };
        let event = match pending.stage {
            Stage::Asked(request) => self.offered(id, request, payload),
            Stage::Echo(echo) => match Echo::decode(payload) {
                Ok(returned) if returned == echo => Ok(Event::Echoed { id }),
                Ok(_) => Err(gateway_failure("the echo came back altered")),
                Err(error) => Err(Why::BadAnswer(error)),
            },
            Stage::Offered { .. } | Stage::Expected { .. } | Stage::Assisted(_) => return,
        };
        self.events.push_back(event.unwrap_or_else(|why| Event::Failed { id, why }));
    }

    fn offered(&mut self, id: RequestId, request: Connect, payload: &[u8]) -> Result<Event, Why> {
        let answer = ConnectAnswer::decode(payload).map_err(Why::BadAnswer)?;
        if matches!(request.peer, PeerName::Address(asked) if asked != answer.address) {
            return Err(Why::WrongAddress);
        }
        // The offer's time to open TCP, and as much again for the gateway's handshake with the peer.
        let seconds = u64::from(answer.seconds).saturating_mul(2).saturating_add(LINK_ALLOWANCE);
        let stage = Stage::Offered { request, session: answer.session, address: answer.address };
        self.admit(id, stage, Duration::from_secs(seconds));
        Ok(Event::Offer { id, answer })
    }

    /// Something happened to an assisted handshake: it goes on, and whoever's turn it is has time anew.
    fn assist(&mut self, id: RequestId, happened: impl FnOnce(&mut Assist, &mut VecDeque<Event>) -> Result<(), Why>) {
        let Some(Pending { stage: Stage::Assisted(assist), deadline }) = self.pending.get_mut(id) else { return };
        let progress = assist.progress();
        if let Err(why) = happened(assist, &mut self.events) {
            return self.fail(id, why);
        }
        assist.advance(id, &mut self.exchanges, &mut self.events);
        if assist.progress() != progress {
            *deadline = self.now + assist.patience();
        }
    }

    /// Last words go behind all that was to be said before them, or not at all.
    fn refused_piece(&mut self, id: RequestId, offset: u32, mut why: Why) {
        if let (Some(Pending { stage: Stage::Assisted(assist), .. }), Why::Failure(failure)) =
            (self.pending.get(id), &mut why)
            && assist.misses_answers_before(offset)
        {
            failure.last_words.clear();
        }
        self.fail(id, why);
    }

    /// The gateway asks us something.
    fn serve(&mut self, exchange: ExchangeId, code: Method, path: &str, payload: &[u8]) {
        let (code, payload) = match path {
            "/kf/session" | "/kf/echo" if code != Method::POST => (Code::METHOD_NOT_ALLOWED, Zeroizing::default()),
            "/kf/session" => match self.take_push(payload) {
                Ok(()) => (Code::CHANGED, Zeroizing::default()),
                Err((code, failure)) => (code, failure.encode()),
            },
            "/kf/echo" => match Echo::decode(payload) {
                Ok(echo) => (Code::CHANGED, echo.encode()),
                Err(_) => (Code::BAD_REQUEST, Zeroizing::default()),
            },
            _ => (Code::NOT_FOUND, Zeroizing::default()),
        };
        // An exchange that is no longer open needs no answer.
        let _ = self.endpoint.handle_input(self.now, channel::Input::Respond { exchange, code, payload });
    }

    fn take_push(&mut self, payload: &[u8]) -> Result<(), (Code, Failure)> {
        let refuse = |code, session, reason| (code, Failure { session, reason, detail: None, last_words: Vec::new() });
        let push =
            SessionPush::decode(payload).map_err(|_| refuse(Code::BAD_REQUEST, None, Reason::MALFORMED_REQUEST))?;
        let session = match &push {
            SessionPush::Handover(handover) => Some(handover.session),
            SessionPush::Failure(failure) => failure.session,
        };
        let Some(session) = session else {
            return Err(refuse(Code::BAD_REQUEST, None, Reason::MALFORMED_REQUEST));
        };
        let digest = Sha256::digest(payload).into();
        let accepted = match push {
            SessionPush::Failure(failure) => {
                // A failure of a session that is over, or that nobody waits for any more, is no news.
                let Some(id) = self.find(|stage| stage.session() == Some(session)) else { return Ok(()) };
                self.fail(id, Why::Failure(failure));
                None
            }
            SessionPush::Handover(handover) => {
                let refused = |reason| refuse(Code::CONFLICT, Some(session), reason);
                if let Some(settled) = self.settled.iter().find(|settled| settled.session == session) {
                    return if settled.digest == digest { Ok(()) } else { Err(refused(Reason::ADDRESS_NOT_BOUND)) };
                }
                let accepted =
                    (handover.role == Role::SERVER).then_some((handover.binding, self.now + SAME_CONNECTION));
                self.take_keys(handover).map_err(refused)?;
                accepted
            }
        };
        self.settle(Settled { session, digest, accepted });
        Ok(())
    }

    /// Keys for nobody are not taken, nor are those that are not what somebody asked for.
    fn take_keys(&mut self, mut handover: Box<Handover>) -> Result<(), Reason> {
        if handover.role == Role::SERVER && self.has_keys(&handover.binding) {
            return Err(Reason::ADDRESS_NOT_BOUND);
        }
        let waiting = self.find(|stage| stage.waits_for(&handover));
        let Some((id, mut pending)) = waiting.and_then(|id| Some((id, self.pending.remove(id)?))) else {
            return self.take_incoming(handover);
        };
        self.exchanges.cancel(id, &mut self.endpoint, self.now);
        let checked = match &mut pending.stage {
            Stage::Offered { request, address, .. } => check::answers_connect(request, *address, &handover),
            Stage::Assisted(assist) => assist.take_keys(&mut handover),
            _ => check::answers_nobody(&handover),
        };
        self.events.push_back(match checked {
            Ok(()) => Event::Session { id, handover },
            Err(reason) => Event::Failed { id, why: Why::UnusableKeys(reason) },
        });
        checked
    }

    fn take_incoming(&mut self, handover: Box<Handover>) -> Result<(), Reason> {
        if handover.role != Role::SERVER {
            return Err(Reason::CLOSED_BY_TERMINAL);
        }
        let (id, listen) = self.ports.at(&handover).ok_or(Reason::NOT_LISTENING)?;
        check::answers_listen(listen, &handover)?;
        self.events.push_back(Event::Incoming { id, handover });
        Ok(())
    }

    /// Were keys of this accepted connection delivered already?
    fn has_keys(&self, binding: &Binding) -> bool {
        let mut accepted = self.settled.iter().filter_map(|settled| settled.accepted);
        accepted.any(|(other, until)| other == *binding && self.now < until)
    }

    fn find(&self, wanted: impl Fn(&Stage) -> bool) -> Option<RequestId> {
        self.pending.iter().find(|(_, pending)| wanted(&pending.stage)).map(|(id, _)| id)
    }

    fn settle(&mut self, settled: Settled) {
        if self.settled.len() >= self.limit.max(16) {
            self.settled.pop_front();
        }
        self.settled.push_back(settled);
    }

    fn expire(&mut self) {
        let late: Vec<RequestId> =
            self.pending.iter().filter(|(_, pending)| pending.deadline <= self.now).map(|(id, _)| id).collect();
        for id in late {
            let why = match self.pending.get(id).map(|pending| &pending.stage) {
                Some(Stage::Asked(_) | Stage::Echo(_)) => Why::GatewaySilent,
                Some(Stage::Assisted(assist)) => assist.silence(),
                _ => Why::KeysLate,
            };
            self.fail(id, why);
        }
        for id in self.ports.run(self.now, &mut self.exchanges) {
            self.exchanges.cancel(id, &mut self.endpoint, self.now);
            self.ports.failed(id, self.now, Why::GatewaySilent, &mut self.events);
        }
    }

    fn fail(&mut self, id: RequestId, why: Why) {
        let Some(pending) = self.pending.remove(id) else { return };
        self.give_up(&pending.stage);
        self.exchanges.cancel(id, &mut self.endpoint, self.now);
        if let (Stage::Assisted(_), Why::Failure(failure)) = (&pending.stage, &why)
            && !failure.last_words.is_empty()
        {
            self.events.push_back(Event::ToPeer { id, bytes: failure.last_words.clone() });
        }
        self.events.push_back(Event::Failed { id, why });
    }

    /// Keys of a session that was given up are nobody's, though its port may still be listened on.
    fn give_up(&mut self, stage: &Stage) {
        if let (Stage::Assisted(_), Some(session)) = (stage, stage.session()) {
            // No push has this digest.
            self.settle(Settled { session, digest: [0; 32], accepted: None });
        }
    }

    fn forget(&mut self, id: RequestId) {
        if let Some(pending) = self.pending.remove(id) {
            self.give_up(&pending.stage);
        }
        self.exchanges.cancel(id, &mut self.endpoint, self.now);
        self.ports.remove(id, &mut self.exchanges);
    }

    fn timeout(&self, channel: Option<Instant>, why: &'static str) -> Output {
        let deadlines = self.pending.iter().map(|(_, pending)| pending.deadline).min();
        let own = [(deadlines, "a request's deadline"), (self.ports.next(), "a port's announcement")];
        let all = [(channel, why)].into_iter().chain(own).filter_map(|(when, why)| Some((when?, why)));
        match all.min_by_key(|(when, _)| *when) {
            Some((when, why)) => Output::Timeout(Some(when), why),
            None => Output::Timeout(None, why),
        }
    }
}

impl Stage {
    /// The session, where the gateway has named it.
    fn session(&self) -> Option<SessionId> {
        match self {
            Self::Offered { session, .. } => Some(*session),
            Self::Assisted(assist) => assist.session(),
            Self::Asked(_) | Self::Expected { .. } | Self::Echo(_) => None,
        }
    }

    /// Are these keys meant for it, right or wrong? A server's never are for a request of a client, nor the reverse.
    fn waits_for(&self, handover: &Handover) -> bool {
        match self {
            Self::Expected { local, remote } => {
                let Handover { role, binding, .. } = handover;
                *role == Role::CLIENT && binding.local == *local && binding.remote == *remote
            }
            Self::Offered { .. } => handover.role == Role::CLIENT && self.session() == Some(handover.session),
            Self::Assisted(assist) => handover.role == assist.role() && self.session() == Some(handover.session),
            Self::Asked(_) | Self::Echo(_) => false,
        }
    }
}

/// An error answer, with or without its reason.
fn refusal(code: Code, payload: &[u8]) -> Why {
    match Failure::decode(payload) {
        Ok(failure) => Why::Failure(failure),
        Err(_) => gateway_failure(&alloc::format!("it answered {code} without a reason")),
    }
}

fn failed_request(why: channel::Failure) -> Why {
    match why {
        channel::Failure::TimedOut => Why::GatewaySilent,
        channel::Failure::Exhausted => Why::Channel(Refused::Exhausted),
        channel::Failure::PeerSilent => Why::Channel(Refused::PeerSilent),
        other => gateway_failure(&alloc::format!("{other}")),
    }
}

fn gateway_failure(detail: &str) -> Why {
    Why::Failure(Failure {
        session: None,
        reason: Reason::INTERNAL,
        detail: Some(detail.into()),
        last_words: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
