//! What must hold for any capture file: it is read to an end, and what is told of its connections is in order.
//!
//! Apart from the other targets, whose crate is the parsers alone; `tests/capture_files.rs` runs it over the corpus.

use std::collections::BTreeMap;
use std::io::Cursor;

use keyferry::io::pcap::{Item, Reader};
use keyferry::packet::{Consumer, Datagram, Direction, Event, Interest, Limits, Stack, What};

/// A capture file of any format, through the whole stack.
pub fn capture(bytes: &[u8]) {
    let Ok(mut reader) = Reader::new("fuzz", Cursor::new(bytes.to_vec())) else {
        return;
    };
    // Little room, so that a small capture reaches every limit.
    let limits = Limits {
        connections: 4,
        stream_bytes: 500,
        all_streams_bytes: 1000,
        fragmented: 2,
        fragment_bytes: 500,
        ..Limits::default()
    };
    let (mut stack, mut order) = (Stack::new(limits), Order::default());
    loop {
        match reader.next() {
            Ok(Some(Item::Frame(frame))) => stack.frame(&frame, &mut order),
            Ok(Some(Item::Secrets { .. })) => {}
            Ok(None) => break,
            Err(_) => assert!(matches!(reader.next(), Ok(None)), "an error is the end"),
        }
    }
    stack.finish(&mut order);
    assert!(order.open.is_empty(), "every connection is closed");
}

/// How far both streams of every open connection are.
#[derive(Default)]
struct Order {
    open: BTreeMap<u64, [u64; 2]>,
}

impl Consumer for Order {
    fn datagram(&mut self, _: &Datagram<'_>) {}

    fn stream(&mut self, event: &Event<'_>) -> Interest {
        let id = event.id.0;
        let (direction, offset, length) = match event.what {
            What::Opened { .. } => {
                assert!(self.open.insert(id, [0, 0]).is_none(), "opened once");
                return Interest::Full;
            }
            What::Closed { .. } => {
                assert!(self.open.remove(&id).is_some(), "closed once");
                return Interest::Full;
            }
            What::Retransmitted { .. } => return Interest::Full,
            What::Data { direction, offset, bytes } => (direction, offset, bytes.len() as u64),
            What::Gap { direction, offset, length } => (direction, offset, length),
        };
        let [client, server] = self.open.get_mut(&id).expect("opened first");
        let at = if direction == Direction::FromClient { client } else { server };
        assert_eq!((*at, length > 0), (offset, true), "streams have no holes");
        *at += length;
        if length == 7 { Interest::None } else { Interest::Full }
    }
}
