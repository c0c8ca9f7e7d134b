//! TLS 1.2 with ECDHE: ServerKeyExchange (RFC 8422 section 5.4) and the client's CertificateVerify (RFC 5246
//! section 7.4.8).

use keyferry_parsers::tls::tls12::{
    Certificate, CertificateRequest, ClientCertificateType, ClientKeyExchange, ServerEcdhParams, ServerKeyExchange,
};
use keyferry_parsers::tls::{CipherSuite, Extension, ExtensionType, Message, NamedGroup, ProtocolVersion};

use super::hellos::has;
use super::{Hellos, Messages, Side, check_leaf, check_listed, check_offered, out_of_order};
use crate::error::Error;
use crate::signer::credential::KeyKind;
use crate::signer::{Credential, SigningRequest, refused};

/// `ClientHello ServerHello Certificate [CertificateStatus]`; signed are both randoms and the parameters.
pub(super) fn server(request: &SigningRequest, random: &[u8; 32], credential: &Credential) -> Result<Vec<u8>, Error> {
    let mut messages = Messages::new(ProtocolVersion::TLS_1_2, &request.transcript);
    let hellos = hellos(&mut messages, Side::Server, random)?;
    let ours = certificate(messages.next()?)?;
    if !messages.is_finished() {
        match messages.next()? {
            Message::CertificateStatus(_) => {}
            other => return Err(out_of_order("the end", &other)),
        }
    }
    messages.finish()?;
    check_leaf(credential, ours.certificate_list.first().copied())?;
    if authentication(hellos.server.cipher_suite)? != Authentication::of(credential.kind()) {
        let (suite, kind) = (hellos.server.cipher_suite, credential.key_kind());
        return Err(refused(format!("{suite} is not proved with a key of {kind}")));
    }
    check_offered(request.scheme, &hellos.client)?;
    let params = ServerEcdhParams::parse(&request.params)
        .map_err(|error| refused(format!("the key exchange parameters cannot be read: {error}")))?;
    check_params(&params, &hellos)?;
    Ok([hellos.client.random, hellos.server.random, request.params.as_slice()].concat())
}

/// `ClientHello ServerHello Certificate [CertificateStatus] ServerKeyExchange CertificateRequest ServerHelloDone
/// Certificate ClientKeyExchange`; signed is the whole transcript.
pub(super) fn client(request: &SigningRequest, random: &[u8; 32], credential: &Credential) -> Result<Vec<u8>, Error> {
    let mut messages = Messages::new(ProtocolVersion::TLS_1_2, &request.transcript);
    let hellos = hellos(&mut messages, Side::Client, random)?;
    authentication(hellos.server.cipher_suite)?;
    if certificate(messages.next()?)?.certificate_list.is_empty() {
        return Err(refused("the server in the transcript shows no certificate"));
    }
    let group = server_key_exchange(&mut messages, &hellos)?;
    let asked = match messages.next()? {
        Message::CertificateRequest12(asked) => asked,
        other => return Err(out_of_order("certificate_request", &other)),
    };
    match messages.next()? {
        Message::ServerHelloDone => {}
        other => return Err(out_of_order("server_hello_done", &other)),
    }
    let ours = certificate(messages.next()?)?;
    match messages.next()? {
        Message::ClientKeyExchange(ClientKeyExchange::Ecdhe { public }) => check_point(group, public)?,
        Message::ClientKeyExchange(_) => return Err(refused("the client_key_exchange in the transcript is not ECDHE")),
        other => return Err(out_of_order("client_key_exchange", &other)),
    }
    messages.finish()?;
    check_leaf(credential, ours.certificate_list.first().copied())?;
    check_asked(credential, &asked)?;
    check_listed(request.scheme, &asked.supported_signature_algorithms)?;
    Ok(request.transcript.clone())
}

/// keyferry demands extended_master_secret (RFC 7627) and does not renegotiate (RFC 5746).
fn hellos<'a>(messages: &mut Messages<'a>, side: Side, random: &[u8; 32]) -> Result<Hellos<'a>, Error> {
    let hellos = Hellos::read(messages, side, random)?;
    let (client, server) = (&hellos.client, hellos.server.extensions.as_deref());
    if client.extension(ExtensionType::EXTENDED_MASTER_SECRET).is_none()
        || !has(server, ExtensionType::EXTENDED_MASTER_SECRET)
    {
        return Err(refused("the hellos in the transcript do not agree on extended_master_secret"));
    }
    // An empty list within a length of one byte.
    let renegotiates = client.extension(ExtensionType::RENEGOTIATION_INFO).is_some_and(|data| data != [0])
        || server
            .into_iter()
            .flatten()
            .any(|extension| matches!(extension, Extension::RenegotiationInfo(verify_data) if !verify_data.is_empty()));
    if renegotiates {
        return Err(refused("the hellos in the transcript renegotiate"));
    }
    Ok(hellos)
}

fn certificate(message: Message<'_>) -> Result<Certificate<'_>, Error> {
    match message {
        Message::Certificate12(certificate) => Ok(certificate),
        other => Err(out_of_order("certificate", &other)),
    }
}

/// `[CertificateStatus] ServerKeyExchange`; answers the group.
fn server_key_exchange(messages: &mut Messages<'_>, hellos: &Hellos<'_>) -> Result<NamedGroup, Error> {
    let message = match messages.next()? {
        Message::CertificateStatus(_) => messages.next()?,
        message => message,
    };
    match message {
        Message::ServerKeyExchange(ServerKeyExchange::Ecdhe { params, algorithm, .. }) => {
            check_params(&params, hellos)?;
            check_offered(algorithm, &hellos.client)?;
            Ok(params.named_curve)
        }
        Message::ServerKeyExchange(_) => Err(refused("the server_key_exchange in the transcript is not ECDHE")),
        other => Err(out_of_order("server_key_exchange", &other)),
    }
}

fn check_params(params: &ServerEcdhParams<'_>, hellos: &Hellos<'_>) -> Result<(), Error> {
    if !hellos.client.offers_group(params.named_curve) {
        return Err(refused(format!("the client did not offer the group {}", params.named_curve)));
    }
    check_point(params.named_curve, params.public)
}

/// The public value has the length and form of its group (RFC 8422 sections 5.4.1 and 5.11).
fn check_point(group: NamedGroup, public: &[u8]) -> Result<(), Error> {
    const UNCOMPRESSED: u8 = 4;
    let fits = match group {
        NamedGroup::X25519 => public.len() == 32,
        NamedGroup::SECP256R1 => public.len() == 65 && public.first() == Some(&UNCOMPRESSED),
        NamedGroup::SECP384R1 => public.len() == 97 && public.first() == Some(&UNCOMPRESSED),
        _ => false,
    };
    if fits { Ok(()) } else { Err(refused(format!("the transcript has no public value of a group that fits {group}"))) }
}

/// The server takes keys of our kind (RFC 8422 section 5.5: Ed25519 counts as ecdsa_sign).
fn check_asked(credential: &Credential, asked: &CertificateRequest<'_>) -> Result<(), Error> {
    let kind = match Authentication::of(credential.kind()) {
        Authentication::Rsa => ClientCertificateType::RSA_SIGN,
        Authentication::Ecdsa => ClientCertificateType::ECDSA_SIGN,
    };
    if asked.certificate_types.contains(&kind) {
        return Ok(());
    }
    Err(refused(format!("the server did not ask for {kind}")))
}

/// What a suite wants its server to prove itself with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Authentication {
    Rsa,
    Ecdsa,
}

impl Authentication {
    fn of(key: KeyKind) -> Self {
        match key {
            KeyKind::Rsa => Self::Rsa,
            KeyKind::P256 | KeyKind::P384 | KeyKind::Ed25519 => Self::Ecdsa,
        }
    }
}

fn authentication(suite: CipherSuite) -> Result<Authentication, Error> {
    match suite {
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => Ok(Authentication::Ecdsa),
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Ok(Authentication::Rsa),
        other => Err(refused(format!("{other} is not a TLS 1.2 suite that keyferry speaks"))),
    }
}
