//! Two byte streams joined: what `keyferry-terminal connect` does with standard input and output.

use super::error::AgentError;
use super::stream::AgentStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// Plaintext moved at once.
pub(super) const CHUNK: usize = 16_384;

/// Sends what `from` gives, close_notify at its end, and writes what the peer sends to `to`. Returns when the peer has
/// closed, cleanly or not.
pub async fn pipe(
    stream: AgentStream,
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
) -> Result<(), AgentError> {
    let (reader, writer) = tokio::io::split(stream);
    until_closed(upload(from, writer), download(reader, to)).await
}

/// The peer's closing ends both directions; the end of ours only that one.
pub(super) async fn until_closed<T>(upload: impl Future<Output = ()>, download: impl Future<Output = T>) -> T {
    tokio::pin!(upload, download);
    tokio::select! {
        ended = &mut download => ended,
        () = &mut upload => download.await,
    }
}

/// Errors are left to the other direction, which knows why.
pub(super) async fn upload(mut from: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin) {
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let chunk = buffer.get(..length).unwrap_or_default();
        if writer.write_all(chunk).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}

async fn download(mut reader: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> Result<(), AgentError> {
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    loop {
        match reader.read(&mut buffer).await.map_err(AgentError::from_stream)? {
            0 => return to.flush().await.map_err(local),
            length => to.write_all(buffer.get(..length).unwrap_or_default()).await.map_err(local)?,
        }
        to.flush().await.map_err(local)?;
    }
}

/// The local end of the pipe is gone.
pub(super) fn local(error: std::io::Error) -> AgentError {
    AgentError::new(super::Blame::Terminal, format!("the local end of the pipe: {error}"))
}
