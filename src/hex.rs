//! Hexadecimal digits, as in the configuration, the store's key file and the terminal's file.

use std::fmt::Write;

/// Two lower-case digits for each byte.
pub fn encode(bytes: &[u8]) -> String {
    // Of its final size at once: growing would leave copies behind, and the bytes may be a key.
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes, None where `text` is not an even number of digits and nothing else.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut bytes = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    rest.is_empty().then_some(bytes)
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pairs_of_digits_are_read() {
        assert_eq!(decode("00fFa9"), Some(vec![0, 0xff, 0xa9]));
        assert_eq!(decode(""), Some(vec![]));
        for bad in ["0", "0g", " 00", "0x00", "\u{e9}0"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(encode(&[0, 0xff, 0xa9]), "00ffa9");
    }
}
