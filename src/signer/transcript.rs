//! Reads a transcript, message by message in the only order there is, judges it and builds what is signed.
//!
//! What the peer alone decides (its key share, its certificates, ALPN) is read and hashed but not judged: that
//! is the engine's job. What makes the transcript that of one handshake with one certificate is judged here.

mod hellos;
mod tls12;
mod tls13;

use keyferry_parsers::ParseError;
use keyferry_parsers::tls::{
    CertificateEntry, Extension, Handshake, Message, ProtocolVersion, RawClientHello, SignatureScheme,
};

use self::hellos::{Hellos, Side};
use super::{Credential, Purpose, SigningRequest, refused};
use crate::error::Error;

/// Longest transcript, in bytes: two chains and what stands around them.
const LONGEST: usize = 96 << 10;

/// What the CertificateVerify or ServerKeyExchange signs.
///
/// # Errors
/// `SIGNER_REFUSED` with the first thing that is not in order.
pub(super) fn to_be_signed(
    request: &SigningRequest,
    random: &[u8; 32],
    credential: &Credential,
) -> Result<Vec<u8>, Error> {
    if request.transcript.len() > LONGEST {
        return Err(refused(format!("the transcript has more than {LONGEST} bytes")));
    }
    if !credential.schemes().contains(&request.scheme) {
        let (scheme, kind) = (request.scheme, credential.key_kind());
        return Err(refused(format!("{scheme} is not a signature that a key of {kind} makes")));
    }
    if request.purpose != Purpose::Tls12Server && !request.params.is_empty() {
        return Err(refused("there are key exchange parameters where none are signed"));
    }
    match request.purpose {
        Purpose::Tls13Server => tls13::server(request, random, credential),
        Purpose::Tls13Client => tls13::client(request, random, credential),
        Purpose::Tls12Server => tls12::server(request, random, credential),
        Purpose::Tls12Client => tls12::client(request, random, credential),
    }
}

/// The messages of a transcript, one after the other.
struct Messages<'a> {
    version: ProtocolVersion,
    all: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    fn new(version: ProtocolVersion, transcript: &'a [u8]) -> Self {
        Self { version, all: transcript, rest: transcript }
    }

    fn next(&mut self) -> Result<Message<'a>, Error> {
        match Handshake::next_as(self.version, self.rest) {
            Ok(Some((handshake, rest))) => {
                self.rest = rest;
                Ok(handshake.message)
            }
            Ok(None) => Err(refused("the transcript ends too early")),
            Err(error) => Err(unreadable(&error)),
        }
    }

    /// Like [`next`](Self::next), not taken apart: of all messages it is the one with the most in it. `None` if
    /// another one is next.
    fn next_client_hello(&mut self) -> Result<Option<RawClientHello<'a>>, Error> {
        match RawClientHello::next(self.rest) {
            Ok(Some((hello, rest))) => {
                self.rest = rest;
                Ok(Some(hello))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(unreadable(&error)),
        }
    }

    /// Bytes read so far.
    fn position(&self) -> usize {
        self.all.len().saturating_sub(self.rest.len())
    }

    fn is_finished(&self) -> bool {
        self.rest.is_empty()
    }

    fn finish(&self) -> Result<(), Error> {
        match self.rest {
            [] => Ok(()),
            _ => Err(refused("more follows in the transcript than there is to sign after")),
        }
    }
}

fn unreadable(error: &ParseError) -> Error {
    refused(format!("the transcript cannot be read: {error}"))
}

/// Another message than the order of the handshake wants.
fn out_of_order(wanted: &str, found: &Message<'_>) -> Error {
    refused(format!("the transcript has {} where {wanted} belongs", found.msg_type()))
}

/// Our Certificate message carries the credential.
fn check_leaf(credential: &Credential, leaf: Option<&[u8]>) -> Result<(), Error> {
    match leaf {
        Some(leaf) if leaf == credential.leaf() => Ok(()),
        Some(_) => Err(refused("the certificate in the transcript is not the one that is to be proved")),
        None => Err(refused("the Certificate message in the transcript is empty")),
    }
}

fn leaf<'a>(list: &[CertificateEntry<'a>]) -> Option<&'a [u8]> {
    list.first().map(|entry| entry.cert_data)
}

/// The server takes this algorithm: its CertificateRequest says so.
fn check_asked_for(scheme: SignatureScheme, asked: &[Extension<'_>]) -> Result<(), Error> {
    let offered = asked.iter().find_map(|extension| match extension {
        Extension::SignatureAlgorithms(schemes) => Some(schemes),
        _ => None,
    });
    check_listed(scheme, offered.map_or(&[], Vec::as_slice))
}

/// The client takes this algorithm: its hello says so.
fn check_offered(scheme: SignatureScheme, hello: &RawClientHello<'_>) -> Result<(), Error> {
    if hello.offers_scheme(scheme) { Ok(()) } else { Err(not_offered(scheme)) }
}

fn check_listed(scheme: SignatureScheme, offered: &[SignatureScheme]) -> Result<(), Error> {
    if offered.contains(&scheme) { Ok(()) } else { Err(not_offered(scheme)) }
}

fn not_offered(scheme: SignatureScheme) -> Error {
    refused(format!("the other side did not offer {scheme}"))
}
