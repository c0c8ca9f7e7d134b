//! Every server with every kind of certificate.

use anyhow::{Context, Result};
use xtask::lab::{
    GnuTls, KeyKind, LeafOptions, Nginx, OpenSsl, PeerOptions, PythonTls, RustlsOptions, RustlsPeer, SERVER_NAME,
};

use crate::harness::{self, TARGET, World};

#[test]
#[ignore = "needs network namespaces"]
fn openssl_shows_its_status_page() -> Result<()> {
    for_every_key(|world, options| {
        let _server = OpenSsl::start(&world.lab, options, &["-www"])?;
        expect_in_page(world, "/", "Cipher is TLS_AES")
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn nginx_serves_a_page() -> Result<()> {
    for_every_key(|world, options| {
        let server = Nginx::start(&world.lab, options)?;
        server.publish("page.txt", b"a page")?;
        expect_in_page(world, "/page.txt", "a page")
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn gnutls_shows_its_status_page() -> Result<()> {
    for_every_key(|world, options| {
        let _server = GnuTls::start(&world.lab, options, &["--http"])?;
        expect_in_page(world, "/", "TLS1.3")
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn python_reports_the_connection() -> Result<()> {
    for_every_key(|world, options| {
        let _server = PythonTls::start(&world.lab, options)?;
        expect_in_page(world, "/", "\"client\": \"10.7.1.2\"")
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn data_in_the_flight_of_finished_and_key_updates_arrive() -> Result<()> {
    for_every_key(|world, options| {
        let behaviour = RustlsOptions {
            greeting: b"early bird".to_vec(),
            key_update_every: Some(1000),
            ..RustlsOptions::default()
        };
        let _server = RustlsPeer::start(&world.lab, options.leaf, behaviour)?;
        let mut pipe = world.agent.connect(&world.lab, TARGET)?;
        assert_eq!(pipe.read(10)?, b"early bird");
        for round in 0..20_u8 {
            let piece = vec![round; 999];
            pipe.write(&piece)?;
            assert_eq!(pipe.read(piece.len())?, piece);
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn hello_retry_request_is_followed() -> Result<()> {
    harness::plain(|world| {
        let leaf = world.leaf()?;
        let options = PeerOptions { groups: Some("P-384"), ..PeerOptions::new(&leaf) };
        let _server = OpenSsl::start(&world.lab, &options, &["-www"])?;
        expect_in_page(world, "/", "secp384r1")
    })
}

/// Runs a case against a server with each kind of key, one after the other in one lab.
fn for_every_key(case: impl Fn(&World, &PeerOptions<'_>) -> Result<()>) -> Result<()> {
    harness::plain(|world| {
        for key in KeyKind::ALL {
            let leaf = world.pki.leaf(&LeafOptions { key, ..LeafOptions::new(&[SERVER_NAME]) })?;
            case(world, &PeerOptions::new(&leaf)).with_context(|| format!("with a certificate of kind {key:?}"))?;
        }
        Ok(())
    })
}

fn expect_in_page(world: &World, path: &str, wanted: &str) -> Result<()> {
    let answer = world.agent.get(&world.lab, TARGET, path)?;
    let page = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(page.contains(wanted), "{}\n{page}", answer.head);
    Ok(())
}
