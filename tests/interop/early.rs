//! A program on a terminal that speaks plaintext where the gateway does TLS in its name: not a byte of it gets
//! to the uplink, whenever it comes.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};
use xtask::lab::{GatewayOptions, Host, Lab, LabOptions, RustlsOptions, RustlsPeer, wait_until};

use crate::harness::{self, PATIENCE, World};
use crate::packets::{self, TCP};
use crate::tcp_first::MAPPED;

const PLAINTEXT: &[u8] = b"PLAINTEXT password=1";

/// What no packet may hold; shorter than what is sent, should it be cut in two.
const SIGN: &[u8] = b"PLAINTEXT";

/// Between the first words and the last.
const PAUSE: Duration = Duration::from_secs(2);

/// When a terminal speaks first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    AtOnce,
    /// After the gateway has handed the flow over and sent the keys.
    AfterTheHandshake,
}

#[test]
#[ignore = "needs network namespaces"]
fn plaintext_at_once_goes_nowhere() -> Result<()> {
    run(Begin::AtOnce, &["early-data", "not-acknowledged"])
}

#[test]
#[ignore = "needs network namespaces"]
fn plaintext_after_the_handshake_goes_nowhere() -> Result<()> {
    run(Begin::AfterTheHandshake, &["not-acknowledged"])
}

/// Without any agent: opens TCP to a peer that policy maps, and says [`PLAINTEXT`], twice.
fn run(begin: Begin, causes: &[&str]) -> Result<()> {
    harness::with(LabOptions::PLAIN, GatewayOptions { rules: MAPPED, ..GatewayOptions::default() }, |world| {
        let servers = Host::Peer.addresses().map(|address| {
            RustlsPeer::start(&world.lab, &world.leaf()?, RustlsOptions { address, ..RustlsOptions::default() })
        });
        let servers = servers.into_iter().collect::<Result<Vec<_>>>()?;
        // The terminal's channel was heard once, so that the gateway has somewhere to send keys.
        harness::drive(&world.lab, Host::Terminal, || async {
            let agent = harness::start_agent(&world.agent).await?;
            agent.status().await;
            Ok(())
        })?;
        let uplink = world.lab.capture(Host::Gateway, "uplink", "uplink", "")?;
        let link = world.lab.capture(Host::Terminal, "eth0", "link", "tcp")?;
        // Both at once: an acknowledgement is waited for long.
        let world = &*world;
        let ends = thread::scope(|scope| {
            let addresses = Host::Terminal.addresses().into_iter().zip(Host::Peer.addresses());
            let speak = |(own, peer)| {
                let stream = open(&world.lab, own, SocketAddr::new(peer, 443))?;
                Ok(scope.spawn(move || {
                    if begin == Begin::AfterTheHandshake {
                        wait_until(PATIENCE, || Ok(world.figure("/handovers/relay")? == 2))?;
                    }
                    speak(stream)
                }))
            };
            let speakers = addresses.map(speak).collect::<Result<Vec<_>>>()?;
            speakers.into_iter().map(|speaker| speaker.join().ok().context("a panic")?).collect::<Result<Vec<_>>>()
        })?;
        assert_eq!(ends, [ErrorKind::ConnectionReset; 2]);
        assert_failed(world, causes)?;
        for server in &servers {
            assert_eq!(server.clients().len(), 1, "the gateway did not try: this test tests nothing");
        }
        let (uplink, link) = (packets::read(&uplink.finish()?)?, packets::read(&link.finish()?)?);
        let holds_it = |bytes: &[u8]| bytes.windows(SIGN.len()).any(|part| part == SIGN);
        let hellos = uplink.iter().filter(|packet| packet.payload.starts_with(&[22, 3, 1])).count();
        assert!(hellos >= 2, "no handshake on the uplink");
        assert!(link.iter().any(|packet| packet.protocol == TCP && holds_it(&packet.payload)), "nothing was said");
        let leaked: Vec<_> = uplink.iter().filter(|packet| holds_it(&packet.payload)).collect();
        assert!(leaked.is_empty(), "plaintext on the uplink: {leaked:?}");
        Ok(())
    })
}

fn open(lab: &Lab, own: IpAddr, peer: SocketAddr) -> Result<TcpStream> {
    let opened = lab.enter(Host::Terminal, || {
        let socket = Socket::new(Domain::for_address(peer), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(own, 0).into())?;
        socket.connect_timeout(&peer.into(), PATIENCE)?;
        Ok::<_, std::io::Error>(TcpStream::from(socket))
    })?;
    opened.context("opening TCP")
}

/// Says the words, and again after a pause, then waits for the end of the connection. Answers how it ended.
fn speak(mut stream: TcpStream) -> Result<ErrorKind> {
    for pause in [Duration::ZERO, PAUSE] {
        thread::sleep(pause);
        if let Err(error) = stream.write_all(PLAINTEXT) {
            // After a reset that an earlier write met, the next one meets a broken pipe.
            let reset = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind());
            return Ok(if reset { ErrorKind::ConnectionReset } else { error.kind() });
        }
    }
    // Longer than the gateway waits for an acknowledgement.
    stream.set_read_timeout(Some(Duration::from_secs(90)))?;
    let mut heard = Vec::new();
    match stream.read_to_end(&mut heard) {
        Ok(_) => Ok(ErrorKind::UnexpectedEof),
        Err(error) => Ok(error.kind()),
    }
}

/// Two handshakes failed for one of these causes, and none succeeded.
fn assert_failed(world: &World, causes: &[&str]) -> Result<()> {
    let handshakes = || -> Result<_> { Ok(world.gateway.stats(&world.lab)?["handshakes"].clone()) };
    let count = |value: &serde_json::Value| value["count"].as_u64().unwrap_or_default();
    let failed = |handshakes: &serde_json::Value| {
        let all = handshakes.as_array().into_iter().flatten();
        all.filter(|one| causes.iter().any(|cause| one["cause"] == *cause)).map(count).sum::<u64>()
    };
    wait_until(PATIENCE, || Ok(failed(&handshakes()?) == 2))
        .with_context(|| format!("wanted two of {causes:?}, got {:?}", handshakes()))?;
    assert_eq!(handshakes()?.as_array().into_iter().flatten().map(count).sum::<u64>(), 2);
    assert_eq!(world.figure("/sessions/delivered")?, 0);
    assert_eq!(world.figure("/sessions/bytes_up")?, 0);
    Ok(())
}
