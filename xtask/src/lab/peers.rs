//! Unmodified TLS servers: nginx, `openssl s_server`, `gnutls-serv` and Python's `ssl`.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Host, Lab, Leaf, Process, bracketed};

/// The name that the lab's default rules map to the peer.
pub const SERVER_NAME: &str = "server.example";

const PATIENCE: Duration = Duration::from_secs(10);

/// What a server shall do; each in its own words.
#[derive(Clone, Debug)]
pub struct PeerOptions<'a> {
    /// The certificate it shows.
    pub leaf: &'a Leaf,
    /// Where it listens. Servers that cannot choose listen on every address.
    pub address: IpAddr,
    /// The TCP port.
    pub port: u16,
    /// Key-exchange groups as OpenSSL names them, for example `P-384`; `None` for its own choice.
    pub groups: Option<&'a str>,
    /// The only version that it speaks; `None` for its own choice.
    pub version: Option<Version>,
    /// The anchor that clients' certificates are judged by, which are demanded then.
    pub clients: Option<&'a Path>,
    /// Off: it does not know RFC 7627. For [`OpenSsl`] and [`GnuTls`].
    pub extended_master_secret: bool,
}

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Version {
    /// The older first.
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// As OpenSSL words it, and with it nginx and Python.
    pub fn openssl_name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }

    /// As GnuTLS words it.
    pub fn gnutls_name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLS1.2",
            Self::Tls13 => "TLS1.3",
        }
    }

    /// The option of `openssl s_client` and `s_server`.
    pub(super) fn openssl_option(self) -> &'static str {
        match self {
            Self::Tls12 => "-tls1_2",
            Self::Tls13 => "-tls1_3",
        }
    }
}

impl<'a> PeerOptions<'a> {
    /// Port 443 on the peer's IPv4 address, everything else as the server comes.
    pub fn new(leaf: &'a Leaf) -> Self {
        Self {
            leaf,
            address: Host::Peer.ipv4().into(),
            port: 443,
            groups: None,
            version: None,
            clients: None,
            extended_master_secret: true,
        }
    }
}

/// nginx with one site. Its access log has a line for each request: `ADDRESS:PORT REQUEST STATUS BYTES PROTOCOL CIPHER
/// CURVE REUSED CLIENT`; the client is the subject of its certificate.
#[derive(Debug)]
pub struct Nginx {
    /// The process.
    pub process: Process,
    root: PathBuf,
    access_log: PathBuf,
}

impl Nginx {
    /// Starts nginx on both addresses of the peer.
    pub fn start(lab: &Lab, options: &PeerOptions<'_>) -> Result<Self> {
        let directory = lab.directory().join(format!("nginx-{}", options.port));
        let root = directory.join("site");
        fs::create_dir_all(&root)?;
        let access_log = directory.join("access.log");
        let configuration = directory.join("nginx.conf");
        fs::write(&configuration, nginx_configuration(&directory, options))?;
        let mut command = lab.command(Host::Peer, "nginx");
        command.arg("-e").arg(directory.join("error.log"));
        command.arg("-p").arg(&directory).arg("-c").arg(&configuration);
        let process = lab.spawn(&format!("nginx-{}", options.port), command)?;
        lab.wait_for_tcp(Host::Peer, options.port, PATIENCE)
            .with_context(|| format!("nginx says: {}", process.log()))?;
        Ok(Self { process, root, access_log })
    }

    /// Puts a file onto the site.
    pub fn publish(&self, name: &str, content: &[u8]) -> Result<()> {
        fs::write(self.root.join(name), content).context("writing a page")
    }

    /// The access log so far.
    pub fn access_log(&self) -> String {
        fs::read_to_string(&self.access_log).unwrap_or_default()
    }
}

fn nginx_configuration(directory: &Path, options: &PeerOptions<'_>) -> String {
    let protocols = options.version.map_or("TLSv1.2 TLSv1.3", Version::openssl_name);
    let clients = options.clients.map(|anchor| {
        format!("ssl_client_certificate {}; ssl_verify_client on; ssl_verify_depth 2;", anchor.display())
    });
    let groups = options.groups.map(|groups| format!("ssl_ecdh_curve {groups};")).unwrap_or_default();
    format!(
        r#"daemon off;
# The lab may have only one user id.
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 4096; }}
http {{
    log_format lab '$remote_addr:$remote_port "$request" $status $body_bytes_sent $ssl_protocol $ssl_cipher $ssl_curve '
        '$ssl_session_reused "$ssl_client_s_dn"';
    access_log {directory}/access.log lab;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 100000;
    server {{
        {listen}
        server_name {SERVER_NAME};
        root {directory}/site;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols {protocols};
        {groups}
        {clients}
    }}
}}
"#,
        directory = directory.display(),
        listen = nginx_listen(options),
        clients = clients.unwrap_or_default(),
        chain = options.leaf.chain_file.display(),
        key = options.leaf.key_file.display(),
    )
}

/// Both of the peer's addresses, and a third one where the test asks for it.
fn nginx_listen(options: &PeerOptions<'_>) -> String {
    let own = Host::Peer.addresses();
    let third = (!own.contains(&options.address)).then_some(options.address);
    let line = |address| format!("listen {}:{} ssl;", bracketed(address), options.port);
    own.into_iter().chain(third).map(line).collect::<Vec<_>>().join("\n        ")
}

/// `openssl s_server`.
#[derive(Debug)]
pub struct OpenSsl {
    /// The process. With [`OpenSsl::interactive`], a `K` line on its standard input makes it send a
    /// KeyUpdate that asks for ours, a `k` line one that does not, an `r` line makes it ask for a renegotiation.
    pub process: Process,
}

impl OpenSsl {
    /// Starts `openssl s_server` with further arguments, for example `-www` (a status page),
    /// `-HTTP` (files of the lab's directory), `-rev` (each line back, reversed).
    pub fn start(lab: &Lab, options: &PeerOptions<'_>, arguments: &[&str]) -> Result<Self> {
        let process = lab.spawn(&format!("openssl-{}", options.port), openssl_command(lab, options, arguments))?;
        Self::listening(lab, options, process)
    }

    /// As a plain pipe: what is written to its standard input goes to the client.
    pub fn interactive(lab: &Lab, options: &PeerOptions<'_>, arguments: &[&str]) -> Result<Self> {
        let process =
            lab.spawn_piped(&format!("openssl-{}", options.port), openssl_command(lab, options, arguments))?;
        Self::listening(lab, options, process)
    }

    fn listening(lab: &Lab, options: &PeerOptions<'_>, process: Process) -> Result<Self> {
        lab.wait_for_tcp(Host::Peer, options.port, PATIENCE)
            .with_context(|| format!("openssl s_server says: {}", process.log()))?;
        Ok(Self { process })
    }
}

fn openssl_command(lab: &Lab, options: &PeerOptions<'_>, arguments: &[&str]) -> Command {
    let mut command = lab.command(Host::Peer, "openssl");
    if !options.extended_master_secret {
        without_extended_master_secret(lab, &mut command);
    }
    command.current_dir(lab.directory());
    command.args(["s_server", "-accept"]);
    command.arg(format!("{}:{}", bracketed(options.address), options.port));
    command.arg("-cert").arg(&options.leaf.certificate_file);
    command.arg("-cert_chain").arg(&options.leaf.issuer_file);
    command.arg("-key").arg(&options.leaf.key_file);
    if let Some(groups) = options.groups {
        command.args(["-groups", groups]);
    }
    command.args(options.version.map(Version::openssl_option));
    if let Some(anchor) = options.clients {
        command.args(["-Verify", "3", "-verify_return_error", "-verifyCAfile"]).arg(anchor);
    }
    command.args(arguments);
    command
}

/// OpenSSL has no option for it: its configuration does.
pub(super) fn without_extended_master_secret(lab: &Lab, command: &mut Command) {
    const CONFIGURATION: &str = "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = system\n\
                                 [system]\nOptions = -ExtendedMasterSecret\n";
    let file = lab.directory().join("old-openssl.cnf");
    // Without the file OpenSSL goes on as ever, and the test that wants this fails.
    let _ = fs::write(&file, CONFIGURATION);
    command.env("OPENSSL_CONF", file);
}

/// `gnutls-serv`, as a web server with a status page or, with `--echo`, as an echo. Listens on every address.
#[derive(Debug)]
pub struct GnuTls {
    /// The process.
    pub process: Process,
}

impl GnuTls {
    /// Starts `gnutls-serv` with further arguments, `--http` or `--echo` among them.
    pub fn start(lab: &Lab, options: &PeerOptions<'_>, arguments: &[&str]) -> Result<Self> {
        let groups = options.groups.map(|group| format!(":-GROUP-ALL:+GROUP-{group}"));
        let version = options.version.map(|version| format!(":-VERS-ALL:+VERS-{}", version.gnutls_name()));
        let old = if options.extended_master_secret { "" } else { ":%NO_SESSION_HASH" };
        let mut command = lab.command(Host::Peer, "gnutls-serv");
        command.arg(format!("--port={}", options.port));
        command.arg("--x509certfile").arg(&options.leaf.chain_file);
        command.arg("--x509keyfile").arg(&options.leaf.key_file);
        command.arg("--priority");
        command.arg(format!("NORMAL{}{}{old}", version.unwrap_or_default(), groups.unwrap_or_default()));
        if let Some(anchor) = options.clients {
            command.args(["--require-client-cert", "--verify-client-cert", "--x509cafile"]).arg(anchor);
        }
        command.args(arguments);
        let process = lab.spawn(&format!("gnutls-{}", options.port), command)?;
        lab.wait_for_tcp(Host::Peer, options.port, PATIENCE)
            .with_context(|| format!("gnutls-serv says: {}", process.log()))?;
        Ok(Self { process })
    }
}

/// Python's `ssl`: answers each request with its own account of the connection.
#[derive(Debug)]
pub struct PythonTls {
    /// The process.
    pub process: Process,
}

impl PythonTls {
    /// Starts tests/interop/peers/tls_server.py.
    pub fn start(lab: &Lab, options: &PeerOptions<'_>) -> Result<Self> {
        let script = super::binaries::workspace().join("tests/interop/peers/tls_server.py");
        let mut command = lab.command(Host::Peer, "/usr/bin/python3");
        command.arg("-u").arg(script);
        command.arg("--address").arg(options.address.to_string());
        command.arg("--port").arg(options.port.to_string());
        command.arg("--chain").arg(&options.leaf.chain_file);
        command.arg("--key").arg(&options.leaf.key_file);
        if let Some(version) = options.version {
            command.args(["--version", version.openssl_name()]);
        }
        if let Some(anchor) = options.clients {
            command.arg("--clients").arg(anchor);
        }
        if let Some(groups) = options.groups {
            command.args(["--group", groups]);
        }
        let process = lab.spawn(&format!("python-{}", options.port), command)?;
        lab.wait_for_tcp(Host::Peer, options.port, PATIENCE)
            .with_context(|| format!("the Python server says: {}", process.log()))?;
        Ok(Self { process })
    }
}
