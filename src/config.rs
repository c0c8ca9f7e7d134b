//! What the operator wrote, checked and turned into the values of each module. Every mistake is found in
//! one pass, with its line and a remedy; see [`load`].

mod algorithms;
mod finding;
mod peers;
mod section;
mod services;
mod settings;
mod trust;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyferry_channel::Id;
use toml::Spanned;
use toml::de::DeTable;

pub use finding::{Finding, Severity};

use crate::daemon::Plan;
use crate::gateway::Settings;
use crate::io::path::Rules;
use crate::io::revocation::RevocationFiles;
use crate::io::{files, signer};
use crate::policy::{self, AddressGuard, Policy};
use finding::Report;
use section::Section;
use trust::NamedTrust;

/// Where the configuration is looked for unless the operator says otherwise.
pub const DEFAULT_FILE: &str = "/etc/keyferry/keyferry.toml";

/// A configuration without mistakes. Paths are absolute or relative to the working directory; the file
/// may have named them relative to itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// `[gateway]`.
    pub gateway: Gateway,
    /// `[signer]`, where the private keys are with a process of its own.
    pub signer: Option<signer::Service>,
    /// `[network]`.
    pub network: Network,
    /// `[channel]`.
    pub channel: Channel,
    /// `[limits]`.
    pub limits: Limits,
    /// `[[peer]]`, `[[service]]` and `[trust.*]`, with revision 1.
    pub policy: Policy,
    /// Where the revocation lists of each trust are read again when they change.
    pub revocation_lists: Vec<RevocationFiles>,
}

/// The gateway itself and its files.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its OSCORE id, which no terminal ever has: one byte, or a first byte 00.
    pub id: Id,
    /// The directory of store.redb and channel.slots.
    pub state_directory: PathBuf,
    /// The file with the key that seals the store.
    pub key_file: PathBuf,
    /// The Unix socket of `keyferry stats` and `keyferry terminal`.
    pub admin_socket: PathBuf,
}

/// The networks around the gateway.
#[derive(Clone, Debug)]
pub struct Network {
    /// Interfaces that terminals are on; at least one.
    pub terminal_interfaces: Vec<String>,
    /// Networks no terminal may reach.
    pub closed: Vec<policy::Network>,
    /// The local TCP port that intercepted connections are diverted to.
    pub intercept_port: u16,
    /// The local TCP port that connections to terminals' services are diverted to.
    pub service_port: u16,
    /// The routing table, and packet mark, of intercepted connections.
    pub routing_table: u32,
}

/// The channel to the terminals.
#[derive(Clone, Debug)]
pub struct Channel {
    /// UDP addresses to listen on; at least one, never unspecified or loopback.
    pub listen: Vec<SocketAddr>,
    /// Hand-overs under one channel key: 1 to 8.
    pub handovers_per_epoch: u8,
    /// How long one channel key serves, at most a day.
    pub epoch: Duration,
}

/// What one terminal, and all together, may ask for.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a handshake with a peer may take.
    pub handshake: Duration,
    /// Handshakes a second for each terminal.
    pub handshakes_per_second: u32,
    /// Handshakes open at once for each terminal.
    pub pending_per_terminal: u32,
    /// Sessions carried at once for each terminal.
    pub sessions_per_terminal: u32,
    /// Handshakes open at once for all terminals.
    pub pending: u32,
    /// Worker threads; 0: one for each core.
    pub workers: u32,
}

/// No configuration is longer, in bytes.
const LONGEST: u64 = 4 << 20;
/// How long a terminal has to open TCP after its offer.
const OFFER_TIME: Duration = Duration::from_secs(10);
/// How long a name may take; the terminal waits 2.8 s in all.
const LOOKUP_TIME: Duration = Duration::from_secs(2);
/// How long a terminal may take to acknowledge its keys.
const DELIVERY_TIME: Duration = Duration::from_secs(60);

impl Config {
    /// The same, in the words of the modules that act on it.
    pub fn plan(&self) -> Plan {
        Plan {
            settings: Settings {
                gateway_id: self.gateway.id,
                handovers_per_epoch: self.channel.handovers_per_epoch,
                epoch_lifetime: self.channel.epoch,
                handshake_time: self.limits.handshake,
                offer_time: OFFER_TIME,
                lookup_time: LOOKUP_TIME,
                delivery_time: DELIVERY_TIME,
                handshakes_per_second: self.limits.handshakes_per_second,
                pending_per_terminal: self.limits.pending_per_terminal,
                sessions_per_terminal: self.limits.sessions_per_terminal,
                pending: self.limits.pending as usize,
            },
            policy: self.policy.clone(),
            revocation_lists: self.revocation_lists.clone(),
            closed: self.network.closed.clone(),
            rules: Rules {
                terminal_interfaces: self.network.terminal_interfaces.clone(),
                intercept_port: self.network.intercept_port,
                service_port: self.network.service_port,
                routing_table: self.network.routing_table,
                channel_ports: self.channel.listen.iter().map(SocketAddr::port).collect(),
            },
            channel: self.channel.listen.clone(),
            state_directory: self.gateway.state_directory.clone(),
            key_file: self.gateway.key_file.clone(),
            admin_socket: self.gateway.admin_socket.clone(),
            signer: self.signer.as_ref().map(|signer| signer.socket.clone()),
            workers: self.limits.workers as usize,
        }
    }
}

/// What came of reading a configuration.
pub struct Checked {
    /// The configuration, unless there are mistakes.
    pub config: Option<Config>,
    /// Mistakes and warnings in the order of their lines.
    pub findings: Vec<Finding>,
}

/// Where a configuration is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Here: interfaces that do not exist are worth a warning.
    This,
    /// On another machine.
    Other,
}

/// Reads and checks a configuration file and the certificates it names. `now` is in seconds since 1970.
///
/// # Errors
/// Only where the file itself cannot be read; what is wrong *in* it is among the findings.
pub fn load(file: &Path, now: u64, host: Host) -> std::io::Result<Checked> {
    Ok(check(file, &text_of(file)?, now, host))
}

fn text_of(file: &Path) -> std::io::Result<String> {
    String::from_utf8(files::read(file, LONGEST)?)
        .map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// What came of reading a signer's configuration.
pub struct CheckedSigner {
    /// `[signer]`, unless there are mistakes.
    pub signer: Option<signer::Service>,
    /// Mistakes and warnings in the order of their lines.
    pub findings: Vec<Finding>,
}

/// Reads `[signer]` of a file. What else is in it is the gateway's, and not judged.
///
/// # Errors
/// Only where the file itself cannot be read.
pub fn load_signer(file: &Path) -> std::io::Result<CheckedSigner> {
    let source = text_of(file)?;
    let report = Report::new(file, &source);
    let (document, errors) = parse(&report, &source);
    let section = Section::document(&report, &document).child("signer");
    let surroundings = Surroundings { directory: file.parent().unwrap_or(Path::new("")), now: 0, host: Host::Other };
    let signer = settings::signer(&section, &surroundings);
    if signer.is_none() && !errors {
        report.mistake(&(0..0), "signer", "there is no [signer] in this file", "add a line [signer]");
    }
    let signer = signer.filter(|_| !report.has_mistakes());
    Ok(CheckedSigner { signer, findings: report.into_findings() })
}

/// Checks the text of a configuration file; see [`load`].
pub fn check(file: &Path, source: &str, now: u64, host: Host) -> Checked {
    let report = Report::new(file, source);
    let (document, has_errors) = parse(&report, source);
    // What the parser made up to carry on after a syntax error would only cause mistakes of its own.
    let config = (!has_errors).then(|| {
        let document = Section::document(&report, &document);
        let surroundings = Surroundings { directory: file.parent().unwrap_or(Path::new("")), now, host };
        read(file, &document, &surroundings)
    });
    let config = config.flatten().filter(|_| !report.has_mistakes());
    Checked { config, findings: report.into_findings() }
}

/// Reports mistakes in the syntax, and tells whether there are any.
fn parse<'a>(report: &Report<'_>, source: &'a str) -> (Spanned<DeTable<'a>>, bool) {
    let (document, errors) = DeTable::parse_recoverable(source);
    for error in &errors {
        report.mistake(&error.span().unwrap_or(0..0), "", error.message(), "correct the TOML syntax here");
    }
    (document, !errors.is_empty())
}

/// What the meaning of a file depends on besides its text.
struct Surroundings<'a> {
    directory: &'a Path,
    now: u64,
    host: Host,
}

/// Reads every section, even after a mistake in one, so that all are reported.
fn read(file: &Path, document: &Section<'_>, surroundings: &Surroundings<'_>) -> Option<Config> {
    let gateway = settings::gateway(&document.child("gateway"), surroundings);
    let signer = settings::signer(&document.child("signer"), surroundings);
    let network = settings::network(&document.child("network"), surroundings);
    let channel = settings::channel(&document.child("channel"));
    let limits = settings::limits(&document.child("limits"));
    let trusts = trust::read_all(&document.child("trust"), surroundings);
    let closed = network.as_ref().map(|network| network.closed.clone()).unwrap_or_default();
    let mut guard = AddressGuard::new(closed);
    guard.set_gateway(channel.iter().flat_map(|channel| &channel.listen).map(SocketAddr::ip));
    let services = services::read_all(document, &trusts);
    let rules = peers::read_all(document, &trusts, &services, &guard);
    let revocation_lists = trusts.iter().flat_map(NamedTrust::revocation_lists).collect();
    document.finish();
    Some(Config {
        file: file.to_owned(),
        gateway: gateway?,
        signer,
        network: network?,
        channel: channel?,
        limits,
        policy: Policy::new(1, rules).with_services(services),
        revocation_lists,
    })
}
