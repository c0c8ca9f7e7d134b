//! The terminal's agent: `keyferry-terminal connect`, a pipe to the peer, and `listen`, a TLS server.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Binaries, Host, Lab, Process, finish};

/// One enrolled terminal.
#[derive(Clone, Debug)]
pub struct Agent {
    id: String,
    host: Host,
    config: PathBuf,
    binary: PathBuf,
}

/// A running `keyferry-terminal connect`.
#[derive(Debug)]
pub struct Pipe {
    /// The process; its log is what it wrote to standard error.
    pub process: Process,
    /// What is written here goes to the peer, encrypted by the terminal. Drop it to end the direction.
    pub input: Option<ChildStdin>,
    /// What the peer sent.
    pub output: ChildStdout,
}

/// An HTTP answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status line and header fields.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Agent {
    pub(super) fn new(id: &str, host: Host, config: PathBuf, binaries: &Binaries) -> Self {
        Self { id: id.to_owned(), host, config, binary: binaries.terminal.clone() }
    }

    /// The terminal's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The host it lives on.
    pub fn host(&self) -> Host {
        self.host
    }

    /// Its configuration file, as `keyferry terminal add` wrote it.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Starts the agent as a daemon: later connections share its channel, many at once.
    pub fn start(&self, lab: &Lab) -> Result<Process> {
        let mut command = self.command(lab);
        command.arg("run");
        let mut process = lab.spawn(&format!("agent-{}", self.id), command)?;
        process.wait_for_log("control socket", Duration::from_secs(5))?;
        Ok(process)
    }

    /// Connects to `HOST:PORT`. Returns at once; a refusal shows in the process's log and exit code.
    pub fn connect(&self, lab: &Lab, target: &str) -> Result<Pipe> {
        self.connect_with(lab, target, &[])
    }

    /// The same with further arguments of `keyferry-terminal connect`.
    pub fn connect_with(&self, lab: &Lab, target: &str, arguments: &[&str]) -> Result<Pipe> {
        self.pipe(lab, &[&["connect", target], arguments].concat())
    }

    /// Listens on a port, with further arguments of `keyferry-terminal listen`; the first peer has the pipe.
    pub fn listen(&self, lab: &Lab, port: u16, arguments: &[&str]) -> Result<Pipe> {
        let mut pipe = self.pipe(lab, &[&["listen", &port.to_string()], arguments].concat())?;
        pipe.process.wait_for_log("listening at", Duration::from_secs(5))?;
        Ok(pipe)
    }

    /// Listens on a port and joins every peer with a plain service of the terminal's own host.
    pub fn serve(&self, lab: &Lab, port: u16, service: SocketAddr, arguments: &[&str]) -> Result<Process> {
        let mut command = self.command(lab);
        command.args(["listen", &port.to_string(), "--forward", &service.to_string()]).args(arguments);
        let mut process = lab.spawn(&format!("agent-{}", self.id), command)?;
        process.wait_for_log("listening at", Duration::from_secs(5))?;
        Ok(process)
    }

    /// Fetches a path from a web server over a connection of its own.
    pub fn get(&self, lab: &Lab, target: &str, path: &str) -> Result<Answer> {
        self.get_with(lab, target, path, |_| ())
    }

    /// Like [`Agent::get`]; `progress` hears the bytes received so far.
    pub fn get_with(&self, lab: &Lab, target: &str, path: &str, mut progress: impl FnMut(u64)) -> Result<Answer> {
        let mut pipe = self.connect(lab, target)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
        pipe.write(request.as_bytes()).ok();
        let mut bytes = Vec::new();
        let mut piece = vec![0; 65536];
        loop {
            let length = pipe.output.read(&mut piece)?;
            if length == 0 {
                break;
            }
            bytes.extend(piece.iter().take(length));
            progress(bytes.len() as u64);
        }
        drop(pipe.input.take());
        let status = pipe.process.wait(Duration::from_secs(10))?;
        ensure!(status.success(), "the agent ended with {status}: {}", pipe.process.log());
        Answer::parse(&bytes)
    }

    /// Runs another command of the agent, for example `status`.
    pub fn run(&self, lab: &Lab, arguments: &[&str]) -> Result<String> {
        finish(self.command(lab).args(arguments))
    }

    fn pipe(&self, lab: &Lab, arguments: &[&str]) -> Result<Pipe> {
        let mut command = self.command(lab);
        command.args(arguments);
        let mut process = lab.spawn_piped(&format!("agent-{}", self.id), command)?;
        let input = process.take_stdin();
        let output = process.take_stdout().context("the agent has no output")?;
        Ok(Pipe { process, input, output })
    }

    fn command(&self, lab: &Lab) -> std::process::Command {
        let mut command = lab.command(self.host, &self.binary);
        command.arg("--config").arg(&self.config);
        command
    }
}

impl Pipe {
    /// Sends bytes to the peer.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let input = self.input.as_mut().context("the pipe's input is closed")?;
        input.write_all(bytes)?;
        Ok(input.flush()?)
    }

    /// Reads exactly this many bytes from the peer.
    pub fn read(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.output.read_exact(&mut bytes).with_context(|| format!("the agent says: {}", self.process.log()))?;
        Ok(bytes)
    }

    /// Ends our direction and reads what still comes.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        drop(self.input.take());
        let mut bytes = Vec::new();
        self.output.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Answer {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .with_context(|| format!("no HTTP answer in {} bytes", bytes.len()))?;
        let (head, body) = bytes.split_at(end + 4);
        Ok(Self { head: String::from_utf8_lossy(head).trim_end().to_owned(), body: body.to_vec() })
    }
}
