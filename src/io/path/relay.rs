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
    if until_opened(&legs, opened).await.is_err() {
        return carried;
    }
    let (terminal_in, terminal_out) = legs.terminal.split();
    let (peer_in, peer_out) = legs.peer.split();
    let copied = tokio::try_join!(
        copy_one_way(terminal_in, peer_out, &mut carried.up),
        copy_one_way(peer_in, terminal_out, &mut carried.down),
    );
    if copied.is_ok() {
        abort_on_close(&legs.terminal, false);
        abort_on_close(&legs.peer, false);
    }
    carried
}

/// Waits until the terminal has its keys. What either end sends meanwhile stays where it is: towards the peer it
/// could only be plaintext, and a terminal without keys must not be reached by anybody's. An end that closes now
/// ends the flow.
async fn until_opened(legs: &Legs, opened: impl Future<Output = ()>) -> io::Result<()> {
    tokio::select! {
        () = opened => Ok(()),
        () = closed(&legs.terminal) => Err(io::ErrorKind::UnexpectedEof.into()),
        () = closed(&legs.peer) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Resolves when the other end closes or is lost with nothing left to read.
async fn closed(leg: &TcpStream) {
    if let Ok(1..) = leg.peek(&mut [0]).await {
        std::future::pending().await
    }
}

/// Whether a stream begins with a protected record, as it does unless an end goes on without keys: data or, in TLS
/// 1.2, where the type is in the clear, an alert or a handshake message.
fn starts_a_record(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15..=0x17, 0x03, 0x03, ..])
}

async fn copy_one_way(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, carried: &mut u64) -> io::Result<()> {
    const BEGINNING: usize = 3;
    let mut buffer = BytesMut::with_capacity(BUFFER);
    while from.read_buf(&mut buffer).await? > 0 {
        if *carried == 0 {
            if buffer.len() < BEGINNING {
                continue;
            }
            if !starts_a_record(&buffer) {
                return Err(io::ErrorKind::InvalidData.into());
            }
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
    fn who_speaks_in_the_clear_is_told_from_who_encrypts() {
        assert!(starts_a_record(&[0x17, 3, 3, 0, 40]));
        assert!(starts_a_record(&[0x15, 3, 3, 0, 26]), "close_notify of TLS 1.2");
        assert!(!starts_a_record(b"GET / HTTP/1.1"));
        assert!(!starts_a_record(&[0x16, 3, 1, 0, 40]), "a hello of its own");
        assert!(!starts_a_record(&[0x17, 3]), "not to be told yet");
    }

    /// Two ends of a flow in between: what they connect to is the relay's.
    async fn legs() -> (Legs, TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || async { (TcpStream::connect(address).await.unwrap(), listener.accept().await.unwrap().0) };
        let ((terminal, terminal_leg), (peer, peer_leg)) = (connect().await, connect().await);
        (Legs { terminal: terminal_leg, peer: peer_leg }, terminal, peer)
    }

    async fn is_silent(stream: &mut TcpStream) -> bool {
        let heard = tokio::time::timeout(std::time::Duration::from_millis(50), stream.read(&mut [0; 100])).await;
        heard.is_err()
    }

    #[tokio::test]
    async fn nothing_passes_either_way_before_the_terminal_has_its_keys() {
        let (legs, mut terminal, mut peer) = legs().await;
        let (open, opened) = tokio::sync::oneshot::channel::<()>();
        let relay = tokio::spawn(copy(legs, async { opened.await.unwrap() }));
        peer.write_all(&[0x17, 3, 3, 0, 1, 9]).await.unwrap();
        terminal.write_all(&[0x17, 3, 3, 0, 1, 8]).await.unwrap();
        assert!(is_silent(&mut terminal).await && is_silent(&mut peer).await);
        open.send(()).unwrap();
        let mut heard = [0; 6];
        terminal.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, [0x17, 3, 3, 0, 1, 9]);
        peer.read_exact(&mut heard).await.unwrap();
        drop((terminal, peer));
        assert_eq!(relay.await.unwrap(), FlowEnd { up: 6, down: 6 });
    }

    #[tokio::test]
    async fn plaintext_of_either_end_ends_the_flow_however_it_is_cut() {
        for from_terminal in [true, false] {
            let (legs, mut terminal, mut peer) = legs().await;
            let relay = tokio::spawn(copy(legs, async {}));
            let (speaker, hearer) = if from_terminal { (&mut terminal, &mut peer) } else { (&mut peer, &mut terminal) };
            speaker.set_nodelay(true).unwrap();
            speaker.write_all(&[0x17]).await.unwrap();
            assert!(is_silent(hearer).await, "one byte tells nothing");
            speaker.write_all(b"root\r\nreboot\r\n").await.unwrap();
            let mut heard = Vec::new();
            assert!(hearer.read_to_end(&mut heard).await.is_err(), "it is reset");
            assert!(heard.is_empty());
            assert_eq!(relay.await.unwrap(), FlowEnd::default());
        }
    }
}
