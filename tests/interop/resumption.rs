//! Resumption on the gateway's side: the second session with a server that gave a ticket takes it up, where policy
//! allows that, and the server's certificate still counts.

use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::lab::{
    DEFAULT_RULES, GatewayOptions, Host, LabOptions, Nginx, OpenSsl, PeerOptions, Validity, Version, wait_until,
};

use crate::harness::{self, TARGET, World};
use crate::revocation_lists;

#[test]
#[ignore = "needs network namespaces"]
fn openssl_resumes_where_policy_allows_it() -> Result<()> {
    run("resumption = true\n", |world| {
        let _server = OpenSsl::start(&world.lab, &PeerOptions::new(&world.leaf()?), &["-www"])?;
        let pages = visits(world, "/")?;
        ensure!(pages[0].contains("New, TLSv1.3"), "{}", pages[0]);
        ensure!(pages[2].contains("Reused, TLSv1.3"), "{}", pages[2]);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn nginx_resumes_where_policy_allows_it() -> Result<()> {
    run("resumption = true\n", |world| {
        let server = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
        server.publish("page.txt", b"a page")?;
        let pages = visits(world, "/page.txt")?;
        ensure!(pages.iter().all(|page| page.ends_with("a page")), "{pages:?}");
        let log = server.access_log();
        let reused: Vec<bool> = log.lines().map(|line| line.contains(" r \"")).collect();
        ensure!(!reused[0] && reused[2], "{log}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn tls_1_2_is_never_resumed() -> Result<()> {
    run("resumption = true\n", |world| {
        let leaf = world.leaf()?;
        let options = PeerOptions { version: Some(Version::Tls12), ..PeerOptions::new(&leaf) };
        let _server = OpenSsl::start(&world.lab, &options, &["-www"])?;
        let pages = visits(world, "/")?;
        ensure!(pages.iter().all(|page| page.contains("New, TLSv1.2")), "{pages:?}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn nothing_is_resumed_by_default() -> Result<()> {
    run("", |world| {
        let _server = OpenSsl::start(&world.lab, &PeerOptions::new(&world.leaf()?), &["-www"])?;
        let pages = visits(world, "/")?;
        ensure!(pages.iter().all(|page| page.contains("New, TLSv1.3")), "{pages:?}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn ticket_of_a_revoked_server_is_worth_nothing() -> Result<()> {
    revocation_lists::run(Validity::Current, |world| {
        let _agent = world.agent.start(&world.lab)?;
        let leaf = world.leaf()?;
        let _server = OpenSsl::start(&world.lab, &PeerOptions::new(&leaf), &["-www"])?;
        let pages = visits(world, "/")?;
        ensure!(pages[2].contains("Reused, TLSv1.3"), "{}", pages[2]);
        world.pki.revocation_lists(&[&leaf], Validity::Current)?;
        wait_until(Duration::from_secs(20), || Ok(world.attempt(&[TARGET])?.message.contains("certificate-revoked")))
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn ticket_of_one_terminal_is_none_of_another() -> Result<()> {
    let network = LabOptions { second_terminal: true, ..LabOptions::PLAIN };
    let rules = format!("{DEFAULT_RULES}resumption = true\n");
    harness::with(network, GatewayOptions { rules: &rules, ..GatewayOptions::default() }, |world| {
        let other = world.gateway.add_terminal(&world.lab, "sensor-2", Host::SecondTerminal)?;
        let _agents = [world.agent.start(&world.lab)?, other.start(&world.lab)?];
        let _server = OpenSsl::start(&world.lab, &PeerOptions::new(&world.leaf()?), &["-www"])?;
        let pages = visits(world, "/")?;
        ensure!(pages[2].contains("Reused, TLSv1.3"), "{}", pages[2]);
        let page = other.get(&world.lab, TARGET, "/")?;
        let page = String::from_utf8_lossy(&page.body).into_owned();
        ensure!(page.contains("New, TLSv1.3"), "{page}");
        Ok(())
    })
}

fn run(line: &str, case: impl FnOnce(&mut World) -> Result<()>) -> Result<()> {
    let rules = format!("{DEFAULT_RULES}{line}");
    harness::with(LabOptions::PLAIN, GatewayOptions { rules: &rules, ..GatewayOptions::default() }, |world| {
        let _agent = world.agent.start(&world.lab)?;
        case(world)
    })
}

/// The terminal hands the ticket over some time after it came, so the second session may be too early.
fn visits(world: &World, path: &str) -> Result<Vec<String>> {
    (0..3)
        .map(|_| {
            let page = world.visit(path)?.page;
            std::thread::sleep(Duration::from_millis(500));
            Ok(page)
        })
        .collect()
}
