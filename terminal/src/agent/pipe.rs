//! Two byte streams joined: what `keyferry-terminal connect` does with standard input and output.

use super::error::AgentError;
use super::stream::AgentStream;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use zeroize::Zeroizing;

/// Plaintext moved at once.
pub(super) const CHUNK: usize = 16_384;

/// How long input may pause after the peer has closed: a file is still sent to its end, a terminal does not hold us.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// The same for a service behind this terminal, which may have to think.
const SERVICE_PAUSE: Duration = Duration::from_secs(60);
/// How long our close_notify may take once the other direction has ended.
const FAREWELL: Duration = Duration::from_secs(2);

/// Sends what `from` gives, close_notify at its end, and writes what the peer sends to `to`. Returns when the peer has
/// closed: after an error at once, after its close_notify once `from` has ended, pauses for a second, or the peer takes
/// no more.
pub async fn pipe(
    stream: AgentStream,
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
) -> Result<(), AgentError> {
    let (reader, writer) = tokio::io::split(stream);
    both_ways(from, writer, download(reader, to), PAUSE).await
}

/// Joins the peer with a service on TCP, in the clear: what `keyferry-terminal listen --forward` does.
pub async fn forward(stream: AgentStream, service: TcpStream) -> Result<(), AgentError> {
    let (reader, writer) = tokio::io::split(stream);
    let (from, to) = service.into_split();
    both_ways(from, writer, download(reader, to), SERVICE_PAUSE).await
}

/// Uploads `from` to `writer` beside `download`, until both have ended; `pause`: see [`exhausted`]. The peer's close_notify leaves our direction
/// open, and we must say close_notify before we go (RFC 8446 section 6.1).
pub(super) async fn both_ways<E>(
    from: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    download: impl Future<Output = Result<(), E>>,
    pause: Duration,
) -> Result<(), E> {
    let (other, patience) = watch::channel(None);
    let upload = upload(from, writer, patience);
    tokio::pin!(upload, download);
    let ended = tokio::select! {
        ended = &mut download => ended,
        () = &mut upload => return download.await,
    };
    if ended.is_ok() {
        other.send_replace(Some(pause));
        upload.await;
    } else {
        other.send_replace(Some(Duration::ZERO));
        // A writer that is stuck cannot say goodbye.
        let _ = tokio::time::timeout(FAREWELL, upload).await;
    }
    ended
}

/// Errors are left to the other direction, which knows why. `patience` is set when that direction has ended: how long
/// the input may pause from then on.
async fn upload(
    mut from: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    mut patience: watch::Receiver<Option<Duration>>,
) {
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    loop {
        let read = tokio::select! {
            biased;
            () = exhausted(&mut patience) => break,
            read = from.read(&mut buffer) => read,
        };
        let Ok(length @ 1..) = read else { break };
        let chunk = buffer.get(..length).unwrap_or_default();
        if writer.write_all(chunk).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
    tokio::select! {
        _ = writer.shutdown() => {}
        () = async {
            granted(&mut patience).await;
            tokio::time::sleep(FAREWELL).await;
        } => {}
    }
}

/// Waits for the other direction's end, and then for as long as the input may pause.
async fn exhausted(patience: &mut watch::Receiver<Option<Duration>>) {
    let pause = granted(patience).await;
    // Even a sleep of nothing would let the input go first.
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}

async fn granted(patience: &mut watch::Receiver<Option<Duration>>) -> Duration {
    // An error means that nobody waits for the upload any more.
    patience.wait_for(Option::is_some).await.ok().and_then(|patience| *patience).unwrap_or_default()
}

async fn download(mut reader: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> Result<(), AgentError> {
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    loop {
        match reader.read(&mut buffer).await.map_err(AgentError::from_stream)? {
            // Whoever reads must see the end.
            0 => return to.shutdown().await.map_err(local),
            length => to.write_all(buffer.get(..length).unwrap_or_default()).await.map_err(local)?,
        }
        to.flush().await.map_err(local)?;
    }
}

/// The local end of the pipe is gone.
pub(super) fn local(error: std::io::Error) -> AgentError {
    AgentError::new(super::Blame::Terminal, format!("the local end of the pipe: {error}"))
}
