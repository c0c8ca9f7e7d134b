//! Addresses and links. Every link is a veth pair between the gateway and one host; a peer may be behind a router.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Lab, finish};

/// A host of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// 10.7.1.2 and fd07:1::2, behind the gateway's `term0`.
    Terminal,
    /// 10.7.3.2 and fd07:3::2, behind the gateway's `term1`.
    SecondTerminal,
    /// Between all of them; 10.7.N.1 and fd07:N::1 on each link.
    Gateway,
    /// 10.7.4.2 and fd07:4::2, between the gateway's `uplink` and the peer in a narrow lab.
    Router,
    /// 10.7.2.2 and fd07:2::2, behind the gateway's `uplink`.
    Peer,
}

impl Host {
    /// The host's IPv4 address; of the gateway the one that the first terminal sees.
    pub fn ipv4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 7, self.link(), self.end())
    }

    /// The host's IPv6 address; of the gateway the one that the first terminal sees.
    pub fn ipv6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd07, self.link().into(), 0, 0, 0, 0, 0, self.end().into())
    }

    /// Both addresses, IPv4 first.
    pub fn addresses(self) -> [IpAddr; 2] {
        [self.ipv4().into(), self.ipv6().into()]
    }

    /// The gateway's addresses on the link to this host, IPv4 first.
    pub fn gateway_addresses(self) -> [IpAddr; 2] {
        [
            Ipv4Addr::new(10, 7, self.link(), 1).into(),
            Ipv6Addr::new(0xfd07, self.link().into(), 0, 0, 0, 0, 0, 1).into(),
        ]
    }

    /// The terminal's or the peer's address on the direct line that [`LabOptions::direct`](super::LabOptions) makes.
    pub fn direct_address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 7, 5, if self == Self::Peer { 1 } else { 2 })
    }

    /// The gateway's interface towards this host.
    pub fn gateway_interface(self) -> &'static str {
        match self {
            Self::Terminal | Self::Gateway => "term0",
            Self::SecondTerminal => "term1",
            Self::Router | Self::Peer => "uplink",
        }
    }

    /// The host's name in namespaces and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::SecondTerminal => "second",
            Self::Gateway => "gateway",
            Self::Router => "router",
            Self::Peer => "peer",
        }
    }

    /// The third octet of the link's network.
    fn link(self) -> u8 {
        match self {
            Self::Terminal | Self::Gateway => 1,
            Self::Peer => 2,
            Self::SecondTerminal => 3,
            Self::Router => 4,
        }
    }

    fn end(self) -> u8 {
        if self == Self::Gateway { 1 } else { 2 }
    }
}

/// The largest packet that a narrow lab's router sends to the peer. No interface says so: both ends would
/// offer TCP smaller segments then, and nobody would have to be told on the way.
const NARROW: u16 = 1300;

/// Makes namespaces, links, addresses, routes, and the loss and masquerading that were asked for.
pub(super) fn build(lab: &Lab) -> Result<()> {
    let mut hosts = vec![Host::Peer];
    hosts.extend(lab.terminals());
    make_namespace(lab, Host::Gateway)?;
    for &host in &hosts {
        make_namespace(lab, host)?;
        if host == Host::Peer && lab.options().narrow {
            put_router_before_peer(lab)?;
        } else {
            link(lab, Host::Gateway, host)?;
        }
    }
    forward(lab, Host::Gateway)?;
    if !lab.options().masquerade {
        for terminal in lab.terminals() {
            route_back(lab, *terminal)?;
        }
    }
    if lab.options().masquerade {
        masquerade(lab)?;
    }
    if lab.options().direct {
        join_directly(lab)?;
    }
    match lab.options().loss_percent {
        0 => Ok(()),
        percent => lose(lab, percent),
    }
}

fn make_namespace(lab: &Lab, host: Host) -> Result<()> {
    finish(Command::new("ip").args(["netns", "add", &lab.namespace(host)]))?;
    // Else each address waits a second before it may be used.
    write_sysctl(lab, host, "net/ipv6/conf/default/accept_dad", "0")?;
    write_sysctl(lab, host, "net/ipv6/conf/all/accept_dad", "0")?;
    ip(lab, host, "link set lo up")
}

/// Links a host to the one in front of it.
fn link(lab: &Lab, near: Host, host: Host) -> Result<()> {
    let interface = host.gateway_interface();
    let [gateway4, gateway6] = host.gateway_addresses();
    ip(
        lab,
        near,
        &format!(
            "link add {interface} type veth peer name eth0 netns {}\n\
             addr add {gateway4}/24 dev {interface}\n\
             addr add {gateway6}/64 dev {interface} nodad\n\
             link set {interface} up",
            lab.namespace(host)
        ),
    )?;
    let [own4, own6] = host.addresses();
    ip(
        lab,
        host,
        &format!(
            "addr add {own4}/24 dev eth0\n\
             addr add {own6}/64 dev eth0 nodad\n\
             link set eth0 up"
        ),
    )?;
    if host == Host::Peer {
        return Ok(());
    }
    ip(lab, host, &format!("route add default via {gateway4}\nroute add default via {gateway6}"))
}

/// A line between terminal and peer that the gateway is not on.
fn join_directly(lab: &Lab) -> Result<()> {
    ip(
        lab,
        Host::Terminal,
        &format!(
            "link add direct type veth peer name direct netns {}\n\
             addr add {}/24 dev direct\n\
             link set direct up",
            lab.namespace(Host::Peer),
            Host::Terminal.direct_address()
        ),
    )?;
    ip(lab, Host::Peer, &format!("addr add {}/24 dev direct\nlink set direct up", Host::Peer.direct_address()))
}

fn put_router_before_peer(lab: &Lab) -> Result<()> {
    make_namespace(lab, Host::Router)?;
    link(lab, Host::Gateway, Host::Router)?;
    link(lab, Host::Router, Host::Peer)?;
    forward(lab, Host::Router)?;
    let [router4, router6] = Host::Router.addresses();
    ip(lab, Host::Gateway, &format!("route add 10.7.2.0/24 via {router4}\nroute add fd07:2::/64 via {router6}"))?;
    let [peer4, peer6] = Host::Peer.addresses();
    ip(
        lab,
        Host::Router,
        &format!(
            "route add {peer4}/32 dev uplink mtu lock {NARROW}\n\
             route add {peer6}/128 dev uplink mtu lock {NARROW}"
        ),
    )
}

fn forward(lab: &Lab, host: Host) -> Result<()> {
    write_sysctl(lab, host, "net/ipv4/ip_forward", "1")?;
    write_sysctl(lab, host, "net/ipv6/conf/all/forwarding", "1")
}

/// The peer's way to a terminal.
fn route_back(lab: &Lab, terminal: Host) -> Result<()> {
    let [gateway4, gateway6] = Host::Peer.gateway_addresses();
    ip(
        lab,
        Host::Peer,
        &format!(
            "route add 10.7.{link}.0/24 via {gateway4}\n\
             route add fd07:{link}::/64 via {gateway6}",
            link = terminal.link()
        ),
    )
}

/// What an operator's own firewall does at home, in a table apart from the gateway's.
fn masquerade(lab: &Lab) -> Result<()> {
    nft(
        lab,
        Host::Gateway,
        "table inet operator {\n\
         chain uplink { type nat hook postrouting priority srcnat; oifname \"uplink\" masquerade; }\n\
         }",
    )
}

/// Loses packets on arrival at every host, so that no sender is told.
fn lose(lab: &Lab, percent: u8) -> Result<()> {
    let mut hosts = vec![Host::Gateway, Host::Peer];
    hosts.extend(lab.terminals());
    for host in hosts {
        let rules = format!(
            "table inet line {{\n\
             chain arrival {{\n\
             type filter hook prerouting priority -400;\n\
             iifname != \"lo\" numgen random mod 100 < {percent} drop\n\
             }}\n\
             }}"
        );
        nft(lab, host, &rules)?;
    }
    Ok(())
}

fn nft(lab: &Lab, host: Host, rules: &str) -> Result<()> {
    feed(lab.command(host, "nft").args(["-f", "-"]), rules)
}

fn ip(lab: &Lab, host: Host, batch: &str) -> Result<()> {
    feed(Command::new("ip").args(["-netns", &lab.namespace(host), "-batch", "-"]), batch)
}

/// Runs a command that reads its orders from standard input.
fn feed(command: &mut Command, text: &str) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    if let Some(mut input) = child.stdin.take() {
        std::io::Write::write_all(&mut input, format!("{text}\n").as_bytes())?;
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{command:?} refused:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn write_sysctl(lab: &Lab, host: Host, name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{name}");
    lab.enter(host, || std::fs::write(&path, value))?.with_context(|| format!("writing {path} on the {}", host.name()))
}
