//! Captures built in memory: segments and datagrams, packets, frames, files.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use keyferry::packet::LinkType;

/// A TCP segment between two hosts that are always the same.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    pub ports: (u16, u16),
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub payload: &'a [u8],
}

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;

impl Segment<'_> {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.acknowledgement.to_be_bytes());
        bytes.extend_from_slice(&[0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend_from_slice(self.payload);
        bytes
    }
}

/// A UDP datagram.
pub fn udp(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    bytes.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(payload);
    bytes
}

/// An IPv4 packet.
pub fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 7, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend_from_slice(payload);
    packet
}

/// A UDP datagram in IPv4 fragments of 16 bytes, the last one first.
pub fn fragments(id: u8, datagram: &[u8]) -> Vec<Vec<u8>> {
    let pieces: Vec<&[u8]> = datagram.chunks(16).collect();
    let fragment = |(at, piece): (usize, &&[u8])| {
        let mut packet = ipv4(17, piece);
        packet[5] = id;
        packet[6] = if at + 1 < pieces.len() { 0x20 } else { 0 };
        packet[7] = 2 * at as u8;
        packet
    };
    pieces.iter().enumerate().rev().map(fragment).collect()
}

/// Every link type, and what it has before an IPv4 packet.
pub fn links() -> Vec<(LinkType, Vec<u8>)> {
    let ethernet = |rest: &[u8]| [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], rest].concat();
    vec![
        (LinkType::ETHERNET, ethernet(&[8, 0])),
        (LinkType::ETHERNET, ethernet(&[0x81, 0, 0, 5, 8, 0])),
        (LinkType::ETHERNET, ethernet(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0])),
        (LinkType::ETHERNET, ethernet(&[0x88, 0x64, 0x11, 0, 0, 9, 0, 0, 0, 0x21])),
        (LinkType::LINUX_SLL, vec![0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0]),
        (LinkType::LINUX_SLL2, vec![8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]),
        (LinkType::RAW, vec![]),
        (LinkType::IPV4, vec![]),
        (LinkType::NULL, vec![2, 0, 0, 0]),
        (LinkType::LOOP, vec![0, 0, 0, 2]),
        (LinkType::PPP, vec![0xff, 3, 0, 0x21]),
    ]
}

/// The file formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Micro {
        big: bool,
    },
    Nano {
        big: bool,
    },
    /// Of the libpcap with longer frame headers.
    Modified {
        big: bool,
    },
    /// Enhanced frames; nanoseconds, and an offset of a thousand seconds.
    Ng {
        big: bool,
    },
    /// Obsolete frames; microseconds.
    NgObsolete {
        big: bool,
    },
}

pub const FORMATS: [Format; 9] = [
    Format::Micro { big: false },
    Format::Micro { big: true },
    Format::Nano { big: false },
    Format::Nano { big: true },
    Format::Ng { big: false },
    Format::Ng { big: true },
    Format::NgObsolete { big: false },
    Format::NgObsolete { big: true },
    Format::Modified { big: false },
];

/// A file with these frames.
pub fn file<'a>(format: Format, link: LinkType, frames: impl IntoIterator<Item = (Duration, &'a [u8])>) -> Vec<u8> {
    let (big, unit) = match format {
        Format::Micro { big } | Format::Modified { big } => (big, 1000),
        Format::Nano { big } => (big, 1),
        Format::Ng { big } | Format::NgObsolete { big } => return ng_file(format, big, link, frames),
    };
    let modified = matches!(format, Format::Modified { .. });
    let magic = match unit {
        1 => 0xa1b2_3c4d,
        _ if modified => 0xa1b2_cd34,
        _ => 0xa1b2_c3d4,
    };
    let mut out = Numbers { big, bytes: Vec::new() };
    out.u32s(&[magic]).u16s(&[2, 4]).u32s(&[0, 0, 65_535, link.0]);
    for (time, data) in frames {
        let length = data.len() as u32;
        out.u32s(&[time.as_secs() as u32, time.subsec_nanos() / unit, length, length]);
        out.raw(if modified { &[7; 8] } else { &[] }).raw(data);
    }
    out.bytes
}

fn ng_file<'a>(
    format: Format,
    big: bool,
    link: LinkType,
    frames: impl IntoIterator<Item = (Duration, &'a [u8])>,
) -> Vec<u8> {
    let mut out = Numbers { big, bytes: Vec::new() };
    out.block(0x0a0d_0d0a, |body| {
        body.u32s(&[0x1a2b_3c4d]).u16s(&[1, 0]).u32s(&[u32::MAX, u32::MAX]);
    });
    out.block(5, |body| {
        body.raw(b"statistics, which nobody reads");
    });
    let nano = matches!(format, Format::Ng { .. });
    out.block(1, |body| {
        body.u16s(&[link.0 as u16, 0]).u32s(&[0]);
        if nano {
            body.option(2, b"eth0").option(9, &[9]);
            let offset = if big { 1000_i64.to_be_bytes() } else { 1000_i64.to_le_bytes() };
            body.option(14, &offset).u16s(&[0, 0]);
        }
    });
    for (time, data) in frames {
        let length = data.len() as u32;
        let ticks = if nano { time.as_nanos() as u64 - 1_000_000_000_000 } else { time.as_micros() as u64 };
        let clock = [(ticks >> 32) as u32, ticks as u32, length, length];
        if nano {
            out.block(6, |body| {
                body.u32s(&[0]).u32s(&clock).raw(data);
            });
        } else {
            out.block(2, |body| {
                body.u16s(&[0, 7]).u32s(&clock).raw(data);
            });
        }
    }
    out.bytes
}

/// The same, packed.
pub fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Numbers in one byte order or the other.
pub struct Numbers {
    pub big: bool,
    pub bytes: Vec<u8>,
}

impl Numbers {
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub fn u16s(&mut self, numbers: &[u16]) -> &mut Self {
        for number in numbers {
            self.bytes.extend_from_slice(&if self.big { number.to_be_bytes() } else { number.to_le_bytes() });
        }
        self
    }

    pub fn u32s(&mut self, numbers: &[u32]) -> &mut Self {
        for number in numbers {
            self.bytes.extend_from_slice(&if self.big { number.to_be_bytes() } else { number.to_le_bytes() });
        }
        self
    }

    pub fn option(&mut self, code: u16, value: &[u8]) -> &mut Self {
        self.u16s(&[code, value.len() as u16]).raw(value).pad()
    }

    pub fn block(&mut self, kind: u32, body: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self { big: self.big, bytes: Vec::new() };
        body(&mut inner);
        inner.pad();
        let length = inner.bytes.len() as u32 + 12;
        self.u32s(&[kind, length]).raw(&inner.bytes).u32s(&[length])
    }

    fn pad(&mut self) -> &mut Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }
}
