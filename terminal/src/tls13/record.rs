//! Record framing (RFC 8446 section 5.1): collects one TLSCiphertext from a byte stream, however the stream is cut.

use super::fault::Fault;
use super::keys::{TAG_LENGTH, TrafficKey};
use alloc::vec::Vec;
use core::ops::Range;
use keyferry_parsers::tls::ContentType;
use zeroize::{Zeroize, Zeroizing};

/// The longest TLSPlaintext.fragment (RFC 8446 section 5.1).
pub(crate) const MAX_FRAGMENT: usize = 1 << 14;
/// The longest TLSCiphertext.encrypted_record (RFC 8446 section 5.2).
const MAX_CIPHERTEXT: usize = MAX_FRAGMENT + 256;
const HEADER_LENGTH: usize = 5;
const LEGACY_RECORD_VERSION: [u8; 2] = [3, 3];

/// Appends one protected record to `out`. `content` is at most [`MAX_FRAGMENT`] bytes.
pub(crate) fn write_record(key: &mut TrafficKey, kind: ContentType, content: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let length = u16::try_from(content.len().checked_add(1 + TAG_LENGTH)?).ok()?;
    let [high, low] = length.to_be_bytes();
    let [major, minor] = LEGACY_RECORD_VERSION;
    let header = [ContentType::APPLICATION_DATA.0, major, minor, high, low];
    // All room at once: a later reallocation would leave a copy of the plaintext behind.
    out.reserve(HEADER_LENGTH.checked_add(usize::from(length))?);
    let start = out.len();
    out.extend_from_slice(&header);
    out.extend_from_slice(content);
    out.push(kind.0);
    match key.seal(&header, out.get_mut(start.checked_add(HEADER_LENGTH)?..)?) {
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

/// Room for the record being received. Grows to the record's length once its header is known, so that
/// only ciphertext is ever moved; plaintext is made in place and erased before the next record.
#[derive(Default)]
pub(crate) struct RecordBuffer {
    bytes: Zeroizing<Vec<u8>>,
    opened: bool,
}

impl RecordBuffer {
    /// Takes from `input` what the current record still needs. `true`: the record is complete.
    pub(crate) fn fill(&mut self, input: &mut &[u8]) -> Result<bool, Fault> {
        if self.opened {
            self.clear();
        }
        self.take(HEADER_LENGTH, input);
        let Some(length) = self.record_length()? else { return Ok(false) };
        self.take(length, input);
        Ok(self.bytes.len() == length)
    }

    /// Decrypts the complete record in place; its type and where its content lies, for [`Self::content`].
    pub(crate) fn open(&mut self, key: &mut TrafficKey) -> Result<(ContentType, Range<usize>), Fault> {
        self.opened = true;
        let (header, rest) = self.bytes.split_first_chunk_mut::<HEADER_LENGTH>().ok_or(Fault::BadRecordMac)?;
        let (inner, tag) = rest.split_last_chunk_mut::<TAG_LENGTH>().ok_or(Fault::BadRecordMac)?;
        key.open(header, inner, tag).ok_or(Fault::BadRecordMac)?;
        if inner.len() > MAX_FRAGMENT + 1 {
            return Err(Fault::RecordOverflow);
        }
        let padded = inner.iter().rposition(|byte| *byte != 0);
        let at = padded.ok_or(Fault::UnexpectedMessage("a record without a content type"))?;
        let kind = inner.get(at).copied().unwrap_or_default();
        Ok((ContentType(kind), HEADER_LENGTH..HEADER_LENGTH.saturating_add(at)))
    }

    /// The plaintext at `range`, valid until the next [`Self::fill`].
    pub(crate) fn content(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// Erases what is held.
    pub(crate) fn clear(&mut self) {
        // Not `zeroize` of the Vec, which would also wipe the unused capacity, 16 KB, for every small record.
        self.bytes.as_mut_slice().zeroize();
        self.bytes.clear();
        self.opened = false;
    }

    /// Bytes of the whole record by its header; `None` while the header is incomplete.
    fn record_length(&self) -> Result<Option<usize>, Fault> {
        // legacy_record_version is ignored for all purposes (RFC 8446 section 5.1); the AEAD covers it anyway.
        let Some([kind, _, _, high, low]) = self.bytes.first_chunk::<HEADER_LENGTH>() else { return Ok(None) };
        if *kind != ContentType::APPLICATION_DATA.0 {
            return Err(Fault::UnexpectedMessage("a record that is not encrypted"));
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length > MAX_CIPHERTEXT {
            return Err(Fault::RecordOverflow);
        }
        if length <= TAG_LENGTH {
            return Err(Fault::DecodeError("a record too short to hold a content type and a tag"));
        }
        Ok(Some(HEADER_LENGTH.saturating_add(length)))
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
