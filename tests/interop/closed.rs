//! Nothing passes between terminals and the world but what the gateway carries, also while it is away; and
//! `keyferry uninstall` leaves the machine as it was.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use anyhow::{Result, bail};
use xtask::lab::{
    Binaries, Gateway, GatewayOptions, Host, Lab, LabOptions, Nginx, PeerOptions, Pki, RustlsOptions, RustlsPeer,
};

use crate::harness::{self, TARGET, World};
use crate::knock;
use crate::packets::{self, Packet, TCP, UDP};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// A service that no rule mentions.
const SERVICE: u16 = 8080;

#[test]
#[ignore = "needs network namespaces"]
fn nothing_passes_unasked() -> Result<()> {
    run(|_| Ok(()))
}

#[test]
#[ignore = "needs network namespaces"]
fn nothing_passes_after_the_gateway_stopped() -> Result<()> {
    run(|world| {
        world.gateway.process.stop()?;
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn nothing_passes_after_the_gateway_was_killed() -> Result<()> {
    run(|world| {
        world.gateway.process.kill()?;
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn starting_again_changes_nothing_in_the_kernel() -> Result<()> {
    harness::plain(|world| {
        let nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
        nginx.publish("page.txt", b"a page")?;
        let before = kernel(&world.lab)?;
        for crash in [false, true] {
            world.gateway.restart(&world.lab, crash)?;
            assert_eq!(kernel(&world.lab)?, before);
            assert_eq!(world.agent.get(&world.lab, TARGET, "/page.txt")?.body, b"a page");
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn uninstalling_leaves_no_trace() -> Result<()> {
    let lab = Lab::new(LabOptions { masquerade: true, ..LabOptions::PLAIN })?;
    let pki = Pki::new(lab.directory())?;
    let before = kernel(&lab)?;
    let mut gateway = Gateway::start(&lab, &pki, &Binaries::beside_this_program()?, GatewayOptions::default())?;
    gateway.add_terminal(&lab, "sensor-1", Host::Terminal)?;
    assert_ne!(kernel(&lab)?, before);
    gateway.process.stop()?;
    for _ in 0..2 {
        gateway.keyferry(&lab, &["uninstall"])?;
        assert_eq!(kernel(&lab)?, before);
    }
    Ok(())
}

/// Checks that nothing passes after `change`, and that the gateway serves again once it runs.
fn run(change: impl FnOnce(&mut World) -> Result<()>) -> Result<()> {
    harness::plain(|world| {
        let leaf = world.leaf()?;
        let nginx = Nginx::start(&world.lab, &PeerOptions::new(&leaf))?;
        nginx.publish("page.txt", b"a page")?;
        let _service =
            RustlsPeer::start(&world.lab, &leaf, RustlsOptions { port: SERVICE, ..RustlsOptions::default() })?;
        assert_eq!(
            world.lab.enter(Host::Gateway, || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward"))??,
            "1\n"
        );
        change(world)?;
        assert_nothing_passes(&world.lab)?;
        world.gateway.restart(&world.lab, true)?;
        assert_eq!(world.agent.get(&world.lab, TARGET, "/page.txt")?.body, b"a page");
        Ok(())
    })
}

/// Each host knocks at the other with all it has; each watches its own wire.
fn assert_nothing_passes(lab: &Lab) -> Result<()> {
    let terminal_service = SocketAddr::new(Host::Terminal.ipv4().into(), SERVICE);
    let _listeners =
        lab.enter(Host::Terminal, || (TcpListener::bind(terminal_service), UdpSocket::bind(terminal_service)))?;
    let at_peer = lab.capture(Host::Peer, "eth0", "at-peer", "net 10.7.1.0/24 or net fd07:1::/64")?;
    let at_terminal = lab.capture(Host::Terminal, "eth0", "at-terminal", "net 10.7.2.0/24 or net fd07:2::/64")?;
    for (terminal, peer) in Host::Terminal.addresses().into_iter().zip(Host::Peer.addresses()) {
        for (host, own, target) in [(Host::Terminal, terminal, peer), (Host::Peer, peer, terminal)] {
            for port in [443, SERVICE] {
                // Port 443 of the peer is one that a terminal may ask for; it has not asked.
                if knock::tcp(lab, host, own, SocketAddr::new(target, port))?.is_ok_and(|stream| answers(&stream)) {
                    bail!("the {} reached {target}:{port}", host.name());
                }
                knock::udp(lab, host, own, SocketAddr::new(target, port))?;
            }
            knock::ping(lab, host, own, target)?;
        }
    }
    let (at_peer, at_terminal) = (packets::read(&at_peer.finish()?)?, packets::read(&at_terminal.finish()?)?);
    for (capture, own, other) in [(&at_peer, Host::Peer, Host::Terminal), (&at_terminal, Host::Terminal, Host::Peer)] {
        for protocol in [TCP, UDP, ICMP, ICMPV6] {
            // What a host sent itself is there: the capture works.
            assert!(sent_by(own, capture).any(|packet| packet.protocol == protocol), "{protocol}");
        }
        // To a terminal's SYN the gateway answers in the peer's name, with a reset behind; nothing else may come.
        let is_reset = |packet: &Packet| {
            let from_service = [443, SERVICE].contains(&packet.from.port());
            other == Host::Peer && packet.protocol == TCP && from_service && packet.payload.is_empty()
        };
        let came: Vec<_> = sent_by(other, capture).filter(|packet| !is_reset(packet)).collect();
        assert!(came.is_empty(), "from the {}: {came:?}", other.name());
    }
    Ok(())
}

fn sent_by(host: Host, packets: &[Packet]) -> impl Iterator<Item = &Packet> {
    packets.iter().filter(move |packet| host.addresses().contains(&packet.from.ip()))
}

/// Whether the other end says or takes anything. A connection that ends with a reset was refused.
fn answers(stream: &std::net::TcpStream) -> bool {
    let quiet = stream.set_read_timeout(Some(Duration::from_millis(500)));
    quiet.is_ok() && std::io::Read::read(&mut &*stream, &mut [0]).is_ok_and(|length| length > 0)
}

/// All that keyferry could change in the gateway's kernel.
fn kernel(lab: &Lab) -> Result<String> {
    let commands: [(&str, &[&str]); 7] = [
        ("nft", &["--stateless", "list", "ruleset"]),
        ("ip", &["-4", "rule"]),
        ("ip", &["-6", "rule"]),
        ("ip", &["-4", "route", "show", "table", "all"]),
        ("ip", &["-6", "route", "show", "table", "all"]),
        ("sysctl", &["net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter"]),
        ("sysctl", &["net.ipv4.ip_nonlocal_bind", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.all.route_localnet"]),
    ];
    let mut text = String::new();
    for (program, arguments) in commands {
        text += &lab.run(Host::Gateway, program, arguments)?;
    }
    Ok(text)
}
