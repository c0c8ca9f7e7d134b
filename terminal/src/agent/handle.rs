//! [`Agent`]: what a program holds to open connections through the gateway.

use super::assisted;
use super::clock::Clock;
use super::config::Config;
use super::driver::{Begin, Command, Counters, Driver, More};
use super::error::{AgentError, Blame};
use super::listener::{self, AgentListener};
use super::options::{ConnectOptions, ListenOptions};
use super::request::{REASON_DEADLINE, Request, stopped_because, unexpected};
use super::socket::{any, bind, no_socket, socket_for, udp_to};
use super::state::StateFile;
use super::stream::AgentStream;
use crate::Instant;
use crate::client::{Event, Start, Terminal};
use keyferry_channel::{Endpoint, RequestId, Settings};
use keyferry_parsers::messages::{Connect, Echo, Handover, PeerName, SessionId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

/// Requests that one agent has under way at most.
const PENDING_LIMIT: usize = 1024;
/// How long a peer may take to accept TCP where no offer says so.
const TCP_PATIENCE: Duration = Duration::from_secs(10);

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
        let (socket, source_port) = self.source_for(host, options)?;
        let connect = options.request(host, port, source_port);
        if options.assisted {
            return self.connect_assisted(socket, connect).await;
        }
        let mut request = self.request(Begin::Connect(connect))?;
        let answer = request.offer().await?;
        let remote = SocketAddr::new(answer.address, port);
        let socket = socket_for(socket, source_port, remote)?;
        let patience = Duration::from_secs(u64::from(answer.seconds).max(1));
        let tcp = match open(socket, remote, patience).await {
            Ok(tcp) => tcp,
            Err(trouble) => return Err(request.why_not(&trouble).await),
        };
        self.take_over(tcp, request).await
    }

    /// Opens TCP first, to an address for which the gateway's policy needs no request, and waits for the keys.
    pub async fn connect_unasked(&self, remote: SocketAddr) -> Result<AgentStream, AgentError> {
        let source = self.source_towards(remote).await.map_err(no_socket)?;
        let socket = bind(source, 0).map_err(no_socket)?;
        let local = socket.local_addr().map_err(no_socket)?;
        let request = self.request(Begin::Expect { local, remote })?;
        let tcp = socket.connect(remote).await;
        let tcp = tcp.map_err(|error| AgentError::new(Blame::Gateway, format!("TCP to {remote}: {error}")))?;
        self.take_over(tcp, request).await
    }

    /// Is a TLS server at `port`, as far as the gateway's policy consents. Returns once it does.
    pub async fn listen(&self, port: u16, options: &ListenOptions) -> Result<AgentListener, AgentError> {
        let addresses = if options.addresses.is_empty() { vec![self.local] } else { options.addresses.clone() };
        let (mut listeners, mut bound) = (Vec::new(), port);
        for address in addresses {
            let listener = accept_at(SocketAddr::new(address, bound))?;
            // Port 0 is any that is free, and then the same everywhere.
            bound = listener.local_addr().map_err(no_socket)?.port();
            listeners.push(listener);
        }
        let listen = options.request(bound);
        if options.assisted {
            return Ok(AgentListener::assisted(self.clone(), listeners, listen));
        }
        let request = listener::announce(self, listen).await?;
        Ok(AgentListener::through_gateway(self.clone(), listeners, request))
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

    pub(super) fn send_ticket(&self, session: SessionId, body: Vec<u8>) {
        // Without a driver nobody resumes anything.
        let _ = self.commands.send(Command::Ticket { session, body });
    }

    pub(super) fn request(&self, request: Begin) -> Result<Request, AgentError> {
        let id = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, events) = mpsc::unbounded_channel();
        let begun = Request { id, events, commands: self.commands.clone(), stopped: self.stopped.clone() };
        let command = Command::Begin { id, request: Box::new(request), events: sender };
        self.commands.send(command).map_err(|_| begun.stopped())?;
        Ok(begun)
    }

    async fn connect_assisted(&self, socket: TcpSocket, connect: Connect) -> Result<AgentStream, AgentError> {
        let (port, source_port) = (connect.port, connect.source_port);
        // The gateway need not know where the peer is: the caller may.
        let known = match &connect.peer {
            PeerName::Address(address) => Ok(*address),
            PeerName::Name(name) => Err(nobody_knows(name)),
        };
        let mut request = self.request(Begin::Assist(Start::Client(connect)))?;
        let address = request.assisted().await?.map_or(known, Ok)?;
        let remote = SocketAddr::new(address, port);
        let socket = socket_for(socket, source_port, remote)?;
        let peer_fault = |trouble: String| AgentError::new(Blame::Peer, trouble);
        let mut tcp = open(socket, remote, TCP_PATIENCE).await.map_err(peer_fault)?;
        request.tell(More::PeerOpened(assisted::binding(&tcp).map_err(no_socket)?));
        let handover = assisted::handshake(&mut tcp, &mut request).await?;
        AgentStream::new(tcp, *handover, self.clone())
    }

    async fn echo(&self) -> Result<(), AgentError> {
        let echo = Echo(self.clock.now().as_micros().to_be_bytes().to_vec());
        let mut request = self.request(Begin::Echo(echo))?;
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
        AgentStream::new(tcp, *handover, self.clone())
    }

    /// A socket whose port the request will announce. A name's family is not known yet: the gateway's is likely.
    fn source_for(&self, host: &str, options: &ConnectOptions) -> Result<(TcpSocket, u16), AgentError> {
        let target = options.address.or(host.parse().ok()).unwrap_or(self.gateway.ip());
        // A peer that is not behind the gateway may be on another link than the gateway.
        let source = if options.assisted { any(target) } else { self.source_address(target) };
        let socket = bind(source, 0).map_err(no_socket)?;
        let port = socket.local_addr().map_err(no_socket)?.port();
        Ok((socket, port))
    }

    /// The address that the gateway knows us by, where the families agree.
    fn source_address(&self, target: IpAddr) -> IpAddr {
        match target {
            _ if target.is_ipv4() == self.local.is_ipv4() => self.local,
            target => any(target),
        }
    }

    /// The same, exactly: where the families differ, the route to `remote` decides.
    async fn source_towards(&self, remote: SocketAddr) -> std::io::Result<IpAddr> {
        match self.source_address(remote.ip()) {
            unspecified if unspecified.is_unspecified() => Ok(udp_to(remote).await?.local_addr()?.ip()),
            source => Ok(source),
        }
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

fn nobody_knows(name: &str) -> AgentError {
    let message = format!(
        "the gateway does not know the address of {name}: ask again with --address, or have its operator \
         give the name an address"
    );
    AgentError::new(Blame::Terminal, message)
}

async fn open(socket: TcpSocket, remote: SocketAddr, patience: Duration) -> Result<TcpStream, String> {
    match tokio::time::timeout(patience, socket.connect(remote)).await {
        Ok(Ok(tcp)) => Ok(tcp),
        Ok(Err(error)) => Err(format!("TCP to {remote}: {error}")),
        Err(_) => Err(format!("TCP to {remote}: no answer in {patience:?}")),
    }
}

fn accept_at(address: SocketAddr) -> Result<TcpListener, AgentError> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Connections of an agent that has just ended must not keep the next one from its port.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(1024)
    };
    bound().map_err(|error: std::io::Error| {
        AgentError::new(Blame::Terminal, format!("cannot listen at {address}: {error}"))
    })
}
