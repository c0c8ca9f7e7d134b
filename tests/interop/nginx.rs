//! nginx as the peer: on every kind of path, and what its log and the gateway's statistics say.

use anyhow::Result;
use xtask::lab::{GatewayOptions, Host, LabOptions, Nginx, PeerOptions};

use crate::harness::{self, Visit, World};

/// The peer by its IPv6 address alone.
pub const IPV6_RULES: &str = r#"
[trust.lab]
anchors = ["pki/root.pem"]
[[peer]]
name = "server.example"
addresses = ["fd07:2::2"]
ports = [443]
terminals = ["*"]
trust = "lab"
"#;

#[test]
#[ignore = "needs network namespaces"]
fn peer_with_an_ipv6_address_is_reached() -> Result<()> {
    let options = GatewayOptions { rules: IPV6_RULES, ..GatewayOptions::default() };
    harness::with(LabOptions::PLAIN, options, |world| {
        let (visit, log) = one_page(world)?;
        assert_eq!(visit.source.ip(), Host::Terminal.ipv6());
        // nginx writes IPv6 addresses without brackets.
        assert!(log.starts_with(&format!("{}:{} ", visit.source.ip(), visit.source.port())), "{log}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn masquerading_uplink_is_served() -> Result<()> {
    let network = LabOptions { masquerade: true, ..LabOptions::PLAIN };
    harness::with(network, GatewayOptions::default(), |world| {
        let (visit, log) = one_page(world)?;
        let [uplink, _] = Host::Peer.gateway_addresses();
        assert_eq!(visit.seen_by_peer.ip(), uplink);
        assert!(log.starts_with(&format!("{} ", visit.seen_by_peer)), "{log}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn statistics_count_the_handshake() -> Result<()> {
    harness::plain(|world| {
        one_page(world)?;
        let stats = world.gateway.stats(&world.lab)?;
        let number = |path: &str| stats.pointer(path).and_then(serde_json::Value::as_u64);
        assert_eq!(number("/handshakes/0/count"), Some(1), "{stats}");
        assert_eq!(number("/sessions/delivered"), Some(1), "{stats}");
        assert_eq!(number("/terminals"), Some(1), "{stats}");
        Ok(())
    })
}

/// Fetches a page; answers what nginx logged of it.
fn one_page(world: &World) -> Result<(Visit, String)> {
    let nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
    nginx.publish("page.txt", b"a page")?;
    let visit = world.visit("/page.txt")?;
    assert!(visit.page.starts_with("HTTP/1.1 200") && visit.page.ends_with("a page"), "{}", visit.page);
    Ok((visit, nginx.access_log()))
}
