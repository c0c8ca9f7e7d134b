//! A passive IP stack: frames of a capture go in, UDP datagrams and TCP byte streams come out.
//!
//! ```text
//! link      frame -> IP packet: Ethernet, VLAN, PPPoE, Linux cooked, raw, loopback
//! ip        IP packet -> payload: IPv4, IPv6 and its extension headers, IP in IP
//! defrag    fragments -> payload
//! udp tcp   payload -> datagram, segment -> connection
//! stream    segments of one direction -> bytes in order
//! pieces    what arrived too early, for defrag and stream
//! ```
//!
//! Sans-IO: a frame brings its own time. What is in order is handed on as a slice of the frame; only what has to
//! wait is copied. All memory is bounded by [`Limits`]. Checksums are not verified, because a capture on the sending
//! host shows packets whose checksums the network card has yet to fill in.

mod defrag;
mod ip;
mod link;
mod pieces;
mod stream;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::time::Duration;

pub use link::LinkType;
pub use tcp::{Closed, Direction, Event, Interest, Pickup, StreamId, What};

use defrag::Defrag;
use ip::{Packet, Protocol};
use tcp::Connections;

/// A frame as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Since 1970, as exact as the capture has it.
    pub time: Duration,
    /// What the frame starts with.
    pub link: LinkType,
    /// What was captured of it.
    pub data: &'a [u8],
    /// Bytes on the wire; more than `data` has if the capture was told to cut frames short.
    pub original_length: u32,
    /// Which interface of the capture, counted from 0.
    pub interface: u32,
}

/// When something arrived, and in which frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Time of the frame, since 1970.
    pub time: Duration,
    /// Number of the frame among all that were given to the stack, counted from 1.
    pub frame: u64,
    /// Bytes of the frame on the wire.
    pub length: u32,
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// When its (last) frame came.
    pub arrival: Arrival,
    /// Who sent it.
    pub source: SocketAddr,
    /// Whom to.
    pub destination: SocketAddr,
    /// What was captured of its payload.
    pub payload: &'a [u8],
    /// Bytes of the payload that the capture cut off.
    pub missing: usize,
    /// It came in several IP fragments.
    pub fragmented: bool,
}

/// Who takes what the stack finds.
pub trait Consumer {
    /// A UDP datagram.
    fn datagram(&mut self, datagram: &Datagram<'_>);

    /// Something happened on a TCP connection. With [`Interest::None`] the consumer says that it wants no more of the
    /// connection's data; its end is reported all the same.
    fn stream(&mut self, event: &Event<'_>) -> Interest;
}

/// How much may be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections at a time; one that has been idle makes room for a new one. About 600 bytes each.
    pub connections: usize,
    /// Bytes that wait in one direction of a connection for what is missing before them.
    pub stream_bytes: usize,
    /// Bytes that wait in all connections.
    pub all_streams_bytes: usize,
    /// IP packets at a time of which fragments are missing.
    pub fragmented: usize,
    /// Bytes of their fragments.
    pub fragment_bytes: usize,
    /// How long a fragment waits for the others.
    pub fragment_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            stream_bytes: 256 * 1024,
            all_streams_bytes: 32 * 1024 * 1024,
            fragmented: 256,
            fragment_bytes: 4 * 1024 * 1024,
            fragment_time: Duration::from_secs(30),
        }
    }
}

/// What became of the frames, in frames unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// All of them.
    pub frames: u64,
    /// Their bytes, as captured.
    pub bytes: u64,
    /// Frames of a link type that is not read here.
    pub unknown_link: u64,
    /// Frames that carry something else than IP.
    pub not_ip: u64,
    /// Headers that contradict themselves, or that the capture cut off.
    pub malformed: u64,
    /// Packets of which the capture has the headers, but not all of the payload.
    pub truncated: u64,
    /// IP fragments.
    pub fragments: u64,
    /// IP packets put together from fragments.
    pub defragmented: u64,
    /// IP packets given up because fragments did not come in time, or too many were waited for.
    pub fragments_lost: u64,
    /// IP packets given up because their fragments contradict each other.
    pub fragments_conflicting: u64,
    /// UDP datagrams.
    pub udp: u64,
    /// TCP segments.
    pub tcp: u64,
    /// IP packets of other protocols: ICMP, ESP.
    pub other_protocols: u64,
    /// TCP connections.
    pub connections: u64,
    /// TCP connections given up for newer ones.
    pub connections_evicted: u64,
    /// TCP segments that brought no connection's byte for the first time, keep-alives not counted.
    pub retransmitted: u64,
    /// Keep-alives of TCP.
    pub keep_alives: u64,
    /// Retransmitted bytes, in segments, that differ from the first ones.
    pub conflicting: u64,
    /// Places where bytes of a TCP stream are missing.
    pub gaps: u64,
}

/// The stack. Give it frames in the order they were captured, then [`Stack::finish`].
pub struct Stack {
    counters: Counters,
    defrag: Defrag,
    connections: Connections,
}

impl Stack {
    /// A stack that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        Self { counters: Counters::default(), defrag: Defrag::new(limits), connections: Connections::new(limits) }
    }

    /// What became of the frames so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes a frame apart and hands on what it completes.
    pub fn frame(&mut self, frame: &Frame<'_>, consumer: &mut impl Consumer) {
        self.counters.frames = self.counters.frames.saturating_add(1);
        self.counters.bytes = self.counters.bytes.saturating_add(frame.data.len() as u64);
        let arrival = Arrival { time: frame.time, frame: self.counters.frames, length: frame.original_length };
        match link::network(frame.link, frame.data) {
            Ok(packet) => self.packet(arrival, packet, consumer),
            Err(fault) => self.count(fault),
        }
    }

    /// The capture is over: what waits is handed on, and every connection is closed.
    pub fn finish(&mut self, consumer: &mut impl Consumer) {
        self.connections.finish(&mut self.counters, consumer);
    }

    fn packet(&mut self, arrival: Arrival, bytes: &[u8], consumer: &mut impl Consumer) {
        match Packet::parse(bytes) {
            Ok(packet) => self.whole(arrival, &packet, consumer),
            Err(fault) => self.count(fault),
        }
    }

    fn whole(&mut self, arrival: Arrival, packet: &Packet<'_>, consumer: &mut impl Consumer) {
        let Some(fragment) = packet.fragment else {
            return self.payload(arrival, packet, false, consumer);
        };
        self.counters.fragments += 1;
        // Out of its owner while its bytes are read: nothing below defragments again.
        let mut defrag = std::mem::take(&mut self.defrag);
        match defrag.add(arrival.time, packet, fragment, &mut self.counters).map(Packet::beyond_fragment_header) {
            Some(Ok(packet)) => self.payload(arrival, &packet, true, consumer),
            Some(Err(fault)) => self.count(fault),
            None => {}
        }
        self.defrag = defrag;
    }

    fn payload(&mut self, arrival: Arrival, packet: &Packet<'_>, fragmented: bool, consumer: &mut impl Consumer) {
        if packet.missing > 0 {
            self.counters.truncated += 1;
        }
        match packet.protocol {
            Protocol::UDP => match udp::parse(arrival, packet, fragmented) {
                Ok(datagram) => {
                    self.counters.udp += 1;
                    consumer.datagram(&datagram);
                }
                Err(fault) => self.count(fault),
            },
            Protocol::TCP => match tcp::Segment::parse(packet) {
                Ok(segment) => {
                    self.counters.tcp += 1;
                    self.connections.segment(arrival, &segment, &mut self.counters, consumer);
                }
                Err(fault) => self.count(fault),
            },
            _ => self.counters.other_protocols += 1,
        }
    }

    fn count(&mut self, fault: Fault) {
        let counter = match fault {
            Fault::UnknownLink => &mut self.counters.unknown_link,
            Fault::NotIp => &mut self.counters.not_ip,
            Fault::Malformed => &mut self.counters.malformed,
        };
        *counter = counter.saturating_add(1);
    }
}

/// Why a frame is not taken further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    UnknownLink,
    NotIp,
    Malformed,
}

/// Splits a field of `N` bytes off the front.
fn field<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<&'a [u8; N], Fault> {
    let (field, rest) = bytes.split_first_chunk().ok_or(Fault::Malformed)?;
    *bytes = rest;
    Ok(field)
}

/// A number of two bytes off the front.
fn number(bytes: &mut &[u8]) -> Result<u16, Fault> {
    field(bytes).map(|field| u16::from_be_bytes(*field))
}

#[cfg(test)]
mod tests;
