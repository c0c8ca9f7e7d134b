//! The namespaces, the links between them, and running things in them.

mod binaries;
mod capture;
mod clients;
mod gateway;
mod network;
mod peers;
mod pki;
mod plain_service;
pub mod privilege;
mod process;
mod rustls_peer;
mod signer;
mod terminal;

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub use binaries::{Binaries, workspace};
pub use capture::{Capture, describe, frames};
pub use clients::{Client, ClientOptions, Fetched};
pub use gateway::{DEFAULT_RULES, Gateway, GatewayOptions};
pub use network::Host;
pub use peers::{GnuTls, Nginx, OpenSsl, PeerOptions, PythonTls, SERVER_NAME, Version};
pub use pki::{Issuer, KeyKind, Leaf, LeafOptions, Pki, Purpose, Validity, hex};
pub use plain_service::PlainService;
pub use process::Process;
pub use rustls_peer::{RustlsOptions, RustlsPeer};
pub use signer::Signer;
pub use terminal::{Agent, Answer, Pipe};

/// What kind of network to build.
#[derive(Clone, Copy, Debug)]
pub struct LabOptions {
    /// A second terminal behind its own gateway interface `term1`.
    pub second_terminal: bool,
    /// The uplink masquerades, as at home: the peer has no route to the terminals.
    pub masquerade: bool,
    /// Packets lost on their way into each host, per cent (0..=100).
    pub loss_percent: u8,
    /// A router stands between gateway and peer, and its way to the peer carries no packet above 1300 bytes.
    pub narrow: bool,
    /// A second line joins the terminal with the peer, past the gateway.
    pub direct: bool,
}

/// A network of namespaces. Dropping it removes every namespace, whatever still runs in them and
/// its directory; so does the death of this process, for whatever reason.
#[derive(Debug)]
pub struct Lab {
    name: String,
    directory: PathBuf,
    options: LabOptions,
    janitor: Child,
}

impl LabOptions {
    /// One terminal, routed, no loss.
    pub const PLAIN: Self =
        Self { second_terminal: false, masquerade: false, loss_percent: 0, narrow: false, direct: false };
}

impl Default for LabOptions {
    fn default() -> Self {
        Self::PLAIN
    }
}

impl Lab {
    /// Builds the network. Needs the right to make network namespaces: see [`privilege`].
    pub fn new(options: LabOptions) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        privilege::check()?;
        let name = format!("kf{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir()
            .context("making the lab's directory")?
            .keep();
        let janitor = start_janitor(&name, &directory)?;
        let lab = Self { name, directory, options, janitor };
        network::build(&lab).context("building the lab's network")?;
        Ok(lab)
    }

    /// A directory of the lab's own, removed with it. Logs end in `.log`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the lab was built with.
    pub fn options(&self) -> LabOptions {
        self.options
    }

    /// The name of a host's namespace, as `ip netns` knows it.
    pub fn namespace(&self, host: Host) -> String {
        format!("{}-{}", self.name, host.name())
    }

    /// The terminals that exist.
    pub fn terminals(&self) -> &'static [Host] {
        if self.options.second_terminal { &[Host::Terminal, Host::SecondTerminal] } else { &[Host::Terminal] }
    }

    /// A command that will run in a host's namespace; add arguments and run it yourself.
    pub fn command(&self, host: Host, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace(host))).arg("--").arg(program);
        command
    }

    /// Runs a command in a host's namespace to its end and returns what it printed; its complaint
    /// is the error.
    pub fn run(&self, host: Host, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(host, program);
        finish(command.args(arguments)).with_context(|| format!("on the {}", host.name()))
    }

    /// Starts a command made by [`Lab::command`], with its output in `<name>.log`.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        Process::start(name, command, &self.directory, process::Pipes::Closed)
    }

    /// Like [`Lab::spawn`], with standard input and output as pipes; only standard error is logged.
    pub fn spawn_piped(&self, name: &str, command: Command) -> Result<Process> {
        Process::start(name, command, &self.directory, process::Pipes::Open)
    }

    /// Runs `work` on a thread inside a host's namespace. A socket made there stays there and may be
    /// used from any thread afterwards.
    pub fn enter<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.namespace(host));
        let inside = move || -> Result<T> {
            let namespace = std::fs::File::open(&path).with_context(|| format!("opening {path}"))?;
            rustix::thread::move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&namespace),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )
            .context("entering the namespace")?;
            Ok(work())
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Waits until something listens on this TCP port of a host. Makes no connection, so it leaves
    /// no trace in the listener's log.
    pub fn wait_for_tcp(&self, host: Host, port: u16, limit: Duration) -> Result<()> {
        self.wait_for_socket(host, "tcp", " 0A ", port, limit)
    }

    /// Waits until something has this UDP port of a host bound.
    pub fn wait_for_udp(&self, host: Host, port: u16, limit: Duration) -> Result<()> {
        self.wait_for_socket(host, "udp", " 07 ", port, limit)
    }

    /// Records what passes an interface of a host into `<name>.pcap`.
    pub fn capture(&self, host: Host, interface: &str, name: &str, filter: &str) -> Result<Capture> {
        Capture::start(self, host, interface, name, filter)
    }

    /// The last lines of every log, for a failure message.
    pub fn log_tails(&self, lines: usize) -> String {
        let mut text = String::new();
        for path in process::logs_in(&self.directory) {
            text.push_str(&format!("---- {}\n", path.display()));
            text.push_str(&process::tail(&path, lines));
            text.push('\n');
        }
        text
    }

    fn wait_for_socket(&self, host: Host, table: &str, state: &str, port: u16, limit: Duration) -> Result<()> {
        let port_field = format!(":{port:04X} ");
        let bound = |text: &str| {
            text.lines().any(|line| {
                let local = line.split_whitespace().nth(1).unwrap_or_default();
                format!("{local} ").ends_with(&port_field) && line.contains(state)
            })
        };
        wait_until(limit, || {
            self.enter(host, || {
                ["", "6"].iter().any(|version| {
                    std::fs::read_to_string(format!("/proc/thread-self/net/{table}{version}"))
                        .is_ok_and(|text| bound(&text))
                })
            })
        })
        .with_context(|| format!("nothing listens on {table} port {port} of the {}", host.name()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            complain(&self.log_tails(15));
        }
        drop(self.janitor.stdin.take());
        // Nothing more can be done about a janitor that failed.
        let _ = self.janitor.wait();
    }
}

/// Polls `done` until it says yes or the time is over.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + limit;
    while !done()? {
        ensure!(Instant::now() < end, "waited {limit:?} in vain");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Runs a command to its end and returns its standard output; a failure carries what it complained.
pub fn finish(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {shown}"))?;
    if !output.status.success() {
        bail!(
            "{shown}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The peer's name for an address in its log.
pub fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// A shell that waits at the other end of a pipe and cleans up when the pipe closes: on drop, on
/// panic, on Ctrl-C and on SIGKILL alike. What still runs in the lab's namespaces was started there by the lab.
fn start_janitor(name: &str, directory: &Path) -> Result<Child> {
    const SCRIPT: &str = r#"
        read -r _
        for signal in TERM KILL; do
            for host in terminal second gateway router peer; do
                for pid in $(ip netns pids "$0-$host" 2>/dev/null); do kill -$signal "$pid"; left=1; done
            done
            [ -z "$left" ] || sleep 0.3
        done
        for host in terminal second gateway router peer; do
            [ ! -e "/run/netns/$0-$host" ] || ip netns delete "$0-$host"
        done
        rm -rf -- "$1"
    "#;
    std::os::unix::process::CommandExt::process_group(
        Command::new("sh")
            .args(["-c", SCRIPT, name])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
        // A group of its own: Ctrl-C must not reach it before its work is done.
        0,
    )
    .spawn()
    .context("starting the lab's janitor (sh)")
}

#[allow(clippy::print_stderr, reason = "a failing test shows what its processes logged")]
fn complain(text: &str) {
    eprintln!("{text}");
}
