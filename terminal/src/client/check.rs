//! What PROTOCOL.md demands of a hand-over before its keys are used. The sockets themselves are the caller's to look at.

use crate::session::Session;
use alloc::string::String;
use core::net::{IpAddr, SocketAddr};
use keyferry_parsers::messages::{Binding, Connect, Handover, Listen, PeerName, ProofMethod, ProvedPeer, Reason, Role};
use keyferry_parsers::tls::{CipherSuite, ProtocolVersion};

/// Is this what `request` asked for, with the peer at `address`?
pub(super) fn answers_connect(request: &Connect, address: IpAddr, handover: &Handover) -> Result<(), Reason> {
    let remote = SocketAddr::new(address, request.port);
    if handover.binding.local.port() != request.source_port || handover.binding.remote != remote {
        return Err(Reason::ADDRESS_NOT_BOUND);
    }
    let asked_for = |alpn: &String| request.alpn.contains(alpn);
    if !is_able(&request.cipher_suites, request.oldest_version, handover) || !handover.alpn.iter().all(asked_for) {
        return Err(Reason::UNSUPPORTED);
    }
    if !is_whom_we_asked_for(request, &handover.peer) {
        return Err(Reason::CERTIFICATE_NAME_MISMATCH);
    }
    can_be_used(Role::CLIENT, handover)
}

/// May a connection that was opened without asking go on like this? Nobody said what the terminal can do, so that the
/// gateway takes it for one that can do what every terminal can.
pub(super) fn answers_nobody(handover: &Handover) -> Result<(), Reason> {
    if !is_able(&Connect::DEFAULT_CIPHER_SUITES, ProtocolVersion::TLS_1_3, handover) {
        return Err(Reason::UNSUPPORTED);
    }
    if !is_proved(&handover.peer) {
        return Err(Reason::CERTIFICATE_NAME_MISMATCH);
    }
    can_be_used(Role::CLIENT, handover)
}

/// Is this what a server that announced `listen` can do?
pub(super) fn answers_listen(listen: &Listen, handover: &Handover) -> Result<(), Reason> {
    // Without a list of its own the terminal leaves the protocol to policy.
    let spoken = |alpn: &String| listen.alpn.is_empty() || listen.alpn.contains(alpn);
    if !is_able(&listen.cipher_suites, listen.oldest_version, handover) || !handover.alpn.iter().all(spoken) {
        return Err(Reason::UNSUPPORTED);
    }
    can_be_used(Role::SERVER, handover)
}

/// Do the keys belong to this very connection?
pub(super) fn is_bound(binding: &Binding, handover: &Handover) -> Result<(), Reason> {
    if handover.binding == *binding { Ok(()) } else { Err(Reason::ADDRESS_NOT_BOUND) }
}

/// Right end of the connection, and keys that make a session.
fn can_be_used(role: Role, handover: &Handover) -> Result<(), Reason> {
    if handover.role != role {
        return Err(Reason::UNSUPPORTED);
    }
    Session::check(handover).map_err(|_| Reason::UNSUPPORTED)
}

/// Requests name TLS 1.3 suites; a TLS 1.2 suite with the same AEAD and hash is as good where that version is allowed.
fn is_able(suites: &[CipherSuite], oldest_version: ProtocolVersion, handover: &Handover) -> bool {
    handover.tls_version >= oldest_version
        && handover.suite.tls13_equivalent().is_some_and(|suite| suites.contains(&suite))
}

/// A proved name must be the one asked for. Who is behind an address or a pinned key only the policy can say.
fn is_whom_we_asked_for(request: &Connect, peer: &ProvedPeer) -> bool {
    let named = match &request.peer {
        PeerName::Name(name) => [Some(name), request.sni.as_ref()],
        PeerName::Address(_) => [request.sni.as_ref(), None],
    };
    let same = |name: &String| name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case(&peer.identity);
    is_proved(peer)
        && (peer.method != ProofMethod::CA_VERIFIED_NAME
            || named == [None, None]
            || named.into_iter().flatten().any(same))
}

/// A server always proves who it is, and in one of these ways: only a client may not.
fn is_proved(peer: &ProvedPeer) -> bool {
    matches!(peer.method, ProofMethod::CA_VERIFIED_NAME | ProofMethod::PINNED_KEY)
}
