//! Megabytes of capture file a second: reading it, and turning its frames into datagrams and streams, on one core.
//! The capture is 64 MB of TLS 1.3 handshakes of many connections at a time, in order, as a good capture is.
//!
//! `cargo bench --bench capture`
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark may stop short, and talks"
)]

#[path = "../tests/capture_files/build.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod build;

use std::hint::black_box;
use std::io::Cursor;
use std::time::{Duration, Instant};

use build::{ACK, FIN, Format, SYN, Segment, file, ipv4, packed};
use keyferry::io::pcap::{Item, Reader};
use keyferry::packet::{Consumer, Datagram, Event, Interest, Limits, LinkType, Stack, What};

const SIZE: usize = 64_000_000;
/// Connections that are open at the same time.
const ABREAST: u16 = 200;

fn main() {
    // `cargo test` runs benchmarks too, to see that they work.
    let (size, rounds) = if std::env::args().any(|argument| argument == "--bench") { (SIZE, 5) } else { (100_000, 1) };
    let frames = frames(size);
    let frames = || (1_000_000..).map(Duration::from_millis).zip(frames.iter().map(Vec::as_slice));
    let pcap = file(Format::Micro { big: false }, LinkType::ETHERNET, frames());
    let pcapng = file(Format::Ng { big: false }, LinkType::ETHERNET, frames());
    measure("pcap, frames only", &pcap, pcap.len(), rounds, read);
    measure("pcap, every byte of every stream", &pcap, pcap.len(), rounds, |reader| follow(reader, Interest::Full));
    measure("pcap, connections ignored at their first byte", &pcap, pcap.len(), rounds, |reader| {
        follow(reader, Interest::None);
    });
    measure("pcapng, every byte of every stream", &pcapng, pcapng.len(), rounds, |reader| {
        follow(reader, Interest::Full);
    });
    let gzip = packed(&pcap);
    measure("pcap in gzip, of unpacked bytes", &gzip, pcap.len(), rounds, |reader| follow(reader, Interest::Full));
}

/// Prints the best of some rounds.
fn measure(title: &str, bytes: &[u8], size: usize, rounds: usize, run: impl Fn(Reader)) {
    let best = (0..rounds).map(|_| {
        let reader = Reader::new("benchmark", Cursor::new(bytes.to_vec())).unwrap();
        let start = Instant::now();
        run(reader);
        start.elapsed()
    });
    let rate = size as f64 / 1e6 / best.min().unwrap().as_secs_f64();
    println!("{title}: {rate:.0} MB/s");
}

fn read(mut reader: Reader) {
    while let Some(item) = reader.next().unwrap() {
        black_box(item);
    }
}

/// Sums up what is in the streams.
struct Sum(u64, Interest);

impl Consumer for Sum {
    fn datagram(&mut self, _: &Datagram<'_>) {}

    fn stream(&mut self, event: &Event<'_>) -> Interest {
        match event.what {
            What::Data { bytes, .. } => {
                self.0 += bytes.len() as u64;
                self.1
            }
            _ => Interest::Full,
        }
    }
}

fn follow(mut reader: Reader, interest: Interest) {
    let (mut stack, mut sum) = (Stack::new(Limits::default()), Sum(0, interest));
    while let Some(item) = reader.next().unwrap() {
        if let Item::Frame(frame) = item {
            stack.frame(&frame, &mut sum);
        }
    }
    stack.finish(&mut sum);
    assert_eq!((stack.counters().gaps, stack.counters().retransmitted), (0, 0));
    black_box(sum.0);
}

/// Ethernet frames of handshakes, `ABREAST` at a time.
fn frames(size: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut bytes = 0;
    let mut port = 1024;
    while bytes < size {
        let ports = (0..ABREAST).map(|at| 1024 + (port + at) % 60_000);
        let connections: Vec<Vec<Vec<u8>>> = ports.map(handshake).collect();
        for step in 0..connections[0].len() {
            for connection in &connections {
                bytes += connection[step].len();
                frames.push(connection[step].clone());
            }
        }
        port = (port + ABREAST) % 60_000;
    }
    frames
}

/// One connection: sizes as with a chain of two certificates.
fn handshake(port: u16) -> Vec<Vec<u8>> {
    let steps: [(bool, u8, usize); 14] = [
        (true, SYN, 0),
        (false, SYN | ACK, 0),
        (true, ACK, 0),
        (true, ACK, 517),
        (false, ACK, 0),
        (false, ACK, 1448),
        (false, ACK, 1448),
        (true, ACK, 0),
        (false, ACK, 900),
        (true, ACK, 80),
        (true, ACK, 150),
        (false, ACK, 600),
        (true, FIN | ACK, 0),
        (false, FIN | ACK, 0),
    ];
    let mut next = [u32::from(port) << 16, u32::from(port) << 8];
    let content = [0x17; 1448];
    let frame = |(up, flags, length): (bool, u8, usize)| {
        let (own, other) = if up { (0, 1) } else { (1, 0) };
        let ports = if up { (port, 443) } else { (443, port) };
        let (sequence, acknowledgement) = (next[own], next[other]);
        next[own] = sequence.wrapping_add(length as u32 + u32::from(flags & (SYN | FIN) != 0));
        let segment = Segment { ports, flags, sequence, acknowledgement, payload: &content[..length] };
        let mut packet = ipv4(6, &segment.bytes());
        if !up {
            // The addresses change places.
            packet[12..20].rotate_left(4);
        }
        [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0][..], &packet].concat()
    };
    steps.into_iter().map(frame).collect()
}
