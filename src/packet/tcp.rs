//! TCP connections: which segment belongs to which, and what is told of them.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;

use super::ip::Packet;
use super::stream::{Found, Stream};
use super::{Arrival, Consumer, Counters, Fault, Limits, field, number};

/// A connection, by the order in which they were first seen. Never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// Who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Who opened the connection.
    FromClient,
    /// Who was called.
    FromServer,
}

/// How the start of a connection was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pickup {
    /// Its SYN.
    Handshake,
    /// Some data: the one with the lower port is taken for the server, and the start of both streams is missing.
    MidStream,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Both sides said that they were done.
    Finished,
    /// One side broke it off, or would not take the call.
    Reset(Direction),
    /// Another one has started between the same ports.
    Replaced,
    /// It was idle, and its place was needed: [`Limits::connections`].
    Evicted,
    /// The capture ended before it.
    CaptureEnded,
}

/// Something happened on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// On which.
    pub id: StreamId,
    /// The frame that led to it.
    pub arrival: Arrival,
    /// What happened.
    pub what: What<'a>,
}

/// What can happen on a connection. Offsets count bytes of the direction from its first on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// It is new; always the first event.
    Opened {
        /// Who called.
        client: SocketAddr,
        /// Whom.
        server: SocketAddr,
        /// How the start was seen.
        pickup: Pickup,
    },
    /// The next bytes of a direction.
    Data {
        /// Which direction.
        direction: Direction,
        /// Where the bytes are in it.
        offset: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Bytes are missing for good; what follows is after them.
    Gap {
        /// Which direction.
        direction: Direction,
        /// Where the first missing byte is.
        offset: u64,
        /// How many are missing.
        length: u64,
    },
    /// Bytes came another time. The first ones count.
    Retransmitted {
        /// Which direction.
        direction: Direction,
        /// Where they are in it.
        offset: u64,
        /// How many.
        length: u64,
        /// They are known to differ from the first ones. Long after those, a difference is no longer noticed.
        conflicting: bool,
    },
    /// It ended; always the last event.
    Closed {
        /// How.
        how: Closed,
    },
}

/// Whether a consumer wants more of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Everything.
    Full,
    /// Only its end. There is no way back.
    None,
}

/// A TCP segment.
pub(super) struct Segment<'a> {
    source: SocketAddr,
    destination: SocketAddr,
    sequence: u32,
    acknowledgement: Option<u32>,
    syn: bool,
    fin: bool,
    rst: bool,
    payload: &'a [u8],
    missing: usize,
}

impl<'a> Segment<'a> {
    /// Reads the segment in a packet (RFC 9293 section 3.1).
    pub(super) fn parse(packet: &Packet<'a>) -> Result<Self, Fault> {
        let mut rest = packet.payload;
        let source = SocketAddr::new(packet.source, number(&mut rest)?);
        let destination = SocketAddr::new(packet.destination, number(&mut rest)?);
        let sequence = u32::from_be_bytes(*field(&mut rest)?);
        let acknowledgement = u32::from_be_bytes(*field(&mut rest)?);
        let [data_offset, flags, ..] = *field::<8>(&mut rest)?;
        let options = (usize::from(data_offset >> 4) * 4).checked_sub(20).ok_or(Fault::Malformed)?;
        let (_, payload) = rest.split_at_checked(options).ok_or(Fault::Malformed)?;
        let [fin, syn, rst, ack] = [0x01, 0x02, 0x04, 0x10].map(|bit| flags & bit != 0);
        let acknowledgement = ack.then_some(acknowledgement);
        let missing = packet.missing;
        Ok(Self { source, destination, sequence, acknowledgement, syn, fin, rst, payload, missing })
    }

    /// Opens a connection if it belongs to none: all else may be the rest of one that was given up.
    fn opens(&self) -> bool {
        !self.rst && (self.syn || !self.payload.is_empty() || self.missing > 0)
    }

    /// Who called whom, and how that was told.
    fn roles(&self) -> (SocketAddr, SocketAddr, Pickup) {
        let (there, back) = ((self.source, self.destination), (self.destination, self.source));
        let ((client, server), pickup) = match (self.syn, self.acknowledgement) {
            (true, None) => (there, Pickup::Handshake),
            (true, Some(_)) => (back, Pickup::Handshake),
            (false, _) if self.source.port() < self.destination.port() => (back, Pickup::MidStream),
            (false, _) => (there, Pickup::MidStream),
        };
        (client, server, pickup)
    }
}

/// Both ends, the lower one first, so that either direction leads to the connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key([(u16, u128); 2]);

impl Key {
    fn of(segment: &Segment<'_>) -> Self {
        let end = |address: SocketAddr| {
            let bits = match address.ip() {
                IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
                IpAddr::V6(address) => address.to_bits(),
            };
            (address.port(), bits)
        };
        let (source, destination) = (end(segment.source), end(segment.destination));
        Self(if source < destination { [source, destination] } else { [destination, source] })
    }
}

/// The connections there are.
#[derive(Default)]
pub(super) struct Connections {
    limits: Limits,
    by_ends: BTreeMap<Key, Box<Connection>>,
    opened: u64,
    /// Closed ones, which are kept for a while so that late segments do not look like new connections.
    closed: VecDeque<(Key, StreamId)>,
    /// Whom to look at next when room is needed.
    hand: Option<Key>,
    /// Bytes that wait in all of them.
    waiting: usize,
    last: Arrival,
}

struct Connection {
    id: StreamId,
    client: SocketAddr,
    from_client: Stream,
    from_server: Stream,
    client_done: bool,
    server_done: bool,
    state: State,
    /// Something came since the hand last came by.
    active: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Followed,
    Ignored,
    Closed,
}

/// Closed connections that are kept.
const MOST_CLOSED: usize = 1024;

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// How many there are, closed ones that are still kept included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_ends.len()
    }

    /// Takes a segment to its connection.
    pub(super) fn segment(
        &mut self,
        arrival: Arrival,
        segment: &Segment<'_>,
        counters: &mut Counters,
        consumer: &mut impl Consumer,
    ) {
        self.last = arrival;
        let key = Key::of(segment);
        let teller = &mut Teller { arrival, counters, consumer };
        match self.by_ends.get_mut(&key) {
            Some(connection) if !connection.is_replaced_by(segment) => {
                let before = connection.cost();
                let was = connection.state;
                connection.segment(segment, self.limits, self.waiting, teller);
                self.waiting = self.waiting.saturating_sub(before).saturating_add(connection.cost());
                if connection.state == State::Closed && was != State::Closed {
                    let id = connection.id;
                    self.keep_closed(key, id);
                }
            }
            Some(_) => {
                self.remove(key, Closed::Replaced, teller);
                self.open(key, segment, teller);
            }
            None if segment.opens() => self.open(key, segment, teller),
            None => {}
        }
    }

    /// The capture is over.
    pub(super) fn finish(&mut self, counters: &mut Counters, consumer: &mut impl Consumer) {
        let teller = &mut Teller { arrival: self.last, counters, consumer };
        let mut left: Vec<_> = std::mem::take(&mut self.by_ends).into_values().collect();
        left.sort_unstable_by_key(|connection| connection.id);
        left.iter_mut().for_each(|connection| connection.close(Closed::CaptureEnded, teller));
        *self = Self { opened: self.opened, ..Self::new(self.limits) };
    }

    fn open(&mut self, key: Key, segment: &Segment<'_>, teller: &mut Teller<'_, impl Consumer>) {
        while self.by_ends.len() >= self.limits.connections.max(1) {
            self.make_room(teller);
        }
        self.opened += 1;
        teller.counters.connections += 1;
        let (client, server, pickup) = segment.roles();
        let mut connection = Box::new(Connection::new(StreamId(self.opened), client));
        connection.tell(What::Opened { client, server, pickup }, teller);
        connection.segment(segment, self.limits, self.waiting, teller);
        self.waiting = self.waiting.saturating_add(connection.cost());
        self.by_ends.insert(key, connection);
    }

    /// One that is closed goes first; then one that has been idle for the longest, nearly: the hand goes round, and takes
    /// who was not active since it last came by. Each step is paid for by a segment, so that it costs little in the long
    /// run.
    fn make_room(&mut self, teller: &mut Teller<'_, impl Consumer>) {
        if let Some((key, id)) = self.closed.pop_front() {
            return self.drop_closed(key, id);
        }
        let after = self.hand.map_or(Bound::Unbounded, Bound::Excluded);
        let mut next = self.by_ends.range_mut((after, Bound::Unbounded));
        self.hand = next.find_map(|(key, connection)| (!connection.rest()).then_some(*key));
        if let Some(key) = self.hand {
            teller.counters.connections_evicted += 1;
            self.remove(key, Closed::Evicted, teller);
        }
    }

    fn remove(&mut self, key: Key, how: Closed, teller: &mut Teller<'_, impl Consumer>) {
        if let Some(mut connection) = self.by_ends.remove(&key) {
            self.waiting = self.waiting.saturating_sub(connection.cost());
            connection.close(how, teller);
        }
    }

    fn keep_closed(&mut self, key: Key, id: StreamId) {
        self.closed.push_back((key, id));
        if self.closed.len() > MOST_CLOSED
            && let Some((key, id)) = self.closed.pop_front()
        {
            self.drop_closed(key, id);
        }
    }

    /// Unless another connection has taken its ports.
    fn drop_closed(&mut self, key: Key, id: StreamId) {
        if self.by_ends.get(&key).is_some_and(|connection| connection.id == id) {
            self.by_ends.remove(&key);
        }
    }
}

impl Connection {
    fn new(id: StreamId, client: SocketAddr) -> Self {
        Self {
            id,
            client,
            from_client: Stream::default(),
            from_server: Stream::default(),
            client_done: false,
            server_done: false,
            state: State::Followed,
            active: true,
        }
    }

    fn direction(&self, segment: &Segment<'_>) -> Direction {
        if segment.source == self.client { Direction::FromClient } else { Direction::FromServer }
    }

    /// The stream of that direction, and the other one.
    fn streams(&mut self, direction: Direction) -> (&mut Stream, &mut Stream) {
        match direction {
            Direction::FromClient => (&mut self.from_client, &mut self.from_server),
            Direction::FromServer => (&mut self.from_server, &mut self.from_client),
        }
    }

    /// A SYN that is not this connection's starts another one between the same ends.
    fn is_replaced_by(&self, segment: &Segment<'_>) -> bool {
        if !segment.syn || segment.rst {
            return false;
        }
        let stream = match self.direction(segment) {
            Direction::FromClient => &self.from_client,
            Direction::FromServer => &self.from_server,
        };
        match self.state {
            State::Closed => segment.acknowledgement.is_none() && stream.initial() != Some(segment.sequence),
            State::Followed | State::Ignored => stream.starts_otherwise(segment.sequence),
        }
    }

    fn cost(&self) -> usize {
        self.from_client.cost().saturating_add(self.from_server.cost())
    }

    /// Rests until the next segment; says whether there was one since it was last asked.
    fn rest(&mut self) -> bool {
        std::mem::take(&mut self.active)
    }

    fn segment(
        &mut self,
        segment: &Segment<'_>,
        limits: Limits,
        waiting: usize,
        teller: &mut Teller<'_, impl Consumer>,
    ) {
        self.active = true;
        let direction = self.direction(segment);
        if self.state == State::Followed {
            self.follow(direction, segment, limits, waiting, teller);
        }
        if self.state == State::Ignored && segment.fin {
            self.done(direction);
        }
        if segment.rst {
            self.close(Closed::Reset(direction), teller);
        } else if self.client_done && self.server_done {
            self.close(Closed::Finished, teller);
        }
    }

    fn follow(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        limits: Limits,
        waiting: usize,
        teller: &mut Teller<'_, impl Consumer>,
    ) {
        let Segment { sequence, payload, missing, .. } = *segment;
        let id = self.id;
        let (stream, answered) = self.streams(direction);
        let mut interest = Interest::Full;
        let mut found = |found: Found<'_>| teller.found(id, direction, found, &mut interest);
        if segment.syn {
            stream.start(sequence);
        }
        if !segment.rst {
            let sequence = if segment.syn { sequence.wrapping_add(1) } else { sequence };
            stream.add(sequence, payload, missing, segment.fin, &mut found);
            let before = waiting.saturating_add(stream.cost());
            let most = if before > limits.all_streams_bytes { 0 } else { limits.stream_bytes };
            stream.give_up(most, &mut found);
        }
        let done = stream.is_finished();
        let against = direction.reverse();
        let mut found = |found: Found<'_>| teller.found(id, against, found, &mut interest);
        if let Some(number) = segment.acknowledgement {
            answered.acknowledge(number, &mut found);
        }
        let answered_done = answered.is_finished();
        if done {
            self.done(direction);
        }
        if answered_done {
            self.done(against);
        }
        if interest == Interest::None {
            self.ignore();
        }
    }

    fn done(&mut self, direction: Direction) {
        match direction {
            Direction::FromClient => self.client_done = true,
            Direction::FromServer => self.server_done = true,
        }
    }

    fn ignore(&mut self) {
        self.state = State::Ignored;
        self.from_client.forget();
        self.from_server.forget();
    }

    /// Tells what waits, then the end.
    fn close(&mut self, how: Closed, teller: &mut Teller<'_, impl Consumer>) {
        if self.state == State::Closed {
            return;
        }
        if self.state == State::Followed {
            let mut interest = Interest::Full;
            for direction in [Direction::FromClient, Direction::FromServer] {
                let id = self.id;
                let mut found = |found: Found<'_>| teller.found(id, direction, found, &mut interest);
                self.streams(direction).0.finish(&mut found);
            }
        }
        self.ignore();
        self.tell(What::Closed { how }, teller);
        self.state = State::Closed;
    }

    fn tell(&mut self, what: What<'_>, teller: &mut Teller<'_, impl Consumer>) {
        let event = Event { id: self.id, arrival: teller.arrival, what };
        if teller.consumer.stream(&event) == Interest::None {
            self.ignore();
        }
    }
}

impl Direction {
    /// The other one.
    pub const fn reverse(self) -> Self {
        match self {
            Self::FromClient => Self::FromServer,
            Self::FromServer => Self::FromClient,
        }
    }
}

/// Tells the consumer, and counts.
struct Teller<'a, C> {
    arrival: Arrival,
    counters: &'a mut Counters,
    consumer: &'a mut C,
}

impl<C: Consumer> Teller<'_, C> {
    fn found(&mut self, id: StreamId, direction: Direction, found: Found<'_>, interest: &mut Interest) {
        let what = match found {
            Found::Data { offset, bytes } => What::Data { direction, offset, bytes },
            Found::Gap { offset, length } => {
                self.counters.gaps += 1;
                What::Gap { direction, offset, length }
            }
            Found::Retransmitted { offset, length, conflicting } => {
                self.counters.retransmitted += 1;
                self.counters.conflicting += u64::from(conflicting);
                What::Retransmitted { direction, offset, length, conflicting }
            }
            Found::KeepAlive => {
                self.counters.keep_alives += 1;
                return;
            }
        };
        if *interest == Interest::Full {
            *interest = self.consumer.stream(&Event { id, arrival: self.arrival, what });
        }
    }
}
