//! Extensions (RFC 8446 section 4.2): a block of (type, length, data), whose meaning depends on the message it is in.

use alloc::vec::Vec;

use nom::Parser;

use super::wire::{
    Parsed, Trouble, all, complete, list, list_u16, numbers, opaque, put_vector8, put_vector16, u8, u16, vector8,
    vector16,
};
use super::{NamedGroup, ProtocolVersion, SignatureScheme};
use crate::registry::registry;
use crate::{EmitError, Fault, ParseError};

registry! {
    /// Which extension it is.
    pub struct ExtensionType(u16), unknown "extension {:#06x}" {
        SERVER_NAME = 0, "server_name";
        MAX_FRAGMENT_LENGTH = 1, "max_fragment_length";
        STATUS_REQUEST = 5, "status_request";
        SUPPORTED_GROUPS = 10, "supported_groups";
        EC_POINT_FORMATS = 11, "ec_point_formats";
        SIGNATURE_ALGORITHMS = 13, "signature_algorithms";
        USE_SRTP = 14, "use_srtp";
        APPLICATION_LAYER_PROTOCOL_NEGOTIATION = 16, "application_layer_protocol_negotiation";
        SIGNED_CERTIFICATE_TIMESTAMP = 18, "signed_certificate_timestamp";
        CLIENT_CERTIFICATE_TYPE = 19, "client_certificate_type";
        SERVER_CERTIFICATE_TYPE = 20, "server_certificate_type";
        PADDING = 21, "padding";
        ENCRYPT_THEN_MAC = 22, "encrypt_then_mac";
        EXTENDED_MASTER_SECRET = 23, "extended_master_secret";
        COMPRESS_CERTIFICATE = 27, "compress_certificate";
        RECORD_SIZE_LIMIT = 28, "record_size_limit";
        SESSION_TICKET = 35, "session_ticket";
        PRE_SHARED_KEY = 41, "pre_shared_key";
        EARLY_DATA = 42, "early_data";
        SUPPORTED_VERSIONS = 43, "supported_versions";
        COOKIE = 44, "cookie";
        PSK_KEY_EXCHANGE_MODES = 45, "psk_key_exchange_modes";
        CERTIFICATE_AUTHORITIES = 47, "certificate_authorities";
        OID_FILTERS = 48, "oid_filters";
        POST_HANDSHAKE_AUTH = 49, "post_handshake_auth";
        SIGNATURE_ALGORITHMS_CERT = 50, "signature_algorithms_cert";
        KEY_SHARE = 51, "key_share";
        RENEGOTIATION_INFO = 0xff01, "renegotiation_info";
    }
}

registry! {
    /// How a pre-shared key may be used (RFC 8446 section 4.2.9).
    pub struct PskKeyExchangeMode(u8), unknown "PSK mode {}" {
        PSK_KE = 0, "psk_ke";
        PSK_DHE_KE = 1, "psk_dhe_ke";
    }
}

registry! {
    /// How a point may be encoded (RFC 8422 section 5.1.2).
    pub struct EcPointFormat(u8), unknown "point format {}" {
        UNCOMPRESSED = 0, "uncompressed";
        ANSIX962_COMPRESSED_PRIME = 1, "ansiX962_compressed_prime";
        ANSIX962_COMPRESSED_CHAR2 = 2, "ansiX962_compressed_char2";
    }
}

/// The client's wish for an OCSP response (RFC 6066 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRequest<'a> {
    /// Responders that the client trusts, still encoded; empty: any that it may know.
    pub responder_id_list: &'a [u8],
    /// Extensions of the OCSP request, in DER.
    pub request_extensions: &'a [u8],
}

impl StatusRequest<'_> {
    /// `status_type` of this form, the only one that was ever defined.
    const OCSP: u8 = 1;
}

/// An entry of the client's server_name (RFC 6066 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerName<'a> {
    /// 0 is a host name; no other type was ever defined.
    pub name_type: u8,
    /// The name; a host name is ASCII without a trailing dot.
    pub name: &'a [u8],
}

impl ServerName<'_> {
    /// The type of a host name.
    pub const HOST_NAME: u8 = 0;
}

/// A public value of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyShareEntry<'a> {
    /// The group.
    pub group: NamedGroup,
    /// The public value, in the group's own encoding.
    pub key_exchange: &'a [u8],
}

/// An extension. What is not taken apart, or not in that message, is kept as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension<'a> {
    /// ClientHello: whom the client wants to reach.
    ServerName(Vec<ServerName<'a>>),
    /// EncryptedExtensions, in TLS 1.2 ServerHello: the server made use of server_name.
    ServerNameAcknowledged,
    /// ClientHello, EncryptedExtensions: groups in order of preference.
    SupportedGroups(Vec<NamedGroup>),
    /// ClientHello, CertificateRequest: what the sender can verify.
    SignatureAlgorithms(Vec<SignatureScheme>),
    /// ClientHello, CertificateRequest: what the sender can verify inside certificates.
    SignatureAlgorithmsCert(Vec<SignatureScheme>),
    /// ClientHello: application protocols in order of preference; EncryptedExtensions, in TLS 1.2 ServerHello:
    /// the one chosen (RFC 7301).
    ApplicationLayerProtocolNegotiation(Vec<&'a [u8]>),
    /// ClientHello: versions in order of preference.
    SupportedVersions(Vec<ProtocolVersion>),
    /// ServerHello, HelloRetryRequest: the version chosen.
    SelectedVersion(ProtocolVersion),
    /// ClientHello: public values, at most one for each group.
    KeyShareOffer(Vec<KeyShareEntry<'a>>),
    /// HelloRetryRequest: the group that the server wants a public value of.
    KeyShareRequest(NamedGroup),
    /// ServerHello: the server's public value.
    KeyShareAnswer(KeyShareEntry<'a>),
    /// HelloRetryRequest, and ClientHello repeating it.
    Cookie(&'a [u8]),
    /// ClientHello: how it would use a pre-shared key.
    PskKeyExchangeModes(Vec<PskKeyExchangeMode>),
    /// ClientHello: it would like an OCSP response.
    StatusRequest(StatusRequest<'a>),
    /// ServerHello of TLS 1.2: CertificateStatus may come.
    StatusRequestAcknowledged,
    /// Hellos of TLS 1.2: encodings of points that the sender takes.
    EcPointFormats(Vec<EcPointFormat>),
    /// Hellos of TLS 1.2: the keys cover the whole handshake (RFC 7627).
    ExtendedMasterSecret,
    /// Hellos of TLS 1.2: ClientHello, a ticket or empty; ServerHello, empty: a new one will come (RFC 5077).
    SessionTicket(&'a [u8]),
    /// Hellos of TLS 1.2: verify_data of the handshake that this one renews; empty in the first (RFC 5746).
    RenegotiationInfo(&'a [u8]),
    /// Any other.
    Other {
        /// Its type.
        extension_type: ExtensionType,
        /// Its data.
        data: &'a [u8],
    },
}

impl Extension<'_> {
    /// The type on the wire.
    pub const fn extension_type(&self) -> ExtensionType {
        match self {
            Self::ServerName(_) | Self::ServerNameAcknowledged => ExtensionType::SERVER_NAME,
            Self::SupportedGroups(_) => ExtensionType::SUPPORTED_GROUPS,
            Self::SignatureAlgorithms(_) => ExtensionType::SIGNATURE_ALGORITHMS,
            Self::SignatureAlgorithmsCert(_) => ExtensionType::SIGNATURE_ALGORITHMS_CERT,
            Self::ApplicationLayerProtocolNegotiation(_) => ExtensionType::APPLICATION_LAYER_PROTOCOL_NEGOTIATION,
            Self::SupportedVersions(_) | Self::SelectedVersion(_) => ExtensionType::SUPPORTED_VERSIONS,
            Self::KeyShareOffer(_) | Self::KeyShareRequest(_) | Self::KeyShareAnswer(_) => ExtensionType::KEY_SHARE,
            Self::Cookie(_) => ExtensionType::COOKIE,
            Self::PskKeyExchangeModes(_) => ExtensionType::PSK_KEY_EXCHANGE_MODES,
            Self::StatusRequest(_) | Self::StatusRequestAcknowledged => ExtensionType::STATUS_REQUEST,
            Self::EcPointFormats(_) => ExtensionType::EC_POINT_FORMATS,
            Self::ExtendedMasterSecret => ExtensionType::EXTENDED_MASTER_SECRET,
            Self::SessionTicket(_) => ExtensionType::SESSION_TICKET,
            Self::RenegotiationInfo(_) => ExtensionType::RENEGOTIATION_INFO,
            Self::Other { extension_type, .. } => *extension_type,
        }
    }
}

/// The message that an extension is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    ClientHello,
    ServerHello,
    HelloRetryRequest,
    EncryptedExtensions,
    CertificateRequest,
    Certificate,
    NewSessionTicket,
}

/// `Extension extensions<..2^16-1>`. No type may appear twice (RFC 8446 section 4.2).
pub(super) fn extensions<'a>(
    place: &'static str,
    within: Within,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, Vec<Extension<'a>>> {
    move |input| {
        let (rest, block) = vector16(place, 0..=0xffff)(input)?;
        let extensions = list(block, |input| extension(within, input))?;
        if !all_differ(extensions.iter().map(Extension::extension_type)) {
            return Err(Trouble::new(place, Fault::Duplicate));
        }
        Ok((rest, extensions))
    }
}

/// Extensions that a message of TLS 1.2 may end without.
pub(super) fn optional_extensions<'a>(
    place: &'static str,
    within: Within,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, Option<Vec<Extension<'a>>>> {
    move |input| match input {
        [] => Ok((input, None)),
        _ => extensions(place, within).map(Some).parse(input),
    }
}

fn extension(within: Within, input: &[u8]) -> Parsed<'_, Extension<'_>> {
    let (input, extension_type) = u16("Extension.extension_type")(input)?;
    let (rest, data) = vector16("Extension.extension_data", 0..=0xffff)(input)?;
    Ok((rest, typed(within, ExtensionType(extension_type), data)?))
}

/// Whether an extension has the form that it must have.
pub(super) fn check(within: Within, extension_type: ExtensionType, data: &[u8]) -> Result<(), ParseError> {
    complete("Extension", &[], |input| Ok((input, typed(within, extension_type, data)?))).map(|_| ())
}

/// Which extension has which form in which message.
fn typed(within: Within, extension_type: ExtensionType, data: &[u8]) -> Result<Extension<'_>, nom::Err<Trouble>> {
    use ExtensionType as Type;
    use Within::{CertificateRequest, ClientHello, EncryptedExtensions, HelloRetryRequest, ServerHello};
    match (extension_type, within) {
        (Type::SERVER_NAME, ClientHello) => all("server_name", data, server_name),
        (Type::SERVER_NAME, EncryptedExtensions | ServerHello) => {
            flag("server_name", data, Extension::ServerNameAcknowledged)
        }
        (Type::SUPPORTED_GROUPS, ClientHello | EncryptedExtensions) => all("supported_groups", data, supported_groups),
        (Type::SIGNATURE_ALGORITHMS, ClientHello | CertificateRequest) => {
            let place = "signature_algorithms";
            all(place, data, signature_schemes(place)).map(Extension::SignatureAlgorithms)
        }
        (Type::SIGNATURE_ALGORITHMS_CERT, ClientHello | CertificateRequest) => {
            let place = "signature_algorithms_cert";
            all(place, data, signature_schemes(place)).map(Extension::SignatureAlgorithmsCert)
        }
        (Type::APPLICATION_LAYER_PROTOCOL_NEGOTIATION, ClientHello | EncryptedExtensions | ServerHello) => {
            all("application_layer_protocol_negotiation", data, protocol_names)
        }
        (Type::SUPPORTED_VERSIONS, ClientHello) => all("supported_versions", data, supported_versions),
        (Type::SUPPORTED_VERSIONS, ServerHello | HelloRetryRequest) => {
            let version = u16("supported_versions").map(|version| Extension::SelectedVersion(ProtocolVersion(version)));
            all("supported_versions", data, parser(version))
        }
        (Type::KEY_SHARE, ClientHello) => all("key_share", data, key_share_offer),
        (Type::KEY_SHARE, HelloRetryRequest) => {
            let group = u16("key_share").map(|group| Extension::KeyShareRequest(NamedGroup(group)));
            all("key_share", data, parser(group))
        }
        (Type::KEY_SHARE, ServerHello) => all("key_share", data, key_share_entry).map(Extension::KeyShareAnswer),
        (Type::COOKIE, ClientHello | HelloRetryRequest) => {
            all("cookie", data, vector16("cookie", 1..=0xffff)).map(Extension::Cookie)
        }
        (Type::PSK_KEY_EXCHANGE_MODES, ClientHello) => all("psk_key_exchange_modes", data, psk_key_exchange_modes),
        (_, ClientHello | ServerHello) => typed_tls12(within, extension_type, data),
        _ => Ok(Extension::Other { extension_type, data }),
    }
}

/// The extensions that TLS 1.3 no longer uses, though its hellos may carry them for TLS 1.2's sake.
fn typed_tls12(within: Within, extension_type: ExtensionType, data: &[u8]) -> Result<Extension<'_>, nom::Err<Trouble>> {
    use ExtensionType as Type;
    match (extension_type, within) {
        (Type::STATUS_REQUEST, Within::ClientHello) if data.first() == Some(&StatusRequest::OCSP) => {
            all("status_request", data, status_request)
        }
        (Type::STATUS_REQUEST, Within::ServerHello) => {
            flag("status_request", data, Extension::StatusRequestAcknowledged)
        }
        (Type::EC_POINT_FORMATS, _) => all("ec_point_formats", data, ec_point_formats),
        (Type::EXTENDED_MASTER_SECRET, _) => flag("extended_master_secret", data, Extension::ExtendedMasterSecret),
        // The server's is a flag, but nothing hangs on it.
        (Type::SESSION_TICKET, _) => Ok(Extension::SessionTicket(data)),
        (Type::RENEGOTIATION_INFO, _) => {
            all("renegotiation_info", data, vector8("renegotiation_info", 0..=255)).map(Extension::RenegotiationInfo)
        }
        _ => Ok(Extension::Other { extension_type, data }),
    }
}

/// An extension that says all by being there.
fn flag<'a>(place: &'static str, data: &[u8], extension: Extension<'a>) -> Result<Extension<'a>, nom::Err<Trouble>> {
    if data.is_empty() { Ok(extension) } else { Err(Trouble::new(place, Fault::Leftover)) }
}

fn parser<'a, T>(
    mut parser: impl Parser<&'a [u8], Output = T, Error = Trouble>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, T> {
    move |input| parser.parse(input)
}

fn server_name(input: &[u8]) -> Parsed<'_, Extension<'_>> {
    let (rest, names) = vector16("server_name", 1..=0xffff)(input)?;
    let names = list(names, |input| {
        let (input, name_type) = u8("server_name.name_type")(input)?;
        let (input, name) = vector16("server_name.name", 1..=0xffff)(input)?;
        Ok((input, ServerName { name_type, name }))
    })?;
    // Two host names would let one pass a check and the other be used (RFC 6066 forbids them).
    if !all_differ(names.iter().map(|name| name.name_type)) {
        return Err(Trouble::new("server_name", Fault::Duplicate));
    }
    Ok((rest, Extension::ServerName(names)))
}

fn supported_groups(input: &[u8]) -> Parsed<'_, Extension<'_>> {
    let (rest, groups) = vector16("supported_groups", 2..=0xffff)(input)?;
    Ok((rest, Extension::SupportedGroups(list_u16("supported_groups", groups, NamedGroup)?)))
}

fn signature_schemes<'a>(place: &'static str) -> impl FnMut(&'a [u8]) -> Parsed<'a, Vec<SignatureScheme>> {
    move |input| {
        let (rest, schemes) = vector16(place, 2..=0xfffe)(input)?;
        Ok((rest, list_u16(place, schemes, SignatureScheme)?))
    }
}

fn protocol_names(input: &[u8]) -> Parsed<'_, Extension<'_>> {
    let place = "application_layer_protocol_negotiation";
    let (rest, names) = vector16(place, 2..=0xffff)(input)?;
    Ok((rest, Extension::ApplicationLayerProtocolNegotiation(list(names, vector8(place, 1..=255))?)))
}

fn supported_versions(input: &[u8]) -> Parsed<'_, Extension<'_>> {
    let (rest, versions) = vector8("supported_versions", 2..=254)(input)?;
    Ok((rest, Extension::SupportedVersions(list_u16("supported_versions", versions, ProtocolVersion)?)))
}

fn key_share_offer(input: &[u8]) -> Parsed<'_, Extension<'_>> {
    let (rest, entries) = vector16("key_share", 0..=0xffff)(input)?;
    let entries = list(entries, key_share_entry)?;
    if !all_differ(entries.iter().map(|entry| entry.group)) {
        return Err(Trouble::new("key_share", Fault::Duplicate));
    }
    Ok((rest, Extension::KeyShareOffer(entries)))
}

fn key_share_entry(input: &[u8]) -> Parsed<'_, KeyShareEntry<'_>> {
    let (input, group) = u16("key_share.group")(input)?;
    let (input, key_exchange) = vector16("key_share.key_exchange", 1..=0xffff)(input)?;
    Ok((input, KeyShareEntry { group: NamedGroup(group), key_exchange }))
}

fn psk_key_exchange_modes(input: &[u8]) -> Parsed<'_, Extension<'_>> {
    let (rest, modes) = vector8("psk_key_exchange_modes", 1..=255)(input)?;
    Ok((rest, Extension::PskKeyExchangeModes(modes.iter().copied().map(PskKeyExchangeMode).collect())))
}

fn status_request(input: &[u8]) -> Parsed<'_, Extension<'_>> {
    let (input, _) = u8("status_request.status_type")(input)?;
    let (input, responder_id_list) = vector16("status_request.responder_id_list", 0..=0xffff)(input)?;
    let (input, request_extensions) = vector16("status_request.request_extensions", 0..=0xffff)(input)?;
    Ok((input, Extension::StatusRequest(StatusRequest { responder_id_list, request_extensions })))
}

fn ec_point_formats(input: &[u8]) -> Parsed<'_, Extension<'_>> {
    let (rest, formats) = vector8("ec_point_formats", 1..=255)(input)?;
    Ok((rest, Extension::EcPointFormats(formats.iter().copied().map(EcPointFormat).collect())))
}

/// So many are compared with each other sooner than sorted.
const FEW: usize = 16;

pub(super) fn all_differ<T: Ord>(items: impl ExactSizeIterator<Item = T> + Clone) -> bool {
    if items.len() <= FEW {
        return items.clone().enumerate().all(|(at, one)| items.clone().take(at).all(|other| other != one));
    }
    // Sorted in place: there may be thousands, sent to cost time.
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.is_sorted_by(|one, next| one != next)
}

/// Writes a block of extensions.
pub(super) fn put_extensions(
    out: &mut Vec<u8>,
    place: &'static str,
    extensions: &[Extension<'_>],
) -> Result<(), EmitError> {
    put_vector16(out, place, |out| extensions.iter().try_for_each(|extension| put_extension(out, extension)))
}

fn put_extension(out: &mut Vec<u8>, extension: &Extension<'_>) -> Result<(), EmitError> {
    let extension_type = extension.extension_type();
    out.extend_from_slice(&extension_type.0.to_be_bytes());
    let place = extension_type.name().unwrap_or("Extension.extension_data");
    put_vector16(out, place, |out| put_data(out, place, extension))
}

fn put_data(out: &mut Vec<u8>, place: &'static str, extension: &Extension<'_>) -> Result<(), EmitError> {
    match extension {
        Extension::ServerName(names) => put_vector16(out, place, |out| {
            names.iter().try_for_each(|name| {
                out.push(name.name_type);
                put_vector16(out, place, opaque(name.name))
            })
        }),
        Extension::ServerNameAcknowledged | Extension::StatusRequestAcknowledged | Extension::ExtendedMasterSecret => {
            Ok(())
        }
        Extension::SupportedGroups(groups) => put_vector16(out, place, numbers(groups.iter().map(|group| group.0))),
        Extension::SignatureAlgorithms(schemes) | Extension::SignatureAlgorithmsCert(schemes) => {
            put_vector16(out, place, numbers(schemes.iter().map(|scheme| scheme.0)))
        }
        Extension::ApplicationLayerProtocolNegotiation(names) => {
            put_vector16(out, place, |out| names.iter().try_for_each(|name| put_vector8(out, place, opaque(name))))
        }
        Extension::SupportedVersions(versions) => {
            put_vector8(out, place, numbers(versions.iter().map(|version| version.0)))
        }
        Extension::SelectedVersion(version) => opaque(&version.0.to_be_bytes())(out),
        Extension::KeyShareOffer(entries) => {
            put_vector16(out, place, |out| entries.iter().try_for_each(|entry| put_key_share_entry(out, place, entry)))
        }
        Extension::KeyShareRequest(group) => opaque(&group.0.to_be_bytes())(out),
        Extension::KeyShareAnswer(entry) => put_key_share_entry(out, place, entry),
        Extension::Cookie(cookie) => put_vector16(out, place, opaque(cookie)),
        Extension::PskKeyExchangeModes(modes) => put_vector8(out, place, |out| {
            out.extend(modes.iter().map(|mode| mode.0));
            Ok(())
        }),
        Extension::StatusRequest(request) => {
            out.push(StatusRequest::OCSP);
            put_vector16(out, place, opaque(request.responder_id_list))?;
            put_vector16(out, place, opaque(request.request_extensions))
        }
        Extension::EcPointFormats(formats) => put_vector8(out, place, |out| {
            out.extend(formats.iter().map(|format| format.0));
            Ok(())
        }),
        Extension::RenegotiationInfo(verify_data) => put_vector8(out, place, opaque(verify_data)),
        Extension::SessionTicket(data) | Extension::Other { data, .. } => opaque(data)(out),
    }
}

fn put_key_share_entry(out: &mut Vec<u8>, place: &'static str, entry: &KeyShareEntry<'_>) -> Result<(), EmitError> {
    out.extend_from_slice(&entry.group.0.to_be_bytes());
    put_vector16(out, place, opaque(entry.key_exchange))
}

#[cfg(test)]
mod tests;
