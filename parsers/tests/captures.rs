//! Messages and records from real connections parse, and are emitted byte for byte.

#![allow(clippy::unwrap_used, reason = "clippy.toml lets test functions unwrap, but not their helpers")]

use std::{fs, path::Path};

use keyferry_parsers::tls::{
    AlertDescription, CipherSuite, Extension, Handshake, HandshakeType, Message, NamedGroup, ProtocolVersion, Record,
    SignatureScheme, tls12,
};
use keyferry_parsers::{Fault, tls::Alert};

fn read(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)).unwrap()
}

fn all(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut names: Vec<String> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), read(&format!("{folder}/{name}")))).collect()
}

/// The folders of handshake messages and their versions.
const HANDSHAKES: [(&str, ProtocolVersion); 2] =
    [("handshake", ProtocolVersion::TLS_1_3), ("handshake-tls12", ProtocolVersion::TLS_1_2)];

#[test]
fn handshake_messages_are_emitted_byte_for_byte() {
    for ((folder, version), expected) in HANDSHAKES.into_iter().zip([32, 26]) {
        let files = all(folder);
        assert_eq!(files.len(), expected);
        for (name, bytes) in files {
            let parsed = Handshake::parse_as(version, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            // The file's name ends in the name of the message.
            assert!(name.trim_end_matches(".bin").ends_with(parsed.message.msg_type().name().unwrap()), "{name}");
            assert!(!matches!(parsed.message, Message::Other { .. }), "{name}");
            let mut emitted = Vec::new();
            parsed.message.emit(&mut emitted).unwrap();
            assert_eq!(emitted, bytes, "{name}");
            assert_eq!(parsed.raw, bytes, "{name}");
        }
    }
}

#[test]
fn records_are_emitted_byte_for_byte() {
    let files = all("record");
    assert_eq!(files.len(), 8);
    for (name, bytes) in files {
        let record = Record::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut emitted = Vec::new();
        record.emit(&mut emitted).unwrap();
        assert_eq!(emitted, bytes, "{name}");
    }
}

#[test]
fn captured_messages_truncated_at_every_byte_are_refused_without_a_panic() {
    for (folder, version) in HANDSHAKES {
        for (name, bytes) in all(folder) {
            for length in 0..bytes.len() {
                let cut = &bytes[..length];
                let fault = Handshake::parse_as(version, cut).map_err(|error| error.fault);
                assert_eq!(fault, Err(Fault::Truncated), "{name} {length}");
                assert_eq!(Handshake::next_as(version, cut), Ok(None), "{name} {length}");
            }
        }
    }
    for (name, bytes) in all("record") {
        for length in 0..bytes.len() {
            let cut = Record::parse(&bytes[..length]);
            assert_eq!(cut.map_err(|error| error.fault), Err(Fault::Truncated), "{name} {length}");
        }
    }
}

#[test]
fn captured_messages_with_a_changed_byte_do_not_panic() {
    let files =
        HANDSHAKES.into_iter().flat_map(|(folder, version)| all(folder).into_iter().map(move |file| (version, file)));
    for (version, (_, bytes)) in files {
        let mut changed = bytes.clone();
        for (at, original) in bytes.iter().enumerate() {
            for value in [0, 0xff, original.wrapping_add(1)] {
                changed[at] = value;
                if let Ok(parsed) = Handshake::parse_as(version, &changed) {
                    let mut emitted = Vec::new();
                    parsed.message.emit(&mut emitted).unwrap();
                    assert_eq!(emitted, changed);
                }
            }
            changed[at] = *original;
        }
    }
}

#[test]
fn a_client_hello_says_what_the_client_offered() {
    let bytes = read("handshake/x25519-aes128-rsa.client.1-client_hello.bin");
    let Message::ClientHello(hello) = Handshake::parse(&bytes).unwrap().message else { panic!("no ClientHello") };
    assert_eq!(hello.legacy_version, ProtocolVersion::TLS_1_2);
    assert_eq!(hello.host_name(), Some(&b"offload.lab"[..]));
    assert!(hello.cipher_suites.contains(&CipherSuite::TLS_AES_128_GCM_SHA256));
    let extensions = hello.extensions.unwrap();
    assert!(extensions.iter().any(|extension| matches!(
        extension,
        Extension::KeyShareOffer(shares) if shares[0].group == NamedGroup::X25519 && shares[0].key_exchange.len() == 32
    )));
    assert!(extensions.iter().any(|extension| matches!(
        extension,
        Extension::SupportedVersions(versions) if versions.contains(&ProtocolVersion::TLS_1_3)
    )));
}

#[test]
fn a_server_hello_says_what_the_server_chose() {
    let bytes = read("handshake/x25519-aes128-rsa.server.1-server_hello.bin");
    let Message::ServerHello(hello) = Handshake::parse(&bytes).unwrap().message else { panic!("no ServerHello") };
    assert!(!hello.is_hello_retry_request());
    assert_eq!(hello.version(), ProtocolVersion::TLS_1_3);
    assert_eq!(hello.cipher_suite, CipherSuite::TLS_AES_128_GCM_SHA256);
    assert_eq!(hello.group(), Some(NamedGroup::X25519));
}

#[test]
fn a_hello_retry_request_names_the_group() {
    let record = read("record/tls13-hrr-x25519-to-p521.hello_retry_request.bin");
    let record = Record::parse(&record).unwrap();
    let (first, rest) = Handshake::next(record.fragment).unwrap().unwrap();
    assert!(rest.is_empty());
    let Message::ServerHello(hello) = first.message else { panic!("no ServerHello") };
    assert!(hello.is_hello_retry_request());
    assert_eq!(hello.group(), Some(NamedGroup::SECP521R1));
}

#[test]
fn a_tls_1_2_server_hello_is_told_by_its_version() {
    let record = read("record/tls12-ecdhe-rsa-x25519-aes128-gcm.server_hello_1.2.bin");
    let handshake = Handshake::parse(Record::parse(&record).unwrap().fragment).unwrap();
    let Message::ServerHello(hello) = handshake.message else { panic!("no ServerHello") };
    assert_eq!(hello.version(), ProtocolVersion::TLS_1_2);
    assert_eq!(hello.cipher_suite, CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256);
}

#[test]
fn the_server_s_flight_is_read_message_by_message() {
    let mut flight = Vec::new();
    for (name, bytes) in all("handshake") {
        if name.starts_with("mtls-ecdsa.server.") {
            flight.extend_from_slice(&bytes);
        }
    }
    let mut types = Vec::new();
    let mut rest = flight.as_slice();
    while let Some((handshake, after)) = Handshake::next(rest).unwrap() {
        types.push(handshake.message.msg_type());
        if let Message::Certificate(certificate) = &handshake.message {
            assert!(certificate.certificate_list.iter().all(|entry| entry.cert_data[0] == 0x30));
            assert!(!certificate.certificate_list.is_empty());
        }
        if let Message::CertificateVerify(verify) = &handshake.message {
            assert_eq!(verify.algorithm, SignatureScheme::ECDSA_SECP384R1_SHA384);
        }
        rest = after;
    }
    assert!(rest.is_empty());
    assert_eq!(
        types,
        [
            HandshakeType::SERVER_HELLO,
            HandshakeType::ENCRYPTED_EXTENSIONS,
            HandshakeType::CERTIFICATE_REQUEST,
            HandshakeType::CERTIFICATE,
            HandshakeType::CERTIFICATE_VERIFY,
            HandshakeType::FINISHED,
            HandshakeType::NEW_SESSION_TICKET,
            HandshakeType::NEW_SESSION_TICKET,
        ]
    );
}

fn tls12_message(path: &str, use_it: impl FnOnce(Message<'_>)) {
    let bytes = read(&format!("handshake-tls12/{path}"));
    use_it(Handshake::parse_as(ProtocolVersion::TLS_1_2, &bytes).unwrap().message);
}

#[test]
fn hellos_of_tls_1_2_say_what_protects_them() {
    tls12_message("mtls-ecdsa.client.1-client_hello.bin", |message| {
        let Message::ClientHello(hello) = message else { panic!("no ClientHello") };
        let extensions = hello.extensions.unwrap();
        assert!(extensions.contains(&Extension::ExtendedMasterSecret));
        assert!(extensions.contains(&Extension::SessionTicket(&[])));
        assert!(extensions.iter().any(|extension| matches!(extension, Extension::StatusRequest(_))));
        assert!(hello.cipher_suites.contains(&CipherSuite::TLS_EMPTY_RENEGOTIATION_INFO_SCSV));
    });
    tls12_message("mtls-ecdsa.server.1-server_hello.bin", |message| {
        let Message::ServerHello(hello) = message else { panic!("no ServerHello") };
        assert_eq!(hello.version(), ProtocolVersion::TLS_1_2);
        let extensions = hello.extensions.unwrap();
        for expected in [
            Extension::ExtendedMasterSecret,
            Extension::SessionTicket(&[]),
            Extension::RenegotiationInfo(&[]),
            Extension::StatusRequestAcknowledged,
            Extension::ApplicationLayerProtocolNegotiation(vec![b"http/1.1"]),
        ] {
            assert!(extensions.contains(&expected), "{expected:?}");
        }
    });
}

#[test]
fn a_server_key_exchange_names_group_and_signature() {
    tls12_message("ecdhe-rsa-x25519.server.3-server_key_exchange.bin", |message| {
        let Message::ServerKeyExchange(tls12::ServerKeyExchange::Ecdhe { params, algorithm, signature }) = message
        else {
            panic!("no ECDHE")
        };
        assert_eq!((params.named_curve, params.public.len()), (NamedGroup::X25519, 32));
        assert_eq!((algorithm, signature.len()), (SignatureScheme::RSA_PSS_RSAE_SHA256, 512));
    });
    tls12_message("mtls-ecdsa.client.3-client_key_exchange.bin", |message| {
        let Message::ClientKeyExchange(tls12::ClientKeyExchange::Ecdhe { public }) = message else {
            panic!("no ECDHE")
        };
        assert_eq!(public.len(), 32);
    });
    tls12_message("rsakx.client.2-client_key_exchange.bin", |message| {
        assert!(
            matches!(message, Message::ClientKeyExchange(tls12::ClientKeyExchange::Other(body)) if body.len() == 514)
        );
    });
}

#[test]
fn mutual_authentication_of_tls_1_2() {
    tls12_message("mtls-ecdsa.server.5-certificate_request.bin", |message| {
        let Message::CertificateRequest12(request) = message else { panic!("no CertificateRequest") };
        assert!(request.certificate_types.contains(&tls12::ClientCertificateType::ECDSA_SIGN));
        assert!(request.supported_signature_algorithms.contains(&SignatureScheme::ECDSA_SECP384R1_SHA384));
        assert_eq!(request.certificate_authorities.len(), 1);
    });
    tls12_message("mtls-ecdsa.client.2-certificate.bin", |message| {
        let Message::Certificate12(certificate) = message else { panic!("no Certificate") };
        assert!(certificate.certificate_list.iter().all(|der| der[0] == 0x30));
        assert_eq!(certificate.certificate_list.len(), 2);
    });
    tls12_message("mtls-ecdsa.client.4-certificate_verify.bin", |message| {
        let Message::CertificateVerify(verify) = message else { panic!("no CertificateVerify") };
        // Of a P-384 key: in TLS 1.2 the number says ECDSA and SHA-256, and leaves the curve open.
        assert_eq!(verify.algorithm, SignatureScheme::ECDSA_SECP256R1_SHA256);
    });
    tls12_message("mtls-ecdsa.server.3-certificate_status.bin", |message| {
        let Message::CertificateStatus(status) = message else { panic!("no CertificateStatus") };
        assert_eq!((status.status_type, status.response[0]), (tls12::CertificateStatusType::OCSP, 0x30));
    });
}

#[test]
fn the_alert_of_a_version_mismatch() {
    let record = read("record/tls-version-mismatch.alert.bin");
    let alert = Alert::parse(Record::parse(&record).unwrap().fragment).unwrap();
    assert_eq!(alert.description, AlertDescription::PROTOCOL_VERSION);
}
