//! Revocation on a live gateway: sessions are cut, and the terminal gets no answer any more.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::lab::{GatewayOptions, Host, LabOptions, RustlsOptions, RustlsPeer, wait_until};

use crate::harness::{self, TARGET, World};
use crate::knock;
use crate::tcp_first::MAPPED;

/// Exit codes of the agent.
const GATEWAY: i32 = 4;
const TRUNCATED: i32 = 5;

#[test]
#[ignore = "needs network namespaces"]
fn open_session_is_cut_within_a_second() -> Result<()> {
    run(|world| {
        let server = RustlsPeer::start(&world.lab, &world.leaf()?, RustlsOptions::default())?;
        let other = world.gateway.add_terminal(&world.lab, "sensor-2", Host::SecondTerminal)?;
        let mut pipe = world.agent.connect(&world.lab, TARGET)?;
        let mut others = other.connect(&world.lab, TARGET)?;
        for pipe in [&mut pipe, &mut others] {
            pipe.write(b"alive")?;
            ensure!(pipe.read(5)? == b"alive");
        }
        revoke(world)?;
        let revoked = Instant::now();
        let status = pipe.process.wait(Duration::from_secs(1)).context("the session lives on")?;
        assert_eq!(status.code(), Some(TRUNCATED), "{}", pipe.process.log());
        let left = Duration::from_secs(1).saturating_sub(revoked.elapsed());
        wait_until(left, || Ok(server.failures().len() == 1)).context("the peer's connection lives on")?;
        // The other terminal's session is its own affair.
        others.write(b"still")?;
        ensure!(others.read(5)? == b"still");
        assert_eq!(world.figure("/sessions/open")?, 1);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn revoked_terminal_gets_no_answer() -> Result<()> {
    run(|world| {
        let _server = RustlsPeer::start(&world.lab, &world.leaf()?, RustlsOptions::default())?;
        let before = world.attempt(&[TARGET])?;
        ensure!(before.code == Some(0), "{before:?}");
        revoke(world)?;
        let sent = world.figure("/channel/sent")?;
        world.attempt(&[TARGET])?.assert_refused(GATEWAY, "gateway does not answer", Duration::from_secs(3));
        assert_eq!(world.figure("/channel/sent")?, sent, "the gateway answered");
        assert!(world.figure("/channel/refused/unknown terminal")? > 0);

        // Its packets are nobody's, although the rule would serve them unasked.
        let unbound = world.packets_counted("unbound")?;
        let [own, _] = Host::Terminal.addresses();
        let [peer, _] = Host::Peer.addresses();
        assert!(knock::tcp(&world.lab, Host::Terminal, own, (peer, 443).into())?.is_err());
        assert!(world.packets_counted("unbound")? > unbound);

        // And stays so after a restart.
        world.gateway.restart(&world.lab, false)?;
        world.attempt(&[TARGET])?.assert_refused(GATEWAY, "gateway does not answer", Duration::from_secs(3));
        assert!(knock::tcp(&world.lab, Host::Terminal, own, (peer, 443).into())?.is_err());
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn list_and_show_tell_who_is_revoked() -> Result<()> {
    run(|world| {
        world.gateway.add_terminal(&world.lab, "sensor-2", Host::SecondTerminal)?;
        assert!(show(world, "sensor-1")?["live"].is_object());
        revoke(world)?;
        let shown = show(world, "sensor-1")?;
        assert!(shown["revoked"].is_number() && shown["live"].is_null(), "{shown}");
        assert!(show(world, "sensor-2")?["live"].is_object());
        let list = world.gateway.keyferry(&world.lab, &["terminal", "list", "--json"])?;
        let list: Vec<Value> = serde_json::from_str(&list)?;
        let revoked: Vec<_> = list.iter().map(|terminal| (&terminal["id"], !terminal["revoked"].is_null())).collect();
        assert_eq!(revoked, [(&"sensor-1".into(), true), (&"sensor-2".into(), false)]);
        for (id, complaint) in [("sensor-1", "is revoked already"), ("sensor-9", "there is no terminal sensor-9")] {
            let again = world.gateway.keyferry(&world.lab, &["terminal", "revoke", id]);
            let said = format!("{:#}", again.err().context("revoked it")?);
            assert!(said.contains(complaint), "{said}");
        }
        Ok(())
    })
}

fn run(case: impl FnOnce(&mut World) -> Result<()>) -> Result<()> {
    let network = LabOptions { second_terminal: true, ..LabOptions::PLAIN };
    harness::with(network, GatewayOptions { rules: MAPPED, ..GatewayOptions::default() }, case)
}

fn revoke(world: &World) -> Result<()> {
    world.gateway.keyferry(&world.lab, &["terminal", "revoke", "sensor-1"])?;
    Ok(())
}

fn show(world: &World, id: &str) -> Result<Value> {
    let shown = world.gateway.keyferry(&world.lab, &["terminal", "show", id, "--json"])?;
    Ok(serde_json::from_str(&shown)?)
}
