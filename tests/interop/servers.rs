//! Every server with every kind of certificate, in both versions of TLS. Each says itself who called: the terminal,
//! by address and port.

use anyhow::{Context, Result};
use xtask::lab::{
    GnuTls, Host, KeyKind, LeafOptions, Nginx, OpenSsl, PeerOptions, PythonTls, RustlsOptions, RustlsPeer, SERVER_NAME,
    Version,
};

use crate::harness::{self, Visit, World};

#[test]
#[ignore = "needs network namespaces"]
fn openssl_shows_its_status_page() -> Result<()> {
    for_every_key(&Version::ALL, |world, options| {
        // It logs no addresses: its kernel says where the connection came from.
        let _server = OpenSsl::start(&world.lab, options, &["-www"])?;
        let page = visit(world, "/")?.page;
        let version = options.version.map(Version::openssl_name).unwrap_or_default();
        assert!(page.contains(&format!("New, {version}, Cipher is")), "{page}");
        assert!(page.contains("GCM_SHA") || page.contains("GCM-SHA"), "{page}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn nginx_serves_a_page() -> Result<()> {
    for_every_key(&Version::ALL, |world, options| {
        let server = Nginx::start(&world.lab, options)?;
        server.publish("page.txt", b"a page")?;
        let visit = visit(world, "/page.txt")?;
        assert!(visit.page.ends_with("a page"), "{}", visit.page);
        assert_logged(&server.access_log(), &format!("{} \"GET /page.txt", visit.source));
        assert_logged(&server.access_log(), options.version.map(Version::openssl_name).unwrap_or_default());
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn gnutls_shows_its_status_page() -> Result<()> {
    for_every_key(&Version::ALL, |world, options| {
        let server = GnuTls::start(&world.lab, options, &["--http"])?;
        let visit = visit(world, "/")?;
        assert_logged(&visit.page, options.version.map(Version::gnutls_name).unwrap_or_default());
        let (address, port) = (visit.source.ip(), visit.source.port());
        assert_logged(&server.process.log(), &format!("{address} port {port}"));
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn python_reports_the_connection() -> Result<()> {
    for_every_key(&Version::ALL, |world, options| {
        let _server = PythonTls::start(&world.lab, options)?;
        let Visit { source, page, .. } = visit(world, "/")?;
        assert_logged(&page, &format!("\"client\": \"{}\", \"port\": {}", source.ip(), source.port()));
        let version = options.version.map(Version::openssl_name).unwrap_or_default();
        assert_logged(&page, &format!("\"version\": \"{version}\""));
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn rustls_sends_data_in_the_flight_of_its_finished() -> Result<()> {
    for_every_key(&[Version::Tls13], |world, options| {
        let behaviour = RustlsOptions { greeting: b"early bird".to_vec(), ..RustlsOptions::default() };
        let server = RustlsPeer::start(&world.lab, options.leaf, behaviour)?;
        let (mut pipe, source, _) = world.session()?;
        assert_eq!(pipe.read(10)?, b"early bird");
        pipe.write(b"the worm")?;
        assert_eq!(pipe.read(8)?, b"the worm");
        pipe.finish()?;
        assert_eq!(server.clients(), [source]);
        assert_eq!(server.failures(), [""; 0]);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn hello_retry_request_is_followed() -> Result<()> {
    harness::plain(|world| {
        let leaf = world.leaf()?;
        let options = PeerOptions { groups: Some("P-384"), ..PeerOptions::new(&leaf) };
        let server = OpenSsl::start(&world.lab, &options, &["-www", "-msg"])?;
        let page = visit(world, "/")?.page;
        assert!(page.contains("secp384r1"), "{page}");
        let hellos = server.process.log().matches(", ClientHello").count();
        assert_eq!(hellos, 2, "{}", server.process.log());
        Ok(())
    })
}

/// Runs a case against a server with each kind of key in each version, one after the other in one lab.
fn for_every_key(versions: &[Version], case: impl Fn(&World, &PeerOptions<'_>) -> Result<()>) -> Result<()> {
    harness::plain(|world| {
        for key in KeyKind::ALL {
            let leaf = world.pki.leaf(&LeafOptions { key, ..LeafOptions::new(&[SERVER_NAME]) })?;
            for &version in versions {
                let options = PeerOptions { version: Some(version), ..PeerOptions::new(&leaf) };
                case(world, &options).with_context(|| format!("{version:?} with a certificate of kind {key:?}"))?;
            }
        }
        Ok(())
    })
}

/// Fetches a page; the peer's kernel must see the terminal's own address and port.
fn visit(world: &World, path: &str) -> Result<Visit> {
    let visit = world.visit(path)?;
    assert_eq!(visit.source.ip(), Host::Terminal.ipv4());
    assert_eq!(visit.seen_by_peer, visit.source);
    Ok(visit)
}

fn assert_logged(log: &str, wanted: &str) {
    assert!(log.contains(wanted), "{wanted:?} is not in:\n{log}");
}
