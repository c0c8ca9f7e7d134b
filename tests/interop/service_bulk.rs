//! Megabytes both ways between a client and a terminal that serves, in both versions of TLS, over IPv4 and IPv6.

use std::io::{Read, Write};
use std::thread;

use anyhow::{Context, Result, ensure};
use xtask::lab::{Client, ClientOptions, GatewayOptions, Host, LabOptions, Version};

use crate::harness::{self, PATIENCE, World};
use crate::serving::{self, OPEN, Serving};

/// Bytes each way.
const SIZE: usize = 6_000_000;

#[test]
#[ignore = "needs network namespaces"]
fn in_both_versions_over_ipv4_and_ipv6() -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let serving = Serving::echo(world, &[])?;
        for version in Version::ALL {
            for address in Host::Terminal.addresses() {
                let options = serving::asking(world.pki.anchor_file());
                let options = ClientOptions { version: Some(version), target: serving::at(address), ..options };
                exchange(world, &options).with_context(|| format!("{version:?} to {address}"))?;
            }
        }
        drop(serving);
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn over_a_line_that_loses_two_per_cent() -> Result<()> {
    let network = LabOptions { loss_percent: 2, ..LabOptions::PLAIN };
    serving::with(network, GatewayOptions { rules: OPEN, ..GatewayOptions::default() }, |world| {
        let _serving = harness::despite_loss(|| Serving::echo(world, &[]))?;
        exchange(world, &serving::asking(world.pki.anchor_file()))
    })
}

/// Sends [`SIZE`] bytes through `openssl s_client` to the terminal's echo and reads them back meanwhile.
fn exchange(world: &World, options: &ClientOptions<'_>) -> Result<()> {
    let mut command = Client::OpenSsl.command(&world.lab, options);
    command.args(["-quiet", "-no_ign_eof", "-nocommands"]);
    let mut client = world.lab.spawn_piped("s_client", command)?;
    let (input, output) = (client.take_stdin(), client.take_stdout());
    let (mut input, output) = (input.context("no pipe")?, output.context("no pipe")?);
    let sent: Vec<u8> = (0..SIZE as u32 / 4).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let received = thread::scope(|scope| {
        let upload = scope.spawn(|| input.write_all(&sent));
        let mut received = Vec::with_capacity(SIZE);
        output.take(SIZE as u64).read_to_end(&mut received)?;
        upload.join().ok().context("the writer panicked")??;
        anyhow::Ok(received)
    })?;
    let same = received.iter().zip(&sent).take_while(|(received, sent)| received == sent).count();
    let length = received.len();
    ensure!(received == sent, "{length} of {SIZE} bytes came back, the first {same} right: {}", client.log());
    drop(input);
    client.wait(PATIENCE)?;
    Ok(())
}
