//! The running agent's Unix socket: the other commands use it, because the channel's state has one user at a time.
//!
//! A client writes one line of JSON, a [`Request`]; the agent answers with one line, a [`Reply`]. A granted `listen`
//! gets another for every peer; it ends with the client's connection. After a granted `connect`, and after the first peer
//! of a `listen` that forwards nowhere, the client's bytes are plaintext for the peer (its half-close is ours), and the agent's come in frames:
//! a length of four bytes and as many bytes of plaintext; 0 ends the stream cleanly, [`BROKEN`] with an error as JSON.

use super::error::{AgentError, Blame};
use super::handle::{Agent, Status};
use super::listener::{AgentListener, Incoming};
use super::options::{ConnectOptions, ListenOptions};
use super::pipe::{CHUNK, PAUSE, both_ways, forward, local};
use super::stream::AgentStream;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use zeroize::Zeroizing;

/// Instead of a length: the stream broke, the error follows.
const BROKEN: u32 = u32::MAX;
/// The longest line that either side reads.
const LINE: u64 = 65_536;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Request {
    Connect {
        host: String,
        port: u16,
        options: ConnectOptions,
    },
    /// `forward`: where every peer is joined to; else the first one is the client's.
    Listen {
        port: u16,
        options: ListenOptions,
        forward: Option<String>,
    },
    Status,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reply {
    Connected { peer: String },
    Listening { addresses: Vec<SocketAddr> },
    Accepted { peer: String },
    Failed { client: SocketAddr, error: AgentError },
    Status(Status),
    Error(AgentError),
}

/// The listening side, in the agent.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens at `path`, for this user alone. A socket left behind by an agent that is gone is replaced.
    pub fn bind(path: &Path) -> io::Result<Self> {
        // The caller holds the state's lock, so that no living agent is behind this path.
        if std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket()) {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves until the task is dropped.
    pub async fn run(self, agent: Agent) -> io::Result<()> {
        loop {
            let (client, _) = self.listener.accept().await?;
            // Between bind and chmod the socket was open to others: only who owns us, or root, is served.
            let owner = std::fs::metadata(&self.path)?.uid();
            if client.peer_cred().is_ok_and(|client| client.uid() == owner || client.uid() == 0) {
                let agent = agent.clone();
                tokio::spawn(async move {
                    // A client that goes away ends its own request only.
                    let _ = serve(client, agent).await;
                });
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(client: UnixStream, agent: Agent) -> io::Result<()> {
    let (from, mut to) = client.into_split();
    let mut from = BufReader::new(from);
    let request = read_line(&mut from).await?;
    match request {
        Request::Status => write_line(&mut to, &Reply::Status(agent.status().await)).await,
        Request::Connect { host, port, options } => match agent.connect(&host, port, &options).await {
            Err(error) => write_line(&mut to, &Reply::Error(error)).await,
            Ok(stream) => {
                write_line(&mut to, &Reply::Connected { peer: stream.peer().identity.clone() }).await?;
                let (reader, writer) = tokio::io::split(stream);
                both_ways(from, writer, write_frames(reader, to), PAUSE).await
            }
        },
        Request::Listen { port, options, forward } => match agent.listen(port, &options).await {
            Err(error) => write_line(&mut to, &Reply::Error(error)).await,
            Ok(listener) => {
                write_line(&mut to, &Reply::Listening { addresses: listener.addresses().to_vec() }).await?;
                serve_peers(listener, forward, from, to).await
            }
        },
    }
}

async fn serve_peers(
    mut listener: AgentListener,
    forward: Option<String>,
    mut from: BufReader<OwnedReadHalf>,
    mut to: OwnedWriteHalf,
) -> io::Result<()> {
    loop {
        let incoming = tokio::select! {
            incoming = listener.incoming() => incoming,
            // Before the first peer is there a client has nothing to say but goodbye.
            _ = from.fill_buf() => return Ok(()),
        };
        match incoming {
            Err(error) => return write_line(&mut to, &Reply::Error(error)).await,
            Ok(Incoming::Failed { client, error }) => write_line(&mut to, &Reply::Failed { client, error }).await?,
            Ok(Incoming::Stream(stream)) => {
                write_line(&mut to, &Reply::Accepted { peer: stream.describe() }).await?;
                match &forward {
                    Some(service) => drop(tokio::spawn(forward_to(service.clone(), stream))),
                    None => {
                        drop(listener);
                        let (reader, writer) = tokio::io::split(stream);
                        return both_ways(from, writer, write_frames(reader, to), PAUSE).await;
                    }
                }
            }
        }
    }
}

/// Joins a peer with the service at `service`; `Err`: the service is not there, or the stream broke.
pub async fn forward_to(service: String, stream: AgentStream) -> Result<(), AgentError> {
    let gone = |error| AgentError::new(Blame::Terminal, format!("the service at {service}: {error}"));
    forward(stream, TcpStream::connect(&service).await.map_err(gone)?).await
}

async fn write_frames(mut reader: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) => return to.write_u32(0).await,
            Ok(length) => {
                to.write_u32(u32::try_from(length).unwrap_or_default()).await?;
                to.write_all(buffer.get(..length).unwrap_or_default()).await?;
            }
            Err(error) => {
                to.write_u32(BROKEN).await?;
                return write_line(&mut to, &AgentError::from_stream(error)).await;
            }
        }
    }
}

/// The asking side, in the command.
pub struct ControlClient {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
}

impl ControlClient {
    /// `None`: no agent answers at `path`.
    pub async fn reach(path: &Path) -> Option<Self> {
        let (from, to) = UnixStream::connect(path).await.ok()?.into_split();
        Some(Self { from: BufReader::new(from), to })
    }

    /// The running agent's status.
    pub async fn status(mut self) -> Result<Status, AgentError> {
        match self.ask(&Request::Status).await? {
            Reply::Status(status) => Ok(status),
            Reply::Error(error) => Err(error),
            _ => Err(confused()),
        }
    }

    /// Asks the running agent to connect; then [`Self::pipe`]. Answers who the peer proved to be.
    pub async fn connect(&mut self, host: &str, port: u16, options: &ConnectOptions) -> Result<String, AgentError> {
        let request = Request::Connect { host: host.to_owned(), port, options: options.clone() };
        match self.ask(&request).await? {
            Reply::Connected { peer } => Ok(peer),
            Reply::Error(error) => Err(error),
            _ => Err(confused()),
        }
    }

    /// Asks the running agent to listen; then [`Self::accepted`]. Answers where.
    pub async fn listen(
        &mut self,
        port: u16,
        options: &ListenOptions,
        forward: Option<String>,
    ) -> Result<Vec<SocketAddr>, AgentError> {
        match self.ask(&Request::Listen { port, options: options.clone(), forward }).await? {
            Reply::Listening { addresses } => Ok(addresses),
            Reply::Error(error) => Err(error),
            _ => Err(confused()),
        }
    }

    /// Waits for the next peer, and says who it is. Without `forward` there is one, for [`Self::pipe`]. Of those that
    /// fail, `failed` is told.
    pub async fn accepted(&mut self, failed: impl Fn(SocketAddr, &AgentError)) -> Result<String, AgentError> {
        let reply = loop {
            match read_line(&mut self.from).await.map_err(gone)? {
                Reply::Failed { client, error } => failed(client, &error),
                reply => break reply,
            }
        };
        match reply {
            Reply::Accepted { peer } => Ok(peer),
            Reply::Error(error) => Err(error),
            _ => Err(confused()),
        }
    }

    /// As [`pipe`](super::pipe()), through the running agent.
    pub async fn pipe(self, from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin) -> Result<(), AgentError> {
        both_ways(from, self.to, read_frames(self.from, to), PAUSE).await
    }

    async fn ask(&mut self, request: &Request) -> Result<Reply, AgentError> {
        write_line(&mut self.to, request).await.map_err(gone)?;
        read_line(&mut self.from).await.map_err(gone)
    }
}

async fn read_frames(
    mut from: impl tokio::io::AsyncBufRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> Result<(), AgentError> {
    loop {
        match from.read_u32().await.map_err(gone)? {
            0 => return Ok(()),
            BROKEN => return Err(read_line(&mut from).await.map_err(gone)?),
            length => {
                let mut frame = (&mut from).take(u64::from(length));
                let copied = tokio::io::copy_buf(&mut frame, &mut to).await.map_err(local)?;
                if copied < u64::from(length) {
                    return Err(gone(io::ErrorKind::UnexpectedEof.into()));
                }
                to.flush().await.map_err(local)?;
            }
        }
    }
}

async fn read_line<T: for<'de> Deserialize<'de>>(from: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<T> {
    let mut line = Vec::new();
    from.take(LINE).read_until(b'\n', &mut line).await?;
    serde_json::from_slice(&line).map_err(io::Error::from)
}

async fn write_line(to: &mut (impl AsyncWrite + Unpin), value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    to.write_all(&line).await
}

fn gone(error: io::Error) -> AgentError {
    AgentError::new(Blame::Terminal, format!("the running agent went away: {error}"))
}

fn confused() -> AgentError {
    AgentError::new(Blame::Terminal, "the running agent is of another version: restart it")
}
