//! Messages that come in pieces: the Fragment payload of IKEv1, SKF of IKEv2 (RFC 7383).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::replay::account::Side;

/// Messages of an SA that wait for pieces.
const MAX_SETS: usize = 2;
/// Bytes that the pieces of one message may have; as much as a UDP datagram.
const MAX_BYTES: usize = 64 * 1024;
/// Pieces of one message. Implementations send a handful.
const MAX_PIECES: u16 = 256;

/// Which message a piece is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetId {
    pub(super) from_initiator: bool,
    pub(super) exchange: u8,
    pub(super) message_id: u32,
    /// IKEv1: the fragment ID. IKEv2: how many fragments there are, as another number begins anew.
    pub(super) fragment_id: u16,
}

/// A piece, as it came.
pub(super) struct Piece<'a> {
    /// Counted from 1.
    pub(super) number: u16,
    /// How many there are, once that is known.
    pub(super) total: Option<u16>,
    pub(super) data: &'a [u8],
    /// Of the message that it came in.
    pub(super) wire_length: u32,
    pub(super) time: Duration,
}

/// The messages of one SA that are not whole yet.
#[derive(Default)]
pub(super) struct Fragments {
    sets: BTreeMap<SetId, Set>,
}

#[derive(Default)]
pub(super) struct Set {
    /// By their number.
    pub(super) pieces: BTreeMap<u16, Vec<u8>>,
    pub(super) total: Option<u16>,
    /// Of the messages that they came in, headers included.
    pub(super) wire_length: u32,
    pub(super) time: Duration,
    bytes: usize,
}

impl Set {
    fn is_whole(&self) -> bool {
        self.total.is_some_and(|total| self.pieces.len() == usize::from(total))
    }

    /// How many pieces came.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.pieces.len()).unwrap_or(u32::MAX)
    }
}

impl Fragments {
    /// Takes a piece; gives the message's pieces when it was the last that was missing.
    pub(super) fn add(&mut self, id: SetId, piece: Piece<'_>) -> Option<Set> {
        let beyond = piece.total.is_some_and(|total| piece.number > total || total > MAX_PIECES);
        if piece.number == 0 || piece.number > MAX_PIECES || beyond {
            return None;
        }
        if !self.sets.contains_key(&id) && self.sets.len() >= MAX_SETS {
            let oldest = self.sets.iter().min_by_key(|(_, set)| set.time).map(|(id, _)| *id);
            oldest.and_then(|id| self.sets.remove(&id));
        }
        let set = self.sets.entry(id).or_default();
        if set.pieces.contains_key(&piece.number) || set.bytes.saturating_add(piece.data.len()) > MAX_BYTES {
            return None;
        }
        set.bytes = set.bytes.saturating_add(piece.data.len());
        set.pieces.insert(piece.number, piece.data.to_vec());
        set.total = piece.total.or(set.total);
        set.wire_length = set.wire_length.saturating_add(piece.wire_length);
        set.time = piece.time;
        if set.is_whole() { self.sets.remove(&id) } else { None }
    }

    /// What never became whole.
    pub(super) fn drain(&mut self) -> BTreeMap<SetId, Set> {
        std::mem::take(&mut self.sets)
    }
}

/// The side of a set.
impl SetId {
    pub(super) fn from(&self) -> Side {
        if self.from_initiator { Side::Initiator } else { Side::Responder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SetId = SetId { from_initiator: true, exchange: 35, message_id: 1, fragment_id: 3 };

    fn add(fragments: &mut Fragments, number: u16, total: Option<u16>) -> Option<Vec<u8>> {
        let data = [u8::try_from(number).unwrap()];
        let piece = Piece { number, total, data: &data, wire_length: 40, time: Duration::ZERO };
        fragments.add(ID, piece).map(|set| {
            assert_eq!((set.count(), set.wire_length), (3, 120));
            set.pieces.into_values().flatten().collect()
        })
    }

    #[test]
    fn pieces_in_any_order_make_a_message() {
        let mut fragments = Fragments::default();
        assert_eq!(add(&mut fragments, 3, Some(3)), None);
        assert_eq!(add(&mut fragments, 1, None), None);
        assert_eq!(add(&mut fragments, 1, None), None);
        assert_eq!(add(&mut fragments, 2, None), Some(vec![1, 2, 3]));
        assert!(fragments.drain().is_empty());
    }

    #[test]
    fn impossible_numbers_are_not_kept() {
        let mut fragments = Fragments::default();
        for (number, total) in [(0, None), (4, Some(3)), (1, Some(60000)), (300, None)] {
            let piece = Piece { number, total, data: &[1], wire_length: 1, time: Duration::ZERO };
            assert!(fragments.add(ID, piece).is_none());
        }
        assert!(fragments.drain().is_empty());
    }
}
