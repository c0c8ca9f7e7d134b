//! The value of the OSCORE option (RFC 8613 section 6.1): which key and which nonce.

use alloc::vec::Vec;

use crate::short::Short;

/// The compressed COSE object: all that is not encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct OscoreOption<'a> {
    pub partial_iv: Option<PartialIv>,
    pub kid_context: Option<&'a [u8]>,
    pub kid: Option<&'a [u8]>,
}

impl<'a> OscoreOption<'a> {
    /// `None` for reserved flags, a Partial IV that is not minimal, or bytes left over.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let Some((&flags, mut rest)) = value.split_first() else { return Some(Self::default()) };
        // Without any flag the value must be empty.
        if flags == 0 || flags & RESERVED != 0 {
            return None;
        }
        let mut option = Self::default();
        let length = usize::from(flags & PARTIAL_IV_LENGTH);
        if length > 0 {
            let (partial_iv, after) = rest.split_at_checked(length)?;
            option.partial_iv = Some(PartialIv::parse(partial_iv)?);
            rest = after;
        }
        if flags & HAS_KID_CONTEXT != 0 {
            let (&length, after) = rest.split_first()?;
            let (kid_context, after) = after.split_at_checked(length.into())?;
            option.kid_context = Some(kid_context);
            rest = after;
        }
        if flags & HAS_KID != 0 {
            option.kid = Some(rest);
            rest = &[];
        }
        rest.is_empty().then_some(option)
    }

    /// Appends the value.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let partial_iv = self.partial_iv.map(PartialIv::minimal);
        let mut flags = 0;
        if let Some(partial_iv) = partial_iv {
            flags |= partial_iv.as_bytes().len() as u8;
        }
        if self.kid_context.is_some() {
            flags |= HAS_KID_CONTEXT;
        }
        if self.kid.is_some() {
            flags |= HAS_KID;
        }
        if flags == 0 {
            return;
        }
        out.push(flags);
        out.extend_from_slice(partial_iv.as_ref().map_or(&[], Short::as_bytes));
        if let Some(kid_context) = self.kid_context {
            out.push(kid_context.len() as u8);
            out.extend_from_slice(kid_context);
        }
        out.extend_from_slice(self.kid.unwrap_or_default());
    }
}

/// A sender sequence number as it travels: 0 to 2^40-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartialIv(u64);

impl PartialIv {
    /// The last number a sender may use.
    pub const MAX: u64 = (1 << 40) - 1;

    pub fn new(sequence_number: u64) -> Option<Self> {
        (sequence_number <= Self::MAX).then_some(Self(sequence_number))
    }

    pub fn sequence_number(self) -> u64 {
        self.0
    }

    /// Big-endian without leading zeros; zero is one byte.
    pub fn minimal(self) -> Short<5> {
        minimal(self.0)
    }

    /// Big-endian in five bytes, as the nonce wants it.
    pub fn padded(self) -> [u8; 5] {
        let [_, _, _, padded @ ..] = self.0.to_be_bytes();
        padded
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let value = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        let partial_iv = Self::new(value)?;
        (bytes.len() <= 5 && partial_iv.minimal().as_bytes() == bytes).then_some(partial_iv)
    }
}

/// Big-endian without leading zeros; zero is one byte. Values need at most five bytes here.
pub(crate) fn minimal(value: u64) -> Short<5> {
    let bytes = value.to_be_bytes();
    let skip = (value.leading_zeros() / 8).min(7) as usize;
    bytes.get(skip..).and_then(Short::new).unwrap_or(Short::EMPTY)
}

const PARTIAL_IV_LENGTH: u8 = 0x07;
const HAS_KID: u8 = 0x08;
const HAS_KID_CONTEXT: u8 = 0x10;
const RESERVED: u8 = 0xe0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn emitted(option: &OscoreOption<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        option.emit(&mut out);
        out
    }

    #[test]
    fn examples_of_section_6_3() {
        let iv = |number| PartialIv::new(number);
        let request = OscoreOption { partial_iv: iv(5), kid_context: None, kid: Some(&[0x25]) };
        assert_eq!(emitted(&request), [0x09, 0x05, 0x25]);
        let empty_kid = OscoreOption { partial_iv: iv(0), kid_context: None, kid: Some(&[]) };
        assert_eq!(emitted(&empty_kid), [0x09, 0x00]);
        let context = OscoreOption { partial_iv: iv(5), kid_context: Some(b"Dalek"), kid: Some(&[]) };
        assert_eq!(emitted(&context), [0x19, 0x05, 0x05, 0x44, 0x61, 0x6c, 0x65, 0x6b]);
        assert_eq!(emitted(&OscoreOption::default()), []);
        let response = OscoreOption { partial_iv: iv(7), kid_context: None, kid: None };
        assert_eq!(emitted(&response), [0x01, 0x07]);
    }

    #[test]
    fn refuses_what_section_6_1_forbids() {
        for value in [
            &[0x00][..],      // no flag, yet not empty
            &[0x29, 5, 0x25], // reserved flag
            &[0x0e, 0, 0, 0, 0, 0, 1],
            &[0x0f, 0, 0, 0, 0, 0, 0, 1],
            &[0x02, 0, 5], // leading zero
            &[0x01],       // Partial IV cut off
            &[0x10],       // no context length
            &[0x10, 2, 1], // context cut off
            &[0x01, 7, 7], // left over, no kid
        ] {
            assert_eq!(OscoreOption::parse(value), None, "{value:02x?}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(
            iv in proptest::option::of(0..=PartialIv::MAX),
            kid_context in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
            kid in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
        ) {
            let option = OscoreOption {
                partial_iv: iv.and_then(PartialIv::new), kid_context: kid_context.as_deref(), kid: kid.as_deref(),
            };
            let bytes = emitted(&option);
            prop_assert_eq!(OscoreOption::parse(&bytes), Some(option));
        }

        #[test]
        fn what_is_accepted_is_emitted_again(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Some(option) = OscoreOption::parse(&bytes) {
                prop_assert_eq!(emitted(&option), bytes);
            }
        }
    }
}
