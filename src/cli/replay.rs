//! `keyferry replay`: what a capture file tells of the IKE and TLS handshakes in it.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Failure;
use crate::io::files;
use crate::io::pcap::Reader;
use crate::replay::account::{Account, Outcome, Verification};
use crate::replay::ike_secrets::IkeSecrets;
use crate::replay::{Replay, Secrets, ladder, text};

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// Capture files: pcap or pcapng, gzip or not; `-` is standard input. Several are read as one, in this order.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON object per handshake and line.
    #[arg(long, conflicts_with = "ladder")]
    json: bool,
    /// Draw the messages of each handshake.
    #[arg(long)]
    ladder: bool,
    /// Show the keys that were derived. Whoever reads them can read the traffic.
    #[arg(long)]
    show_keys: bool,
    /// Secrets of TLS, as browsers and OpenSSL write them (SSLKEYLOGFILE).
    #[arg(long, value_name = "FILE")]
    keylog: Vec<PathBuf>,
    /// Secrets of IKE: JSON lines with initiator_spi, responder_spi, and g_ir, psk or both.
    #[arg(long, value_name = "FILE")]
    ike_secrets: Vec<PathBuf>,
    /// Wireshark's table of IKEv1 keys.
    #[arg(long, value_name = "FILE")]
    ikev1_decryption_table: Vec<PathBuf>,
    /// Wireshark's table of IKEv2 keys.
    #[arg(long, value_name = "FILE")]
    ikev2_decryption_table: Vec<PathBuf>,
    /// The pre-shared key of every IKE SA that has none of its own.
    #[arg(long, value_name = "KEY")]
    psk: Option<String>,
}

const AFTER_HELP: &str = "\
Examples:
  keyferry replay trace.pcap                        who spoke to whom, and what came of it
  keyferry replay trace.pcap --ladder               message by message
  keyferry replay trace.pcap --keylog keys.txt      decrypts, recomputes and checks
  tcpdump -w - port 500 | keyferry replay - --json  as it happens, for scripts

Exit codes:
  0  every handshake came to its end, or none was there
  1  a handshake failed in the capture
  2  a file cannot be read, or not to its end
  3  secrets were given, and something that was recomputed came out otherwise";

/// Bytes of a file with secrets: those of a million connections.
const MOST_SECRETS: u64 = 256 << 20;

const UNREADABLE: u8 = 2;
const WRONG: u8 = 3;

pub(super) fn execute(arguments: &Arguments) -> Result<String, Failure> {
    let mut replay = Replay::new(secrets(arguments)?);
    let mut printer = Printer { arguments, out: BufWriter::new(std::io::stdout().lock()), counts: Counts::default() };
    let mut unreadable = Vec::new();
    for file in &arguments.files {
        if let Err(error) = read(&mut replay, file, &mut printer) {
            unreadable.push(error);
        }
    }
    replay.finish(&mut |account| printer.print(account));
    // A closed pipe (`keyferry replay ... | head`) is no failure.
    let _ = printer.out.flush();
    printer.counts.conclude(&unreadable, arguments.json)
}

fn read(replay: &mut Replay, file: &Path, printer: &mut Printer<'_>) -> Result<(), String> {
    let mut capture = Reader::open(file).map_err(|error| error.to_string())?;
    let bar = progress(file, capture.length());
    let result = replay.read(&mut capture, &mut |position| bar.set_position(position), &mut |account| {
        bar.suspend(|| printer.print(account));
    });
    bar.finish_and_clear();
    result.map_err(|error| error.to_string())
}

/// Shown to people only: standard output may go elsewhere.
fn progress(file: &Path, length: Option<u64>) -> ProgressBar {
    let Some(length) = length.filter(|_| std::io::stderr().is_terminal() && !std::io::stdout().is_terminal()) else {
        return ProgressBar::hidden();
    };
    let template = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr())
        .with_style(style)
        .with_message(file.display().to_string())
}

fn secrets(arguments: &Arguments) -> Result<Secrets, Failure> {
    let mut secrets = Secrets::default();
    for file in &arguments.keylog {
        let added = secrets.key_log.add(&content(file)?);
        added.map_err(|error| unusable(format!("{}: {error}", file.display())))?;
    }
    type Add = fn(&mut IkeSecrets, &str, &str) -> Result<(), crate::replay::ike_secrets::SecretsError>;
    let tables: [(&[PathBuf], Add); 3] = [
        (&arguments.ike_secrets, IkeSecrets::add_json_lines),
        (&arguments.ikev1_decryption_table, IkeSecrets::add_v1_table),
        (&arguments.ikev2_decryption_table, IkeSecrets::add_v2_table),
    ];
    for (files, add) in tables {
        for file in files {
            let text = String::from_utf8(content(file)?)
                .map_err(|_| unusable(format!("{} is not text in UTF-8", file.display())))?;
            add(&mut secrets.ike, &file.display().to_string(), &text).map_err(|error| unusable(error.to_string()))?;
        }
    }
    if let Some(psk) = &arguments.psk {
        secrets.ike.set_psk(psk);
    }
    Ok(secrets)
}

fn content(file: &Path) -> Result<Vec<u8>, Failure> {
    files::read(file, MOST_SECRETS).map_err(|error| unusable(format!("{}: {error}", file.display())))
}

fn unusable(text: String) -> Failure {
    Failure { exit: UNREADABLE, text }
}

/// Writes accounts as they come, and counts.
struct Printer<'a> {
    arguments: &'a Arguments,
    out: BufWriter<std::io::StdoutLock<'static>>,
    counts: Counts,
}

impl Printer<'_> {
    fn print(&mut self, mut account: Account) {
        self.counts.add(&account);
        if !self.arguments.show_keys {
            account.keys.clear();
        }
        let _ = match self.arguments {
            Arguments { json: true, .. } => {
                serde_json::to_writer(&mut self.out, &account).map_err(Into::into).and_then(|()| writeln!(self.out))
            }
            Arguments { ladder: true, .. } => {
                writeln!(self.out, "{}{}", text::describe(&account), ladder::draw(&account))
            }
            _ => writeln!(self.out, "{}", text::describe(&account)),
        };
    }
}

#[derive(Default)]
struct Counts {
    all: usize,
    failed: usize,
    incomplete: usize,
    wrong: usize,
}

impl Counts {
    fn add(&mut self, account: &Account) {
        self.all += 1;
        self.failed += usize::from(account.outcome == Outcome::Failed);
        self.incomplete += usize::from(account.outcome == Outcome::Incomplete);
        self.wrong += usize::from(account.verification == Verification::Wrong);
    }

    /// The summary, as success or failure.
    fn conclude(&self, unreadable: &[String], json: bool) -> Result<String, Failure> {
        let Self { all, failed, incomplete, wrong } = self;
        let summary = format!("{all} handshakes: {failed} failed, {incomplete} incomplete, {wrong} with wrong secrets");
        if !unreadable.is_empty() {
            return Err(unusable(format!("{}\n{summary}", unreadable.join("\n"))));
        }
        match (wrong, failed) {
            (0, 0) if json => Ok(String::new()),
            (0, 0) => Ok(format!("{summary}\n")),
            (0, _) => Err(Failure { exit: Failure::REFUSED, text: summary }),
            _ => Err(Failure { exit: WRONG, text: summary }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worst_is_the_exit_code() {
        let exit = |counts: Counts, unreadable: &[String]| {
            counts.conclude(unreadable, true).map_or_else(|failure| failure.exit, |_| 0)
        };
        let torn = ["trace.pcap ends in the middle of a frame".to_owned()];
        assert_eq!(exit(Counts { all: 3, incomplete: 1, ..Counts::default() }, &[]), 0);
        assert_eq!(exit(Counts { all: 3, failed: 1, ..Counts::default() }, &[]), 1);
        assert_eq!(exit(Counts { all: 3, failed: 1, wrong: 1, ..Counts::default() }, &[]), 3);
        assert_eq!(exit(Counts { all: 3, wrong: 1, ..Counts::default() }, &torn), 2);
    }
}
