//! The terminal proves itself, too: servers that demand a client certificate, with every kind of key, in both
//! versions of TLS; the private keys with the gateway, or with a signer process.

use anyhow::{Context, Result, ensure};
use xtask::lab::{
    Binaries, Client, DEFAULT_RULES, Gateway, GatewayOptions, GnuTls, Host, KeyKind, Lab, LabOptions, LeafOptions,
    Nginx, OpenSsl, PeerOptions, Pki, PythonTls, Signer, Version,
};

use crate::harness::{self, TARGET, World};
use crate::serving::{self, NAME, OPEN, Serving};

/// Exit code of the agent when the peer does not fit.
const PEER: i32 = 3;

#[test]
#[ignore = "needs network namespaces"]
fn openssl_demands_a_certificate() -> Result<()> {
    for_every_key(|world, options| {
        let server = OpenSsl::start(&world.lab, options, &["-www"])?;
        world.visit("/")?;
        let log = server.process.log();
        ensure!(log.contains(&format!("CN = {NAME}")), "{log}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn nginx_demands_a_certificate() -> Result<()> {
    for_every_key(|world, options| {
        let server = Nginx::start(&world.lab, options)?;
        server.publish("page.txt", b"a page")?;
        let page = world.visit("/page.txt")?.page;
        let log = server.access_log();
        ensure!(page.ends_with("a page") && log.contains(&format!("\"CN={NAME}\"")), "{page}, {log}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn gnutls_demands_a_certificate() -> Result<()> {
    for_every_key(|world, options| {
        let server = GnuTls::start(&world.lab, options, &["--http"])?;
        world.visit("/")?;
        let log = server.process.log();
        ensure!(log.contains(&format!("CN={NAME}")) && log.contains("The certificate is trusted"), "{log}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn python_demands_a_certificate() -> Result<()> {
    for_every_key(|world, options| {
        let _server = PythonTls::start(&world.lab, options)?;
        let page = world.visit("/")?.page;
        ensure!(page.contains(&format!("\"peer\": [[[\"commonName\", \"{NAME}\"]]]")), "{page}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn terminal_without_a_certificate_is_refused_by_name() -> Result<()> {
    harness::plain(|world| {
        let (leaf, anchor) = (world.leaf()?, world.pki.anchor_file());
        let options = PeerOptions { version: Some(Version::Tls12), clients: Some(anchor), ..PeerOptions::new(&leaf) };
        let server = OpenSsl::start(&world.lab, &options, &["-www"])?;
        let ended = world.attempt(&[TARGET])?;
        ended.assert_refused(PEER, "client-certificate-required", harness::PATIENCE);
        drop(server);
        // In TLS 1.3 the server says so when the session stands.
        let options = PeerOptions { version: Some(Version::Tls13), ..options };
        let _server = OpenSsl::start(&world.lab, &options, &["-www"])?;
        let ended = world.attempt(&[TARGET])?;
        ended.assert_refused(PEER, "certificate", harness::PATIENCE);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn rule_may_keep_the_certificate_back() -> Result<()> {
    let rules = format!("{DEFAULT_RULES}client_certificate = false\n");
    serving::with_rules(&rules, |world| {
        let (leaf, anchor) = (world.leaf()?, world.pki.anchor_file());
        let options = PeerOptions { version: Some(Version::Tls12), clients: Some(anchor), ..PeerOptions::new(&leaf) };
        let _server = OpenSsl::start(&world.lab, &options, &["-www"])?;
        world.attempt(&[TARGET])?.assert_refused(PEER, "client-certificate-required", harness::PATIENCE);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn signer_process_signs_for_client_and_server() -> Result<()> {
    with_signer(|world, signer| {
        // Started by another program, it is what it was started as.
        let status = std::fs::read_to_string(format!("/proc/{}/status", signer.process.id()))?;
        let uid = if signer.is_apart() { "Uid:\t65534\t65534\t65534\t65534" } else { "Uid:\t0\t0" };
        ensure!(status.contains(uid) && status.starts_with("Name:\tkeyferry"), "{status}");
        for key in KeyKind::ALL {
            enrol(world, key)?;
            both_roles(world).with_context(|| format!("{key:?}"))?;
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn signer_process_that_is_gone_is_named_and_comes_back() -> Result<()> {
    with_signer(|world, signer| {
        enrol(world, KeyKind::EcdsaP256)?;
        both_roles(world)?;
        signer.process.kill()?;
        let (leaf, anchor) = (world.leaf()?, world.pki.anchor_file());
        let server = Nginx::start(&world.lab, &PeerOptions { clients: Some(anchor), ..PeerOptions::new(&leaf) })?;
        world.attempt(&[TARGET])?.assert_refused(4, "signer-unavailable", harness::PATIENCE);
        drop(server);
        signer.restart(&world.lab)?;
        both_roles(world)?;
        // And when the gateway is the one that starts again.
        world.gateway.restart(&world.lab, false)?;
        both_roles(world)
    })
}

/// Runs a case against a server that demands the terminal's certificate, of each kind, in each version.
fn for_every_key(case: impl Fn(&World, &PeerOptions<'_>) -> Result<()>) -> Result<()> {
    harness::plain(|world| {
        let (leaf, anchor) = (world.leaf()?, world.pki.anchor_file());
        for key in KeyKind::ALL {
            enrol(world, key)?;
            for version in Version::ALL {
                let options = PeerOptions { version: Some(version), clients: Some(anchor), ..PeerOptions::new(&leaf) };
                case(world, &options).with_context(|| format!("{version:?} with a key of kind {key:?}"))?;
            }
        }
        Ok(())
    })
}

/// A new certificate in place of the last.
fn enrol(world: &World, key: KeyKind) -> Result<()> {
    let leaf = serving::certificate(world, LeafOptions { key, ..LeafOptions::new(&[]) })?;
    world.gateway.add_certificate(&world.lab, "sensor-1", &leaf, "default")
}

/// A page from a server that demands a certificate, and a page of the terminal for a client.
fn both_roles(world: &World) -> Result<()> {
    let (leaf, anchor) = (world.leaf()?, world.pki.anchor_file());
    for version in Version::ALL {
        let options = PeerOptions { version: Some(version), clients: Some(anchor), ..PeerOptions::new(&leaf) };
        let server = Nginx::start(&world.lab, &options)?;
        server.publish("page.txt", b"a page")?;
        let page = world.visit("/page.txt")?.page;
        ensure!(page.ends_with("a page"), "{page}");
    }
    let serving = Serving::page(world, &[])?;
    serving::fetch(world, Client::OpenSsl, &serving::asking(anchor))?;
    drop(serving);
    Ok(())
}

fn with_signer(case: impl FnOnce(&mut World, &mut Signer) -> Result<()>) -> Result<()> {
    let lab = Lab::new(LabOptions::PLAIN)?;
    let pki = Pki::new(lab.directory())?;
    let binaries = Binaries::beside_this_program()?;
    let mut signer = Signer::start(&lab, &binaries)?;
    let rules = format!("{DEFAULT_RULES}{}", OPEN.replace("[trust.lab]\nanchors = [\"pki/root.pem\"]\n", ""));
    let socket = signer.socket().to_owned();
    let options = GatewayOptions { rules: &rules, signer: Some(&socket), ..GatewayOptions::default() };
    let gateway = Gateway::start(&lab, &pki, &binaries, options)?;
    let agent = gateway.add_terminal(&lab, "sensor-1", Host::Terminal)?;
    let mut world = World { agent, gateway, pki, lab };
    harness::show_logs(case(&mut world, &mut signer), &world.lab)
}
