//! The gateway's side of the signer process. Blocks for at most a few seconds, so it is called by the threads
//! that do public-key work; each of them has a connection while it waits, and they are kept for the next.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use minicbor::bytes::ByteSlice;
use socket2::{Domain, SockAddr, Socket, Type};

use super::frames::{self, Request, Response};
use crate::crypto::Secret;
use crate::error::{Error, Reason};
use crate::signer::{Credential, Opened, Signer, SigningRequest};

/// For the signer to read a request, and again for it to answer. A signature takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// Connections kept open while nobody needs them.
const IDLE: usize = 64;
/// Handshakes to be closed that are remembered; the signer forgets the others by their age.
const CLOSED: usize = 1024;

/// A signer behind a Unix socket.
pub struct RemoteSigner {
    socket: PathBuf,
    idle: Mutex<Vec<UnixStream>>,
    /// Told to the signer with the next question.
    closed: Mutex<Vec<u64>>,
}

impl RemoteSigner {
    /// Connects when it is first needed, and again whenever the connection is lost.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), idle: Mutex::default(), closed: Mutex::default() }
    }

    /// Gives the signer a certificate with its private key. Only root and the signer's own user may.
    ///
    /// # Errors
    /// `SIGNER_REFUSED` where the key does not fit or we may not, `SIGNER_UNAVAILABLE`.
    pub fn import(&self, owner: &str, credential: &Credential, private_key: &Secret) -> Result<(), Error> {
        self.done(&Request::Import {
            owner,
            name: &credential.name,
            chain: credential.chain.iter().map(|certificate| certificate.as_slice().into()).collect(),
            private_key: private_key.as_bytes().into(),
        })
    }

    /// Has the signer erase the private key of one certificate, or of all of `owner`. Nothing where there is none.
    ///
    /// # Errors
    /// `SIGNER_UNAVAILABLE`; then it still has them.
    pub fn forget(&self, owner: &str, name: Option<&str>) -> Result<(), Error> {
        self.done(&Request::Forget { owner, name })
    }

    fn done(&self, request: &Request<'_>) -> Result<(), Error> {
        match self.call(request)? {
            Response::Done => Ok(()),
            _ => Err(self.unavailable("its answer does not fit; is it of another version?")),
        }
    }

    fn call(&self, request: &Request<'_>) -> Result<Response, Error> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // A connection that was kept may have ended with a signer that was restarted since. To ask twice is
        // safe: no handshake is signed for twice, and the rest may be repeated. One that is slow is not asked twice.
        let is_slow = |error: &io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        let asked = kept.map(|stream| exchange(stream, request));
        let asked = asked.filter(|asked| asked.as_ref().err().is_none_or(is_slow));
        let fresh = || exchange(connect(&self.socket)?, request);
        let (stream, response) = asked.unwrap_or_else(fresh).map_err(|error| self.unavailable(error))?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(stream);
        }
        match response {
            Response::Failed { reason, detail } => Err(Error::new(Reason(reason), detail)),
            response => Ok(response),
        }
    }

    fn unavailable(&self, cause: impl std::fmt::Display) -> Error {
        let socket = self.socket.display();
        let remedy = "see `systemctl status keyferry-signer` and [signer] in the configuration";
        Error::new(Reason::SIGNER_UNAVAILABLE, format!("the signer does not answer on {socket}: {cause}; {remedy}"))
    }
}

impl Signer for RemoteSigner {
    fn open(&self, owner: &str) -> Result<Opened, Error> {
        let closed = std::mem::take(&mut *self.closed.lock().unwrap_or_else(PoisonError::into_inner));
        match self.call(&Request::Open { owner, closed })? {
            Response::Opened { handshake, random } => Ok(Opened { handshake, random: random.into() }),
            _ => Err(self.unavailable("its answer does not fit; is it of another version?")),
        }
    }

    fn sign(&self, request: &SigningRequest) -> Result<Vec<u8>, Error> {
        let asked = Request::Sign {
            handshake: request.handshake,
            owner: &request.owner,
            credential: request.credential.0.into(),
            purpose: frames::number(request.purpose),
            scheme: request.scheme.0,
            transcript: bytes(&request.transcript),
            params: bytes(&request.params),
        };
        match self.call(&asked)? {
            Response::Signature(signature) => Ok(signature.into()),
            _ => Err(self.unavailable("its answer does not fit; is it of another version?")),
        }
    }

    fn close(&self, handshake: u64) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.len() < CLOSED {
            closed.push(handshake);
        }
    }
}

fn bytes(bytes: &[u8]) -> &ByteSlice {
    bytes.into()
}

fn exchange(mut stream: UnixStream, request: &Request<'_>) -> io::Result<(UnixStream, Response)> {
    frames::write(&mut stream, request)?;
    let closed = || {
        let what = "it closed the connection; does its gateway_user name the gateway's user?";
        io::Error::new(ErrorKind::PermissionDenied, what)
    };
    let body = frames::read(&mut stream)?.ok_or_else(closed)?;
    let response = frames::decode(&body)?;
    Ok((stream, response))
}

/// Without blocking: a signer that takes no connections would hold the caller for ever.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[track_caller]
    fn unavailable(signer: &RemoteSigner, why: &str) {
        let before = crate::io::clock::stopwatch();
        let error = signer.open("meter-1").unwrap_err();
        assert_eq!(error.reason, Reason::SIGNER_UNAVAILABLE);
        assert!(error.detail.contains(why), "{error}");
        assert!(before.elapsed() < 2 * PATIENCE, "{:?}", before.elapsed());
    }

    #[test]
    fn a_signer_that_is_not_there_or_says_nothing_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signer.sock");
        let signer = RemoteSigner::new(&path);
        unavailable(&signer, "No such file");
        let listener = UnixListener::bind(&path).unwrap();
        // Connected, and never answered.
        unavailable(&signer, "systemctl status keyferry-signer");
        drop(listener);
        unavailable(&signer, "refused");
    }

    #[test]
    fn a_signer_that_hangs_up_or_answers_something_else_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signer.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let signer = RemoteSigner::new(&path);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                frames::read(&mut stream).unwrap();
                drop(stream);
                let (mut stream, _) = listener.accept().unwrap();
                frames::read(&mut stream).unwrap();
                frames::write(&mut stream, &Response::Done).unwrap();
            });
            unavailable(&signer, "gateway_user");
            unavailable(&signer, "its answer does not fit");
        });
    }
}
