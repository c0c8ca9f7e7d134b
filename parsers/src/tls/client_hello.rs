//! ClientHello: what the client offers (RFC 8446 section 4.1.2).

use alloc::vec::Vec;

use super::extension::{Within, optional_extensions, put_extensions};
use super::wire::{array, complete, list_u16, numbers, opaque, put_vector8, put_vector16, u16, vector8, vector16};
use super::{CipherSuite, Extension, ProtocolVersion, ServerName};
use crate::{EmitError, ParseError};

/// The client's offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// TLS 1.2 in every TLS 1.3 hello; the offer is in supported_versions.
    pub legacy_version: ProtocolVersion,
    /// Fresh randomness.
    pub random: &'a [u8; 32],
    /// Up to 32 bytes that the server repeats.
    pub legacy_session_id: &'a [u8],
    /// Suites in order of preference.
    pub cipher_suites: Vec<CipherSuite>,
    /// A single 0 in TLS 1.3.
    pub legacy_compression_methods: &'a [u8],
    /// Extensions in the order they came; a hello of TLS 1.2 may have none.
    pub extensions: Option<Vec<Extension<'a>>>,
}

impl<'a> ClientHello<'a> {
    /// The host name that the client asks for.
    pub fn host_name(&self) -> Option<&'a [u8]> {
        let names = self.extensions.iter().flatten().find_map(|extension| match extension {
            Extension::ServerName(names) => Some(names),
            _ => None,
        })?;
        names.iter().find(|name| name.name_type == ServerName::HOST_NAME).map(|name| name.name)
    }

    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        complete("ClientHello", body, |input| {
            let (input, legacy_version) = u16("ClientHello.legacy_version")(input)?;
            let (input, random) = array("ClientHello.random")(input)?;
            let (input, legacy_session_id) = vector8("ClientHello.legacy_session_id", 0..=32)(input)?;
            let (input, cipher_suites) = vector16("ClientHello.cipher_suites", 2..=0xfffe)(input)?;
            let cipher_suites = list_u16("ClientHello.cipher_suites", cipher_suites, CipherSuite)?;
            let (input, legacy_compression_methods) =
                vector8("ClientHello.legacy_compression_methods", 1..=255)(input)?;
            let (input, extensions) = optional_extensions("ClientHello.extensions", Within::ClientHello)(input)?;
            let legacy_version = ProtocolVersion(legacy_version);
            let hello = Self {
                legacy_version,
                random,
                legacy_session_id,
                cipher_suites,
                legacy_compression_methods,
                extensions,
            };
            Ok((input, hello))
        })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) -> Result<(), EmitError> {
        out.extend_from_slice(&self.legacy_version.0.to_be_bytes());
        out.extend_from_slice(self.random);
        put_vector8(out, "ClientHello.legacy_session_id", opaque(self.legacy_session_id))?;
        let cipher_suites = self.cipher_suites.iter().map(|suite| suite.0);
        put_vector16(out, "ClientHello.cipher_suites", numbers(cipher_suites))?;
        put_vector8(out, "ClientHello.legacy_compression_methods", opaque(self.legacy_compression_methods))?;
        match &self.extensions {
            Some(extensions) => put_extensions(out, "ClientHello.extensions", extensions),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::handshake::checks::survives;
    use crate::tls::{ExtensionType, Handshake, Message};
    use crate::{Fault, tls::NamedGroup};
    use alloc::vec;
    use proptest::prelude::*;

    fn hello<'a>(random: &'a [u8; 32], extensions: Option<Vec<Extension<'a>>>) -> ClientHello<'a> {
        ClientHello {
            legacy_version: ProtocolVersion::TLS_1_2,
            random,
            legacy_session_id: &[],
            cipher_suites: vec![CipherSuite::TLS_AES_128_GCM_SHA256],
            legacy_compression_methods: &[0],
            extensions,
        }
    }

    fn emitted(hello: ClientHello<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        Message::ClientHello(hello).emit(&mut bytes).unwrap();
        bytes
    }

    fn fault(bytes: &[u8]) -> (&'static str, Fault) {
        let error = Handshake::parse(bytes).unwrap_err();
        (error.place, error.fault)
    }

    #[test]
    fn the_host_name_is_found() {
        let name = ServerName { name_type: ServerName::HOST_NAME, name: b"server.example" };
        let hello = hello(&[7; 32], Some(vec![Extension::ServerName(vec![name])]));
        assert_eq!(hello.host_name(), Some(&b"server.example"[..]));
        survives(Message::ClientHello(hello));
    }

    #[test]
    fn no_extensions_and_none_in_the_block_are_told_apart() {
        survives(Message::ClientHello(hello(&[7; 32], None)));
        survives(Message::ClientHello(hello(&[7; 32], Some(vec![]))));
        assert_eq!(emitted(hello(&[7; 32], None)).len() + 2, emitted(hello(&[7; 32], Some(vec![]))).len());
    }

    #[test]
    fn an_extension_twice_is_refused() {
        let group = || Extension::SupportedGroups(vec![NamedGroup::X25519]);
        let bytes = emitted(hello(&[7; 32], Some(vec![group(), group()])));
        assert_eq!(fault(&bytes), ("ClientHello.extensions", Fault::Duplicate));
    }

    #[test]
    fn lists_that_must_not_be_empty_are_not() {
        let no_suites = ClientHello { cipher_suites: vec![], ..hello(&[7; 32], None) };
        assert_eq!(fault(&emitted(no_suites)), ("ClientHello.cipher_suites", Fault::TooShort));
        let no_compression = ClientHello { legacy_compression_methods: &[], ..hello(&[7; 32], None) };
        assert_eq!(fault(&emitted(no_compression)), ("ClientHello.legacy_compression_methods", Fault::TooShort));
        let long_session_id = ClientHello { legacy_session_id: &[0; 33], ..hello(&[7; 32], None) };
        assert_eq!(fault(&emitted(long_session_id)), ("ClientHello.legacy_session_id", Fault::TooLong));
    }

    proptest! {
        #[test]
        fn any_client_hello_survives(
            random: [u8; 32],
            session_id in proptest::collection::vec(any::<u8>(), 0..=32),
            suites in proptest::collection::vec(any::<u16>().prop_map(CipherSuite), 1..20),
            compression in proptest::collection::vec(any::<u8>(), 1..4),
            data in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let unknown = Extension::Other { extension_type: ExtensionType(0x0a0a), data: &data };
            survives(Message::ClientHello(ClientHello {
                legacy_session_id: &session_id,
                cipher_suites: suites,
                legacy_compression_methods: &compression,
                ..hello(&random, Some(vec![unknown]))
            }));
        }
    }
}
