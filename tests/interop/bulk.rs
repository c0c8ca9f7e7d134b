//! Megabytes both ways at once, with the peer changing its keys all the while, on every kind of path.

use std::io::{Read, Write};
use std::thread;

use anyhow::{Context, Result, ensure};
use xtask::lab::{GatewayOptions, Host, LabOptions, Pipe, RustlsOptions, RustlsPeer};

use crate::harness::{self, World};
use crate::nginx::IPV6_RULES;

/// Bytes each way.
const SIZE: usize = 6_000_000;

#[test]
#[ignore = "needs network namespaces"]
fn over_ipv4() -> Result<()> {
    harness::plain(|world| echo(world, updating()))
}

#[test]
#[ignore = "needs network namespaces"]
fn over_ipv6() -> Result<()> {
    let options = GatewayOptions { rules: IPV6_RULES, ..GatewayOptions::default() };
    harness::with(LabOptions::PLAIN, options, |world| {
        echo(world, RustlsOptions { address: Host::Peer.ipv6().into(), ..updating() })
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn through_a_masquerading_uplink() -> Result<()> {
    let network = LabOptions { masquerade: true, ..LabOptions::PLAIN };
    harness::with(network, GatewayOptions::default(), |world| echo(world, updating()))
}

#[test]
#[ignore = "needs network namespaces"]
fn over_a_line_that_loses_two_per_cent() -> Result<()> {
    let network = LabOptions { loss_percent: 2, ..LabOptions::PLAIN };
    harness::with(network, GatewayOptions::default(), |world| {
        let server = RustlsPeer::start(&world.lab, &world.leaf()?, updating())?;
        let pipe = harness::despite_loss(|| {
            let mut pipe = world.agent.connect(&world.lab, harness::TARGET)?;
            pipe.process.wait_for_log("connected to", harness::PATIENCE)?;
            Ok(pipe)
        })?;
        echo_through(&server, pipe)
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn in_tls_1_2_with_every_aead() -> Result<()> {
    harness::plain(|world| {
        // ECDHE_ECDSA with AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305.
        for suite in [0xc02b, 0xc02c, 0xcca9] {
            // TLS 1.2 has no KeyUpdate.
            let options =
                RustlsOptions { cipher_suites: vec![suite], key_update_every: None, ..RustlsOptions::default() };
            echo(world, options).with_context(|| format!("{suite:#06x}"))?;
        }
        Ok(())
    })
}

fn updating() -> RustlsOptions {
    RustlsOptions { key_update_every: Some(100_000), ..RustlsOptions::default() }
}

fn echo(world: &World, options: RustlsOptions) -> Result<()> {
    let server = RustlsPeer::start(&world.lab, &world.leaf()?, options)?;
    echo_through(&server, world.agent.connect(&world.lab, harness::TARGET)?)
}

fn echo_through(server: &RustlsPeer, mut pipe: Pipe) -> Result<()> {
    exchange(&mut pipe).with_context(|| format!("the peer says {:?}", server.failures()))?;
    assert_eq!(server.failures(), [""; 0]);
    Ok(())
}

/// Sends [`SIZE`] bytes to an echo and reads them back meanwhile, to an orderly end.
fn exchange(pipe: &mut Pipe) -> Result<()> {
    let mut input = pipe.input.take().context("the agent has no input")?;
    let sent: Vec<u8> = (0..SIZE as u32 / 4).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let received = thread::scope(|scope| {
        let upload = scope.spawn(|| input.write_all(&sent));
        let mut received = Vec::with_capacity(SIZE);
        (&mut pipe.output).take(SIZE as u64).read_to_end(&mut received)?;
        upload.join().ok().context("the writer panicked")??;
        anyhow::Ok(received)
    })?;
    let same = received.iter().zip(&sent).take_while(|(received, sent)| received == sent).count();
    ensure!(
        received == sent,
        "{} of {SIZE} bytes came back, the first {same} right; the agent says {}",
        received.len(),
        pipe.process.log()
    );
    drop(input);
    let status = pipe.process.wait(harness::PATIENCE)?;
    ensure!(status.success(), "{}", pipe.process.log());
    Ok(())
}
