//! Cuts one direction of a stream into records. Only a record that is not whole yet is copied.

use keyferry_parsers::tls::{ContentType, ProtocolVersion, Record, ssl2};

/// The records of one direction.
#[derive(Default)]
pub(super) struct Records {
    /// What there is of a record that is not whole.
    buffer: Vec<u8>,
    /// Where it starts in the stream.
    at: u64,
    /// Bytes to come that belong to a record that was given up.
    skip: u64,
    /// After a gap of unknown content: what comes next may be anything.
    lost: bool,
    /// The next record is one of SSL 2.0.
    pub(super) ssl2: bool,
}

/// What was cut.
pub(super) enum Step<'a> {
    /// A record.
    Record(Record<'a>),
    /// The content of a record of SSL 2.0.
    Ssl2(&'a [u8]),
    /// No record: the rest of the stream means nothing.
    Foreign,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    Stop,
}

/// Where something is in a stream: its first byte, and the one after its last.
pub(super) type Span = (u64, u64);

const HEADER: usize = 5;
/// RFC 5246 section 6.2.3, the most of all versions.
const MAX_FRAGMENT: usize = (1 << 14) + 2048;

enum Cut {
    Whole(usize),
    More(usize),
    Foreign,
}

impl Records {
    /// From this place of the stream on.
    pub(super) fn start(at: u64, ssl2: bool) -> Self {
        Self { at, ssl2, ..Self::default() }
    }

    /// From the next bytes that can be a record.
    pub(super) fn anywhere() -> Self {
        Self { lost: true, ..Self::default() }
    }

    /// Takes the next bytes, and gives every record that is whole.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Step<'_>, Span, &mut bool) -> Flow) {
        bytes = self.pass_over(bytes);
        if self.lost && !bytes.is_empty() {
            if !matches!(cut(false, bytes), Cut::Whole(_) | Cut::More(_)) || bytes.len() < HEADER {
                self.at = self.at.saturating_add(bytes.len() as u64);
                return;
            }
            self.lost = false;
        }
        while !bytes.is_empty() {
            let mut ssl2 = self.ssl2;
            let (length, flow) = if self.buffer.is_empty() {
                match cut(ssl2, bytes) {
                    Cut::Whole(length) => {
                        let (record, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
                        bytes = rest;
                        (length, each(step(ssl2, record), self.span(length), &mut ssl2))
                    }
                    Cut::More(_) => return self.buffer.extend_from_slice(bytes),
                    Cut::Foreign => {
                        each(Step::Foreign, self.span(bytes.len()), &mut ssl2);
                        return;
                    }
                }
            } else {
                let missing = match cut(ssl2, &self.buffer) {
                    Cut::More(length) => length.saturating_sub(self.buffer.len()).max(1),
                    Cut::Whole(_) | Cut::Foreign => 0,
                };
                let (more, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
                self.buffer.extend_from_slice(more);
                bytes = rest;
                match cut(ssl2, &self.buffer) {
                    Cut::Whole(length) => {
                        let buffer = std::mem::take(&mut self.buffer);
                        let flow = each(step(ssl2, &buffer), self.span(length), &mut ssl2);
                        self.buffer = buffer;
                        self.buffer.clear();
                        (length, flow)
                    }
                    Cut::More(_) => continue,
                    Cut::Foreign => {
                        each(Step::Foreign, self.span(self.buffer.len()), &mut ssl2);
                        return;
                    }
                }
            };
            self.at = self.at.saturating_add(length as u64);
            self.ssl2 = ssl2;
            if flow == Flow::Stop {
                return;
            }
        }
    }

    /// Bytes will never come. True if the next record is known all the same: they were all of one record.
    pub(super) fn gap(&mut self, length: u64) -> bool {
        if self.skip >= length && self.skip > 0 {
            self.skip -= length;
            self.at = self.at.saturating_add(length);
            return true;
        }
        let have = self.buffer.len();
        let whole = match cut(self.ssl2, &self.buffer) {
            Cut::More(whole) if have >= HEADER => whole,
            _ => have,
        };
        let missing = whole.saturating_sub(have) as u64;
        self.buffer.clear();
        self.at = self.at.saturating_add(have as u64).saturating_add(length);
        self.skip = missing.saturating_sub(length);
        self.lost = length > missing;
        !self.lost
    }

    /// Bytes of a record that is not whole.
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    fn pass_over<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let over = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip = self.skip.saturating_sub(over as u64);
        self.at = self.at.saturating_add(over as u64);
        bytes.get(over..).unwrap_or_default()
    }

    fn span(&self, length: usize) -> Span {
        (self.at, self.at.saturating_add(length as u64))
    }
}

fn step(ssl2: bool, bytes: &[u8]) -> Step<'_> {
    if ssl2 {
        return match ssl2::Record::next(bytes) {
            Ok(Some((record, _))) => Step::Ssl2(record.data),
            _ => Step::Foreign,
        };
    }
    match bytes.split_first_chunk() {
        Some(([content_type, major, minor, _, _], fragment)) => Step::Record(Record {
            content_type: ContentType(*content_type),
            legacy_record_version: ProtocolVersion(u16::from_be_bytes([*major, *minor])),
            fragment,
        }),
        None => Step::Foreign,
    }
}

fn cut(ssl2: bool, bytes: &[u8]) -> Cut {
    if ssl2 {
        return cut_ssl2(bytes);
    }
    let content_type = bytes.first().copied().unwrap_or(ContentType::HANDSHAKE.0);
    let major = bytes.get(1).copied().unwrap_or(3);
    if !(ContentType::CHANGE_CIPHER_SPEC.0..=ContentType::HEARTBEAT.0).contains(&content_type) || major != 3 {
        return Cut::Foreign;
    }
    let Some([_, _, _, high, low]) = bytes.first_chunk() else { return Cut::More(HEADER) };
    match usize::from(u16::from_be_bytes([*high, *low])) {
        0 if content_type != ContentType::APPLICATION_DATA.0 => Cut::Foreign,
        length if length > MAX_FRAGMENT => Cut::Foreign,
        length => whole_or_more(HEADER.saturating_add(length), bytes),
    }
}

fn cut_ssl2(bytes: &[u8]) -> Cut {
    let Some([high, low]) = bytes.first_chunk() else { return Cut::More(3) };
    let (header, mask) = if high & 0x80 != 0 { (2, 0x7f) } else { (3, 0x3f) };
    match usize::from(u16::from_be_bytes([high & mask, *low])) {
        0 => Cut::Foreign,
        length => whole_or_more(usize::saturating_add(header, length), bytes),
    }
}

fn whole_or_more(length: usize, bytes: &[u8]) -> Cut {
    if bytes.len() >= length { Cut::Whole(length) } else { Cut::More(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: [u8; 15] = [22, 3, 1, 0, 3, 1, 2, 3, 21, 3, 3, 0, 2, 2, 40];

    fn collect(records: &mut Records, bytes: &[u8]) -> Vec<(u8, Vec<u8>, Span)> {
        let mut out = Vec::new();
        records.feed(bytes, |step, span, _| {
            match step {
                Step::Record(record) => out.push((record.content_type.0, record.fragment.to_vec(), span)),
                Step::Ssl2(data) => out.push((0, data.to_vec(), span)),
                Step::Foreign => out.push((255, vec![], span)),
            }
            Flow::On
        });
        out
    }

    #[test]
    fn records_come_whole_however_the_stream_is_cut() {
        for first in 0..STREAM.len() {
            for second in first..STREAM.len() {
                let mut records = Records::start(7, false);
                let mut all = collect(&mut records, &STREAM[..first]);
                all.extend(collect(&mut records, &STREAM[first..second]));
                all.extend(collect(&mut records, &STREAM[second..]));
                assert_eq!(all, [(22, vec![1, 2, 3], (7, 15)), (21, vec![2, 40], (15, 22))], "{first} {second}");
                assert_eq!(records.waiting(), 0);
            }
        }
    }

    #[test]
    fn a_gap_inside_a_record_costs_that_record_alone() {
        let mut records = Records::start(0, false);
        assert!(collect(&mut records, &STREAM[..6]).is_empty());
        assert!(records.gap(1));
        assert_eq!(collect(&mut records, &STREAM[7..]), [(21, vec![2, 40], (8, 15))]);
        let mut records = Records::start(0, false);
        assert!(collect(&mut records, &STREAM[..6]).is_empty());
        assert!(!records.gap(2000));
        assert!(collect(&mut records, b"anything at all").is_empty());
        assert_eq!(collect(&mut records, &STREAM[8..]).len(), 1);
    }

    #[test]
    fn other_protocols_are_foreign() {
        for bytes in [&b"HTTP/1.1"[..], &[22, 3, 1, 0xff, 0xff], &[22, 3, 1, 0, 0], &[22, 2]] {
            assert_eq!(collect(&mut Records::default(), bytes)[0].0, 255);
        }
        let mut records = Records::start(0, true);
        assert_eq!(collect(&mut records, &[0x80, 2, 4, 5, 0]), [(0, vec![4, 5], (0, 4))]);
    }
}
