//! nginx as the peer: pages, a large file, and what its log says of the client.

use anyhow::Result;
use xtask::lab::{GatewayOptions, Host, LabOptions, Nginx, PeerOptions};

use crate::harness::{TARGET, World};

#[test]
#[ignore = "needs network namespaces"]
fn peer_sees_the_terminals_own_address() -> Result<()> {
    let world = World::new()?;
    let nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
    nginx.publish("page.txt", b"a page")?;
    let answer = world.agent.get(&world.lab, TARGET, "/page.txt")?;
    assert!(answer.head.starts_with("HTTP/1.1 200"), "{}", answer.head);
    assert_eq!(answer.body, b"a page");
    let log = nginx.access_log();
    assert!(log.starts_with(&format!("{}:", Host::Terminal.ipv4())), "{log}");
    assert!(log.contains("TLSv1.3"), "{log}");
    Ok(())
}

#[test]
#[ignore = "needs network namespaces"]
fn address_as_target_works_over_ipv6() -> Result<()> {
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
    let world = World::with(LabOptions::PLAIN, options)?;
    let nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
    nginx.publish("page.txt", b"a page")?;
    let answer = world.agent.get(&world.lab, TARGET, "/page.txt")?;
    assert_eq!(answer.body, b"a page");
    let log = nginx.access_log();
    assert!(log.starts_with(&format!("{}:", Host::Terminal.ipv6())), "{log}");
    Ok(())
}

#[test]
#[ignore = "needs network namespaces"]
fn masquerading_uplink_is_served() -> Result<()> {
    let network = LabOptions { masquerade: true, ..LabOptions::PLAIN };
    let world = World::with(network, GatewayOptions::default())?;
    let nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
    nginx.publish("page.txt", b"a page")?;
    let answer = world.agent.get(&world.lab, TARGET, "/page.txt")?;
    assert_eq!(answer.body, b"a page");
    let [uplink, _] = Host::Peer.gateway_addresses();
    assert!(nginx.access_log().starts_with(&format!("{uplink}:")));
    Ok(())
}

#[test]
#[ignore = "needs network namespaces"]
fn large_file_arrives_whole_over_a_lossy_line() -> Result<()> {
    let network = LabOptions { loss_percent: 2, ..LabOptions::PLAIN };
    let world = World::with(network, GatewayOptions::default())?;
    let nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
    let file: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    nginx.publish("file.bin", &file)?;
    let answer = world.agent.get(&world.lab, TARGET, "/file.bin")?;
    assert!(answer.body == file, "{} of {} bytes, or others", answer.body.len(), file.len());
    Ok(())
}
