//! A terminal on another CoAP and OSCORE stack: aiocoap_terminal, written from PROTOCOL.md and keyferry.cddl alone.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use xtask::lab::{Host, Nginx, OpenSsl, PeerOptions, RustlsOptions, RustlsPeer, finish, workspace};

use crate::harness::{self, World};

#[test]
#[ignore = "needs network namespaces and Python with aiocoap"]
fn twenty_sessions_over_four_epochs() -> Result<()> {
    harness::plain(|world| {
        let nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
        nginx.publish("page.txt", b"a page")?;
        // The terminal advances by itself before its third session, the gateway after eight hand-overs each.
        let report = run_terminal(
            world,
            &["--path=/page.txt", "--alpn=h3", "--alpn=http/1.1", "--sessions=20", "--advance-before=2"],
        )?;
        assert_eq!(at(&report, "/pages"), Value::from(vec!["a page"; 20]), "{report}");
        let epochs: Vec<u32> = [vec![0; 2], vec![1; 8], vec![2; 8], vec![3; 2]].concat();
        assert_eq!(at(&report, "/epochs"), Value::from(epochs), "{report}");
        assert_eq!(at(&report, "/counts/started"), 1, "{report}");
        assert_eq!(at(&report, "/counts/confirmed"), 1, "{report}");
        assert_eq!(at(&report, "/counts/followed"), 2, "{report}");
        assert_eq!(at(&report, "/validated/session-push"), 20, "{report}");
        assert_eq!(delivered(world)?, 20);
        let own = format!("{}:", Host::Terminal.ipv4());
        assert_eq!(nginx.access_log().lines().filter(|line| line.starts_with(&own)).count(), 20);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces and Python with aiocoap"]
fn refusals_are_understood() -> Result<()> {
    harness::plain(|world| {
        // Nothing listens on the server's port 443.
        let report = run_terminal(
            world,
            &["--refused=other.example:443", "--refused=server.example:444", "--refused=server.example:443"],
        )?;
        let expected = serde_json::json!([
            {"code": "4.03", "reason": 401},
            {"code": "4.03", "reason": 402},
            {"code": "push", "reason": 503},
        ]);
        assert_eq!(at(&report, "/refusals"), expected, "{report}");
        assert_eq!(delivered(world)?, 0);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces and Python with aiocoap"]
fn keys_of_a_peer_that_the_terminal_does_not_want_are_refused() -> Result<()> {
    harness::plain(|world| {
        let _nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
        let report = run_terminal(world, &["--refused=server.example:443", "--wanted-name=other.example"])?;
        assert_eq!(at(&report, "/refusals"), serde_json::json!([{"code": "own", "reason": 303}]), "{report}");
        let stats = world.gateway.stats(&world.lab)?;
        assert_eq!(at(&stats, "/handshakes/0/cause"), "not-acknowledged", "{stats}");
        assert_eq!(delivered(world)?, 0);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces and Python with aiocoap"]
fn either_side_may_lose_its_memory() -> Result<()> {
    harness::plain(|world| {
        let nginx = Nginx::start(&world.lab, &PeerOptions::new(&world.leaf()?))?;
        nginx.publish("page.txt", b"a page")?;
        let arguments = ["--path=/page.txt", "--sessions=3"];
        let first = run_terminal(world, &arguments)?;
        assert_eq!(at(&first, "/counts/challenges_sent"), 0, "{first}");
        assert_eq!(at(&first, "/counts/challenges_answered"), 1, "{first}");
        let second = run_terminal(world, &arguments)?;
        assert_eq!(at(&second, "/counts/challenges_sent"), 1, "{second}");
        assert_eq!(at(&second, "/counts/challenges_answered"), 0, "{second}");
        assert_eq!(delivered(world)?, 6);
        world.gateway.restart(&world.lab, true)?;
        let third = run_terminal(world, &arguments)?;
        assert_eq!(at(&third, "/counts/challenges_answered"), 1, "{third}");
        assert_eq!(at(&third, "/counts/followed"), 1, "a restarted gateway starts an epoch: {third}");
        assert_eq!(at(&third, "/pages"), Value::from(vec!["a page"; 3]), "{third}");
        assert_eq!(delivered(world)?, 3);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces and Python with aiocoap"]
fn long_request_goes_block_wise_and_keys_are_updated() -> Result<()> {
    harness::plain(|world| {
        let greeting = vec![b'g'; 3000];
        let leaf = world.leaf()?;
        let behaviour = RustlsOptions {
            greeting: greeting.clone(),
            key_update_every: Some(1000),
            alpn: vec![b"http/1.1".to_vec()],
            ..RustlsOptions::default()
        };
        let _server = RustlsPeer::start(&world.lab, &leaf, behaviour)?;
        // Together they make a request of more than 3000 bytes.
        let unknown: Vec<String> = (0..15).map(|number| format!("--alpn={number:0200}")).collect();
        let mut arguments: Vec<&str> = unknown.iter().map(String::as_str).collect();
        arguments.extend(["--alpn=http/1.1", "--greeting=3000", "--echoed=5000"]);
        let report = run_terminal(world, &arguments)?;
        assert_eq!(at(&report, "/greetings"), Value::from(vec![String::from_utf8(greeting)?]), "{report}");
        assert!(at(&report, "/largest_request").as_u64() > Some(3000), "{report}");
        assert!(at(&report, "/key_updates").as_u64() > Some(0), "{report}");
        assert_eq!(delivered(world)?, 1);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces and Python with aiocoap"]
fn every_cipher_suite_of_openssl_works() -> Result<()> {
    harness::plain(|world| {
        for suite in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] {
            let leaf = world.leaf()?;
            let _server = OpenSsl::start(&world.lab, &PeerOptions::new(&leaf), &["-www", "-ciphersuites", suite])?;
            let report = run_terminal(world, &["--sessions=1"])?;
            let page = at(&report, "/pages/0");
            assert!(page.as_str().is_some_and(|page| page.contains(&format!("Cipher is {suite}"))), "{page}");
        }
        assert_eq!(delivered(world)?, 3);
        Ok(())
    })
}

#[test]
#[ignore = "needs Python with aiocoap"]
fn documents_agree() -> Result<()> {
    let mut command = Command::new(python()?);
    command.arg(directory().join("check_documents.py"));
    command.arg(workspace().join("channel/PROTOCOL.md")).arg(workspace().join("channel/keyferry.cddl"));
    let said = finish(command.env("PYTHONDONTWRITEBYTECODE", "1"))?;
    assert_eq!(said, "16 samples are what the CDDL says\nkeys are derived as the document says\n");
    Ok(())
}

/// Runs the terminal to its end. What it must remember is kept for its next run in the same world.
fn run_terminal(world: &World, arguments: &[&str]) -> Result<Value> {
    let config = world.agent.config();
    let mut command = world.lab.command(Host::Terminal, python()?);
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(directory());
    command.arg("--config").arg(config);
    command.arg("--state").arg(config.with_extension("aiocoap"));
    command.arg("--cddl").arg(workspace().join("channel/keyferry.cddl"));
    let said = finish(command.args(arguments))?;
    serde_json::from_str(&said).with_context(|| format!("the terminal said {said}"))
}

fn delivered(world: &World) -> Result<u64> {
    let stats = world.gateway.stats(&world.lab)?;
    at(&stats, "/sessions/delivered").as_u64().with_context(|| format!("no sessions in {stats}"))
}

/// A value of a report; null where there is none.
fn at(report: &Value, pointer: &str) -> Value {
    report.pointer(pointer).cloned().unwrap_or_default()
}

fn directory() -> PathBuf {
    workspace().join("tests/interop/aiocoap_terminal")
}

/// The Python that has what requirements.txt names.
fn python() -> Result<PathBuf> {
    let set = std::env::var_os("KEYFERRY_PYTHON");
    set.map(PathBuf::from).context("KEYFERRY_PYTHON names no Python: run this by `cargo xtask test aiocoap`")
}
