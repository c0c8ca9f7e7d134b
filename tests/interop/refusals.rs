//! What goes wrong with the peer: the terminal learns the reason and whose fault it is, in time; the peer gets
//! the right alert; no key leaves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use xtask::lab::{
    DEFAULT_RULES, GatewayOptions, GnuTls, Host, Issuer, LabOptions, LeafOptions, Nginx, OpenSsl, PeerOptions,
    RustlsOptions, RustlsPeer, SERVER_NAME, Validity, Version,
};

use crate::harness::{self, PATIENCE, TARGET, World};
use crate::link_traffic::AES_128;

/// Exit code of the agent when the peer does not fit or misbehaves.
const PEER: i32 = 3;

const AT_ONCE: Duration = Duration::from_secs(3);

#[test]
#[ignore = "needs network namespaces"]
fn certificate_of_an_unknown_ca() -> Result<()> {
    let options = LeafOptions { issuer: Issuer::Stranger, ..LeafOptions::new(&[SERVER_NAME]) };
    assert_certificate_refused(&options, "certificate-unknown-ca", "alert unknown ca")
}

#[test]
#[ignore = "needs network namespaces"]
fn expired_certificate() -> Result<()> {
    let options = LeafOptions { validity: Validity::Expired, ..LeafOptions::new(&[SERVER_NAME]) };
    assert_certificate_refused(&options, "certificate-expired", "alert certificate expired")
}

#[test]
#[ignore = "needs network namespaces"]
fn certificate_that_is_not_valid_yet() -> Result<()> {
    let options = LeafOptions { validity: Validity::NotYet, ..LeafOptions::new(&[SERVER_NAME]) };
    assert_certificate_refused(&options, "certificate-not-yet-valid", "alert certificate expired")
}

#[test]
#[ignore = "needs network namespaces"]
fn certificate_for_another_name() -> Result<()> {
    let options = LeafOptions::new(&["other.example"]);
    assert_certificate_refused(&options, "certificate-name-mismatch", "alert bad certificate")
}

#[test]
#[ignore = "needs network namespaces"]
fn openssl_that_speaks_tls_1_2_only_to_a_terminal_that_does_not() -> Result<()> {
    harness::plain(|world| {
        let leaf = world.leaf()?;
        let options = PeerOptions { version: Some(Version::Tls12), ..PeerOptions::new(&leaf) };
        let mut server = OpenSsl::start(&world.lab, &options, &["-www"])?;
        assert_refused(world, &[TARGET, "--tls13-only"], "peer-version")?;
        server.process.wait_for_log("unsupported protocol", PATIENCE)
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn nginx_that_speaks_tls_1_2_only_to_a_terminal_that_does_not() -> Result<()> {
    harness::plain(|world| {
        let leaf = world.leaf()?;
        let _server =
            Nginx::start(&world.lab, &PeerOptions { version: Some(Version::Tls12), ..PeerOptions::new(&leaf) })?;
        assert_refused(world, &[TARGET, "--tls13-only"], "peer-version")
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn policy_that_allows_tls_1_3_only() -> Result<()> {
    let rules = format!("{DEFAULT_RULES}tls_versions = [\"1.3\"]\n");
    let options = GatewayOptions { rules: &rules, ..GatewayOptions::default() };
    harness::with(LabOptions::PLAIN, options, |world| {
        let leaf = world.leaf()?;
        let _server =
            Nginx::start(&world.lab, &PeerOptions { version: Some(Version::Tls12), ..PeerOptions::new(&leaf) })?;
        assert_refused(world, &[TARGET], "peer-version")
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn peer_without_extended_master_secret() -> Result<()> {
    for openssl in [true, false] {
        harness::plain(|world| {
            let leaf = world.leaf()?;
            let options =
                PeerOptions { version: Some(Version::Tls12), extended_master_secret: false, ..PeerOptions::new(&leaf) };
            let _server = if openssl {
                OpenSsl::start(&world.lab, &options, &["-www"])?.process
            } else {
                GnuTls::start(&world.lab, &options, &["--http"])?.process
            };
            assert_refused(world, &[TARGET], "no-extended-master-secret")
        })?;
    }
    Ok(())
}

#[test]
#[ignore = "needs network namespaces"]
fn peer_without_a_common_cipher_suite() -> Result<()> {
    let options = GatewayOptions { rules: AES_128, ..GatewayOptions::default() };
    harness::with(LabOptions::PLAIN, options, |world| {
        let chacha = RustlsOptions { cipher_suites: vec![0x1303], ..RustlsOptions::default() };
        let server = RustlsPeer::start(&world.lab, &world.leaf()?, chacha)?;
        assert_refused(world, &[TARGET], "no-common-suite")?;
        assert!(server.failures().concat().contains("NoCipherSuitesInCommon"), "{:?}", server.failures());
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn peer_without_a_common_application_protocol() -> Result<()> {
    harness::plain(|world| {
        let h2 = RustlsOptions { alpn: vec![b"h2".to_vec()], ..RustlsOptions::default() };
        let _server = RustlsPeer::start(&world.lab, &world.leaf()?, h2)?;
        assert_refused(world, &[TARGET, "--alpn", "http/1.1"], "no-common-alpn")
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn peer_that_refuses_the_connection() -> Result<()> {
    harness::plain(|world| assert_refused(world, &[TARGET], "peer-refused"))
}

#[test]
#[ignore = "needs network namespaces"]
fn peer_that_is_not_there() -> Result<()> {
    let rules = DEFAULT_RULES.replace("\"10.7.2.2\", \"fd07:2::2\"", "\"10.7.2.99\"");
    let options = GatewayOptions { rules: &rules, limits: "handshake_seconds = 5", ..GatewayOptions::default() };
    harness::with(LabOptions::PLAIN, options, |world| {
        world.attempt(&[TARGET])?.assert_refused(PEER, "peer-unreachable", Duration::from_secs(7));
        assert_failed(world, "peer-unreachable")
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn peer_that_closes_in_the_handshake() -> Result<()> {
    harness::plain(|world| {
        serve_rudely(world, drop)?;
        assert_refused(world, &[TARGET], "peer-closed")
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn peer_that_does_not_speak_tls() -> Result<()> {
    harness::plain(|world| {
        serve_rudely(world, |mut stream| {
            // Whether the gateway still listens is not the peer's concern.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = stream.read_to_end(&mut Vec::new());
        })?;
        assert_refused(world, &[TARGET], "peer-malformed")
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn peer_that_stalls_within_a_record() -> Result<()> {
    let options = GatewayOptions { limits: "handshake_seconds = 2", ..GatewayOptions::default() };
    harness::with(LabOptions::PLAIN, options, |world| {
        serve_rudely(world, |mut stream| {
            let _ = stream.write_all(&[22, 3, 3, 0, 100, 2, 0, 0]);
            let _ = stream.read_to_end(&mut Vec::new());
        })?;
        let ended = world.attempt(&[TARGET])?;
        ended.assert_refused(PEER, "peer-stalled", Duration::from_secs(4));
        assert!(ended.took > Duration::from_secs(2), "{ended:?}");
        assert_failed(world, "peer-stalled")
    })
}

/// By a server of either version.
fn assert_certificate_refused(leaf: &LeafOptions<'_>, reason: &str, alert: &str) -> Result<()> {
    for version in Version::ALL {
        harness::plain(|world| {
            let leaf = world.pki.leaf(leaf)?;
            let options = PeerOptions { version: Some(version), ..PeerOptions::new(&leaf) };
            let mut server = OpenSsl::start(&world.lab, &options, &["-www"])?;
            assert_refused(world, &[TARGET], reason)?;
            server.process.wait_for_log(alert, PATIENCE)
        })?;
    }
    Ok(())
}

fn assert_refused(world: &World, arguments: &[&str], reason: &str) -> Result<()> {
    world.attempt(arguments)?.assert_refused(PEER, reason, AT_ONCE);
    assert_failed(world, reason)
}

/// The one handshake that the gateway counted failed for this reason.
fn assert_failed(world: &World, reason: &str) -> Result<()> {
    let stats = world.gateway.stats(&world.lab)?;
    let handshakes = stats["handshakes"].as_array().cloned().unwrap_or_default();
    assert_eq!(handshakes.len(), 1, "{stats}");
    assert_eq!(stats.pointer("/handshakes/0/cause"), Some(&reason.into()), "{stats}");
    assert_eq!(stats.pointer("/handshakes/0/count"), Some(&1.into()), "{stats}");
    Ok(())
}

/// A TCP server on port 443 of the peer that treats the first caller like this, once it has said something.
fn serve_rudely(world: &World, treatment: impl FnOnce(TcpStream) + Send + 'static) -> Result<()> {
    let address = SocketAddr::new(Host::Peer.ipv4().into(), 443);
    let listener = world.lab.enter(Host::Peer, || std::net::TcpListener::bind(address))??;
    thread::spawn(move || {
        if let Ok((mut stream, _)) = listener.accept()
            && stream.read(&mut [0; 4096]).is_ok()
        {
            treatment(stream);
        }
    });
    Ok(())
}
