//! A KeyUpdate of OpenSSL, with and without a request for one of ours.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use xtask::lab::{OpenSsl, PeerOptions, wait_until};

use crate::harness::{self, PATIENCE, World};

#[test]
#[ignore = "needs network namespaces"]
fn that_asks_for_ours_gets_ours() -> Result<()> {
    harness::plain(|world| assert_eq_updates(world, b"K\n", 1))
}

#[test]
#[ignore = "needs network namespaces"]
fn that_asks_for_nothing_gets_nothing() -> Result<()> {
    harness::plain(|world| assert_eq_updates(world, b"k\n", 0))
}

/// Has OpenSSL update its key three times, with text both ways after each, and counts the terminal's own updates.
fn assert_eq_updates(world: &World, command: &[u8], expected_each: usize) -> Result<()> {
    let leaf = world.leaf()?;
    let log = world.lab.directory().join("messages.txt");
    let msgfile = log.to_string_lossy();
    let mut server = OpenSsl::interactive(&world.lab, &PeerOptions::new(&leaf), &["-msg", "-msgfile", &msgfile])?;
    let mut console = server.process.take_stdin().context("s_server has no input")?;
    let mut output = server.process.take_stdout().context("s_server has no output")?;
    let (mut pipe, ..) = world.session()?;
    pipe.write(b"hello\n")?;
    read_until(&mut output, b"hello\n")?;
    let updates = || {
        let messages = std::fs::read_to_string(&log).unwrap_or_default();
        let of = |direction: &str| {
            messages.lines().filter(|line| line.starts_with(direction) && line.contains("KeyUpdate")).count()
        };
        (of(">>>"), of("<<<"))
    };
    for round in 1..=3 {
        // s_server takes what one read gives it for one line.
        console.write_all(command)?;
        wait_until(PATIENCE, || Ok(updates().0 == round)).context("s_server sends no KeyUpdate")?;
        let down = format!("down {round}\n");
        console.write_all(down.as_bytes())?;
        ensure!(pipe.read(down.len())? == down.as_bytes(), "the terminal reads something else");
        let up = format!("up {round}\n");
        pipe.write(up.as_bytes())?;
        read_until(&mut output, up.as_bytes())?;
        assert_eq!(updates(), (round, round * expected_each), "sent and received by s_server");
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
