//! Sockets with addresses that are not the gateway's own: IP_TRANSPARENT lets them listen for connections
//! to any peer and connect with the terminal's address and port.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::rules::TERMINAL_LEG_MARK;
use crate::gateway::Direction;

const BACKLOG: i32 = 1024;

/// Connections accepted and not yet looked at.
const WAITING: usize = 1024;

/// An intercepted connection: its local address is the one that was dialled, not ours.
pub struct Connection {
    pub(super) stream: TcpStream,
    pub(super) direction: Direction,
}

/// The intercepted connections, IPv4 and IPv6. Only those arrive that our packet rules let through.
pub struct Connections(mpsc::Receiver<Connection>);

impl Connections {
    /// Listens at `port` for what terminals open and, where there is one, at `service_port` for what is opened to
    /// them. A host without IPv6 is served over IPv4 alone.
    ///
    /// # Errors
    /// A port is taken, or the process lacks CAP_NET_ADMIN.
    pub fn listen(port: u16, service_port: Option<u16>) -> io::Result<Self> {
        let (sender, connections) = mpsc::channel(WAITING);
        listen_at(port, Direction::Outbound, &sender)?;
        if let Some(port) = service_port {
            listen_at(port, Direction::Inbound, &sender)?;
        }
        Ok(Self(connections))
    }

    /// Of a test without a network.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(mpsc::channel(1).1)
    }

    /// The next one. Can be dropped and called again.
    pub async fn recv(&mut self) -> Option<Connection> {
        self.0.recv().await
    }
}

/// Connects to the peer with the terminal's own address and port. Where the uplink masquerades, the kernel
/// replaces them on the way out.
///
/// # Errors
/// As connect(2); the terminal's port may be in use for the same peer.
pub(super) async fn connect_to_peer(terminal: SocketAddr, peer: SocketAddr) -> io::Result<TcpStream> {
    connect_as(transparent(peer)?, terminal, peer).await
}

/// Connects to the terminal with the peer's address and port, so that it sees who calls.
///
/// # Errors
/// As connect(2): the terminal may not listen.
pub(super) async fn connect_to_terminal(peer: SocketAddr, terminal: SocketAddr) -> io::Result<TcpStream> {
    let socket = transparent(terminal)?;
    socket.set_mark(TERMINAL_LEG_MARK)?;
    connect_as(socket, peer, terminal).await
}

async fn connect_as(socket: Socket, from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    socket.bind(&from.into())?;
    let stream = TcpSocket::from_std_stream(socket.into()).connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Makes the close of this socket a reset, or an orderly end again.
pub(super) fn abort_on_close(stream: &TcpStream, abort: bool) {
    // On a socket that is gone already there is nothing left to reset.
    let _ = SockRef::from(stream).set_linger(abort.then_some(Duration::ZERO));
}

/// Whether bytes of the other end wait to be read.
pub(super) fn has_spoken(stream: &TcpStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    SockRef::from(stream).peek(&mut byte).is_ok_and(|length| length > 0)
}

/// Keeps idle sessions alive and notices dead ends.
pub(super) fn keep_alive(stream: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(120))
        .with_interval(Duration::from_secs(30))
        .with_retries(4);
    // Without keep-alive a session merely lives on until it is used.
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

fn listen_at(port: u16, direction: Direction, connections: &mpsc::Sender<Connection>) -> io::Result<()> {
    let v4 = listen_on(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), direction)?;
    tokio::spawn(accept(v4, direction, connections.clone()));
    match listen_on(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), direction) {
        Ok(v6) => drop(tokio::spawn(accept(v6, direction, connections.clone()))),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn accept(listener: TcpListener, direction: Direction, connections: mpsc::Sender<Connection>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if connections.send(Connection { stream, direction }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: others must end before it gets better.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn listen_on(address: SocketAddr, direction: Direction) -> io::Result<TcpListener> {
    let socket = transparent(address)?;
    if direction == Direction::Outbound {
        // Accepted sockets inherit the mark; it keeps their packets out of connection tracking.
        socket.set_mark(TERMINAL_LEG_MARK)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn transparent(like: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(like), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // The IPv4 option serves IPv6 sockets as well: Linux keeps one flag for both.
    socket.set_ip_transparent_v4(true)?;
    Ok(socket)
}
