//! Who a terminal is towards its peers, and the one place where that is proved: certificates and what may be
//! signed with their private keys.
//!
//! It sits under `tls`, which records the transcript of each handshake, and over nothing but the parsers and
//! `crypto`. A [`Signer`] never signs what it is told to: it reads the transcript itself, judges it, hashes it
//! and builds what is signed. So whoever takes over the gateway gets signatures over handshakes that it makes
//! from then on with that terminal's own certificate, and neither a key nor anything that is no TLS handshake.

mod credential;
mod key;
mod local;
mod transcript;

use std::borrow::Cow;

use keyferry_parsers::tls::SignatureScheme;

use crate::error::{Error, Reason};

pub use credential::{BadCredential, Credential, CredentialId};
pub use local::{LocalSigner, Random};

/// Has the private keys of credentials, here or in a process of its own.
pub trait Signer: Send + Sync {
    /// A new handshake of `owner` (a terminal's id): the random that our hello must carry, so that only
    /// transcripts of this very handshake are signed. Valid for 60 s and one signature.
    ///
    /// # Errors
    /// `SIGNER_REFUSED` where the owner has no credential or too many handshakes open, `SIGNER_UNAVAILABLE`.
    fn open(&self, owner: &str) -> Result<Opened, Error>;

    /// Signs the CertificateVerify or ServerKeyExchange that comes next after the whole transcript.
    /// Spends the handshake, also by refusing.
    ///
    /// # Errors
    /// `SIGNER_REFUSED` with what in the request is not in order, `SIGNER_UNAVAILABLE`.
    fn sign(&self, request: &SigningRequest) -> Result<Vec<u8>, Error>;

    /// A handshake ended without a signature: it need not be kept open. Never blocks.
    fn close(&self, handshake: u64);
}

/// A handshake that may be signed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its number, to be named in the [`SigningRequest`].
    pub handshake: u64,
    /// What our hello must carry: ClientHello.random, or ServerHello.random (whose last eight bytes may be
    /// the sentinel of RFC 8446 section 4.1.3 instead where TLS 1.2 is spoken).
    pub random: [u8; 32],
}

/// What is to be signed, and all that is needed to judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningRequest {
    /// From [`Opened`].
    pub handshake: u64,
    /// Whose handshake it is: the terminal's id.
    pub owner: String,
    /// The credential in our Certificate message.
    pub credential: CredentialId,
    /// Which signature it is.
    pub purpose: Purpose,
    /// The algorithm of the signature.
    pub scheme: SignatureScheme,
    /// Handshake messages, whole and in order, from ClientHello (the first one, also after a
    /// HelloRetryRequest) on, up to what comes right before the signature.
    pub transcript: Vec<u8>,
    /// TLS 1.2 server: ServerECDHParams (RFC 8422 section 5.4); else empty.
    pub params: Vec<u8>,
}

/// The four signatures that TLS makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// CertificateVerify of a TLS 1.3 server.
    Tls13Server,
    /// CertificateVerify of a TLS 1.3 client.
    Tls13Client,
    /// ServerKeyExchange of a TLS 1.2 server.
    Tls12Server,
    /// CertificateVerify of a TLS 1.2 client.
    Tls12Client,
}

/// A request that is not in order; `why` says what of it, for the operator's log.
fn refused(why: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Reason::SIGNER_REFUSED, why)
}
