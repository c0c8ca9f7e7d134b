//! A terminal that sends with another's address: dropped before anything sees it.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use xtask::lab::{GatewayOptions, Host, Lab, LabOptions, RustlsOptions, RustlsPeer, wait_until};

use crate::harness::{self, PATIENCE, World};
use crate::knock;
use crate::packets::{self, Packet, TCP, UDP};
use crate::tcp_first::MAPPED;

const PORT: u16 = 443;
const CHANNEL: u16 = 5683;

#[test]
#[ignore = "needs network namespaces"]
fn another_terminals_address_is_of_no_use() -> Result<()> {
    run(|world| {
        let _server = RustlsPeer::start(&world.lab, &world.leaf()?, RustlsOptions::default())?;
        let [stolen4, stolen6] = Host::Terminal.addresses();
        take_address(&world.lab, Host::SecondTerminal, stolen4)?;
        take_address(&world.lab, Host::SecondTerminal, stolen6)?;
        let capture = world.lab.capture(Host::Peer, "eth0", "peer", "")?;
        let before = world.packets_counted("spoofed")?;
        let heard = world.figure("/channel/received")?;
        for (stolen, gateway) in [stolen4, stolen6].into_iter().zip(Host::SecondTerminal.gateway_addresses()) {
            let peer = peer_of_family(stolen);
            let opened = knock::tcp(&world.lab, Host::SecondTerminal, stolen, peer)?;
            assert!(opened.is_err(), "{stolen} was served on another's interface");
            knock::udp(&world.lab, Host::SecondTerminal, stolen, peer)?;
            knock::udp(&world.lab, Host::SecondTerminal, stolen, SocketAddr::new(gateway, 5683))?;
        }
        assert!(world.packets_counted("spoofed")? >= before + 6, "not counted as spoofed");
        assert_eq!(world.figure("/channel/received")?, heard, "the channel took a spoofed datagram");
        assert_nothing_happened(world)?;
        assert_eq!(sent_by(&packets::read(&capture.finish()?)?, &[stolen4, stolen6]), 0);

        // The owner is served the whole time.
        assert!(knock::tcp(&world.lab, Host::Terminal, stolen4, peer_of_family(stolen4))?.is_ok());
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn address_of_nobody_is_of_no_use() -> Result<()> {
    run(|world| {
        let _server = RustlsPeer::start(&world.lab, &world.leaf()?, RustlsOptions::default())?;
        let nobody: IpAddr = "10.7.3.77".parse()?;
        take_address(&world.lab, Host::SecondTerminal, nobody)?;
        let capture = world.lab.capture(Host::Peer, "eth0", "peer", "")?;
        let before = world.packets_counted("unbound")?;
        assert!(knock::tcp(&world.lab, Host::SecondTerminal, nobody, peer_of_family(nobody))?.is_err());
        assert!(world.packets_counted("unbound")? > before);
        assert_nothing_happened(world)?;
        assert_eq!(sent_by(&packets::read(&capture.finish()?)?, &[nobody]), 0);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn address_with_a_mac_serves_that_card_only() -> Result<()> {
    run(|world| {
        let server = RustlsPeer::start(&world.lab, &world.leaf()?, RustlsOptions::default())?;
        let link = world.lab.run(Host::Terminal, "ip", &["-brief", "link", "show", "eth0"])?;
        let mac = link.split_whitespace().nth(2).context("no MAC")?.to_owned();
        world.gateway.keyferry(&world.lab, &["terminal", "revoke", "sensor-1"])?;
        world.gateway.add_terminal_with(&world.lab, "sensor-3", Host::Terminal, &["--mac", &mac])?;
        let own: IpAddr = Host::Terminal.ipv4().into();
        assert!(knock::tcp(&world.lab, Host::Terminal, own, peer_of_family(own))?.is_ok());
        wait_until(PATIENCE, || Ok(server.clients().len() == 1)).context("the peer hears of the terminal")?;

        // Another card with the same address, on the same wire.
        world.lab.run(Host::Terminal, "ip", &["link", "set", "eth0", "address", "02:00:00:00:00:66"])?;
        let before = world.packets_counted("spoofed")?;
        assert!(knock::tcp(&world.lab, Host::Terminal, own, peer_of_family(own))?.is_err());
        assert!(world.packets_counted("spoofed")? > before);

        world.lab.run(Host::Terminal, "ip", &["link", "set", "eth0", "address", &mac])?;
        assert!(knock::tcp(&world.lab, Host::Terminal, own, peer_of_family(own))?.is_ok());
        Ok(())
    })
}

/// The uplink side is believed no more than a terminal: reverse path filtering of the host is off here.
#[test]
#[ignore = "needs network namespaces"]
fn terminals_address_on_the_uplink_is_of_no_use() -> Result<()> {
    run(|world| {
        let _server = RustlsPeer::start(&world.lab, &world.leaf()?, RustlsOptions::default())?;
        let all = ["net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.uplink.rp_filter=0"];
        world.lab.run(Host::Gateway, "sysctl", &[&["-w"], &all[..]].concat())?;
        let stolen = Host::Terminal.addresses();
        for address in stolen {
            take_address(&world.lab, Host::Peer, address)?;
        }
        let arrivals = world.lab.capture(Host::Gateway, "uplink", "uplink", "src 10.7.1.2 or src fd07:1::2")?;
        let before = world.packets_counted("spoofed")?;
        let heard = world.figure("/channel/received")?;
        for (stolen, gateway) in stolen.into_iter().zip(Host::Terminal.gateway_addresses()) {
            knock::udp(&world.lab, Host::Peer, stolen, SocketAddr::new(gateway, CHANNEL))?;
            let opened = knock::tcp(&world.lab, Host::Peer, stolen, SocketAddr::new(gateway, CHANNEL))?;
            let error = opened.err().context("a terminal's address was served on the uplink")?;
            assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "answered with {error}");
        }
        let arrived = packets::read(&arrivals.finish()?)?;
        for (stolen, protocol) in stolen.into_iter().flat_map(|stolen| [(stolen, TCP), (stolen, UDP)]) {
            let came = arrived.iter().any(|packet| packet.from.ip() == stolen && packet.protocol == protocol);
            assert!(came, "{stolen} sent nothing of {protocol} over the uplink: this test tests nothing");
        }
        assert_eq!(world.packets_counted("spoofed")?, before + arrived.len() as u64);
        assert_eq!(world.figure("/channel/received")?, heard, "the channel took a spoofed datagram");
        assert_nothing_happened(world)?;

        // The owner's datagrams do arrive.
        let gateway = Host::Terminal.gateway_addresses();
        for (own, gateway) in stolen.into_iter().zip(gateway) {
            knock::udp(&world.lab, Host::Terminal, own, SocketAddr::new(gateway, CHANNEL))?;
        }
        wait_until(PATIENCE, || Ok(world.figure("/channel/received")? == heard + 2)).context("the owner is heard")
    })
}

/// Two terminals, and a peer that any of them may reach without asking: a spoofed SYN alone would do.
fn run(case: impl FnOnce(&mut World) -> Result<()>) -> Result<()> {
    let network = LabOptions { second_terminal: true, ..LabOptions::PLAIN };
    harness::with(network, GatewayOptions { rules: MAPPED, ..GatewayOptions::default() }, |world| {
        world.gateway.add_terminal(&world.lab, "sensor-2", Host::SecondTerminal)?;
        case(world)
    })
}

/// Gives a host an address that is not its own.
fn take_address(lab: &Lab, thief: Host, address: IpAddr) -> Result<()> {
    let arguments: &[&str] = if address.is_ipv4() { &[] } else { &["nodad"] };
    let address = address.to_string();
    lab.run(thief, "ip", &[&["address", "add", &address, "dev", "lo"], arguments].concat())?;
    Ok(())
}

fn assert_nothing_happened(world: &World) -> Result<()> {
    let stats = world.gateway.stats(&world.lab)?;
    assert_eq!(stats["flows_refused"], serde_json::json!({}), "a connection got through");
    assert_eq!(stats["handshakes"], serde_json::json!([]));
    assert_eq!(stats["handshakes_open"], 0);
    Ok(())
}

fn sent_by(packets: &[Packet], sources: &[IpAddr]) -> usize {
    packets.iter().filter(|packet| sources.contains(&packet.from.ip())).count()
}

fn peer_of_family(address: IpAddr) -> SocketAddr {
    let [ipv4, ipv6] = Host::Peer.addresses();
    SocketAddr::new(if address.is_ipv4() { ipv4 } else { ipv6 }, PORT)
}
