//! The signer that has the keys: in the gateway itself, or in `keyferry signer`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyferry_channel::Instant;

use super::key::KeyPair;
use super::{BadCredential, Credential, CredentialId, Opened, Signer, SigningRequest, refused, transcript};
use crate::crypto::Secret;
use crate::error::Error;

/// How long a handshake may take from its hello to its signature.
const LIFETIME: Duration = Duration::from_secs(60);
/// Handshakes open for one owner. Beyond, its oldest one is forgotten: handshakes that peers begin and leave
/// must not shut out those they mean.
const OPEN_PER_OWNER: usize = 256;
/// Handshakes open in all.
const OPEN: usize = 1 << 16;

/// Fills in randomness.
pub type Random = dyn Fn(&mut [u8]) -> Result<(), Error> + Send + Sync;

/// Signs with keys in memory. Threads may sign side by side.
pub struct LocalSigner {
    now: Box<dyn Fn() -> Instant + Send + Sync>,
    random: Box<Random>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: BTreeMap<String, BTreeMap<CredentialId, Arc<Key>>>,
    open: BTreeMap<u64, Open>,
    /// Of each owner, oldest first; may name handshakes that are spent.
    by_owner: BTreeMap<String, VecDeque<u64>>,
    /// Of all, oldest first; may name handshakes that are spent.
    by_age: VecDeque<(Instant, u64)>,
}

struct Key {
    credential: Arc<Credential>,
    pair: KeyPair,
}

struct Open {
    owner: String,
    random: [u8; 32],
    since: Instant,
}

impl LocalSigner {
    /// A signer without keys. `now` is a clock that never goes back, `random` a source fit for keys.
    pub fn new(
        now: impl Fn() -> Instant + Send + Sync + 'static,
        random: impl Fn(&mut [u8]) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        Self { now: Box::new(now), random: Box::new(random), state: Mutex::default() }
    }

    /// Takes over a credential with its private key: PKCS#8, PKCS#1 or SEC 1, DER. One of the same name is
    /// replaced.
    ///
    /// # Errors
    /// The key is not that of the certificate.
    pub fn insert(&self, owner: &str, credential: Arc<Credential>, private_key: &Secret) -> Result<(), BadCredential> {
        let pair = KeyPair::read(&credential, private_key.as_bytes())?;
        let mut state = self.state();
        let keys = state.keys.entry(owner.to_owned()).or_default();
        keys.retain(|_, key| key.credential.name != credential.name);
        keys.insert(credential.id, Arc::new(Key { credential, pair }));
        Ok(())
    }

    /// Forgets one credential of an owner by its name. Whether there was one.
    pub fn remove(&self, owner: &str, name: &str) -> bool {
        let mut state = self.state();
        let Some(keys) = state.keys.get_mut(owner) else {
            return false;
        };
        let before = keys.len();
        keys.retain(|_, key| key.credential.name != name);
        let removed = keys.len() < before;
        if keys.is_empty() {
            state.keys.remove(owner);
        }
        removed
    }

    /// Forgets all of an owner: credentials, and handshakes that are open.
    pub fn remove_owner(&self, owner: &str) {
        let mut state = self.state();
        state.keys.remove(owner);
        for handshake in state.by_owner.remove(owner).unwrap_or_default() {
            state.open.remove(&handshake);
        }
    }

    /// Who has credentials here.
    pub fn owners(&self) -> Vec<String> {
        self.state().keys.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signer for LocalSigner {
    fn open(&self, owner: &str) -> Result<Opened, Error> {
        // Drawn at once: a draw may be a system call.
        let mut drawn = [[0; 8]; 5];
        (self.random)(drawn.as_flattened_mut())?;
        let [number, random @ ..] = drawn;
        let mut opened = Opened { handshake: u64::from_be_bytes(number), random: [0; 32] };
        opened.random.copy_from_slice(random.as_flattened());
        let now = (self.now)();
        self.state().open(owner, &opened, now)?;
        Ok(opened)
    }

    fn sign(&self, request: &SigningRequest) -> Result<Vec<u8>, Error> {
        let now = (self.now)();
        // The lock is not held over the reading of certificates and the signature itself.
        let (random, key) = self.state().spend(request, now)?;
        let message = transcript::to_be_signed(request, &random, &key.credential)?;
        key.pair.sign(request.scheme, &message).ok_or_else(|| refused("the key made no signature"))
    }

    fn close(&self, handshake: u64) {
        self.state().open.remove(&handshake);
    }
}

impl State {
    fn open(&mut self, owner: &str, opened: &Opened, now: Instant) -> Result<(), Error> {
        if !self.keys.contains_key(owner) {
            return Err(refused(format!("terminal {owner} has no certificate here")));
        }
        self.forget_expired(now);
        if self.open.len() >= OPEN {
            return Err(refused(format!("{OPEN} handshakes wait for their signature; more are not begun")));
        }
        // Among 2^64 numbers this never happens; if it does, the randomness is broken.
        if self.open.contains_key(&opened.handshake) {
            return Err(refused("the random numbers repeat"));
        }
        let of_owner = self.by_owner.entry(owner.to_owned()).or_default();
        of_owner.retain(|handshake| self.open.contains_key(handshake));
        if of_owner.len() >= OPEN_PER_OWNER
            && let Some(oldest) = of_owner.pop_front()
        {
            self.open.remove(&oldest);
        }
        of_owner.push_back(opened.handshake);
        self.by_age.push_back((now, opened.handshake));
        let open = Open { owner: owner.to_owned(), random: opened.random, since: now };
        self.open.insert(opened.handshake, open);
        Ok(())
    }

    /// The handshake is over with this, whatever comes of it.
    fn spend(&mut self, request: &SigningRequest, now: Instant) -> Result<([u8; 32], Arc<Key>), Error> {
        let open = self.open.remove(&request.handshake);
        let Some(open) = open.filter(|open| now.saturating_duration_since(open.since) < LIFETIME) else {
            return Err(refused("no such handshake is open: it is unknown, signed for, or older than 60 s"));
        };
        if open.owner != request.owner {
            return Err(refused("the handshake is another terminal's"));
        }
        let key = self.keys.get(&request.owner).and_then(|keys| keys.get(&request.credential));
        let key = key.ok_or_else(|| refused(format!("terminal {} has no such certificate here", request.owner)))?;
        Ok((open.random, Arc::clone(key)))
    }

    fn forget_expired(&mut self, now: Instant) {
        while let Some((since, handshake)) = self.by_age.front().copied() {
            let is_spent = !self.open.contains_key(&handshake);
            if !is_spent && now.saturating_duration_since(since) < LIFETIME {
                break;
            }
            self.by_age.pop_front();
            let Some(open) = self.open.remove(&handshake) else { continue };
            if let Some(of_owner) = self.by_owner.get_mut(&open.owner) {
                of_owner.retain(|other| *other != handshake);
                if of_owner.is_empty() {
                    self.by_owner.remove(&open.owner);
                }
            }
        }
    }
}
