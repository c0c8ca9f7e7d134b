//! TLS 1.3: CertificateVerify of either side (RFC 8446 section 4.4.3).

use keyferry_parsers::tls::{Certificate, CertificateRequest, CipherSuite, Message, ProtocolVersion, SignatureScheme};
use ring::digest;

use super::{Hellos, Messages, Side, check_asked_for, check_leaf, check_offered, leaf, out_of_order};
use crate::error::Error;
use crate::signer::{Credential, SigningRequest, refused};

const SERVER_LABEL: &[u8] = b"TLS 1.3, server CertificateVerify";
const CLIENT_LABEL: &[u8] = b"TLS 1.3, client CertificateVerify";

/// `ClientHello .. ServerHello EncryptedExtensions [CertificateRequest] Certificate`.
pub(super) fn server(request: &SigningRequest, random: &[u8; 32], credential: &Credential) -> Result<Vec<u8>, Error> {
    let mut messages = Messages::new(ProtocolVersion::TLS_1_3, &request.transcript);
    let hellos = hellos(&mut messages, Side::Server, random)?;
    let certificate = match messages.next()? {
        Message::CertificateRequest(asked) => {
            check_context(asked.certificate_request_context)?;
            certificate(&mut messages)?
        }
        Message::Certificate(certificate) => certificate,
        other => return Err(out_of_order("certificate", &other)),
    };
    messages.finish()?;
    check_certificate(&certificate, credential)?;
    check_scheme(request.scheme)?;
    check_offered(request.scheme, &hellos.client)?;
    content(SERVER_LABEL, &hellos, &request.transcript)
}

/// `ClientHello .. ServerHello EncryptedExtensions CertificateRequest Certificate CertificateVerify Finished
/// Certificate`.
pub(super) fn client(request: &SigningRequest, random: &[u8; 32], credential: &Credential) -> Result<Vec<u8>, Error> {
    let mut messages = Messages::new(ProtocolVersion::TLS_1_3, &request.transcript);
    let hellos = hellos(&mut messages, Side::Client, random)?;
    let asked = certificate_request(&mut messages)?;
    check_context(asked.certificate_request_context)?;
    let servers = certificate(&mut messages)?;
    check_context(servers.certificate_request_context)?;
    if servers.certificate_list.is_empty() {
        return Err(refused("the server in the transcript shows no certificate"));
    }
    match messages.next()? {
        Message::CertificateVerify(verify) => check_offered(verify.algorithm, &hellos.client)?,
        other => return Err(out_of_order("certificate_verify", &other)),
    }
    match messages.next()? {
        Message::Finished(finished) if finished.verify_data.len() == hash(&hellos)?.output_len() => {}
        Message::Finished(_) => return Err(refused("the Finished in the transcript is not as long as the hash")),
        other => return Err(out_of_order("finished", &other)),
    }
    let ours = certificate(&mut messages)?;
    messages.finish()?;
    check_certificate(&ours, credential)?;
    check_scheme(request.scheme)?;
    check_asked_for(request.scheme, &asked.extensions)?;
    content(CLIENT_LABEL, &hellos, &request.transcript)
}

/// Everything up to EncryptedExtensions.
fn hellos<'a>(messages: &mut Messages<'a>, side: Side, random: &[u8; 32]) -> Result<Hellos<'a>, Error> {
    let hellos = Hellos::read(messages, side, random)?;
    if hellos.server.legacy_session_id_echo != hellos.client.legacy_session_id {
        return Err(refused("the server in the transcript does not repeat the session id"));
    }
    if !hellos.shares_group() {
        return Err(refused("the server in the transcript uses no key exchange group that the client offered"));
    }
    match messages.next()? {
        Message::EncryptedExtensions(_) => Ok(hellos),
        other => Err(out_of_order("encrypted_extensions", &other)),
    }
}

fn certificate_request<'a>(messages: &mut Messages<'a>) -> Result<CertificateRequest<'a>, Error> {
    match messages.next()? {
        Message::CertificateRequest(asked) => Ok(asked),
        other => Err(out_of_order("certificate_request", &other)),
    }
}

fn certificate<'a>(messages: &mut Messages<'a>) -> Result<Certificate<'a>, Error> {
    match messages.next()? {
        Message::Certificate(certificate) => Ok(certificate),
        other => Err(out_of_order("certificate", &other)),
    }
}

fn check_certificate(certificate: &Certificate<'_>, credential: &Credential) -> Result<(), Error> {
    check_context(certificate.certificate_request_context)?;
    check_leaf(credential, leaf(&certificate.certificate_list))
}

/// Another context than the empty one is for authentication after the handshake, which a terminal would do.
fn check_context(context: &[u8]) -> Result<(), Error> {
    match context {
        [] => Ok(()),
        _ => Err(refused("the transcript has a certificate_request_context within the handshake")),
    }
}

/// RFC 8446 section 4.2.3: PKCS#1 v1.5 does not sign TLS 1.3 handshakes.
fn check_scheme(scheme: SignatureScheme) -> Result<(), Error> {
    match scheme {
        SignatureScheme::RSA_PKCS1_SHA256 | SignatureScheme::RSA_PKCS1_SHA384 | SignatureScheme::RSA_PKCS1_SHA512 => {
            Err(refused(format!("{scheme} does not sign TLS 1.3 handshakes")))
        }
        _ => Ok(()),
    }
}

fn hash(hellos: &Hellos<'_>) -> Result<&'static digest::Algorithm, Error> {
    match hellos.server.cipher_suite {
        CipherSuite::TLS_AES_128_GCM_SHA256 | CipherSuite::TLS_CHACHA20_POLY1305_SHA256 => Ok(&digest::SHA256),
        CipherSuite::TLS_AES_256_GCM_SHA384 => Ok(&digest::SHA384),
        other => Err(refused(format!("{other} is not a TLS 1.3 suite that keyferry speaks"))),
    }
}

/// 64 spaces, the label, a zero and Transcript-Hash(Handshake Context, Certificate).
fn content(label: &[u8], hellos: &Hellos<'_>, transcript: &[u8]) -> Result<Vec<u8>, Error> {
    let hash = transcript_hash(hash(hellos)?, hellos.retried, transcript);
    Ok([&[0x20; 64], label, &[0], hash.as_ref()].concat())
}

/// RFC 8446 section 4.4.1: after a HelloRetryRequest, a message_hash stands for the first ClientHello.
fn transcript_hash(algorithm: &'static digest::Algorithm, retried: Option<usize>, transcript: &[u8]) -> digest::Digest {
    const MESSAGE_HASH: u8 = 254;
    let mut context = digest::Context::new(algorithm);
    let rest = match retried.and_then(|length| transcript.split_at_checked(length)) {
        Some((first, rest)) => {
            let first = digest::digest(algorithm, first);
            let length = u8::try_from(first.as_ref().len()).unwrap_or(u8::MAX);
            context.update(&[MESSAGE_HASH, 0, 0, length]);
            context.update(first.as_ref());
            rest
        }
        None => transcript,
    };
    context.update(rest);
    context.finish()
}
