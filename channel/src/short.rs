//! Byte strings too short for the heap: identifiers, tokens, Echo values.

use core::fmt;

/// At most `N` bytes, held inline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Short<const N: usize> {
    // Unused bytes stay zero, so that the derived comparisons are right.
    bytes: [u8; N],
    length: u8,
}

impl<const N: usize> Short<N> {
    /// The empty string.
    pub const EMPTY: Self = Self { bytes: [0; N], length: 0 };

    /// `None` if `bytes` is longer than `N`.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut short = Self::EMPTY;
        short.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        short.length = u8::try_from(bytes.len()).ok()?;
        Some(short)
    }

    /// Appends `bytes`; what does not fit is a mistake of the caller, found by the tests.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let start = usize::from(self.length);
        let room = self.bytes.get_mut(start..).and_then(|room| room.get_mut(..bytes.len()));
        debug_assert!(room.is_some(), "no room");
        if let Some(room) = room {
            room.copy_from_slice(bytes);
            self.length = self.length.saturating_add(bytes.len() as u8);
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Debug for Short<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("h'")?;
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("'")
    }
}
