//! A terminal that is a TLS server behind the gateway, and what its clients see.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use xtask::lab::{
    Client, ClientOptions, Fetched, GatewayOptions, Host, LabOptions, Leaf, LeafOptions, PlainService, Process,
    Purpose, Version, wait_until,
};

use crate::harness::{self, PATIENCE, World};

/// The terminal's name in its certificate, next to its addresses.
pub const NAME: &str = "sensor-1.example";

/// Where it serves.
pub const PORT: u16 = 8443;

/// What is behind its TLS.
pub const PAGE: &str = "a page of the terminal";

/// Every client may connect.
pub const OPEN: &str = r#"
[trust.lab]
anchors = ["pki/root.pem"]
[[service]]
terminals = ["*"]
ports = [8443]
"#;

/// Every client that the lab's authority knows.
pub const PROVED: &str = r#"
[trust.lab]
anchors = ["pki/root.pem"]
[[service]]
terminals = ["*"]
ports = [8443]
clients = "lab"
"#;

/// One client comes more often in these tests than anybody may by default.
pub const OFTEN: &str = "handshakes_per_second = 200";

/// A terminal that serves. Its fields end in this order.
pub struct Serving {
    /// `keyferry-terminal listen`; its log names each client.
    pub agent: Process,
    _service: PlainService,
}

/// Runs a case with a terminal that has a certificate and a gateway with these rules; it does not listen yet.
pub fn with_rules(rules: &str, case: impl FnOnce(&mut World) -> Result<()>) -> Result<()> {
    let options = GatewayOptions { rules, limits: OFTEN, ..GatewayOptions::default() };
    with(LabOptions::PLAIN, options, case)
}

/// The same in another network, with other options.
pub fn with(
    network: LabOptions,
    options: GatewayOptions<'_>,
    case: impl FnOnce(&mut World) -> Result<()>,
) -> Result<()> {
    harness::with(network, options, |world| {
        let leaf = certificate(world, LeafOptions::new(&[]))?;
        world.gateway.add_certificate(&world.lab, "sensor-1", &leaf, "default")?;
        case(world)
    })
}

/// A certificate for the terminal's name and addresses, as client and as server.
pub fn certificate(world: &World, options: LeafOptions<'_>) -> Result<Leaf> {
    let addresses = Host::Terminal.addresses().map(|address| address.to_string());
    let direct = Host::Terminal.direct_address().to_string();
    let names = [NAME, &addresses[0], &addresses[1], &direct];
    world.pki.leaf(&LeafOptions { names: &names, purpose: Purpose::Both, ..options })
}

impl Serving {
    /// Listens at both addresses with a page behind.
    pub fn page(world: &World, arguments: &[&str]) -> Result<Self> {
        let service = PlainService::page(&world.lab, Host::Terminal, PAGE)?;
        Self::start(world, service, arguments)
    }

    /// Listens at both addresses with an echo behind.
    pub fn echo(world: &World, arguments: &[&str]) -> Result<Self> {
        let service = PlainService::echo(&world.lab, Host::Terminal)?;
        Self::start(world, service, arguments)
    }

    fn start(world: &World, service: PlainService, arguments: &[&str]) -> Result<Self> {
        let [ipv4, ipv6] = Host::Terminal.addresses().map(|address| address.to_string());
        let addresses: &[&str] = &["--address", &ipv4, "--address", &ipv6];
        let own = if arguments.contains(&"--address") { &[] } else { addresses };
        let agent = world.agent.serve(&world.lab, PORT, service.address(), &[own, arguments].concat())?;
        Ok(Self { agent, _service: service })
    }

    /// The clients that the terminal knows of, by their own account on TCP.
    pub fn clients(&self) -> Vec<SocketAddr> {
        let log = self.agent.log();
        let address = |line: &str| line.split_once("connected: ")?.1.split_once(',')?.0.parse().ok();
        log.lines().filter_map(address).collect()
    }
}

/// Where the terminal serves by IPv4.
pub fn target() -> SocketAddr {
    at(Host::Terminal.ipv4().into())
}

/// Where the terminal serves on one of its addresses.
pub fn at(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, PORT)
}

/// The options of a client that asks for the terminal by name.
pub fn asking(anchor: &Path) -> ClientOptions<'_> {
    ClientOptions::new(anchor, target(), NAME)
}

/// Fetches the page; anything else is an error.
pub fn fetch(world: &World, client: Client, options: &ClientOptions<'_>) -> Result<Fetched> {
    let fetched = client.fetch(&world.lab, options)?;
    ensure!(fetched.success && fetched.page.contains(PAGE), "{client:?} got no page: {fetched:?}");
    Ok(fetched)
}

/// A client that must not get the page, and hears this alert; the gateway names `cause`.
pub fn assert_refused(
    world: &World,
    client: Client,
    options: &ClientOptions<'_>,
    alert: Alert,
    cause: &str,
) -> Result<()> {
    let before = failures(world, cause)?;
    let fetched = client.fetch(&world.lab, options)?;
    ensure!(!fetched.success && !fetched.page.contains(PAGE), "{client:?} was served: {fetched:?}");
    let Alert { openssl, number } = alert;
    let text = format!("{}{}", fetched.page, fetched.said);
    let wanted = if client == Client::GnuTls { format!("[{number}]") } else { openssl.to_owned() };
    ensure!(text.contains(&wanted), "{client:?} does not say {wanted}: {fetched:?}");
    wait_until(PATIENCE, || Ok(failures(world, cause)? == before + 1))
        .with_context(|| format!("{client:?}: no failure {cause}: {}", handshakes(world)))
}

/// An alert: its words in OpenSSL, and its number.
#[derive(Clone, Copy)]
pub struct Alert {
    pub openssl: &'static str,
    pub number: u8,
}

/// What a client hears that has no certificate where one is demanded. TLS 1.2 has no word of its own for it.
pub fn certificate_required(version: Version) -> Alert {
    match version {
        Version::Tls12 => Alert { openssl: "handshake failure", number: 40 },
        Version::Tls13 => Alert { openssl: "certificate required", number: 116 },
    }
}

/// How many handshakes of the terminal as a server failed for this cause.
pub fn failures(world: &World, cause: &str) -> Result<u64> {
    let stats = world.gateway.stats(&world.lab)?;
    let all = stats["handshakes"].as_array().into_iter().flatten();
    let these = all.filter(|one| one["role"] == "server" && one["cause"] == cause);
    Ok(these.map(|one| one["count"].as_u64().unwrap_or_default()).sum())
}

fn handshakes(world: &World) -> String {
    world.gateway.stats(&world.lab).map_or_else(|error| error.to_string(), |stats| stats["handshakes"].to_string())
}
