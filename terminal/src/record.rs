//! Record framing: collects one protected record from a byte stream, however the stream is cut, and writes them.
//! What is inside a record differs between versions: [`Protection`].

use crate::aead::{RecordKey, TAG_LENGTH};
use crate::fault::Fault;
use alloc::vec::Vec;
use core::ops::Range;
use keyferry_parsers::tls::ContentType;
use zeroize::{Zeroize, Zeroizing};

/// The longest TLSPlaintext.fragment (RFC 8446 section 5.1, RFC 5246 section 6.2.1).
pub(crate) const MAX_FRAGMENT: usize = 1 << 14;
pub(crate) const HEADER_LENGTH: usize = 5;
/// In front of every protected record of both versions: legacy_record_version of TLS 1.3, version of TLS 1.2.
pub(crate) const RECORD_VERSION: [u8; 2] = [3, 3];

/// How one version of TLS protects the records of one direction.
pub(crate) trait Protection {
    /// Bytes behind this header, if a record may begin so.
    fn record_length(header: &[u8; HEADER_LENGTH]) -> Result<usize, Fault>;

    /// Decrypts what follows the header in place; the record's type, and where in it the content lies.
    fn open(&mut self, header: &[u8; HEADER_LENGTH], record: &mut [u8]) -> Result<(ContentType, Range<usize>), Fault>;

    /// Appends one protected record to `out`. `content` is at most [`MAX_FRAGMENT`] bytes. `None`: the key can protect
    /// no more, and `out` is as before.
    fn seal(&mut self, kind: ContentType, content: &[u8], out: &mut Vec<u8>) -> Option<()>;

    /// The key itself, for how much it has protected.
    fn key(&self) -> &RecordKey;
}

/// The parts of a record to be written, in their order.
pub(crate) struct Parts<'a> {
    pub(crate) kind: ContentType,
    /// In the clear.
    pub(crate) explicit_nonce: &'a [u8],
    /// Encrypted.
    pub(crate) content: &'a [u8],
    /// Encrypted, behind the content.
    pub(crate) inner_type: &'a [u8],
}

impl Parts<'_> {
    /// The record's header.
    pub(crate) fn header(&self) -> Option<[u8; HEADER_LENGTH]> {
        let encrypted = self.content.len().checked_add(self.inner_type.len())?;
        let length = self.explicit_nonce.len().checked_add(encrypted)?.checked_add(TAG_LENGTH)?;
        let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
        let [major, minor] = RECORD_VERSION;
        Some([self.kind.0, major, minor, high, low])
    }

    /// Encrypts and appends; see [`Protection::seal`].
    pub(crate) fn write(
        &self,
        key: &mut RecordKey,
        header: [u8; HEADER_LENGTH],
        aad: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let start = out.len();
        // All room at once: a later reallocation would leave a copy of the plaintext behind.
        let [.., high, low] = header;
        out.reserve(HEADER_LENGTH.checked_add(usize::from(u16::from_be_bytes([high, low])))?);
        out.extend_from_slice(&header);
        out.extend_from_slice(self.explicit_nonce);
        let inner = out.len();
        out.extend_from_slice(self.content);
        out.extend_from_slice(self.inner_type);
        match key.seal(aad, out.get_mut(inner..)?) {
            Some(tag) => {
                out.extend_from_slice(&tag);
                Some(())
            }
            None => {
                out.get_mut(start..)?.zeroize();
                out.truncate(start);
                None
            }
        }
    }
}

/// The stream from the peer: first what the gateway had read of it past the handshake, then what TCP brings.
pub(crate) struct Incoming {
    buffer: RecordBuffer,
    prefix: Vec<u8>,
    prefix_taken: usize,
}

impl Incoming {
    pub(crate) fn new(prefix: Vec<u8>) -> Self {
        Self { buffer: RecordBuffer::default(), prefix, prefix_taken: 0 }
    }

    /// Takes bytes until one record is complete; `false`: all taken, more is needed.
    pub(crate) fn fill<P: Protection>(&mut self, input: &mut &[u8]) -> Result<bool, Fault> {
        let mut prefix = self.prefix.get(self.prefix_taken..).unwrap_or_default();
        let complete = self.buffer.fill::<P>(&mut prefix)?;
        self.prefix_taken = self.prefix.len().saturating_sub(prefix.len());
        if complete {
            return Ok(true);
        }
        self.prefix = Vec::new();
        self.prefix_taken = 0;
        self.buffer.fill::<P>(input)
    }

    /// Decrypts the complete record in place; its type and where its content lies, for [`Self::content`].
    pub(crate) fn open<P: Protection>(&mut self, key: &mut P) -> Result<(ContentType, Range<usize>), Fault> {
        self.buffer.open(key)
    }

    /// The plaintext at `range`, valid until the next [`Self::fill`].
    pub(crate) fn content(&self, range: Range<usize>) -> &[u8] {
        self.buffer.bytes.get(range).unwrap_or_default()
    }

    /// Erases what is held.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.prefix = Vec::new();
        self.prefix_taken = 0;
    }
}

/// Room for the record being received. Grows to the record's length once its header is known, so that
/// only ciphertext is ever moved; plaintext is made in place and erased before the next record.
#[derive(Default)]
struct RecordBuffer {
    bytes: Zeroizing<Vec<u8>>,
    opened: bool,
}

impl RecordBuffer {
    fn fill<P: Protection>(&mut self, input: &mut &[u8]) -> Result<bool, Fault> {
        if self.opened {
            self.clear();
        }
        self.take(HEADER_LENGTH, input);
        let Some(header) = self.bytes.first_chunk::<HEADER_LENGTH>() else { return Ok(false) };
        let length = HEADER_LENGTH.saturating_add(P::record_length(header)?);
        self.take(length, input);
        Ok(self.bytes.len() == length)
    }

    fn open<P: Protection>(&mut self, key: &mut P) -> Result<(ContentType, Range<usize>), Fault> {
        self.opened = true;
        let (header, record) = self.bytes.split_first_chunk_mut::<HEADER_LENGTH>().ok_or(Fault::BadRecordMac)?;
        let (kind, Range { start, end }) = key.open(header, record)?;
        Ok((kind, HEADER_LENGTH.saturating_add(start)..HEADER_LENGTH.saturating_add(end)))
    }

    fn clear(&mut self) {
        // Not `zeroize` of the Vec, which would also wipe the unused capacity, 16 KB, for every small record.
        self.bytes.as_mut_slice().zeroize();
        self.bytes.clear();
        self.opened = false;
    }

    /// Grows to `target` bytes as far as `input` reaches.
    fn take(&mut self, target: usize, input: &mut &[u8]) {
        let missing = target.saturating_sub(self.bytes.len());
        self.bytes.reserve_exact(missing);
        let (taken, rest) = input.split_at_checked(missing).unwrap_or((*input, &[]));
        self.bytes.extend_from_slice(taken);
        *input = rest;
    }
}
