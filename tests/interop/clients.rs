//! Every client of a terminal that serves, in both versions of TLS and with every kind of key of the terminal's
//! certificate: it gets the page, and the terminal's own TCP has the client's address and port.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use xtask::lab::{Client, ClientOptions, Host, KeyKind, LeafOptions, Version, wait_until};

use crate::harness::{self, PATIENCE, World};
use crate::packets;
use crate::serving::{self, NAME, OPEN, Serving};

#[test]
#[ignore = "needs network namespaces"]
fn openssl_fetches_a_page() -> Result<()> {
    for_every_key(Client::OpenSsl, |version, page| page.contains(&format!("New, {}", version.openssl_name())))
}

#[test]
#[ignore = "needs network namespaces"]
fn curl_fetches_a_page() -> Result<()> {
    for_every_key(Client::Curl, |version, page| {
        page.contains(&format!("SSL connection using {}", version.openssl_name()))
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn gnutls_fetches_a_page() -> Result<()> {
    for_every_key(Client::GnuTls, |version, page| page.contains(&format!("({}", version.gnutls_name())))
}

#[test]
#[ignore = "needs network namespaces"]
fn python_fetches_a_page() -> Result<()> {
    for_every_key(Client::Python, |version, page| page.contains(version.openssl_name()))
}

#[test]
#[ignore = "needs network namespaces"]
fn address_without_a_name_is_served() -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let serving = Serving::page(world, &[])?;
        for client in Client::ALL {
            for address in Host::Terminal.addresses() {
                let options = serving::asking(world.pki.anchor_file());
                serving::fetch(world, client, &ClientOptions { name: None, target: serving::at(address), ..options })?;
            }
        }
        let log = serving.agent.log();
        assert!(!log.contains("asked for"), "{log}");
        Ok(())
    })
}

/// IPv4 and IPv6 in turn. What the client and the terminal each say of the version is compared as well.
fn for_every_key(client: Client, says: impl Fn(Version, &str) -> bool) -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let serving = Serving::page(world, &[])?;
        let capture = world.lab.capture(Host::Peer, "eth0", "syns", "ip6[40+13] == 2 or tcp[tcpflags] == tcp-syn")?;
        let mut visits = 0;
        for key in KeyKind::ALL {
            let leaf = serving::certificate(world, LeafOptions { key, ..LeafOptions::new(&[]) })?;
            world.gateway.add_certificate(&world.lab, "sensor-1", &leaf, "default")?;
            for version in Version::ALL {
                for address in Host::Terminal.addresses() {
                    let options = ClientOptions {
                        version: Some(version),
                        target: serving::at(address),
                        ..serving::asking(world.pki.anchor_file())
                    };
                    let fetched =
                        serving::fetch(world, client, &options).with_context(|| format!("{version:?}, {key:?}"))?;
                    assert!(says(version, &(fetched.page.clone() + &fetched.said)), "{version:?}: {fetched:?}");
                    visits += 1;
                }
            }
        }
        let packets = packets::read(&capture.finish()?)?;
        let mut callers: Vec<SocketAddr> = packets.iter().map(|packet| packet.from).collect();
        callers.dedup();
        assert_eq!(callers.len(), visits, "{callers:?}");
        assert_eq!(serving.clients(), callers);
        assert_proved_nothing_and_asked(world, &serving, visits)
    })
}

fn assert_proved_nothing_and_asked(world: &World, serving: &Serving, visits: usize) -> Result<()> {
    let log = serving.agent.log();
    let wanted = format!("which proved nothing and asked for {NAME}; TLS 1.");
    assert_eq!(log.matches(&wanted).count(), visits, "{log}");
    assert_eq!(world.figure("/sessions/delivered")?, visits as u64);
    // The gateway's own side of the connections ends as well.
    wait_until(PATIENCE, || Ok(world.figure("/sessions/open")? == 0))?;
    assert_eq!(harness::connections(&world.lab, Host::Terminal, serving::PORT)?, []);
    Ok(())
}
