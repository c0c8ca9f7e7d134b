//! A KeyUpdate of OpenSSL, as a server and as a client, with and without a request for one of ours.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use xtask::lab::{Client, ClientOptions, OpenSsl, PeerOptions, Pipe, Process, Version, wait_until};

use crate::harness::{self, PATIENCE, World};
use crate::serving::{self, OPEN, PORT};

#[test]
#[ignore = "needs network namespaces"]
fn that_asks_for_ours_gets_ours() -> Result<()> {
    harness::plain(|world| of_a_server(world, b"K\n", 1))
}

#[test]
#[ignore = "needs network namespaces"]
fn that_asks_for_nothing_gets_nothing() -> Result<()> {
    harness::plain(|world| of_a_server(world, b"k\n", 0))
}

#[test]
#[ignore = "needs network namespaces"]
fn of_a_client_that_asks_for_ours_gets_ours() -> Result<()> {
    serving::with_rules(OPEN, |world| of_a_client(world, b"K\n", 1))
}

#[test]
#[ignore = "needs network namespaces"]
fn of_a_client_that_asks_for_nothing_gets_nothing() -> Result<()> {
    serving::with_rules(OPEN, |world| of_a_client(world, b"k\n", 0))
}

fn of_a_server(world: &World, command: &[u8], expected_each: usize) -> Result<()> {
    let leaf = world.leaf()?;
    let log = world.lab.directory().join("messages.txt");
    let arguments = ["-msg", "-msgfile", &log.to_string_lossy()];
    let mut server = OpenSsl::interactive(&world.lab, &PeerOptions::new(&leaf), &arguments)?;
    let (mut pipe, ..) = world.session()?;
    assert_eq_updates(&mut server.process, &mut pipe, &log, command, expected_each)
}

fn of_a_client(world: &World, command: &[u8], expected_each: usize) -> Result<()> {
    let mut pipe = world.agent.listen(&world.lab, PORT, &[])?;
    let log = world.lab.directory().join("messages.txt");
    let options = serving::asking(world.pki.anchor_file());
    let options = ClientOptions { version: Some(Version::Tls13), ..options };
    let mut client = Client::OpenSsl.command(&world.lab, &options);
    client.args(["-msg", "-msgfile"]).arg(&log);
    let mut client = world.lab.spawn_piped("s_client", client)?;
    assert_eq_updates(&mut client, &mut pipe, &log, command, expected_each)
}

/// Has OpenSSL update its key three times, with text both ways after each, and counts the terminal's own updates.
fn assert_eq_updates(
    openssl: &mut Process,
    pipe: &mut Pipe,
    log: &Path,
    command: &[u8],
    expected_each: usize,
) -> Result<()> {
    let mut console = openssl.take_stdin().context("OpenSSL has no input")?;
    let mut output = openssl.take_stdout().context("OpenSSL has no output")?;
    pipe.write(b"hello\n")?;
    read_until(&mut output, b"hello\n")?;
    let updates = || {
        let messages = std::fs::read_to_string(log).unwrap_or_default();
        let of = |direction: &str| {
            messages.lines().filter(|line| line.starts_with(direction) && line.contains("KeyUpdate")).count()
        };
        (of(">>>"), of("<<<"))
    };
    for round in 1..=3 {
        // OpenSSL takes what one read gives it for one line.
        console.write_all(command)?;
        wait_until(PATIENCE, || Ok(updates().0 == round)).context("OpenSSL sends no KeyUpdate")?;
        let down = format!("down {round}\n");
        console.write_all(down.as_bytes())?;
        ensure!(pipe.read(down.len())? == down.as_bytes(), "the terminal reads something else");
        let up = format!("up {round}\n");
        pipe.write(up.as_bytes())?;
        read_until(&mut output, up.as_bytes())?;
        assert_eq!(updates(), (round, round * expected_each), "sent and received by OpenSSL");
    }
    Ok(())
}

fn read_until(from: &mut impl std::io::Read, wanted: &[u8]) -> Result<()> {
    let mut text = Vec::new();
    while !text.ends_with(wanted) {
        let mut byte = [0];
        from.read_exact(&mut byte).with_context(|| String::from_utf8_lossy(&text).into_owned())?;
        text.extend_from_slice(&byte);
    }
    Ok(())
}
