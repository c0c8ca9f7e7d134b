//! [`Agent`]: what a program holds to open connections through the gateway.

use super::clock::Clock;
use super::config::Config;
use super::driver::{Command, Counters, Driver};
use super::error::{AgentError, Blame};
use super::state::StateFile;
use super::stream::AgentStream;
use crate::Instant;
use crate::client::{Event, Terminal};
use crate::tls13::Session;
use keyferry_channel::{Endpoint, RequestId, Settings};
use keyferry_parsers::messages::{Connect, ConnectAnswer, Echo, Handover, PeerName};
use keyferry_parsers::tls::CipherSuite;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

/// Requests that one agent has under way at most.
const PENDING_LIMIT: usize = 1024;
/// How long a reset TCP connection waits for the gateway to say why.
const REASON_DEADLINE: Duration = Duration::from_secs(2);

/// How to connect; the default asks for nothing special.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectOptions {
    /// Application protocols, in order of preference.
    pub alpn: Vec<String>,
    /// The server name to ask for, where it is not the host.
    pub sni: Option<String>,
    /// IANA numbers of the cipher suites to offer, in order; empty: all that a terminal can do.
    pub cipher_suites: Vec<u16>,
}

/// How the agent is doing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Where the gateway is.
    pub gateway: SocketAddr,
    /// Milliseconds for an encrypted echo; `None`: no answer.
    pub round_trip_ms: Option<f64>,
    /// Why there was no answer.
    pub trouble: Option<String>,
    /// How often the channel's key has advanced.
    pub epoch: u32,
    /// Streams open now.
    pub sessions_open: u64,
    /// Streams opened since the agent started.
    pub sessions_total: u64,
    /// Plaintext bytes sent.
    pub bytes_sent: u64,
    /// Plaintext bytes received.
    pub bytes_received: u64,
    /// Datagrams that were not the gateway's, or came twice.
    pub refused_datagrams: u64,
}

/// A running agent. Clones share it; it ends with the last one and the last stream.
#[derive(Clone)]
pub struct Agent {
    gateway: SocketAddr,
    local: IpAddr,
    clock: Clock,
    counters: Arc<Counters>,
    commands: mpsc::UnboundedSender<Command>,
    next: Arc<AtomicU64>,
    stopped: watch::Receiver<Option<String>>,
}

impl Agent {
    /// Takes the state file and starts the agent's task on the current tokio runtime.
    pub async fn start(config: Config) -> Result<Self, AgentError> {
        let terminal_fault = |error: std::io::Error| AgentError::new(Blame::Terminal, error.to_string());
        let file = StateFile::lock(&config.state).map_err(terminal_fault)?;
        let state = file.load_or_begin(&config).map_err(terminal_fault)?;
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice())
            .map_err(|error| AgentError::new(Blame::Terminal, format!("the system has no randomness: {error}")))?;
        let socket = udp_to(config.gateway).await.map_err(|error| {
            AgentError::new(Blame::Terminal, format!("no way to the gateway {}: {error}", config.gateway))
        })?;
        let local = socket.local_addr().map_err(terminal_fault)?.ip();
        let clock = Clock::start();
        let settings = Settings {
            own: config.sender_id,
            peer: config.gateway_id,
            handovers_per_epoch: 8,
            // The gateway sees to it that the key advances with time.
            epoch_lifetime: Duration::MAX,
        };
        let endpoint = Endpoint::new(settings, state, *seed, clock.now());
        let (commands, receiver) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(None);
        let agent = Self {
            gateway: config.gateway,
            local,
            clock,
            counters: Arc::default(),
            commands,
            next: Arc::default(),
            stopped,
        };
        let driver = Driver {
            terminal: Terminal::new(endpoint, PENDING_LIMIT, clock.now()),
            socket,
            state: file,
            clock,
            counters: agent.counters.clone(),
            commands: receiver,
            listeners: BTreeMap::new(),
        };
        tokio::spawn(async move {
            if let Err(error) = driver.run().await {
                stop.send_replace(Some(format!("the agent stopped, because its state cannot be saved: {error}")));
            }
        });
        Ok(agent)
    }

    /// Asks the gateway for a session with `host` (a name or an address), opens TCP, and waits for the keys.
    pub async fn connect(&self, host: &str, port: u16, options: &ConnectOptions) -> Result<AgentStream, AgentError> {
        let (socket, source_port) = self.source_for(host)?;
        let mut connect = Connect::new(peer_name(host), port, source_port);
        connect.sni = options.sni.clone();
        connect.alpn = options.alpn.clone();
        if !options.cipher_suites.is_empty() {
            connect.cipher_suites = options.cipher_suites.iter().copied().map(CipherSuite).collect();
        }
        let mut request = self.request(|id, events| Command::Connect { id, request: connect, events })?;
        let answer = request.offer().await?;
        let remote = SocketAddr::new(answer.address, port);
        let socket = socket_for(socket, source_port, remote)?;
        let patience = Duration::from_secs(u64::from(answer.seconds).max(1));
        let tcp = match tokio::time::timeout(patience, socket.connect(remote)).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(error)) => return Err(request.why_not(&format!("TCP to {remote}: {error}")).await),
            Err(_) => return Err(request.why_not(&format!("TCP to {remote}: no answer in {patience:?}")).await),
        };
        self.take_over(tcp, request).await
    }

    /// Opens TCP first, to an address for which the gateway's policy needs no request, and waits for the keys.
    pub async fn connect_unasked(&self, remote: SocketAddr) -> Result<AgentStream, AgentError> {
        let source = self.source_towards(remote).await.map_err(no_socket)?;
        let socket = bind(source, 0).map_err(no_socket)?;
        let local = socket.local_addr().map_err(no_socket)?;
        let request = self.request(|id, events| Command::Expect { id, local, remote, events })?;
        let tcp = socket.connect(remote).await;
        let tcp = tcp.map_err(|error| AgentError::new(Blame::Gateway, format!("TCP to {remote}: {error}")))?;
        self.take_over(tcp, request).await
    }

    /// Numbers, and an encrypted echo from the gateway.
    pub async fn status(&self) -> Status {
        let asked = self.clock.now();
        let echoed = self.echo().await;
        let round_trip = self.clock.now().saturating_duration_since(asked);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Status {
            gateway: self.gateway,
            round_trip_ms: echoed.is_ok().then_some(round_trip.as_secs_f64() * 1e3),
            trouble: echoed.err().map(|error| error.message),
            epoch: self.counters.epoch.load(Ordering::Relaxed),
            sessions_open: read(&self.counters.sessions_open),
            sessions_total: read(&self.counters.sessions_total),
            bytes_sent: read(&self.counters.bytes_sent),
            bytes_received: read(&self.counters.bytes_received),
            refused_datagrams: read(&self.counters.refused_datagrams),
        }
    }

    /// Waits until the agent can go on no more, and says why.
    pub async fn stopped(&self) -> AgentError {
        let mut stopped = self.stopped.clone();
        // An error means that the task is gone without a word, which comes to the same.
        let _ = stopped.wait_for(Option::is_some).await;
        stopped_because(&stopped)
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(super) fn timer(&self, moment: Instant) -> tokio::time::Sleep {
        tokio::time::sleep_until(self.clock.at(moment))
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    async fn echo(&self) -> Result<(), AgentError> {
        let echo = Echo(self.clock.now().as_micros().to_be_bytes().to_vec());
        let mut request = self.request(|id, events| Command::Echo { id, echo, events })?;
        match request.next().await? {
            Event::Echoed { .. } => Ok(()),
            _ => Err(unexpected()),
        }
    }

    async fn take_over(&self, tcp: TcpStream, mut request: Request) -> Result<AgentStream, AgentError> {
        let handover = keys_for(&tcp, &mut request).await?;
        let is = |ours: std::io::Result<SocketAddr>, theirs: SocketAddr| {
            ours.is_ok_and(|ours| (ours.ip(), ours.port()) == (theirs.ip(), theirs.port()))
        };
        if !is(tcp.local_addr(), handover.binding.local) || !is(tcp.peer_addr(), handover.binding.remote) {
            let message = "the gateway's fault: it sent keys that belong to another TCP connection";
            return Err(AgentError::new(Blame::Gateway, message));
        }
        let peer = handover.peer.clone();
        let alpn = handover.alpn.clone();
        let session = Session::new(*handover, self.clock.now())?;
        Ok(AgentStream::new(tcp, session, peer, alpn, self.clone()))
    }

    /// A socket whose port the request will announce. A name's family is not known yet: the gateway's is likely.
    fn source_for(&self, host: &str) -> Result<(TcpSocket, u16), AgentError> {
        let target = host.parse().unwrap_or(self.gateway.ip());
        let socket = bind(self.source_address(target), 0).map_err(no_socket)?;
        let port = socket.local_addr().map_err(no_socket)?.port();
        Ok((socket, port))
    }

    /// The address that the gateway knows us by, where the families agree.
    fn source_address(&self, target: IpAddr) -> IpAddr {
        match target {
            _ if target.is_ipv4() == self.local.is_ipv4() => self.local,
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// The same, exactly: where the families differ, the route to `remote` decides.
    async fn source_towards(&self, remote: SocketAddr) -> std::io::Result<IpAddr> {
        match self.source_address(remote.ip()) {
            unspecified if unspecified.is_unspecified() => Ok(udp_to(remote).await?.local_addr()?.ip()),
            source => Ok(source),
        }
    }

    fn request(
        &self,
        command: impl FnOnce(RequestId, mpsc::UnboundedSender<Event>) -> Command,
    ) -> Result<Request, AgentError> {
        let id = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, events) = mpsc::unbounded_channel();
        let request = Request { id, events, commands: self.commands.clone(), stopped: self.stopped.clone() };
        self.commands.send(command(id, sender)).map_err(|_| request.stopped())?;
        Ok(request)
    }
}

/// Waits for the keys of a connection, but not for those of one that has ended.
async fn keys_for(tcp: &TcpStream, request: &mut Request) -> Result<Box<Handover>, AgentError> {
    tokio::select! {
        keys = request.keys() => return keys,
        () = ended(tcp) => {}
    }
    // They, or the reason why there are none, may be on their way.
    let late = tokio::time::timeout(REASON_DEADLINE, request.keys()).await;
    late.unwrap_or_else(|_| {
        let message = "the gateway closed the connection without keys and gave no reason; its log says why";
        Err(AgentError::new(Blame::Gateway, message))
    })
}

/// Resolves when the other end closes. Bytes that come before the keys stay where they are.
async fn ended(tcp: &TcpStream) {
    if let Ok(1..) = tcp.peek(&mut [0]).await {
        std::future::pending().await
    }
}

/// One request under way. Dropped early, it is cancelled.
struct Request {
    id: RequestId,
    events: mpsc::UnboundedReceiver<Event>,
    commands: mpsc::UnboundedSender<Command>,
    stopped: watch::Receiver<Option<String>>,
}

impl Request {
    async fn offer(&mut self) -> Result<ConnectAnswer, AgentError> {
        match self.next().await? {
            Event::Offer { answer, .. } => Ok(answer),
            _ => Err(unexpected()),
        }
    }

    async fn keys(&mut self) -> Result<Box<Handover>, AgentError> {
        match self.next().await? {
            Event::Session { handover, .. } => Ok(handover),
            _ => Err(unexpected()),
        }
    }

    /// TCP failed: the gateway knows more about it, if it says so soon.
    async fn why_not(&mut self, trouble: &str) -> AgentError {
        match tokio::time::timeout(REASON_DEADLINE, self.next()).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => AgentError::new(Blame::Gateway, format!("{trouble}; the gateway gave no reason")),
        }
    }

    async fn next(&mut self) -> Result<Event, AgentError> {
        match self.events.recv().await {
            Some(Event::Failed { why, .. }) => Err(why.into()),
            Some(event) => Ok(event),
            None => Err(self.stopped()),
        }
    }

    fn stopped(&self) -> AgentError {
        stopped_because(&self.stopped)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Cancel { id: self.id });
    }
}

fn stopped_because(stopped: &watch::Receiver<Option<String>>) -> AgentError {
    let why = stopped.borrow().clone();
    AgentError::new(Blame::Terminal, why.unwrap_or_else(|| "the agent has stopped".to_owned()))
}

async fn udp_to(gateway: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = if gateway.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(gateway).await?;
    Ok(socket)
}

fn peer_name(host: &str) -> PeerName {
    host.parse().map_or_else(|_| PeerName::Name(host.to_owned()), PeerName::Address)
}

fn bind(address: IpAddr, port: u16) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(address, port))?;
    Ok(socket)
}

/// The bound socket, or one of the answer's family on the same port.
fn socket_for(socket: TcpSocket, port: u16, remote: SocketAddr) -> Result<TcpSocket, AgentError> {
    let bound = socket.local_addr().map_err(no_socket)?;
    if bound.is_ipv4() == remote.is_ipv4() {
        return Ok(socket);
    }
    drop(socket);
    let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    bind(any, port).map_err(no_socket)
}

fn no_socket(error: std::io::Error) -> AgentError {
    AgentError::new(
        Blame::Terminal,
        format!("no TCP socket: {error}; wait for connections to end, or raise the limits"),
    )
}

fn unexpected() -> AgentError {
    AgentError::new(Blame::Terminal, "events out of order; please report this")
}
