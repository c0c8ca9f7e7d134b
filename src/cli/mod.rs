//! What was typed: reads the command line, does it, and says what came of it in words, in JSON and in the
//! exit code.

mod certificate;
mod check;
mod logging;
mod replay;
mod run;
mod signer;
mod stats;
mod table;
mod terminal;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{self, Config, DEFAULT_FILE, Finding, Host, Severity};
use crate::error::Error;
use crate::io::admin::CallError;
use crate::io::clock;

/// Does the TLS key exchange for devices too small to do it, and hands them the session keys.
#[derive(Parser)]
#[command(name = "keyferry", version, after_help = AFTER_HELP)]
struct Arguments {
    /// The configuration file.
    #[arg(long, short, global = true, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway in the foreground.
    Run(run::Arguments),
    /// Check the configuration and explain every mistake.
    Check(check::Arguments),
    /// Explain and verify the IKE and TLS handshakes in a capture file.
    Replay(replay::Arguments),
    /// Show the figures of the running gateway.
    Stats(stats::Arguments),
    /// Run the process that has the terminals' private keys, in the foreground.
    Signer(signer::Arguments),
    /// Add, list, show and revoke terminals, and give them certificates.
    #[command(subcommand)]
    Terminal(terminal::Command),
    /// Close the terminals' interfaces without starting the gateway: for the boot, before the network is up.
    Close,
    /// Remove what the gateway installed in the kernel: its nft table, ip rules and routes.
    ///
    /// They stay when the gateway stops, so that terminals are not suddenly unprotected.
    Uninstall,
    /// Print a completion script, for example: keyferry completions bash >
    /// /etc/bash_completion.d/keyferry
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

const AFTER_HELP: &str = "\
Examples:
  keyferry check --config keyferry.toml          is everything right?
  keyferry run --config keyferry.toml            start the gateway
  keyferry terminal add meter-1 --address 10.7.1.10 --config-out meter-1.toml
  keyferry stats                                 what happened so far
  keyferry replay trace.pcap                     what happened in a capture

Exit codes:
  0  done
  1  refused or failed; for `check`: there are mistakes
  2  the command line or the configuration is wrong; for `check`: the file cannot be read
  3  no gateway is running";

/// Why a command ended without success.
struct Failure {
    exit: u8,
    /// What happened and what to do, for standard error.
    text: String,
}

impl Failure {
    const REFUSED: u8 = 1;
    const CONFIGURATION: u8 = 2;
    const NOT_RUNNING: u8 = 3;

    fn refused(text: impl ToString) -> Self {
        Self { exit: Self::REFUSED, text: text.to_string() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::refused(error)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let exit = match error {
            CallError::NotRunning(_) => Self::NOT_RUNNING,
            CallError::Failed(..) => Self::REFUSED,
        };
        Self { exit, text: error.to_string() }
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    let Arguments { config, command } = Arguments::parse();
    match execute(&config, command) {
        Ok(output) => {
            print(&output);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            warn(&format!("keyferry: {}", failure.text));
            ExitCode::from(failure.exit)
        }
    }
}

/// Answers what goes to standard output.
fn execute(file: &Path, command: Command) -> Result<String, Failure> {
    match command {
        Command::Run(arguments) => run::execute(file, arguments),
        Command::Check(arguments) => check::execute(file, &arguments),
        Command::Signer(arguments) => signer::execute(file, &arguments),
        Command::Replay(arguments) => replay::execute(&arguments),
        Command::Stats(arguments) => stats::execute(&load(file)?, &arguments),
        Command::Terminal(command) => terminal::execute(&load(file)?, command),
        Command::Close => {
            load(file)?.plan().rules.install(&[])?;
            Ok("terminals are closed in until the gateway runs\n".into())
        }
        Command::Uninstall => {
            load(file)?.plan().rules.uninstall()?;
            Ok("removed the gateway's rules and routes; terminals are cut off from their peers\n".into())
        }
        Command::Completions { shell } => Ok(completions(shell)),
    }
}

/// The configuration, for commands that can do nothing without one.
fn load(file: &Path) -> Result<Config, Failure> {
    load_with_warnings(file).map(|(config, _)| config)
}

fn load_with_warnings(file: &Path) -> Result<(Config, Vec<Finding>), Failure> {
    let unusable = |text| Failure { exit: Failure::CONFIGURATION, text };
    let checked = config::load(file, clock::unix_seconds(), Host::This)
        .map_err(|error| unusable(format!("{}: {error}; name the configuration with --config FILE", file.display())))?;
    match checked.config {
        Some(config) => Ok((config, checked.findings)),
        None => Err(mistakes(&checked.findings)),
    }
}

fn mistakes(findings: &[Finding]) -> Failure {
    let mistakes = findings.iter().filter(|finding| finding.severity == Severity::Mistake);
    let lines: Vec<String> = mistakes.map(Finding::to_string).collect();
    let text = format!("the configuration has mistakes\n{}", lines.join("\n"));
    Failure { exit: Failure::CONFIGURATION, text }
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "keyferry", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// A closed pipe (`keyferry ... | head`) is no failure.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// What scripts read: indented, and with a final newline.
fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(Failure::refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
