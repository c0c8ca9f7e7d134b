//! Assisted mode over a real connection: bytes of the handshake between TCP and the channel, until the keys are there.

use super::driver::More;
use super::error::AgentError;
use super::request::{Request, unexpected};
use crate::client::Event;
use keyferry_parsers::messages::{Binding, Handover, Step};
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Bytes taken from TCP at once.
const CHUNK: usize = 8192;
/// How long the peer may take to receive what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Carries until the gateway hands over, or refuses: then the peer has been sent its last words.
pub(super) async fn handshake(tcp: &mut TcpStream, request: &mut Request) -> Result<Box<Handover>, AgentError> {
    let mut peer = Reader::Open;
    let mut buffer = vec![0; CHUNK];
    loop {
        tokio::select! {
            event = request.next() => match event? {
                Event::ToPeer { bytes, .. } => {
                    if write(tcp, &bytes).await.is_err() && peer == Reader::Open {
                        peer = Reader::Done;
                        request.tell(More::PeerClosed);
                    }
                }
                // What the peer says from now on is for the session: it stays in TCP.
                Event::Needs { step: Step::KEY, .. } => peer = Reader::Done,
                Event::Needs { .. } | Event::Assisted { .. } => {}
                Event::Session { handover, .. } => return Ok(handover),
                _ => return Err(unexpected()),
            },
            read = tcp_read(tcp, &mut buffer), if peer == Reader::Open => match read {
                Ok(length @ 1..) => {
                    request.tell(More::PeerBytes(buffer.get(..length).unwrap_or_default().to_vec()));
                }
                // The gateway says what that means.
                Ok(0) | Err(_) => {
                    peer = Reader::Done;
                    request.tell(More::PeerClosed);
                }
            },
        }
    }
}

#[derive(PartialEq)]
enum Reader {
    Open,
    Done,
}

/// Both ends of the connection, ours first.
pub(super) fn binding(tcp: &TcpStream) -> io::Result<Binding> {
    let canonical = |mut address: std::net::SocketAddr| {
        address.set_ip(address.ip().to_canonical());
        address
    };
    Ok(Binding { local: canonical(tcp.local_addr()?), remote: canonical(tcp.peer_addr()?) })
}

/// What the peer says first; a server starts with it.
pub(super) async fn first_bytes(tcp: &TcpStream) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; CHUNK];
    let length = tcp_read(tcp, &mut buffer).await?;
    buffer.truncate(length);
    Ok(buffer)
}

/// Cancellable: nothing is lost when the other branch of a `select!` wins.
async fn tcp_read(tcp: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        tcp.readable().await?;
        match tcp.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

async fn write(tcp: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let written = tokio::time::timeout(PATIENCE, tcp.write_all(bytes)).await;
    written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
