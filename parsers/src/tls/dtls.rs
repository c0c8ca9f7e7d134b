//! DTLS 1.0, 1.2 (RFC 6347) and 1.3 (RFC 9147), as far as the hellos: records, which say where in the order of things
//! they belong, fragments of handshake messages, and the messages that differ from those of TLS.
//!
//! A datagram holds one record or several: [`Record::next`]. A record of content type `handshake` holds fragments:
//! [`HandshakeFragment::next`]. The body put together from them is a [`Message`].

use alloc::vec::Vec;

use super::extension::{Within, optional_extensions, put_extensions};
use super::wire::{
    Parsed, Trouble, array, complete, list_u16, numbers, opaque, put_vector8, put_vector16, put_vector24, take, u8,
    u16, u24, vector8, vector16,
};
use super::{CipherSuite, ContentType, Extension, Handshake, HandshakeType, ProtocolVersion, ServerHello};
use crate::{EmitError, Fault, ParseError};

/// A record of either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Of DTLS 1.0 and 1.2, and in the clear of DTLS 1.3.
    Plain(PlainRecord<'a>),
    /// Protected, of DTLS 1.3.
    Unified(UnifiedRecord<'a>),
}

impl<'a> Record<'a> {
    /// Reads the first record of a datagram, and gives what follows it. `connection_id_length` is what was negotiated,
    /// 0 if nothing was (RFC 9146); it matters to protected records alone.
    pub fn next(connection_id_length: usize, bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError> {
        let mut after = bytes;
        let record = complete("DTLS record", bytes, |input| {
            let (rest, record) = match input.first() {
                Some(first) if first & UNIFIED_MASK == UNIFIED => unified(connection_id_length, input)?,
                _ => plain(input)?,
            };
            after = rest;
            Ok((&[], record))
        })?;
        Ok((record, after))
    }

    /// Writes header and fragment.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        match self {
            Self::Plain(record) => record.emit(out),
            Self::Unified(record) => record.emit(out),
        }
    }
}

/// A record with the header of RFC 6347 section 4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainRecord<'a> {
    /// What the fragment is.
    pub content_type: ContentType,
    /// DTLS 1.0 or 1.2; DTLS 1.3 says 1.2.
    pub legacy_version: ProtocolVersion,
    /// Counts changes of keys.
    pub epoch: u16,
    /// Counts records of the epoch; 48 bits.
    pub sequence_number: u64,
    /// The content, or its ciphertext.
    pub fragment: &'a [u8],
}

impl PlainRecord<'_> {
    /// Content of the protocol that confirms records in DTLS 1.3.
    pub const ACK: ContentType = ContentType(26);

    fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        let place = "DTLSPlaintext.sequence_number";
        out.push(self.content_type.0);
        out.extend_from_slice(&self.legacy_version.0.to_be_bytes());
        out.extend_from_slice(&self.epoch.to_be_bytes());
        match self.sequence_number.to_be_bytes() {
            [0, 0, number @ ..] => out.extend_from_slice(&number),
            _ => return Err(EmitError { place }),
        }
        put_vector16(out, "DTLSPlaintext.fragment", opaque(self.fragment))
    }
}

/// A protected record of DTLS 1.3 (RFC 9147 section 4), with little that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnifiedRecord<'a> {
    /// The low two bits of the epoch.
    pub epoch_bits: u8,
    /// Which connection it is of, if that was negotiated.
    pub connection_id: Option<&'a [u8]>,
    /// The low bits of the record's number, encrypted.
    pub sequence_number: EncryptedNumber,
    /// Whether it says its length; without, it fills the datagram.
    pub has_length: bool,
    /// Ciphertext.
    pub encrypted_record: &'a [u8],
}

/// The low bits of a record number, encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncryptedNumber {
    /// Eight of them.
    Short(u8),
    /// Sixteen of them.
    Long(u16),
}

/// The bits of a unified header's first byte: `001CSLEE`.
const UNIFIED_MASK: u8 = 0b1110_0000;
const UNIFIED: u8 = 0b0010_0000;
const CONNECTION_ID: u8 = 0b0001_0000;
const LONG_NUMBER: u8 = 0b0000_1000;
const HAS_LENGTH: u8 = 0b0000_0100;
const EPOCH: u8 = 0b0000_0011;

impl UnifiedRecord<'_> {
    fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        if self.epoch_bits > EPOCH {
            return Err(EmitError { place: "DTLSCiphertext.epoch" });
        }
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let long = matches!(self.sequence_number, EncryptedNumber::Long(_));
        out.push(
            UNIFIED
                | bit(self.connection_id.is_some(), CONNECTION_ID)
                | bit(long, LONG_NUMBER)
                | bit(self.has_length, HAS_LENGTH)
                | self.epoch_bits,
        );
        out.extend_from_slice(self.connection_id.unwrap_or_default());
        match self.sequence_number {
            EncryptedNumber::Short(number) => out.push(number),
            EncryptedNumber::Long(number) => out.extend_from_slice(&number.to_be_bytes()),
        }
        if self.has_length {
            return put_vector16(out, "DTLSCiphertext.encrypted_record", opaque(self.encrypted_record));
        }
        out.extend_from_slice(self.encrypted_record);
        Ok(())
    }
}

/// The longest fragment of any version: RFC 6347 section 4.1.
const MAX_FRAGMENT: usize = (1 << 14) + 2048;

fn plain(input: &[u8]) -> Parsed<'_, Record<'_>> {
    let (input, content_type) = u8("DTLSPlaintext.type")(input)?;
    let (input, legacy_version) = u16("DTLSPlaintext.legacy_record_version")(input)?;
    let (content_type, legacy_version) = (ContentType(content_type), ProtocolVersion(legacy_version));
    if content_type.name().is_none() && content_type != PlainRecord::ACK {
        return Err(Trouble::new("DTLSPlaintext.type", Fault::Illegal));
    }
    if !matches!(legacy_version, ProtocolVersion::DTLS_1_0 | ProtocolVersion::DTLS_1_2) {
        return Err(Trouble::new("DTLSPlaintext.legacy_record_version", Fault::Illegal));
    }
    let (input, epoch) = u16("DTLSPlaintext.epoch")(input)?;
    let (input, number) = array::<6>("DTLSPlaintext.sequence_number")(input)?;
    let sequence_number = number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let (rest, fragment) = vector16("DTLSPlaintext.fragment", 1..=MAX_FRAGMENT)(input)?;
    Ok((rest, Record::Plain(PlainRecord { content_type, legacy_version, epoch, sequence_number, fragment })))
}

fn unified(connection_id_length: usize, input: &[u8]) -> Parsed<'_, Record<'_>> {
    let (input, first) = u8("DTLSCiphertext")(input)?;
    let (input, connection_id) = match (first & CONNECTION_ID != 0, connection_id_length) {
        (false, _) => (input, None),
        (true, 0) => return Err(Trouble::new("DTLSCiphertext.connection_id", Fault::Illegal)),
        (true, length) => {
            let (input, connection_id) = take("DTLSCiphertext.connection_id", length)(input)?;
            (input, Some(connection_id))
        }
    };
    let (input, sequence_number) = if first & LONG_NUMBER != 0 {
        let (input, number) = u16("DTLSCiphertext.sequence_number")(input)?;
        (input, EncryptedNumber::Long(number))
    } else {
        let (input, number) = u8("DTLSCiphertext.sequence_number")(input)?;
        (input, EncryptedNumber::Short(number))
    };
    let has_length = first & HAS_LENGTH != 0;
    let (rest, encrypted_record) = if has_length {
        vector16("DTLSCiphertext.encrypted_record", 1..=MAX_FRAGMENT)(input)?
    } else {
        (Default::default(), input)
    };
    if encrypted_record.is_empty() {
        return Err(Trouble::new("DTLSCiphertext.encrypted_record", Fault::TooShort));
    }
    let epoch_bits = first & EPOCH;
    let record = UnifiedRecord { epoch_bits, connection_id, sequence_number, has_length, encrypted_record };
    Ok((rest, Record::Unified(record)))
}

/// A piece of a handshake message (RFC 6347 section 4.2.2). All pieces of a message have the same header but for the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeFragment<'a> {
    /// Which message it is.
    pub msg_type: HandshakeType,
    /// Bytes of the whole body.
    pub length: usize,
    /// Counts the sender's messages; the same in a retransmission.
    pub message_seq: u16,
    /// Where in the body the fragment starts.
    pub fragment_offset: usize,
    /// The piece.
    pub fragment: &'a [u8],
}

impl<'a> HandshakeFragment<'a> {
    /// Bytes of a header.
    pub const HEADER_LENGTH: usize = 12;

    /// Reads the first fragment of a record, and gives what follows it.
    pub fn next(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError> {
        let mut after = bytes;
        let fragment = complete("Handshake", bytes, |input| {
            let (rest, fragment) = handshake_fragment(input)?;
            after = rest;
            Ok((&[], fragment))
        })?;
        Ok((fragment, after))
    }

    /// True if the message is in one piece, so that `fragment` is its body.
    pub fn is_whole(&self) -> bool {
        self.fragment.len() == self.length
    }

    /// Writes header and fragment.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        let place = "Handshake.length";
        out.push(self.msg_type.0);
        put_u24(out, self.length, place)?;
        out.extend_from_slice(&self.message_seq.to_be_bytes());
        put_u24(out, self.fragment_offset, "Handshake.fragment_offset")?;
        put_vector24(out, "Handshake.fragment", opaque(self.fragment))
    }
}

fn put_u24(out: &mut Vec<u8>, number: usize, place: &'static str) -> Result<(), EmitError> {
    match u32::try_from(number).map(u32::to_be_bytes) {
        Ok([0, digits @ ..]) => {
            out.extend_from_slice(&digits);
            Ok(())
        }
        _ => Err(EmitError { place }),
    }
}

fn handshake_fragment(input: &[u8]) -> Parsed<'_, HandshakeFragment<'_>> {
    let (input, msg_type) = u8("Handshake.msg_type")(input)?;
    let (input, length) = u24("Handshake.length")(input)?;
    let (input, message_seq) = u16("Handshake.message_seq")(input)?;
    let (input, offset) = u24("Handshake.fragment_offset")(input)?;
    let (input, fragment_length) = u24("Handshake.fragment_length")(input)?;
    let [length, fragment_offset, fragment_length] =
        [length, offset, fragment_length].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    if length > Handshake::MAX_LENGTH {
        return Err(Trouble::new("Handshake.length", Fault::TooLong));
    }
    if fragment_offset.checked_add(fragment_length).is_none_or(|end| end > length) {
        return Err(Trouble::new("Handshake.fragment_length", Fault::TooLong));
    }
    let (rest, fragment) = take("Handshake.fragment", fragment_length)(input)?;
    Ok((rest, HandshakeFragment { msg_type: HandshakeType(msg_type), length, message_seq, fragment_offset, fragment }))
}

/// The body of a handshake message that was put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The client's offer.
    ClientHello(ClientHello<'a>),
    /// The server wants the client to show that it can be reached.
    HelloVerifyRequest(HelloVerifyRequest<'a>),
    /// The server's choice, as in TLS; DTLS 1.3 asks for another hello with it, too.
    ServerHello(ServerHello<'a>),
    /// Any other.
    Other {
        /// Its type.
        msg_type: HandshakeType,
        /// Its body.
        body: &'a [u8],
    },
}

impl<'a> Message<'a> {
    /// Reads a whole body.
    pub fn parse(msg_type: HandshakeType, body: &'a [u8]) -> Result<Self, ParseError> {
        match msg_type {
            HandshakeType::CLIENT_HELLO => ClientHello::parse(body).map(Self::ClientHello),
            HandshakeType::HELLO_VERIFY_REQUEST => HelloVerifyRequest::parse(body).map(Self::HelloVerifyRequest),
            HandshakeType::SERVER_HELLO => ServerHello::parse(body).map(Self::ServerHello),
            _ => Ok(Self::Other { msg_type, body }),
        }
    }

    /// The type in its header.
    pub const fn msg_type(&self) -> HandshakeType {
        match self {
            Self::ClientHello(_) => HandshakeType::CLIENT_HELLO,
            Self::HelloVerifyRequest(_) => HandshakeType::HELLO_VERIFY_REQUEST,
            Self::ServerHello(_) => HandshakeType::SERVER_HELLO,
            Self::Other { msg_type, .. } => *msg_type,
        }
    }

    /// Writes the body.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        match self {
            Self::ClientHello(message) => message.emit(out),
            Self::HelloVerifyRequest(message) => message.emit(out),
            Self::ServerHello(message) => message.emit(out),
            Self::Other { body, .. } => opaque(body)(out),
        }
    }
}

/// The client's offer: that of TLS with a cookie (RFC 6347 section 4.2.1, RFC 9147 section 5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// DTLS 1.2 in every DTLS 1.3 hello; the offer is in supported_versions.
    pub legacy_version: ProtocolVersion,
    /// Fresh randomness.
    pub random: &'a [u8; 32],
    /// Of the session to resume; empty in DTLS 1.3.
    pub legacy_session_id: &'a [u8],
    /// From a [`HelloVerifyRequest`]; empty in a first hello, and in DTLS 1.3.
    pub legacy_cookie: &'a [u8],
    /// Suites in order of preference.
    pub cipher_suites: Vec<CipherSuite>,
    /// A single 0 in DTLS 1.3.
    pub legacy_compression_methods: &'a [u8],
    /// Extensions in the order they came; an old hello may have none.
    pub extensions: Option<Vec<Extension<'a>>>,
}

impl<'a> ClientHello<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        complete("ClientHello", body, |input| {
            let (input, legacy_version) = u16("ClientHello.legacy_version")(input)?;
            let (input, random) = array("ClientHello.random")(input)?;
            let (input, legacy_session_id) = vector8("ClientHello.legacy_session_id", 0..=32)(input)?;
            let (input, legacy_cookie) = vector8("ClientHello.legacy_cookie", 0..=255)(input)?;
            let (input, cipher_suites) = vector16("ClientHello.cipher_suites", 2..=0xfffe)(input)?;
            let cipher_suites = list_u16("ClientHello.cipher_suites", cipher_suites, CipherSuite)?;
            let (input, legacy_compression_methods) =
                vector8("ClientHello.legacy_compression_methods", 1..=255)(input)?;
            let (input, extensions) = optional_extensions("ClientHello.extensions", Within::ClientHello)(input)?;
            let hello = Self {
                legacy_version: ProtocolVersion(legacy_version),
                random,
                legacy_session_id,
                legacy_cookie,
                cipher_suites,
                legacy_compression_methods,
                extensions,
            };
            Ok((input, hello))
        })
    }

    fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.extend_from_slice(&self.legacy_version.0.to_be_bytes());
        out.extend_from_slice(self.random);
        put_vector8(out, "ClientHello.legacy_session_id", opaque(self.legacy_session_id))?;
        put_vector8(out, "ClientHello.legacy_cookie", opaque(self.legacy_cookie))?;
        let cipher_suites = self.cipher_suites.iter().map(|suite| suite.0);
        put_vector16(out, "ClientHello.cipher_suites", numbers(cipher_suites))?;
        put_vector8(out, "ClientHello.legacy_compression_methods", opaque(self.legacy_compression_methods))?;
        match &self.extensions {
            Some(extensions) => put_extensions(out, "ClientHello.extensions", extensions),
            None => Ok(()),
        }
    }
}

/// The server wants its cookie back, and keeps nothing until then (RFC 6347 section 4.2.1). Not in DTLS 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloVerifyRequest<'a> {
    /// Should be DTLS 1.0; says nothing of what will be chosen.
    pub server_version: ProtocolVersion,
    /// What the client shall repeat.
    pub cookie: &'a [u8],
}

impl<'a> HelloVerifyRequest<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        complete("HelloVerifyRequest", body, |input| {
            let (input, server_version) = u16("HelloVerifyRequest.server_version")(input)?;
            let (input, cookie) = vector8("HelloVerifyRequest.cookie", 0..=255)(input)?;
            Ok((input, Self { server_version: ProtocolVersion(server_version), cookie }))
        })
    }

    fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.extend_from_slice(&self.server_version.0.to_be_bytes());
        put_vector8(out, "HelloVerifyRequest.cookie", opaque(self.cookie))
    }
}

#[cfg(test)]
mod tests;
