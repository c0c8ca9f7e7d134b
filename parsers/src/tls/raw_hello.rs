//! A ClientHello that is not taken apart: for a reader that wants a few answers from it and nothing else, quickly.

use alloc::vec::Vec;

use super::extension::{self, Within, all_differ};
use super::wire::{Trouble, array, complete, u16, vector8, vector16};
use super::{CipherSuite, ExtensionType, Handshake, HandshakeType, NamedGroup, ProtocolVersion, SignatureScheme};
use crate::{Fault, ParseError};

/// The client's offer, its lists as they came. What [`ClientHello`](super::ClientHello) refuses is refused here, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawClientHello<'a> {
    /// TLS 1.2 in every TLS 1.3 hello; the offer is in supported_versions.
    pub legacy_version: ProtocolVersion,
    /// Fresh randomness.
    pub random: &'a [u8; 32],
    /// Up to 32 bytes that the server repeats.
    pub legacy_session_id: &'a [u8],
    /// Suites in order of preference, two bytes each.
    pub cipher_suites: &'a [u8],
    /// A single 0 in TLS 1.3.
    pub legacy_compression_methods: &'a [u8],
    extensions: &'a [u8],
}

impl<'a> RawClientHello<'a> {
    /// Reads the first message of a transcript and gives what follows it; `None` if it is incomplete, or no ClientHello.
    pub fn next(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, ParseError> {
        let Some(header @ [msg_type, _, _, _]) = bytes.first_chunk() else {
            return Ok(None);
        };
        let Some((message, rest)) = bytes.split_at_checked(Handshake::message_length(header)?) else {
            return Ok(None);
        };
        if *msg_type != HandshakeType::CLIENT_HELLO.0 {
            return Ok(None);
        }
        Ok(Some((Self::parse(message.get(Handshake::HEADER_LENGTH..).unwrap_or_default())?, rest)))
    }

    fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let hello = complete("ClientHello", body, |input| {
            let (input, legacy_version) = u16("ClientHello.legacy_version")(input)?;
            let (input, random) = array("ClientHello.random")(input)?;
            let (input, legacy_session_id) = vector8("ClientHello.legacy_session_id", 0..=32)(input)?;
            let (input, cipher_suites) = vector16("ClientHello.cipher_suites", 2..=0xfffe)(input)?;
            if !cipher_suites.len().is_multiple_of(2) {
                return Err(Trouble::new("ClientHello.cipher_suites", Fault::Truncated));
            }
            let (input, legacy_compression_methods) =
                vector8("ClientHello.legacy_compression_methods", 1..=255)(input)?;
            let (input, extensions) = match input {
                [] => (input, input),
                _ => vector16("ClientHello.extensions", 0..=0xffff)(input)?,
            };
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
        })?;
        hello.check_extensions()?;
        Ok(hello)
    }

    /// They fill their block, each has its form, and none is there twice.
    fn check_extensions(&self) -> Result<(), ParseError> {
        let (mut types, mut rest) = (Vec::with_capacity(USUAL_EXTENSIONS), self.extensions);
        while !rest.is_empty() {
            let truncated = ParseError { place: "Extension.extension_data", fault: Fault::Truncated };
            let (extension_type, data, after) = first_extension(rest).ok_or(truncated)?;
            if !has_its_form(extension_type, data) {
                // Says what is wrong.
                extension::check(Within::ClientHello, extension_type, data)?;
            }
            types.push(extension_type);
            rest = after;
        }
        let differ = all_differ(types.iter().copied());
        if differ { Ok(()) } else { Err(ParseError { place: "ClientHello.extensions", fault: Fault::Duplicate }) }
    }

    /// The extensions with their data, in the order they came.
    pub fn extensions(&self) -> impl Iterator<Item = (ExtensionType, &'a [u8])> {
        items(self.extensions, first_extension)
    }

    /// The data of one extension.
    pub fn extension(&self, wanted: ExtensionType) -> Option<&'a [u8]> {
        self.extensions().find(|(extension_type, _)| *extension_type == wanted).map(|(_, data)| data)
    }

    /// Whether the suite is offered.
    pub fn offers_suite(&self, suite: CipherSuite) -> bool {
        contains(self.cipher_suites, suite.0)
    }

    /// Whether supported_versions has the version; `None` without that extension.
    pub fn offers_version(&self, version: ProtocolVersion) -> Option<bool> {
        let data = self.extension(ExtensionType::SUPPORTED_VERSIONS)?;
        Some(
            matches!(data.split_first(), Some((length, list)) if usize::from(*length) == list.len() && contains(list, version.0)),
        )
    }

    /// Whether supported_groups has the group.
    pub fn offers_group(&self, group: NamedGroup) -> bool {
        self.lists(ExtensionType::SUPPORTED_GROUPS, group.0)
    }

    /// Whether signature_algorithms has the scheme.
    pub fn offers_scheme(&self, scheme: SignatureScheme) -> bool {
        self.lists(ExtensionType::SIGNATURE_ALGORITHMS, scheme.0)
    }

    /// Whether key_share has a share of the group.
    pub fn shares_group(&self, group: NamedGroup) -> bool {
        let entries = self.extension(ExtensionType::KEY_SHARE).and_then(list16).unwrap_or_default();
        items(entries, first_extension).any(|(ExtensionType(shared), _)| shared == group.0)
    }

    fn lists(&self, wanted: ExtensionType, number: u16) -> bool {
        self.extension(wanted).and_then(list16).is_some_and(|list| contains(list, number))
    }
}

/// So many extensions find room at once.
const USUAL_EXTENSIONS: usize = 16;
/// So many shares are compared with each other.
const MOST_SHARES: usize = 8;

fn first_extension(bytes: &[u8]) -> Option<(ExtensionType, &[u8], &[u8])> {
    let ([t0, t1, l0, l1], rest) = bytes.split_first_chunk()?;
    let (data, rest) = rest.split_at_checked(u16::from_be_bytes([*l0, *l1]).into())?;
    Some((ExtensionType(u16::from_be_bytes([*t0, *t1])), data, rest))
}

/// What a length of two bytes announces, if that is all.
fn list16(data: &[u8]) -> Option<&[u8]> {
    let (length, list) = data.split_first_chunk()?;
    (usize::from(u16::from_be_bytes(*length)) == list.len()).then_some(list)
}

fn list8(data: &[u8]) -> Option<&[u8]> {
    let (length, list) = data.split_first()?;
    (usize::from(*length) == list.len()).then_some(list)
}

fn items<'a, T: 'a, U: 'a>(
    mut rest: &'a [u8],
    first: impl Fn(&'a [u8]) -> Option<(T, U, &'a [u8])>,
) -> impl Iterator<Item = (T, U)> {
    core::iter::from_fn(move || {
        let (one, other, after) = first(rest)?;
        rest = after;
        Some((one, other))
    })
}

/// Whether the data of an extension has the form that it must have in a ClientHello. It may say no too often: then the
/// parser of that extension decides.
fn has_its_form(extension_type: ExtensionType, data: &[u8]) -> bool {
    use ExtensionType as Type;
    let is_pairs = |list: &[u8]| !list.is_empty() && list.len().is_multiple_of(2);
    match extension_type {
        Type::SUPPORTED_GROUPS | Type::SIGNATURE_ALGORITHMS | Type::SIGNATURE_ALGORITHMS_CERT => {
            list16(data).is_some_and(is_pairs)
        }
        Type::SUPPORTED_VERSIONS => list8(data).is_some_and(is_pairs),
        Type::PSK_KEY_EXCHANGE_MODES | Type::EC_POINT_FORMATS => list8(data).is_some_and(|list| !list.is_empty()),
        Type::RENEGOTIATION_INFO => list8(data).is_some(),
        Type::EXTENDED_MASTER_SECRET => data.is_empty(),
        Type::COOKIE => list16(data).is_some_and(|cookie| !cookie.is_empty()),
        // One host name, one protocol: the usual.
        Type::SERVER_NAME => list16(data)
            .and_then(<[u8]>::split_first)
            .and_then(|(_, name)| list16(name))
            .is_some_and(|name| !name.is_empty()),
        Type::KEY_SHARE => list16(data).is_some_and(has_different_shares),
        Type::APPLICATION_LAYER_PROTOCOL_NEGOTIATION | Type::STATUS_REQUEST => false,
        _ => true,
    }
}

fn has_different_shares(entries: &[u8]) -> bool {
    let length: usize = items(entries, first_extension).map(|(_, share)| share.len().saturating_add(4)).sum();
    let is_last = |at: usize, group| items(entries, first_extension).skip(at).all(|(other, _)| other != group);
    length == entries.len()
        && items(entries, first_extension)
            .take(MOST_SHARES + 1)
            .enumerate()
            .all(|(at, (group, share))| at < MOST_SHARES && !share.is_empty() && is_last(at.saturating_add(1), group))
}

fn contains(numbers: &[u8], wanted: u16) -> bool {
    let (numbers, odd) = numbers.as_chunks();
    odd.is_empty() && numbers.contains(&wanted.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mangle::mangle;
    use crate::tls::{
        ClientHello, EcPointFormat, Extension, KeyShareEntry, Message, PskKeyExchangeMode, ServerName, StatusRequest,
    };
    use alloc::vec;

    fn hello(extensions: Option<Vec<Extension<'_>>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let hello = ClientHello {
            legacy_version: ProtocolVersion::TLS_1_2,
            random: &[7; 32],
            legacy_session_id: &[5; 32],
            cipher_suites: vec![CipherSuite::TLS_AES_128_GCM_SHA256, CipherSuite::TLS_CHACHA20_POLY1305_SHA256],
            legacy_compression_methods: &[0],
            extensions,
        };
        Message::ClientHello(hello).emit(&mut bytes).unwrap();
        bytes
    }

    fn full() -> Vec<u8> {
        hello(Some(vec![
            Extension::SupportedVersions(vec![ProtocolVersion::TLS_1_3]),
            Extension::SupportedGroups(vec![NamedGroup::X25519, NamedGroup::SECP256R1]),
            Extension::SignatureAlgorithms(vec![SignatureScheme::ED25519]),
            Extension::ServerName(vec![ServerName { name_type: 0, name: b"a.example" }]),
            Extension::ApplicationLayerProtocolNegotiation(vec![b"h2", b"coap"]),
            Extension::PskKeyExchangeModes(vec![PskKeyExchangeMode(1)]),
            Extension::EcPointFormats(vec![EcPointFormat(0)]),
            Extension::StatusRequest(StatusRequest { responder_id_list: &[], request_extensions: &[1] }),
            Extension::RenegotiationInfo(&[]),
            Extension::ExtendedMasterSecret,
            Extension::Cookie(b"c"),
            Extension::SessionTicket(&[]),
            Extension::KeyShareOffer(vec![
                KeyShareEntry { group: NamedGroup(0x0a0a), key_exchange: &[0] },
                KeyShareEntry { group: NamedGroup::X25519, key_exchange: &[9; 32] },
            ]),
        ]))
    }

    fn raw(bytes: &[u8]) -> RawClientHello<'_> {
        RawClientHello::next(bytes).unwrap().unwrap().0
    }

    #[test]
    fn it_answers_as_the_whole_hello_would() {
        let bytes = [full(), vec![1, 2, 3]].concat();
        let (hello, rest) = RawClientHello::next(&bytes).unwrap().unwrap();
        assert_eq!((hello.random, hello.legacy_session_id, rest), (&[7; 32], &[5; 32][..], &[1, 2, 3][..]));
        assert!(hello.offers_suite(CipherSuite::TLS_AES_128_GCM_SHA256));
        assert!(!hello.offers_suite(CipherSuite::TLS_AES_256_GCM_SHA384));
        assert_eq!(hello.offers_version(ProtocolVersion::TLS_1_3), Some(true));
        assert_eq!(hello.offers_version(ProtocolVersion::TLS_1_2), Some(false));
        assert!(hello.offers_group(NamedGroup::SECP256R1) && !hello.shares_group(NamedGroup::SECP256R1));
        assert!(hello.shares_group(NamedGroup::X25519) && !hello.offers_group(NamedGroup(0x0a0a)));
        assert!(hello.offers_scheme(SignatureScheme::ED25519));
        assert!(!hello.offers_scheme(SignatureScheme::ECDSA_SECP256R1_SHA256));
        assert_eq!(hello.extensions().count(), 13);
    }

    #[test]
    fn without_extensions_nothing_is_offered_in_them() {
        let bytes = hello(None);
        assert_eq!(raw(&bytes).offers_version(ProtocolVersion::TLS_1_2), None);
        assert!(!raw(&bytes).offers_group(NamedGroup::X25519));
    }

    #[test]
    fn another_message_or_half_of_one_is_none() {
        let mut bytes = full();
        assert_eq!(RawClientHello::next(&bytes[..bytes.len() - 1]), Ok(None));
        assert_eq!(RawClientHello::next(&bytes[..3]), Ok(None));
        bytes[0] = HandshakeType::SERVER_HELLO.0;
        assert_eq!(RawClientHello::next(&bytes), Ok(None));
    }

    /// Both give the same answer, and the same hello.
    fn agree(bytes: &[u8]) {
        let (raw, whole) = (RawClientHello::next(bytes), Handshake::next(bytes));
        let (hello, whole) = match (raw, whole) {
            (Ok(Some((hello, _))), Ok(Some((Handshake { message: Message::ClientHello(whole), .. }, _)))) => {
                (hello, whole)
            }
            (Ok(None), Ok(None)) => return,
            (Ok(None), _) if bytes[0] != HandshakeType::CLIENT_HELLO.0 => return,
            (Err(error), Err(other)) => return assert_eq!(error, other, "{bytes:x?}"),
            (raw, whole) => panic!("{raw:?} but {whole:?} of {bytes:x?}"),
        };
        assert_eq!((hello.random, hello.legacy_session_id), (whole.random, whole.legacy_session_id));
        assert!(whole.cipher_suites.iter().all(|suite| hello.offers_suite(*suite)));
        let types: Vec<_> = whole.extensions.iter().flatten().map(Extension::extension_type).collect();
        assert_eq!(hello.extensions().map(|(extension_type, _)| extension_type).collect::<Vec<_>>(), types);
        for extension in whole.extensions.iter().flatten() {
            match extension {
                Extension::SupportedGroups(groups) => assert!(groups.iter().all(|group| hello.offers_group(*group))),
                Extension::KeyShareOffer(shares) => assert!(shares.iter().all(|share| hello.shares_group(share.group))),
                Extension::SignatureAlgorithms(schemes) => {
                    assert!(schemes.iter().all(|scheme| hello.offers_scheme(*scheme)));
                }
                Extension::SupportedVersions(versions) => {
                    assert!(versions.iter().all(|version| hello.offers_version(*version) == Some(true)));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn whatever_it_is_given_it_says_what_the_whole_hello_says() {
        mangle(&full(), agree);
        mangle(&hello(None), agree);
        let share = |group| KeyShareEntry { group: NamedGroup(group), key_exchange: b"k" };
        for count in 0..20 {
            agree(&hello(Some(vec![Extension::KeyShareOffer((0..count).map(share).collect())])));
            let twice = (0..count).chain([0]).map(share).collect();
            agree(&hello(Some(vec![Extension::KeyShareOffer(twice)])));
        }
        let name = |name_type| ServerName { name_type, name: b"a" };
        for names in [vec![name(0), name(1)], vec![name(0), name(0)], vec![]] {
            agree(&hello(Some(vec![Extension::ServerName(names)])));
        }
        for (extension_type, data) in
            [(43, &[3, 3, 4, 3][..]), (10, &[0, 0]), (51, &[0, 5, 0, 29, 0, 0, 7]), (0, &[0, 0])]
        {
            let extension_type = ExtensionType(extension_type);
            agree(&hello(Some(vec![Extension::Other { extension_type, data }])));
        }
    }
}
