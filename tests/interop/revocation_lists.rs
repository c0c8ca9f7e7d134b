//! Revocation lists: certificates of servers and clients that were revoked are refused by name, lists that are out of
//! date prove nothing, and a list that is replaced counts within seconds.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::lab::{
    Binaries, Client, ClientOptions, Gateway, GatewayOptions, Host, Lab, LabOptions, Leaf, LeafOptions, OpenSsl,
    PeerOptions, Pki, Validity, Version, wait_until,
};

use crate::harness::{self, PATIENCE, TARGET, World};
use crate::serving::{self, Alert, Serving};

/// A server for the terminal, and a service of the terminal, by the same trust.
const RULES: &str = r#"
[trust.lab]
anchors = ["pki/root.pem"]
crls = ["pki/revoked.pem"]
[[peer]]
name = "server.example"
addresses = ["10.7.2.2"]
ports = [443]
terminals = ["*"]
trust = "lab"
resumption = true
[[service]]
terminals = ["*"]
ports = [8443]
clients = "lab"
"#;

/// Exit code of the agent when the peer does not fit.
const PEER: i32 = 3;

/// Until a running gateway has seen a new list.
const SOON: Duration = Duration::from_secs(20);

#[test]
#[ignore = "needs network namespaces"]
fn revoked_server_is_refused_in_both_versions() -> Result<()> {
    run(Validity::Current, |world| {
        let (good, bad) = (world.leaf()?, world.leaf()?);
        let _ = world.pki.revocation_lists(&[&bad], Validity::Current)?;
        world.gateway.restart(&world.lab, false)?;
        for version in Version::ALL {
            assert_visited(world, version, &good)?;
            assert_server_refused(world, version, &bad, "certificate-revoked", "alert certificate revoked")?;
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn revoked_client_is_refused_in_both_versions() -> Result<()> {
    run(Validity::Current, |world| {
        let leaf = || world.pki.leaf(&LeafOptions::client(&["client-7.example"]));
        let (good, bad) = (leaf()?, leaf()?);
        world.pki.revocation_lists(&[&bad], Validity::Current)?;
        world.gateway.restart(&world.lab, false)?;
        let _serving = Serving::page(world, &[])?;
        let alert = Alert { openssl: "certificate revoked", number: 44 };
        for version in Version::ALL {
            for client in Client::ALL {
                let options = serving::asking(world.pki.anchor_file());
                let good = ClientOptions { version: Some(version), certificate: Some(&good), ..options };
                serving::fetch(world, client, &good)?;
                let bad = ClientOptions { certificate: Some(&bad), ..good };
                serving::assert_refused(world, client, &bad, alert, "certificate-revoked")
                    .with_context(|| format!("{version:?}"))?;
            }
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn list_out_of_date_proves_nothing() -> Result<()> {
    run(Validity::Expired, |world| {
        let leaf = world.leaf()?;
        for version in Version::ALL {
            assert_server_refused(world, version, &leaf, "revocation-unknown", "alert")?;
        }
        let _serving = Serving::page(world, &[])?;
        let leaf = world.pki.leaf(&LeafOptions::client(&["client-7.example"]))?;
        let options = serving::asking(world.pki.anchor_file());
        let options = ClientOptions { certificate: Some(&leaf), ..options };
        let alert = Alert { openssl: "alert", number: 0 };
        serving::assert_refused(world, Client::OpenSsl, &options, alert, "revocation-unknown")
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn list_replaced_while_running_counts_soon() -> Result<()> {
    run(Validity::Current, |world| {
        let leaf = world.leaf()?;
        assert_visited(world, Version::Tls13, &leaf)?;
        let revoked = std::time::Instant::now();
        world.pki.revocation_lists(&[&leaf], Validity::Current)?;
        let _server = OpenSsl::start(&world.lab, &PeerOptions::new(&leaf), &["-www"])?;
        wait_until(SOON, || Ok(world.attempt(&[TARGET])?.message.contains("certificate-revoked")))?;
        eprintln!("the new list counted after {:?}", revoked.elapsed());
        // And taken back: the list is without it again.
        world.pki.revocation_lists(&[], Validity::Current)?;
        wait_until(SOON, || Ok(world.attempt(&[TARGET])?.code == Some(0)))
    })
}

/// Runs a case with these rules, and lists that revoke nobody.
pub fn run(lists: Validity, case: impl FnOnce(&mut World) -> Result<()>) -> Result<()> {
    let lab = Lab::new(LabOptions::PLAIN)?;
    let pki = Pki::new(lab.directory())?;
    pki.revocation_lists(&[], lists)?;
    let options = GatewayOptions { rules: RULES, limits: serving::OFTEN, ..GatewayOptions::default() };
    let gateway = Gateway::start(&lab, &pki, &Binaries::beside_this_program()?, options)?;
    let agent = gateway.add_terminal(&lab, "sensor-1", Host::Terminal)?;
    let mut world = World { agent, gateway, pki, lab };
    let own = serving::certificate(&world, LeafOptions::new(&[]))?;
    world.gateway.add_certificate(&world.lab, "sensor-1", &own, "default")?;
    harness::show_logs(case(&mut world), &world.lab)
}

fn assert_visited(world: &World, version: Version, leaf: &Leaf) -> Result<()> {
    let options = PeerOptions { version: Some(version), ..PeerOptions::new(leaf) };
    let _server = OpenSsl::start(&world.lab, &options, &["-www"])?;
    let page = world.visit("/")?.page;
    ensure!(page.contains(version.openssl_name()), "{page}");
    Ok(())
}

fn assert_server_refused(world: &World, version: Version, leaf: &Leaf, reason: &str, alert: &str) -> Result<()> {
    let options = PeerOptions { version: Some(version), ..PeerOptions::new(leaf) };
    let mut server = OpenSsl::start(&world.lab, &options, &["-www"])?;
    world.attempt(&[TARGET])?.assert_refused(PEER, reason, PATIENCE);
    server.process.wait_for_log(alert, PATIENCE)
}
