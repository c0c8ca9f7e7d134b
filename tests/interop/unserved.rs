//! Connections to terminals that nobody serves: who may not connect, and where nobody listens.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::lab::{Client, GatewayOptions, Host, LabOptions, wait_until};

use crate::harness::{self, PATIENCE, World};
use crate::knock;
use crate::packets;
use crate::serving::{self, OPEN, PORT, Serving};

/// Exit codes of the agent: policy, and the gateway.
const POLICY: i32 = 2;
const GATEWAY: i32 = 4;

/// The peer is in none of these networks.
const ELSEWHERE: &str = r#"
[[service]]
terminals = ["*"]
ports = [8443]
peers = ["10.9.0.0/16", "fd09::/16"]
"#;

#[test]
#[ignore = "needs network namespaces"]
fn peer_of_a_forbidden_network_is_reset() -> Result<()> {
    serving::with_rules(ELSEWHERE, |world| {
        let serving = Serving::page(world, &[])?;
        for (from, to) in Host::Peer.addresses().into_iter().zip(Host::Terminal.addresses()) {
            assert_reset(world, from, serving::at(to))?;
        }
        assert_eq!(world.figure("/flows_refused/forbidden client")?, 2);
        assert_eq!(serving.clients(), []);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn port_without_a_service_is_closed() -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let serving = Serving::page(world, &[])?;
        // The terminal itself listens there: only the gateway's rules keep the peer away.
        let other = SocketAddr::new(Host::Terminal.ipv4().into(), 8444);
        let _listener = world.lab.enter(Host::Terminal, || std::net::TcpListener::bind(other))??;
        let link = world.lab.capture(Host::Terminal, "eth0", "link", "tcp port 8444")?;
        assert!(knock::tcp(&world.lab, Host::Peer, Host::Peer.ipv4().into(), other)?.is_err());
        assert!(packets::read(&link.finish()?)?.is_empty(), "the terminal heard of it");
        drop(serving);
        let refused = world.attempt_listen(&["8445"])?;
        refused.assert_refused(POLICY, "may not serve on port 8445", Duration::from_secs(2));
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn terminal_that_does_not_listen_is_not_disturbed() -> Result<()> {
    serving::with_rules(OPEN, |world| {
        // It may be there, but was not heard of yet.
        assert_reset(world, Host::Peer.ipv4().into(), serving::target())?;
        // It was heard of.
        world.agent.run(&world.lab, &["status"])?;
        assert_reset(world, Host::Peer.ipv4().into(), serving::target())?;
        assert_eq!(world.figure("/flows_refused/the terminal does not listen")?, 1);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn terminal_that_ends_to_listen_says_so() -> Result<()> {
    assert_end_is_told(false)
}

#[test]
#[ignore = "needs network namespaces"]
fn terminal_whose_agent_goes_on_says_so_as_well() -> Result<()> {
    assert_end_is_told(true)
}

#[test]
#[ignore = "needs network namespaces"]
fn revoked_terminal_serves_nobody_any_more() -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let mut pipe = world.agent.listen(&world.lab, PORT, &[])?;
        let mut client = Client::OpenSsl.command(&world.lab, &serving::asking(world.pki.anchor_file()));
        client.arg("-quiet");
        let mut client = world.lab.spawn_piped("s_client", client)?;
        let mut input = client.take_stdin().context("no pipe")?;
        input.write_all(b"alive")?;
        ensure!(pipe.read(5)? == b"alive");
        world.gateway.keyferry(&world.lab, &["terminal", "revoke", "sensor-1"])?;
        client.wait(Duration::from_secs(2)).context("the client's session lives on")?;
        assert!(knock::tcp(&world.lab, Host::Peer, Host::Peer.ipv4().into(), serving::target())?.is_err());
        Ok(())
    })
}

/// Listening ends in order (SIGTERM): the gateway lets nobody through any more.
fn assert_end_is_told(with_agent: bool) -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let _agent = with_agent.then(|| world.agent.start(&world.lab)).transpose()?;
        let mut serving = Serving::page(world, &[])?;
        serving::fetch(world, Client::OpenSsl, &serving::asking(world.pki.anchor_file()))?;
        serving.agent.stop()?;
        let refused = || world.figure("/flows_refused/the terminal does not listen");
        wait_until(PATIENCE, || {
            let before = refused()?;
            let reset = assert_reset(world, Host::Peer.ipv4().into(), serving::target());
            Ok(reset.is_ok() && refused()? > before)
        })
        .context("the gateway still believes that the terminal listens")
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn terminal_without_a_certificate_is_told() -> Result<()> {
    harness::with(LabOptions::PLAIN, GatewayOptions { rules: OPEN, ..GatewayOptions::default() }, |world| {
        let refused = world.attempt_listen(&["8443"])?;
        refused.assert_refused(GATEWAY, "has no certificate", Duration::from_secs(2));
        assert_reset(world, Host::Peer.ipv4().into(), serving::target())
    })
}

/// A connection to the terminal is reset: nothing is answered.
fn assert_reset(world: &World, from: IpAddr, to: SocketAddr) -> Result<()> {
    let end = match knock::tcp(&world.lab, Host::Peer, from, to)? {
        Err(refused) => refused.kind(),
        Ok(mut stream) => {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read(&mut [0]).err().context("an answer, or an orderly end")?.kind()
        }
    };
    ensure!(to.port() == PORT);
    ensure!([ErrorKind::ConnectionReset, ErrorKind::ConnectionRefused].contains(&end), "{end:?}");
    Ok(())
}
