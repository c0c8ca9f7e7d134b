//! `keyferry terminal certificate`: the certificates that a terminal proves itself with.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use x509_parser::pem::Pem;
use zeroize::Zeroizing;

use super::table::{aligned, date};
use super::terminal::{ask, unfitting};
use super::{Failure, json, warn};
use crate::config::Config;
use crate::crypto::Secret;
use crate::hex;
use crate::io::admin::{AdminRequest, AdminResponse, KeyText, NewCertificate, ShownCertificate};
use crate::io::signer::RemoteSigner;
use crate::io::{clock, files};
use crate::signer::Credential;

/// Larger than any chain that is accepted.
const LARGEST_CHAIN_FILE: u64 = 1 << 20;
/// Larger than any private key.
const LARGEST_KEY_FILE: usize = 64 << 10;

/// Give a terminal certificates of its own, list and remove them.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Give a terminal a certificate with its private key.
    Add(Add),
    /// List the certificates of a terminal.
    List {
        /// The terminal's id.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take a certificate from a terminal and erase its private key.
    Remove {
        /// The terminal's id.
        id: String,
        /// The certificate's name, as `list` shows it.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Give a terminal a certificate with its private key.
#[derive(Args)]
#[command(after_help = "\
Examples:
  keyferry terminal certificate add meter-1 --chain meter-1.pem --key meter-1.key
  keyferry terminal certificate add meter-1 --name next --chain new.pem --key new.key

The gateway proves with it who the terminal is, to servers that ask for a client certificate and to clients of
the terminal's services. With [signer] in the configuration the private key goes to the signer process alone.
Delete the key file here afterwards.")]
pub(super) struct Add {
    /// The terminal's id.
    id: String,
    /// Its certificate and those of the CAs below the root, PEM, in this order.
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    /// The private key, PEM, not encrypted: RSA of 2048 to 4096 bits, ECDSA P-256 or P-384, or Ed25519.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The certificate's name; one of the same name is replaced.
    #[arg(long, default_value = "default")]
    name: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(config: &Config, command: Command) -> Result<String, Failure> {
    match command {
        Command::Add(arguments) => add(config, &arguments),
        Command::List { id, json: as_json } => {
            let AdminResponse::Certificates(list) = ask(config, &AdminRequest::CertificateList { id: id.clone() })?
            else {
                return Err(unfitting());
            };
            if as_json { json(&list) } else { Ok(listed(&id, &list)) }
        }
        Command::Remove { id, name, json: as_json } => {
            let request = AdminRequest::CertificateRemove { id: id.clone(), name: name.clone() };
            let shown = one(config, &request)?;
            if as_json { json(&shown) } else { Ok(format!("certificate {name} of terminal {id} is removed\n")) }
        }
    }
}

fn add(config: &Config, arguments: &Add) -> Result<String, Failure> {
    let Add { id, chain, key, name, json: as_json } = arguments;
    let credential = Credential::new(name, read_chain(chain)?).map_err(|bad| wrong(chain, bad))?;
    let private_key = read_key(key)?;
    credential.check_private_key(&private_key).map_err(|bad| wrong(key, bad))?;
    warn_of_dates(chain, &credential);
    let mut request = NewCertificate {
        id: id.clone(),
        name: name.clone(),
        chain: credential.chain.iter().map(|certificate| hex::encode(certificate)).collect(),
        private_key: None,
    };
    match &config.signer {
        Some(signer) => {
            // The signer knows no terminals: ask first whether there is this one, and it is not revoked.
            if let AdminResponse::Terminal(shown) = ask(config, &AdminRequest::TerminalShow { id: id.clone() })?
                && shown.record.revoked.is_some()
            {
                return Err(Failure::refused(format!("terminal {id} is revoked; a certificate would be of no use")));
            }
            RemoteSigner::new(&signer.socket).import(id, &credential, &private_key)?;
        }
        None => request.private_key = Some(KeyText::new(hex::encode(private_key.as_bytes()))),
    }
    let shown = one(config, &AdminRequest::CertificateAdd(request))?;
    if *as_json {
        return json(&shown);
    }
    let (holder, until) = (&shown.private_key, date_of(shown.not_after));
    let key = key.display();
    Ok(format!(
        "certificate {name} of terminal {id} is valid until {until}\nthe {holder} has the private key now; delete {key} here\n"
    ))
}

fn one(config: &Config, request: &AdminRequest) -> Result<ShownCertificate, Failure> {
    match ask(config, request)? {
        AdminResponse::Certificate(shown) => Ok(shown),
        _ => Err(unfitting()),
    }
}

/// The certificates of a PEM file, or the one of a DER file.
fn read_chain(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = files::read(path, LARGEST_CHAIN_FILE).map_err(|error| wrong(path, error))?;
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes]);
    }
    let blocks = Pem::iter_from_buffer(&bytes).collect::<Result<Vec<_>, _>>().map_err(|error| wrong(path, error))?;
    Ok(blocks.into_iter().filter(|block| block.label == "CERTIFICATE").map(|block| block.contents).collect())
}

/// The private key of a PEM file, or of a DER file.
fn read_key(path: &Path) -> Result<Secret, Failure> {
    let (bytes, is_open_to_others) = files::read_secret(path, LARGEST_KEY_FILE).map_err(|error| wrong(path, error))?;
    if is_open_to_others {
        warn(&format!(
            "warning: others can read {}; if somebody has, have a new key certified; chmod 600 keeps it private",
            path.display()
        ));
    }
    if bytes.first() == Some(&0x30) {
        return Ok(Secret::from_slice(&bytes));
    }
    for block in Pem::iter_from_buffer(&bytes) {
        let block = block.map_err(|error| wrong(path, error))?;
        let contents = Zeroizing::new(block.contents);
        match block.label.as_str() {
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => return Ok(Secret::from_slice(&contents)),
            "ENCRYPTED PRIVATE KEY" => {
                let remedy =
                    "the private key is encrypted; decrypt it for the import: openssl pkey -in FILE -out PLAIN";
                return Err(wrong(path, remedy));
            }
            _ => {}
        }
    }
    Err(wrong(path, "it holds no -----BEGIN PRIVATE KEY----- block"))
}

fn warn_of_dates(path: &Path, credential: &Credential) {
    let now = i64::try_from(clock::unix_seconds()).unwrap_or(i64::MAX);
    let path = path.display();
    if credential.not_after() < now {
        warn(&format!("warning: {path} expired on {}; no peer will accept it", date_of(credential.not_after())));
    }
    if credential.not_before() > now {
        warn(&format!("warning: {path} is not valid before {}", date_of(credential.not_before())));
    }
}

fn listed(id: &str, list: &[ShownCertificate]) -> String {
    if list.is_empty() {
        return format!("terminal {id} has no certificate; add one with `keyferry terminal certificate add {id}`\n");
    }
    let head = ["NAME", "SUBJECT", "NAMES", "KEY", "VALID UNTIL", "KEY IS WITH"].map(str::to_owned).to_vec();
    let rows = list.iter().map(|shown| {
        let names = if shown.names.is_empty() { "-".to_owned() } else { shown.names.join(", ") };
        let until = date_of(shown.not_after);
        vec![shown.name.clone(), shown.subject.clone(), names, shown.key.clone(), until, shown.private_key.clone()]
    });
    aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

fn date_of(seconds: i64) -> String {
    date(u64::try_from(seconds).unwrap_or_default())
}

fn wrong(path: &Path, what: impl std::fmt::Display) -> Failure {
    Failure::refused(format!("{}: {what}", path.display()))
}
