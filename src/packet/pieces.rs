//! Pieces of something longer that arrived before what comes in front of them.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Byte ranges by where they start; none overlap. The first byte that came for a place stays there.
#[derive(Default)]
pub(super) struct Pieces {
    pieces: BTreeMap<u64, Vec<u8>>,
    cost: usize,
}

/// What was known already of bytes that were inserted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// So many were there before.
    pub(super) bytes: usize,
    /// Some of them differ from what was there.
    pub(super) conflicting: bool,
}

/// What a piece costs beside its bytes, so that many small ones count as what they take.
const PIECE_COST: usize = 64;

impl Pieces {
    /// Bytes of memory, about.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// Where the first piece starts.
    pub(super) fn first(&self) -> Option<u64> {
        self.pieces.keys().next().copied()
    }

    /// Where the last piece ends.
    pub(super) fn end(&self) -> u64 {
        self.pieces.last_key_value().map_or(0, |(start, piece)| start.saturating_add(piece.len() as u64))
    }

    /// Keeps those of `bytes` that are new.
    pub(super) fn insert(&mut self, mut start: u64, mut bytes: &[u8]) -> Known {
        let mut known = Known::default();
        while !bytes.is_empty() {
            let (length, old) = self.stretch(start, bytes.len());
            let Some((head, tail)) = bytes.split_at_checked(length) else { break };
            match old {
                Some(old) => {
                    known.bytes = known.bytes.saturating_add(head.len());
                    known.conflicting |= old != head;
                }
                None => {
                    self.cost = self.cost.saturating_add(head.len()).saturating_add(PIECE_COST);
                    self.pieces.insert(start, head.to_vec());
                }
            }
            start = start.saturating_add(head.len() as u64);
            bytes = tail;
        }
        known
    }

    /// How far from `start`, and at most `length`, the bytes are all known or all new; and the known ones.
    fn stretch(&self, start: u64, length: usize) -> (usize, Option<&[u8]>) {
        let before = self.pieces.range(..=start).next_back();
        let covering = before.and_then(|(at, piece)| piece.get(usize::try_from(start - at).ok()?..));
        if let Some(old) = covering.filter(|old| !old.is_empty()) {
            let old = old.get(..length).unwrap_or(old);
            return (old.len(), Some(old));
        }
        let next = self.pieces.range(start..).next();
        let free = next.and_then(|(at, _)| usize::try_from(at - start).ok()).unwrap_or(length);
        (length.min(free), None)
    }

    /// Takes out what continues at `offset`; earlier bytes are dropped.
    pub(super) fn take(&mut self, offset: u64) -> Option<Vec<u8>> {
        loop {
            let entry = self.pieces.first_entry()?;
            let start = *entry.key();
            if start > offset {
                return None;
            }
            let mut piece = entry.remove();
            self.cost = self.cost.saturating_sub(piece.len().saturating_add(PIECE_COST));
            let old = usize::try_from(offset - start).unwrap_or(usize::MAX);
            match old.cmp(&0) {
                Ordering::Equal => return Some(piece),
                _ if old < piece.len() => return Some(piece.split_off(old)),
                _ => {}
            }
        }
    }

    /// Bytes that are here, of whatever place.
    pub(super) fn bytes(&self) -> usize {
        self.cost.saturating_sub(self.pieces.len().saturating_mul(PIECE_COST))
    }

    /// Appends all bytes to `out`, in order.
    pub(super) fn join(&self, out: &mut Vec<u8>) {
        self.pieces.values().for_each(|piece| out.extend_from_slice(piece));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_byte_stays() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.insert(2, b"cd"), Known::default());
        assert_eq!(pieces.insert(6, b"gh"), Known::default());
        assert_eq!(pieces.insert(1, b"bcdefghi"), Known { bytes: 4, conflicting: false });
        assert_eq!(pieces.insert(0, b"aXc"), Known { bytes: 2, conflicting: true });
        let mut out = Vec::new();
        pieces.join(&mut out);
        assert_eq!((&out[..], pieces.bytes()), (&b"abcdefghi"[..], 9));
    }

    #[test]
    fn what_is_taken_continues_at_the_offset() {
        let mut pieces = Pieces::default();
        pieces.insert(2, b"cd");
        pieces.insert(4, b"ef");
        assert_eq!(pieces.take(1), None);
        assert_eq!(pieces.take(3), Some(b"d".to_vec()));
        assert_eq!((pieces.first(), pieces.cost()), (Some(4), 2 + PIECE_COST));
        assert_eq!(pieces.take(9), None);
        assert_eq!(pieces.cost(), 0);
        assert_eq!(pieces.first(), None);
    }

    proptest! {
        #[test]
        fn any_order_gives_the_same_bytes(cuts in proptest::collection::vec((0_usize..200, 1_usize..50), 1..60)) {
            let whole: Vec<u8> = (0..=255).collect();
            let mut pieces = Pieces::default();
            let mut seen = [false; 256];
            for (start, length) in cuts {
                let end = (start + length).min(256);
                let known = pieces.insert(start as u64, &whole[start..end]);
                let before = seen[start..end].iter().filter(|seen| **seen).count();
                prop_assert_eq!(known, Known { bytes: before, conflicting: false });
                seen[start..end].fill(true);
            }
            let mut at = 0;
            while let Some(first) = pieces.first() {
                let piece = pieces.take(first).unwrap();
                prop_assert!(first >= at);
                at = first + piece.len() as u64;
                prop_assert_eq!(&whole[first as usize..at as usize], &piece[..]);
                prop_assert!(seen[first as usize..at as usize].iter().all(|seen| *seen));
            }
            prop_assert_eq!(pieces.cost(), 0);
        }
    }
}
