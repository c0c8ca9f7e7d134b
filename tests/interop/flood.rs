//! One terminal that asks for more than it may have: it is told so, and the others do not notice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keyferry_terminal::agent::ConnectOptions;
use tokio::task::JoinSet;
use xtask::lab::{GatewayOptions, Host, LabOptions, RustlsOptions, RustlsPeer, SERVER_NAME};

use crate::harness::{self, TARGET, World};

/// Sessions that the flooding terminal asks for at once, again and again.
const WAVE: usize = 200;

#[test]
#[ignore = "needs network namespaces"]
fn a_flood_of_handshakes_stops_nobody_else() -> Result<()> {
    let network = LabOptions { second_terminal: true, ..LabOptions::PLAIN };
    harness::with(network, GatewayOptions::default(), |world| {
        let server = RustlsPeer::start(&world.lab, &world.leaf()?, RustlsOptions::default())?;
        let victim = world.gateway.add_terminal(&world.lab, "sensor-2", Host::SecondTerminal)?;
        let stop = AtomicBool::new(false);
        let (served, refused) = std::thread::scope(|scope| {
            let flood = scope.spawn(|| flood(world, &stop));
            std::thread::sleep(Duration::from_millis(300));
            let victims = (0..10).try_for_each(|number| {
                let ended = world.attempt_as(&victim, &[TARGET])?;
                ensure!(ended.code == Some(0), "session {number} in the flood: {ended:?}");
                ensure!(ended.took < Duration::from_secs(2), "session {number} in the flood: {ended:?}");
                Ok(())
            });
            stop.store(true, Ordering::Relaxed);
            let flood = flood.join().ok().context("the flood panicked")?;
            victims.and(flood)
        })?;
        // Ten a second and a burst of twenty; the test takes a few seconds.
        assert!(served >= 20, "the flooding terminal itself got {served} sessions");
        assert!(refused > WAVE / 2, "only {refused} of the flood were refused");
        assert_eq!(server.clients().len(), served + 10);
        assert_eq!(world.figure("/requests_refused/0/count")?, refused as u64);
        Ok(())
    })
}

/// Wave after wave until told to stop: how many sessions were granted, and refused by the quota.
fn flood(world: &World, stop: &AtomicBool) -> Result<(usize, usize)> {
    harness::drive(&world.lab, Host::Terminal, || async {
        let agent = harness::start_agent(&world.agent).await?;
        let (mut served, mut refused) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let mut wave = JoinSet::new();
            for _ in 0..WAVE {
                let agent = agent.clone();
                wave.spawn(
                    async move { agent.connect(SERVER_NAME, 443, &ConnectOptions::default()).await.map(|_| ()) },
                );
            }
            while let Some(ended) = wave.join_next().await {
                match ended? {
                    Ok(()) => served += 1,
                    Err(error) if error.message.contains("quota") => refused += 1,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok((served, refused))
    })
}
