//! ServerHello: what the server chose; and HelloRetryRequest, which is one with a special random (RFC 8446 section
//! 4.1.3 and 4.1.4).

use alloc::vec::Vec;

use super::extension::{Within, optional_extensions, put_extensions};
use super::wire::{array, complete, opaque, put_vector8, u8, u16, vector8};
use super::{CipherSuite, Extension, NamedGroup, ProtocolVersion};
use crate::{EmitError, ParseError};

/// The server's choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello<'a> {
    /// TLS 1.2 in every TLS 1.3 hello; see [`ServerHello::version`].
    pub legacy_version: ProtocolVersion,
    /// Fresh randomness, or [`ServerHello::HELLO_RETRY_REQUEST`].
    pub random: &'a [u8; 32],
    /// The client's legacy_session_id again.
    pub legacy_session_id_echo: &'a [u8],
    /// The suite chosen.
    pub cipher_suite: CipherSuite,
    /// 0 in TLS 1.3.
    pub legacy_compression_method: u8,
    /// Extensions in the order they came; a hello of TLS 1.2 may have none.
    pub extensions: Option<Vec<Extension<'a>>>,
}

impl<'a> ServerHello<'a> {
    /// The random of a HelloRetryRequest: SHA-256 of its name.
    pub const HELLO_RETRY_REQUEST: [u8; 32] = [
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2,
        0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
    ];

    /// True if the server asks for another ClientHello.
    pub fn is_hello_retry_request(&self) -> bool {
        *self.random == Self::HELLO_RETRY_REQUEST
    }

    /// The version that the server chose.
    pub fn version(&self) -> ProtocolVersion {
        let selected = self.extensions.iter().flatten().find_map(|extension| match extension {
            Extension::SelectedVersion(version) => Some(*version),
            _ => None,
        });
        selected.unwrap_or(self.legacy_version)
    }

    /// The group of the server's public value, or the one it asks for.
    pub fn group(&self) -> Option<NamedGroup> {
        self.extensions.iter().flatten().find_map(|extension| match extension {
            Extension::KeyShareAnswer(entry) => Some(entry.group),
            Extension::KeyShareRequest(group) => Some(*group),
            _ => None,
        })
    }

    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        complete("ServerHello", body, |input| {
            let (input, legacy_version) = u16("ServerHello.legacy_version")(input)?;
            let (input, random) = array("ServerHello.random")(input)?;
            let (input, legacy_session_id_echo) = vector8("ServerHello.legacy_session_id_echo", 0..=32)(input)?;
            let (input, cipher_suite) = u16("ServerHello.cipher_suite")(input)?;
            let (input, legacy_compression_method) = u8("ServerHello.legacy_compression_method")(input)?;
            let within =
                if *random == Self::HELLO_RETRY_REQUEST { Within::HelloRetryRequest } else { Within::ServerHello };
            let (input, extensions) = optional_extensions("ServerHello.extensions", within)(input)?;
            let hello = Self {
                legacy_version: ProtocolVersion(legacy_version),
                random,
                legacy_session_id_echo,
                cipher_suite: CipherSuite(cipher_suite),
                legacy_compression_method,
                extensions,
            };
            Ok((input, hello))
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.extend_from_slice(&self.legacy_version.0.to_be_bytes());
        out.extend_from_slice(self.random);
        put_vector8(out, "ServerHello.legacy_session_id_echo", opaque(self.legacy_session_id_echo))?;
        out.extend_from_slice(&self.cipher_suite.0.to_be_bytes());
        out.push(self.legacy_compression_method);
        match &self.extensions {
            Some(extensions) => put_extensions(out, "ServerHello.extensions", extensions),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::handshake::checks::survives;
    use crate::tls::{Handshake, KeyShareEntry, Message};
    use alloc::vec;
    use proptest::prelude::*;

    fn hello(random: &[u8; 32]) -> ServerHello<'_> {
        ServerHello {
            legacy_version: ProtocolVersion::TLS_1_2,
            random,
            legacy_session_id_echo: &[5; 32],
            cipher_suite: CipherSuite::TLS_AES_128_GCM_SHA256,
            legacy_compression_method: 0,
            extensions: Some(vec![Extension::SelectedVersion(ProtocolVersion::TLS_1_3)]),
        }
    }

    #[test]
    fn a_retry_request_is_told_by_its_random() {
        assert!(!hello(&[7; 32]).is_hello_retry_request());
        let extensions = Some(vec![Extension::KeyShareRequest(NamedGroup::SECP521R1), Extension::Cookie(b"c")]);
        let retry = ServerHello { extensions, ..hello(&ServerHello::HELLO_RETRY_REQUEST) };
        assert!(retry.is_hello_retry_request());
        assert_eq!(retry.group(), Some(NamedGroup::SECP521R1));

        let mut bytes = Vec::new();
        let message = Message::ServerHello(retry);
        message.emit(&mut bytes).unwrap();
        // key_share of two bytes: no public value.
        assert_eq!(Handshake::parse(&bytes).unwrap().message, message);
    }

    #[test]
    fn the_version_is_in_the_extension() {
        assert_eq!(hello(&[7; 32]).version(), ProtocolVersion::TLS_1_3);
        assert_eq!(ServerHello { extensions: None, ..hello(&[7; 32]) }.version(), ProtocolVersion::TLS_1_2);
    }

    proptest! {
        #[test]
        fn any_server_hello_survives(
            random: [u8; 32],
            session_id in proptest::collection::vec(any::<u8>(), 0..=32),
            suite: u16,
            key_exchange in proptest::collection::vec(any::<u8>(), 1..=40),
        ) {
            let entry = KeyShareEntry { group: NamedGroup::X25519, key_exchange: &key_exchange };
            let mut message = hello(&random);
            message.legacy_session_id_echo = &session_id;
            message.cipher_suite = CipherSuite(suite);
            message.extensions.as_mut().unwrap().push(Extension::KeyShareAnswer(entry));
            prop_assert_eq!(message.group(), Some(NamedGroup::X25519));
            survives(Message::ServerHello(message));
        }

        #[test]
        fn any_hello_retry_request_survives(
            group: u16,
            cookie in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..=40)),
        ) {
            let mut message = hello(&ServerHello::HELLO_RETRY_REQUEST);
            let extensions = message.extensions.as_mut().unwrap();
            extensions.push(Extension::KeyShareRequest(NamedGroup(group)));
            extensions.extend(cookie.as_deref().map(Extension::Cookie));
            survives(Message::ServerHello(message));
        }
    }
}
