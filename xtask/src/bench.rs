//! `cargo xtask bench`: every bench target of the workspace, or those that match.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

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
    let mut benches = targets()?;
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

/// Package and name of every bench target.
fn targets() -> Result<Vec<(String, String)>> {
    let mut command: Command = cargo::cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&xtask::lab::finish(&mut command)?)?;
    let packages = metadata.get("packages").and_then(Value::as_array);
    let mut found = Vec::new();
    for package in packages.context("cargo metadata has no packages")? {
        let targets = package.get("targets").and_then(Value::as_array);
        for target in targets.into_iter().flatten() {
            let text = |value: &Value, path| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
            if text(target, "/kind/0").as_deref() == Some("bench") {
                found.extend(text(package, "/name").zip(text(target, "/name")));
            }
        }
    }
    Ok(found)
}
