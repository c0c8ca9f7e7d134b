//! The gateway under test: its configuration file, its process, its command line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Agent, Binaries, Host, Lab, Leaf, Pki, Process, bracketed, finish};

/// The port of the channel.
const CHANNEL_PORT: u16 = 5683;

/// The gateway's own hosts file, in the lab's directory.
const HOSTS: &str = "hosts";

/// Runs a command in a mount namespace where `/etc/hosts` is another file.
const WITH_HOSTS: &str = r#"mount --bind "$0" /etc/hosts && exec "$@""#;

/// Trust in the lab's authority as `[trust.lab]`, and one rule: every terminal may reach the server.
pub const DEFAULT_RULES: &str = r#"
[trust.lab]
anchors = ["pki/root.pem"]

[[peer]]
name = "server.example"
addresses = ["10.7.2.2", "fd07:2::2"]
ports = [443]
terminals = ["*"]
trust = "lab"
"#;

/// What to write into keyferry.toml beside the lab's own addresses.
#[derive(Clone, Copy, Debug)]
pub struct GatewayOptions<'a> {
    /// Lines of `[limits]`.
    pub limits: &'a str,
    /// `[trust.*]` and `[[peer]]` tables.
    pub rules: &'a str,
    /// Networks closed to every terminal, as a TOML list.
    pub closed: &'a str,
    /// Further arguments of `keyferry run`.
    pub arguments: &'a [&'a str],
    /// Lines of a hosts(5) file that the gateway alone resolves names by; empty: the machine's own.
    pub hosts: &'a str,
    /// The socket of a running [`Signer`](super::Signer), which then has the private keys.
    pub signer: Option<&'a Path>,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// The process; its log is the gateway's.
    pub process: Process,
    config: PathBuf,
    binaries: Binaries,
    arguments: Vec<String>,
}

impl Default for GatewayOptions<'_> {
    fn default() -> Self {
        Self { limits: "", rules: DEFAULT_RULES, closed: "[]", arguments: &[], hosts: "", signer: None }
    }
}

impl Gateway {
    /// Writes `gateway/keyferry.toml` into the lab's directory, starts `keyferry run` in the
    /// gateway's namespace and waits until its channel is open. The PKI must have been made in
    /// the lab's directory.
    pub fn start(lab: &Lab, pki: &Pki, binaries: &Binaries, options: GatewayOptions<'_>) -> Result<Self> {
        debug_assert!(pki.anchor_file().starts_with(lab.directory()));
        let config = lab.directory().join("keyferry.toml");
        std::fs::write(&config, configuration(lab, options))?;
        if !options.hosts.is_empty() {
            std::fs::write(lab.directory().join(HOSTS), options.hosts)?;
        }
        let arguments: Vec<String> = options.arguments.iter().map(ToString::to_string).collect();
        let process = run(lab, binaries, &config, &arguments)?;
        Ok(Self { process, config, binaries: binaries.clone(), arguments })
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Runs `keyferry ARGUMENTS --config ..` in the gateway's namespace.
    pub fn keyferry(&self, lab: &Lab, arguments: &[&str]) -> Result<String> {
        let mut command = lab.command(Host::Gateway, &self.binaries.keyferry);
        finish(command.args(arguments).arg("--config").arg(&self.config))
    }

    /// Adds a terminal with both of its addresses and returns its agent, ready to connect.
    pub fn add_terminal(&self, lab: &Lab, id: &str, host: Host) -> Result<Agent> {
        self.add_terminal_with(lab, id, host, &[])
    }

    /// The same with further arguments of `keyferry terminal add`.
    pub fn add_terminal_with(&self, lab: &Lab, id: &str, host: Host, further: &[&str]) -> Result<Agent> {
        // The terminal keeps its state beside its configuration.
        let directory = lab.directory().join(id);
        std::fs::create_dir(&directory)?;
        let config = directory.join("keyferry-terminal.toml");
        let [ipv4, ipv6] = host.addresses();
        let [gateway, _] = host.gateway_addresses();
        let (ipv4, ipv6) = (ipv4.to_string(), ipv6.to_string());
        let gateway = format!("{gateway}:{CHANNEL_PORT}");
        let out = config.to_string_lossy();
        let arguments = [
            ["--address", &ipv4],
            ["--address", &ipv6],
            ["--interface", host.gateway_interface()],
            ["--gateway", &gateway],
            ["--config-out", &out],
        ];
        self.keyferry(lab, &[&["terminal", "add", id], arguments.as_flattened(), further].concat())
            .with_context(|| format!("adding {id}; the gateway logged\n{}", self.process.log()))?;
        Ok(Agent::new(id, host, config, &self.binaries))
    }

    /// Gives a terminal a certificate with its key, `keyferry terminal certificate add`.
    pub fn add_certificate(&self, lab: &Lab, id: &str, leaf: &Leaf, name: &str) -> Result<()> {
        let (chain, key) = (leaf.chain_file.to_string_lossy(), leaf.key_file.to_string_lossy());
        let arguments = ["terminal", "certificate", "add", id, "--name", name, "--chain", &chain, "--key", &key];
        self.keyferry(lab, &arguments)?;
        Ok(())
    }

    /// `keyferry stats --json`.
    pub fn stats(&self, lab: &Lab) -> Result<serde_json::Value> {
        let text = self.keyferry(lab, &["stats", "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("keyferry stats --json said {text}"))
    }

    /// Ends the gateway (SIGTERM, or SIGKILL as a crash would) and starts it again.
    pub fn restart(&mut self, lab: &Lab, crash: bool) -> Result<()> {
        if crash {
            self.process.kill()?;
        } else {
            self.process.stop()?;
        }
        self.process = run(lab, &self.binaries, &self.config, &self.arguments)?;
        Ok(())
    }
}

fn run(lab: &Lab, binaries: &Binaries, config: &Path, arguments: &[String]) -> Result<Process> {
    let mut command = keyferry(lab, binaries);
    command.args(["run", "--config"]).arg(config).args(arguments);
    let mut process = lab.spawn("keyferry", command)?;
    let open = lab.wait_for_udp(Host::Gateway, CHANNEL_PORT, Duration::from_secs(10));
    if open.is_err() || process.ended()?.is_some() {
        open.with_context(|| format!("keyferry run says\n{}", process.log()))?;
        anyhow::bail!("keyferry run ended at once:\n{}", process.log());
    }
    Ok(process)
}

/// The program in the gateway's namespace, with a hosts file of its own where the test gave it one.
fn keyferry(lab: &Lab, binaries: &Binaries) -> Command {
    let hosts = lab.directory().join(HOSTS);
    if !hosts.exists() {
        return lab.command(Host::Gateway, &binaries.keyferry);
    }
    let mut command = lab.command(Host::Gateway, "unshare");
    command.args(["--mount", "sh", "-c", WITH_HOSTS]).arg(hosts).arg(&binaries.keyferry);
    command
}

fn configuration(lab: &Lab, options: GatewayOptions<'_>) -> String {
    let interfaces: Vec<String> =
        lab.terminals().iter().map(|terminal| format!("\"{}\"", terminal.gateway_interface())).collect();
    let listen: Vec<String> = lab
        .terminals()
        .iter()
        .flat_map(|terminal| terminal.gateway_addresses())
        .map(|address| format!("\"{}:{CHANNEL_PORT}\"", bracketed(address)))
        .collect();
    format!(
        r#"[gateway]
id = "00"
state_directory = "{directory}/state"
key_file = "{directory}/store.key"
admin_socket = "{directory}/admin.sock"

[network]
terminal_interfaces = [{interfaces}]
closed = {closed}

[channel]
listen = [{listen}]

[limits]
{limits}
{signer}
{rules}"#,
        directory = lab.directory().display(),
        interfaces = interfaces.join(", "),
        closed = options.closed,
        listen = listen.join(", "),
        limits = options.limits,
        signer = options.signer.map(|socket| format!("[signer]\nsocket = {socket:?}")).unwrap_or_default(),
        rules = options.rules,
    )
}
