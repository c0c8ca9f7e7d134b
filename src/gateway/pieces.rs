//! The peer's byte stream in assisted mode, put together from pieces that arrive side by side and maybe twice.

use std::collections::BTreeMap;

use keyferry_parsers::messages::Reason;
use keyferry_parsers::tls::RecordHeader;

use crate::error::Error;

/// What is kept of one stream: more than a handshake needs between two answers.
const MOST: usize = 64 * 1024;
/// How many pieces may wait behind a gap, and how far they may reach beyond what is there.
const MOST_AHEAD: usize = 64;
const FURTHEST: u32 = 16 * 1024;

/// A stream as far as it has come.
#[derive(Default)]
pub(super) struct Pieces {
    /// What is there without a gap and not taken yet.
    ready: Vec<u8>,
    /// The offset behind `ready`.
    end: u32,
    /// Pieces behind a gap.
    ahead: BTreeMap<u32, Vec<u8>>,
    /// Where the peer closed.
    closed: Option<u32>,
}

impl Pieces {
    /// Takes a piece. One that is there already is no error; the bytes that came first count.
    ///
    /// # Errors
    /// `STALE` for pieces that lie too far ahead or too many of them.
    pub(super) fn insert(&mut self, offset: u32, bytes: Vec<u8>, closed: bool) -> Result<(), Error> {
        let out_of_order = || Error::new(Reason::STALE, "more of the peer's stream than fits, or with too large a gap");
        let length = u32::try_from(bytes.len()).map_err(|_| out_of_order())?;
        let behind = offset.checked_add(length).ok_or_else(out_of_order)?;
        let ahead: usize = self.ahead.values().map(Vec::len).sum();
        let held = self.ready.len().saturating_add(ahead).saturating_add(bytes.len());
        if held > MOST || behind.saturating_sub(self.end) > FURTHEST {
            return Err(out_of_order());
        }
        if closed {
            self.closed.get_or_insert(behind);
        }
        if behind > self.end && !bytes.is_empty() {
            if self.ahead.len() >= MOST_AHEAD {
                return Err(out_of_order());
            }
            self.ahead.entry(offset).or_insert(bytes);
        }
        self.join();
        Ok(())
    }

    /// The next whole record; of what cannot be one, its header: the engine has the words for the peer.
    pub(super) fn take_record(&mut self) -> Option<Vec<u8>> {
        let header = self.ready.first_chunk()?;
        let length = RecordHeader::parse(header).map_or(RecordHeader::LENGTH, |header| header.record_length());
        if length > self.ready.len() {
            return None;
        }
        Some(self.ready.drain(..length).collect())
    }

    /// Whether the peer has closed and everything before was taken, up to what is no whole record.
    pub(super) fn is_closed(&self) -> bool {
        self.closed == Some(self.end)
    }

    /// Whether the stream is there up to `length` bytes, and no further.
    pub(super) fn is_whole(&self, length: u32) -> bool {
        self.end == length && self.ahead.is_empty()
    }

    /// What followed the handshake.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ready)
    }

    /// Moves to `ready` what has no gap before it any more.
    fn join(&mut self) {
        while let Some(first) = self.ahead.first_entry() {
            let Some(known) = self.end.checked_sub(*first.key()) else { return };
            let bytes = first.remove();
            if let Some(new) = bytes.get(known as usize..) {
                self.ready.extend_from_slice(new);
                self.end = self.end.saturating_add(u32::try_from(new.len()).unwrap_or(u32::MAX));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two records of two bytes, and half of a third.
    const STREAM: [u8; 18] = [22, 3, 3, 0, 2, 1, 2, 22, 3, 3, 0, 2, 3, 4, 22, 3, 3, 0];

    fn records(pieces: &mut Pieces) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| pieces.take_record()).collect()
    }

    #[test]
    fn pieces_in_any_order_cut_anywhere_and_doubled_make_the_same_stream() {
        for first in 0..STREAM.len() {
            for second in first..STREAM.len() {
                let cuts = [(0, first), (first, second), (second, STREAM.len()), (0, second)];
                for order in [[0, 1, 2, 3], [2, 1, 0, 3], [1, 3, 2, 0], [2, 3, 1, 0]] {
                    let mut pieces = Pieces::default();
                    let mut all = Vec::new();
                    for (from, to) in order.map(|number: usize| cuts[number]) {
                        pieces.insert(from as u32, STREAM[from..to].to_vec(), false).unwrap();
                        all.extend(records(&mut pieces));
                    }
                    assert_eq!(all, [STREAM[..7].to_vec(), STREAM[7..14].to_vec()]);
                    assert!(pieces.is_whole(18) && !pieces.is_whole(17));
                    assert_eq!(pieces.take_rest(), STREAM[14..]);
                }
            }
        }
    }

    #[test]
    fn what_is_no_record_comes_out_as_its_header() {
        let mut pieces = Pieces::default();
        pieces.insert(0, b"HTTP/1.1 400 Bad Request".to_vec(), false).unwrap();
        assert_eq!(pieces.take_record().unwrap(), b"HTTP/");
    }

    #[test]
    fn a_hostile_terminal_cannot_fill_the_memory() {
        let mut pieces = Pieces::default();
        assert!(pieces.insert(FURTHEST, vec![0], false).is_err());
        assert!(pieces.insert(u32::MAX, vec![0], false).is_err());
        let taken = (0..1000u32).filter(|n| pieces.insert(1 + n * 64, vec![0; 1000], false).is_ok()).count();
        assert!(taken <= MOST_AHEAD, "{taken}");
    }

    #[test]
    fn the_end_is_known_once_all_before_it_is_there() {
        let mut pieces = Pieces::default();
        pieces.insert(4, vec![], true).unwrap();
        assert!(!pieces.is_closed());
        pieces.insert(0, vec![22, 3, 3, 0], false).unwrap();
        assert!(pieces.is_closed());
    }
}
