//! The ways out of the path. [`Relay`] always works: two connections, ciphertext copied between them.

use std::future::Future;
use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::sockets::{abort, keep_alive};
use crate::gateway::{FlowEnd, HandoverKind};

/// Big enough that a bulk transfer costs few system calls, small enough for ten thousand idle sessions.
const BUFFER: usize = 16 * 1024;

/// The two connections of a flow whose handshake is done.
pub struct Legs {
    /// Towards the terminal.
    pub terminal: TcpStream,
    /// Towards the peer.
    pub peer: TcpStream,
}

/// A flow that carries ciphertext without the gateway core.
pub struct Carried<F> {
    /// How it is carried, for the statistics.
    pub kind: HandoverKind,
    /// What the peer sent beyond the handshake, to travel with the keys.
    pub prefix: Vec<u8>,
    /// Resolves when the flow ends.
    pub end: F,
}

/// A way out of the path. When it returns, the point of no return is passed and keys may leave.
pub trait Handover {
    /// Takes the gateway out of the path of this flow.
    ///
    /// # Errors
    /// The flow cannot be handed over and has to be reset; no key may leave.
    fn hand_over(&self, legs: Legs) -> io::Result<Carried<impl Future<Output = FlowEnd> + Send + 'static>>;
}

/// Copies ciphertext in user space.
pub struct Relay;

impl Handover for Relay {
    fn hand_over(&self, legs: Legs) -> io::Result<Carried<impl Future<Output = FlowEnd> + Send + 'static>> {
        // Nothing was read beyond the handshake, so there is no prefix.
        let kind = HandoverKind::Relay("relay");
        Ok(Carried { kind, prefix: Vec::new(), end: copy(legs) })
    }
}

/// Copies both ways until both ends have closed; the reset of one end becomes the reset of the other.
async fn copy(mut legs: Legs) -> FlowEnd {
    keep_alive(&legs.terminal);
    keep_alive(&legs.peer);
    let mut carried = FlowEnd::default();
    let (terminal_in, terminal_out) = legs.terminal.split();
    let (peer_in, peer_out) = legs.peer.split();
    let copied = tokio::try_join!(
        copy_one_way(terminal_in, peer_out, &mut carried.up),
        copy_one_way(peer_in, terminal_out, &mut carried.down),
    );
    if copied.is_err() {
        abort(&legs.terminal);
        abort(&legs.peer);
    }
    carried
}

async fn copy_one_way(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, carried: &mut u64) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(BUFFER);
    while from.read_buf(&mut buffer).await? > 0 {
        *carried = carried.saturating_add(buffer.len() as u64);
        to.write_all_buf(&mut buffer).await?;
        buffer.clear();
        buffer.reserve(BUFFER);
    }
    to.shutdown().await
}
