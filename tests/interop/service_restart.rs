//! A terminal that serves goes on when the gateway starts again, in order or after a crash, and nobody has to do
//! anything about it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xtask::lab::{Client, wait_until};

use crate::serving::{self, OPEN, PAGE, Serving};

/// Until clients are served again: the gateway has to hear of the terminal first.
const SOON: Duration = Duration::from_secs(45);

#[test]
#[ignore = "needs network namespaces"]
fn terminal_is_served_again_soon_after_a_restart() -> Result<()> {
    serving::with_rules(OPEN, |world| {
        let _serving = Serving::page(world, &[])?;
        for crash in [false, true] {
            serving::fetch(world, Client::Python, &serving::asking(world.pki.anchor_file()))?;
            world.gateway.restart(&world.lab, crash)?;
            let back = Instant::now();
            let again = wait_until(SOON, || {
                let options = serving::asking(world.pki.anchor_file());
                let fetched = Client::Python.fetch(&world.lab, &options)?;
                Ok(fetched.success && fetched.page.contains(PAGE))
            });
            again.with_context(|| {
                let refused = world.gateway.stats(&world.lab).map(|stats| stats["flows_refused"].to_string());
                format!("after a {}; {refused:?}", if crash { "crash" } else { "restart" })
            })?;
            eprintln!("served again {:?} after the gateway was back, crash: {crash}", back.elapsed());
        }
        Ok(())
    })
}
