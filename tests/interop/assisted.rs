//! Assisted mode: terminal and peer have a line of their own, the gateway is not on it. Handshakes are carried over
//! the channel, in both roles. Prints what that costs on the terminal's link.

use std::io::Read;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use xtask::lab::{
    Client, ClientOptions, GatewayOptions, GnuTls, Host, Issuer, KeyKind, LabOptions, LeafOptions, Nginx, OpenSsl,
    PeerOptions, SERVER_NAME, Version,
};

use crate::harness::{PATIENCE, TARGET, World};
use crate::packets;
use crate::serving::{self, Alert, NAME, PORT, Serving};

/// The peer on the direct line, and the terminal's service to it.
const RULES: &str = r#"
[trust.lab]
anchors = ["pki/root.pem"]
[[peer]]
name = "server.example"
addresses = ["10.7.5.1"]
ports = [443]
terminals = ["*"]
trust = "lab"
[[service]]
terminals = ["*"]
ports = [8443]
"#;

/// Exit code of the agent when the peer does not fit.
const PEER: i32 = 3;

#[test]
#[ignore = "needs network namespaces"]
fn openssl_is_reached() -> Result<()> {
    for_every_key(|world, options| {
        let _server = OpenSsl::start(&world.lab, options, &["-www"])?;
        let page = visit(world, "/", &format!("OpenSSL {:?}", options.version))?;
        ensure!(page.contains(&format!("New, {}", options.version.map_or("", Version::openssl_name))), "{page}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn nginx_is_reached() -> Result<()> {
    for_every_key(|world, options| {
        let server = Nginx::start(&world.lab, options)?;
        server.publish("page.txt", b"a page")?;
        let page = visit(world, "/page.txt", &format!("nginx {:?}", options.version))?;
        let log = server.access_log();
        ensure!(page.ends_with("a page") && log.starts_with("10.7.5.2:"), "{page}, {log}");
        ensure!(log.contains(options.version.map_or("", Version::openssl_name)), "{log}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn gnutls_is_reached() -> Result<()> {
    for_every_key(|world, options| {
        let _server = GnuTls::start(&world.lab, options, &["--http"])?;
        let page = visit(world, "/", &format!("GnuTLS {:?}", options.version))?;
        ensure!(page.contains(options.version.map_or("", Version::gnutls_name)), "{page}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn hello_retry_request_is_followed() -> Result<()> {
    run(|world| {
        let leaf = world.leaf()?;
        let options = PeerOptions { groups: Some("P-384"), ..at_the_line(PeerOptions::new(&leaf)) };
        let _server = OpenSsl::start(&world.lab, &options, &["-www"])?;
        let page = visit(world, "/", "OpenSSL, HelloRetryRequest")?;
        ensure!(page.contains("secp384r1"), "{page}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn server_that_demands_a_certificate_gets_the_terminals() -> Result<()> {
    run(|world| {
        let leaf = world.leaf()?;
        for version in Version::ALL {
            let options = at_the_line(PeerOptions::new(&leaf));
            let options = PeerOptions { version: Some(version), clients: Some(world.pki.anchor_file()), ..options };
            let server = Nginx::start(&world.lab, &options)?;
            server.publish("page.txt", b"a page")?;
            visit(world, "/page.txt", &format!("nginx, {version:?}, both certificates"))?;
            let log = server.access_log();
            ensure!(log.contains(&format!("\"CN={NAME}\"")), "{log}");
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn bad_server_is_refused_and_hears_the_alert() -> Result<()> {
    run(|world| {
        let stranger = LeafOptions { issuer: Issuer::Stranger, ..LeafOptions::new(&[SERVER_NAME]) };
        let leaf = world.pki.leaf(&stranger)?;
        for version in Version::ALL {
            let options = at_the_line(PeerOptions { version: Some(version), ..PeerOptions::new(&leaf) });
            let mut server = OpenSsl::start(&world.lab, &options, &["-www"])?;
            let ended = world.attempt(&[TARGET, "--assisted"])?;
            ended.assert_refused(PEER, "certificate-unknown-ca", PATIENCE);
            server.process.wait_for_log("alert unknown ca", PATIENCE)?;
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn every_client_is_served() -> Result<()> {
    run(|world| {
        let serving = serve(world)?;
        let mut visits = 0;
        for version in Version::ALL {
            for client in Client::ALL {
                let link = world.lab.capture(Host::Terminal, "eth0", "link", "udp port 5683")?;
                let options = ClientOptions { version: Some(version), ..asking(world) };
                serving::fetch(world, client, &options).with_context(|| format!("{version:?}"))?;
                print_cost(&format!("server, {client:?}, {version:?}"), &link.finish()?)?;
                visits += 1;
            }
        }
        let clients = serving.clients();
        assert_eq!(clients.len(), visits, "{clients:?}");
        assert!(clients.iter().all(|client| client.ip() == Host::Peer.direct_address()), "{clients:?}");
        assert_eq!(world.figure("/sessions/delivered")?, visits as u64);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn bad_client_is_refused_and_hears_the_alert() -> Result<()> {
    run(|world| {
        let _serving = serve(world)?;
        let alert = Alert { openssl: "unrecognized name", number: 112 };
        for client in Client::ALL {
            let options = ClientOptions { name: Some("other.example"), ..asking(world) };
            serving::assert_refused(world, client, &options, alert, "no-certificate")?;
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn client_has_to_prove_itself() -> Result<()> {
    let rules = format!("{RULES}clients = \"lab\"\n");
    run_with(&rules, |world| {
        let serving = serve(world)?;
        let leaf = world.pki.leaf(&LeafOptions::client(&["client-7.example"]))?;
        for version in Version::ALL {
            for client in Client::ALL {
                let options = ClientOptions { version: Some(version), ..asking(world) };
                let alert = serving::certificate_required(version);
                serving::assert_refused(world, client, &options, alert, "client-certificate-required")
                    .with_context(|| format!("{version:?}"))?;
                serving::fetch(world, client, &ClientOptions { certificate: Some(&leaf), ..options })?;
            }
        }
        let log = serving.agent.log();
        assert_eq!(log.matches("which proved to be client-7.example").count(), 8, "{log}");
        assert_eq!(log.matches("not connected: 10.7.5.1:").count(), 8, "{log}");
        Ok(())
    })
}

/// Runs a case with the direct line and nothing but the channel through the gateway.
fn run(case: impl FnOnce(&mut World) -> Result<()>) -> Result<()> {
    run_with(RULES, case)
}

fn run_with(rules: &str, case: impl FnOnce(&mut World) -> Result<()>) -> Result<()> {
    let network = LabOptions { direct: true, ..LabOptions::PLAIN };
    let options = GatewayOptions { rules, limits: serving::OFTEN, ..GatewayOptions::default() };
    serving::with(network, options, |world| {
        let uplink = world.lab.capture(Host::Gateway, "uplink", "uplink", "tcp")?;
        case(world)?;
        assert!(packets::read(&uplink.finish()?)?.is_empty(), "the gateway was on the path");
        Ok(())
    })
}

fn for_every_key(case: impl Fn(&World, &PeerOptions<'_>) -> Result<()>) -> Result<()> {
    run(|world| {
        for key in KeyKind::ALL {
            let leaf = world.pki.leaf(&LeafOptions { key, ..LeafOptions::new(&[SERVER_NAME]) })?;
            for version in Version::ALL {
                let options = at_the_line(PeerOptions { version: Some(version), ..PeerOptions::new(&leaf) });
                case(world, &options).with_context(|| format!("{version:?} with a key of kind {key:?}"))?;
            }
        }
        Ok(())
    })
}

fn at_the_line(options: PeerOptions<'_>) -> PeerOptions<'_> {
    PeerOptions { address: Host::Peer.direct_address().into(), ..options }
}

/// Fetches a page over a session of its own, and prints what its keys cost on the terminal's link to the gateway.
fn visit(world: &World, path: &str, what: &str) -> Result<String> {
    let link = world.lab.capture(Host::Terminal, "eth0", "link", "udp port 5683")?;
    let mut pipe = world.agent.connect_with(&world.lab, TARGET, &["--assisted"])?;
    pipe.write(format!("GET {path} HTTP/1.1\r\nHost: {SERVER_NAME}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut page = Vec::new();
    pipe.output.read_to_end(&mut page)?;
    let status = pipe.process.wait(PATIENCE)?;
    ensure!(status.success(), "the agent ended with {status}: {}", pipe.process.log());
    print_cost(&format!("client, {what}"), &link.finish()?)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn print_cost(what: &str, capture: &std::path::Path) -> Result<()> {
    let packets = packets::read(capture)?;
    let own = packets.iter().filter(|packet| packet.from.ip() == Host::Terminal.ipv4());
    let (mut sent, mut datagrams) = (0, 0);
    for packet in own {
        sent += packet.length;
        datagrams += 1;
    }
    let all: usize = packets.iter().map(|packet| packet.length).sum();
    eprintln!(
        "assisted {what}: {all} bytes on the link, {sent} of them from the terminal; {} datagrams, {datagrams} of them \
         from the terminal",
        packets.len()
    );
    Ok(())
}

fn serve(world: &World) -> Result<Serving> {
    let address = Host::Terminal.direct_address().to_string();
    Serving::page(world, &["--assisted", "--address", &address])
}

fn asking(world: &World) -> ClientOptions<'_> {
    let target = SocketAddr::new(Host::Terminal.direct_address().into(), PORT);
    ClientOptions { target, ..serving::asking(world.pki.anchor_file()) }
}
