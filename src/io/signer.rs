//! Where private keys are: in this process, or in `keyferry signer`, which has a user of its own. The core
//! sees a [`Signer`] and does not know which.

pub mod frames;
mod process;
mod remote;

use std::path::Path;
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::oneshot;

pub use process::{Service, run};
pub use remote::RemoteSigner;

use super::clock::Clock;
use super::store::StoredCredential;
use crate::error::{Error, Reason};
use crate::signer::{LocalSigner, Signer};

/// The holder of the private keys, for the gateway.
#[derive(Clone)]
pub enum Keys {
    /// This process; the keys are in its store.
    Here(Arc<LocalSigner>),
    /// The signer process; the gateway's store has certificates alone.
    Elsewhere(Arc<RemoteSigner>),
}

impl Keys {
    /// The signer behind `socket`, or without one this process.
    pub fn new(socket: Option<&Path>, clock: Clock) -> Self {
        match socket {
            Some(socket) => Self::Elsewhere(Arc::new(RemoteSigner::new(socket))),
            None => Self::Here(Arc::new(local(clock))),
        }
    }

    /// What signs.
    pub fn signer(&self) -> Arc<dyn Signer> {
        match self {
            Self::Here(signer) => Arc::clone(signer) as Arc<dyn Signer>,
            Self::Elsewhere(signer) => Arc::clone(signer) as Arc<dyn Signer>,
        }
    }

    /// Why a certificate cannot be added with its private key, or without.
    pub fn misplaced(&self, with_key: bool) -> Option<&'static str> {
        match (self, with_key) {
            (Self::Here(_), false) => Some(
                "the running gateway has no [signer], so it needs the private key; was the configuration changed since it started?",
            ),
            (Self::Elsewhere(_), true) => Some(
                "the running gateway has a [signer], so it does not take private keys; was the configuration changed since it started?",
            ),
            _ => None,
        }
    }

    /// Takes over a credential of the store, so that it can be signed with.
    ///
    /// # Errors
    /// `NO_CERTIFICATE` where its private key is not where it should be; what the operator has to do is named.
    pub fn admit(&self, stored: &StoredCredential) -> Result<(), Error> {
        let (owner, name) = (&stored.owner, &stored.credential.name);
        let add = format!("`keyferry terminal certificate add {owner} --name {name}`");
        match (self, &stored.private_key) {
            (Self::Here(signer), Some(private_key)) => signer
                .insert(owner.as_str(), Arc::clone(&stored.credential), private_key)
                .map_err(|bad| Error::new(Reason::NO_CERTIFICATE, bad.to_string())),
            (Self::Elsewhere(_), None) => Ok(()),
            (Self::Here(_), None) => Err(Error::new(
                Reason::NO_CERTIFICATE,
                format!(
                    "the private key of certificate {name} of {owner} is with a signer process, and the configuration has no [signer]: put that back, or {add} with its key"
                ),
            )),
            (Self::Elsewhere(_), Some(_)) => Err(Error::new(
                Reason::NO_CERTIFICATE,
                format!(
                    "the private key of certificate {name} of {owner} is in the gateway's store, and the configuration has a [signer]: {add} brings it there"
                ),
            )),
        }
    }

    /// Forgets a credential by its name, or all of an owner: in this process before it returns; the signer process may
    /// take seconds to answer, and the caller need not wait for it. An error comes where it does not; then it still has
    /// the keys. Needs a tokio runtime.
    pub fn forget(&self, owner: &str, name: Option<&str>) -> oneshot::Receiver<Result<(), Error>> {
        let (done, forgotten) = oneshot::channel();
        let (owner, name) = (owner.to_owned(), name.map(str::to_owned));
        // Who does not wait does not want to know.
        match self {
            Self::Here(signer) => {
                match name {
                    Some(name) => _ = signer.remove(&owner, &name),
                    None => signer.remove_owner(&owner),
                }
                let _ = done.send(Ok(()));
            }
            Self::Elsewhere(signer) => {
                let signer = Arc::clone(signer);
                tokio::task::spawn_blocking(move || done.send(signer.forget(&owner, name.as_deref())));
            }
        }
        forgotten
    }
}

/// A signer in this process, by the system's clock and randomness.
fn local(clock: Clock) -> LocalSigner {
    let random = |bytes: &mut [u8]| {
        SystemRandom::new().fill(bytes).map_err(|_| Error::new(Reason::INTERNAL, "the system gives no randomness"))
    };
    LocalSigner::new(move || clock.monotonic(), random)
}
