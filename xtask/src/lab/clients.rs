//! Unmodified TLS clients on the peer: `openssl s_client`, curl, `gnutls-cli` and Python's `ssl`.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::peers::without_extended_master_secret;
use super::{Host, Lab, Leaf, Version, bracketed};

/// Ends a client that hangs, in seconds.
const LIMIT: &str = "20";

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `openssl s_client`.
    OpenSsl,
    /// curl, with OpenSSL.
    Curl,
    /// `gnutls-cli`.
    GnuTls,
    /// tests/interop/peers/tls_client.py.
    Python,
}

/// What a client shall do; each in its own words.
#[derive(Clone, Debug)]
pub struct ClientOptions<'a> {
    /// The anchor that the server is judged by.
    pub anchor: &'a Path,
    /// Where to connect.
    pub target: SocketAddr,
    /// The server name to ask for and to verify; `None`: no SNI, and the address is verified.
    pub name: Option<&'a str>,
    /// The only version to offer; `None` for its own choice.
    pub version: Option<Version>,
    /// Its own certificate.
    pub certificate: Option<&'a Leaf>,
    /// Application protocols. curl knows h2 and http/1.1 alone.
    pub alpn: &'a [&'a str],
    /// Key-exchange groups as OpenSSL names them, in order. Not for [`Client::Python`].
    pub groups: Option<&'a str>,
    /// Off: it does not know RFC 7627. Not for [`Client::Curl`] and [`Client::Python`].
    pub extended_master_secret: bool,
}

/// How a visit ended.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The client was content.
    pub success: bool,
    /// What it wrote to standard output: the page, and with some clients how the handshake went.
    pub page: String,
    /// What it said on standard error.
    pub said: String,
}

impl<'a> ClientOptions<'a> {
    /// As the client comes, without a certificate.
    pub fn new(anchor: &'a Path, target: SocketAddr, name: &'a str) -> Self {
        Self {
            anchor,
            target,
            name: Some(name),
            version: None,
            certificate: None,
            alpn: &[],
            groups: None,
            extended_master_secret: true,
        }
    }
}

impl Client {
    /// Every client.
    pub const ALL: [Self; 4] = [Self::OpenSsl, Self::Curl, Self::GnuTls, Self::Python];

    /// Fetches the root page over TLS.
    pub fn fetch(self, lab: &Lab, options: &ClientOptions<'_>) -> Result<Fetched> {
        self.fetch_with(lab, options, &[])
    }

    /// The same with further arguments of the program.
    pub fn fetch_with(self, lab: &Lab, options: &ClientOptions<'_>, arguments: &[&str]) -> Result<Fetched> {
        let mut command = self.command(lab, options);
        command.args(arguments);
        let mut process = lab.spawn_piped(&format!("{self:?}-client"), command)?;
        let mut input = process.take_stdin().context("no pipe")?;
        let mut output = process.take_stdout().context("no pipe")?;
        let host = options.name.unwrap_or("server");
        // A client that was refused may have ended already. Its input stays open: s_client and gnutls-cli take the
        // end of it for the end of the conversation.
        let _ = write!(input, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let mut page = Vec::new();
        output.read_to_end(&mut page)?;
        drop(input);
        let status = process.wait(Duration::from_secs(5))?;
        Ok(Fetched {
            success: status.success(),
            page: String::from_utf8_lossy(&page).into_owned(),
            said: process.log(),
        })
    }

    /// The command line alone. What s_client reads is text for the server, but for lines that begin with a command of
    /// its own, unless `-nocommands` is added.
    pub fn command(self, lab: &Lab, options: &ClientOptions<'_>) -> Command {
        let mut command = lab.command(Host::Peer, "timeout");
        command.arg(LIMIT);
        match self {
            Self::OpenSsl => openssl(lab, &mut command, options),
            Self::Curl => curl(&mut command, options),
            Self::GnuTls => gnutls(&mut command, options),
            Self::Python => python(&mut command, options),
        }
        command
    }
}

fn openssl(lab: &Lab, command: &mut Command, options: &ClientOptions<'_>) {
    if !options.extended_master_secret {
        without_extended_master_secret(lab, command);
    }
    command.args(["openssl", "s_client", "-verify_return_error", "-CAfile"]).arg(options.anchor);
    command.args(["-connect", &options.target.to_string()]);
    match options.name {
        Some(name) => command.args(["-servername", name, "-verify_hostname", name]),
        None => command.args(["-noservername", "-verify_ip", &options.target.ip().to_string()]),
    };
    command.args(options.version.map(Version::openssl_option));
    if let Some(leaf) = options.certificate {
        command.arg("-cert").arg(&leaf.certificate_file).arg("-key").arg(&leaf.key_file);
        command.arg("-cert_chain").arg(&leaf.issuer_file);
    }
    if !options.alpn.is_empty() {
        command.args(["-alpn", &options.alpn.join(",")]);
    }
    if let Some(groups) = options.groups {
        command.args(["-groups", groups]);
    }
}

fn curl(command: &mut Command, options: &ClientOptions<'_>) {
    let port = options.target.port();
    let address = bracketed(options.target.ip());
    command.args(["curl", "--silent", "--show-error", "--verbose", "--noproxy", "*", "--cacert"]).arg(options.anchor);
    let host = match options.name {
        Some(name) => {
            command.args(["--resolve", &format!("{name}:{port}:{address}")]);
            name.to_owned()
        }
        None => address,
    };
    if let Some(version) = options.version {
        let number = if version == Version::Tls12 { "1.2" } else { "1.3" };
        command.arg(format!("--tlsv{number}")).args(["--tls-max", number]);
    }
    if let Some(leaf) = options.certificate {
        command.arg("--cert").arg(&leaf.chain_file).arg("--key").arg(&leaf.key_file);
    }
    if options.alpn.is_empty() {
        command.arg("--no-alpn");
    } else {
        command.arg(if options.alpn.contains(&"h2") { "--http2" } else { "--http1.1" });
    }
    if let Some(groups) = options.groups {
        command.args(["--curves", groups]);
    }
    command.arg(format!("https://{host}:{port}/"));
}

fn gnutls(command: &mut Command, options: &ClientOptions<'_>) {
    command.args(["gnutls-cli", "--x509cafile"]).arg(options.anchor);
    command.arg(format!("--port={}", options.target.port()));
    let verified = match options.name {
        Some(name) => {
            command.arg(format!("--sni-hostname={name}"));
            name.to_owned()
        }
        None => {
            command.arg("--disable-sni");
            options.target.ip().to_string()
        }
    };
    command.arg(format!("--verify-hostname={verified}"));
    if let Some(leaf) = options.certificate {
        command.arg("--x509certfile").arg(&leaf.chain_file).arg("--x509keyfile").arg(&leaf.key_file);
    }
    command.args(options.alpn.iter().map(|protocol| format!("--alpn={protocol}")));
    let mut priority = "NORMAL".to_owned();
    if let Some(version) = options.version {
        priority += &format!(":-VERS-ALL:+VERS-{}", version.gnutls_name());
    }
    if let Some(groups) = options.groups {
        priority += ":-GROUP-ALL";
        for group in groups.split(':') {
            let name = group.strip_prefix("P-").map_or(group.to_owned(), |bits| format!("SECP{bits}R1"));
            priority += &format!(":+GROUP-{name}");
        }
    }
    if !options.extended_master_secret {
        priority += ":%NO_SESSION_HASH";
    }
    command.arg("--priority").arg(priority).arg(options.target.ip().to_string());
}

fn python(command: &mut Command, options: &ClientOptions<'_>) {
    let script = super::binaries::workspace().join("tests/interop/peers/tls_client.py");
    let address: IpAddr = options.target.ip();
    command.args(["/usr/bin/python3", "-u"]).arg(script).arg("--anchor").arg(options.anchor);
    command.args(["--address", &address.to_string(), "--port", &options.target.port().to_string()]);
    if let Some(name) = options.name {
        command.args(["--name", name]);
    }
    if let Some(version) = options.version {
        command.args(["--version", version.openssl_name()]);
    }
    if let Some(leaf) = options.certificate {
        command.arg("--chain").arg(&leaf.chain_file).arg("--key").arg(&leaf.key_file);
    }
    for protocol in options.alpn {
        command.args(["--alpn", protocol]);
    }
}
