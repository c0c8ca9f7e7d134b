//! The IKE messages and TCP segments of a capture: as much of every layer as these captures have.

use std::collections::BTreeMap;
use std::ops::Range;

/// An IKE message, reassembled.
pub struct Message(pub Vec<u8>);

/// A payload: where its body is in what it was read from, and where the payload ends.
pub struct Payload {
    pub kind: u8,
    pub body: Range<usize>,
}

pub fn messages(scenario: &str) -> Vec<Message> {
    let (mut ip_fragments, mut ike_fragments) = (BTreeMap::<u16, Vec<u8>>::new(), Vec::new());
    let mut messages = Vec::new();
    for packet in packets(&format!("{}/tests/vectors/ike/{scenario}.pcap", env!("CARGO_MANIFEST_DIR"))) {
        let Some(datagram) = udp(&packet, &mut ip_fragments) else { continue };
        let (ports, mut message) = (&datagram[..4], &datagram[8..]);
        if ports.chunks(2).any(|port| port == 4500_u16.to_be_bytes()) {
            let Some(ike) = message.strip_prefix(&[0; 4]) else { continue };
            message = ike;
        }
        messages.extend(ike(message, &mut ike_fragments));
    }
    messages
}

/// The source port and payload of each TCP segment; in these captures nothing is lost or out of order.
pub fn tcp_segments(path: &str) -> Vec<(u16, Vec<u8>)> {
    let segment = |packet: Vec<u8>| {
        let tcp = &packet[header_length(&packet)..total_length(&packet)];
        let data = usize::from(tcp[12] >> 4) * 4;
        (u16::from_be_bytes([tcp[0], tcp[1]]), tcp[data..].to_vec())
    };
    packets(path).into_iter().map(segment).collect()
}

/// The IPv4 packets of a capture.
fn packets(path: &str) -> Vec<Vec<u8>> {
    let file = std::fs::read(path).unwrap();
    assert_eq!(file[..4], 0xa1b2_c3d4_u32.to_le_bytes());
    let (mut rest, mut packets) = (&file[24..], Vec::new());
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let (frame, after) = rest[16..].split_at(length);
        assert_eq!(frame[12..14], [8, 0], "IPv4");
        packets.push(frame[14..].to_vec());
        rest = after;
    }
    packets
}

fn header_length(packet: &[u8]) -> usize {
    usize::from(packet[0] & 0x0f) * 4
}

fn total_length(packet: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([packet[2], packet[3]]))
}

/// A whole UDP datagram, once the last of its IP fragments came, which is in order.
fn udp(packet: &[u8], fragments: &mut BTreeMap<u16, Vec<u8>>) -> Option<Vec<u8>> {
    let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    assert_eq!(packet[9], 17, "UDP");
    let parts = fragments.entry(word(4)).or_default();
    parts.extend_from_slice(&packet[header_length(packet)..total_length(packet)]);
    let more = word(6) & 0x2000 != 0;
    (!more).then(|| fragments.remove(&word(4)).unwrap())
}

/// The message, or what the last of its IKEv1 fragments completes.
fn ike(message: &[u8], fragments: &mut Vec<u8>) -> Option<Message> {
    const FRAGMENT: u8 = 132;
    if message[16] != FRAGMENT {
        return Some(Message(message.to_vec()));
    }
    fragments.extend_from_slice(&message[28 + 8..]);
    let last = message[28 + 7] == 1;
    last.then(|| Message(std::mem::take(fragments)))
}

impl Message {
    pub fn spi_i(&self) -> &[u8; 8] {
        self.0[..8].try_into().unwrap()
    }

    pub fn spi_r(&self) -> &[u8; 8] {
        self.0[8..16].try_into().unwrap()
    }

    pub fn exchange(&self) -> u8 {
        self.0[18]
    }

    pub fn flags(&self) -> u8 {
        self.0[19]
    }

    pub fn message_id(&self) -> u32 {
        u32::from_be_bytes(self.0[20..24].try_into().unwrap())
    }

    /// What follows the header.
    pub fn body(&self) -> &[u8] {
        &self.0[28..]
    }

    pub fn payloads(&self) -> Vec<Payload> {
        payloads(self.0[16], self.body())
    }

    /// The body of the first payload of that kind.
    pub fn payload(&self, kind: u8) -> &[u8] {
        find(&self.payloads(), kind, self.body())
    }
}

/// The chain of payloads at the front of `data`.
pub fn payloads(first: u8, data: &[u8]) -> Vec<Payload> {
    let (mut kind, mut at, mut found) = (first, 0, Vec::new());
    while kind != 0 {
        let length = usize::from(u16::from_be_bytes([data[at + 2], data[at + 3]]));
        found.push(Payload { kind, body: at + 4..at + length });
        // What SK holds is of the kind that its header names; it is the last.
        kind = if [46, 53].contains(&kind) { 0 } else { data[at] };
        at += length;
    }
    found
}

pub fn find<'d>(payloads: &[Payload], kind: u8, data: &'d [u8]) -> &'d [u8] {
    let payload = payloads.iter().find(|payload| payload.kind == kind).unwrap_or_else(|| panic!("no payload {kind}"));
    &data[payload.body.clone()]
}
