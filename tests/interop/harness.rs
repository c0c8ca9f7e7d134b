//! A lab with a gateway and enrolled terminals, in one call, and what most cases ask of it.

use std::future::Future;
use std::io::Read;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keyferry_terminal::agent::{self, Config};
use xtask::lab::{
    Agent, Binaries, Gateway, GatewayOptions, Host, Lab, LabOptions, Leaf, Pipe, Pki, SERVER_NAME, wait_until,
};

/// What a test runs in. Its fields end in this order: programs before the network under them.
pub struct World {
    pub agent: Agent,
    pub gateway: Gateway,
    pub pki: Pki,
    pub lab: Lab,
}

/// A request to a peer's web server, and who the peer says it came from.
pub struct Visit {
    /// The terminal's end of the connection.
    pub source: SocketAddr,
    /// The far end, by the kernel of the peer.
    pub seen_by_peer: SocketAddr,
    /// Head and body of the answer.
    pub page: String,
}

/// How a `keyferry-terminal connect` ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    /// What it said on standard error.
    pub message: String,
    pub took: Duration,
}

/// Where the default rules let a terminal go.
pub const TARGET: &str = "server.example:443";

/// Long enough for a slow machine, short enough to wait for.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a case with one terminal and a gateway with the lab's default rules.
pub fn plain(case: impl FnOnce(&mut World) -> Result<()>) -> Result<()> {
    with(LabOptions::PLAIN, GatewayOptions::default(), case)
}

/// Runs a case with a terminal `sensor-1` behind a gateway, as asked for. A failure shows what every
/// program of the lab logged.
pub fn with(
    network: LabOptions,
    options: GatewayOptions<'_>,
    case: impl FnOnce(&mut World) -> Result<()>,
) -> Result<()> {
    let lab = Lab::new(network)?;
    let pki = Pki::new(lab.directory())?;
    let gateway = Gateway::start(&lab, &pki, &Binaries::beside_this_program()?, options)?;
    let agent = gateway.add_terminal(&lab, "sensor-1", Host::Terminal)?;
    let mut world = World { agent, gateway, pki, lab };
    show_logs(case(&mut world), &world.lab)
}

/// A failure shows what every program of the lab logged.
pub fn show_logs<T>(outcome: Result<T>, lab: &Lab) -> Result<T> {
    outcome.inspect_err(|_| eprintln!("{}", lab.log_tails(30)))
}

/// Does something that begins with the terminal's first contact, on a line that loses packets. Of that contact the
/// wrong two packets lost, about one time in 200, are too many for the 2.8 s that a terminal waits for its gateway: it
/// says so, and is asked again.
pub fn despite_loss<T>(mut act: impl FnMut() -> Result<T>) -> Result<T> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match act() {
            Err(error) if attempts < 3 && format!("{error:#}").contains("the gateway does not answer") => {}
            outcome => return outcome,
        }
    }
}

/// Runs a program of this process in a host's namespace: its sockets are made there.
pub fn drive<T, W>(lab: &Lab, host: Host, work: impl FnOnce() -> W + Send) -> Result<T>
where
    T: Send,
    W: Future<Output = Result<T>>,
{
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work())
    };
    lab.enter(host, run)?
}

/// The established TCP connections of a host with this port at their far (or, of a server, near) end:
/// own address and the other's.
pub fn connections(lab: &Lab, host: Host, port: u16) -> Result<Vec<(SocketAddr, SocketAddr)>> {
    let filter = format!("( sport = :{port} or dport = :{port} )");
    let text = lab.run(host, "ss", &["-Htn", "state", "established", &filter])?;
    let address = |field: Option<&str>| -> Result<SocketAddr> {
        let address: SocketAddr = field.context("ss left out an address")?.parse()?;
        Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
    };
    let ends = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        Ok((address(fields.next())?, address(fields.next())?))
    };
    text.lines().map(ends).collect()
}

impl World {
    /// A good certificate for the server's name.
    pub fn leaf(&self) -> Result<Leaf> {
        self.pki.good_leaf(SERVER_NAME)
    }

    /// Opens a session with the peer's port 443; answers the terminal's end of it as well, and the far end
    /// that the peer's kernel sees.
    pub fn session(&self) -> Result<(Pipe, SocketAddr, SocketAddr)> {
        let mut pipe = self.agent.connect(&self.lab, TARGET)?;
        let only = |found: Vec<_>| <[_; 1]>::try_from(found).ok().map(|[one]| one);
        let mut ends = None;
        let found = wait_until(PATIENCE, || {
            ensure!(pipe.process.ended()?.is_none(), "the agent ended: {}", pipe.process.log());
            let near = only(connections(&self.lab, Host::Terminal, 443)?);
            let far = only(connections(&self.lab, Host::Peer, 443)?);
            ends = near.zip(far);
            Ok(ends.is_some())
        });
        found.context("one connection of the terminal, and one at the peer")?;
        let ((source, _), (_, seen)) = ends.context("no connection")?;
        Ok((pipe, source, seen))
    }

    /// Fetches a page over a session of its own.
    pub fn visit(&self, path: &str) -> Result<Visit> {
        let (mut pipe, source, seen_by_peer) = self.session()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {SERVER_NAME}\r\nConnection: close\r\n\r\n");
        pipe.write(request.as_bytes())?;
        let mut page = Vec::new();
        pipe.output.read_to_end(&mut page)?;
        let status = pipe.process.wait(PATIENCE)?;
        ensure!(status.success(), "the agent ended with {status}: {}", pipe.process.log());
        Ok(Visit { source, seen_by_peer, page: String::from_utf8_lossy(&page).into_owned() })
    }

    /// `keyferry-terminal connect ARGUMENTS` to its end, with nothing to send.
    pub fn attempt(&self, arguments: &[&str]) -> Result<Ended> {
        self.attempt_as(&self.agent, arguments)
    }

    /// The same for another terminal.
    pub fn attempt_as(&self, agent: &Agent, arguments: &[&str]) -> Result<Ended> {
        self.to_its_end(agent, "connect", arguments)
    }

    /// `keyferry-terminal listen ARGUMENTS` that is expected to be refused.
    pub fn attempt_listen(&self, arguments: &[&str]) -> Result<Ended> {
        self.to_its_end(&self.agent, "listen", arguments)
    }

    fn to_its_end(&self, agent: &Agent, what: &str, arguments: &[&str]) -> Result<Ended> {
        let mut command = self.terminal_command(agent)?;
        let started = Instant::now();
        let output = command.arg(what).args(arguments).stdin(std::process::Stdio::null()).output()?;
        Ok(Ended {
            code: output.status.code(),
            message: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: started.elapsed(),
        })
    }

    /// `keyferry-terminal --config ..` of a terminal.
    pub fn terminal_command(&self, agent: &Agent) -> Result<Command> {
        let mut command = self.lab.command(agent.host(), Binaries::beside_this_program()?.terminal);
        command.arg("--config").arg(agent.config());
        Ok(command)
    }

    /// A number of `keyferry stats --json` by its JSON pointer; 0 where it is absent.
    pub fn figure(&self, pointer: &str) -> Result<u64> {
        let stats = self.gateway.stats(&self.lab)?;
        Ok(stats.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or_default())
    }

    /// The packets that a named counter of the gateway's nft table has counted.
    pub fn packets_counted(&self, counter: &str) -> Result<u64> {
        let text = self.lab.run(Host::Gateway, "nft", &["list", "counter", "inet", "keyferry", counter])?;
        let mut words = text.split_whitespace().skip_while(|word| *word != "packets").skip(1);
        let packets = words.next().with_context(|| format!("nft says {text}"))?;
        Ok(packets.parse()?)
    }
}

impl Ended {
    /// Refused for this reason, named with its fault, and in time.
    #[track_caller]
    pub fn assert_refused(&self, code: i32, reason: &str, limit: Duration) {
        let words = |text: &str| self.message.contains(text);
        assert!(self.code == Some(code) && words(reason), "wanted {code} and {reason}, got {self:?}");
        assert!(self.took < limit, "{reason} took {:?}", self.took);
    }
}

/// Starts a terminal's agent as a library, on the runtime of [`drive`].
pub async fn start_agent(agent: &Agent) -> Result<agent::Agent> {
    Ok(agent::Agent::start(Config::load(agent.config())?).await?)
}
