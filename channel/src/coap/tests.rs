use std::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn encoded(options: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = OptionWriter::new(&mut out);
    for (number, value) in options {
        writer.push(OptionNumber(*number), value);
    }
    out
}

prop_compose! {
    fn option_lists()(mut list in vec((any::<u16>(), vec(any::<u8>(), 0..300)), 0..6)) -> Vec<(u16, Vec<u8>)> {
        list.sort();
        list
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    (0u8..4).prop_map(Kind::from_bits)
}

proptest! {
    #[test]
    fn round_trip(
        kind in kinds(), code in 1u8.., message_id: u16, token in vec(any::<u8>(), 0..=8),
        list in option_lists(), payload in vec(any::<u8>(), 0..40),
    ) {
        let encoded = encoded(&list);
        let message = Message {
            kind, code: Code(code), message_id, token: Token::new(&token).unwrap(), options: Options(&encoded), payload: &payload,
        };
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        let parsed = Message::parse(&bytes).unwrap();
        prop_assert!(parsed == message);
        let read: Vec<_> = parsed.options.iter().map(|(number, value)| (number.0, value.to_vec())).collect();
        prop_assert_eq!(read, list);

        // Cut anywhere: no panic, and never a message with more in it than bytes.
        for length in 0..bytes.len() {
            if let Ok(cut) = Message::parse(&bytes[..length]) {
                let mut again = Vec::new();
                cut.emit(&mut again);
                prop_assert_eq!(&again, &bytes[..length]);
            }
        }
    }

    #[test]
    fn what_is_accepted_is_emitted_again(bytes in vec(any::<u8>(), 0..64)) {
        if let Ok(message) = Message::parse(&bytes) {
            let mut again = Vec::new();
            message.emit(&mut again);
            prop_assert_eq!(&again, &bytes);
        }
        if let Ok(content) = Content::parse(&bytes) {
            let mut again = Vec::new();
            content.emit(&mut again);
            prop_assert_eq!(&again, &bytes);
        }
    }
}

#[test]
fn malformed_messages_are_refused() {
    for (bytes, why) in [
        (&[0x40, 1, 0][..], "shorter than a header"),
        (&[0x80, 1, 0, 0], "unknown version"),
        (&[0x42, 1, 0, 0, 9], "token cut off"),
        (&[0x49, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "token longer than 8 bytes"),
        (&[0x41, 0, 0, 0, 9], "empty message with content"),
        (&[0x40, 1, 0, 0, 0xff], "payload marker without payload"),
        (&[0x40, 1, 0, 0, 0xf0], "reserved option delta or length"),
        (&[0x40, 1, 0, 0, 0x0f], "reserved option delta or length"),
        (&[0x40, 1, 0, 0, 0xd0], "option cut off"),
        (&[0x40, 1, 0, 0, 0x02, 7], "option cut off"),
        (&[0x40, 1, 0, 0, 0xe0, 0xff, 0xff], "option delta or length above 65535"),
        (&[0x40, 1, 0, 0, 0xe0, 0xfe, 0xf2, 0x10], "option number above 65535"),
    ] {
        assert_eq!(Message::parse(bytes).err(), Some(Malformed(why)), "{bytes:02x?}");
    }
}

#[test]
fn unknown_critical_and_repeated_options_are_refused() {
    let known = [OptionNumber::URI_PATH, OptionNumber::BLOCK1];
    let check = |list: &[(u16, Vec<u8>)]| Options(&encoded(list)).check(&known);
    assert_eq!(
        check(&[(11, Vec::from([1])), (11, Vec::from([2])), (12, Vec::new()), (12, Vec::new()), (27, Vec::new())]),
        Ok(())
    );
    assert_eq!(check(&[(27, Vec::new()), (27, Vec::new())]), Err(OptionNumber::BLOCK1));
    assert_eq!(check(&[(15, Vec::new())]), Err(OptionNumber::URI_QUERY));
    assert_eq!(check(&[(65001, Vec::new())]), Err(OptionNumber(65001)));
}

#[test]
fn integers_have_no_leading_zeros() {
    for (value, bytes) in [(0, &[][..]), (1, &[1]), (255, &[255]), (256, &[1, 0]), (0x1_0000, &[1, 0, 0])] {
        let mut out = Vec::new();
        OptionWriter::new(&mut out).push_uint(OptionNumber::ETAG, value);
        assert_eq!(out[1..], *bytes);
    }
}
