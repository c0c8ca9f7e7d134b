//! Block-wise transfer (RFC 7959) inside OSCORE, with Request-Tag (RFC 9175): long bodies in pieces of 512 bytes.

use alloc::string::String;
use alloc::vec::Vec;

use zeroize::Zeroizing;

use crate::coap::{OptionNumber, Options};
use crate::exchange::{MessageDigest, digest};
use crate::short::Short;
use crate::{Instant, Method};

/// The value of a Block1 or Block2 option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub number: u32,
    pub more: bool,
    /// The size is 2^(4 + this), 0 to 6.
    pub size_exponent: u8,
}

impl Block {
    /// `None` if longer than three bytes or of the reserved size.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.len() > 3 {
            return None;
        }
        let value = value.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
        let size_exponent = (value & 7) as u8;
        (size_exponent <= 6).then_some(Self { number: value >> 4, more: value & 8 != 0, size_exponent })
    }

    /// The option's value, an unsigned integer.
    pub fn value(self) -> u32 {
        self.number << 4 | u32::from(self.more) << 3 | u32::from(self.size_exponent)
    }

    /// Where the block begins in the body.
    pub fn offset(self) -> usize {
        (self.number as usize).saturating_mul(self.size())
    }

    pub fn size(self) -> usize {
        16 << self.size_exponent
    }

    /// The block of `body` that begins at `offset`, and its bytes. `None` behind the end.
    pub fn cut(body: &[u8], offset: usize, size_exponent: u8) -> Option<(Self, &[u8])> {
        let rest = body.get(offset..).filter(|rest| !rest.is_empty())?;
        let mut block = Self { number: 0, more: false, size_exponent };
        block.number = u32::try_from(offset / block.size()).ok()?;
        match rest.get(..block.size()) {
            Some(piece) => Some((Self { more: rest.len() > piece.len(), ..block }, piece)),
            None => Some((block, rest)),
        }
    }
}

/// What the blocks of one body have in common.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BodyKey {
    pub method: Method,
    pub path: String,
    pub request_tags: RequestTags,
}

/// The list of a request's Request-Tag options, as a digest: none differs from one that is empty, and one from two (RFC
/// 9175 section 3.3).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RequestTags(Option<MessageDigest>);

impl RequestTags {
    /// The option is elective: a value longer than 8 bytes is ignored as if unknown.
    pub fn of(options: &Options<'_>) -> Self {
        let tags = options.iter().filter(|(number, tag)| *number == OptionNumber::REQUEST_TAG && tag.len() <= 8);
        let mut list = Vec::new();
        for (_, tag) in tags {
            list.push(tag.len() as u8);
            list.extend_from_slice(tag);
        }
        Self((!list.is_empty()).then(|| digest(&list)))
    }
}

/// A body from the peer being put together.
pub(crate) struct Assembly {
    pub key: BodyKey,
    pub body: Zeroizing<Vec<u8>>,
    pub until: Instant,
}

/// A long answer of ours that the peer fetches piece by piece.
pub(crate) struct Served {
    pub key: BodyKey,
    pub code: crate::Code,
    pub body: Zeroizing<Vec<u8>>,
    /// Tells this body from another under the same key.
    pub etag: Short<8>,
    pub until: Instant,
}

/// Appends to a secret body. `Vec` would leave a copy behind whenever it grows.
pub(crate) fn append(body: &mut Zeroizing<Vec<u8>>, piece: &[u8]) {
    let length = body.len().saturating_add(piece.len());
    if length > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(length.saturating_mul(2)));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(piece);
}

/// Longer payloads travel block-wise.
pub(crate) const WHOLE_PAYLOAD: usize = 1024;
/// Blocks of 512 bytes.
pub(crate) const SIZE_EXPONENT: u8 = 5;
/// The longest body.
pub(crate) const MAX_BODY: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coap::{Content, OptionWriter};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn blocks_cover_the_body(length in 1usize..5000, size_exponent in 0u8..=6) {
            let body: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut joined = Vec::new();
            while let Some((block, piece)) = Block::cut(&body, joined.len(), size_exponent) {
                prop_assert_eq!(block.offset(), joined.len());
                prop_assert_eq!(Block::parse(&block.value().to_be_bytes()[1..]), Some(block));
                joined.extend_from_slice(piece);
                prop_assert_eq!(block.more, joined.len() < length);
            }
            prop_assert_eq!(joined, body);
        }
    }

    #[test]
    fn request_tags_are_told_apart_as_a_list() {
        let tags = |tags: &[&[u8]]| {
            let mut content = alloc::vec![2];
            let mut options = OptionWriter::new(&mut content);
            for tag in tags {
                options.push(OptionNumber::REQUEST_TAG, tag);
            }
            RequestTags::of(&Content::parse(&content).unwrap().options)
        };
        let lists: [&[&[u8]]; 7] = [&[], &[b""], &[b"", b""], &[b"a"], &[b"b"], &[b"a", b"b"], &[b"ab"]];
        for (at, list) in lists.iter().enumerate() {
            for (other_at, other) in lists.iter().enumerate() {
                assert_eq!(tags(list) == tags(other), at == other_at, "{list:?} and {other:?}");
            }
        }
        assert!(tags(&[b"123456789", b"a"]) == tags(&[b"a"]), "too long: ignored");
    }

    #[test]
    fn the_reserved_size_and_long_values_are_refused() {
        assert_eq!(Block::parse(&[0x07]), None);
        assert_eq!(Block::parse(&[0, 0, 0, 0]), None);
        assert_eq!(Block::parse(&[]), Some(Block { number: 0, more: false, size_exponent: 0 }));
    }
}
