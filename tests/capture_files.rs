//! Capture files of every format and link type carry the same packets; cut short or altered they are read as far as they
//! go, and nothing done to them panics or goes on for ever.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop short")]
#![cfg(feature = "daemon")]

#[path = "capture_files/build.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod build;
#[path = "../fuzz/src/capture.rs"]
#[allow(clippy::expect_used, reason = "what must hold")]
mod target;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use build::{ACK, FORMATS, Format, Numbers, SYN, Segment, file, fragments, ipv4, links, packed, udp};
use keyferry::io::pcap::{CaptureError, CaptureFault, Item, Place, Reader, SecretsKind};
use keyferry::packet::{Consumer, Datagram, Event, Interest, Limits, LinkType, Stack, What};

/// What came out of a capture.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    times: Vec<Duration>,
    datagrams: Vec<Vec<u8>>,
    streamed: Vec<u8>,
    secrets: Vec<(u32, Vec<u8>)>,
}

impl Consumer for Heard {
    fn datagram(&mut self, datagram: &Datagram<'_>) {
        self.datagrams.push(datagram.payload.to_vec());
    }

    fn stream(&mut self, event: &Event<'_>) -> Interest {
        if let What::Data { bytes, .. } = event.what {
            self.streamed.extend_from_slice(bytes);
        }
        Interest::Full
    }
}

/// Reads to the end or to an error. A reader that never ends runs into the limit.
fn read_all(mut reader: Reader) -> (Heard, Result<(), CaptureError>) {
    let (mut heard, mut stack) = (Heard::default(), Stack::new(Limits::default()));
    let mut result = Ok(());
    for items in 0_u32.. {
        assert!(items < 1_000_000, "no end");
        match reader.next() {
            Ok(Some(Item::Frame(frame))) => {
                heard.times.push(frame.time);
                stack.frame(&frame, &mut heard);
            }
            Ok(Some(Item::Secrets { kind, data })) => heard.secrets.push((kind.0, data.to_vec())),
            Ok(None) => break,
            Err(error) => result = Err(error),
        }
    }
    stack.finish(&mut heard);
    (heard, result)
}

fn read(bytes: &[u8]) -> Result<(Heard, Result<(), CaptureError>), CaptureError> {
    Reader::new("test.pcap", Cursor::new(bytes.to_vec())).map(read_all)
}

/// Packets of all kinds, and what they say.
fn packets() -> (Vec<Vec<u8>>, Heard) {
    let segment = |sequence, flags, payload| {
        let segment = Segment { ports: (40_000, 443), flags, sequence, acknowledgement: 0, payload };
        ipv4(6, &segment.bytes())
    };
    let mut packets = vec![segment(99, SYN, &b""[..]), segment(105, ACK, b"world"), segment(100, ACK, b"hello")];
    packets.extend(fragments(1, &udp((500, 500), b"in several pieces, and with the last one first")));
    packets.push(ipv4(17, &udp((500, 4500), b"in one piece")));
    let heard = Heard {
        times: (0..packets.len() as u64).map(time).collect(),
        datagrams: vec![b"in several pieces, and with the last one first".to_vec(), b"in one piece".to_vec()],
        streamed: b"helloworld".to_vec(),
        secrets: vec![],
    };
    (packets, heard)
}

/// Whole microseconds, which every format can say.
fn time(at: u64) -> Duration {
    Duration::from_micros(1_700_000_000_123_456 + at * 250_001)
}

fn capture(format: Format, link: LinkType, before: &[u8], packets: &[Vec<u8>]) -> Vec<u8> {
    let frames: Vec<Vec<u8>> = packets.iter().map(|packet| [before, packet].concat()).collect();
    file(format, link, (0..).map(time).zip(frames.iter().map(Vec::as_slice)))
}

#[test]
fn every_format_and_link_type_carries_the_same() {
    let (packets, heard) = packets();
    for format in FORMATS {
        for (link, before) in links() {
            let bytes = capture(format, link, &before, &packets);
            for bytes in [packed(&bytes), bytes] {
                let (got, result) = read(&bytes).unwrap();
                assert!(result.is_ok(), "{format:?} {link}: {result:?}");
                assert_eq!(got, heard, "{format:?} {link}");
            }
        }
    }
}

#[test]
fn nanoseconds_are_kept_where_the_format_has_them() {
    let frame = ipv4(17, &udp((1, 2), b"x"));
    let exact = Duration::new(1_700_000_000, 123_456_789);
    for format in [Format::Nano { big: false }, Format::Ng { big: true }] {
        let (heard, _) = read(&file(format, LinkType::RAW, [(exact, &frame[..])])).unwrap();
        assert_eq!(heard.times, [exact]);
    }
}

#[test]
fn sections_interfaces_secrets_and_simple_frames_of_pcapng() {
    let frame = ipv4(17, &udp((1, 2), b"payload"));
    let ethernet = [&[0; 12][..], &[8, 0], &frame].concat();
    let mut bytes = Vec::new();
    for big in [true, false] {
        let mut out = Numbers { big, bytes: Vec::new() };
        out.block(0x0a0d_0d0a, |body| {
            body.u32s(&[0x1a2b_3c4d]).u16s(&[1, 0]).u32s(&[u32::MAX, u32::MAX]);
        });
        out.block(1, |body| {
            body.u16s(&[101, 0]).u32s(&[30]);
        });
        out.block(1, |body| {
            body.u16s(&[1, 0]).u32s(&[0]).option(9, &[0x80 | 10]);
        });
        out.block(10, |body| {
            body.u32s(&[SecretsKind::TLS_KEY_LOG.0, 11]).raw(b"CLIENT_... ");
        });
        out.block(6, |body| {
            let length = ethernet.len() as u32;
            body.u32s(&[1, 0, 5 << 10, length, length]).raw(&ethernet);
        });
        // The first interface keeps 30 bytes of a frame, and a simple frame has no other length.
        out.block(3, |body| {
            body.u32s(&[frame.len() as u32]).raw(&frame[..30]);
        });
        bytes.extend(out.bytes);
    }
    let (heard, result) = read(&bytes).unwrap();
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(heard.times, [Duration::from_secs(5); 4]);
    assert_eq!(heard.datagrams, [&b"payload"[..], b"pa", b"payload", b"pa"]);
    assert_eq!(heard.secrets, vec![(SecretsKind::TLS_KEY_LOG.0, b"CLIENT_... ".to_vec()); 2]);
}

#[test]
fn a_file_that_is_cut_gives_all_that_is_whole_and_says_where_it_ends() {
    let (packets, heard) = packets();
    for format in FORMATS {
        let bytes = capture(format, LinkType::RAW, &[], &packets);
        for length in 0..bytes.len() {
            match read(&bytes[..length]) {
                Err(error) => {
                    assert!(length < 28, "{error}");
                    assert_eq!(error.place, Place::File);
                }
                Ok((got, result)) => {
                    assert!(got.times.len() < packets.len());
                    assert_eq!(got.times, heard.times[..got.times.len()]);
                    // Without an error only between two frames.
                    if let Err(error) = result {
                        assert!(matches!(error.fault, CaptureFault::Truncated(_)), "{error}");
                        assert!(matches!(error.place, Place::Byte(at) if at <= length as u64), "{error}");
                    }
                }
            }
        }
    }
    let bytes = capture(Format::Micro { big: false }, LinkType::RAW, &[], &packets);
    let (_, result) = read(&bytes[..bytes.len() - 1]).unwrap();
    let start = bytes.len() - 16 - packets.last().unwrap().len();
    assert_eq!(result.unwrap_err().to_string(), format!("test.pcap: ends in the middle of a frame, at byte {start}"));
}

#[test]
fn any_byte_may_be_altered() {
    let (packets, _) = packets();
    for format in FORMATS {
        let whole = capture(format, LinkType::ETHERNET, &links()[2].1, &packets);
        for bytes in [packed(&whole), whole] {
            alter(&bytes);
        }
    }
}

/// Reads a capture with each byte set to 0, set to FF and counted up.
fn alter(bytes: &[u8]) {
    let mut altered = bytes.to_vec();
    for at in 0..bytes.len() {
        for value in [0, 0xff, bytes[at].wrapping_add(1)] {
            altered[at] = value;
            let _ = read(&altered);
        }
        altered[at] = bytes[at];
    }
}

#[test]
fn what_is_no_capture_is_told() {
    let told = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert_eq!(told(b""), "test.pcap: is empty");
    assert_eq!(told(b"plain text"), "test.pcap: is neither pcap nor pcapng, nor one of them packed with gzip");
    assert_eq!(told(&[0xa1, 0xb2, 0xc3, 0xd4, 0, 2]), "test.pcap: ends in the middle of its header");
    assert!(told(&[0x1f, 0x8b, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]).starts_with("test.pcap: cannot be read: "));
    let missing = Reader::open(Path::new("/nonexistent/x.pcap")).err().unwrap();
    assert!(missing.to_string().starts_with("/nonexistent/x.pcap: cannot be read: "));
}

#[test]
fn the_position_reaches_the_length() {
    let (packets, _) = packets();
    let folder = tempfile::tempdir().unwrap();
    let bytes = capture(FORMATS[4], LinkType::RAW, &[], &packets);
    for bytes in [packed(&bytes), bytes] {
        let path = folder.path().join("x.pcap");
        fs::write(&path, &bytes).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.length(), Some(bytes.len() as u64));
        while reader.next().unwrap().is_some() {
            assert!(reader.position() <= bytes.len() as u64);
        }
        assert_eq!(reader.position(), bytes.len() as u64);
    }
}

#[test]
fn the_fuzz_corpus_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/capture");
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        for length in 0..=bytes.len() {
            target::capture(&bytes[..length]);
        }
        files += 1;
    }
    assert!(files > 0);
}

/// `KEYFERRY_CAPTURES=folder cargo test --test capture_files -- --ignored`: real captures, whole, cut and altered.
#[test]
#[ignore = "needs a folder of captures in KEYFERRY_CAPTURES"]
fn real_captures_are_read_to_the_end() {
    let folder = std::env::var("KEYFERRY_CAPTURES").unwrap();
    let captures = captures_in(Path::new(&folder));
    assert!(!captures.is_empty());
    for path in captures {
        let (heard, result) = read_all(Reader::open(&path).unwrap());
        assert!(result.is_ok(), "{result:?}");
        assert!(!heard.times.is_empty(), "{}", path.display());
        let bytes = fs::read(&path).unwrap();
        let some = &bytes[..bytes.len().min(4000)];
        target::capture(&bytes);
        (0..some.len()).for_each(|length| drop(read(&some[..length])));
        alter(some);
    }
}

fn captures_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_capture = |extension| path.extension().is_some_and(|found| found == extension);
        if path.is_dir() {
            found.extend(captures_in(&path));
        } else if is_capture("pcap") || is_capture("pcapng") {
            found.push(path);
        }
    }
    found.sort();
    found
}
