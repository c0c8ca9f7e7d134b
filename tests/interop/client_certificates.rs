//! A terminal's service that demands client certificates: every client with a good one gets in, and every bad one is
//! refused by the right alert, and by name.

use anyhow::{Context, Result};
use xtask::lab::{Client, ClientOptions, Issuer, KeyKind, LeafOptions, Validity, Version};

use crate::harness::World;
use crate::serving::{self, Alert, PROVED, Serving};

const WHO: &str = "client-7.example";

/// Only some of those that the authority knows.
const NAMED: &str = r#"
[trust.lab]
anchors = ["pki/root.pem"]
[[service]]
terminals = ["*"]
ports = [8443]
clients = "lab"
client_names = ["client-7.example"]
"#;

#[test]
#[ignore = "needs network namespaces"]
fn good_certificate_of_every_kind_is_let_in() -> Result<()> {
    serving::with_rules(PROVED, |world| {
        let serving = Serving::page(world, &[])?;
        let mut visits = 0;
        for key in KeyKind::ALL {
            let leaf = world.pki.leaf(&LeafOptions { key, ..LeafOptions::client(&[WHO]) })?;
            for version in Version::ALL {
                for client in Client::ALL {
                    let options = serving::asking(world.pki.anchor_file());
                    let options = ClientOptions { version: Some(version), certificate: Some(&leaf), ..options };
                    serving::fetch(world, client, &options).with_context(|| format!("{version:?} {key:?}"))?;
                    visits += 1;
                }
            }
        }
        let log = serving.agent.log();
        let wanted = format!("which proved to be {WHO}");
        assert_eq!(log.matches(&wanted).count(), visits, "{log}");
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn no_certificate() -> Result<()> {
    serving::with_rules(PROVED, |world| {
        let _serving = Serving::page(world, &[])?;
        for client in Client::ALL {
            for version in Version::ALL {
                let options = serving::asking(world.pki.anchor_file());
                let options = ClientOptions { version: Some(version), ..options };
                let alert = serving::certificate_required(version);
                serving::assert_refused(world, client, &options, alert, "client-certificate-required")
                    .with_context(|| format!("{version:?}"))?;
            }
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn expired_certificate() -> Result<()> {
    let leaf = LeafOptions { validity: Validity::Expired, ..LeafOptions::client(&[WHO]) };
    let alert = Alert { openssl: "certificate expired", number: 45 };
    assert_refused(PROVED, &Client::ALL, &leaf, alert, "certificate-expired")
}

#[test]
#[ignore = "needs network namespaces"]
fn certificate_that_is_not_valid_yet() -> Result<()> {
    let leaf = LeafOptions { validity: Validity::NotYet, ..LeafOptions::client(&[WHO]) };
    let alert = Alert { openssl: "certificate expired", number: 45 };
    assert_refused(PROVED, &Client::ALL, &leaf, alert, "certificate-not-yet-valid")
}

#[test]
#[ignore = "needs network namespaces"]
fn stranger() -> Result<()> {
    let leaf = LeafOptions { issuer: Issuer::Stranger, ..LeafOptions::client(&[WHO]) };
    let alert = Alert { openssl: "unknown ca", number: 48 };
    // gnutls-cli does not even show one of an authority that was not asked for.
    let clients = [Client::OpenSsl, Client::Curl, Client::Python];
    assert_refused(PROVED, &clients, &leaf, alert, "certificate-unknown-ca")
}

#[test]
#[ignore = "needs network namespaces"]
fn server_s_certificate() -> Result<()> {
    let alert = Alert { openssl: "unsupported certificate", number: 43 };
    assert_refused(PROVED, &[Client::OpenSsl, Client::Python], &LeafOptions::new(&[WHO]), alert, "certificate-invalid")
}

#[test]
#[ignore = "needs network namespaces"]
fn certificate_that_policy_does_not_name() -> Result<()> {
    serving::with_rules(NAMED, |world| {
        let _serving = Serving::page(world, &[])?;
        let good = world.pki.leaf(&LeafOptions::client(&[WHO]))?;
        let other = world.pki.leaf(&LeafOptions::client(&["client-8.example"]))?;
        let alert = Alert { openssl: "access denied", number: 49 };
        for client in Client::ALL {
            let options = serving::asking(world.pki.anchor_file());
            serving::fetch(world, client, &ClientOptions { certificate: Some(&good), ..options.clone() })?;
            let options = ClientOptions { certificate: Some(&other), ..options };
            serving::assert_refused(world, client, &options, alert, "client-not-allowed")?;
        }
        Ok(())
    })
}

/// In both versions.
fn assert_refused(rules: &str, clients: &[Client], leaf: &LeafOptions<'_>, alert: Alert, cause: &str) -> Result<()> {
    serving::with_rules(rules, |world: &mut World| {
        let _serving = Serving::page(world, &[])?;
        let leaf = world.pki.leaf(leaf)?;
        for client in clients {
            for version in Version::ALL {
                let options = serving::asking(world.pki.anchor_file());
                let options = ClientOptions { version: Some(version), certificate: Some(&leaf), ..options };
                serving::assert_refused(world, *client, &options, alert, cause)
                    .with_context(|| format!("{version:?}"))?;
            }
        }
        Ok(())
    })
}
