//! Crashes of either end: the next session works at once, and no nonce is ever used twice.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keyferry_channel::coap::{Message, OptionNumber};
use xtask::lab::{Host, RustlsOptions, RustlsPeer};

use crate::harness::{self, TARGET, World};
use crate::packets::{self, Packet};

/// Enough for the channel key to advance once between any two crashes.
const SESSIONS: usize = 9;

#[test]
#[ignore = "needs network namespaces"]
fn both_ends_go_on_after_a_crash_without_reusing_a_nonce() -> Result<()> {
    harness::plain(|world| {
        let _server = RustlsPeer::start(&world.lab, &world.leaf()?, RustlsOptions::default())?;
        let capture = world.lab.capture(Host::Terminal, "eth0", "channel", "udp port 5683")?;
        let identity = identity(world)?;
        let mut agent = world.agent.start(&world.lab)?;
        connect(world, SESSIONS)?;
        for _ in 0..2 {
            world.gateway.restart(&world.lab, true)?;
            connect(world, SESSIONS)?;
            agent.kill()?;
            agent = world.agent.start(&world.lab)?;
            connect(world, SESSIONS)?;
            // Both at once.
            agent.kill()?;
            world.gateway.restart(&world.lab, true)?;
            agent = world.agent.start(&world.lab)?;
            connect(world, SESSIONS)?;
        }
        assert_eq!(self::identity(world)?, identity);
        let packets = packets::read(&capture.finish()?)?;
        assert_fresh_nonces(&packets, Host::Terminal.ipv4(), 50)?;
        assert_fresh_nonces(&packets, Ipv4Addr::new(10, 7, 1, 1), 50)
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn an_orderly_restart_loses_nothing() -> Result<()> {
    harness::plain(|world| {
        let _server = RustlsPeer::start(&world.lab, &world.leaf()?, RustlsOptions::default())?;
        let _agent = world.agent.start(&world.lab)?;
        connect(world, 1)?;
        world.gateway.restart(&world.lab, false)?;
        connect(world, 1)?;
        assert_eq!(world.figure("/sessions/delivered")?, 1);
        Ok(())
    })
}

/// Opens sessions one after the other, each at once.
fn connect(world: &World, count: usize) -> Result<()> {
    for number in 0..count {
        let ended = world.attempt(&[TARGET])?;
        ensure!(ended.code == Some(0), "session {number}: {ended:?}");
        ensure!(ended.took < Duration::from_secs(1), "session {number}: {ended:?}");
    }
    Ok(())
}

/// What the store has to remember of a terminal.
fn identity(world: &World) -> Result<serde_json::Value> {
    let shown = world.gateway.keyferry(&world.lab, &["terminal", "show", "sensor-1", "--json"])?;
    let mut shown: serde_json::Value = serde_json::from_str(&shown)?;
    shown.as_object_mut().context("not a terminal")?.remove("live");
    Ok(shown)
}

/// A message of the channel as far as it is in the clear.
struct Protected {
    /// Empty in an answer that uses the nonce of its request, which the token names.
    partial_iv: Vec<u8>,
    kid_context: Vec<u8>,
    token: Vec<u8>,
    ciphertext: Vec<u8>,
}

/// One sender's numbers only grow, and so does its epoch; what is sent again is the same to the byte.
fn assert_fresh_nonces(packets: &[Packet], sender: Ipv4Addr, at_least: usize) -> Result<()> {
    let mut used = BTreeMap::new();
    let (mut highest, mut epochs) = (None, Vec::new());
    for packet in packets.iter().filter(|packet| packet.from.ip() == sender) {
        let Some(message) = protected(&packet.payload)? else { continue };
        let number = message.partial_iv.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let nonce = match message.partial_iv.is_empty() {
            true => (None, message.token),
            false => (Some(number), Vec::new()),
        };
        if nonce.0.is_some() && !used.contains_key(&nonce) {
            ensure!(highest < nonce.0, "{sender} went back from {highest:?} to {number}");
            highest = nonce.0;
            if !message.kid_context.is_empty() {
                let epoch = message.kid_context.iter().fold(0_u32, |epoch, byte| epoch << 8 | u32::from(*byte));
                ensure!(epochs.last().is_none_or(|last| *last <= epoch), "{sender} went back to epoch {epoch}");
                epochs.push(epoch);
            }
        }
        let first = used.entry(nonce.clone()).or_insert(message.ciphertext.clone());
        ensure!(*first == message.ciphertext, "{sender} used {nonce:?} for two messages");
    }
    ensure!(used.len() >= at_least, "only {} messages of {sender} were seen", used.len());
    epochs.dedup();
    ensure!(epochs.len() >= 6, "{sender} advanced through {epochs:?} only");
    Ok(())
}

fn protected(datagram: &[u8]) -> Result<Option<Protected>> {
    let message = Message::parse(datagram).map_err(|error| anyhow::anyhow!("not CoAP: {error:?}"))?;
    let Some(option) = message.options.find(OptionNumber::OSCORE) else { return Ok(None) };
    let (flags, rest) = option.split_first().unwrap_or((&0, &[]));
    let (partial_iv, rest) = rest.split_at_checked(usize::from(flags & 7)).context("option cut off")?;
    let kid_context = match rest.split_first().filter(|_| flags & 0x10 != 0) {
        Some((length, rest)) => rest.get(..usize::from(*length)).context("option cut off")?,
        None => &[],
    };
    Ok(Some(Protected {
        partial_iv: partial_iv.to_vec(),
        kid_context: kid_context.to_vec(),
        token: message.token.as_bytes().to_vec(),
        ciphertext: message.payload.to_vec(),
    }))
}
