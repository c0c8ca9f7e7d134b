//! `cargo xtask bench`: every bench target of the workspace and the figures of the lab, or those that match.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use xtask::lab::privilege;

use crate::cargo;

/// What was typed.
#[derive(Args)]
pub struct Options {
    /// Only benches whose package or name contains this, for example `handshake`, `pairs` or `link`.
    name: Option<String>,
}

/// Measured between real hosts: bytes on the terminal's link, and the live path with sockets, rules and channel.
const LINK: &str = "link";

/// Runs the benches one after the other; their lines are the figures.
pub fn run(options: &Options) -> Result<ExitCode> {
    let wanted = options.name.as_deref().unwrap_or_default();
    let mut benches = cargo::targets("bench")?;
    benches.retain(|(package, name)| package.contains(wanted) || name.contains(wanted));
    let with_link = LINK.contains(wanted);
    if benches.is_empty() && !with_link {
        bail!("no bench target matches {wanted:?}");
    }
    for (package, name) in benches {
        println!("\n== {name} ({package})");
        cargo::run(cargo::cargo().args(["bench", "--quiet", "--package", &package, "--bench", &name]))?;
    }
    if with_link {
        println!("\n== {LINK} (network namespaces)");
        link()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The tests that measure print what they measured, and fail beyond the limit.
fn link() -> Result<()> {
    let arguments = ["test", "--quiet", "--release", "--package", "keyferry", "--test", "interop", "link_traffic"];
    cargo::run(cargo::cargo().args(["build", "--release", "--workspace", "--all-features", "--bins"]))?;
    let mut command = cargo::in_workspace(privilege::command(cargo::program())?);
    cargo::run(command.args(arguments).args(["--", "--ignored", "--nocapture", "--test-threads=1"]))
}
