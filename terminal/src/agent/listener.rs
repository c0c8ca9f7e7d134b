//! [`AgentListener`]: connections that peers open to this terminal, paired with the keys that the gateway sends for them.
//!
//! TCP and keys come in either order and find each other by both addresses and ports. Whatever stays alone for
//! [`PATIENCE`] is dropped: a connection without keys is none that the gateway let through.

use super::assisted;
use super::driver::Begin;
use super::error::{AgentError, Blame};
use super::handle::Agent;
use super::request::{Request, unexpected};
use super::stream::AgentStream;
use crate::client::{Event, Start};
use keyferry_parsers::messages::{Binding, Handover, Listen};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long TCP waits for its keys, or keys for their TCP.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections without keys, keys without connection, and sessions that nobody has accepted yet: so many of each.
const MAX_WAITING: usize = 64;

/// A port at which this terminal is a TLS server. Dropped, it closes, and the gateway is told.
pub struct AgentListener {
    accepted: mpsc::Receiver<Result<Incoming, AgentError>>,
    addresses: Vec<SocketAddr>,
    _tasks: JoinSet<()>,
}

/// A peer that came.
#[expect(clippy::large_enum_variant, reason = "moved once, and nearly always the large one")]
pub enum Incoming {
    /// Its session is ready to be used.
    Stream(AgentStream),
    /// It got none. Only in assisted mode: of peers that fail at a gateway in between, the terminal never hears.
    Failed {
        /// The peer, by its own account on TCP.
        client: SocketAddr,
        /// What went wrong.
        error: AgentError,
    },
}

impl AgentListener {
    /// The next peer, its session ready to be used; those that fail are passed over. An error is the end: the gateway
    /// no longer lets peers through.
    pub async fn accept(&mut self) -> Result<AgentStream, AgentError> {
        loop {
            if let Incoming::Stream(stream) = self.incoming().await? {
                return Ok(stream);
            }
        }
    }

    /// As [`accept`](Self::accept), and tells of those that fail.
    pub async fn incoming(&mut self) -> Result<Incoming, AgentError> {
        let ended = || AgentError::new(Blame::Terminal, "the listener has ended");
        self.accepted.recv().await.unwrap_or_else(|| Err(ended()))
    }

    /// Where TCP is accepted.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Peers come through the gateway. `request` is the port's announcement, already consented to.
    pub(super) fn through_gateway(agent: Agent, listeners: Vec<TcpListener>, request: Request) -> Self {
        Self::run(listeners, |tcp, accepted| pair(agent, tcp, request, accepted))
    }

    /// Peers come directly.
    pub(super) fn assisted(agent: Agent, listeners: Vec<TcpListener>, listen: Listen) -> Self {
        Self::run(listeners, |tcp, accepted| assist_all(agent, tcp, listen, accepted))
    }

    fn run<F: Future<Output = ()> + Send + 'static>(
        listeners: Vec<TcpListener>,
        serve: impl FnOnce(mpsc::Receiver<TcpStream>, Accepted) -> F,
    ) -> Self {
        let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let (send_tcp, tcp) = mpsc::channel(1);
        let (sender, accepted) = mpsc::channel(MAX_WAITING);
        let mut tasks = JoinSet::new();
        for listener in listeners {
            tasks.spawn(accept_tcp(listener, send_tcp.clone()));
        }
        tasks.spawn(serve(tcp, sender));
        Self { accepted, addresses, _tasks: tasks }
    }
}

type Accepted = mpsc::Sender<Result<Incoming, AgentError>>;

async fn accept_tcp(listener: TcpListener, to: mpsc::Sender<TcpStream>) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                if to.send(tcp).await.is_err() {
                    return;
                }
            }
            // Out of sockets, or a peer that was gone again: neither ends the listener.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Joins connections and keys until nobody accepts any more.
async fn pair(agent: Agent, mut tcp: mpsc::Receiver<TcpStream>, mut request: Request, accepted: Accepted) {
    let mut connections: Waiting<TcpStream> = Waiting::default();
    let mut keys: Waiting<Box<Handover>> = Waiting::default();
    loop {
        let pair = tokio::select! {
            Some(stream) = tcp.recv() => {
                let Ok(binding) = assisted::binding(&stream) else { continue };
                match keys.take(&binding) {
                    Some(handover) => Some((stream, handover)),
                    None => {
                        connections.put(binding, stream);
                        None
                    }
                }
            }
            event = request.next() => match event {
                Ok(Event::Incoming { handover, .. }) => match connections.take(&handover.binding) {
                    Some(stream) => Some((stream, handover)),
                    None => {
                        keys.put(handover.binding, handover);
                        None
                    }
                },
                Ok(_) => None,
                Err(error) => {
                    let _ = accepted.send(Err(error)).await;
                    return;
                }
            },
            () = connections.expired() => None,
            () = keys.expired() => None,
            () = accepted.closed() => return,
        };
        if let Some((stream, handover)) = pair
            && let Ok(stream) = AgentStream::new(stream, *handover, agent.clone())
        {
            // With as many unaccepted sessions as there may be, this one is closed.
            let _ = accepted.try_send(Ok(Incoming::Stream(stream)));
        }
    }
}

/// What came first, oldest in front.
struct Waiting<T>(VecDeque<(Binding, Instant, T)>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Waiting<T> {
    fn put(&mut self, binding: Binding, what: T) {
        // Ports are used again: what is older belongs to a connection that is gone.
        drop(self.take(&binding));
        if self.0.len() >= MAX_WAITING {
            self.0.pop_front();
        }
        self.0.push_back((binding, Instant::now() + PATIENCE, what));
    }

    fn take(&mut self, binding: &Binding) -> Option<T> {
        let at = self.0.iter().position(|(waiting, ..)| waiting == binding)?;
        self.0.remove(at).map(|(.., what)| what)
    }

    /// Drops what has waited for too long; resolves once it has.
    async fn expired(&mut self) {
        match self.0.front() {
            Some((_, deadline, _)) => tokio::time::sleep_until(*deadline).await,
            None => std::future::pending().await,
        }
        self.0.pop_front();
    }
}

/// A handshake for every connection, so many at once.
async fn assist_all(agent: Agent, mut tcp: mpsc::Receiver<TcpStream>, listen: Listen, accepted: Accepted) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            Some(stream) = tcp.recv(), if handshakes.len() < MAX_WAITING => {
                let Ok(client) = stream.peer_addr() else { continue };
                let (agent, listen, accepted) = (agent.clone(), listen.clone(), accepted.clone());
                handshakes.spawn(async move {
                    let incoming = match assist(agent, stream, listen).await {
                        Ok(stream) => Incoming::Stream(stream),
                        Err(error) => Incoming::Failed { client, error },
                    };
                    let _ = accepted.try_send(Ok(incoming));
                });
            }
            Some(_) = handshakes.join_next() => {}
            () = accepted.closed() => return,
        }
    }
}

async fn assist(agent: Agent, mut tcp: TcpStream, listen: Listen) -> Result<AgentStream, AgentError> {
    let gone = |error: std::io::Error| AgentError::new(Blame::Peer, format!("the client went away: {error}"));
    let silent = |_| AgentError::new(Blame::Peer, "the client says nothing");
    let bytes = tokio::time::timeout(PATIENCE, assisted::first_bytes(&tcp)).await.map_err(silent)?.map_err(gone)?;
    if bytes.is_empty() {
        return Err(gone(std::io::ErrorKind::UnexpectedEof.into()));
    }
    let binding = assisted::binding(&tcp).map_err(gone)?;
    let mut request = agent.request(Begin::Assist(Start::Server { listen, binding, bytes }))?;
    let handover = assisted::handshake(&mut tcp, &mut request).await?;
    AgentStream::new(tcp, *handover, agent)
}

/// The port's announcement: waits for the gateway's consent.
pub(super) async fn announce(agent: &Agent, listen: Listen) -> Result<Request, AgentError> {
    let mut request = agent.request(Begin::Listen(listen))?;
    match request.next().await? {
        Event::Listening { .. } => Ok(request),
        _ => Err(unexpected()),
    }
}
