//! `keyferry terminal`: over the admin socket while the gateway runs, else straight in the store.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::table::{aligned, date};
use super::{Failure, certificate, json, warn};
use crate::config::Config;
use crate::io::admin::{self, AdminRequest, AdminResponse, CallError, Contact, EnrolledTerminal, ShownTerminal};
use crate::io::clock;
use crate::io::files::PrivateFile;
use crate::io::signer::RemoteSigner;
use crate::io::store::Store;
use crate::io::store::enrol::NewTerminal;

/// Add, list, show and revoke terminals, and give them certificates. With or without a running gateway.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Admit a terminal and make the file it is configured with.
    Add(Add),
    /// List all terminals.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one terminal.
    Show {
        /// Its id.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a terminal certificates of its own, list and remove them.
    #[command(subcommand)]
    Certificate(certificate::Command),
    /// End a terminal's rights, its sessions and its channel, at once and for good.
    Revoke {
        /// Its id.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Admit a terminal and make the file it is configured with.
#[derive(Args)]
#[command(after_help = "\
Examples:
  keyferry terminal add meter-1 --address 10.7.1.10 --interface term0 --config-out meter-1.toml
  keyferry terminal add meter-2 --group sensors           its address is learnt from its channel
  keyferry terminal add meter-3 --address 10.7.1.20 --shared-address    behind a router of its own

The file holds the terminal's first channel key. Bring it to the terminal and delete it here.")]
pub(super) struct Add {
    /// The terminal's name: letters, digits and . _ - : @
    id: String,
    /// An address it may use; may be repeated. Without any, its address is learnt from its channel.
    #[arg(long, value_name = "IP")]
    address: Vec<IpAddr>,
    /// The interface its packets must arrive on.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// The Ethernet address its packets must carry.
    #[arg(long, value_name = "MAC")]
    mac: Option<String>,
    /// The group that rules name it by, as in terminals = ["group:sensors"].
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Other terminals may have the same address, if they were added with this as well.
    #[arg(long)]
    shared_address: bool,
    /// Give the id of a revoked terminal to this one.
    #[arg(long)]
    again: bool,
    /// Write the terminal's file here, and its first channel key beside it (x.toml, x.key), both for their owner
    /// alone, instead of to standard output. The terminal erases the key file at its first start.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    config_out: Option<PathBuf>,
    /// Where the terminal finds the gateway; by default the first fitting `listen` of [channel].
    #[arg(long, value_name = "ADDRESS:PORT")]
    gateway: Option<SocketAddr>,
    /// Print JSON, the key included.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(config: &Config, command: Command) -> Result<String, Failure> {
    match command {
        Command::Add(arguments) => add(config, arguments),
        Command::List { json: true } => json(&list(config)?),
        Command::List { json: false } => Ok(listed(&list(config)?)),
        Command::Show { id, json: as_json } => {
            let shown = one(config, AdminRequest::TerminalShow { id })?;
            if as_json { json(&shown) } else { Ok(described(&shown)) }
        }
        Command::Certificate(command) => certificate::execute(config, command),
        Command::Revoke { id, json: as_json } => {
            let shown = one(config, AdminRequest::TerminalRevoke { id: id.clone() })?;
            if as_json { json(&shown) } else { Ok(format!("terminal {id} is revoked\n")) }
        }
    }
}

fn add(config: &Config, arguments: Add) -> Result<String, Failure> {
    // Before anything is stored: a key that cannot be written down would be lost.
    let files = arguments.config_out.as_deref().map(TerminalFiles::create).transpose()?;
    let request = AdminRequest::TerminalAdd(NewTerminal {
        id: arguments.id,
        group: arguments.group,
        addresses: arguments.address,
        interface: arguments.interface,
        mac: arguments.mac,
        shared_address: arguments.shared_address,
        again: arguments.again,
    });
    let AdminResponse::Enrolled(mut enrolled) = ask(config, &request)? else {
        return Err(unfitting());
    };
    enrolled.gateway = arguments.gateway.unwrap_or(enrolled.gateway);
    if arguments.json {
        return json(&enrolled);
    }
    let EnrolledTerminal { terminal, .. } = &enrolled;
    let (id, kid) = (&terminal.id, &terminal.kid);
    let Some(files) = files else {
        warn(&format!("added terminal {id} (kid {kid}); its file, with its key, follows"));
        return Ok(enrolled.terminal_file(None).to_string());
    };
    let places = format!("{} and {}", files.path.display(), files.key_path.display());
    files.write(&enrolled).map_err(|error| {
        let remedy = format!("terminal {id} was added without them: revoke it and add it --again");
        Failure::refused(format!("{places}: {error}; {remedy}"))
    })?;
    Ok(format!("added terminal {id} (kid {kid})\nbring {places} to the terminal, and delete the key here\n"))
}

/// The terminal's file and its key, apart: the terminal erases the key file at its first start.
struct TerminalFiles {
    path: PathBuf,
    file: PrivateFile,
    key_path: PathBuf,
    key_file: PrivateFile,
}

impl TerminalFiles {
    fn create(path: &Path) -> Result<Self, Failure> {
        let key_path = path.with_extension("key");
        let create = |path: &Path| {
            PrivateFile::create(path).map_err(|error| Failure::refused(format!("{}: {error}", path.display())))
        };
        let (file, key_file) = (create(path)?, create(&key_path)?);
        Ok(Self { path: path.to_owned(), file, key_path, key_file })
    }

    fn write(self, enrolled: &EnrolledTerminal) -> std::io::Result<()> {
        let name = self.key_path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| std::io::Error::other("the name is not UTF-8 text"))?;
        self.key_file.write(enrolled.key.reveal().as_bytes())?;
        self.file.write(enrolled.terminal_file(Some(name)).as_bytes())
    }
}

fn list(config: &Config) -> Result<Vec<ShownTerminal>, Failure> {
    match ask(config, &AdminRequest::TerminalList)? {
        AdminResponse::Terminals(terminals) => Ok(terminals),
        _ => Err(unfitting()),
    }
}

fn one(config: &Config, request: AdminRequest) -> Result<ShownTerminal, Failure> {
    match ask(config, &request)? {
        AdminResponse::Terminal(terminal) => Ok(*terminal),
        _ => Err(unfitting()),
    }
}

/// Asks the running gateway, or does it without one.
pub(super) fn ask(config: &Config, request: &AdminRequest) -> Result<AdminResponse, Failure> {
    let response = match admin::call(&config.gateway.admin_socket, request) {
        Err(CallError::NotRunning(_)) => {
            let mut store = Store::open(&config.gateway.state_directory, &config.gateway.key_file)?;
            let contact = Contact { gateway_id: config.gateway.id, listen: config.channel.listen.clone() };
            let response = admin::operate(&mut store, &contact, request, clock::unix_seconds());
            forget_at_signer(config, request)?;
            response.ok_or_else(unfitting)?
        }
        answered => answered?,
    };
    match response {
        AdminResponse::Refused(why) | AdminResponse::Failed(why) => Err(Failure::refused(why)),
        response => Ok(response),
    }
}

/// Without a gateway, somebody must tell the signer whose keys are not needed any more.
fn forget_at_signer(config: &Config, request: &AdminRequest) -> Result<(), Failure> {
    let (id, name) = match request {
        AdminRequest::TerminalRevoke { id } => (id, None),
        AdminRequest::CertificateRemove { id, name } => (id, Some(name.as_str())),
        _ => return Ok(()),
    };
    let Some(signer) = &config.signer else { return Ok(()) };
    RemoteSigner::new(&signer.socket).forget(id, name).map_err(|error| {
        Failure::refused(format!(
            "it is done, but the signer still has private keys of {id}: {error}; then repeat this"
        ))
    })
}

pub(super) fn unfitting() -> Failure {
    Failure::refused("the gateway gave an answer that does not fit; is it of another version?")
}

fn listed(terminals: &[ShownTerminal]) -> String {
    if terminals.is_empty() {
        return "no terminals; add one with `keyferry terminal add ID`\n".into();
    }
    let head = ["ID", "GROUP", "ADDRESSES", "INTERFACE", "ADDED", "STATE"].map(str::to_owned).to_vec();
    let rows = terminals.iter().map(|shown| {
        let record = &shown.record;
        vec![
            record.id.clone(),
            or_dash(record.group.as_deref()),
            addresses(shown),
            or_dash(record.interface.as_deref()),
            date(record.created),
            state(shown),
        ]
    });
    aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

fn described(shown: &ShownTerminal) -> String {
    let record = &shown.record;
    let mut rows = vec![
        ("id", record.id.clone()),
        ("kid", record.kid.clone()),
        ("group", or_dash(record.group.as_deref())),
        ("addresses", addresses(shown)),
        ("interface", or_dash(record.interface.as_deref())),
        ("mac", or_dash(record.mac.as_deref())),
        ("added", date(record.created)),
        ("state", state(shown)),
    ];
    if let Some(live) = &shown.live {
        rows.push(("channel", live.channel_address.map_or("-".into(), |address| address.to_string())));
        rows.push(("key epoch", live.epoch.to_string()));
        rows.push(("handshakes", live.pending.to_string()));
        rows.push(("sessions", live.sessions.to_string()));
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    aligned(&rows)
}

fn addresses(shown: &ShownTerminal) -> String {
    if shown.record.addresses.is_empty() {
        return "learnt".into();
    }
    let addresses: Vec<String> = shown.record.addresses.iter().map(IpAddr::to_string).collect();
    let shared = if shown.record.shared_address { " (shared)" } else { "" };
    format!("{}{shared}", addresses.join(", "))
}

fn state(shown: &ShownTerminal) -> String {
    match (shown.record.revoked, &shown.live) {
        (Some(revoked), _) => format!("revoked {}", date(revoked)),
        (None, None) => "admitted".into(),
        (None, Some(live)) => match live.heard_seconds_ago {
            Some(seconds) => format!("heard {seconds} s ago"),
            None => "not heard yet".into(),
        },
    }
}

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}
