//! IKE messages from real connections parse, and are emitted byte for byte.

// clippy.toml lets test functions unwrap, but not their helpers.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path};

use keyferry_parsers::ParseError;
use keyferry_parsers::ike::rules::{Payloads, Position, check};
use keyferry_parsers::ike::{
    CertificateEncoding, ExchangeType, Flags, Group, PayloadType, RawMessage, Version, looks_like_ike, v1, v2,
    vendor_name,
};

fn read(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ike").join(path)).unwrap()
}

/// The files of a folder by their names without `.bin`.
fn all(folder: &str) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ike").join(folder)).unwrap();
    files
        .map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let bytes = read(&format!("{folder}/{name}"));
            (format!("{folder}/{}", name.strip_suffix(".bin").unwrap()), bytes)
        })
        .collect()
}

/// A message of either version; or the payloads of a decrypted one, whose file ends in the first one's type.
enum Parsed<'a> {
    V1(v1::Message<'a>),
    V2(v2::Message<'a>),
    DecryptedV1(Vec<v1::Payload<'a>>, &'a [u8]),
    DecryptedV2(Vec<v2::Payload<'a>>),
}

impl<'a> Parsed<'a> {
    fn parse(name: &str, bytes: &'a [u8]) -> Result<Self, ParseError> {
        if !name.starts_with("decrypted/") {
            let raw = RawMessage::parse(bytes)?;
            return match raw.header.version {
                Version::V1 => v1::Message::from_raw(&raw).map(Self::V1),
                _ => v2::Message::from_raw(&raw).map(Self::V2),
            };
        }
        let first = PayloadType(name.rsplit('.').next().unwrap().parse().unwrap());
        if name.contains("ikev1") {
            let (payloads, padding) = v1::Payload::parse_all(first, bytes)?;
            Ok(Self::DecryptedV1(payloads, padding))
        } else {
            v2::Payload::parse_all(first, bytes).map(Self::DecryptedV2)
        }
    }

    fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::V1(message) => message.emit(&mut out).unwrap(),
            Self::V2(message) => message.emit(&mut out).unwrap(),
            Self::DecryptedV1(payloads, padding) => {
                v1::Payload::emit_all(payloads, &mut out).unwrap();
                out.extend_from_slice(padding);
            }
            Self::DecryptedV2(payloads) => v2::Payload::emit_all(payloads, &mut out).unwrap(),
        }
        out
    }

    /// Types of payloads, proposals and transforms in the order they come in.
    fn types(&self) -> Vec<u8> {
        match self {
            Self::V1(message) => message.payloads().unwrap_or_default().iter().flat_map(types_v1).collect(),
            Self::V2(message) => message.payloads.iter().flat_map(types_v2).collect(),
            Self::DecryptedV1(payloads, _) => payloads.iter().flat_map(types_v1).collect(),
            Self::DecryptedV2(payloads) => payloads.iter().flat_map(types_v2).collect(),
        }
    }
}

fn types_v1(payload: &v1::Payload<'_>) -> Vec<u8> {
    let mut types = vec![payload.body.payload_type().0];
    if let v1::Body::SecurityAssociation(sa) = &payload.body {
        types.extend(sa.proposals().iter().flat_map(|proposal| nested(proposal.transforms.len())));
    }
    types
}

fn types_v2(payload: &v2::Payload<'_>) -> Vec<u8> {
    let mut types = vec![payload.body.payload_type().0];
    if let v2::Body::SecurityAssociation(sa) = &payload.body {
        types.extend(sa.proposals.iter().flat_map(|proposal| nested(proposal.transforms.len())));
    }
    types
}

fn nested(transforms: usize) -> Vec<u8> {
    let mut types = vec![PayloadType::P.0];
    types.resize(1 + transforms, PayloadType::T.0);
    types
}

fn well_formed() -> BTreeMap<String, Vec<u8>> {
    let mut files = all("message");
    files.extend(all("decrypted"));
    assert_eq!(files.len(), MESSAGES);
    files
}

const MESSAGES: usize = 168;

#[test]
fn messages_are_emitted_byte_for_byte() {
    for (name, bytes) in well_formed() {
        let parsed = Parsed::parse(&name, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(parsed.emit(), bytes, "{name}");
        assert!(name.starts_with("decrypted/") || looks_like_ike(&bytes), "{name}");
    }
}

#[test]
fn payloads_are_those_that_tshark_sees() {
    let expected = String::from_utf8(read("payloads.txt")).unwrap();
    let files = well_formed();
    assert!(expected.lines().count() > 100);
    for line in expected.lines() {
        let (name, types) = line.split_once(' ').unwrap();
        let types: Vec<u8> = types.split_whitespace().map(|number| number.parse().unwrap()).collect();
        assert_eq!(Parsed::parse(name, &files[name]).unwrap().types(), types, "{name}");
    }
}

#[test]
fn messages_truncated_at_every_byte_do_not_panic() {
    for (name, bytes) in well_formed() {
        for length in 0..bytes.len() {
            match Parsed::parse(&name, &bytes[..length]) {
                // Padding may be cut without harm.
                Ok(parsed) => {
                    assert!(matches!(parsed, Parsed::DecryptedV1(..)), "{name} {length}");
                    assert_eq!(parsed.emit(), bytes[..length], "{name} {length}");
                }
                Err(_) => continue,
            }
        }
    }
}

#[test]
fn messages_with_a_changed_byte_do_not_panic() {
    for (name, bytes) in well_formed() {
        let mut changed = bytes.clone();
        for (at, original) in bytes.iter().enumerate() {
            for value in [0, 0xff, original.wrapping_add(1)] {
                changed[at] = value;
                if let Ok(parsed) = Parsed::parse(&name, &changed) {
                    assert_eq!(parsed.emit(), changed, "{name} {at}");
                }
            }
            changed[at] = *original;
        }
    }
}

#[test]
fn what_crashed_others_is_refused() {
    let files = all("malformed");
    assert!(!files.is_empty());
    for (name, bytes) in files {
        assert!(Parsed::parse(&name, &bytes).is_err(), "{name}");
    }
}

fn v1_message(path: &str, use_it: impl FnOnce(&[v1::Payload<'_>])) {
    let bytes = read(path);
    use_it(v1::Message::parse(&bytes).unwrap().payloads().unwrap());
}

#[test]
fn a_main_mode_offer_of_ikev1() {
    v1_message("message/ikev1-main-psk-aes128-sha1-modp2048.01.bin", |payloads| {
        let v1::Body::SecurityAssociation(sa) = &payloads[0].body else { panic!("no SA") };
        let transform = &sa.proposals()[0].transforms[0];
        let phase1 = transform.phase1();
        assert_eq!(sa.proposals()[0].protocol_id, v1::ProtocolId::ISAKMP);
        assert_eq!(transform.transform_id, v1::IsakmpTransform::KEY_IKE.0);
        assert_eq!(phase1.encryption_algorithm(), Some(v1::EncryptionAlgorithm::AES_CBC));
        assert_eq!(phase1.key_length(), Some(128));
        assert_eq!(phase1.hash_algorithm(), Some(v1::HashAlgorithm::SHA));
        assert_eq!(phase1.authentication_method(), Some(v1::AuthenticationMethod::PRE_SHARED_KEY));
        assert_eq!(phase1.group_description(), Some(Group::MODP_2048));
        let seconds = v1::Lifetime { life_type: v1::LifeType::SECONDS, duration: 15840 };
        assert!(phase1.lifetimes().eq([seconds]));
        let vendors: Vec<_> = payloads[1..]
            .iter()
            .map(|payload| match payload.body {
                v1::Body::VendorId(id) => vendor_name(id).unwrap(),
                _ => panic!("no VID"),
            })
            .collect();
        assert_eq!(
            vendors,
            [
                "XAUTH",
                "Dead Peer Detection",
                "FRAGMENTATION",
                "RFC 3947 NAT-Traversal",
                "draft-ietf-ipsec-nat-t-ike-02\\n"
            ]
        );
    });
}

#[test]
fn an_aggressive_mode_answer_in_fragments() {
    let capture = "message/ikev1-aggr-rsasig-aes128-sha256-modp2048";
    let mut whole = Vec::new();
    for (number, file) in [(1, "02"), (2, "03")] {
        v1_message(&format!("{capture}.{file}.bin"), |payloads| {
            let v1::Body::Fragment(fragment) = payloads[0].body else { panic!("no fragment") };
            assert_eq!((fragment.fragment_number, fragment.is_last()), (number, number == 2));
            whole.extend_from_slice(fragment.data);
        });
    }
    assert_eq!(whole, read(&format!("{capture}.03-whole.bin")));
    let message = v1::Message::parse(&whole).unwrap();
    assert!(message.payloads().unwrap().iter().any(|payload| matches!(
        payload.body,
        v1::Body::Certificate(certificate)
            if certificate.encoding == CertificateEncoding::X509_SIGNATURE && certificate.data[0] == 0x30
    )));
}

#[test]
fn a_quick_mode_offer_of_ikev1() {
    let bytes = read("decrypted/ikev1-main-psk-aes128-sha1-modp2048.07.8.bin");
    let (payloads, padding) = v1::Payload::parse_all(PayloadType::HASH, &bytes).unwrap();
    assert!(padding.len() < 16);
    let v1::Body::SecurityAssociation(sa) = &payloads[1].body else { panic!("no SA") };
    let proposal = &sa.proposals()[0];
    assert_eq!((proposal.protocol_id, proposal.spi.len()), (v1::ProtocolId::IPSEC_ESP, 4));
    let transform = &proposal.transforms[0];
    assert_eq!(transform.transform_id, v1::EspTransform::AES_CBC.0);
    assert_eq!(transform.ipsec().authentication_algorithm(), Some(v1::AuthenticationAlgorithm::HMAC_SHA));
    assert_eq!(transform.ipsec().group_description(), Some(Group::MODP_2048));
    assert_eq!(transform.ipsec().key_length(), Some(128));
    let identities: Vec<_> = payloads
        .iter()
        .filter_map(|payload| match payload.body {
            v1::Body::Identification(id) => Some(id.identity().unwrap().to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(identities.len(), 2);
    assert!(identities.iter().all(|identity| identity.contains('/')), "{identities:?}");
}

#[test]
fn an_offer_of_ikev2() {
    let bytes = read("message/ikev2-ecdsa-aes128gcm16-prfsha256-x25519.01.bin");
    let message = v2::Message::parse(&bytes).unwrap();
    let v2::Body::SecurityAssociation(sa) = &message.payloads[0].body else { panic!("no SA") };
    let transforms = &sa.proposals[0].transforms;
    assert_eq!(transforms[0].algorithm(), v2::Algorithm::Encr(v2::Encr::AES_GCM_16));
    assert_eq!(transforms[0].key_length(), Some(128));
    assert_eq!(transforms[1].algorithm(), v2::Algorithm::Prf(v2::Prf::HMAC_SHA2_256));
    assert_eq!(transforms[2].algorithm(), v2::Algorithm::KeyExchange(Group::CURVE25519));
    let v2::Body::KeyExchange(ke) = &message.payloads[1].body else { panic!("no KE") };
    assert_eq!((ke.group, ke.data.len()), (Group::CURVE25519, 32));
    let hashes: Vec<_> = message
        .payloads
        .iter()
        .flat_map(|payload| match payload.body {
            v2::Body::Notify(notify) => notify.hash_algorithms().collect(),
            _ => vec![],
        })
        .collect();
    assert_eq!(
        hashes,
        [
            v2::HashAlgorithm::SHA2_256,
            v2::HashAlgorithm::SHA2_384,
            v2::HashAlgorithm::SHA2_512,
            v2::HashAlgorithm::IDENTITY
        ]
    );
}

#[test]
fn an_authentication_of_ikev2() {
    let bytes = read("decrypted/ikev2-ecdsa-aes128gcm16-prfsha256-x25519.03.35.bin");
    let payloads = v2::Payload::parse_all(PayloadType::V2_IDI, &bytes).unwrap();
    let v2::Body::IdI(id) = &payloads[0].body else { panic!("no IDi") };
    assert_eq!(id.identity().unwrap().to_string(), "ecA.lab");
    let auth = payloads.iter().find_map(|payload| match payload.body {
        v2::Body::Authentication(auth) => Some(auth),
        _ => None,
    });
    // ecdsa-with-SHA256, 1.2.840.10045.4.3.2.
    let algorithm = [0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    assert_eq!(auth.unwrap().digital_signature().unwrap().algorithm_identifier, algorithm);
    let selectors = payloads.iter().find_map(|payload| match &payload.body {
        v2::Body::TsI(selectors) => Some(selectors),
        _ => None,
    });
    assert_eq!(selectors.unwrap().selectors[0].ts_type(), v2::TsType::IPV4_ADDR_RANGE);
}

#[test]
fn a_cookie_is_asked_for() {
    let bytes = read("message/ikev2four.02.bin");
    let message = v2::Message::parse(&bytes).unwrap();
    let v2::Body::Notify(notify) = message.payloads[0].body else { panic!("no N") };
    assert_eq!(notify.notify_type, v2::NotifyType::COOKIE);
    assert!(!notify.data.is_empty());
}

/// The types of the outer payloads.
fn outer(parsed: &Parsed<'_>) -> Vec<PayloadType> {
    match parsed {
        Parsed::V1(message) => {
            message.payloads().unwrap_or_default().iter().map(|each| each.body.payload_type()).collect()
        }
        Parsed::V2(message) => message.payloads.iter().map(|each| each.body.payload_type()).collect(),
        Parsed::DecryptedV1(payloads, _) => payloads.iter().map(|each| each.body.payload_type()).collect(),
        Parsed::DecryptedV2(payloads) => payloads.iter().map(|each| each.body.payload_type()).collect(),
    }
}

#[test]
fn messages_of_ikev2_keep_the_rules() {
    let decrypted = all("decrypted");
    let mut checked = 0;
    for (name, bytes) in all("message").iter().filter(|(name, _)| name.starts_with("message/ikev2")) {
        let raw = RawMessage::parse(bytes).unwrap();
        let response = raw.header.flags.contains(Flags::RESPONSE);
        let position = if response { Position::Response } else { Position::Request };
        let clear = outer(&Parsed::parse(name, bytes).unwrap());
        let stem = name.replace("message/", "decrypted/") + ".";
        let inner = decrypted.iter().find(|(other, _)| other.starts_with(&stem));
        let inner = inner.map(|(name, bytes)| outer(&Parsed::parse(name, bytes).unwrap()));
        let encrypted = if clear.contains(&PayloadType::V2_SK) { inner.as_deref() } else { Some(&[][..]) };
        let payloads = Payloads { clear: &clear, encrypted };
        assert_eq!(check(raw.header.exchange_type, position, payloads), Ok(()), "{name}");
        checked += usize::from(inner.is_some());
    }
    assert_eq!(checked, 8);
}

#[test]
fn messages_of_ikev1_keep_the_rules() {
    let files = well_formed();
    let main_mode = ExchangeType::IDENTITY_PROTECTION;
    let quick_mode = ExchangeType::QUICK_MODE;
    let psk = "ikev1-main-psk-aes128-sha1-modp2048";
    let rsa = "ikev1-main-rsasig-aes256-sha384-modp3072-p500";
    let aggressive = "ikev1-aggr-rsasig-aes128-sha256-modp2048";
    for (exchange, number, name) in [
        (main_mode, 1, format!("message/{psk}.01")),
        (main_mode, 2, format!("message/{psk}.02")),
        (main_mode, 3, format!("message/{psk}.03")),
        (main_mode, 4, format!("message/{rsa}.04")),
        (main_mode, 5, format!("decrypted/{psk}.05.5")),
        (main_mode, 5, format!("decrypted/{rsa}.05.5")),
        (main_mode, 6, format!("decrypted/{psk}.06.5")),
        (main_mode, 3, "message/ISAKMP_sa_setup.03".into()),
        (quick_mode, 1, format!("decrypted/{psk}.07.8")),
        (quick_mode, 2, format!("decrypted/{psk}.08.8")),
        (quick_mode, 3, format!("decrypted/{psk}.09.8")),
        (ExchangeType::INFORMATIONAL_V1, 1, format!("decrypted/{psk}.10.8")),
        (ExchangeType::AGGRESSIVE, 1, format!("message/{aggressive}.01")),
        (ExchangeType::AGGRESSIVE, 2, format!("message/{aggressive}.02")),
        (ExchangeType::AGGRESSIVE, 2, format!("message/{aggressive}.03-whole")),
        (ExchangeType::AGGRESSIVE, 3, format!("decrypted/{aggressive}.05.6")),
    ] {
        let types = outer(&Parsed::parse(&name, &files[&name]).unwrap());
        let payloads = match name.starts_with("decrypted/") {
            true => Payloads { clear: &[], encrypted: Some(&types) },
            false => Payloads::clear(&types),
        };
        assert_eq!(check(exchange, Position::Message(number), payloads), Ok(()), "{name}");
    }
}
