use super::*;
use crate::mangle::mangle;
use alloc::vec;
use proptest::prelude::*;

fn emitted(record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    record.emit(&mut out).unwrap();
    out
}

/// Reads whatever it can, down to the messages; what parses is emitted byte for byte.
fn read(bytes: &[u8]) {
    let Ok((record, rest)) = Record::next(0, bytes) else { return };
    assert_eq!([&emitted(&record)[..], rest].concat(), bytes);
    let Record::Plain(record) = record else { return };
    let Ok((fragment, rest)) = HandshakeFragment::next(record.fragment) else { return };
    let mut out = Vec::new();
    fragment.emit(&mut out).unwrap();
    assert_eq!([&out[..], rest].concat(), record.fragment);
    if let Ok(message) = Message::parse(fragment.msg_type, fragment.fragment) {
        let mut out = Vec::new();
        message.emit(&mut out).unwrap();
        assert_eq!(out, fragment.fragment);
    }
}

fn fragment<'a>(message: &Message<'_>, body: &'a mut Vec<u8>) -> HandshakeFragment<'a> {
    message.emit(body).unwrap();
    let (length, fragment) = (body.len(), &body[..]);
    HandshakeFragment { msg_type: message.msg_type(), length, message_seq: 1, fragment_offset: 0, fragment }
}

fn in_a_record(message: &Message<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    let mut fragment_bytes = Vec::new();
    fragment(message, &mut body).emit(&mut fragment_bytes).unwrap();
    emitted(&Record::Plain(PlainRecord {
        content_type: ContentType::HANDSHAKE,
        legacy_version: ProtocolVersion::DTLS_1_0,
        epoch: 0,
        sequence_number: 7,
        fragment: &fragment_bytes,
    }))
}

fn hello<'a>(cookie: &'a [u8], extensions: Option<Vec<Extension<'a>>>) -> Message<'a> {
    Message::ClientHello(ClientHello {
        legacy_version: ProtocolVersion::DTLS_1_2,
        random: &[7; 32],
        legacy_session_id: &[],
        legacy_cookie: cookie,
        cipher_suites: vec![CipherSuite::TLS_AES_128_GCM_SHA256],
        legacy_compression_methods: &[0],
        extensions,
    })
}

#[test]
fn hellos_survive_and_nothing_done_to_them_panics() {
    let versions = Extension::SupportedVersions(vec![ProtocolVersion::DTLS_1_3, ProtocolVersion::DTLS_1_2]);
    let verify = HelloVerifyRequest { server_version: ProtocolVersion::DTLS_1_0, cookie: b"cookie" };
    let server = ServerHello {
        legacy_version: ProtocolVersion::DTLS_1_2,
        random: &[8; 32],
        legacy_session_id_echo: &[],
        cipher_suite: CipherSuite::TLS_AES_128_GCM_SHA256,
        legacy_compression_method: 0,
        extensions: None,
    };
    let messages = [
        hello(b"", None),
        hello(b"cookie", Some(vec![versions])),
        Message::HelloVerifyRequest(verify),
        Message::ServerHello(server),
        Message::Other { msg_type: HandshakeType::CERTIFICATE, body: b"certificate" },
    ];
    for message in messages {
        let bytes = in_a_record(&message);
        let (record, rest) = Record::next(0, &bytes).unwrap();
        assert_eq!(rest, b"");
        let Record::Plain(record) = record else { panic!("not plain") };
        assert_eq!((record.epoch, record.sequence_number), (0, 7));
        let (fragment, rest) = HandshakeFragment::next(record.fragment).unwrap();
        assert!(fragment.is_whole() && rest.is_empty());
        assert_eq!(Message::parse(fragment.msg_type, fragment.fragment), Ok(message));
        mangle(&bytes, read);
    }
}

#[test]
fn records_of_one_datagram_come_one_after_the_other() {
    let one = in_a_record(&hello(b"", None));
    let protected = [0b0010_1101, 1, 2, 0, 3, 7, 8, 9];
    let last = [0b0010_0010, 1, 7, 8, 9, 10];
    let datagram = [&one[..], &protected, &last].concat();
    let (first, rest) = Record::next(0, &datagram).unwrap();
    assert!(matches!(first, Record::Plain(_)));
    let (second, rest) = Record::next(0, rest).unwrap();
    let expected = UnifiedRecord {
        epoch_bits: 1,
        connection_id: None,
        sequence_number: EncryptedNumber::Long(0x0102),
        has_length: true,
        encrypted_record: &[7, 8, 9],
    };
    assert_eq!(second, Record::Unified(expected));
    assert_eq!(emitted(&second), protected);
    let (third, rest) = Record::next(0, rest).unwrap();
    let expected = UnifiedRecord {
        epoch_bits: 2,
        sequence_number: EncryptedNumber::Short(1),
        has_length: false,
        encrypted_record: &[7, 8, 9, 10],
        ..expected
    };
    assert_eq!((third, rest), (Record::Unified(expected), &[][..]));
    assert_eq!(emitted(&third), last);
}

#[test]
fn a_connection_id_is_read_if_its_length_is_known() {
    let bytes = [0b0011_0000, 1, 2, 3, 9, 7];
    let error = Record::next(0, &bytes).unwrap_err();
    assert_eq!(error, ParseError { place: "DTLSCiphertext.connection_id", fault: Fault::Illegal });
    let (record, _) = Record::next(3, &bytes).unwrap();
    assert!(matches!(record, Record::Unified(record) if record.connection_id == Some(&[1, 2, 3])));
    assert_eq!(emitted(&record), bytes);
}

#[test]
fn other_protocols_are_refused() {
    let place = |bytes: &[u8]| Record::next(0, bytes).unwrap_err().place;
    assert_eq!(place(&[22, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]), "DTLSPlaintext.legacy_record_version");
    assert_eq!(place(&[0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42]), "DTLSPlaintext.type"); // STUN
    assert_eq!(place(&[0x80; 14]), "DTLSPlaintext.type"); // RTP
}

#[test]
fn a_fragment_lies_within_its_message() {
    let header = |length: u8, offset: u8, fragment: u8| [1, 0, 0, length, 0, 0, 0, 0, offset, 0, 0, fragment, 7, 8, 9];
    let (fragment, rest) =
        HandshakeFragment::next(&header(9, 6, 3)).map(|(f, rest)| (f.fragment_offset, rest.len())).unwrap();
    assert_eq!((fragment, rest), (6, 0));
    let fault = |bytes: [u8; 15]| HandshakeFragment::next(&bytes).map(|_| ()).map_err(|error| error.place);
    assert_eq!(fault(header(9, 7, 3)), Err("Handshake.fragment_length"));
    assert_eq!(fault(header(9, 0, 4)), Err("Handshake.fragment"));
    let long = HandshakeFragment::next(&[1, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
    assert_eq!(long, ParseError { place: "Handshake.length", fault: Fault::TooLong });
}

proptest! {
    #[test]
    fn what_parses_is_emitted_byte_for_byte(
        first in 20_u8..=63,
        bytes in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let datagram = [&[first, 0xfe, 0xfd][..], &bytes].concat();
        read(&datagram);
    }

    #[test]
    fn any_hello_survives(
        cookie in proptest::collection::vec(any::<u8>(), 0..=255),
        data in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let unknown = Extension::Other { extension_type: crate::tls::ExtensionType(0x0a0a), data: &data };
        let message = hello(&cookie, Some(vec![unknown]));
        let mut body = Vec::new();
        message.emit(&mut body).unwrap();
        prop_assert_eq!(Message::parse(HandshakeType::CLIENT_HELLO, &body), Ok(message));
    }
}
