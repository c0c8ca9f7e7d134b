//! What a capture holds, packet by packet. A reader of its own: the witness shares no code with the accused.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::Result;
use xtask::lab;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// An IP packet; without TCP and UDP its ports are 0.
#[derive(Clone, Debug)]
pub struct Packet {
    pub protocol: u8,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// The whole packet, IP header included.
    pub length: usize,
    /// TCP's sequence number; 0 in UDP.
    pub sequence: u32,
    pub payload: Vec<u8>,
}

/// The IP packets of a capture on an Ethernet interface, in their order.
pub fn read(path: &Path) -> Result<Vec<Packet>> {
    Ok(lab::frames(path)?.iter().filter_map(|frame| packet(frame)).collect())
}

/// The bytes that one end of a TCP connection sent, retransmissions left out. For streams that lost nothing.
pub fn stream(packets: &[Packet], from: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut next = None;
    for packet in packets.iter().filter(|packet| packet.protocol == TCP && packet.from == from) {
        if !packet.payload.is_empty() && next.is_none_or(|next| next == packet.sequence) {
            bytes.extend_from_slice(&packet.payload);
            next = Some(packet.sequence.wrapping_add(packet.payload.len() as u32));
        }
    }
    bytes
}

fn packet(frame: &[u8]) -> Option<Packet> {
    let ethernet_type = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    let packet = frame.get(14..)?;
    match ethernet_type {
        0x0800 => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            let length = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
            let address = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
            segment(*packet.get(9)?, address(12)?, address(16)?, length, packet.get(header..length)?)
        }
        0x86dd => {
            let length = 40 + usize::from(u16::from_be_bytes(packet.get(4..6)?.try_into().ok()?));
            let address = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
            segment(*packet.get(6)?, address(8)?, address(24)?, length, packet.get(40..length)?)
        }
        _ => None,
    }
}

fn segment(protocol: u8, from: IpAddr, to: IpAddr, length: usize, bytes: &[u8]) -> Option<Packet> {
    let port = |at: usize| match protocol {
        TCP | UDP => Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)),
        _ => Some(0),
    };
    let (sequence, header) = match protocol {
        TCP => (u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?), usize::from(bytes.get(12)? >> 4) * 4),
        UDP => (0, 8),
        _ => (0, 0),
    };
    Some(Packet {
        protocol,
        from: SocketAddr::new(from, port(0)?),
        to: SocketAddr::new(to, port(2)?),
        length,
        sequence,
        payload: bytes.get(header..)?.to_vec(),
    })
}
