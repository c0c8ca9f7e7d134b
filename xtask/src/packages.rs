//! Debian packages: which are missing, why they are needed, and how to get them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A Debian package and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name in Debian.
    pub name: &'static str,
    /// What we use it for.
    pub purpose: &'static str,
}

/// Those of `wanted` that are not installed.
pub fn missing(wanted: &[Package]) -> Result<Vec<Package>> {
    let mut missing = Vec::new();
    for package in wanted {
        if !is_installed(package.name)? {
            missing.push(*package);
        }
    }
    Ok(missing)
}

/// Installs packages with apt-get; fails with the command for root when this is not root.
pub fn install(packages: &[Package]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = packages.iter().map(|package| package.name).collect();
    if !crate::lab::privilege::is_root() {
        bail!("root must install packages first: apt-get install {}", names.join(" "));
    }
    apt_get(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(&names);
    apt_get(&arguments)?;
    if names.contains(&"nginx-light") && Path::new("/run/systemd/system").exists() {
        // Debian starts it on port 80 of this machine at once; nobody asked for that.
        crate::lab::finish(Command::new("systemctl").args(["disable", "--now", "nginx"]))?;
    }
    Ok(())
}

fn is_installed(name: &str) -> Result<bool> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", name])
        .output()
        .context("starting dpkg-query: this needs Debian or a relative of it")?;
    Ok(output.stdout == b"installed")
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    crate::lab::finish(&mut command).map(drop)
}
