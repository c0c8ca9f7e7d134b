//! [`AgentStream`]: TCP and a [`Session`] as one stream of plaintext.

use super::error::{AgentError, Blame};
use super::handle::Agent;
use crate::fault::Fault;
use crate::session::{Event, Session};
use keyferry_parsers::messages::{Handover, ProofMethod, ProvedPeer, Role, SessionId};
use keyferry_parsers::tls::ProtocolVersion;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use zeroize::{Zeroize, Zeroizing};

/// Bytes taken from TCP at once: a full record.
const CHUNK: usize = 16_640;
/// Ciphertext that may wait for TCP before a writer has to.
const BACKLOG: usize = 65_536;
/// Tickets of one session that go to the gateway: each is good for one session to come.
const MAX_TICKETS: u8 = 2;

/// Plaintext to and from the peer. What was written and did not fit TCP's buffer waits for `flush`. `shutdown` sends
/// close_notify and leaves the other direction open; dropping the stream sends it too, as far as TCP takes it at once.
/// Reading ends cleanly only after the peer's close_notify; an end of TCP before it is the error `UnexpectedEof`, the
/// end of the session's lifetime is `TimedOut`. [`AgentError::from_stream`] tells whose fault an error is.
pub struct AgentStream {
    tcp: TcpStream,
    session: Session,
    number: SessionId,
    role: Role,
    peer: ProvedPeer,
    alpn: Option<String>,
    server_name: Option<String>,
    /// Kept running for as long as a session lives, to answer the gateway should it repeat the hand-over.
    agent: Agent,
    /// From TCP, not yet taken by the session.
    received: Vec<u8>,
    taken: usize,
    /// From the session, not yet read.
    plain: Zeroizing<Vec<u8>>,
    read: usize,
    /// From the session, not yet in TCP.
    out: Vec<u8>,
    sent: usize,
    /// The session may hold more of what came before: the prefix of the hand-over, to begin with.
    fresh: bool,
    /// Tickets sent to the gateway.
    tickets: u8,
    /// Wakes a silent session when its lifetime is over; `None` once it has.
    expiry: Option<Pin<Box<Sleep>>>,
}

impl AgentStream {
    /// `Err`: the keys cannot be used.
    pub(super) fn new(tcp: TcpStream, handover: Handover, agent: Agent) -> Result<Self, AgentError> {
        let (number, role) = (handover.session, handover.role);
        let (peer, alpn) = (handover.peer.clone(), handover.alpn.clone());
        let server_name = handover.server_name.clone();
        let session = Session::new(handover, agent.now())?;
        let counters = agent.counters();
        counters.sessions_open.fetch_add(1, Ordering::Relaxed);
        counters.sessions_total.fetch_add(1, Ordering::Relaxed);
        // Records are whole messages; waiting for more gains nothing.
        let _ = tcp.set_nodelay(true);
        let expiry = Some(Box::pin(agent.timer(session.expires())));
        Ok(Self {
            tcp,
            session,
            number,
            role,
            peer,
            alpn,
            server_name,
            agent,
            received: Vec::with_capacity(CHUNK),
            taken: 0,
            plain: Zeroizing::default(),
            read: 0,
            out: Vec::new(),
            sent: 0,
            fresh: true,
            tickets: 0,
            expiry,
        })
    }

    /// Who the peer proved to be to the gateway; a client may have proved nothing.
    pub fn peer(&self) -> &ProvedPeer {
        &self.peer
    }

    /// The application protocol that the peer chose.
    pub fn alpn(&self) -> Option<&str> {
        self.alpn.as_deref()
    }

    /// The version of TLS.
    pub fn version(&self) -> ProtocolVersion {
        self.session.version()
    }

    /// Which end of the connection we are.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The name that the peer asked for, if we are the server and it did.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The peer in one line: where it is and what it proved.
    pub fn describe(&self) -> String {
        let from = self.tcp.peer_addr().map_or_else(|_| "a peer that is gone".to_owned(), |from| from.to_string());
        let proved = match self.peer.method {
            ProofMethod::ANONYMOUS => "which proved nothing".to_owned(),
            method => format!("which proved to be {} ({method})", self.peer.identity),
        };
        let name = self.server_name.as_ref().map(|name| format!(" and asked for {name}")).unwrap_or_default();
        format!("{from}, {proved}{name}; {}", self.version())
    }

    /// Both ends of the TCP connection, ours first.
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.tcp.local_addr()?, self.tcp.peer_addr()?))
    }

    /// Changes our sending key now; the session does so by itself when its limits ask for it. `false`: TLS 1.2 cannot.
    pub fn key_update(&mut self) -> Result<bool, AgentError> {
        let updated = self.session.key_update(self.agent.now(), &mut self.out)?;
        self.try_send();
        Ok(updated)
    }

    /// Opens what has been received, until there is plaintext. `true`: there is some, or the peer has closed.
    fn open_received(&mut self) -> io::Result<bool> {
        let now = self.agent.now();
        let mut input = self.received.get(self.taken..).unwrap_or_default();
        let available = input.len();
        let opened = loop {
            break match self.session.open(now, &mut input) {
                Ok(Some(Event::Data(data))) => {
                    self.plain.clear();
                    self.plain.extend_from_slice(data);
                    Ok(true)
                }
                Ok(Some(Event::Ticket(body))) => {
                    if self.tickets < MAX_TICKETS {
                        self.tickets = self.tickets.saturating_add(1);
                        self.agent.send_ticket(self.number, body);
                    }
                    continue;
                }
                Ok(Some(Event::Closed)) => Ok(true),
                Ok(None) => Ok(self.session.is_closed_by_peer()),
                Err(fault) => Err(session_error(fault)),
            };
        };
        self.taken = self.taken.saturating_add(available.saturating_sub(input.len()));
        self.session.drain(&mut self.out);
        self.try_send();
        opened
    }

    /// Sends what TCP takes at once. Registers no waker: the reader must not take the writer's.
    fn try_send(&mut self) {
        while let Some(pending) = self.out.get(self.sent..).filter(|pending| !pending.is_empty()) {
            match self.tcp.try_write(pending) {
                Ok(length) => self.sent = self.sent.saturating_add(length),
                Err(_) => return,
            }
        }
        self.out.clear();
        self.sent = 0;
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, leave: usize) -> Poll<io::Result<()>> {
        while self.out.len().saturating_sub(self.sent) > leave {
            let pending = self.out.get(self.sent..).unwrap_or_default();
            let length = ready!(Pin::new(&mut self.tcp).poll_write(cx, pending))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent = self.sent.saturating_add(length);
        }
        if self.sent >= self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// An error once the session's lifetime is over: its close_notify has been sent.
    fn check_expiry(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.expiry.as_mut().is_some_and(|expiry| expiry.as_mut().poll(cx).is_ready()) {
            self.expiry = None;
            self.open_received()?;
        }
        Ok(())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.received.resize(CHUNK, 0);
        let mut buffer = ReadBuf::new(&mut self.received);
        let polled = Pin::new(&mut self.tcp).poll_read(cx, &mut buffer);
        let length = buffer.filled().len();
        self.received.truncate(length);
        self.taken = 0;
        match ready!(polled) {
            Ok(()) if length == 0 => Poll::Ready(Err(truncated())),
            other => Poll::Ready(other),
        }
    }
}

impl AsyncRead for AgentStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.read >= this.plain.len() {
            if this.session.is_closed_by_peer() {
                return Poll::Ready(Ok(()));
            }
            this.read = 0;
            this.plain.as_mut_slice().zeroize();
            this.plain.clear();
            let unopened = this.fresh || this.taken < this.received.len();
            this.fresh = unopened && this.open_received()?;
            if !this.fresh {
                this.check_expiry(cx)?;
                ready!(this.poll_receive(cx))?;
            }
        }
        let unread = this.plain.get(this.read..).unwrap_or_default();
        let part = unread.get(..unread.len().min(buffer.remaining())).unwrap_or_default();
        buffer.put_slice(part);
        this.read = this.read.saturating_add(part.len());
        this.agent.counters().bytes_received.fetch_add(part.len() as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for AgentStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, plaintext: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx, BACKLOG))?;
        let part = plaintext.get(..plaintext.len().min(BACKLOG)).unwrap_or_default();
        let sealed = this.session.seal(this.agent.now(), part, &mut this.out);
        // On a fault there may be an alert.
        this.session.drain(&mut this.out);
        this.try_send();
        sealed.map_err(session_error)?;
        this.agent.counters().bytes_sent.fetch_add(part.len() as u64, Ordering::Relaxed);
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx, 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closed = this.session.close(&mut this.out);
        // TCP stays open: servers that see its end stop sending, though TLS lets the two directions end apart.
        ready!(this.poll_send(cx, 0))?;
        Poll::Ready(closed.map_err(session_error))
    }
}

impl Drop for AgentStream {
    fn drop(&mut self) {
        // Whoever closes says so (RFC 8446 section 6.1). If TCP does not take all now, the peer sees the stream cut off.
        let _ = self.session.close(&mut self.out);
        self.try_send();
        self.agent.counters().sessions_open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn session_error(fault: Fault) -> io::Error {
    let kind = match fault {
        Fault::Closed => io::ErrorKind::BrokenPipe,
        Fault::SessionExpired => io::ErrorKind::TimedOut,
        Fault::KeyExhausted => io::ErrorKind::QuotaExceeded,
        Fault::PeerAlert(_) => io::ErrorKind::ConnectionAborted,
        _ => io::ErrorKind::InvalidData,
    };
    AgentError::from(fault).into_io(kind)
}

fn truncated() -> io::Error {
    let message = "the connection ended without the peer's close_notify: data may be missing";
    AgentError::new(Blame::Truncated, message).into_io(io::ErrorKind::UnexpectedEof)
}
