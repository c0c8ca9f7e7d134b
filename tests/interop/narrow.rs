//! A link behind the gateway that is narrower than both ends know: the router in front of it tells the sender,
//! which is the gateway in the terminal's name, to send smaller packets. The hello of a hybrid key exchange is
//! the first that does not fit.

use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use xtask::lab::{GatewayOptions, Host, LabOptions, RustlsOptions, RustlsPeer};

use crate::harness::{self, PATIENCE, World};
use crate::nginx::IPV6_RULES;
use crate::packets::{self, Packet, TCP};

/// Bytes the terminal sends.
const SIZE: usize = 1_000_000;

/// As the lab's router has it.
const NARROW: usize = 1300;

#[test]
#[ignore = "needs network namespaces"]
fn over_ipv4() -> Result<()> {
    run(GatewayOptions::default(), |world| upload(world, RustlsOptions::default()))
}

#[test]
#[ignore = "needs network namespaces"]
fn over_ipv6() -> Result<()> {
    run(GatewayOptions { rules: IPV6_RULES, ..GatewayOptions::default() }, |world| {
        upload(world, RustlsOptions { address: Host::Peer.ipv6().into(), ..RustlsOptions::default() })
    })
}

fn run(options: GatewayOptions<'_>, case: impl FnOnce(&mut World) -> Result<()>) -> Result<()> {
    harness::with(LabOptions { narrow: true, ..LabOptions::PLAIN }, options, |world| {
        // Packets as they are on a wire, not as cards take them from the kernel: else the captures show
        // segments longer than any link.
        for (host, interface) in [(Host::Gateway, "uplink"), (Host::Router, "uplink"), (Host::Peer, "eth0")] {
            world.lab.run(host, "ip", &["link", "set", interface, "gso_max_segs", "1"])?;
        }
        case(world)
    })
}

fn upload(world: &World, options: RustlsOptions) -> Result<()> {
    let server = RustlsPeer::start(&world.lab, &world.leaf()?, options)?;
    let at_gateway = world.lab.capture(Host::Gateway, "uplink", "at-gateway", "tcp")?;
    let at_peer = world.lab.capture(Host::Peer, "eth0", "at-peer", "tcp")?;
    let mut pipe = world.agent.connect(&world.lab, harness::TARGET)?;
    let mut input = pipe.input.take().context("the agent has no input")?;
    let sent: Vec<u8> = (0..SIZE as u32 / 4).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut received = Vec::with_capacity(SIZE);
    std::thread::scope(|scope| {
        let upload = scope.spawn(|| input.write_all(&sent));
        (&mut pipe.output).take(SIZE as u64).read_to_end(&mut received)?;
        upload.join().ok().context("the writer panicked")??;
        anyhow::Ok(())
    })?;
    ensure!(received == sent, "{} of {SIZE} bytes came back; {}", received.len(), pipe.process.log());
    drop(input);
    let status = pipe.process.wait(PATIENCE)?;
    ensure!(status.success(), "{}", pipe.process.log());
    assert_eq!(server.failures(), [""; 0]);

    let (at_gateway, at_peer) = (packets::read(&at_gateway.finish()?)?, packets::read(&at_peer.finish()?)?);
    assert!(longest(&at_gateway) > NARROW, "nothing was too long for the router: this test tests nothing");
    assert!(longest(&at_peer) > NARROW / 2, "nothing came");
    assert!(longest(&at_peer) <= NARROW, "{} bytes passed the narrow link", longest(&at_peer));
    Ok(())
}

/// The longest packet towards the peer.
fn longest(packets: &[Packet]) -> usize {
    let up = packets.iter().filter(|packet| packet.protocol == TCP && packet.to.port() == 443);
    up.map(|packet| packet.length).max().unwrap_or_default()
}
