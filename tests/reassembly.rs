//! A byte stream that is cut into segments, shuffled, repeated, overlapped and thinned out comes out as it was sent, or
//! with its gaps told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop short")]

#[path = "capture_files/build.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod build;

use std::collections::BTreeSet;
use std::time::Duration;

use build::{ACK, FIN, SYN, Segment, ipv4};
use keyferry::packet::{
    Closed, Consumer, Datagram, Direction, Event, Frame, Interest, Limits, LinkType, Pickup, Stack, What,
};
use proptest::prelude::*;
use proptest::sample::Index;

/// What was heard of one connection.
#[derive(Default)]
struct Heard {
    /// Bytes by direction; `None` where one is missing.
    streams: [Vec<Option<u8>>; 2],
    conflicts: usize,
    opened: Vec<Pickup>,
    closed: Vec<Closed>,
}

impl Consumer for Heard {
    fn datagram(&mut self, _: &Datagram<'_>) {}

    fn stream(&mut self, event: &Event<'_>) -> Interest {
        match event.what {
            What::Opened { pickup, .. } => self.opened.push(pickup),
            What::Closed { how } => self.closed.push(how),
            What::Data { direction, offset, bytes } => {
                let stream = self.of(direction);
                assert_eq!(stream.len() as u64, offset, "data continues where the stream is");
                assert!(!bytes.is_empty());
                stream.extend(bytes.iter().copied().map(Some));
            }
            What::Gap { direction, offset, length } => {
                let stream = self.of(direction);
                assert_eq!(stream.len() as u64, offset, "a gap starts where the stream is");
                assert!(length > 0);
                stream.extend(std::iter::repeat_n(None, length as usize));
            }
            What::Retransmitted { conflicting, .. } => self.conflicts += usize::from(conflicting),
        }
        Interest::Full
    }
}

impl Heard {
    fn of(&mut self, direction: Direction) -> &mut Vec<Option<u8>> {
        &mut self.streams[usize::from(direction == Direction::FromServer)]
    }
}

fn hear(limits: Limits, packets: &[Vec<u8>]) -> (Heard, Stack) {
    let (mut heard, mut stack) = (Heard::default(), Stack::new(limits));
    for data in packets {
        let original_length = data.len() as u32;
        let frame = Frame { time: Duration::ZERO, link: LinkType::RAW, data, original_length, interface: 0 };
        stack.frame(&frame, &mut heard);
    }
    stack.finish(&mut heard);
    (heard, stack)
}

fn packet(flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    ipv4(6, &Segment { ports: (40_000, 443), flags, sequence, acknowledgement: 0, payload }.bytes())
}

/// Segments that cover all of `sent`: cut at `cuts`, and again with other lengths, in the order of `order`.
fn segments(initial: u32, sent: &[u8], cuts: &[Index], again: &[(Index, usize)], order: &[Index]) -> Vec<Vec<u8>> {
    let mut bounds: BTreeSet<usize> = cuts.iter().map(|cut| cut.index(sent.len())).collect();
    bounds.extend([0, sent.len()]);
    let bounds: Vec<usize> = bounds.into_iter().collect();
    let once = bounds.windows(2).map(|bounds| (bounds[0], bounds[1]));
    let more = again.iter().map(|(start, length)| {
        let start = start.index(sent.len());
        (start, (start + length).min(sent.len()))
    });
    let mut packets: Vec<Vec<u8>> = once
        .chain(more)
        .map(|(start, end)| packet(ACK, initial.wrapping_add(1 + start as u32), &sent[start..end]))
        .collect();
    packets.push(packet(ACK | FIN, initial.wrapping_add(1 + sent.len() as u32), b""));
    for (at, with) in order.iter().enumerate() {
        let (at, with) = (at % packets.len(), with.index(packets.len()));
        packets.swap(at, with);
    }
    packets.insert(0, packet(SYN, initial, b""));
    packets
}

proptest! {
    #[test]
    fn any_order_gives_the_bytes_that_were_sent(
        initial: u32,
        sent in proptest::collection::vec(any::<u8>(), 1..3000),
        cuts in proptest::collection::vec(any::<Index>(), 0..30),
        again in proptest::collection::vec((any::<Index>(), 1_usize..400), 0..20),
        order in proptest::collection::vec(any::<Index>(), 0..60),
    ) {
        let packets = segments(initial, &sent, &cuts, &again, &order);
        let (heard, stack) = hear(Limits::default(), &packets);
        let expected: Vec<Option<u8>> = sent.iter().copied().map(Some).collect();
        prop_assert_eq!(&heard.streams[0], &expected);
        prop_assert_eq!(heard.opened, [Pickup::Handshake]);
        prop_assert_eq!(heard.closed, [Closed::CaptureEnded]); // the server never said anything
        prop_assert_eq!((heard.conflicts, stack.counters().gaps), (0, 0));
    }

    #[test]
    fn near_the_wrap_of_sequence_numbers_too(
        before in 0_u32..3000,
        sent in proptest::collection::vec(any::<u8>(), 1..3000),
        cuts in proptest::collection::vec(any::<Index>(), 0..30),
        order in proptest::collection::vec(any::<Index>(), 0..60),
    ) {
        let (heard, _) = hear(Limits::default(), &segments(u32::MAX - before, &sent, &cuts, &[], &order));
        let expected: Vec<Option<u8>> = sent.iter().copied().map(Some).collect();
        prop_assert_eq!(&heard.streams[0], &expected);
    }

    #[test]
    fn what_is_lost_is_told_as_a_gap(
        initial: u32,
        sent in proptest::collection::vec(any::<u8>(), 1..3000),
        cuts in proptest::collection::vec(any::<Index>(), 0..30),
        order in proptest::collection::vec(any::<Index>(), 0..60),
        lost in proptest::collection::vec(any::<Index>(), 1..10),
        little in any::<bool>(),
    ) {
        let mut packets = segments(initial, &sent, &cuts, &[], &order);
        for lost in lost {
            // Never the SYN: without it the stream would start elsewhere.
            if packets.len() > 1 {
                packets.remove(1 + lost.index(packets.len() - 1));
            }
        }
        // With little room the stream is given up sooner; it stays true.
        let stream_bytes = if little { 500 } else { 1 << 20 };
        let (heard, stack) = hear(Limits { stream_bytes, ..Limits::default() }, &packets);
        let stream = &heard.streams[0];
        prop_assert!(stream.len() <= sent.len());
        for (at, byte) in stream.iter().enumerate() {
            prop_assert!(byte.is_none_or(|byte| byte == sent[at]));
        }
        prop_assert_eq!(stack.counters().gaps > 0, stream.contains(&None));
        prop_assert_eq!(heard.conflicts, 0);
    }

    #[test]
    fn nothing_that_looks_like_tcp_panics_or_loses_count(
        segments in proptest::collection::vec(
            (1_u16..4, 1_u16..4, any::<u8>(), 0_u32..2000, any::<u32>(), 0_usize..300),
            0..300,
        ),
        connections in 1_usize..5,
    ) {
        let packets: Vec<Vec<u8>> = segments
            .iter()
            .map(|(from, to, flags, sequence, acknowledgement, length)| {
                let payload = vec![7; *length];
                let (sequence, acknowledgement) = (sequence.wrapping_sub(1000), acknowledgement % 2000);
                let segment =
                    Segment { ports: (*from, *to), flags: *flags, sequence, acknowledgement, payload: &payload };
                ipv4(6, &segment.bytes())
            })
            .collect();
        let mut each = Each::default();
        let limits = Limits { connections, stream_bytes: 1000, all_streams_bytes: 2000, ..Limits::default() };
        let mut stack = Stack::new(limits);
        for data in &packets {
            let original_length = data.len() as u32;
            let frame = Frame { time: Duration::ZERO, link: LinkType::RAW, data, original_length, interface: 0 };
            stack.frame(&frame, &mut each);
        }
        stack.finish(&mut each);
        prop_assert!(each.open.is_empty());
        prop_assert_eq!(each.opened, stack.counters().connections);
    }
}

/// Checks that events of every connection keep to their order: opened, in sequence, closed.
#[derive(Default)]
struct Each {
    open: std::collections::BTreeMap<u64, [u64; 2]>,
    opened: u64,
}

impl Consumer for Each {
    fn datagram(&mut self, _: &Datagram<'_>) {}

    fn stream(&mut self, event: &Event<'_>) -> Interest {
        let id = event.id.0;
        let mut advance = |direction: Direction, from: u64, length: u64| {
            let at = &mut self.open.get_mut(&id).unwrap()[usize::from(direction == Direction::FromServer)];
            assert_eq!(*at, from);
            *at += length;
        };
        match event.what {
            What::Opened { .. } => {
                self.opened += 1;
                assert!(self.open.insert(id, [0, 0]).is_none());
            }
            What::Closed { .. } => assert!(self.open.remove(&id).is_some()),
            What::Data { direction, offset, bytes } => advance(direction, offset, bytes.len() as u64),
            What::Gap { direction, offset, length } => advance(direction, offset, length),
            What::Retransmitted { .. } => assert!(self.open.contains_key(&id)),
        }
        Interest::Full
    }
}

#[test]
fn a_contradicting_retransmission_is_told_and_the_first_byte_counts() {
    let packets = [
        packet(SYN, 99, b""),
        packet(ACK, 100, b"genuine"),
        packet(ACK, 100, b"forgery"),
        packet(ACK, 112, b"later"),
        packet(ACK, 112, b"LATER"),
        packet(ACK, 107, b"  ---"),
    ];
    let (heard, stack) = hear(Limits::default(), &packets);
    let stream: Vec<u8> = heard.streams[0].iter().map(|byte| byte.unwrap()).collect();
    assert_eq!(stream, b"genuine  ---later");
    assert_eq!((heard.conflicts, stack.counters().conflicting), (2, 2));
}
