//! Assisted mode: the peer's bytes go to the gateway in pieces, side by side, and what it answers goes to the peer in their
//! order. Start, pieces, key; the keys themselves come as a hand-over, like all keys.

use super::event::{Event, Start, Why};
use super::exchanges::{Exchanges, Purpose};
use super::gateway_failure;
use super::{ANSWER_DEADLINE, KEYS_DEADLINE, PEER_DEADLINE, check};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;
use keyferry_channel::RequestId;
use keyferry_parsers::messages::{
    Binding, Connect, Handover, KxAnswer, KxRequest, Listen, PeerName, Reason, Role, SessionId, Step,
};

/// Bytes of the peer's stream in one piece: with what goes around them they fit in one message of the channel.
const PIECE: usize = 1000;
/// The same in the start, which has more to say.
const FIRST_PIECE: usize = 800;
/// Pieces in flight: as many requests as the channel carries at once.
const WINDOW: usize = 8;
/// Bytes that may wait for the gateway; no peer says that much before it is answered.
const MAX_BACKLOG: usize = 131_072;

/// One handshake that the gateway does from afar.
pub(super) struct Assist {
    wanted: Wanted,
    session: Option<SessionId>,
    /// Client: the peer's address, by the gateway's policy.
    address: Option<IpAddr>,
    binding: Option<Binding>,
    /// What the gateway needs next, by its newest answer.
    next: Step,
    /// Bytes of the peer's stream that went to the gateway.
    carried: usize,
    /// In the order of the stream.
    in_flight: VecDeque<Piece>,
    /// From the peer, not carried yet. Behind the handshake it stays here, for the session.
    backlog: Vec<u8>,
    closed: Closed,
    key: Key,
    /// How often the gateway has answered.
    answers: u32,
}

enum Wanted {
    Client(Connect),
    Server(Listen),
}

struct Piece {
    offset: usize,
    /// Answers may overtake each other; their bytes must not.
    answer: Option<KxAnswer>,
}

#[derive(Clone, Copy, PartialEq)]
enum Closed {
    No,
    ByPeer,
    Told,
}

#[derive(Clone, Copy, PartialEq)]
enum Key {
    NotAsked,
    Asked,
    /// The gateway has said that it sends them.
    Promised,
}

impl Assist {
    /// Asks the gateway to begin.
    pub(super) fn start(id: RequestId, start: Start, exchanges: &mut Exchanges) -> Self {
        let (wanted, binding, mut backlog) = match start {
            Start::Client(connect) => (Wanted::Client(connect), None, Vec::new()),
            Start::Server { listen, binding, bytes } => (Wanted::Server(listen), Some(binding), bytes),
        };
        let bytes = take_piece(&mut backlog, FIRST_PIECE);
        let carried = bytes.len();
        let (role, connect, listen) = match &wanted {
            Wanted::Client(connect) => (Role::CLIENT, Some(connect.clone()), None),
            Wanted::Server(listen) => (Role::SERVER, None, Some(listen.clone())),
        };
        let request = KxRequest::Start { role, connect, listen, binding, bytes };
        exchanges.post(Purpose::Start(id), "kx", request.encode());
        Self {
            wanted,
            session: None,
            address: None,
            binding,
            next: Step::START,
            carried,
            in_flight: VecDeque::new(),
            backlog,
            closed: Closed::No,
            key: Key::NotAsked,
            answers: 0,
        }
    }

    pub(super) fn session(&self) -> Option<SessionId> {
        self.session
    }

    pub(super) fn role(&self) -> Role {
        match self.wanted {
            Wanted::Client(_) => Role::CLIENT,
            Wanted::Server(_) => Role::SERVER,
        }
    }

    /// Is it the gateway's turn? If not, the peer's.
    fn waits_for_gateway(&self) -> bool {
        self.session.is_none() || !self.in_flight.is_empty() || self.key != Key::NotAsked
    }

    /// How long whoever's turn it is may take.
    pub(super) fn patience(&self) -> Duration {
        match self.key {
            Key::Promised => KEYS_DEADLINE,
            _ if self.waits_for_gateway() => ANSWER_DEADLINE,
            _ => PEER_DEADLINE,
        }
    }

    /// Changes whenever somebody has done something that was waited for: the gateway has answered, or the peer spoken
    /// when it was its turn.
    pub(super) fn progress(&self) -> impl PartialEq + use<> {
        (self.answers, self.waits_for_gateway(), self.binding.is_some())
    }

    /// Whose fault it is that nothing happens.
    pub(super) fn silence(&self) -> Why {
        match self.key {
            Key::Promised => Why::KeysLate,
            _ if self.waits_for_gateway() => Why::GatewaySilent,
            _ => Why::PeerSilent,
        }
    }

    /// The gateway has consented.
    pub(super) fn started(&mut self, id: RequestId, payload: &[u8], events: &mut VecDeque<Event>) -> Result<(), Why> {
        let answer = KxAnswer::decode_start(payload).map_err(Why::BadAnswer)?;
        if let (Wanted::Client(connect), Some(address)) = (&self.wanted, answer.address)
            && matches!(connect.peer, PeerName::Address(asked) if asked != address)
        {
            return Err(Why::WrongAddress);
        }
        self.answers = self.answers.saturating_add(1);
        self.session = Some(answer.session);
        self.address = answer.address;
        self.next = answer.next;
        let KxAnswer { session, needed, send, address, .. } = answer;
        events.push_back(Event::Assisted { id, session, needed, address });
        if !send.is_empty() {
            events.push_back(Event::ToPeer { id, bytes: send });
        }
        Ok(())
    }

    /// TCP is open (client; a server's is from the start).
    pub(super) fn opened(&mut self, binding: Binding) {
        self.binding = Some(binding);
    }

    /// The peer has sent something.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Result<(), Why> {
        if self.backlog.len().saturating_add(bytes.len()) > MAX_BACKLOG {
            return Err(Why::PeerOversized);
        }
        self.backlog.extend_from_slice(bytes);
        Ok(())
    }

    /// The peer has closed.
    pub(super) fn hear_close(&mut self) {
        if self.closed == Closed::No {
            self.closed = Closed::ByPeer;
        }
    }

    /// The gateway has answered the piece at `offset`.
    pub(super) fn answered(&mut self, offset: u32, payload: &[u8]) -> Result<(), Why> {
        let answer = KxAnswer::decode(payload).map_err(Why::BadAnswer)?;
        if self.session != Some(answer.session) {
            return Err(gateway_failure("its answer is about another session"));
        }
        self.answers = self.answers.saturating_add(1);
        let mut pieces = self.in_flight.iter_mut();
        if let Some(piece) = pieces.find(|piece| u32::try_from(piece.offset) == Ok(offset)) {
            piece.answer = Some(answer);
        }
        Ok(())
    }

    /// Has a piece before `offset` no answer yet? Then bytes may be missing that the peer should have had first.
    pub(super) fn misses_answers_before(&self, offset: u32) -> bool {
        let before = |piece: &Piece| u32::try_from(piece.offset).is_ok_and(|at| at < offset);
        self.in_flight.iter().any(|piece| before(piece) && piece.answer.is_none())
    }

    /// The gateway has said yes to the question for the keys: they come by themselves.
    pub(super) fn promised(&mut self) {
        self.answers = self.answers.saturating_add(1);
        self.key = Key::Promised;
    }

    /// Does what can be done now: bytes to the peer, pieces to the gateway, and the question for the key.
    pub(super) fn advance(&mut self, id: RequestId, exchanges: &mut Exchanges, events: &mut VecDeque<Event>) {
        self.take_answers(id, events);
        let Some(session) = self.session else { return };
        if self.next != Step::KEY {
            return self.carry(id, session, exchanges);
        }
        if let (Key::NotAsked, true, Some(binding)) = (self.key, self.in_flight.is_empty(), self.binding) {
            self.key = Key::Asked;
            let request = KxRequest::Key { session, length: offset(self.carried), binding };
            exchanges.post(Purpose::Key(id), "kx", request.encode());
        }
    }

    /// Are these the keys that were asked for? If so, what the peer has said beyond the handshake goes with them.
    pub(super) fn take_keys(&mut self, handover: &mut Handover) -> Result<(), Reason> {
        let binding = self.binding.filter(|_| self.key != Key::NotAsked).ok_or(Reason::ADDRESS_NOT_BOUND)?;
        check::is_bound(&binding, handover)?;
        match &self.wanted {
            Wanted::Client(connect) => {
                let address = self.address.unwrap_or(binding.remote.ip());
                check::answers_connect(connect, address, handover)?;
            }
            Wanted::Server(listen) => check::answers_listen(listen, handover)?,
        }
        handover.prefix.append(&mut self.backlog);
        Ok(())
    }

    fn take_answers(&mut self, id: RequestId, events: &mut VecDeque<Event>) {
        while let Some(answer) = self.in_flight.front_mut().and_then(|piece| piece.answer.take()) {
            self.in_flight.pop_front();
            if !answer.send.is_empty() {
                events.push_back(Event::ToPeer { id, bytes: answer.send });
            }
            if answer.next != self.next {
                self.next = answer.next;
                events.push_back(Event::Needs { id, step: answer.next });
            }
        }
    }

    fn carry(&mut self, id: RequestId, session: SessionId, exchanges: &mut Exchanges) {
        while self.in_flight.len() < WINDOW && (!self.backlog.is_empty() || self.closed == Closed::ByPeer) {
            let bytes = take_piece(&mut self.backlog, PIECE);
            let length = bytes.len();
            let closed = self.closed == Closed::ByPeer && self.backlog.is_empty();
            if closed {
                self.closed = Closed::Told;
            }
            let at = offset(self.carried);
            let request = KxRequest::Carry { step: self.next, session, offset: at, bytes, closed };
            exchanges.post(Purpose::Piece(id, at), "kx", request.encode());
            self.in_flight.push_back(Piece { offset: self.carried, answer: None });
            self.carried = self.carried.saturating_add(length);
        }
    }
}

fn take_piece(backlog: &mut Vec<u8>, most: usize) -> Vec<u8> {
    let rest = backlog.split_off(backlog.len().min(most));
    core::mem::replace(backlog, rest)
}

/// A handshake of four gigabytes does not happen: the gateway ends it long before.
fn offset(carried: usize) -> u32 {
    u32::try_from(carried).unwrap_or(u32::MAX)
}
