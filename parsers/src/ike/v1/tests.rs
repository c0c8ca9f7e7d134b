use super::*;
use crate::ike::ExchangeType;
use crate::mangle::mangle;
use alloc::vec;
use proptest::prelude::*;

fn header(exchange_type: ExchangeType, flags: Flags) -> Header {
    Header {
        initiator_spi: *b"initiatr",
        responder_spi: [0; 8],
        version: Version::V1,
        exchange_type,
        flags,
        message_id: 0,
    }
}

fn emitted(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.emit(&mut out).unwrap();
    out
}

#[test]
fn a_message_survives() {
    let mut nonce = Payload::from(Body::Nonce(&[7; 16]));
    nonce.reserved = 0x80;
    let payloads = vec![
        Body::KeyExchange(&[1; 32]).into(),
        nonce,
        Body::VendorId(b"vendor").into(),
        Body::Hash(&[2; 20]).into(),
        Body::Signature(&[]).into(),
        Body::Other { payload_type: PayloadType(200), data: &[3] }.into(),
    ];
    let header = header(ExchangeType::IDENTITY_PROTECTION, Flags::default());
    let message = Message { header, content: Content::Clear(payloads) };
    let bytes = emitted(&message);
    assert_eq!(Message::parse(&bytes), Ok(message));
    mangle(&bytes, |mangled| {
        if let Ok(parsed) = Message::parse(mangled) {
            assert_eq!(emitted(&parsed), mangled);
        }
    });
}

#[test]
fn ciphertext_is_left_alone() {
    let content = Content::Encrypted { first: PayloadType::HASH, ciphertext: &[9; 16] };
    let message = Message { header: header(ExchangeType::QUICK_MODE, Flags::ENCRYPTION), content };
    assert_eq!(Message::parse(&emitted(&message)), Ok(message.clone()));
    assert_eq!(message.payloads(), None);

    // The flag says what the content is, whatever was set.
    let without = Message { header: header(ExchangeType::QUICK_MODE, Flags::default()), ..message.clone() };
    assert_eq!(emitted(&without), emitted(&message));
}

#[test]
fn a_fragment_is_in_the_clear_whatever_its_flag_says() {
    let fragment = Fragment { fragment_id: 1, fragment_number: 1, flags: 0, data: &[9; 16] };
    for flags in [Flags::default(), Flags::ENCRYPTION] {
        let content = Content::Clear(vec![Body::Fragment(fragment).into()]);
        let message = Message { header: header(ExchangeType::IDENTITY_PROTECTION, flags), content };
        let bytes = emitted(&message);
        assert_eq!(RawMessage::parse(&bytes).unwrap().payloads().count(), 1);
        assert_eq!(Message::parse(&bytes), Ok(message));
    }
}

#[test]
fn padding_follows_decrypted_payloads() {
    let payloads = vec![Body::Hash(&[7; 20]).into(), Body::Nonce(&[8; 16]).into()];
    let mut bytes = Vec::new();
    Payload::emit_all(&payloads, &mut bytes).unwrap();
    bytes.extend_from_slice(&[0, 0, 0, 3]);
    assert_eq!(Payload::parse_all(first(&payloads), &bytes), Ok((payloads, &[0, 0, 0, 3][..])));
}

#[test]
fn nothing_follows_clear_payloads() {
    let header = header(ExchangeType::AGGRESSIVE, Flags::default());
    let raw = RawMessage { header, next_payload: PayloadType::NONCE, body: &[0, 0, 0, 5, 1, 0] };
    assert_eq!(Message::from_raw(&raw), Err(ParseError { place: "Message", fault: Fault::Leftover }));
    let raw = RawMessage { header: Header { version: Version::V2, ..header }, ..raw };
    assert_eq!(Message::from_raw(&raw), Err(ParseError { place: "Header.version", fault: Fault::Illegal }));
}

proptest! {
    #[test]
    fn what_parses_is_emitted_byte_for_byte(
        payload_type in 0_u8..=23,
        body in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        for payload_type in [PayloadType(payload_type), PayloadType(payload_type.saturating_add(125))] {
            if let Ok(parsed) = Body::parse(payload_type, &body) {
                let mut again = Vec::new();
                parsed.emit(&mut again).unwrap();
                prop_assert_eq!(&again, &body);
                prop_assert_eq!(parsed.payload_type(), payload_type);
            }
        }
    }

    #[test]
    fn decrypted_rubbish_does_not_panic(first in any::<u8>(), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok((payloads, padding)) = Payload::parse_all(PayloadType(first), &bytes) {
            let mut again = Vec::new();
            Payload::emit_all(&payloads, &mut again).unwrap();
            again.extend_from_slice(padding);
            prop_assert_eq!(again, bytes);
        }
    }
}
