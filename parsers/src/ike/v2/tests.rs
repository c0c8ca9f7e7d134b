use super::*;
use crate::ike::{ExchangeType, Flags};
use crate::mangle::mangle;
use alloc::vec;
use proptest::prelude::*;

const HEADER: Header = Header {
    initiator_spi: *b"initiatr",
    responder_spi: [0; 8],
    version: Version::V2,
    exchange_type: ExchangeType::IKE_AUTH,
    flags: Flags::INITIATOR,
    message_id: 1,
};

fn emitted(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.emit(&mut out).unwrap();
    out
}

#[test]
fn a_message_survives() {
    let mut unknown = Payload::from(Body::Other { payload_type: PayloadType(200), data: &[3] });
    unknown.reserved = Payload::CRITICAL | 1;
    assert!(unknown.is_critical());
    let encrypted = Encrypted { first: PayloadType::V2_IDI, data: &[9; 40] };
    let payloads = vec![
        Body::Nonce(&[7; 32]).into(),
        Body::VendorId(b"vendor").into(),
        unknown,
        Body::Encrypted(encrypted).into(),
    ];
    let message = Message { header: HEADER, payloads };
    assert_eq!(message.encrypted(), Some(encrypted));
    let bytes = emitted(&message);
    assert_eq!(Message::parse(&bytes), Ok(message));
    mangle(&bytes, |mangled| {
        if let Ok(parsed) = Message::parse(mangled) {
            assert_eq!(emitted(&parsed), mangled);
        }
    });
}

#[test]
fn certificates_survive() {
    use crate::ike::CertificateEncoding;
    let encoding = CertificateEncoding::X509_SIGNATURE;
    checks::survives(Body::Certificate(Certificate { encoding, data: &[0x30, 0] }));
    checks::survives(Body::CertificateRequest(CertificateRequest { encoding, certification_authority: &[7; 20] }));
}

#[test]
fn nothing_follows_an_encrypted_payload() {
    let raw = RawMessage { header: HEADER, next_payload: PayloadType::V2_SK, body: &[40, 0, 0, 5, 1, 0, 0, 0, 4] };
    assert_eq!(Message::from_raw(&raw), Err(ParseError { place: "Message", fault: Fault::Leftover }));
    let raw = RawMessage { header: Header { version: Version::V1, ..HEADER }, ..raw };
    assert_eq!(Message::from_raw(&raw), Err(ParseError { place: "Header.version", fault: Fault::Illegal }));
}

#[test]
fn a_message_may_be_empty() {
    let message = Message { header: HEADER, payloads: vec![] };
    assert_eq!(Message::parse(&emitted(&message)), Ok(message));
}

proptest! {
    #[test]
    fn what_parses_is_emitted_byte_for_byte(
        payload_type in 33_u8..=55,
        body in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        if let Ok(parsed) = Body::parse(PayloadType(payload_type), &body) {
            let mut again = Vec::new();
            parsed.emit(&mut again).unwrap();
            prop_assert_eq!(&again, &body);
            prop_assert_eq!(parsed.payload_type(), PayloadType(payload_type));
        }
    }

    #[test]
    fn decrypted_rubbish_does_not_panic(first in any::<u8>(), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(payloads) = Payload::parse_all(PayloadType(first), &bytes) {
            prop_assert_eq!(checks::emitted(&payloads), bytes);
        }
    }
}
