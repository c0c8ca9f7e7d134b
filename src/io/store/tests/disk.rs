//! Two files on a disk that fills up, or loses power between any two operations.

use std::io;
use std::sync::{Arc, Mutex};

use redb::{Builder, Database, DatabaseError, ReadOnlyDatabase, StorageBackend};

use super::super::Medium;
use crate::io::slots::Overwritable;

/// What becomes of writes that were not synced when the power failed.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Lost,
    Kept,
    /// Some of them, chosen by this seed.
    Some(u64),
}

pub struct Disk(Mutex<Contents>);

#[derive(Clone, Default)]
struct Contents {
    database: Content,
    slots: Content,
    /// Operations until everything fails.
    left: Option<u32>,
    largest: Option<usize>,
}

#[derive(Clone, Default)]
struct Content {
    durable: Vec<u8>,
    present: Vec<u8>,
    unsynced: Vec<Unsynced>,
}

#[derive(Clone)]
enum Unsynced {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Clone, Copy)]
enum Which {
    Database,
    Slots,
}

impl Disk {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    pub fn copy(&self) -> Arc<Self> {
        Arc::new(Self(Mutex::new(self.0.lock().unwrap().clone())))
    }

    /// After `operations` writes and syncs more, everything fails.
    pub fn fail_after(&self, operations: u32) {
        self.0.lock().unwrap().left = Some(operations);
    }

    /// The power comes back.
    pub fn power_cycle(&self, fate: Fate) {
        let mut contents = self.0.lock().unwrap();
        contents.left = None;
        contents.database.settle(fate);
        contents.slots.settle(fate);
    }

    /// From now on no file can grow.
    pub fn limit_to_present_size(&self) {
        let mut contents = self.0.lock().unwrap();
        contents.largest = Some(contents.database.present.len().max(contents.slots.present.len()));
    }

    pub fn lift_limits(&self) {
        self.0.lock().unwrap().largest = None;
    }

    /// Everything an attacker finds: database and slots.
    pub fn files(&self) -> (Vec<u8>, Vec<u8>) {
        let contents = self.0.lock().unwrap();
        (contents.database.present.clone(), contents.slots.present.clone())
    }

    /// The slot keys that are not erased.
    pub fn slot_keys(&self) -> Vec<Vec<u8>> {
        let (_, slots) = self.files();
        let halves = slots.get(64..).unwrap_or_default().chunks_exact(32);
        halves.filter(|half| half.iter().any(|byte| *byte != 0)).map(<[u8]>::to_vec).collect()
    }

    fn change<T>(&self, which: Which, change: impl FnOnce(&mut Content) -> T, size: usize) -> io::Result<T> {
        let mut contents = self.0.lock().unwrap();
        if contents.largest.is_some_and(|largest| size > largest) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(left) = &mut contents.left {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
        }
        Ok(change(contents.of(which)))
    }

    fn read(&self, which: Which, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut contents = self.0.lock().unwrap();
        let offset = offset as usize;
        let bytes = contents.of(which).present.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, which: Which, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (offset, end) = (offset as usize, offset as usize + bytes.len());
        self.change(which, |content| content.apply(Unsynced::Write(offset, bytes.to_vec())), end)
    }

    fn sync(&self, which: Which) -> io::Result<()> {
        self.change(which, Content::sync, 0)
    }

    fn length(&self, which: Which) -> u64 {
        self.0.lock().unwrap().of(which).present.len() as u64
    }
}

impl Contents {
    fn of(&mut self, which: Which) -> &mut Content {
        match which {
            Which::Database => &mut self.database,
            Which::Slots => &mut self.slots,
        }
    }
}

impl Content {
    fn apply(&mut self, change: Unsynced) {
        change.apply_to(&mut self.present);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.present);
        self.unsynced.clear();
    }

    fn settle(&mut self, fate: Fate) {
        let mut random = match fate {
            Fate::Some(seed) => seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            Fate::Lost | Fate::Kept => 1,
        };
        let mut survivor = self.durable.clone();
        for change in std::mem::take(&mut self.unsynced) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let kept = match fate {
                Fate::Lost => false,
                Fate::Kept => true,
                // A length is journalled with the writes behind it, so it is not lost alone.
                Fate::Some(_) => matches!(change, Unsynced::Length(_)) || random % 2 == 0,
            };
            if kept {
                change.apply_to(&mut survivor);
            }
        }
        self.present.clone_from(&survivor);
        self.durable = survivor;
    }
}

impl Unsynced {
    fn apply_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => {
                let end = offset + written.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset..end].copy_from_slice(written);
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }
}

/// The disk as the store sees it.
pub struct On(pub Arc<Disk>);

struct DatabaseFile(Arc<Disk>);
struct SlotFile(Arc<Disk>);

impl Medium for On {
    fn read_only(&self, builder: &Builder) -> Result<Option<ReadOnlyDatabase>, DatabaseError> {
        if self.0.length(Which::Database) == 0 {
            return Ok(None);
        }
        builder.open_read_only_with_backend(DatabaseFile(Arc::clone(&self.0))).map(Some)
    }

    fn database(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.create_with_backend(DatabaseFile(Arc::clone(&self.0)))
    }

    fn slots(&self) -> io::Result<Box<dyn Overwritable>> {
        Ok(Box::new(SlotFile(Arc::clone(&self.0))))
    }
}

impl std::fmt::Debug for DatabaseFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a database on a test disk")
    }
}

impl StorageBackend for DatabaseFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.length(Which::Database))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(Which::Database, offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length = length as usize;
        self.0.change(Which::Database, |content| content.apply(Unsynced::Length(length)), length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync(Which::Database)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(Which::Database, offset, data)
    }
}

impl Overwritable for SlotFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.length(Which::Slots))
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read(Which::Slots, offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(Which::Slots, offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync(Which::Slots)
    }
}
