//! `channel.slots`: keys that can be erased. The database never overwrites, it leaves old pages behind, so
//! an old channel key would stay on the disk although nothing refers to it. Each channel state is sealed
//! under a slot key kept here, in a file that is overwritten in place: zeroing the slot key makes every old
//! copy of the state unreadable.
//!
//! A terminal has one slot of two halves. A new state goes under the half that is not in use:
//!
//! 1. [`Slots::prepare`] writes a fresh key to the other half; [`Slots::sync`].
//! 2. The database commits the state sealed under it, and names the half.
//! 3. [`Slots::erase`] zeroes the old half; [`Slots::sync`].
//!
//! Whatever half the database names after a crash is intact; [`Slots::open`] zeroes all others.
//!
//! File: 64 bytes of header, then 64 bytes for each slot: half A, half B. All zero is an empty half.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

const MAGIC: &[u8; 16] = b"keyferry slots 1";
const HEADER_LENGTH: u64 = 64;
const SLOT_LENGTH: u64 = 64;
const KEY_LENGTH: usize = 32;
/// Slots added at once when none is free: one page of the file.
const GROWTH: u32 = 64;

/// A file that is overwritten in place. [`File`], or in tests one that loses power.
pub trait Overwritable: Send {
    /// Bytes in the file.
    fn length(&self) -> io::Result<u64>;
    /// Reads exactly `bytes` at `offset`.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// Overwrites `bytes` at `offset`, at most one past the end.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when all that was written survives a power failure.
    fn sync(&self) -> io::Result<()>;
}

/// The place of one slot key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Half {
    /// The slot, from 0.
    pub slot: u32,
    /// Its second half.
    pub second: bool,
}

/// A slot key: what must be present, beside the store key, to unseal a channel state.
pub type SlotKey = Zeroizing<[u8; KEY_LENGTH]>;

/// The open file.
pub struct Slots {
    file: Box<dyn Overwritable>,
    count: u32,
    free: BTreeSet<u32>,
    random: SystemRandom,
}

impl Half {
    /// The half of the same slot that is not this one.
    pub fn other(self) -> Self {
        Self { second: !self.second, ..self }
    }

    fn offset(self) -> u64 {
        let half = if self.second { SLOT_LENGTH / 2 } else { 0 };
        HEADER_LENGTH + u64::from(self.slot) * SLOT_LENGTH + half
    }
}

impl Slots {
    /// Takes over the file, begins it where it is empty, and durably zeroes every half not in `named`.
    ///
    /// # Errors
    /// Besides those of the file: `InvalidData` where it is not a slot file, or does not hold what is named.
    pub fn open(file: Box<dyn Overwritable>, named: &BTreeSet<Half>) -> io::Result<Self> {
        let mut slots = Self { file, count: 0, free: BTreeSet::new(), random: SystemRandom::new() };
        slots.check_header()?;
        let last_named = named.last().map_or(0, |half| half.slot.saturating_add(1));
        if last_named > slots.count {
            return Err(damaged("it is shorter than the store says; was it replaced or restored alone?"));
        }
        for slot in 0..slots.count {
            let halves = [false, true].map(|second| Half { slot, second });
            for half in halves.into_iter().filter(|half| !named.contains(half)) {
                slots.zero(half)?;
            }
            if !halves.iter().any(|half| named.contains(half)) {
                slots.free.insert(slot);
            }
        }
        slots.sync()?;
        Ok(slots)
    }

    /// Writes a fresh key beside the one in `current`, or into a free slot. Durable after [`Self::sync`].
    pub fn prepare(&mut self, current: Option<Half>) -> io::Result<Half> {
        let half = match current {
            Some(half) => half.other(),
            None => Half { slot: self.take_free()?, second: false },
        };
        let mut key = SlotKey::default();
        self.random.fill(key.as_mut()).map_err(|_| io::Error::other("the system gives no randomness"))?;
        self.file.write_at(half.offset(), key.as_ref())?;
        Ok(half)
    }

    /// Overwrites a key with zeros. Durable after [`Self::sync`].
    pub fn erase(&mut self, half: Half) -> io::Result<()> {
        self.zero(half)
    }

    /// Gives back the slot of a terminal that is gone, both halves zeroed. Durable after [`Self::sync`].
    pub fn release(&mut self, slot: u32) -> io::Result<()> {
        self.zero(Half { slot, second: false })?;
        self.zero(Half { slot, second: true })?;
        self.free.insert(slot);
        Ok(())
    }

    /// Returns when everything written is durable.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// The key in a half.
    ///
    /// # Errors
    /// `InvalidData` where the half is empty: what was sealed under it is gone for good.
    pub fn key(&self, half: Half) -> io::Result<SlotKey> {
        let mut key = SlotKey::default();
        self.file.read_at(half.offset(), key.as_mut())?;
        if key.iter().all(|byte| *byte == 0) {
            return Err(damaged("the key of this terminal's channel state was erased"));
        }
        Ok(key)
    }

    fn check_header(&mut self) -> io::Result<()> {
        let length = self.file.length()?;
        if length < HEADER_LENGTH {
            // New, or the power failed while it was begun: nothing can have been sealed under it yet.
            let mut header = [0; HEADER_LENGTH as usize];
            if let Some(magic) = header.first_chunk_mut() {
                *magic = *MAGIC;
            }
            return self.file.write_at(0, &header);
        }
        let mut magic = [0; MAGIC.len()];
        self.file.read_at(0, &mut magic)?;
        if magic != *MAGIC {
            return Err(damaged("it is not a slot file of this version"));
        }
        let count = (length - HEADER_LENGTH) / SLOT_LENGTH;
        self.count = u32::try_from(count).map_err(|_| damaged("it is too large"))?;
        Ok(())
    }

    fn take_free(&mut self) -> io::Result<u32> {
        if self.free.is_empty() {
            let grown = self.count.checked_add(GROWTH).ok_or_else(|| damaged("it is too large"))?;
            let end = Half { slot: self.count, second: false }.offset();
            self.file.write_at(end, &[0; GROWTH as usize * SLOT_LENGTH as usize])?;
            self.free.extend(self.count..grown);
            self.count = grown;
        }
        self.free.pop_first().ok_or_else(|| damaged("no slot is free"))
    }

    fn zero(&self, half: Half) -> io::Result<()> {
        self.file.write_at(half.offset(), &[0; KEY_LENGTH])
    }
}

impl Overwritable for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("channel.slots: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(file: &File, named: &[Half]) -> io::Result<Slots> {
        Slots::open(Box::new(file.try_clone()?), &named.iter().copied().collect())
    }

    #[test]
    fn keys_survive_reopening_only_where_they_are_named() {
        let file = tempfile::tempfile().unwrap();
        let mut slots = open(&file, &[]).unwrap();
        let first = slots.prepare(None).unwrap();
        let second = slots.prepare(None).unwrap();
        let next = slots.prepare(Some(first)).unwrap();
        assert_eq!((next.slot, next.second), (first.slot, true));
        let key = slots.key(next).unwrap();

        let slots = open(&file, &[next]).unwrap();
        assert!(*slots.key(next).unwrap() == *key);
        for gone in [first, second] {
            assert_eq!(slots.key(gone).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn slots_are_used_again_and_the_file_grows_when_all_are_taken() {
        let file = tempfile::tempfile().unwrap();
        let mut slots = open(&file, &[]).unwrap();
        let taken: Vec<Half> = (0..=GROWTH).map(|_| slots.prepare(None).unwrap()).collect();
        let distinct: BTreeSet<u32> = taken.iter().map(|half| half.slot).collect();
        assert_eq!(distinct.len(), taken.len());
        let length = file.metadata().unwrap().len();
        slots.release(7).unwrap();
        assert!(slots.key(taken[7]).is_err());
        assert_eq!(slots.prepare(None).unwrap().slot, 7);
        assert_eq!(file.metadata().unwrap().len(), length);
    }

    #[test]
    fn a_file_of_something_else_or_too_short_is_refused_untouched() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 128], 0).unwrap();
        assert!(open(&file, &[]).is_err());
        let mut bytes = [0; 128];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, [7; 128]);

        let fresh = tempfile::tempfile().unwrap();
        assert!(open(&fresh, &[Half { slot: 3, second: false }]).is_err());
    }
}
