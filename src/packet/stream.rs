//! One direction of a TCP connection: segments in any order go in, bytes in order come out.

use super::pieces::{Known, Pieces};

/// The bytes of one direction. Offsets count from the first byte that was sent, or seen if the start is not in the
/// capture; they do not wrap as sequence numbers do.
#[derive(Default)]
pub(super) struct Stream {
    /// The sequence number of its SYN.
    initial: Option<u32>,
    /// The sequence number of the byte at `offset`, once anything was seen.
    next: Option<u32>,
    /// All before it was handed on, or is missing for good.
    offset: u64,
    pieces: Pieces,
    /// Where the FIN is.
    end: Option<u64>,
    /// How often bytes were acknowledged that did not come.
    acknowledged: u8,
    recent: Recent,
}

/// So many acknowledgements of bytes that did not come show that they will not: captures of several queues are not quite
/// in order.
const ENOUGH_ACKNOWLEDGED: u8 = 3;

/// What a segment leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Data { offset: u64, bytes: &'a [u8] },
    Gap { offset: u64, length: u64 },
    Retransmitted { offset: u64, length: u64, conflicting: bool },
    KeepAlive,
}

impl Stream {
    /// A SYN with that number is of another connection than this one.
    pub(super) fn starts_otherwise(&self, initial: u32) -> bool {
        match (self.initial, self.next) {
            (Some(known), _) => known != initial,
            // Picked up in the middle, unless that was the first data, overtaking its SYN.
            (None, Some(next)) => self.offset > 0 || next != initial.wrapping_add(1),
            (None, None) => false,
        }
    }

    /// The SYN that this stream starts with.
    pub(super) fn initial(&self) -> Option<u32> {
        self.initial
    }

    /// Its SYN.
    pub(super) fn start(&mut self, initial: u32) {
        self.initial = Some(initial);
        self.next.get_or_insert(initial.wrapping_add(1));
    }

    /// Takes a segment. `missing` bytes after its payload were not captured.
    pub(super) fn add(
        &mut self,
        sequence: u32,
        payload: &[u8],
        missing: usize,
        fin: bool,
        found: &mut impl FnMut(Found<'_>),
    ) {
        let length = (payload.len() as u64).saturating_add(missing as u64);
        if length == 0 && !fin && self.next.is_some() {
            return self.probe(sequence, found);
        }
        self.next.get_or_insert(sequence);
        let (start, old) = self.place(sequence);
        let end = start.saturating_add(length).saturating_sub(old);
        let (seen, fresh) = payload.split_at(payload.len().min(usize::try_from(old).unwrap_or(usize::MAX)));
        if fin {
            self.end.get_or_insert(end.max(self.offset));
        }
        if !seen.is_empty() {
            self.again(self.offset.saturating_sub(old), seen, fresh.is_empty() && missing == 0, found);
        }
        if !fresh.is_empty() {
            self.fresh(start, fresh, found);
        }
        if missing > 0 && end.saturating_sub(missing as u64) <= self.offset {
            let end = self.pieces.first().map_or(end, |first| first.min(end));
            self.skip(end.saturating_sub(self.offset), found);
            self.drain(found);
        }
    }

    /// True once everything up to the FIN was handed on, or is missing for good.
    pub(super) fn is_finished(&self) -> bool {
        self.end.is_some_and(|end| self.offset >= end)
    }

    /// The receiver has everything before that sequence number: what did not come until now was lost in the capture, not
    /// on the way.
    pub(super) fn acknowledge(&mut self, sequence: u32, found: &mut impl FnMut(Found<'_>)) {
        let (offset, old) = self.place(sequence);
        if old == 0 && self.end.is_some_and(|end| offset > end) {
            return self.finish(found);
        }
        let Some(first) = self.pieces.first().filter(|first| old == 0 && offset >= *first) else { return };
        self.acknowledged = self.acknowledged.saturating_add(1);
        if self.acknowledged >= ENOUGH_ACKNOWLEDGED {
            self.skip(first.saturating_sub(self.offset), found);
            self.drain(found);
        }
    }

    /// Bytes of memory that wait.
    pub(super) fn cost(&self) -> usize {
        self.pieces.cost()
    }

    /// Hands on what waits, over gaps, until no more than `cost` waits.
    pub(super) fn give_up(&mut self, cost: usize, found: &mut impl FnMut(Found<'_>)) {
        while self.cost() > cost {
            let Some(first) = self.pieces.first() else { return };
            self.skip(first.saturating_sub(self.offset), found);
            self.drain(found);
        }
    }

    /// Nothing more will come.
    pub(super) fn finish(&mut self, found: &mut impl FnMut(Found<'_>)) {
        self.give_up(0, found);
        if let Some(missing) = self.end.and_then(|end| end.checked_sub(self.offset)) {
            self.skip(missing, found);
        }
    }

    /// Forgets what waits; nobody wants it.
    pub(super) fn forget(&mut self) {
        self.pieces = Pieces::default();
    }

    /// Where a segment starts that is not wholly old, and how many of the bytes from its sequence number on are old.
    fn place(&self, sequence: u32) -> (u64, u64) {
        let next = self.next.unwrap_or(sequence);
        let distance = i64::from(sequence.wrapping_sub(next).cast_signed());
        match u64::try_from(distance) {
            Ok(ahead) => (self.offset.saturating_add(ahead), 0),
            Err(_) => (self.offset, distance.unsigned_abs()),
        }
    }

    /// A segment without content: an acknowledgement, or a keep-alive, which repeats the last sequence number.
    fn probe(&self, sequence: u32, found: &mut impl FnMut(Found<'_>)) {
        if self.place(sequence).1 == 1 && self.offset > 0 {
            found(Found::KeepAlive);
        }
    }

    /// Bytes that were handed on before.
    fn again(&self, offset: u64, seen: &[u8], alone: bool, found: &mut impl FnMut(Found<'_>)) {
        if alone && seen.len() == 1 && offset.saturating_add(1) == self.offset {
            return found(Found::KeepAlive); // with a byte of rubbish, which some need
        }
        let conflicting = self.recent.contradict(offset, seen);
        found(Found::Retransmitted { offset, length: seen.len() as u64, conflicting });
    }

    /// Bytes that were not handed on before, though they may be waiting.
    fn fresh(&mut self, start: u64, bytes: &[u8], found: &mut impl FnMut(Found<'_>)) {
        let end = start.saturating_add(bytes.len() as u64);
        if start == self.offset && self.pieces.first().is_none_or(|first| first >= end) {
            self.hand_on(bytes, found);
        } else {
            let Known { bytes: known, conflicting } = self.pieces.insert(start, bytes);
            if known > 0 {
                found(Found::Retransmitted { offset: start, length: known as u64, conflicting });
            }
        }
        self.drain(found);
    }

    fn drain(&mut self, found: &mut impl FnMut(Found<'_>)) {
        while let Some(piece) = self.pieces.take(self.offset) {
            self.hand_on(&piece, found);
        }
    }

    fn hand_on(&mut self, bytes: &[u8], found: &mut impl FnMut(Found<'_>)) {
        self.recent.note(self.offset, bytes);
        found(Found::Data { offset: self.offset, bytes });
        self.advance(bytes.len() as u64);
    }

    fn skip(&mut self, length: u64, found: &mut impl FnMut(Found<'_>)) {
        if length > 0 {
            found(Found::Gap { offset: self.offset, length });
            self.advance(length);
        }
    }

    fn advance(&mut self, length: u64) {
        self.acknowledged = 0;
        self.offset = self.offset.saturating_add(length);
        // Sequence numbers wrap around.
        self.next = self.next.map(|next| next.wrapping_add(length as u32));
    }
}

/// Digests of the last stretches that were handed on, to tell a retransmission from a forgery of one.
#[derive(Default)]
struct Recent {
    stretches: [Stretch; 4],
    next: usize,
}

#[derive(Clone, Copy, Default)]
struct Stretch {
    offset: u64,
    length: usize,
    digest: u64,
}

impl Recent {
    fn note(&mut self, offset: u64, bytes: &[u8]) {
        let at = self.next % self.stretches.len();
        if let Some(stretch) = self.stretches.get_mut(at) {
            *stretch = Stretch { offset, length: bytes.len(), digest: digest(bytes) };
        }
        self.next = at + 1;
    }

    /// One of the stretches lies within these bytes, and they differ.
    fn contradict(&self, offset: u64, bytes: &[u8]) -> bool {
        self.stretches.iter().filter(|stretch| stretch.length > 0).any(|stretch| {
            let start = stretch.offset.checked_sub(offset).and_then(|start| usize::try_from(start).ok());
            let again = start.and_then(|start| bytes.get(start..)?.get(..stretch.length));
            again.is_some_and(|again| digest(again) != stretch.digest)
        })
    }
}

/// Not cryptographic: it only has to notice that bytes differ.
fn digest(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = bytes.as_chunks();
    let mix = |digest: u64, word: u64| (digest ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let digest = words.iter().fold(FACTOR, |digest, word| mix(digest, u64::from_le_bytes(*word)));
    rest.iter().fold(digest, |digest, byte| mix(digest, u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Seen {
        Data(u64, Vec<u8>),
        Gap(u64, u64),
        Again(u64, u64, bool),
        KeepAlive,
    }

    fn seen(act: impl FnOnce(&mut dyn FnMut(Found<'_>))) -> Vec<Seen> {
        let mut all = Vec::new();
        act(&mut |found| {
            all.push(match found {
                Found::Data { offset, bytes } => Seen::Data(offset, bytes.to_vec()),
                Found::Gap { offset, length } => Seen::Gap(offset, length),
                Found::Retransmitted { offset, length, conflicting } => Seen::Again(offset, length, conflicting),
                Found::KeepAlive => Seen::KeepAlive,
            });
        });
        all
    }

    fn add(stream: &mut Stream, sequence: u32, payload: &[u8]) -> Vec<Seen> {
        seen(|mut found| stream.add(sequence, payload, 0, false, &mut found))
    }

    fn data(offset: u64, bytes: &[u8]) -> Seen {
        Seen::Data(offset, bytes.to_vec())
    }

    #[test]
    fn order_is_restored_over_the_wrap_of_sequence_numbers() {
        let mut stream = Stream::default();
        stream.start(u32::MAX - 2);
        assert_eq!(add(&mut stream, 2, b"efg"), []);
        assert_eq!(add(&mut stream, u32::MAX - 1, b"abcd"), [data(0, b"abcd"), data(4, b"efg")]);
        assert_eq!(add(&mut stream, 5, b"h"), [data(7, b"h")]);
    }

    #[test]
    fn the_first_byte_wins_and_contradiction_is_told() {
        let mut stream = Stream::default();
        stream.start(99);
        assert_eq!(add(&mut stream, 100, b"abcd"), [data(0, b"abcd")]);
        assert_eq!(add(&mut stream, 100, b"abcd"), [Seen::Again(0, 4, false)]);
        assert_eq!(add(&mut stream, 100, b"aXcdef"), [Seen::Again(0, 4, true), data(4, b"ef")]);
        assert_eq!(add(&mut stream, 108, b"ij"), []);
        assert_eq!(
            add(&mut stream, 106, b"ghIJk"),
            [Seen::Again(6, 2, true), data(6, b"gh"), data(8, b"ij"), data(10, b"k")]
        );
    }

    #[test]
    fn keep_alives_are_no_retransmissions() {
        let mut stream = Stream::default();
        stream.start(99);
        assert_eq!(add(&mut stream, 100, b""), []);
        assert_eq!(add(&mut stream, 100, b"abc"), [data(0, b"abc")]);
        assert_eq!(add(&mut stream, 103, b""), []);
        assert_eq!(add(&mut stream, 102, b""), [Seen::KeepAlive]);
        assert_eq!(add(&mut stream, 102, b"\0"), [Seen::KeepAlive]);
        assert_eq!(add(&mut stream, 102, b"cd"), [Seen::Again(2, 1, false), data(3, b"d")]);
    }

    #[test]
    fn what_was_not_captured_is_a_gap_at_once() {
        let mut stream = Stream::default();
        stream.start(99);
        let cut = seen(|mut found| stream.add(100, b"ab", 5, false, &mut found));
        assert_eq!(cut, [data(0, b"ab"), Seen::Gap(2, 5)]);
        assert_eq!(add(&mut stream, 107, b"cd"), [data(7, b"cd")]);
        // The same again brings nothing new.
        let cut = seen(|mut found| stream.add(100, b"ab", 5, false, &mut found));
        assert_eq!(cut, [Seen::Again(0, 2, false)]);
    }

    #[test]
    fn what_does_not_come_is_given_up() {
        let mut stream = Stream::default();
        stream.start(99);
        assert_eq!(add(&mut stream, 102, b"cd"), []);
        assert_eq!(add(&mut stream, 106, b"gh"), []);
        assert_eq!(seen(|mut found| stream.give_up(100, &mut found)), [Seen::Gap(0, 2), data(2, b"cd")]);
        assert_eq!(seen(|mut found| stream.finish(&mut found)), [Seen::Gap(4, 2), data(6, b"gh")]);
        assert_eq!(seen(|mut found| stream.finish(&mut found)), []);
    }

    #[test]
    fn what_is_acknowledged_and_did_not_come_is_a_gap() {
        let mut stream = Stream::default();
        stream.start(99);
        let acknowledge = |stream: &mut Stream, number| seen(|mut found| stream.acknowledge(number, &mut found));
        assert_eq!(add(&mut stream, 102, b"cd"), []);
        for number in [99, 100, 101, 104, 104] {
            assert_eq!(acknowledge(&mut stream, number), []);
        }
        assert_eq!(acknowledge(&mut stream, 104), [Seen::Gap(0, 2), data(2, b"cd")]);
        // With the FIN nothing more is in doubt.
        assert_eq!(seen(|mut found| stream.add(107, b"h", 0, true, &mut found)), []);
        assert_eq!(acknowledge(&mut stream, 109), [Seen::Gap(4, 3), data(7, b"h")]);
        assert!(stream.is_finished());
    }

    #[test]
    fn the_end_is_where_the_fin_is() {
        let mut stream = Stream::default();
        stream.start(99);
        assert_eq!(seen(|mut found| stream.add(103, b"d", 0, true, &mut found)), []);
        assert!(!stream.is_finished());
        assert_eq!(add(&mut stream, 100, b"abc"), [data(0, b"abc"), data(3, b"d")]);
        assert!(stream.is_finished());

        let mut stream = Stream::default();
        stream.start(99);
        assert_eq!(add(&mut stream, 100, b"abc"), [data(0, b"abc")]);
        assert_eq!(seen(|mut found| stream.add(101, b"bc", 0, true, &mut found)), [Seen::Again(1, 2, false)]);
        assert!(stream.is_finished());
        assert_eq!(seen(|mut found| stream.add(101, b"bc", 0, true, &mut found)), [Seen::Again(1, 2, false)]);
        assert_eq!(seen(|mut found| stream.finish(&mut found)), []);
    }

    #[test]
    fn a_stream_may_be_picked_up_in_the_middle() {
        let mut stream = Stream::default();
        assert_eq!(add(&mut stream, 5000, b"abc"), [data(0, b"abc")]);
        assert!(stream.starts_otherwise(4999));
        let mut stream = Stream::default();
        stream.start(99);
        assert!(!stream.starts_otherwise(99));
        assert!(stream.starts_otherwise(100));
    }
}
