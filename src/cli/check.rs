//! `keyferry check`.

use std::path::Path;

use super::{Failure, json, print};
use crate::config::{self, Finding, Host, Severity};
use crate::io::clock;

/// Check the configuration and explain every mistake.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  keyferry check --config keyferry.toml
  keyferry check --config keyferry.toml --elsewhere     written here, to be used on another machine
  keyferry check --json | jq -r '.[].what'

Exit codes:
  0  no mistakes; there may be warnings
  1  mistakes
  2  the file cannot be read")]
pub(super) struct Arguments {
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
    /// The file is for another machine: do not look for its interfaces here.
    #[arg(long)]
    elsewhere: bool,
}

pub(super) fn execute(file: &Path, arguments: &Arguments) -> Result<String, Failure> {
    let host = if arguments.elsewhere { Host::Other } else { Host::This };
    let checked = config::load(file, clock::unix_seconds(), host).map_err(|error| Failure {
        exit: Failure::CONFIGURATION,
        text: format!("{}: {error}; name the configuration with --config FILE", file.display()),
    })?;
    let report = if arguments.json { json(&checked.findings)? } else { report(file, &checked.findings) };
    if checked.config.is_some() {
        return Ok(report);
    }
    print(&report);
    let mistakes = checked.findings.iter().filter(|finding| finding.severity == Severity::Mistake).count();
    let plural = if mistakes == 1 { "mistake" } else { "mistakes" };
    Err(Failure::refused(format!("{mistakes} {plural} in {}", file.display())))
}

fn report(file: &Path, findings: &[Finding]) -> String {
    let mut text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    if findings.iter().all(|finding| finding.severity == Severity::Warning) {
        text.push_str(&format!("{}: no mistakes\n", file.display()));
    }
    text
}
