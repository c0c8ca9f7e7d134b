//! `keyferry signer`, the process that has the terminals' private keys, as a user of its own.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Binaries, Host, Lab, Process};

/// `nobody`, a user without any rights.
const USER: u32 = 65534;

/// A running signer.
#[derive(Debug)]
pub struct Signer {
    /// The process.
    pub process: Process,
    socket: PathBuf,
    directory: PathBuf,
    is_apart: bool,
}

impl Signer {
    /// Starts `keyferry signer` with a directory of its own. Where the lab has no second user id, as in a user
    /// namespace, it runs as the gateway's.
    pub fn start(lab: &Lab, binaries: &Binaries) -> Result<Self> {
        let directory = lab.directory().join("signer");
        fs::create_dir(&directory)?;
        let config = directory.join("signer.toml");
        let socket = directory.join("signer.sock");
        let place = directory.display();
        fs::write(
            &config,
            format!(
                "[signer]\nsocket = {socket:?}\nstate_directory = \"{place}/state\"\nkey_file = \"{place}/store.key\"\n\
                 gateway_user = \"root\"\n"
            ),
        )?;
        // Where the build directory is, another user may have no business.
        let program = directory.join("keyferry");
        fs::copy(&binaries.keyferry, &program)?;
        let is_apart = chown(&directory, Some(USER), Some(USER)).is_ok();
        if is_apart {
            fs::set_permissions(lab.directory(), Permissions::from_mode(0o711))?;
        }
        let process = run(lab, &directory, is_apart)?;
        Ok(Self { process, socket, directory, is_apart })
    }

    /// Ends it (SIGTERM) and starts it again.
    pub fn restart(&mut self, lab: &Lab) -> Result<()> {
        self.process.stop()?;
        self.process = run(lab, &self.directory, self.is_apart)?;
        Ok(())
    }

    /// It is of another user than the gateway.
    pub fn is_apart(&self) -> bool {
        self.is_apart
    }

    /// The socket, for [`GatewayOptions::signer`](super::GatewayOptions).
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

fn run(lab: &Lab, directory: &Path, is_apart: bool) -> Result<Process> {
    let program = directory.join("keyferry");
    let mut command = if is_apart {
        let mut command = lab.command(Host::Gateway, "setpriv");
        command.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}")).arg("--clear-groups").arg(program);
        command
    } else {
        lab.command(Host::Gateway, program)
    };
    command.args(["signer", "--config"]).arg(directory.join("signer.toml"));
    let mut process = lab.spawn("signer", command)?;
    process.wait_for_log("signer is up", Duration::from_secs(10)).context("starting keyferry signer")?;
    Ok(process)
}
