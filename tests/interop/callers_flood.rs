//! Many clients that connect to a terminal and say nothing: the terminal's own handshakes do not notice, and neither
//! do clients from elsewhere.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::lab::{Client, ClientOptions, DEFAULT_RULES, Host, RustlsOptions, RustlsPeer, wait_until};

use crate::harness::{PATIENCE, TARGET};
use crate::serving::{self, OPEN, Serving};

/// Clients at once.
const CALLERS: usize = 200;

#[test]
#[ignore = "needs network namespaces"]
fn silent_clients_take_nothing_from_the_terminal_and_from_others() -> Result<()> {
    let rules = format!("{DEFAULT_RULES}{}", OPEN.replace("[trust.lab]\nanchors = [\"pki/root.pem\"]\n", ""));
    serving::with_rules(&rules, |world| {
        let _server = RustlsPeer::start(&world.lab, &world.leaf()?, RustlsOptions::default())?;
        let serving = Serving::page(world, &[])?;
        // The agent listens, so it has the state: another terminal's agent could not use it.
        let target = serving::target();
        let callers = world.lab.enter(Host::Peer, || {
            (0..CALLERS).map(|_| TcpStream::connect_timeout(&target, PATIENCE)).collect::<Vec<_>>()
        })?;
        ensure!(callers.iter().any(Result::is_ok), "nobody came through: this tests nothing");
        wait_until(PATIENCE, || Ok(world.figure("/flows_refused/too many handshakes from there")? > 0))?;
        let [_, ipv6] = Host::Terminal.addresses();
        let options = serving::asking(world.pki.anchor_file());
        serving::fetch(world, Client::OpenSsl, &ClientOptions { target: serving::at(ipv6), ..options })?;
        drop(serving);
        for number in 0..10 {
            let ended = world.attempt(&[TARGET])?;
            ensure!(ended.code == Some(0), "session {number} in the flood: {ended:?}");
            ensure!(ended.took < Duration::from_secs(1), "session {number} in the flood: {ended:?}");
        }
        ensure!(world.figure("/handshakes_open")? > 0, "the flood is over already");
        drop(callers);
        // Their places come back.
        wait_until(PATIENCE, || Ok(world.figure("/handshakes_open")? == 0))?;
        let _serving = Serving::page(world, &[])?;
        serving::fetch(world, Client::OpenSsl, &serving::asking(world.pki.anchor_file()))?;
        Ok(())
    })
}
