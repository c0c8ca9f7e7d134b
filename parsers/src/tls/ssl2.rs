//! SSL 2.0, as far as its hellos, to name what should no longer be there; and the hello of its form with which clients
//! of SSL 3.0 and TLS asked servers that might know nothing newer (RFC 5246 appendix E.2).

use alloc::vec::Vec;

use super::wire::{Parsed, Trouble, array, complete, list, take, u8, u16, u24};
use super::{CipherSuite, ProtocolVersion};
use crate::registry::registry;
use crate::{EmitError, Fault, ParseError};

registry! {
    /// What is used together, in three bytes; a suite of SSL 3.0 and TLS starts with 0: [`CipherSpec::cipher_suite`].
    pub struct CipherSpec(u32), unknown "cipher spec {:#08x}" {
        SSL_CK_RC4_128_WITH_MD5 = 0x01_0080, "SSL_CK_RC4_128_WITH_MD5";
        SSL_CK_RC4_128_EXPORT40_WITH_MD5 = 0x02_0080, "SSL_CK_RC4_128_EXPORT40_WITH_MD5";
        SSL_CK_RC2_128_CBC_WITH_MD5 = 0x03_0080, "SSL_CK_RC2_128_CBC_WITH_MD5";
        SSL_CK_RC2_128_CBC_EXPORT40_WITH_MD5 = 0x04_0080, "SSL_CK_RC2_128_CBC_EXPORT40_WITH_MD5";
        SSL_CK_IDEA_128_CBC_WITH_MD5 = 0x05_0080, "SSL_CK_IDEA_128_CBC_WITH_MD5";
        SSL_CK_DES_64_CBC_WITH_MD5 = 0x06_0040, "SSL_CK_DES_64_CBC_WITH_MD5";
        SSL_CK_DES_192_EDE3_CBC_WITH_MD5 = 0x07_00c0, "SSL_CK_DES_192_EDE3_CBC_WITH_MD5";
    }
}

impl CipherSpec {
    /// The suite of SSL 3.0 or TLS that it is.
    pub fn cipher_suite(self) -> Option<CipherSuite> {
        u16::try_from(self.0).ok().map(CipherSuite)
    }
}

/// A record: a length of 15 bits, or of 14 and padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Of a header of three bytes, in which padding counts: its flag of security escape, and how many bytes are padding.
    pub padding: Option<(bool, u8)>,
    /// The content, padding included.
    pub data: &'a [u8],
}

impl<'a> Record<'a> {
    /// The most bytes of content after a header of two bytes.
    pub const MAX_LENGTH: usize = 0x7fff;

    /// Reads the first record of a stream, and gives what follows it; `None` while it is incomplete.
    pub fn next(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, ParseError> {
        let mut after = bytes;
        let record = complete("SSL 2.0 record", bytes, |input| {
            let (rest, record) = record(input)?;
            after = rest;
            Ok((&[], record))
        });
        match record {
            Ok(record) => Ok(Some((record, after))),
            Err(ParseError { fault: Fault::Truncated, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes header and content.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        let place = "SSL 2.0 record";
        let length = u16::try_from(self.data.len()).map_err(|_| EmitError { place })?;
        let header = match self.padding {
            None if length <= 0x7fff => length | 0x8000,
            Some((escape, _)) if length <= 0x3fff => length | if escape { 0x4000 } else { 0 },
            _ => return Err(EmitError { place }),
        };
        out.extend_from_slice(&header.to_be_bytes());
        out.extend(self.padding.map(|(_, padding)| padding));
        out.extend_from_slice(self.data);
        Ok(())
    }
}

fn record(input: &[u8]) -> Parsed<'_, Record<'_>> {
    let place = "SSL 2.0 record";
    let (input, header) = u16(place)(input)?;
    let (input, padding, length) = if header & 0x8000 != 0 {
        (input, None, header & 0x7fff)
    } else {
        let (input, padding) = u8(place)(input)?;
        (input, Some((header & 0x4000 != 0, padding)), header & 0x3fff)
    };
    if length == 0 {
        return Err(Trouble::new(place, Fault::TooShort));
    }
    let (rest, data) = take(place, usize::from(length))(input)?;
    Ok((rest, Record { padding, data }))
}

/// A message in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The client's offer.
    ClientHello(ClientHello<'a>),
    /// The server's answer.
    ServerHello(ServerHello<'a>),
    /// What went wrong.
    Error(u16),
}

const ERROR: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 4;

impl<'a> Message<'a> {
    /// Reads the content of a record, which is one message.
    pub fn parse(data: &'a [u8]) -> Result<Self, ParseError> {
        complete("SSL 2.0 message", data, |input| {
            let (input, msg_type) = u8("SSL 2.0 message")(input)?;
            match msg_type {
                ERROR => {
                    let (input, code) = u16("ERROR.ERROR-CODE")(input)?;
                    Ok((input, Self::Error(code)))
                }
                CLIENT_HELLO => client_hello(input),
                SERVER_HELLO => server_hello(input),
                _ => Err(Trouble::new("SSL 2.0 message", Fault::Illegal)),
            }
        })
    }

    /// Writes type and message.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        match self {
            Self::ClientHello(hello) => hello.emit(out),
            Self::ServerHello(hello) => hello.emit(out),
            Self::Error(code) => {
                out.push(ERROR);
                out.extend_from_slice(&code.to_be_bytes());
                Ok(())
            }
        }
    }
}

/// CLIENT-HELLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The highest version that the client speaks: SSL 2.0, or a newer one in this hello of the old form.
    pub version: ProtocolVersion,
    /// What it offers.
    pub cipher_specs: Vec<CipherSpec>,
    /// Of the session to resume, or empty.
    pub session_id: &'a [u8],
    /// Fresh randomness, 16 to 32 bytes; for a newer version the client random, with zeros before it.
    pub challenge: &'a [u8],
}

impl ClientHello<'_> {
    fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.push(CLIENT_HELLO);
        out.extend_from_slice(&self.version.0.to_be_bytes());
        put_length(out, "CLIENT-HELLO.CIPHER-SPECS", self.cipher_specs.len().saturating_mul(3))?;
        put_length(out, "CLIENT-HELLO.SESSION-ID", self.session_id.len())?;
        put_length(out, "CLIENT-HELLO.CHALLENGE", self.challenge.len())?;
        put_cipher_specs(out, "CLIENT-HELLO.CIPHER-SPECS", &self.cipher_specs)?;
        out.extend_from_slice(self.session_id);
        out.extend_from_slice(self.challenge);
        Ok(())
    }
}

fn client_hello(input: &[u8]) -> Parsed<'_, Message<'_>> {
    let (input, version) = version("CLIENT-HELLO.CLIENT-VERSION", input)?;
    let (input, cipher_specs_length) = u16("CLIENT-HELLO.CIPHER-SPECS")(input)?;
    let (input, session_id_length) = u16("CLIENT-HELLO.SESSION-ID")(input)?;
    let (input, challenge_length) = u16("CLIENT-HELLO.CHALLENGE")(input)?;
    let (input, cipher_specs) = cipher_specs("CLIENT-HELLO.CIPHER-SPECS", cipher_specs_length, input)?;
    let (input, session_id) = take("CLIENT-HELLO.SESSION-ID", usize::from(session_id_length))(input)?;
    let (input, challenge) = take("CLIENT-HELLO.CHALLENGE", usize::from(challenge_length))(input)?;
    Ok((input, Message::ClientHello(ClientHello { version, cipher_specs, session_id, challenge })))
}

/// SERVER-HELLO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello<'a> {
    /// Not 0 if the session is resumed.
    pub session_id_hit: u8,
    /// 1 is X.509; 0 if there is none.
    pub certificate_type: u8,
    /// The version of the server.
    pub version: ProtocolVersion,
    /// Its certificate, in DER.
    pub certificate: &'a [u8],
    /// Which of the client's specs it has, too.
    pub cipher_specs: Vec<CipherSpec>,
    /// Fresh randomness.
    pub connection_id: &'a [u8],
}

impl ServerHello<'_> {
    fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.extend_from_slice(&[SERVER_HELLO, self.session_id_hit, self.certificate_type]);
        out.extend_from_slice(&self.version.0.to_be_bytes());
        put_length(out, "SERVER-HELLO.CERTIFICATE", self.certificate.len())?;
        put_length(out, "SERVER-HELLO.CIPHER-SPECS", self.cipher_specs.len().saturating_mul(3))?;
        put_length(out, "SERVER-HELLO.CONNECTION-ID", self.connection_id.len())?;
        out.extend_from_slice(self.certificate);
        put_cipher_specs(out, "SERVER-HELLO.CIPHER-SPECS", &self.cipher_specs)?;
        out.extend_from_slice(self.connection_id);
        Ok(())
    }
}

fn server_hello(input: &[u8]) -> Parsed<'_, Message<'_>> {
    let (input, [session_id_hit, certificate_type]) = array("SERVER-HELLO.SESSION-ID-HIT")(input)?;
    let (input, version) = version("SERVER-HELLO.SERVER-VERSION", input)?;
    let (input, certificate_length) = u16("SERVER-HELLO.CERTIFICATE")(input)?;
    let (input, cipher_specs_length) = u16("SERVER-HELLO.CIPHER-SPECS")(input)?;
    let (input, connection_id_length) = u16("SERVER-HELLO.CONNECTION-ID")(input)?;
    let (input, certificate) = take("SERVER-HELLO.CERTIFICATE", usize::from(certificate_length))(input)?;
    let (input, cipher_specs) = cipher_specs("SERVER-HELLO.CIPHER-SPECS", cipher_specs_length, input)?;
    let (input, connection_id) = take("SERVER-HELLO.CONNECTION-ID", usize::from(connection_id_length))(input)?;
    let (session_id_hit, certificate_type) = (*session_id_hit, *certificate_type);
    let hello = ServerHello { session_id_hit, certificate_type, version, certificate, cipher_specs, connection_id };
    Ok((input, Message::ServerHello(hello)))
}

/// Any other number would mean that it is another protocol.
fn version<'a>(place: &'static str, input: &'a [u8]) -> Parsed<'a, ProtocolVersion> {
    let (input, version) = u16(place)(input)?;
    match ProtocolVersion(version) {
        version if version == ProtocolVersion::SSL_2_0 || version.0 >> 8 == 3 => Ok((input, version)),
        _ => Err(Trouble::new(place, Fault::Illegal)),
    }
}

fn cipher_specs<'a>(place: &'static str, length: u16, input: &'a [u8]) -> Parsed<'a, Vec<CipherSpec>> {
    let (rest, specs) = take(place, usize::from(length))(input)?;
    let specs = list(specs, |input| {
        let (input, spec) = u24(place)(input)?;
        Ok((input, CipherSpec(spec)))
    })?;
    Ok((rest, specs))
}

fn put_cipher_specs(out: &mut Vec<u8>, place: &'static str, specs: &[CipherSpec]) -> Result<(), EmitError> {
    specs.iter().try_for_each(|spec| match spec.0.to_be_bytes() {
        [0, digits @ ..] => {
            out.extend_from_slice(&digits);
            Ok(())
        }
        _ => Err(EmitError { place }),
    })
}

fn put_length(out: &mut Vec<u8>, place: &'static str, length: usize) -> Result<(), EmitError> {
    let length = u16::try_from(length).map_err(|_| EmitError { place })?;
    out.extend_from_slice(&length.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mangle::mangle;
    use alloc::string::ToString;
    use alloc::vec;
    use proptest::prelude::*;

    fn in_a_record(message: &Message<'_>) -> Vec<u8> {
        let (mut data, mut bytes) = (Vec::new(), Vec::new());
        message.emit(&mut data).unwrap();
        Record { padding: None, data: &data }.emit(&mut bytes).unwrap();
        bytes
    }

    /// What parses is emitted byte for byte.
    fn read(bytes: &[u8]) {
        let Ok(Some((record, rest))) = Record::next(bytes) else { return };
        let mut out = Vec::new();
        record.emit(&mut out).unwrap();
        assert_eq!([&out[..], rest].concat(), bytes);
        if let Ok(message) = Message::parse(record.data) {
            let mut out = Vec::new();
            message.emit(&mut out).unwrap();
            assert_eq!(out, record.data);
        }
    }

    fn survives(message: Message<'_>) {
        let bytes = in_a_record(&message);
        let (record, rest) = Record::next(&bytes).unwrap().unwrap();
        assert_eq!((Message::parse(record.data), rest), (Ok(message), &[][..]));
        assert_eq!(Record::next(&bytes[..bytes.len() - 1]), Ok(None));
        mangle(&bytes, read);
        mangle(record.data, |data| drop(Message::parse(data)));
    }

    #[test]
    fn hellos_survive_and_nothing_done_to_them_panics() {
        let cipher_specs = vec![CipherSpec::SSL_CK_RC4_128_WITH_MD5, CipherSpec(0x00_002f)];
        survives(Message::ClientHello(ClientHello {
            version: ProtocolVersion::SSL_2_0,
            cipher_specs: cipher_specs.clone(),
            session_id: &[],
            challenge: &[7; 16],
        }));
        survives(Message::ServerHello(ServerHello {
            session_id_hit: 0,
            certificate_type: 1,
            version: ProtocolVersion::SSL_2_0,
            certificate: b"certificate",
            cipher_specs,
            connection_id: &[8; 16],
        }));
        survives(Message::Error(1));
    }

    #[test]
    fn a_hello_of_the_old_form_names_newer_suites() {
        let bytes = [0x80, 0x12, 1, 3, 1, 0, 6, 0, 0, 0, 3, 0x07, 0, 0xc0, 0, 0, 0x35, 1, 2, 3];
        let (record, _) = Record::next(&bytes).unwrap().unwrap();
        let Ok(Message::ClientHello(hello)) = Message::parse(record.data) else { panic!("no hello") };
        assert_eq!(hello.version, ProtocolVersion::TLS_1_0);
        let suites: Vec<_> = hello.cipher_specs.iter().map(|spec| spec.cipher_suite()).collect();
        assert_eq!(suites, [None, Some(CipherSuite::TLS_RSA_WITH_AES_256_CBC_SHA)]);
        assert_eq!(hello.cipher_specs[0].to_string(), "SSL_CK_DES_192_EDE3_CBC_WITH_MD5");
    }

    #[test]
    fn other_protocols_are_refused() {
        assert!(Message::parse(&[1, 2, 0, 0, 3, 0, 0, 0, 0, 1, 2, 3]).is_err()); // version 2.0 the wrong way round
        assert!(Message::parse(b"GET / HTTP/1.1").is_err());
        assert!(Message::parse(&[1, 0, 2, 0, 4, 0, 0, 0, 0, 1, 2, 3, 4]).is_err()); // a spec and a third
    }

    proptest! {
        #[test]
        fn what_parses_is_emitted_byte_for_byte(mut bytes in proptest::collection::vec(any::<u8>(), 3..80)) {
            read(&bytes);
            (bytes[0], bytes[1]) = (0x80, bytes.len() as u8 - 2);
            bytes[2] %= 5;
            read(&bytes);
        }
    }
}
