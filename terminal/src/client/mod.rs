//! The terminal's side of the channel: asks the gateway for sessions and takes the keys it sends.
//!
//! Sans-IO, in front of a channel [`Endpoint`]. Data path: datagram -> endpoint -> `receive` -> (is this what we
//! asked for?) -> [`Event`]; the keys in [`Event::Session`] go to [`tls13::Session`](crate::tls13::Session).

mod event;

pub use event::{Event, Input, Output, Why};

use crate::tls13::Session;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use keyferry_channel as channel;
use keyferry_channel::{Code, Endpoint, ExchangeId, Instant, Method, Refused, RequestId};
use keyferry_parsers::messages::{
    Connect, ConnectAnswer, Echo, Failure, Handover, PeerName, ProofMethod, ProvedPeer, Reason, SessionId, SessionPush,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// How long the gateway may take to answer a request: a terminal knows in under 3 s that it is not there.
pub const ANSWER_DEADLINE: Duration = Duration::from_millis(2800);
/// On top of the offer's own time, for what is on its way.
const LINK_ALLOWANCE: u64 = 2;
/// How long keys may take for a connection that was opened without asking.
const EXPECT_DEADLINE: Duration = Duration::from_secs(22);

/// The device side of one channel.
pub struct Terminal {
    endpoint: Endpoint,
    now: Instant,
    limit: usize,
    pending: BTreeMap<RequestId, Pending>,
    /// Requests that the channel had no room for yet.
    waiting: VecDeque<RequestId>,
    /// Sessions already dealt with, so that a push that comes twice is answered the same and delivered once.
    settled: VecDeque<Settled>,
    events: VecDeque<Event>,
}

struct Settled {
    session: SessionId,
    /// SHA-256 of the push: another one for the same session is refused.
    digest: [u8; 32],
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
}

impl Terminal {
    /// `limit`: how many requests may be under way at once; a device with one connection is served by 1.
    pub fn new(endpoint: Endpoint, limit: usize, now: Instant) -> Self {
        Self {
            endpoint,
            now,
            limit,
            pending: BTreeMap::new(),
            waiting: VecDeque::new(),
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
            Input::Connect { id, request } => {
                self.ask(id, Stage::Asked(request));
                Ok(())
            }
            Input::Echo { id, echo } => {
                self.ask(id, Stage::Echo(echo));
                Ok(())
            }
            Input::Expect { id, local, remote } => {
                self.admit(id, Stage::Expected { local, remote }, now + EXPECT_DEADLINE);
                Ok(())
            }
            Input::Cancel { id } => {
                self.forget(id);
                Ok(())
            }
        };
        self.expire();
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

    /// Requests under way.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    fn ask(&mut self, id: RequestId, stage: Stage) {
        if self.admit(id, stage, self.now + ANSWER_DEADLINE) {
            self.waiting.push_back(id);
            self.send_waiting();
        }
    }

    fn admit(&mut self, id: RequestId, stage: Stage, deadline: Instant) -> bool {
        if self.pending.len() >= self.limit {
            self.events.push_back(Event::Failed { id, why: Why::TooMany });
            return false;
        }
        self.pending.insert(id, Pending { deadline, stage });
        true
    }

    /// Gives the channel as many requests as it takes.
    fn send_waiting(&mut self) {
        while let Some(id) = self.waiting.front().copied() {
            let sent = match self.pending.get(&id).map(|pending| &pending.stage) {
                Some(Stage::Asked(request)) => {
                    let payload = request.encode();
                    post(&mut self.endpoint, self.now, id, "connect", payload)
                }
                Some(Stage::Echo(echo)) => {
                    let payload = echo.encode();
                    post(&mut self.endpoint, self.now, id, "echo", payload)
                }
                _ => Ok(()),
            };
            if sent == Err(Refused::Overloaded) {
                return;
            }
            self.waiting.pop_front();
            if let Err(refused) = sent {
                self.fail(id, Why::Channel(refused));
            }
        }
    }

    fn receive(&mut self, event: channel::Event) {
        match event {
            channel::Event::Request { exchange, code, path, payload } => self.serve(exchange, code, &path, &payload),
            channel::Event::Response { id, code, payload } => {
                self.answered(id, code, &payload);
                self.send_waiting();
            }
            channel::Event::Failed { id, why } => {
                if why != channel::Failure::Cancelled {
                    self.fail(id, failed_request(why));
                }
                self.send_waiting();
            }
            channel::Event::Heard => {}
            channel::Event::Advanced { epoch } => self.events.push_back(Event::Advanced { epoch }),
        }
    }

    fn answered(&mut self, id: RequestId, code: Code, payload: &[u8]) {
        let Some(pending) = self.pending.remove(&id) else { return };
        let event = match pending.stage {
            _ if !code.is_success() => Err(refusal(code, payload)),
            Stage::Asked(request) => self.offered(id, request, payload),
            Stage::Echo(echo) => match Echo::decode(payload) {
                Ok(returned) if returned == echo => Ok(Event::Echoed { id }),
                Ok(_) => Err(gateway_failure("the echo came back altered")),
                Err(error) => Err(Why::BadAnswer(error)),
            },
            Stage::Offered { .. } | Stage::Expected { .. } => return,
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
        self.pending.insert(id, Pending { deadline: self.now + Duration::from_secs(seconds), stage });
        Ok(Event::Offer { id, answer })
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
        let refuse = |code, session, reason| (code, Failure { session, reason, detail: None });
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
        if let Some(settled) = self.settled.iter().find(|settled| settled.session == session) {
            let same = settled.digest == digest;
            return if same { Ok(()) } else { Err(refuse(Code::CONFLICT, Some(session), Reason::ADDRESS_NOT_BOUND)) };
        }
        let claimed = match &push {
            SessionPush::Handover(handover) => self.offered_as(session).or_else(|| self.expected_at(handover)),
            SessionPush::Failure(_) => self.offered_as(session),
        };
        // Keys for nobody are not taken.
        let nobody = refuse(Code::CONFLICT, Some(session), Reason::CLOSED_BY_TERMINAL);
        let (id, pending) = claimed.and_then(|id| self.pending.remove_entry(&id)).ok_or(nobody)?;
        match push {
            SessionPush::Failure(failure) => {
                self.events.push_back(Event::Failed { id, why: Why::Failure(failure) });
            }
            SessionPush::Handover(handover) => {
                if let Err(reason) = check(&pending.stage, &handover) {
                    self.events.push_back(Event::Failed { id, why: Why::UnusableKeys(reason) });
                    return Err(refuse(Code::CONFLICT, Some(session), reason));
                }
                self.events.push_back(Event::Session { id, handover });
            }
        }
        self.settle(Settled { session, digest });
        Ok(())
    }

    fn offered_as(&self, number: SessionId) -> Option<RequestId> {
        self.find(|stage| matches!(stage, Stage::Offered { session, .. } if *session == number))
    }

    fn expected_at(&self, handover: &Handover) -> Option<RequestId> {
        self.find(|stage| {
            let Stage::Expected { local, remote } = stage else { return false };
            handover.binding.local == *local && handover.binding.remote == *remote
        })
    }

    fn find(&self, wanted: impl Fn(&Stage) -> bool) -> Option<RequestId> {
        self.pending.iter().find(|(_, pending)| wanted(&pending.stage)).map(|(id, _)| *id)
    }

    fn settle(&mut self, settled: Settled) {
        if self.settled.len() >= self.limit.max(16) {
            self.settled.pop_front();
        }
        self.settled.push_back(settled);
    }

    fn expire(&mut self) {
        let late: Vec<RequestId> =
            self.pending.iter().filter(|(_, pending)| pending.deadline <= self.now).map(|(id, _)| *id).collect();
        for id in late {
            let why = match self.pending.get(&id).map(|pending| &pending.stage) {
                Some(Stage::Asked(_) | Stage::Echo(_)) => Why::GatewaySilent,
                _ => Why::KeysLate,
            };
            self.forget(id);
            self.events.push_back(Event::Failed { id, why });
        }
    }

    fn fail(&mut self, id: RequestId, why: Why) {
        if self.pending.remove(&id).is_some() {
            self.events.push_back(Event::Failed { id, why });
        }
    }

    fn forget(&mut self, id: RequestId) {
        let Some(pending) = self.pending.remove(&id) else { return };
        self.waiting.retain(|waiting| *waiting != id);
        if matches!(pending.stage, Stage::Asked(_) | Stage::Echo(_)) {
            // Refused when the channel never had it.
            let _ = self.endpoint.handle_input(self.now, channel::Input::Cancel { id });
        }
    }

    fn timeout(&self, channel: Option<Instant>, why: &'static str) -> Output {
        let own = self.pending.values().map(|pending| pending.deadline).min();
        match (channel, own) {
            (Some(channel), Some(own)) if own < channel => Output::Timeout(Some(own), "a request's deadline"),
            (None, Some(own)) => Output::Timeout(Some(own), "a request's deadline"),
            (channel, _) => Output::Timeout(channel, why),
        }
    }
}

/// What PROTOCOL.md demands before keys are used; the sockets themselves are the caller's to look at.
fn check(stage: &Stage, handover: &Handover) -> Result<(), Reason> {
    if let Stage::Offered { request, address, .. } = stage {
        let remote = SocketAddr::new(*address, request.port);
        if handover.binding.local.port() != request.source_port || handover.binding.remote != remote {
            return Err(Reason::ADDRESS_NOT_BOUND);
        }
        let asked_for = |alpn| request.alpn.contains(alpn);
        if !request.cipher_suites.contains(&handover.suite) || !handover.alpn.iter().all(asked_for) {
            return Err(Reason::UNSUPPORTED);
        }
        if !is_whom_we_asked_for(request, &handover.peer) {
            return Err(Reason::CERTIFICATE_NAME_MISMATCH);
        }
    }
    Session::check(handover).map_err(|_| Reason::UNSUPPORTED)
}

/// A proved name must be the one asked for. Who is behind an address or a pinned key only the policy can say.
fn is_whom_we_asked_for(request: &Connect, peer: &ProvedPeer) -> bool {
    let named = match &request.peer {
        PeerName::Name(name) => [Some(name), request.sni.as_ref()],
        PeerName::Address(_) => [request.sni.as_ref(), None],
    };
    peer.method != ProofMethod::CA_VERIFIED_NAME
        || named == [None, None]
        || named.into_iter().flatten().any(|name| name.trim_end_matches('.').eq_ignore_ascii_case(&peer.identity))
}

fn post(
    endpoint: &mut Endpoint,
    now: Instant,
    id: RequestId,
    resource: &str,
    payload: Zeroizing<Vec<u8>>,
) -> Result<(), Refused> {
    let path = &["kf", resource];
    endpoint.handle_input(now, channel::Input::Request { id, code: Method::POST, path, payload, handover: false })
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
    Why::Failure(Failure { session: None, reason: Reason::INTERNAL, detail: Some(detail.into()) })
}

#[cfg(test)]
mod tests;
