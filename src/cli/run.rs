//! `keyferry run`.

use std::path::{Path, PathBuf};

use super::logging::{self, LogFormat};
use super::{Failure, load_with_warnings};
use crate::daemon::{self, RunOptions};

/// Run the gateway in the foreground.
#[derive(clap::Args)]
#[command(after_help = "\
Needs root: it installs nft rules and answers with the terminals' addresses. It stops at SIGTERM or Ctrl-C;
the rules stay and keep terminals from going unprotected until `keyferry uninstall`.

Examples:
  keyferry run --config keyferry.toml
  KEYFERRY_LOG=keyferry=debug keyferry run --log-format json")]
pub(super) struct Arguments {
    /// What a line of the log looks like.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Write the secrets of ALL sessions to a file (SSLKEYLOGFILE format). Whoever reads it can read them
    /// all: for debugging only.
    #[arg(long, value_name = "FILE")]
    insecure_keylog: Option<PathBuf>,
}

pub(super) fn execute(file: &Path, arguments: Arguments) -> Result<String, Failure> {
    let (config, warnings) = load_with_warnings(file)?;
    logging::start(arguments.log_format);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    daemon::run(config.plan(), &RunOptions { insecure_keylog: arguments.insecure_keylog })?;
    Ok(String::new())
}
