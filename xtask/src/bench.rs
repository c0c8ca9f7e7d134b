//! `cargo xtask bench`: every bench target of the workspace, or those that match.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use crate::cargo;

/// What was typed.
#[derive(Args)]
pub struct Options {
    /// Only benches whose package or name contains this, for example `handshake`.
    name: Option<String>,
}

/// Runs the benches one after the other; their lines are the figures.
pub fn run(options: &Options) -> Result<ExitCode> {
    let wanted = options.name.as_deref().unwrap_or_default();
    let mut benches = cargo::targets("bench")?;
    benches.retain(|(package, name)| package.contains(wanted) || name.contains(wanted));
    if benches.is_empty() {
        bail!("no bench target matches {wanted:?}");
    }
    for (package, name) in benches {
        println!("\n== {name} ({package})");
        cargo::run(cargo::cargo().args(["bench", "--quiet", "--package", &package, "--bench", &name]))?;
    }
    Ok(ExitCode::SUCCESS)
}
