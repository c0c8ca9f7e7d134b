//! `keyferry signer`.

use std::path::Path;

use super::logging::{self, LogFormat};
use super::{Failure, mistakes};
use crate::config;
use crate::io::signer;

/// Run the signer in the foreground.
#[derive(clap::Args)]
#[command(after_help = "\
It has the terminals' private keys, so that the gateway need not: run it as a user of its own, and name its
socket in the [signer] of the gateway's configuration. Of its own file it reads [signer] alone.

Examples:
  keyferry signer --config /etc/keyferry-signer/signer.toml")]
pub(super) struct Arguments {
    /// What a line of the log looks like.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

pub(super) fn execute(file: &Path, arguments: &Arguments) -> Result<String, Failure> {
    let checked = config::load_signer(file).map_err(|error| Failure {
        exit: Failure::CONFIGURATION,
        text: format!("{}: {error}; name the configuration with --config FILE", file.display()),
    })?;
    let service = checked.signer.ok_or_else(|| mistakes(&checked.findings))?;
    logging::start(arguments.log_format);
    for warning in checked.findings {
        tracing::warn!("{warning}");
    }
    signer::run(&service)?;
    Ok(String::new())
}
