//! What clients may ask for in their hello, and what the terminal's certificate and policy make of it.

use anyhow::{Result, ensure};
use xtask::lab::{Client, ClientOptions, GnuTls, Host, KeyKind, LeafOptions, PeerOptions, SERVER_NAME, Version};

use crate::harness::World;
use crate::serving::{self, Alert, NAME, OPEN, Serving};

/// Protocols of the terminal's service.
const ALPN: &str = r#"
[trust.lab]
anchors = ["pki/root.pem"]
[[service]]
terminals = ["*"]
ports = [8443]
alpn = ["h2", "http/1.1"]
"#;

#[test]
#[ignore = "needs network namespaces"]
fn name_that_nobody_has_is_refused() -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let _serving = Serving::page(world, &[])?;
        let alert = Alert { openssl: "unrecognized name", number: 112 };
        for_all(world, &Client::ALL, |client, options| {
            let options = ClientOptions { name: Some("other.example"), ..options };
            serving::assert_refused(world, client, &options, alert, "no-certificate")
        })
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn certificate_is_chosen_by_name_and_by_what_the_client_can_verify() -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let second = LeafOptions { key: KeyKind::Ed25519, ..LeafOptions::new(&["second.example"]) };
        let rsa = LeafOptions { key: KeyKind::Rsa, ..LeafOptions::new(&[NAME]) };
        for (name, options) in [("second", second), ("rsa", rsa)] {
            let leaf = world.pki.leaf(&options)?;
            world.gateway.add_certificate(&world.lab, "sensor-1", &leaf, name)?;
        }
        let _serving = Serving::page(world, &[])?;
        let cases = [
            (NAME, "ECDSA+SHA256", "Peer signature type: ECDSA"),
            (NAME, "RSA-PSS+SHA256:RSA+SHA256:ECDSA+SHA384", "Peer signature type: RSA-PSS"),
            ("second.example", "ed25519:ECDSA+SHA256", "Peer signature type: ed25519"),
        ];
        for version in Version::ALL {
            for (name, algorithms, wanted) in cases {
                let options = serving::asking(world.pki.anchor_file());
                let options = ClientOptions { name: Some(name), version: Some(version), ..options };
                let fetched = Client::OpenSsl.fetch_with(&world.lab, &options, &["-sigalgs", algorithms])?;
                ensure!(fetched.page.contains(serving::PAGE) && fetched.page.contains(wanted), "{wanted}: {fetched:?}");
            }
        }
        // None of them does for a client that verifies Ed25519 alone and asks for the first.
        let options = serving::asking(world.pki.anchor_file());
        let fetched = Client::OpenSsl.fetch_with(&world.lab, &options, &["-sigalgs", "ed25519"])?;
        ensure!(!fetched.success && fetched.said.contains("handshake failure"), "{fetched:?}");
        assert_eq!(serving::failures(world, "no-common-signature")?, 1);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn application_protocol_is_what_both_speak() -> Result<()> {
    serving::with_rules(ALPN, |world| {
        let serving = Serving::page(world, &["--alpn", "http/1.1"])?;
        let chosen = [
            (Client::OpenSsl, "ALPN protocol: http/1.1"),
            (Client::Curl, "server accepted http/1.1"),
            (Client::GnuTls, "Application protocol: http/1.1"),
            (Client::Python, "\"alpn\": \"http/1.1\""),
        ];
        for (client, words) in chosen {
            for version in Version::ALL {
                let options = serving::asking(world.pki.anchor_file());
                let options = ClientOptions { version: Some(version), alpn: &["h2", "http/1.1"], ..options };
                let fetched = serving::fetch(world, client, &options)?;
                let text = fetched.page + &fetched.said;
                ensure!(text.contains(words), "{client:?} does not say {words}: {text}");
            }
        }
        // Who does not ask gets none.
        serving::fetch(world, Client::OpenSsl, &serving::asking(world.pki.anchor_file()))?;
        drop(serving);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn application_protocol_that_the_terminal_does_not_speak_is_refused() -> Result<()> {
    serving::with_rules(ALPN, |world| {
        let _serving = Serving::page(world, &["--alpn", "http/1.1"])?;
        let alert = Alert { openssl: "no application protocol", number: 120 };
        for_all(world, &[Client::OpenSsl, Client::GnuTls, Client::Python], |client, options| {
            let options = ClientOptions { alpn: &["h2"], ..options };
            serving::assert_refused(world, client, &options, alert, "no-common-alpn")
        })
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn hello_retry_request_is_followed_by_the_client() -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let _serving = Serving::page(world, &[])?;
        let options = serving::asking(world.pki.anchor_file());
        // A key share of P-521 comes first, which the gateway does not do.
        let options = ClientOptions { groups: Some("P-521:P-384"), ..options };
        let fetched = Client::OpenSsl.fetch_with(&world.lab, &options, &["-msg"])?;
        ensure!(fetched.page.contains(serving::PAGE), "{fetched:?}");
        assert_eq!(fetched.page.matches(", ClientHello").count(), 2, "{}", fetched.page);
        assert!(fetched.page.contains("secp384r1") || fetched.page.contains("P-384"), "{}", fetched.page);
        // In its own words; curl sends a key share of its first group as well.
        for client in [Client::Curl, Client::GnuTls] {
            serving::fetch(world, client, &options)?;
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn client_without_extended_master_secret_is_refused() -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let _serving = Serving::page(world, &[])?;
        let alert = Alert { openssl: "handshake failure", number: 40 };
        for client in [Client::OpenSsl, Client::GnuTls] {
            let options = serving::asking(world.pki.anchor_file());
            let options = ClientOptions { version: Some(Version::Tls12), extended_master_secret: false, ..options };
            serving::assert_refused(world, client, &options, alert, "no-extended-master-secret")?;
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn terminal_that_speaks_tls_1_3_only_refuses_tls_1_2() -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let _serving = Serving::page(world, &["--tls13-only"])?;
        let alert = Alert { openssl: "protocol version", number: 70 };
        for_all(world, &Client::ALL, |client, options| {
            let old = ClientOptions { version: Some(Version::Tls12), ..options.clone() };
            serving::assert_refused(world, client, &old, alert, "peer-version")?;
            serving::fetch(world, client, &options).map(|_| ())
        })
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn early_data_is_refused_and_the_client_goes_on() -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let _serving = Serving::page(world, &[])?;
        let file = |name: &str| world.lab.directory().join(name).to_string_lossy().into_owned();
        let (session, early) = (file("session.pem"), file("early"));
        std::fs::write(&early, "GET /early HTTP/1.1\r\nHost: early\r\n\r\n")?;
        // A server that does take early data issues the ticket, which the gateway does not know.
        let leaf = world.leaf()?;
        let options = PeerOptions { version: Some(Version::Tls13), ..PeerOptions::new(&leaf) };
        let _other = GnuTls::start(&world.lab, &options, &["--http", "--earlydata", "--maxearlydata=4096"])?;
        let target = (Host::Peer.ipv4(), 443).into();
        let options = ClientOptions::new(world.pki.anchor_file(), target, SERVER_NAME);
        Client::OpenSsl.fetch_with(&world.lab, &options, &["-sess_out", &session])?;
        let again = ["-sess_in", &session, "-early_data", &early];
        let fetched = Client::OpenSsl.fetch_with(&world.lab, &options, &again)?;
        ensure!(fetched.page.contains("Early data was accepted"), "this test sends none: {fetched:?}");

        let options = serving::asking(world.pki.anchor_file());
        let fetched = Client::OpenSsl.fetch_with(&world.lab, &options, &again)?;
        ensure!(fetched.page.contains("Early data was rejected"), "{fetched:?}");
        ensure!(fetched.page.contains(serving::PAGE) && fetched.page.contains("New, TLSv1.3"), "{fetched:?}");
        Ok(())
    })
}

fn for_all(world: &World, clients: &[Client], case: impl Fn(Client, ClientOptions<'_>) -> Result<()>) -> Result<()> {
    clients.iter().try_for_each(|client| case(*client, serving::asking(world.pki.anchor_file())))
}
