//! Handshake messages: a header of type and length, then the message (RFC 8446 section 4).

use alloc::vec::Vec;

use super::tls12::{CertificateStatus, ClientKeyExchange, ServerKeyExchange};
use super::wire::{Parsed, Trouble, complete, opaque, put_vector24, take, u8, u24};
use super::{
    Certificate, CertificateRequest, CertificateVerify, ClientHello, EncryptedExtensions, Finished, KeyUpdate,
    NewSessionTicket, ProtocolVersion, ServerHello, tls12,
};
use crate::registry::registry;
use crate::{EmitError, Fault, ParseError};

registry! {
    /// Which handshake message it is.
    pub struct HandshakeType(u8), unknown "handshake type {}" {
        HELLO_REQUEST = 0, "hello_request";
        CLIENT_HELLO = 1, "client_hello";
        SERVER_HELLO = 2, "server_hello";
        HELLO_VERIFY_REQUEST = 3, "hello_verify_request";
        NEW_SESSION_TICKET = 4, "new_session_ticket";
        END_OF_EARLY_DATA = 5, "end_of_early_data";
        ENCRYPTED_EXTENSIONS = 8, "encrypted_extensions";
        CERTIFICATE = 11, "certificate";
        SERVER_KEY_EXCHANGE = 12, "server_key_exchange";
        CERTIFICATE_REQUEST = 13, "certificate_request";
        SERVER_HELLO_DONE = 14, "server_hello_done";
        CERTIFICATE_VERIFY = 15, "certificate_verify";
        CLIENT_KEY_EXCHANGE = 16, "client_key_exchange";
        FINISHED = 20, "finished";
        CERTIFICATE_URL = 21, "certificate_url";
        CERTIFICATE_STATUS = 22, "certificate_status";
        SUPPLEMENTAL_DATA = 23, "supplemental_data";
        KEY_UPDATE = 24, "key_update";
        COMPRESSED_CERTIFICATE = 25, "compressed_certificate";
        MESSAGE_HASH = 254, "message_hash";
    }
}

/// `msg_type` and a length of three bytes.
const HEADER_LENGTH: usize = 4;

/// A handshake message with the bytes it was parsed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake<'a> {
    /// Header and body as they came: what the transcript hash covers.
    pub raw: &'a [u8],
    /// What they say.
    pub message: Message<'a>,
}

impl<'a> Handshake<'a> {
    /// Bytes of a header.
    pub const HEADER_LENGTH: usize = HEADER_LENGTH;
    /// The longest body that is accepted, in bytes; certificate chains are what is long.
    pub const MAX_LENGTH: usize = 1 << 17;

    /// Reads exactly one message of TLS 1.3.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        Self::parse_as(ProtocolVersion::TLS_1_3, bytes)
    }

    /// Reads exactly one message of that version. The hellos, which settle the version, are alike in all of them; of other
    /// versions than TLS 1.3 and 1.2 nothing else is taken apart.
    pub fn parse_as(version: ProtocolVersion, bytes: &'a [u8]) -> Result<Self, ParseError> {
        complete("Handshake", bytes, |input| handshake(version, input))
    }

    /// Reads the first message of a record, or of several records' content put together, and gives what follows it;
    /// `None` while the message is incomplete. TLS 1.3.
    pub fn next(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, ParseError> {
        Self::next_as(ProtocolVersion::TLS_1_3, bytes)
    }

    /// Like [`Handshake::next`], of that version: see [`Handshake::parse_as`].
    pub fn next_as(version: ProtocolVersion, bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, ParseError> {
        let Some(header) = bytes.first_chunk() else {
            return Ok(None);
        };
        match bytes.split_at_checked(Self::message_length(header)?) {
            Some((message, rest)) => Ok(Some((Self::parse_as(version, message)?, rest))),
            None => Ok(None),
        }
    }

    /// Bytes of the whole message, header included, so that a reader knows how many to collect.
    pub fn message_length(header: &[u8; HEADER_LENGTH]) -> Result<usize, ParseError> {
        let (_, length) = complete("Handshake", header, type_and_length)?;
        Ok(HEADER_LENGTH.saturating_add(length))
    }
}

fn type_and_length(input: &[u8]) -> Parsed<'_, (HandshakeType, usize)> {
    let (input, msg_type) = u8("Handshake.msg_type")(input)?;
    let (input, length) = u24("Handshake.length")(input)?;
    match usize::try_from(length) {
        Ok(length) if length <= Handshake::MAX_LENGTH => Ok((input, (HandshakeType(msg_type), length))),
        _ => Err(Trouble::new("Handshake.length", Fault::TooLong)),
    }
}

fn handshake(version: ProtocolVersion, raw: &[u8]) -> Parsed<'_, Handshake<'_>> {
    let (input, (msg_type, length)) = type_and_length(raw)?;
    let (rest, body) = take("Handshake.body", length)(input)?;
    let message = Message::parse(version, msg_type, body).map_err(|error| Trouble::new(error.place, error.fault))?;
    let raw = raw.get(..raw.len().saturating_sub(rest.len())).unwrap_or_default();
    Ok((rest, Handshake { raw, message }))
}

/// The messages of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The client's offer.
    ClientHello(ClientHello<'a>),
    /// The server's choice, or its HelloRetryRequest: see [`ServerHello::is_hello_retry_request`].
    ServerHello(ServerHello<'a>),
    /// What the server says under encryption first.
    EncryptedExtensions(EncryptedExtensions<'a>),
    /// The server wants to know who the client is.
    CertificateRequest(CertificateRequest<'a>),
    /// A certificate chain.
    Certificate(Certificate<'a>),
    /// Proof of the certificate's private key.
    CertificateVerify(CertificateVerify<'a>),
    /// Proof of the whole handshake.
    Finished(Finished<'a>),
    /// A ticket for a later session.
    NewSessionTicket(NewSessionTicket<'a>),
    /// The sender's next record comes under new keys.
    KeyUpdate(KeyUpdate),
    /// TLS 1.2: the server wants to renegotiate.
    HelloRequest,
    /// TLS 1.2: a certificate chain.
    Certificate12(tls12::Certificate<'a>),
    /// TLS 1.2: what the certificate's authority says of it.
    CertificateStatus(CertificateStatus<'a>),
    /// TLS 1.2: the server's public value.
    ServerKeyExchange(ServerKeyExchange<'a>),
    /// TLS 1.2: the server wants to know who the client is.
    CertificateRequest12(tls12::CertificateRequest<'a>),
    /// TLS 1.2: it is the client's turn.
    ServerHelloDone,
    /// TLS 1.2: the client's public value.
    ClientKeyExchange(ClientKeyExchange<'a>),
    /// TLS 1.2: a ticket for a later session.
    NewSessionTicket12(tls12::NewSessionTicket<'a>),
    /// A message that is not taken apart: of another version or of an extension.
    Other {
        /// Its type.
        msg_type: HandshakeType,
        /// Its body.
        body: &'a [u8],
    },
}

impl<'a> Message<'a> {
    /// The type in its header.
    pub const fn msg_type(&self) -> HandshakeType {
        match self {
            Self::ClientHello(_) => HandshakeType::CLIENT_HELLO,
            Self::ServerHello(_) => HandshakeType::SERVER_HELLO,
            Self::EncryptedExtensions(_) => HandshakeType::ENCRYPTED_EXTENSIONS,
            Self::CertificateRequest(_) | Self::CertificateRequest12(_) => HandshakeType::CERTIFICATE_REQUEST,
            Self::HelloRequest => HandshakeType::HELLO_REQUEST,
            Self::Certificate(_) | Self::Certificate12(_) => HandshakeType::CERTIFICATE,
            Self::CertificateStatus(_) => HandshakeType::CERTIFICATE_STATUS,
            Self::ServerKeyExchange(_) => HandshakeType::SERVER_KEY_EXCHANGE,
            Self::ServerHelloDone => HandshakeType::SERVER_HELLO_DONE,
            Self::ClientKeyExchange(_) => HandshakeType::CLIENT_KEY_EXCHANGE,
            Self::CertificateVerify(_) => HandshakeType::CERTIFICATE_VERIFY,
            Self::Finished(_) => HandshakeType::FINISHED,
            Self::NewSessionTicket(_) | Self::NewSessionTicket12(_) => HandshakeType::NEW_SESSION_TICKET,
            Self::KeyUpdate(_) => HandshakeType::KEY_UPDATE,
            Self::Other { msg_type, .. } => *msg_type,
        }
    }

    /// Writes header and message.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.push(self.msg_type().0);
        put_vector24(out, "Handshake.body", |out| match self {
            Self::ClientHello(message) => message.emit(out),
            Self::ServerHello(message) => message.emit(out),
            Self::EncryptedExtensions(message) => message.emit(out),
            Self::CertificateRequest(message) => message.emit(out),
            Self::Certificate(message) => message.emit(out),
            Self::CertificateVerify(message) => message.emit(out),
            Self::Finished(message) => message.emit(out),
            Self::NewSessionTicket(message) => message.emit(out),
            Self::KeyUpdate(message) => message.emit(out),
            Self::HelloRequest | Self::ServerHelloDone => Ok(()),
            Self::Certificate12(message) => message.emit(out),
            Self::CertificateStatus(message) => message.emit(out),
            Self::ServerKeyExchange(message) => message.emit(out),
            Self::CertificateRequest12(message) => message.emit(out),
            Self::ClientKeyExchange(message) => message.emit(out),
            Self::NewSessionTicket12(message) => message.emit(out),
            Self::Other { body, .. } => opaque(body)(out),
        })
    }

    fn parse(version: ProtocolVersion, msg_type: HandshakeType, body: &'a [u8]) -> Result<Self, ParseError> {
        match (msg_type, version) {
            (HandshakeType::CLIENT_HELLO, _) => ClientHello::parse(body).map(Self::ClientHello),
            (HandshakeType::SERVER_HELLO, _) => ServerHello::parse(body).map(Self::ServerHello),
            (_, ProtocolVersion::TLS_1_3) => Self::parse_tls13(msg_type, body),
            (_, ProtocolVersion::TLS_1_2) => Self::parse_tls12(msg_type, body),
            _ => Ok(Self::Other { msg_type, body }),
        }
    }

    fn parse_tls13(msg_type: HandshakeType, body: &'a [u8]) -> Result<Self, ParseError> {
        match msg_type {
            HandshakeType::ENCRYPTED_EXTENSIONS => EncryptedExtensions::parse(body).map(Self::EncryptedExtensions),
            HandshakeType::CERTIFICATE_REQUEST => CertificateRequest::parse(body).map(Self::CertificateRequest),
            HandshakeType::CERTIFICATE => Certificate::parse(body).map(Self::Certificate),
            HandshakeType::CERTIFICATE_VERIFY => CertificateVerify::parse(body).map(Self::CertificateVerify),
            HandshakeType::FINISHED => Finished::parse(body).map(Self::Finished),
            HandshakeType::NEW_SESSION_TICKET => NewSessionTicket::parse(body).map(Self::NewSessionTicket),
            HandshakeType::KEY_UPDATE => KeyUpdate::parse(body).map(Self::KeyUpdate),
            _ => Ok(Self::Other { msg_type, body }),
        }
    }

    fn parse_tls12(msg_type: HandshakeType, body: &'a [u8]) -> Result<Self, ParseError> {
        match msg_type {
            HandshakeType::HELLO_REQUEST => empty("HelloRequest", body, Self::HelloRequest),
            HandshakeType::NEW_SESSION_TICKET => tls12::NewSessionTicket::parse(body).map(Self::NewSessionTicket12),
            HandshakeType::CERTIFICATE => tls12::Certificate::parse(body).map(Self::Certificate12),
            HandshakeType::SERVER_KEY_EXCHANGE => ServerKeyExchange::parse(body).map(Self::ServerKeyExchange),
            HandshakeType::CERTIFICATE_REQUEST => {
                tls12::CertificateRequest::parse(body).map(Self::CertificateRequest12)
            }
            HandshakeType::SERVER_HELLO_DONE => empty("ServerHelloDone", body, Self::ServerHelloDone),
            HandshakeType::CERTIFICATE_VERIFY => CertificateVerify::parse(body).map(Self::CertificateVerify),
            HandshakeType::CLIENT_KEY_EXCHANGE => Ok(Self::ClientKeyExchange(ClientKeyExchange::parse(body))),
            HandshakeType::FINISHED => Finished::parse_tls12(body).map(Self::Finished),
            HandshakeType::CERTIFICATE_STATUS => CertificateStatus::parse(body).map(Self::CertificateStatus),
            _ => Ok(Self::Other { msg_type, body }),
        }
    }
}

/// A message without content.
fn empty<'a>(place: &'static str, body: &[u8], message: Message<'a>) -> Result<Message<'a>, ParseError> {
    if body.is_empty() { Ok(message) } else { Err(ParseError { place, fault: Fault::Leftover }) }
}

/// For the tests of the messages: what holds for each of them.
#[cfg(test)]
pub(super) mod checks {
    use super::*;
    use crate::mangle::mangle;

    /// The message survives emitting and parsing, cut short it is refused, and nothing done to a byte of it panics.
    pub(crate) fn survives(message: Message<'_>) {
        survives_as(ProtocolVersion::TLS_1_3, message);
    }

    pub(crate) fn survives_as(version: ProtocolVersion, message: Message<'_>) {
        let mut bytes = Vec::new();
        message.emit(&mut bytes).unwrap();
        let parsed = Handshake::parse_as(version, &bytes).unwrap();
        assert_eq!(parsed.message, message);
        assert_eq!(parsed.raw, bytes);
        mangle(&bytes, |mangled| {
            let parsed = Handshake::parse_as(version, mangled);
            if mangled.len() < bytes.len() {
                assert_eq!(parsed.map_err(|error| error.fault), Err(Fault::Truncated));
            } else if let Ok(parsed) = parsed {
                same_when_emitted(&parsed);
            }
        });
        cut_inside(version, &bytes);
    }

    /// What parses is emitted byte for byte.
    pub(crate) fn same_when_emitted(parsed: &Handshake<'_>) {
        let mut again = Vec::new();
        parsed.message.emit(&mut again).unwrap();
        assert_eq!(again, parsed.raw);
    }

    /// Cuts the body short with a header that agrees, so that the message's own parser meets the end.
    fn cut_inside(version: ProtocolVersion, bytes: &[u8]) {
        for length in 0..bytes.len() - Handshake::HEADER_LENGTH {
            let mut cut = bytes[..Handshake::HEADER_LENGTH + length].to_vec();
            cut[1..4].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
            if let Ok(parsed) = Handshake::parse_as(version, &cut) {
                same_when_emitted(&parsed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn messages_of_one_record_come_one_after_the_other() {
        let key_update = [24, 0, 0, 1, 0];
        let finished = [&[20, 0, 0, 32][..], &[7; 32]].concat();
        let record = [&key_update[..], &finished, &key_update[..3]].concat();

        let (first, rest) = Handshake::next(&record).unwrap().unwrap();
        assert_eq!(first.raw, key_update);
        let (second, rest) = Handshake::next(rest).unwrap().unwrap();
        assert_eq!(second.message, Message::Finished(Finished { verify_data: &[7; 32] }));
        assert_eq!(rest, &key_update[..3]);
        assert_eq!(Handshake::next(rest), Ok(None));
        assert_eq!(Handshake::next(&finished[..20]), Ok(None));
    }

    #[test]
    fn a_length_beyond_reason_is_refused_before_it_is_collected() {
        let error = Handshake::next(&[11, 0xff, 0xff, 0xff]).unwrap_err();
        assert_eq!(error, ParseError { place: "Handshake.length", fault: Fault::TooLong });
        assert_eq!(Handshake::message_length(&[11, 2, 0, 0]), Ok(4 + (1 << 17)));
    }

    #[test]
    fn one_message_and_no_more() {
        let error = Handshake::parse(&[24, 0, 0, 1, 0, 0]).unwrap_err();
        assert_eq!(error, ParseError { place: "Handshake", fault: Fault::Leftover });
        let error = Handshake::parse(&[24, 0, 0, 2, 0, 0]).unwrap_err();
        assert_eq!(error, ParseError { place: "KeyUpdate", fault: Fault::Leftover });
    }

    #[test]
    fn messages_without_content_have_none() {
        let tls12 = |bytes| Handshake::parse_as(ProtocolVersion::TLS_1_2, bytes).map(|parsed| parsed.message);
        assert_eq!(tls12(&[0, 0, 0, 0]), Ok(Message::HelloRequest));
        assert_eq!(tls12(&[14, 0, 0, 0]), Ok(Message::ServerHelloDone));
        assert_eq!(tls12(&[0, 0, 0, 1, 0]), Err(ParseError { place: "HelloRequest", fault: Fault::Leftover }));
        assert_eq!(tls12(&[14, 0, 0, 1, 0]), Err(ParseError { place: "ServerHelloDone", fault: Fault::Leftover }));
        checks::survives_as(ProtocolVersion::TLS_1_2, Message::HelloRequest);
        checks::survives_as(ProtocolVersion::TLS_1_2, Message::ServerHelloDone);
    }

    #[test]
    fn the_same_type_has_another_form_in_another_version() {
        let finished = [&[20, 0, 0, 12][..], &[7; 12]].concat();
        let as_version = |version| Handshake::parse_as(version, &finished).map(|parsed| parsed.message);
        assert_eq!(as_version(ProtocolVersion::TLS_1_2), Ok(Message::Finished(Finished { verify_data: &[7; 12] })));
        assert!(as_version(ProtocolVersion::TLS_1_3).is_err());
        let other = Message::Other { msg_type: HandshakeType::FINISHED, body: &[7; 12] };
        assert_eq!(as_version(ProtocolVersion::TLS_1_1), Ok(other));

        // KeyUpdate is none of TLS 1.2.
        let key_update = Handshake::parse_as(ProtocolVersion::TLS_1_2, &[24, 0, 0, 1, 0]).unwrap();
        assert!(matches!(key_update.message, Message::Other { .. }));
        let (first, rest) = Handshake::next_as(ProtocolVersion::TLS_1_2, &[14, 0, 0, 0, 0]).unwrap().unwrap();
        assert_eq!((first.message, rest), (Message::ServerHelloDone, &[0][..]));
    }

    proptest! {
        #[test]
        fn any_other_message_survives(body in proptest::collection::vec(any::<u8>(), 0..40)) {
            checks::survives(Message::Other { msg_type: HandshakeType::COMPRESSED_CERTIFICATE, body: &body });
        }

        #[test]
        fn what_parses_is_emitted_byte_for_byte(
            msg_type in 0_u8..=25,
            body in proptest::collection::vec(any::<u8>(), 0..60),
            version in 0x0301_u16..=0x0304,
        ) {
            let mut bytes = vec![msg_type, 0, 0, body.len() as u8];
            bytes.extend_from_slice(&body);
            if let Ok(parsed) = Handshake::parse_as(ProtocolVersion(version), &bytes) {
                checks::same_when_emitted(&parsed);
            }
        }
    }
}
