//! The lab itself, without keyferry: the gateway only forwards. Run by `cargo xtask test lab`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;

use anyhow::{Context, Result};
use xtask::lab::{
    Capture, Client, ClientOptions, GnuTls, Host, KeyKind, Lab, LabOptions, LeafOptions, Nginx, OpenSsl, PeerOptions,
    Pki, PythonTls, RustlsOptions, RustlsPeer, SERVER_NAME, Version, frames,
};

#[test]
#[ignore = "needs network namespaces"]
fn nginx_logs_the_terminals_own_address_and_port() -> Result<()> {
    let lab = Lab::new(LabOptions::PLAIN)?;
    let pki = Pki::new(lab.directory())?;
    let nginx = Nginx::start(&lab, &PeerOptions::new(&pki.good_leaf(SERVER_NAME)?))?;
    nginx.publish("hello.txt", b"hello from the peer\n")?;
    for address in Host::Peer.addresses() {
        let answer = fetch(&lab, &pki, SocketAddr::new(address, 443))?;
        assert!(answer.contains("hello from the peer"), "{answer}");
    }
    let log = nginx.access_log();
    assert!(log.contains("10.7.1.2:"), "{log}");
    assert!(log.contains("fd07:1::2:"), "{log}");
    Ok(())
}

#[test]
#[ignore = "needs network namespaces"]
fn masquerading_uplink_shows_the_gateways_address() -> Result<()> {
    let options = LabOptions { masquerade: true, ..LabOptions::PLAIN };
    let lab = Lab::new(options)?;
    let pki = Pki::new(lab.directory())?;
    let nginx = Nginx::start(&lab, &PeerOptions::new(&pki.good_leaf(SERVER_NAME)?))?;
    nginx.publish("hello.txt", b"hello from the peer\n")?;
    let answer = fetch(&lab, &pki, SocketAddr::new(Host::Peer.ipv4().into(), 443))?;
    assert!(answer.contains("hello from the peer"), "{answer}");
    assert!(nginx.access_log().contains("10.7.2.1:"));
    Ok(())
}

#[test]
#[ignore = "needs network namespaces"]
fn every_peer_serves_every_kind_of_key() -> Result<()> {
    let lab = Lab::new(LabOptions::PLAIN)?;
    let pki = Pki::new(lab.directory())?;
    for key in KeyKind::ALL {
        let leaf = pki.leaf(&LeafOptions { key, ..LeafOptions::new(&[SERVER_NAME]) })?;
        let options = PeerOptions::new(&leaf);
        let port = |port| PeerOptions { port, ..options.clone() };
        let _nginx = Nginx::start(&lab, &port(443))?;
        let _openssl = OpenSsl::start(&lab, &port(444), &["-www"])?;
        let _gnutls = GnuTls::start(&lab, &port(445), &["--http"])?;
        let _python = PythonTls::start(&lab, &port(446))?;
        let rustls = RustlsOptions { port: 447, greeting: b"HTTP/1.1 greeting".to_vec(), ..RustlsOptions::default() };
        let _rustls = RustlsPeer::start(&lab, &leaf, rustls)?;
        for port in 443..=447 {
            let answer = fetch(&lab, &pki, SocketAddr::new(Host::Peer.ipv4().into(), port))?;
            assert!(answer.contains("HTTP/1."), "{key:?} on {port}: {answer}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs network namespaces"]
fn every_client_fetches_a_page_and_shows_its_certificate() -> Result<()> {
    let lab = Lab::new(LabOptions::PLAIN)?;
    let pki = Pki::new(lab.directory())?;
    let leaf = pki.good_leaf(SERVER_NAME)?;
    let own = pki.leaf(&LeafOptions::client(&["client.example"]))?;
    for version in Version::ALL {
        let anchor = Some(pki.anchor_file());
        let options = PeerOptions { version: Some(version), clients: anchor, ..PeerOptions::new(&leaf) };
        let nginx = Nginx::start(&lab, &options)?;
        nginx.publish("index.html", b"hello from the peer\n")?;
        for client in Client::ALL {
            let options = ClientOptions::new(pki.anchor_file(), (Host::Peer.ipv4(), 443).into(), SERVER_NAME);
            let refused = client.fetch(&lab, &options)?;
            assert!(!refused.page.contains("hello from the peer"), "{client:?}: {refused:?}");
            let options = ClientOptions { version: Some(version), certificate: Some(&own), ..options };
            let fetched = client.fetch(&lab, &options)?;
            assert!(fetched.success && fetched.page.contains("hello from the peer"), "{client:?}: {fetched:?}");
        }
        let log = nginx.access_log();
        assert!(log.matches("\"CN=client.example\"").count() >= 4 && log.contains(version.openssl_name()), "{log}");
    }
    Ok(())
}

#[test]
#[ignore = "needs network namespaces"]
fn old_servers_and_clients_have_no_extended_master_secret() -> Result<()> {
    let lab = Lab::new(LabOptions::PLAIN)?;
    let pki = Pki::new(lab.directory())?;
    let leaf = pki.good_leaf(SERVER_NAME)?;
    for [server, client] in [[true, true], [false, true], [true, false]] {
        let options = PeerOptions { version: Some(Version::Tls12), ..PeerOptions::new(&leaf) };
        let options = PeerOptions { extended_master_secret: server, ..options };
        let _openssl = OpenSsl::start(&lab, &options, &["-www"])?;
        let _gnutls = GnuTls::start(&lab, &PeerOptions { port: 444, ..options }, &["--http"])?;
        for port in [443, 444] {
            let options = ClientOptions::new(pki.anchor_file(), (Host::Peer.ipv4(), port).into(), SERVER_NAME);
            let options = ClientOptions { extended_master_secret: client, ..options };
            let page = Client::OpenSsl.fetch(&lab, &options)?.page;
            let known = page.contains("Extended master secret: yes");
            assert_eq!(known, server && client, "{page}");
            let gnutls = Client::GnuTls.fetch(&lab, &options)?.page;
            assert_eq!(gnutls.contains("extended master secret,"), server && client, "{gnutls}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs network namespaces"]
fn lossy_line_loses_about_as_many_as_asked() -> Result<()> {
    let options = LabOptions { loss_percent: 20, ..LabOptions::PLAIN };
    let lab = Lab::new(options)?;
    let receiver = lab.enter(Host::Peer, || UdpSocket::bind("10.7.2.2:9"))??;
    receiver.set_nonblocking(true)?;
    let sender = lab.enter(Host::Terminal, || UdpSocket::bind("10.7.1.2:0"))??;
    let mut arrived = 0;
    for _ in 0..1000 {
        sender.send_to(b"x", "10.7.2.2:9")?;
        while receiver.recv(&mut [0; 8]).is_ok() {
            arrived += 1;
        }
    }
    // 0.8 * 0.8 of them, on the way through two hosts.
    assert!((540..740).contains(&arrived), "{arrived} of 1000 arrived");
    Ok(())
}

#[test]
#[ignore = "needs network namespaces"]
fn second_terminal_reaches_the_peer_and_is_captured() -> Result<()> {
    let options = LabOptions { second_terminal: true, ..LabOptions::PLAIN };
    let lab = Lab::new(options)?;
    let pki = Pki::new(lab.directory())?;
    let leaf = pki.good_leaf(SERVER_NAME)?;
    let _peer = RustlsPeer::start(&lab, &leaf, RustlsOptions::default())?;
    let capture: Capture = lab.capture(Host::SecondTerminal, "eth0", "second", "tcp")?;
    let mut stream = lab.enter(Host::SecondTerminal, || TcpStream::connect("10.7.2.2:443"))??;
    stream.write_all(b"not TLS at all")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    assert_eq!(answer.first(), Some(&21), "an alert record");
    let frames = frames(&capture.finish()?)?;
    assert!(frames.iter().any(|frame| contains(frame, b"not TLS at all")));
    Ok(())
}

#[test]
#[ignore = "needs network namespaces"]
fn lab_leaves_nothing_behind() -> Result<()> {
    let lab = Lab::new(LabOptions::PLAIN)?;
    let directory = lab.directory().to_owned();
    let namespace = lab.namespace(Host::Peer);
    let mut sleeper = lab.command(Host::Peer, "sleep");
    sleeper.arg("1000");
    let mut sleeper = sleeper.spawn()?;
    assert!(namespaces()?.contains(&namespace));
    drop(lab);
    assert!(!namespaces()?.contains(&namespace));
    assert!(!directory.exists());
    assert!(!sleeper.wait()?.success(), "ended by the janitor");
    Ok(())
}

/// `GET /hello.txt` by `openssl s_client` from the terminal's namespace, with the chain verified.
fn fetch(lab: &Lab, pki: &Pki, target: SocketAddr) -> Result<String> {
    let mut command = lab.command(Host::Terminal, "openssl");
    command
        .args(["s_client", "-quiet", "-verify_return_error", "-connect"])
        .arg(target.to_string())
        .args(["-servername", SERVER_NAME, "-verify_hostname", SERVER_NAME, "-CAfile"])
        .arg(pki.anchor_file());
    let mut client = lab.spawn_piped(&format!("s_client-{}", target.port()), command)?;
    let mut input = client.take_stdin().context("no pipe")?;
    let output = client.take_stdout().context("no pipe")?;
    input.write_all(b"GET /hello.txt HTTP/1.1\r\nHost: server.example\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        text.push_str(&line);
        // The echo does not close by itself, and it is the one that gives a request back.
        if line.contains("GET /hello.txt HTTP/1.1") {
            break;
        }
    }
    anyhow::ensure!(!text.is_empty(), "no answer: {}", client.log());
    Ok(text)
}

fn namespaces() -> Result<String> {
    xtask::lab::finish(Command::new("ip").arg("netns"))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
