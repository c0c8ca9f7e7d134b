use alloc::{vec, vec::Vec};

use proptest::{collection, prelude::*};

use super::*;
use crate::mangle::mangle;
use crate::tls::wire::complete;
use crate::{Fault, ParseError};

fn block(extensions: &[Extension<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    put_extensions(&mut out, "extensions", extensions).unwrap();
    out
}

fn parse(within: Within, bytes: &[u8]) -> Result<Vec<Extension<'_>>, ParseError> {
    complete("extensions", bytes, extensions("extensions", within))
}

/// The extension keeps its form in that message, and nothing done to its bytes panics.
fn survives(within: Within, extension: Extension<'_>) {
    let bytes = block(core::slice::from_ref(&extension));
    assert_eq!(parse(within, &bytes), Ok(vec![extension]));
    mangle(&bytes, |mangled| match parse(within, mangled) {
        Ok(parsed) => assert_eq!(block(&parsed), mangled),
        Err(error) => assert!(mangled.len() == bytes.len() || error.fault == Fault::Truncated),
    });
}

/// The fault of a ClientHello's extension with that data.
fn fault(extension_type: ExtensionType, data: &[u8]) -> (&'static str, Fault) {
    let bytes = block(&[Extension::Other { extension_type, data }]);
    let error = parse(Within::ClientHello, &bytes).unwrap_err();
    (error.place, error.fault)
}

#[test]
fn the_same_type_has_another_form_in_another_message() {
    let version = block(&[Extension::SelectedVersion(ProtocolVersion::TLS_1_3)]);
    let selected = vec![Extension::SelectedVersion(ProtocolVersion::TLS_1_3)];
    assert_eq!(parse(Within::ServerHello, &version), Ok(selected));
    assert!(parse(Within::ClientHello, &version).is_err());
    let raw = Extension::Other { extension_type: ExtensionType::SUPPORTED_VERSIONS, data: &[3, 4] };
    assert_eq!(parse(Within::Certificate, &version), Ok(vec![raw]));
}

#[test]
fn bytes_after_the_data_are_refused() {
    assert_eq!(fault(ExtensionType::SUPPORTED_VERSIONS, &[2, 3, 4, 9]), ("supported_versions", Fault::Leftover));
    assert_eq!(fault(ExtensionType::SERVER_NAME, &[0, 4, 0, 0, 1, b'a', 9]), ("server_name", Fault::Leftover));
    let bytes = block(&[Extension::Other { extension_type: ExtensionType::SERVER_NAME, data: &[0] }]);
    assert!(parse(Within::EncryptedExtensions, &bytes).is_err());
}

#[test]
fn what_must_not_appear_twice_is_refused() {
    let name = |name: &'static [u8]| ServerName { name_type: ServerName::HOST_NAME, name };
    let bytes = block(&[Extension::ServerName(vec![name(b"a"), name(b"b")])]);
    let refused = ParseError { place: "server_name", fault: Fault::Duplicate };
    assert_eq!(parse(Within::ClientHello, &bytes), Err(refused));

    let share = KeyShareEntry { group: NamedGroup::X25519, key_exchange: &[1] };
    let bytes = block(&[Extension::KeyShareOffer(vec![share, share])]);
    let refused = ParseError { place: "key_share", fault: Fault::Duplicate };
    assert_eq!(parse(Within::ClientHello, &bytes), Err(refused));
}

#[test]
fn empty_and_odd_lists_are_refused() {
    assert_eq!(fault(ExtensionType::SUPPORTED_GROUPS, &[0, 0]), ("supported_groups", Fault::TooShort));
    assert_eq!(fault(ExtensionType::SUPPORTED_GROUPS, &[0, 3, 0, 29, 0]), ("supported_groups", Fault::Truncated));
    assert_eq!(fault(ExtensionType::COOKIE, &[0, 0]), ("cookie", Fault::TooShort));
    assert_eq!(fault(ExtensionType::PSK_KEY_EXCHANGE_MODES, &[0]), ("psk_key_exchange_modes", Fault::TooShort));
    let place = "application_layer_protocol_negotiation";
    let alpn = ExtensionType::APPLICATION_LAYER_PROTOCOL_NEGOTIATION;
    assert_eq!(fault(alpn, &[0, 3, 0, 1, b'a']), (place, Fault::TooShort));
}

#[test]
fn a_client_may_offer_no_public_value() {
    survives(Within::ClientHello, Extension::KeyShareOffer(vec![]));
}

#[test]
fn flags_of_tls_1_2_have_no_content() {
    for within in [Within::ClientHello, Within::ServerHello] {
        survives(within, Extension::ExtendedMasterSecret);
        let bytes = block(&[Extension::Other { extension_type: ExtensionType::EXTENDED_MASTER_SECRET, data: &[0] }]);
        let refused = ParseError { place: "extended_master_secret", fault: Fault::Leftover };
        assert_eq!(parse(within, &bytes), Err(refused));
    }
    survives(Within::ServerHello, Extension::StatusRequestAcknowledged);
    survives(Within::ServerHello, Extension::ServerNameAcknowledged);
    let bytes = block(&[Extension::Other { extension_type: ExtensionType::STATUS_REQUEST, data: &[0] }]);
    assert!(parse(Within::ServerHello, &bytes).is_err());
}

#[test]
fn malformed_extensions_of_tls_1_2_are_refused() {
    assert_eq!(fault(ExtensionType::EC_POINT_FORMATS, &[0]), ("ec_point_formats", Fault::TooShort));
    assert_eq!(fault(ExtensionType::EC_POINT_FORMATS, &[1, 0, 0]), ("ec_point_formats", Fault::Leftover));
    assert_eq!(fault(ExtensionType::RENEGOTIATION_INFO, &[]), ("renegotiation_info", Fault::Truncated));
    assert_eq!(fault(ExtensionType::RENEGOTIATION_INFO, &[0, 0]), ("renegotiation_info", Fault::Leftover));
    assert_eq!(
        fault(ExtensionType::STATUS_REQUEST, &[1, 0, 0, 0]),
        ("status_request.request_extensions", Fault::Truncated)
    );
    assert_eq!(fault(ExtensionType::STATUS_REQUEST, &[1, 0, 0, 0, 0, 0]), ("status_request", Fault::Leftover));
    // A form that nobody defined is kept as it is.
    survives(Within::ClientHello, Extension::Other { extension_type: ExtensionType::STATUS_REQUEST, data: &[2, 0, 0] });
}

fn any_bytes(least: usize) -> impl Strategy<Value = Vec<u8>> {
    collection::vec(any::<u8>(), least..24)
}

proptest! {
    #[test]
    fn any_server_name_survives(name in any_bytes(1)) {
        let name = ServerName { name_type: ServerName::HOST_NAME, name: &name };
        survives(Within::ClientHello, Extension::ServerName(vec![name]));
        survives(Within::EncryptedExtensions, Extension::ServerNameAcknowledged);
    }

    #[test]
    fn any_list_of_numbers_survives(numbers in collection::vec(any::<u16>(), 1..20)) {
        let groups: Vec<_> = numbers.iter().copied().map(NamedGroup).collect();
        let schemes: Vec<_> = numbers.iter().copied().map(SignatureScheme).collect();
        let versions: Vec<_> = numbers.iter().copied().map(ProtocolVersion).collect();
        survives(Within::ClientHello, Extension::SupportedGroups(groups));
        survives(Within::ClientHello, Extension::SignatureAlgorithms(schemes.clone()));
        survives(Within::CertificateRequest, Extension::SignatureAlgorithmsCert(schemes));
        survives(Within::ClientHello, Extension::SupportedVersions(versions));
    }

    #[test]
    fn any_protocol_names_survive(names in collection::vec(any_bytes(1), 1..5)) {
        let names: Vec<_> = names.iter().map(Vec::as_slice).collect();
        survives(Within::ClientHello, Extension::ApplicationLayerProtocolNegotiation(names));
    }

    #[test]
    fn any_key_share_survives(group: u16, key_exchange in any_bytes(1)) {
        let entry = KeyShareEntry { group: NamedGroup(group), key_exchange: &key_exchange };
        survives(Within::ClientHello, Extension::KeyShareOffer(vec![entry]));
        survives(Within::ServerHello, Extension::KeyShareAnswer(entry));
        survives(Within::HelloRetryRequest, Extension::KeyShareRequest(NamedGroup(group)));
    }

    #[test]
    fn any_cookie_and_modes_survive(bytes in any_bytes(1)) {
        survives(Within::HelloRetryRequest, Extension::Cookie(&bytes));
        let modes = bytes.iter().copied().map(PskKeyExchangeMode).collect();
        survives(Within::ClientHello, Extension::PskKeyExchangeModes(modes));
    }

    #[test]
    fn any_extension_of_tls_1_2_survives(one in any_bytes(0), two in any_bytes(1)) {
        let request = StatusRequest { responder_id_list: &one, request_extensions: &two };
        survives(Within::ClientHello, Extension::StatusRequest(request));
        for within in [Within::ClientHello, Within::ServerHello] {
            survives(within, Extension::RenegotiationInfo(&one));
            survives(within, Extension::SessionTicket(&one));
            survives(within, Extension::EcPointFormats(two.iter().copied().map(EcPointFormat).collect()));
        }
        survives(Within::ServerHello, Extension::ApplicationLayerProtocolNegotiation(vec![&two]));
    }

    #[test]
    fn any_unknown_extension_survives(number in 0x1000_u16..0xff00, data in any_bytes(0)) {
        let unknown = Extension::Other { extension_type: ExtensionType(number), data: &data };
        survives(Within::ClientHello, unknown.clone());
        survives(Within::NewSessionTicket, unknown);
    }
}
