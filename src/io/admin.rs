//! The operator's way to the running gateway: a Unix socket that only root and the gateway's own user can
//! use. One line of JSON asks, one line answers.

mod certificate;
mod operate;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use zeroize::{Zeroize, Zeroizing};

pub use operate::{Contact, operate};

use super::socket;
use super::store::WrittenRecord;
use super::store::enrol::NewTerminal;
pub use certificate::{NewCertificate, ShownCertificate};

/// No request is longer, in bytes.
const LONGEST_REQUEST: usize = 128 << 10;
/// 100,000 terminals take about 30 MB.
const LONGEST_RESPONSE: u64 = 256 << 20;
/// For the client to write its request, and for it to read the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the gateway to answer: a full store may have to sync.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Connections served at once.
const CONNECTIONS: usize = 16;

/// What the operator asks of the running gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum AdminRequest {
    /// The figures, as JSON.
    Stats,
    /// The figures, as Prometheus text.
    Prometheus,
    /// Adds a terminal.
    TerminalAdd(NewTerminal),
    /// All terminals.
    TerminalList,
    /// One terminal.
    TerminalShow {
        /// Its name.
        id: String,
    },
    /// Ends a terminal's rights and sessions.
    TerminalRevoke {
        /// Its name.
        id: String,
    },
    /// Gives a terminal a certificate, or another one of the same name.
    CertificateAdd(NewCertificate),
    /// The certificates of a terminal.
    CertificateList {
        /// The terminal's name.
        id: String,
    },
    /// Takes a certificate from a terminal and erases its private key.
    CertificateRemove {
        /// The terminal's name.
        id: String,
        /// The certificate's.
        name: String,
    },
}

/// What the gateway answers.
#[allow(clippy::large_enum_variant, reason = "there is one for each connection, and it is moved twice")]
#[derive(Serialize, Deserialize)]
#[serde(tag = "result", content = "content", rename_all = "kebab-case")]
pub enum AdminResponse {
    /// To `Stats`.
    Stats(serde_json::Value),
    /// To `Prometheus`.
    Text(String),
    /// To `TerminalAdd`.
    Enrolled(EnrolledTerminal),
    /// To `TerminalList`.
    Terminals(Vec<ShownTerminal>),
    /// To `TerminalShow` and `TerminalRevoke`.
    Terminal(Box<ShownTerminal>),
    /// To `CertificateAdd` and `CertificateRemove`.
    Certificate(ShownCertificate),
    /// To `CertificateList`.
    Certificates(Vec<ShownCertificate>),
    /// What was asked cannot be done; the text says why and what to change.
    Refused(String),
    /// The gateway failed.
    Failed(String),
}

/// A terminal that was just added, and what it has to be configured with.
#[derive(Serialize, Deserialize)]
pub struct EnrolledTerminal {
    /// What is stored of it.
    pub terminal: WrittenRecord,
    /// Its first channel key, hexadecimal.
    pub key: KeyText,
    /// The gateway's channel id, hexadecimal.
    pub gateway_id: String,
    /// Where the gateway listens for it.
    pub gateway: SocketAddr,
}

impl EnrolledTerminal {
    /// The file the terminal is configured with. Without a `key_file` beside it, it holds the key itself:
    /// whoever has it can read and forge all of the channel's beginning.
    pub fn terminal_file(&self, key_file: Option<&str>) -> Zeroizing<String> {
        let Self { terminal, key, gateway_id, gateway } = self;
        // Of its final size at once: growing would leave copies of the key behind.
        let mut file = Zeroizing::new(String::with_capacity(1024));
        for part in [
            "# The terminal's own configuration. The first channel key is secret.\n",
            &format!("id = \"{}\"\ngateway = \"{gateway}\"\n", terminal.id),
            &format!("sender_id = \"{}\"\ngateway_id = \"{gateway_id}\"\n", terminal.kid),
            if key_file.is_some() { "key_file = \"" } else { "key = \"" },
            key_file.unwrap_or(key.reveal()),
            "\"\nstate = \"keyferry-terminal.state\"\n",
        ] {
            file.push_str(part);
        }
        file
    }
}

/// A terminal, and how it is doing where the gateway runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownTerminal {
    /// What is stored of it.
    #[serde(flatten)]
    pub record: WrittenRecord,
    /// None for a revoked terminal, and without a running gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveTerminal>,
}

/// What only the running gateway knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveTerminal {
    /// Seconds since it was last heard; None: not since the gateway started.
    pub heard_seconds_ago: Option<u64>,
    /// Where it was last heard.
    pub channel_address: Option<SocketAddr>,
    /// The epoch of its channel key.
    pub epoch: u32,
    /// Handshakes it has open.
    pub pending: u32,
    /// Sessions handed over to it that still run.
    pub sessions: usize,
}

/// A key in hexadecimal, wiped when dropped and never printed by accident.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyText(String);

impl KeyText {
    /// Takes over the digits.
    pub fn new(digits: String) -> Self {
        Self(digits)
    }

    /// The digits, for the terminal's own configuration.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Drop for KeyText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A request on its way to the gateway's loop, and where the answer goes.
pub type Call = (AdminRequest, oneshot::Sender<AdminResponse>);

/// The socket, removed when dropped.
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Our own user.
    uid: u32,
}

/// Why [`call`] got no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens there.
    #[error("no gateway is running: nobody answers on {0}")]
    NotRunning(PathBuf),
    /// Somebody does, but not for us or not properly.
    #[error("the gateway did not answer on {0}: {1}")]
    Failed(PathBuf, io::Error),
}

impl AdminSocket {
    /// Binds the socket with mode 0600; one that nobody answers on is replaced. Needs a tokio runtime.
    ///
    /// # Errors
    /// `AddrInUse` where another gateway answers there.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let listener = socket::bind(path, 0o600)?;
        listener.set_nonblocking(true)?;
        let uid = fs::metadata(path)?.uid();
        let listener = UnixListener::from_std(listener)?;
        Ok(Self { listener, path: path.to_owned(), uid })
    }

    /// Serves for ever, or until nobody takes the calls any more.
    pub async fn serve(self, calls: mpsc::Sender<Call>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        while !calls.is_closed() {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = tokio::select! {
                accepted = self.listener.accept() => accepted.map(|(stream, _)| stream),
                () = calls.closed() => return,
            };
            let stream = match stream {
                Ok(stream) if may_ask(&stream, self.uid) => stream,
                Ok(_) => {
                    tracing::warn!("refused a connection of another user on the admin socket");
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin socket took no connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let calls = calls.clone();
            tokio::spawn(async move {
                if let Err(error) = serve_one(stream, &calls).await {
                    tracing::debug!(%error, "an admin connection ended early");
                }
                drop(place);
            });
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // Left behind, it would be replaced at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// Asks the gateway that listens on `path`.
pub fn call(path: &Path, request: &AdminRequest) -> Result<AdminResponse, CallError> {
    let stream = BlockingStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => CallError::NotRunning(path.to_owned()),
        _ => CallError::Failed(path.to_owned(), error),
    })?;
    exchange(stream, request).map_err(|error| CallError::Failed(path.to_owned(), error))
}

fn exchange(mut stream: BlockingStream, request: &AdminRequest) -> io::Result<AdminResponse> {
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE + ANSWER_TIME))?;
    // Of its final size at once, and wiped: it may hold a private key.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_REQUEST));
    serde_json::to_writer(&mut *line, request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Zeroizing::new(Vec::new());
    BufReader::new(stream).take(LONGEST_RESPONSE).read_until(b'\n', &mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it closed the connection; run this as root"));
    }
    Ok(serde_json::from_slice(&answer)?)
}

/// Root and the gateway's own user may ask, whatever the mode of the socket has become.
fn may_ask(stream: &UnixStream, own: u32) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}

async fn serve_one(stream: UnixStream, calls: &mpsc::Sender<Call>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    // Of its final size at once, and wiped: it may hold a private key.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_REQUEST));
    timeout(PATIENCE, read_line(reader, &mut line)).await??;
    let response = match read_request(&line) {
        Ok(request) => answer(request, calls).await,
        Err(what) => AdminResponse::Refused(what),
    };
    let mut text = Zeroizing::new(serde_json::to_vec(&response)?);
    text.push(b'\n');
    timeout(PATIENCE, writer.write_all(&text)).await??;
    writer.shutdown().await
}

/// Reads until a line ends, the other side stops or the request becomes too long.
async fn read_line(reader: OwnedReadHalf, line: &mut Vec<u8>) -> io::Result<()> {
    let mut reader = reader.take(LONGEST_REQUEST as u64);
    while !line.ends_with(b"\n") && reader.read_buf(line).await? > 0 {}
    Ok(())
}

fn read_request(line: &[u8]) -> Result<AdminRequest, String> {
    if !line.ends_with(b"\n") {
        return Err(format!("a request is one line of at most {LONGEST_REQUEST} bytes"));
    }
    serde_json::from_slice(line).map_err(|error| format!("not a request of this version of keyferry: {error}"))
}

async fn answer(request: AdminRequest, calls: &mpsc::Sender<Call>) -> AdminResponse {
    let (reply, answer) = oneshot::channel();
    let waiting = async {
        calls.send((request, reply)).await.ok()?;
        answer.await.ok()
    };
    match timeout(ANSWER_TIME, waiting).await {
        Ok(Some(response)) => response,
        Ok(None) => AdminResponse::Failed("the gateway is shutting down".into()),
        Err(_) => AdminResponse::Failed(format!("the gateway did not answer within {} s", ANSWER_TIME.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gateway that refuses everything with what it understood.
    async fn echoing(path: PathBuf) {
        let (calls, mut received) = mpsc::channel::<Call>(4);
        tokio::spawn(AdminSocket::bind(&path).unwrap().serve(calls));
        tokio::spawn(async move {
            while let Some((request, reply)) = received.recv().await {
                let _ = reply.send(AdminResponse::Refused(format!("{request:?}")));
            }
        });
    }

    fn refusal(response: AdminResponse) -> String {
        match response {
            AdminResponse::Refused(what) => what,
            other => panic!("{}", serde_json::to_string(&other).unwrap()),
        }
    }

    #[tokio::test]
    async fn requests_arrive_and_answers_return() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run").join("admin.sock");
        echoing(path.clone()).await;
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        let request = AdminRequest::TerminalAdd(NewTerminal { id: "meter-1".into(), ..NewTerminal::default() });
        let asked = format!("{request:?}");
        let answer = tokio::task::spawn_blocking(move || call(&path, &request)).await.unwrap();
        assert_eq!(refusal(answer.unwrap()), asked);
    }

    #[tokio::test]
    async fn nonsense_and_endless_lines_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        echoing(path.clone()).await;
        let raw = |bytes: Vec<u8>| {
            let path = path.clone();
            tokio::task::spawn_blocking(move || {
                let mut stream = BlockingStream::connect(path).unwrap();
                // The gateway may close before it has read everything.
                let _ = stream.write_all(&bytes);
                let mut answer = String::new();
                let _ = BufReader::new(stream).read_line(&mut answer);
                answer
            })
        };
        assert!(raw(b"{\"command\":\"fly\"}\n".to_vec()).await.unwrap().contains("not a request"));
        assert!(raw(b"{\"command\":\"terminal-add\",\"colour\":1}\n".to_vec()).await.unwrap().contains("colour"));
        let endless = raw(vec![b'x'; LONGEST_REQUEST]).await.unwrap();
        assert!(endless.contains("at most 131072 bytes"), "{endless}");
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        assert!(matches!(call(&path, &AdminRequest::Stats), Err(CallError::NotRunning(_))));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(matches!(call(&path, &AdminRequest::Stats), Err(CallError::NotRunning(_))));
        let first = AdminSocket::bind(&path).unwrap();
        assert_eq!(AdminSocket::bind(&path).err().unwrap().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_root_and_the_own_user_may_ask() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let uid = ours.peer_cred().unwrap().uid();
        assert!(may_ask(&ours, uid));
        assert_eq!(may_ask(&ours, uid + 1), uid == 0, "root always, others never");
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        let record = WrittenRecord {
            id: "meter-1".into(),
            kid: "0100".into(),
            group: None,
            addresses: vec![],
            interface: None,
            mac: None,
            shared_address: false,
            created: 1,
            revoked: None,
        };
        let shown = ShownTerminal { record, live: Some(LiveTerminal { epoch: 3, ..LiveTerminal::default() }) };
        let text = serde_json::to_string(&AdminResponse::Terminals(vec![shown.clone()])).unwrap();
        match serde_json::from_str(&text).unwrap() {
            AdminResponse::Terminals(list) => assert_eq!(list, [shown]),
            _ => panic!("{text}"),
        }
    }
}
