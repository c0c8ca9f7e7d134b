//! Takes a finished handshake apart: its keys for the terminal, or nothing where anything about them is unclear.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyferry_parsers::messages::{ProofMethod, ProvedPeer, Role};
use keyferry_parsers::tls::{CipherSuite, NamedGroup, ProtocolVersion};
use rustls::HandshakeKind;

use super::capture::Capture;
use super::session::Peer;
use super::tickets::Taker;
use super::wire::Wire;
use crate::crypto::Secret;
use crate::error::{Error, Reason};
use crate::tls::profile::Pin;
use crate::tls::{Established, TicketTaker};

/// In TLS 1.2, Finished is record 0 of the session's only keys; in TLS 1.3 these begin after it.
const SEQUENCE_AFTER_FINISHED: u64 = 1;

/// Takes the session apart.
///
/// # Errors
/// `INTERNAL` where anything about its keys is not as expected.
pub(super) fn export(wire: Wire, capture: &Arc<Capture>, peer: &Peer) -> Result<Established, Error> {
    let role = if wire.is_client() { Role::CLIENT } else { Role::SERVER };
    let suite = wire.negotiated_cipher_suite().map(|suite| CipherSuite(suite.suite().into()));
    let suite = suite.ok_or_else(ambiguous)?;
    let version = wire.protocol_version().map(|version| ProtocolVersion(version.into())).ok_or_else(ambiguous)?;
    let group = wire.negotiated_key_exchange_group().ok_or_else(ambiguous)?;
    let group = NamedGroup(group.name().into());
    let certificates = wire.peer_certificates().unwrap_or_default();
    let certificates: Vec<Vec<u8>> = certificates.iter().map(|certificate| certificate.to_vec()).collect();
    let alpn =
        wire.alpn_protocol().map(|name| String::from_utf8(name.to_vec())).transpose().map_err(|_| ambiguous())?;
    let server_name = wire.server_name().map(str::to_owned);
    let kind = wire.handshake_kind();

    let (secrets, sequence, rest) = match version {
        ProtocolVersion::TLS_1_3 => (capture.take_traffic_secrets(role), 0, wire.into_rest().map_err(|_| ambiguous())?),
        ProtocolVersion::TLS_1_2 => (capture.watch.take_keys(), SEQUENCE_AFTER_FINISHED, None),
        _ => return Err(ambiguous()),
    };
    let length = suite.secret_length(version);
    let fits = |secret: &Secret| Some(secret.as_bytes().len()) == length;
    let (tx_secret, rx_secret) = secrets.filter(|(tx, rx)| fits(tx) && fits(rx)).ok_or_else(ambiguous)?;
    let ticket_taker = match (rest, peer) {
        (Some(rest), Peer::Server { verifier, purse: Some(purse), .. }) => {
            purse.proved_by(&certificates, verifier.crls_until());
            let taker = Taker::new(rest, capture.clone(), purse.clone()).map_err(|_| ambiguous())?;
            Some(Box::new(taker) as Box<dyn TicketTaker>)
        }
        _ => None,
    };
    Ok(Established {
        role,
        version,
        suite,
        tx_secret,
        rx_secret,
        tx_sequence: sequence,
        rx_sequence: sequence,
        alpn,
        server_name,
        group,
        peer: proved_peer(peer, &certificates).ok_or_else(ambiguous)?,
        hello_retried: kind == Some(HandshakeKind::FullWithHelloRetryRequest),
        resumed: kind == Some(HandshakeKind::Resumed),
        client_certificate_requested: capture.stayed_anonymous.load(Ordering::Relaxed),
        certificates,
        ticket_taker,
    })
}

pub(super) fn ambiguous() -> Error {
    Error::new(Reason::INTERNAL, "the keys of a finished handshake are not the ones expected; none was handed over")
}

/// By what the verifier, which has said yes, was convinced.
fn proved_peer(peer: &Peer, certificates: &[Vec<u8>]) -> Option<ProvedPeer> {
    let leaf = certificates.first();
    let pin = || leaf.and_then(|leaf| Pin::of_certificate(leaf)).map(|pin| pin.to_string());
    let (method, identity) = match peer {
        Peer::Server { verifier, name, .. } if verifier.proves_name() && leaf.is_some() => {
            (ProofMethod::CA_VERIFIED_NAME, name.to_string())
        }
        Peer::Server { .. } => (ProofMethod::PINNED_KEY, pin()?),
        Peer::Client { verifier: Some(verifier), .. } if verifier.proves_name() => {
            (ProofMethod::CA_VERIFIED_NAME, verifier.name_of(leaf?))
        }
        Peer::Client { verifier: Some(_), .. } => (ProofMethod::PINNED_KEY, pin()?),
        Peer::Client { verifier: None, address } => (ProofMethod::ANONYMOUS, address.to_string()),
    };
    Some(ProvedPeer { method, identity })
}
