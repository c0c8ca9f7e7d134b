//! `keyferry signer`: a process with a user of its own that has the private keys and nothing else: no network,
//! no configuration of peers. One thread for each connection of the gateway's workers.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyferry_parsers::tls::SignatureScheme;
use minicbor::bytes::ByteSlice;
use rustix::net::sockopt::socket_peercred;

use super::frames::{self, Request, Response};
use super::local;
use crate::crypto::Secret;
use crate::error::{Error, Reason};
use crate::io::clock::Clock;
use crate::io::store::{Change, Store, StoredCredential};
use crate::io::{files, harden, socket};
use crate::signer::{Credential, CredentialId, LocalSigner, Signer, SigningRequest};
use crate::terminals::TerminalId;

/// Connections served at once; a gateway has one for each worker thread.
const CONNECTIONS: usize = 256;
/// For the other side to read an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the signer process is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where it listens.
    pub socket: PathBuf,
    /// The directory of its own store.
    pub state_directory: PathBuf,
    /// The file with the key that seals the store.
    pub key_file: PathBuf,
    /// The user that the gateway runs as: a name or a number.
    pub gateway_user: String,
}

/// Serves until the process is ended.
///
/// # Errors
/// It cannot start; what the operator has to change is named.
pub fn run(service: &Service) -> Result<(), Error> {
    let gateway_uid = user_id(&service.gateway_user).ok_or_else(|| {
        let user = &service.gateway_user;
        Error::new(Reason::INTERNAL, format!("gateway_user of [signer]: there is no user {user} in /etc/passwd"))
    })?;
    harden::keep_memory_private().map_err(|error| failed("giving up core dumps", &error))?;
    let mut store = Store::open(&service.state_directory, &service.key_file)?;
    let signer = local(Clock::start());
    for stored in store.credentials()? {
        load(&signer, &stored)?;
    }
    let place = service.socket.display().to_string();
    // Members of the socket's group may knock; who may ask is judged by SO_PEERCRED.
    let listener = socket::bind(&service.socket, 0o660).map_err(|error| failed(&place, &error))?;
    let own_uid = rustix::process::geteuid().as_raw();
    let holder = Arc::new(Holder { store: Mutex::new(store), signer, gateway_uid, own_uid });
    tracing::info!(socket = place, terminals = holder.signer.owners().len(), "signer is up");
    let connections = Arc::new(AtomicUsize::new(0));
    loop {
        match listener.accept() {
            Ok((stream, _)) => holder.admit(stream, &connections),
            Err(error) => {
                tracing::warn!(%error, "the signer's socket took no connection");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// The keys, and who may do what with them.
struct Holder {
    store: Mutex<Store>,
    signer: LocalSigner,
    gateway_uid: u32,
    own_uid: u32,
}

/// What the user at the other end of a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rights {
    /// Open handshakes and have them signed: the gateway.
    sign: bool,
    /// Bring private keys: root, and the signer's own user.
    import: bool,
}

impl Holder {
    fn rights(&self, uid: u32) -> Option<Rights> {
        let rights = Rights { sign: uid == self.gateway_uid, import: uid == 0 || uid == self.own_uid };
        (rights.sign || rights.import).then_some(rights)
    }

    fn admit(self: &Arc<Self>, stream: UnixStream, connections: &Arc<AtomicUsize>) {
        let uid = socket_peercred(&stream).map(|peer| peer.uid.as_raw());
        let Some(rights) = uid.ok().and_then(|uid| self.rights(uid)) else {
            tracing::warn!("refused a connection of user {uid:?}: it is neither gateway_user nor root");
            return;
        };
        let place = Place::take(connections);
        if place.number >= CONNECTIONS {
            tracing::warn!("refused a connection: {CONNECTIONS} are open");
            return;
        }
        let holder = Arc::clone(self);
        let serve = move || {
            if let Err(error) = holder.serve(stream, rights) {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        };
        if let Err(error) = std::thread::Builder::new().name("connection".into()).spawn(serve) {
            tracing::warn!(%error, "the system gives no more threads");
        }
    }

    fn serve(&self, mut stream: UnixStream, rights: Rights) -> io::Result<()> {
        stream.set_write_timeout(Some(PATIENCE))?;
        while let Some(body) = frames::read(&mut stream)? {
            let response = match self.answer(frames::decode(&body)?, rights) {
                Ok(response) => response,
                Err(error) => {
                    tracing::warn!(%error, "refused a request");
                    Response::Failed { reason: error.reason.0, detail: error.detail.into_owned() }
                }
            };
            frames::write(&mut stream, &response)?;
        }
        Ok(())
    }

    fn answer(&self, request: Request<'_>, rights: Rights) -> Result<Response, Error> {
        match request {
            Request::Open { owner, closed } if rights.sign => {
                closed.into_iter().for_each(|handshake| self.signer.close(handshake));
                let opened = self.signer.open(owner)?;
                Ok(Response::Opened { handshake: opened.handshake, random: opened.random.into() })
            }
            Request::Sign { handshake, owner, credential, purpose, scheme, transcript, params } if rights.sign => {
                let request = SigningRequest {
                    handshake,
                    owner: owner.to_owned(),
                    credential: CredentialId(credential.into()),
                    purpose: frames::purpose(purpose).ok_or_else(|| refused("there is no such purpose"))?,
                    scheme: SignatureScheme(scheme),
                    transcript: transcript.to_vec(),
                    params: params.to_vec(),
                };
                Ok(Response::Signature(self.signer.sign(&request)?.into()))
            }
            Request::Forget { owner, name } => self.forget(owner, name),
            Request::Import { owner, name, chain, private_key } if rights.import => {
                self.import(owner, name, &chain, private_key)
            }
            Request::Import { .. } => {
                Err(refused("only root and the signer's own user may bring private keys; run this as root"))
            }
            Request::Open { .. } | Request::Sign { .. } => {
                Err(refused("only the gateway's user (gateway_user of [signer]) may have handshakes signed"))
            }
        }
    }

    fn import(&self, owner: &str, name: &str, chain: &[&ByteSlice], private_key: &[u8]) -> Result<Response, Error> {
        let stored = StoredCredential {
            owner: terminal(owner)?,
            credential: Arc::new(
                Credential::new(name, chain.iter().map(|certificate| certificate.to_vec()).collect())
                    .map_err(|bad| refused(bad.to_string()))?,
            ),
            private_key: Some(Secret::from_slice(private_key)),
        };
        let mut store = self.store();
        load(&self.signer, &stored)?;
        let committed = store.commit(vec![Change::PutCredential(stored)]);
        if committed.is_err() {
            self.signer.remove(owner, name);
        }
        committed?;
        tracing::info!(terminal = owner, name, "took over a private key");
        Ok(Response::Done)
    }

    /// Out of use at once, then erased.
    fn forget(&self, owner: &str, name: Option<&str>) -> Result<Response, Error> {
        let terminal = terminal(owner)?;
        let mut store = self.store();
        match name {
            Some(name) => {
                self.signer.remove(owner, name);
            }
            None => self.signer.remove_owner(owner),
        }
        store.commit(vec![Change::RemoveCredential { owner: terminal, name: name.map(str::to_owned) }])?;
        tracing::info!(terminal = owner, name, "forgot private keys");
        Ok(Response::Done)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the connections served at once.
struct Place {
    open: Arc<AtomicUsize>,
    /// How many were open before.
    number: usize,
}

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        Self { open: Arc::clone(open), number: open.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The number of a user, looked up in /etc/passwd unless it is one.
fn user_id(user: &str) -> Option<u32> {
    if let Ok(number) = user.parse() {
        return Some(number);
    }
    let passwd = files::read(Path::new("/etc/passwd"), 16 << 20).ok()?;
    let passwd = String::from_utf8_lossy(&passwd);
    let mut lines = passwd.lines().map(|line| line.split(':'));
    let mut fields = lines.find_map(|mut fields| (fields.next() == Some(user)).then_some(fields))?;
    // After the name: password, number.
    fields.nth(1)?.parse().ok()
}

fn load(signer: &LocalSigner, stored: &StoredCredential) -> Result<(), Error> {
    let Some(private_key) = &stored.private_key else { return Ok(()) };
    signer
        .insert(stored.owner.as_str(), Arc::clone(&stored.credential), private_key)
        .map_err(|bad| refused(bad.to_string()))
}

fn terminal(owner: &str) -> Result<TerminalId, Error> {
    TerminalId::try_from(owner).map_err(|bad| refused(bad.to_string()))
}

fn refused(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Reason::SIGNER_REFUSED, why)
}

fn failed(what: &str, error: &io::Error) -> Error {
    Error::new(Reason::INTERNAL, format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        assert_eq!(user_id("root"), Some(0));
        assert_eq!(user_id("4711"), Some(4711));
        assert_eq!(user_id("nobody-has-this-name"), None);
        assert_eq!(user_id(""), None);
    }

    #[test]
    fn rights_follow_from_the_user() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("state"), &directory.path().join("key")).unwrap();
        let holder = Holder { store: Mutex::new(store), signer: local(Clock::start()), gateway_uid: 990, own_uid: 991 };
        assert_eq!(holder.rights(990), Some(Rights { sign: true, import: false }));
        assert_eq!(holder.rights(991), Some(Rights { sign: false, import: true }));
        assert_eq!(holder.rights(0), Some(Rights { sign: false, import: true }));
        assert_eq!(holder.rights(1000), None);
    }
}
