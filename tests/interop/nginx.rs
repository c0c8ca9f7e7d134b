//! nginx as the peer: pages, a large file, and what its log says of the client.

use anyhow::Result;
use xtask::lab::{GatewayOptions, Host, LabOptions, Nginx, PeerOptions};

use crate::harness::{self, TARGET, World};

#[test]
#[ignore = "needs network namespaces"]
fn peer_sees_the_terminals_own_address() -> Result<()> {
    harness::plain(|world| {
        let log = log_of_one_page(world)?;
        assert!(log.starts_with(&format!("{}:", Host::Terminal.ipv4())), "{log}");
        assert!(log.contains("TLSv1.3"), "{log}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn peer_with_an_ipv6_address_is_reached() -> Result<()> {
    let rules = r#"
[trust.lab]
anchors = ["pki/root.pem"]
[[peer]]
name = "server.example"
addresses = ["fd07:2::2"]
ports = [443]
terminals = ["*"]
trust = "lab"
"#;
    let options = GatewayOptions { rules, ..GatewayOptions::default() };
    harness::with(LabOptions::PLAIN, options, |world| {
        let log = log_of_one_page(world)?;
        assert!(log.starts_with(&format!("{}:", Host::Terminal.ipv6())), "{log}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn masquerading_uplink_is_served() -> Result<()> {
    let network = LabOptions { masquerade: true, ..LabOptions::PLAIN };
    harness::with(network, GatewayOptions::default(), |world| {
        let log = log_of_one_page(world)?;
        let [uplink, _] = Host::Peer.gateway_addresses();
        assert!(log.starts_with(&format!("{uplink}:")), "{log}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn large_file_arrives_whole_over_a_lossy_line() -> Result<()> {
    let network = LabOptions { loss_percent: 2, ..LabOptions::PLAIN };
    harness::with(network, GatewayOptions::default(), |world| {
        let nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
        let file: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
        nginx.publish("file.bin", &file)?;
        let answer = world.agent.get(&world.lab, TARGET, "/file.bin")?;
        assert!(answer.body == file, "{} of {} bytes, or others", answer.body.len(), file.len());
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn statistics_count_the_handshake() -> Result<()> {
    harness::plain(|world| {
        log_of_one_page(world)?;
        let stats = world.gateway.stats(&world.lab)?;
        let number = |path: &str| stats.pointer(path).and_then(serde_json::Value::as_u64);
        assert_eq!(number("/handshakes/0/count"), Some(1), "{stats}");
        assert_eq!(number("/sessions/delivered"), Some(1), "{stats}");
        assert_eq!(number("/terminals"), Some(1), "{stats}");
        Ok(())
    })
}

/// Fetches a page and returns nginx's access log.
fn log_of_one_page(world: &World) -> Result<String> {
    let nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
    nginx.publish("page.txt", b"a page")?;
    let answer = world.agent.get(&world.lab, TARGET, "/page.txt")?;
    assert!(answer.head.starts_with("HTTP/1.1 200"), "{}", answer.head);
    assert_eq!(answer.body, b"a page");
    Ok(nginx.access_log())
}
