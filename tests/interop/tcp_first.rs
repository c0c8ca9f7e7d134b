//! A terminal that opens TCP without asking: served where policy maps the destination, reset elsewhere.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use xtask::lab::{GatewayOptions, Host, LabOptions, RustlsOptions, RustlsPeer};

use crate::harness::{self, World};
use crate::packets;

/// The peer, served without a request.
pub const MAPPED: &str = r#"
[trust.lab]
anchors = ["pki/root.pem"]
[[peer]]
name = "server.example"
addresses = ["10.7.2.2", "fd07:2::2"]
ports = [443]
terminals = ["*"]
trust = "lab"
without_request = true
"#;

#[test]
#[ignore = "needs network namespaces"]
fn mapped_destination_is_served() -> Result<()> {
    run(|world| {
        for address in Host::Peer.addresses() {
            let options = RustlsOptions { address, ..RustlsOptions::default() };
            let server = RustlsPeer::start(&world.lab, &world.leaf()?, options)?;
            let own = harness::drive(&world.lab, Host::Terminal, || async {
                let agent = harness::start_agent(&world.agent).await?;
                // The gateway has to know where the terminal's channel is before it can push anything there.
                agent.status().await;
                let mut stream = agent.connect_unasked(SocketAddr::new(address, 443)).await?;
                stream.write_all(b"pushed").await?;
                let mut echo = [0; 6];
                stream.read_exact(&mut echo).await?;
                assert_eq!(&echo, b"pushed");
                assert_eq!(stream.peer().identity, "server.example");
                Ok(stream.addresses()?.0)
            })?;
            assert_eq!(server.clients(), [own]);
        }
        assert_eq!(world.figure("/sessions/delivered")?, 2);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn unmapped_destination_is_reset() -> Result<()> {
    run(|world| {
        let options = RustlsOptions { port: 444, ..RustlsOptions::default() };
        let server = RustlsPeer::start(&world.lab, &world.leaf()?, options)?;
        let capture = world.lab.capture(Host::Peer, "eth0", "peer", "tcp")?;
        let started = Instant::now();
        let refused = harness::drive(&world.lab, Host::Terminal, || async {
            let agent = harness::start_agent(&world.agent).await?;
            agent.status().await;
            let opened = agent.connect_unasked(SocketAddr::new(Host::Peer.ipv4().into(), 444)).await;
            Ok(opened.err().map(|error| error.message))
        })?;
        let message = refused.expect("served");
        assert!(started.elapsed() < Duration::from_secs(4), "{message} after {:?}", started.elapsed());
        assert_eq!(packets::read(&capture.finish()?)?.len(), 0, "the peer heard of it");
        assert_eq!(server.clients(), []);
        assert_eq!(world.figure("/flows_refused/neither asked for nor mapped by policy")?, 1);
        Ok(())
    })
}

fn run(case: impl FnOnce(&mut World) -> Result<()>) -> Result<()> {
    harness::with(LabOptions::PLAIN, GatewayOptions { rules: MAPPED, ..GatewayOptions::default() }, case)
}
