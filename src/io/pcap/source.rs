//! Bytes of a capture file through one buffer, unpacked if they were packed.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::{CaptureFault, Place};

/// A buffer before a file. It grows only as far as a block asks that is really there.
pub(super) struct Source {
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// What is in the buffer and was not taken.
    start: usize,
    end: usize,
    /// Bytes that were taken.
    taken: u64,
    /// Bytes of the file that were read, if they were packed.
    packed: Option<Arc<AtomicU64>>,
}

const BUFFER: usize = 256 * 1024;
const PACKED_BUFFER: usize = 64 * 1024;
const GZIP: [u8; 2] = [0x1f, 0x8b];

impl Source {
    pub(super) fn new(input: impl Read + Send + 'static) -> io::Result<Self> {
        let mut plain = Self::over(input);
        plain.fill(GZIP.len())?;
        if !plain.held().starts_with(&GZIP) {
            return Ok(plain);
        }
        let read = Arc::new(AtomicU64::new(0));
        let packed = Counted { input: plain, read: Arc::clone(&read) };
        let unpacked = MultiGzDecoder::new(io::BufReader::with_capacity(PACKED_BUFFER, packed));
        Ok(Self { packed: Some(read), ..Self::over(unpacked) })
    }

    fn over(input: impl Read + Send + 'static) -> Self {
        Self { input: Box::new(input), buffer: vec![0; BUFFER], start: 0, end: 0, taken: 0, packed: None }
    }

    /// Bytes of the file that have been read.
    pub(super) fn position(&self) -> u64 {
        self.packed.as_ref().map_or(self.taken, |read| read.load(Ordering::Relaxed))
    }

    /// Where the next byte is.
    pub(super) fn place(&self) -> Place {
        if self.packed.is_some() { Place::UnpackedByte(self.taken) } else { Place::Byte(self.taken) }
    }

    /// The next `N` bytes, which stay; `None` if the file ends before the first of them.
    pub(super) fn header<const N: usize>(&mut self, what: &'static str) -> Result<Option<[u8; N]>, CaptureFault> {
        self.fill(N)?;
        match self.held().first_chunk() {
            Some(header) => Ok(Some(*header)),
            None if self.held().is_empty() => Ok(None),
            None => Err(CaptureFault::Truncated(what)),
        }
    }

    /// The next `length` bytes, which stay.
    pub(super) fn peek(&mut self, length: usize, what: &'static str) -> Result<&[u8], CaptureFault> {
        self.fill(length)?;
        self.held().get(..length).ok_or(CaptureFault::Truncated(what))
    }

    /// Takes the next `length` bytes off, or what is held of them.
    pub(super) fn consume(&mut self, length: usize) -> &[u8] {
        let start = self.start;
        self.start = start.saturating_add(length).min(self.end);
        let taken = self.buffer.get(start..self.start).unwrap_or_default();
        self.taken = self.taken.saturating_add(taken.len() as u64);
        taken
    }

    /// Takes `length` bytes without keeping them.
    pub(super) fn skip(&mut self, length: u64, what: &'static str) -> Result<(), CaptureFault> {
        let mut left = length;
        while left > 0 {
            self.fill(1)?;
            let taken = self.consume(usize::try_from(left).unwrap_or(usize::MAX)).len() as u64;
            if taken == 0 {
                return Err(CaptureFault::Truncated(what));
            }
            left = left.saturating_sub(taken);
        }
        Ok(())
    }

    fn held(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads until `length` bytes are held, or the file ends.
    #[inline]
    fn fill(&mut self, length: usize) -> io::Result<()> {
        while self.end.saturating_sub(self.start) < length && self.read_more()? > 0 {}
        Ok(())
    }

    fn read_more(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.buffer.len() {
            if self.start == 0 {
                self.buffer.resize(self.buffer.len().saturating_mul(2), 0);
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end.saturating_sub(self.start));
        }
        let free = self.buffer.get_mut(self.end..).unwrap_or_default();
        loop {
            match self.input.read(free) {
                Ok(read) => {
                    self.end = self.end.saturating_add(read);
                    return Ok(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// What was peeked at to tell the format, and then the rest.
impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            return self.input.read(buffer);
        }
        let taken = self.consume(buffer.len());
        let length = taken.len();
        buffer.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
        Ok(length)
    }
}

/// Counts what is read through it.
struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::{Cursor, Write as _};

    /// Gives as little as it may, as a pipe does.
    struct Slow(Cursor<Vec<u8>>);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let few = buffer.len().min(7);
            self.0.read(&mut buffer[..few])
        }
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_stays_is_taken_later() {
        let mut source = Source::new(Slow(Cursor::new((0..100).collect()))).unwrap();
        assert_eq!(source.header("").unwrap(), Some([0, 1, 2, 3]));
        assert_eq!(source.peek(20, "").unwrap().len(), 20);
        assert_eq!(source.consume(20)[19], 19);
        source.skip(30, "").unwrap();
        assert_eq!((source.position(), source.place()), (50, Place::Byte(50)));
        assert!(matches!(source.peek(51, "a frame"), Err(CaptureFault::Truncated("a frame"))));
        assert_eq!(source.consume(50)[0], 50);
        assert_eq!(source.header::<1>("").unwrap(), None);
        assert!(matches!(source.skip(1, "a block"), Err(CaptureFault::Truncated("a block"))));
    }

    #[test]
    fn a_buffer_grows_no_further_than_the_file() {
        let mut source = Source::new(io::repeat(7).take(600_000)).unwrap();
        assert_eq!(source.peek(500_000, "").unwrap().len(), 500_000);
        assert!(source.peek(usize::MAX, "a block").is_err());
        assert!(source.buffer.len() <= 4 * 600_000);
    }

    #[test]
    fn packed_files_are_unpacked_member_by_member() {
        let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let (first, second) = bytes.split_at(1000);
        let file = [packed(first), packed(second)].concat();
        let length = file.len() as u64;
        let mut source = Source::new(Slow(Cursor::new(file))).unwrap();
        assert_eq!(source.peek(300_000, "").unwrap(), bytes);
        source.consume(300_000);
        assert_eq!(source.header::<1>("").unwrap(), None);
        assert_eq!((source.position(), source.place()), (length, Place::UnpackedByte(300_000)));
    }

    #[test]
    fn a_packed_file_that_is_cut_gives_what_it_has() {
        let mut file = packed(&[7; 100_000]);
        file.truncate(file.len() - 8);
        let mut source = Source::new(Cursor::new(file)).unwrap();
        assert_eq!(source.peek(50_000, "").unwrap().len(), 50_000);
        source.consume(100_000);
        assert!(source.header::<1>("").is_err());
    }
}
