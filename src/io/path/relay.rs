//! The ways out of the path. [`Relay`] always works: two connections, ciphertext copied between them.

use std::future::Future;
use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::sockets::{abort_on_close, keep_alive};
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
    /// Takes the gateway out of the path of this flow. Nothing the terminal sends moves before `opened`
    /// resolves, which it does when the terminal has acknowledged its keys: before, it could only be plaintext.
    ///
    /// # Errors
    /// The flow cannot be handed over and has to be reset; no key may leave.
    fn hand_over(
        &self,
        legs: Legs,
        opened: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Carried<impl Future<Output = FlowEnd> + Send + 'static>>;
}

/// Copies ciphertext in user space.
pub struct Relay;

impl Handover for Relay {
    fn hand_over(
        &self,
        legs: Legs,
        opened: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Carried<impl Future<Output = FlowEnd> + Send + 'static>> {
        // Nothing was read beyond the handshake, so there is no prefix.
        let kind = HandoverKind::Relay("relay");
        Ok(Carried { kind, prefix: Vec::new(), end: copy(legs, opened) })
    }
}

/// Copies both ways until both ends have closed; the reset of one end becomes the reset of the other, and so
/// does dropping this future: a session that is cut must not look finished.
async fn copy(mut legs: Legs, opened: impl Future<Output = ()>) -> FlowEnd {
    for leg in [&legs.terminal, &legs.peer] {
        keep_alive(leg);
        abort_on_close(leg, true);
    }
    let mut carried = FlowEnd::default();
    let (terminal_in, terminal_out) = legs.terminal.split();
    let (peer_in, peer_out) = legs.peer.split();
    let copied = tokio::try_join!(
        async {
            opened.await;
            copy_one_way(terminal_in, peer_out, &mut carried.up, starts_a_record).await
        },
        copy_one_way(peer_in, terminal_out, &mut carried.down, |_| true),
    );
    if copied.is_ok() {
        abort_on_close(&legs.terminal, false);
        abort_on_close(&legs.peer, false);
    }
    carried
}

/// Whether a terminal's stream begins with a protected record, as it does unless the terminal goes on without
/// its keys.
fn starts_a_record(bytes: &[u8]) -> bool {
    bytes.iter().zip([0x17, 0x03, 0x03]).all(|(byte, expected)| *byte == expected)
}

async fn copy_one_way(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    carried: &mut u64,
    may_begin: fn(&[u8]) -> bool,
) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(BUFFER);
    while from.read_buf(&mut buffer).await? > 0 {
        if *carried == 0 && !may_begin(&buffer) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        *carried = carried.saturating_add(buffer.len() as u64);
        to.write_all_buf(&mut buffer).await?;
        buffer.clear();
        buffer.reserve(BUFFER);
    }
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_speaks_in_the_clear_is_told_from_one_that_encrypts() {
        assert!(starts_a_record(&[0x17, 3, 3, 0, 40]));
        assert!(starts_a_record(&[0x17]), "cut by TCP");
        assert!(!starts_a_record(b"GET / HTTP/1.1"));
        assert!(!starts_a_record(&[0x16, 3, 1, 0, 40]), "a hello of its own");
    }
}
