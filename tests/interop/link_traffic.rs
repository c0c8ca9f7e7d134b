//! What crosses the terminal's link: few bytes on the channel, and no byte of a handshake.
//!
//! Prints the figure that `cargo xtask bench link` shows.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use xtask::lab::{GatewayOptions, Host, LabOptions, Nginx, PeerOptions};

use crate::harness::{self, World};
use crate::packets::{self, Packet, TCP, UDP};

/// What a session may cost on the terminal's link, from the request to the acknowledged keys.
const BUDGET: usize = 450;

const CHANNEL_PORT: u16 = 5683;
const APPLICATION_DATA: u8 = 23;

pub const AES_128: &str = r#"
[trust.lab]
anchors = ["pki/root.pem"]
[[peer]]
name = "server.example"
addresses = ["10.7.2.2"]
ports = [443]
terminals = ["*"]
trust = "lab"
cipher_suites = ["TLS_AES_128_GCM_SHA256"]
"#;

/// What one session cost, in bytes with IP headers.
#[derive(Debug)]
struct Cost {
    /// The channel's datagrams in their order: sent by the terminal, and their length.
    channel: Vec<(bool, usize)>,
    /// All packets of the handshake between gateway and peer, TCP's own included.
    handshake: usize,
}

#[test]
#[ignore = "needs network namespaces"]
fn a_session_costs_few_bytes() -> Result<()> {
    assert_within_budget("without ALPN", &[])
}

#[test]
#[ignore = "needs network namespaces"]
fn a_session_with_alpn_costs_few_bytes() -> Result<()> {
    assert_within_budget("with ALPN http/1.1", &["--alpn", "http/1.1"])
}

#[test]
#[ignore = "needs network namespaces"]
fn no_handshake_message_crosses_the_link() -> Result<()> {
    harness::plain(|world| {
        let nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
        nginx.publish("page.txt", b"a page")?;
        let link = world.lab.capture(Host::Terminal, "eth0", "link", "")?;
        let far_side = world.lab.capture(Host::Peer, "eth0", "far-side", "tcp")?;
        let visit = world.visit("/page.txt")?;
        let (link, far_side) = (packets::read(&link.finish()?)?, packets::read(&far_side.finish()?)?);

        let peer = SocketAddr::new(Host::Peer.ipv4().into(), 443);
        for from in [visit.source, peer] {
            let types = record_types(&packets::stream(&link, from))?;
            ensure!(!types.is_empty(), "no record from {from}");
            assert!(types.iter().all(|kind| *kind == APPLICATION_DATA), "{from} sent records of types {types:?}");
            // The same look at the far side does find the handshake: this test can see one.
            let types = record_types(&packets::stream(&far_side, from))?;
            assert_eq!(types.first(), Some(&22), "{types:?}");
        }
        // Nothing of it in any other packet either: not the key share that the peer's hello begins with, nor
        // the name in the client's.
        let hello = packets::stream(&far_side, peer);
        let server_random = hello.get(11..43).context("no ServerHello")?;
        for forbidden in [server_random, b"server.example"] {
            let clear = |packet: &&Packet| packet.payload.windows(forbidden.len()).any(|part| part == forbidden);
            assert_eq!(link.iter().filter(clear).count(), 0, "{forbidden:02x?} crosses the link in the clear");
            assert!(far_side.iter().filter(clear).count() > 0);
        }
        for packet in link.iter().filter(|packet| [TCP, UDP].contains(&packet.protocol)) {
            let expected = if packet.protocol == TCP { 443 } else { CHANNEL_PORT };
            let known = [packet.from.port(), packet.to.port()].contains(&expected);
            assert!(known, "neither the session nor the channel: {packet:?}");
        }
        Ok(())
    })
}

#[allow(clippy::print_stdout, reason = "the figures are what the bench shows")]
fn assert_within_budget(name: &str, arguments: &[&str]) -> Result<()> {
    let options = GatewayOptions { rules: AES_128, ..GatewayOptions::default() };
    harness::with(LabOptions::PLAIN, options, |world| {
        let cost = cost_of_a_session(world, arguments)?;
        let total: usize = cost.channel.iter().map(|(_, length)| length).sum();
        let each: Vec<String> = cost
            .channel
            .iter()
            .map(|(up, length)| format!("{} {length}", if *up { "terminal" } else { "gateway" }))
            .collect();
        println!(
            "link, {name}: {total} bytes in {} datagrams ({}); the peer-side handshake took {}",
            cost.channel.len(),
            each.join(", "),
            cost.handshake
        );
        assert_eq!(cost.channel.len(), 4, "request, offer, keys, acknowledgement: {cost:?}");
        assert!(total <= BUDGET, "{total} bytes: {cost:?}");
        Ok(())
    })
}

/// What the gateway's own clock says of sockets, rules, workers and channel together, beside the computing alone.
#[test]
#[ignore = "needs network namespaces"]
#[allow(clippy::print_stdout, reason = "the figures are what the bench shows")]
fn the_live_path_delivers_and_is_timed() -> Result<()> {
    const SESSIONS: u64 = 30;
    let options =
        GatewayOptions { rules: AES_128, limits: "handshakes_per_second = 1000", ..GatewayOptions::default() };
    harness::with(LabOptions::PLAIN, options, |world| {
        let _nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
        let _agent = world.agent.start(&world.lab)?;
        for _ in 0..SESSIONS {
            connect(world, &["server.example:443"])?;
        }
        let stats = world.gateway.stats(&world.lab)?;
        let figure = |path: &str| stats.pointer(path).and_then(serde_json::Value::as_u64).unwrap_or_default();
        assert_eq!(figure("/sessions/delivered"), SESSIONS);
        assert_eq!(figure("/handshake_time_us/count"), SESSIONS);
        println!(
            "live path, hybrid key exchange offered: TCP opened to keys sent {} us (median), 90 % under {} us; \
             computing {} us, waiting for a worker {} us per step",
            figure("/handshake_time_us/p50"),
            figure("/handshake_time_us/p90"),
            figure("/crypto_time_us/p50"),
            figure("/queue_time_us/p50"),
        );
        Ok(())
    })
}

/// Measures the second session of a running agent: after the first, the channel's ends know each other.
fn cost_of_a_session(world: &World, arguments: &[&str]) -> Result<Cost> {
    let _nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
    let _agent = world.agent.start(&world.lab)?;
    let arguments = [&["server.example:443"], arguments].concat();
    connect(world, &arguments)?;
    let link = world.lab.capture(Host::Terminal, "eth0", "cost", "udp port 5683")?;
    let uplink = world.lab.capture(Host::Gateway, "uplink", "handshake", "tcp port 443")?;
    connect(world, &arguments)?;
    let channel = packets::read(&link.finish()?)?;
    let channel = channel.iter().map(|packet| (packet.to.port() == CHANNEL_PORT, packet.length)).collect();
    Ok(Cost { channel, handshake: handshake_bytes(&packets::read(&uplink.finish()?)?)? })
}

fn connect(world: &World, arguments: &[&str]) -> Result<()> {
    let ended = world.attempt(arguments)?;
    // nginx has got no request then, and does not say goodbye.
    ensure!(ended.message.contains("which proved to be server.example"), "{}", ended.message);
    Ok(())
}

/// The bytes between gateway and peer up to the client's Finished, which comes behind its ChangeCipherSpec.
fn handshake_bytes(packets: &[Packet]) -> Result<usize> {
    let finished =
        |packet: &Packet| packet.protocol == TCP && packet.to.port() == 443 && packet.payload.starts_with(&[20, 3, 3]);
    let last = packets.iter().position(finished).context("no Finished of the client")?;
    Ok(packets.iter().take(last + 1).map(|packet| packet.length).sum())
}

/// The types of the TLS records in a stream.
fn record_types(mut stream: &[u8]) -> Result<Vec<u8>> {
    let mut types = Vec::new();
    while let Some((header, rest)) = stream.split_first_chunk::<5>() {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        stream = rest.get(length..).context("a record is cut off")?;
        types.push(header[0]);
    }
    ensure!(stream.is_empty(), "bytes that are no record: {stream:02x?}");
    Ok(types)
}
