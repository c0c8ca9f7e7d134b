//! The right to make network namespaces: root has it; anybody else gets it inside a user namespace,
//! where the kernel allows those.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Result, bail};

/// Makes `/run/netns` a place of our own inside the new mount namespace, then runs what was asked.
const PREPARE: &str = r#"mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$@""#;

/// True when this process is root, be it in a user namespace.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Fails with the remedy when the lab cannot be built by this process.
pub(super) fn check() -> Result<()> {
    if !is_root() {
        bail!(
            "the lab needs network namespaces: run as root, or through `cargo xtask`, \
             which makes a user namespace for it"
        );
    }
    Ok(())
}

/// A command that may build labs: as root the program itself, else inside fresh user, network and
/// mount namespaces. Fails with the remedy when the kernel refuses those.
pub fn command(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let trial = namespaces().arg("true").output();
    if !trial.is_ok_and(|output| output.status.success()) {
        bail!(
            "not root, and this kernel lets no ordinary user make namespaces. Run as root, or allow \
             it: sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces=10000"
        );
    }
    let mut command = namespaces();
    command.args(["sh", "-c", PREPARE, "sh"]).arg(program);
    Ok(command)
}

fn namespaces() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--"]);
    command
}
