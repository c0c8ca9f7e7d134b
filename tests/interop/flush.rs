//! Somebody takes the packet rules away, or the gateway cannot start: terminals are closed in all the same.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result};
use xtask::lab::{Host, Nginx, PeerOptions, wait_until};

use crate::harness::{self, PATIENCE, TARGET, World};
use crate::knock;
use crate::packets::{self, UDP};

/// A port of the peer that no rule mentions.
const PORT: u16 = 8080;

#[test]
#[ignore = "needs network namespaces"]
fn rules_come_back_while_the_gateway_runs() -> Result<()> {
    harness::plain(|world| {
        let nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
        nginx.publish("page.txt", b"a page")?;
        assert_eq!(world.figure("/rules_restored")?, 0);
        flush(world)?;
        assert!(!rules_are_there(world), "the flush did nothing");
        wait_until(PATIENCE, || Ok(rules_are_there(world))).context("the rules come back")?;
        wait_until(PATIENCE, || Ok(world.figure("/rules_restored")? == 1)).context("and that is counted")?;
        assert_eq!(world.agent.get(&world.lab, TARGET, "/page.txt")?.body, b"a page");
        assert_eq!(arrivals(world, "after")?, 0);
        assert_eq!(world.figure("/rules_restored")?, 1, "once is enough");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn gateway_that_cannot_start_leaves_its_rules() -> Result<()> {
    harness::plain(|world| {
        world.gateway.process.stop()?;
        let key = world.lab.directory().join("store.key");
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644))?;
        flush(world)?;
        wait_until(PATIENCE, || Ok(arrivals(world, "open")? == 2)).context("the machine forwards without rules")?;

        let error = world.gateway.keyferry(&world.lab, &["run"]).err().context("it runs with a key for all to read")?;
        assert!(format!("{error:#}").contains("0644"), "{error:#}");
        assert_eq!(arrivals(world, "failed")?, 0);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn close_needs_no_gateway() -> Result<()> {
    harness::plain(|world| {
        let nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
        nginx.publish("page.txt", b"a page")?;
        world.gateway.process.stop()?;
        flush(world)?;
        wait_until(PATIENCE, || Ok(arrivals(world, "open")? == 2)).context("the machine forwards without rules")?;
        world.gateway.keyferry(&world.lab, &["close"])?;
        assert_eq!(arrivals(world, "closed")?, 0);

        world.gateway.restart(&world.lab, false)?;
        assert_eq!(world.agent.get(&world.lab, TARGET, "/page.txt")?.body, b"a page");
        Ok(())
    })
}

fn flush(world: &World) -> Result<()> {
    world.lab.run(Host::Gateway, "nft", &["flush", "ruleset"])?;
    Ok(())
}

fn rules_are_there(world: &World) -> bool {
    world.lab.run(Host::Gateway, "nft", &["list", "table", "inet", "keyferry"]).is_ok()
}

/// How many of two datagrams, one over IPv4 and one over IPv6, reach the peer.
fn arrivals(world: &World, name: &str) -> Result<usize> {
    let capture = world.lab.capture(Host::Peer, "eth0", name, "udp")?;
    for (terminal, peer) in Host::Terminal.addresses().into_iter().zip(Host::Peer.addresses()) {
        knock::udp(&world.lab, Host::Terminal, terminal, SocketAddr::new(peer, PORT))?;
    }
    // Neighbours may have to be found first.
    std::thread::sleep(Duration::from_millis(300));
    let packets = packets::read(&capture.finish()?)?;
    Ok(packets.iter().filter(|packet| packet.protocol == UDP && packet.to.port() == PORT).count())
}
