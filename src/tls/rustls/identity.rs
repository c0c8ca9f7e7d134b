//! Proves who the terminal is: presents its certificate and asks the signer for the signature.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use keyferry_parsers::messages::Role;
use keyferry_parsers::tls::{AlertDescription, HandshakeType, SignatureScheme};
use rustls::client::ResolvesClientCert;
use rustls::crypto::{GetRandomFailed, SecureRandom};
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme as RustlsScheme};

use super::capture::Capture;
use super::current;
use crate::crypto::SystemRandom;
use crate::error::{Error, Reason};
use crate::signer::{Credential, Opened, Purpose, SigningRequest};
use crate::tls::profile::Identity;

/// Who the terminal is, for one handshake.
pub(super) struct Prover {
    identity: Identity,
    role: Role,
    opened: OnceLock<Result<Opened, Error>>,
    first_hello: OnceLock<Vec<u8>>,
}

impl Prover {
    /// `None` if the identity has nothing to prove itself with.
    pub(super) fn new(identity: &Identity, role: Role) -> Option<Self> {
        let identity = (!identity.credentials.is_empty()).then(|| identity.clone())?;
        Some(Self { identity, role, opened: OnceLock::new(), first_hello: OnceLock::new() })
    }

    pub(super) fn credentials(&self) -> &[Arc<Credential>] {
        &self.identity.credentials
    }

    /// The signer's permission for this handshake, asked for when it is needed first.
    pub(super) fn open(&self) -> Result<&Opened, Error> {
        self.opened.get_or_init(|| self.identity.signer.open(&self.identity.owner)).as_ref().map_err(Clone::clone)
    }

    /// Keeps the first ClientHello, if that is all of `messages`: the transcript that a HelloRetryRequest
    /// turns into a hash.
    pub(super) fn keep_hello(&self, messages: Vec<u8>) {
        if let [msg_type, a, b, c, body @ ..] = messages.as_slice()
            && *msg_type == HandshakeType::CLIENT_HELLO.0
            && usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).is_ok_and(|length| length == body.len())
        {
            self.first_hello.get_or_init(|| messages);
        }
    }

    /// `message` is what rustls would have signed.
    fn sign(&self, credential: &Credential, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, Error> {
        let purpose = self.purpose(message);
        let (transcript, params) = match purpose {
            // Here rustls signs the transcript itself.
            Purpose::Tls12Client => (message.to_vec(), Vec::new()),
            // ClientHello.random, ServerHello.random, ServerECDHParams (RFC 8422 section 5.4).
            Purpose::Tls12Server => (self.transcript()?, message.get(64..).unwrap_or_default().to_vec()),
            Purpose::Tls13Client | Purpose::Tls13Server => (self.transcript()?, Vec::new()),
        };
        self.identity.signer.sign(&SigningRequest {
            handshake: self.open()?.handshake,
            owner: self.identity.owner.clone(),
            credential: credential.id,
            purpose,
            scheme,
            transcript,
            params,
        })
    }

    fn purpose(&self, message: &[u8]) -> Purpose {
        // What TLS 1.3 signs begins with 64 spaces (RFC 8446 section 4.4.3). A TLS 1.2 transcript begins with
        // its ClientHello's type, and what a TLS 1.2 server signs has 32 random bytes of our own among the 64.
        let tls13 = message.get(..64).is_some_and(|padding| padding.iter().all(|&byte| byte == b' '));
        match (tls13, self.role) {
            (true, Role::SERVER) => Purpose::Tls13Server,
            (true, _) => Purpose::Tls13Client,
            (false, Role::SERVER) => Purpose::Tls12Server,
            (false, _) => Purpose::Tls12Client,
        }
    }

    /// What has been said so far, with the first ClientHello in place of its hash.
    fn transcript(&self) -> Result<Vec<u8>, Error> {
        let lost =
            || Error::new(Reason::INTERNAL, "the transcript of a handshake was not recorded: nothing was signed");
        let messages = current::take_messages().ok_or_else(lost)?;
        match messages.as_slice() {
            [msg_type, a, b, c, rest @ ..] if *msg_type == HandshakeType::MESSAGE_HASH.0 => {
                let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).map_err(|_| lost())?;
                let (_, rest) = rest.split_at_checked(length).ok_or_else(lost)?;
                Ok([self.first_hello.get().ok_or_else(lost)?, rest].concat())
            }
            _ => Ok(messages),
        }
    }

    /// The alert that goes with a signer's refusal. What a TLS 1.3 client has to say there is encrypted.
    fn alert(&self, purpose: Purpose) -> Option<AlertDescription> {
        (purpose != Purpose::Tls13Client).then_some(AlertDescription::INTERNAL_ERROR)
    }
}

impl Drop for Prover {
    /// Whoever begins handshakes and leaves must not fill the signer with them. One that was signed for is
    /// closed already, and to close it again does nothing.
    fn drop(&mut self) {
        if let Some(Ok(opened)) = self.opened.get() {
            self.identity.signer.close(opened.handshake);
        }
    }
}

/// A credential as rustls wants it, for this session.
pub(super) fn certified_key(session: &Arc<Capture>, credential: &Arc<Credential>) -> Arc<CertifiedKey> {
    let chain = credential.chain.iter().map(|der| CertificateDer::from_slice(der).into_owned()).collect();
    let key = Key { session: session.clone(), credential: credential.clone() };
    Arc::new(CertifiedKey::new(chain, Arc::new(key)))
}

/// Whether a credential can sign with one of these.
pub(super) fn fits(credential: &Credential, offered: &[RustlsScheme]) -> bool {
    choose(credential, offered).is_some()
}

fn choose(credential: &Credential, offered: &[RustlsScheme]) -> Option<SignatureScheme> {
    credential.schemes().iter().copied().find(|scheme| offered.contains(&RustlsScheme::from(scheme.0)))
}

/// Whether one of these names, in DER, issued a certificate of this credential's chain.
fn issued_by(credential: &Credential, issuers: &[&[u8]]) -> bool {
    credential.issuers().iter().any(|name| issuers.contains(&name.as_slice()))
}

struct Key {
    session: Arc<Capture>,
    credential: Arc<Credential>,
}

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[RustlsScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        let scheme = choose(&self.credential, offered)?;
        Some(Box::new(Signer { session: self.session.clone(), credential: self.credential.clone(), scheme }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.credential.schemes().first() {
            Some(&SignatureScheme::ED25519) => SignatureAlgorithm::ED25519,
            Some(&(SignatureScheme::ECDSA_SECP256R1_SHA256 | SignatureScheme::ECDSA_SECP384R1_SHA384)) => {
                SignatureAlgorithm::ECDSA
            }
            _ => SignatureAlgorithm::RSA,
        }
    }
}

struct Signer {
    session: Arc<Capture>,
    credential: Arc<Credential>,
    scheme: SignatureScheme,
}

impl rustls::sign::Signer for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let refused = |why: &str| rustls::Error::General(why.to_owned());
        let prover = self.session.prover.as_ref().ok_or_else(|| refused("no identity"))?;
        prover.sign(&self.credential, self.scheme, message).map_err(|error| {
            self.session.refuse(error, prover.alert(prover.purpose(message)));
            refused("signer")
        })
    }

    fn scheme(&self) -> RustlsScheme {
        RustlsScheme::from(self.scheme.0)
    }
}

/// Chooses what a server gets to see. One object for all sessions of a peer, since rustls resumes a session
/// only with the object it was made with.
#[derive(Debug)]
pub(super) struct ClientCertificates;

impl ResolvesClientCert for ClientCertificates {
    /// The first credential that the server can verify, one from an issuer that it named if there is one.
    fn resolve(&self, issuers: &[&[u8]], schemes: &[RustlsScheme]) -> Option<Arc<CertifiedKey>> {
        let session = current::session()?;
        let credentials = session.prover.as_ref().map_or(&[][..], Prover::credentials);
        let fitting: Vec<_> = credentials.iter().filter(|credential| fits(credential, schemes)).collect();
        let named = || fitting.iter().find(|credential| issued_by(credential, issuers));
        let first = fitting.first().filter(|_| fitting.len() == 1);
        match first.or_else(named).or(fitting.first()) {
            Some(credential) => Some(certified_key(&session, credential)),
            None => {
                session.stayed_anonymous.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// Asked when the hello is made: whether rustls must keep what a TLS 1.2 client signs.
    fn has_certs(&self) -> bool {
        current::session().is_some_and(|session| session.prover.is_some())
    }
}

/// The system's randomness, but our hello's random is the one the signer expects.
#[derive(Debug)]
pub(super) struct HelloRandom;

impl SecureRandom for HelloRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        let session = (buffer.len() == 32).then(current::asks_for_hello_random).flatten();
        let Some((session, prover)) = session.as_ref().and_then(|session| Some((session, session.prover.as_ref()?)))
        else {
            return SystemRandom.fill(buffer);
        };
        match prover.open() {
            Ok(opened) => {
                buffer.copy_from_slice(&opened.random);
                Ok(())
            }
            // A server may not want to know who we are; if it does, that is when this error counts.
            Err(_) if prover.role == Role::CLIENT => SystemRandom.fill(buffer),
            Err(error) => {
                session.refuse(error, Some(AlertDescription::INTERNAL_ERROR));
                Err(GetRandomFailed)
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key of {}", self.credential.id)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer for {}", self.credential.id)
    }
}
