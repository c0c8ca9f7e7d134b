//! What must survive a restart: terminals, the state of their channels and their certificates, sealed, in one
//! transactional database (redb) beside the erasable slot keys ([`super::slots`]). Nothing is acknowledged to anybody
//! before [`Store::commit`] has returned.
//!
//! Forgetting: the channel state that a new one replaces cannot be unsealed any more once `commit` has
//! returned, whoever has both files and the key file. See `slots` for the order of the writes.

mod credentials;
pub mod enrol;
mod medium;
mod record;
mod schema;
mod seal;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::Path;

use keyferry_channel::{Id, State};
use keyferry_parsers::messages::Reason;
use redb::{Database, ReadableDatabase, ReadableTable, Table, WriteTransaction};
use zeroize::Zeroizing;

pub use credentials::StoredCredential;
pub use medium::{Directory, Medium};
pub use record::{WrittenRecord, read_mac, write_mac};
pub use seal::StoreKey;

use crate::error::Error;
use crate::io::slots::{Half, Slots};
use crate::terminals::{TerminalId, TerminalRecord};
use schema::{CHANNELS, CREDENTIALS, KEY_CHECK, META, NEXT_KID, REVOCATIONS, TERMINALS};
use seal::Place;

/// Kids count up from here: two bytes, later three. One byte is left to gateways.
const FIRST_KID: u64 = 0x0100;
/// The name and the content of the record that shows whether the key file is the right one.
const KEY_CHECK_RECORD: (&str, &[u8]) = ("key", b"keyferry");

/// The open store. Only one process has it at a time.
pub struct Store {
    medium: Box<dyn Medium>,
    key: StoreKey,
    /// None after a failure: what the disk holds now is found out by opening it again.
    open: Option<Open>,
}

/// One change to what is stored.
pub enum Change {
    /// Adds a terminal or replaces its record.
    PutTerminal(TerminalRecord),
    /// The new state of a terminal's channel. Ignored for a kid that has no terminal (any more), so that
    /// a late write cannot bring back a revoked one.
    PutChannel {
        /// The terminal's OSCORE id.
        kid: Id,
        /// What replaces the state before, encoded ([`State::encode`]).
        state: Zeroizing<Vec<u8>>,
    },
    /// Adds a certificate of a terminal, or replaces the one of the same name.
    PutCredential(StoredCredential),
    /// Removes a certificate of a terminal, and erases its private key.
    RemoveCredential {
        /// The terminal.
        owner: TerminalId,
        /// The certificate's name; None: all that the terminal has.
        name: Option<String>,
    },
    /// Marks a terminal as revoked and erases its channel and its certificates' keys. Nothing for one that is
    /// unknown or revoked.
    Revoke {
        /// The terminal.
        id: TerminalId,
        /// Seconds since 1970.
        at: u64,
    },
}

struct Open {
    database: Database,
    slots: Slots,
    channels: BTreeMap<Id, Head>,
    /// Where the slot key of each certificate's record is.
    credentials: BTreeMap<String, Half>,
    next_kid: u64,
}

/// What stands in clear before a sealed channel state. The epoch is seen on the wire as well.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    half: Half,
    epoch: u32,
    has_previous: bool,
}

impl Store {
    /// Opens the store in `directory`, created where there is none; the key file likewise.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`, as from every function here, with what the operator has to change: a key file
    /// that others can read or that is not the store's, a newer schema, another keyferry that runs.
    pub fn open(directory: &Path, key_file: &Path) -> Result<Self, Error> {
        let directory_error = |error| unavailable(format!("{}: {error}", directory.display()));
        let medium = Directory::new(directory).map_err(directory_error)?;
        let key = match StoreKey::load(key_file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !medium.has_store() => {
                StoreKey::create(key_file)
            }
            loaded => loaded,
        };
        let key = key.map_err(|error| unavailable(format!("the key file {}: {error}", key_file.display())))?;
        Self::on(Box::new(medium), key)
    }

    /// Opens the store on any medium.
    pub fn on(medium: Box<dyn Medium>, key: StoreKey) -> Result<Self, Error> {
        let open = Some(Open::new(medium.as_ref(), &key)?);
        Ok(Self { medium, key, open })
    }

    /// Makes all changes durable in one transaction, or none of them; then erases what they replace.
    /// Where one commit changes a channel twice, the last state counts.
    ///
    /// # Errors
    /// What is stored is then either all or nothing of `changes`, and settled at the next call.
    pub fn commit(&mut self, changes: Vec<Change>) -> Result<(), Error> {
        let (open, key) = self.opened()?;
        let committed = open.commit(key, changes);
        if committed.is_err() {
            self.open = None;
        }
        committed
    }

    /// An OSCORE id that no terminal of this store ever had. It is spent when it is committed with a
    /// terminal, and never given out twice by one open store.
    pub fn next_kid(&mut self) -> Result<Id, Error> {
        let (open, _) = self.opened()?;
        let number = open.next_kid;
        open.next_kid = number.checked_add(1).ok_or_else(|| unavailable("no terminal id is left"))?;
        let bytes = number.to_be_bytes();
        let significant = bytes.iter().position(|byte| *byte != 0).unwrap_or_default();
        let kid = bytes.get(significant..).unwrap_or_default();
        Id::try_from(kid).map_err(|_| unavailable("no terminal id is left"))
    }

    /// Every terminal, revoked ones too, in order of id.
    pub fn terminals(&mut self) -> Result<Vec<TerminalRecord>, Error> {
        let (open, key) = self.opened()?;
        let transaction = open.database.begin_read().map_err(unavailable)?;
        let table = transaction.open_table(TERMINALS).map_err(unavailable)?;
        let mut records = Vec::new();
        for entry in table.iter().map_err(unavailable)? {
            let (id, sealed) = entry.map_err(unavailable)?;
            records.push(unseal_terminal(key, id.value(), sealed.value())?);
        }
        Ok(records)
    }

    /// One terminal, revoked or not.
    pub fn terminal(&mut self, id: &TerminalId) -> Result<Option<TerminalRecord>, Error> {
        let (open, key) = self.opened()?;
        let transaction = open.database.begin_read().map_err(unavailable)?;
        let table = transaction.open_table(TERMINALS).map_err(unavailable)?;
        read_terminal(key, &table, id)
    }

    /// The state of a terminal's channel; None for an unknown kid or a revoked terminal.
    pub fn channel(&mut self, kid: Id) -> Result<Option<State>, Error> {
        let (open, key) = self.opened()?;
        let transaction = open.database.begin_read().map_err(unavailable)?;
        let table = transaction.open_table(CHANNELS).map_err(unavailable)?;
        let Some(stored) = table.get(kid.as_bytes()).map_err(unavailable)? else {
            return Ok(None);
        };
        unseal_channel(key, &open.slots, kid, stored.value()).map(Some)
    }

    /// How often a terminal was revoked; never falls, so an older copy of the store can be told.
    pub fn revocations(&mut self) -> Result<u64, Error> {
        let (open, _) = self.opened()?;
        let transaction = open.database.begin_read().map_err(unavailable)?;
        let meta = transaction.open_table(META).map_err(unavailable)?;
        read_number(&meta, REVOCATIONS)
    }

    fn opened(&mut self) -> Result<(&mut Open, &StoreKey), Error> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Open::new(self.medium.as_ref(), &self.key)?,
        };
        Ok((self.open.insert(open), &self.key))
    }
}

impl Open {
    fn new(medium: &dyn Medium, key: &StoreKey) -> Result<Self, Error> {
        let database = schema::open(medium)?;
        check_key(&database, key)?;
        let transaction = database.begin_read().map_err(unavailable)?;
        let channels = read_heads(&transaction.open_table(CHANNELS).map_err(unavailable)?)?;
        let credentials = credentials::read_halves(&transaction.open_table(CREDENTIALS).map_err(unavailable)?)?;
        let next_kid = read_number(&transaction.open_table(META).map_err(unavailable)?, NEXT_KID)?.max(FIRST_KID);
        drop(transaction);
        // Only now is it known which keys must stay.
        let named: BTreeSet<Half> =
            channels.values().map(|head| head.half).chain(credentials.values().copied()).collect();
        let slots = Slots::open(medium.slots().map_err(unavailable)?, &named).map_err(unavailable)?;
        Ok(Self { database, slots, channels, credentials, next_kid })
    }

    fn commit(&mut self, key: &StoreKey, changes: Vec<Change>) -> Result<(), Error> {
        let transaction = self.database.begin_write().map_err(unavailable)?;
        let mut batch = Batch::new(key);
        batch.write_terminals(&transaction, changes, &self.credentials)?;
        let replaced = self.write_channels(&transaction, &batch)?;
        let credentials = self.write_credentials(&transaction, key, &batch.credentials)?;
        write_number(&transaction, NEXT_KID, self.next_kid)?;
        transaction.commit().map_err(unavailable)?;
        self.forget(&batch, &replaced)?;
        self.forget_credentials(credentials)?;
        for (kid, head, _) in replaced {
            self.channels.insert(kid, head);
        }
        Ok(())
    }

    /// Puts the batch's channel states into the transaction. Fresh slot keys are durable on return.
    /// Answers each channel's new head and the one it replaces.
    fn write_channels(
        &mut self,
        transaction: &WriteTransaction,
        batch: &Batch<'_>,
    ) -> Result<Vec<(Id, Head, Option<Head>)>, Error> {
        let mut table = transaction.open_table(CHANNELS).map_err(unavailable)?;
        let mut written = Vec::new();
        for kid in &batch.gone {
            table.remove(kid.as_bytes()).map_err(unavailable)?;
        }
        for (kid, state) in &batch.states {
            let old = self.channels.get(kid).copied();
            if old.is_none() && !batch.admitted.contains(kid) {
                continue;
            }
            let head = self.head_for(&State::decode(state).map_err(unavailable)?, old)?;
            let slot_key = self.slots.key(head.half).map_err(unavailable)?;
            let clear = head.encode();
            let place = Place { table: "channels", key: kid.as_bytes(), clear: &clear };
            let sealed = batch.key.seal_erasable(&slot_key, place, state).map_err(unavailable)?;
            let stored = [clear.as_slice(), &sealed].concat();
            table.insert(kid.as_bytes(), stored.as_slice()).map_err(unavailable)?;
            written.push((*kid, head, old));
        }
        if written.iter().any(|(_, new, old)| old.is_none_or(|old| old.half != new.half)) {
            self.slots.sync().map_err(unavailable)?;
        }
        Ok(written)
    }

    /// A state that holds a key less than the one before goes under a fresh slot key.
    fn head_for(&mut self, state: &State, old: Option<Head>) -> Result<Head, Error> {
        let (epoch, has_previous) = (state.epoch, state.previous.is_some());
        let half = match old {
            Some(old) if old.epoch == epoch && old.has_previous <= has_previous => old.half,
            old => self.slots.prepare(old.map(|old| old.half)).map_err(unavailable)?,
        };
        Ok(Head { half, epoch, has_previous })
    }

    /// Erases the slot keys of what the committed batch replaced.
    fn forget(&mut self, batch: &Batch<'_>, replaced: &[(Id, Head, Option<Head>)]) -> Result<(), Error> {
        let mut erased = false;
        for (_, new, old) in replaced {
            if let Some(old) = old.filter(|old| old.half != new.half) {
                self.slots.erase(old.half).map_err(unavailable)?;
                erased = true;
            }
        }
        for kid in &batch.gone {
            if let Some(head) = self.channels.remove(kid) {
                self.slots.release(head.half.slot).map_err(unavailable)?;
                erased = true;
            }
        }
        if erased {
            self.slots.sync().map_err(unavailable)?;
        }
        Ok(())
    }
}

/// The changes of one commit, as far as they concern channels and certificates.
struct Batch<'a> {
    key: &'a StoreKey,
    states: BTreeMap<Id, Zeroizing<Vec<u8>>>,
    /// Kids of terminals put by this batch: they may have a channel now.
    admitted: BTreeSet<Id>,
    /// Kids whose channels end.
    gone: BTreeSet<Id>,
    credentials: credentials::Changes,
}

impl<'a> Batch<'a> {
    fn new(key: &'a StoreKey) -> Self {
        Self {
            key,
            states: BTreeMap::new(),
            admitted: BTreeSet::new(),
            gone: BTreeSet::new(),
            credentials: credentials::Changes::default(),
        }
    }

    /// Puts terminals into the transaction, and sorts out what becomes of the rest. `present` is what there is
    /// of certificates.
    fn write_terminals(
        &mut self,
        transaction: &WriteTransaction,
        changes: Vec<Change>,
        present: &BTreeMap<String, Half>,
    ) -> Result<(), Error> {
        let mut table = transaction.open_table(TERMINALS).map_err(unavailable)?;
        for change in changes {
            match change {
                Change::PutTerminal(record) => {
                    let before = read_terminal(self.key, &table, &record.id)?;
                    if let Some(before) = before.filter(|before| before.kid != record.kid) {
                        self.end(before.kid);
                    }
                    self.admitted.insert(record.kid);
                    write_terminal(self.key, &mut table, &record)?;
                }
                Change::PutChannel { kid, state } => {
                    if !self.gone.contains(&kid) {
                        self.states.insert(kid, state);
                    }
                }
                Change::PutCredential(stored) => self.credentials.put(stored),
                Change::RemoveCredential { owner, name: Some(name) } => self.credentials.remove(&owner, &name),
                Change::RemoveCredential { owner, name: None } => self.credentials.remove_all(&owner, present),
                Change::Revoke { id, at } => {
                    let record = read_terminal(self.key, &table, &id)?;
                    let Some(record) = record.filter(|record| record.revoked.is_none()) else {
                        continue;
                    };
                    self.end(record.kid);
                    self.credentials.remove_all(&id, present);
                    write_terminal(self.key, &mut table, &TerminalRecord { revoked: Some(at), ..record })?;
                    count_revocation(transaction)?;
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, kid: Id) {
        self.states.remove(&kid);
        self.admitted.remove(&kid);
        self.gone.insert(kid);
    }
}

impl Head {
    const LENGTH: usize = 10;

    fn encode(self) -> [u8; Self::LENGTH] {
        let [s0, s1, s2, s3] = self.half.slot.to_be_bytes();
        let [e0, e1, e2, e3] = self.epoch.to_be_bytes();
        [s0, s1, s2, s3, self.half.second.into(), e0, e1, e2, e3, self.has_previous.into()]
    }

    /// Splits a stored record into its head and the sealed state.
    fn split(stored: &[u8]) -> Option<(Self, &[u8], &[u8])> {
        let (clear, sealed) = stored.split_at_checked(Self::LENGTH)?;
        let &[s0, s1, s2, s3, second @ 0..=1, e0, e1, e2, e3, has_previous @ 0..=1] = clear.first_chunk()? else {
            return None;
        };
        let half = Half { slot: u32::from_be_bytes([s0, s1, s2, s3]), second: second == 1 };
        let epoch = u32::from_be_bytes([e0, e1, e2, e3]);
        Some((Self { half, epoch, has_previous: has_previous == 1 }, clear, sealed))
    }
}

/// Every failure here is the gateway's: its disk, its files, or what the operator did to them.
pub(crate) fn unavailable(cause: impl Display) -> Error {
    Error::new(Reason::STORE_UNAVAILABLE, format!("the store: {cause}"))
}

/// Seals a known record at the first start, and finds out at every later one whether the key is the same.
fn check_key(database: &Database, key: &StoreKey) -> Result<(), Error> {
    let (name, content) = KEY_CHECK_RECORD;
    let place = Place { table: "key_check", key: name.as_bytes(), clear: b"" };
    let reading = database.begin_read().map_err(unavailable)?;
    let table = reading.open_table(KEY_CHECK).map_err(unavailable)?;
    if let Some(sealed) = table.get(name).map_err(unavailable)? {
        let opened = key.unseal(place, sealed.value());
        let wrong = "the key file is not the one it was sealed under; put the right one back";
        return opened.map(drop).map_err(|_| unavailable(wrong));
    }
    let transaction = database.begin_write().map_err(unavailable)?;
    let sealed = key.seal(place, content).map_err(unavailable)?;
    let mut table = transaction.open_table(KEY_CHECK).map_err(unavailable)?;
    table.insert(name, sealed.as_slice()).map_err(unavailable)?;
    drop(table);
    transaction.commit().map_err(unavailable)
}

fn read_heads(table: &impl ReadableTable<&'static [u8], &'static [u8]>) -> Result<BTreeMap<Id, Head>, Error> {
    let mut heads = BTreeMap::new();
    for entry in table.iter().map_err(unavailable)? {
        let (kid, stored) = entry.map_err(unavailable)?;
        let kid = Id::try_from(kid.value()).map_err(|_| damaged("a channel record"))?;
        let (head, ..) = Head::split(stored.value()).ok_or_else(|| damaged("a channel record"))?;
        heads.insert(kid, head);
    }
    Ok(heads)
}

fn unseal_channel(key: &StoreKey, slots: &Slots, kid: Id, stored: &[u8]) -> Result<State, Error> {
    let what = || damaged(&format!("the channel record of kid {kid:?}"));
    let (head, clear, sealed) = Head::split(stored).ok_or_else(what)?;
    let slot_key = slots.key(head.half).map_err(unavailable)?;
    let place = Place { table: "channels", key: kid.as_bytes(), clear };
    let encoded: Zeroizing<Vec<u8>> = key.unseal_erasable(&slot_key, place, sealed).map_err(|_| what())?;
    State::decode(&encoded).map_err(unavailable)
}

fn read_terminal(
    key: &StoreKey,
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    id: &TerminalId,
) -> Result<Option<TerminalRecord>, Error> {
    let sealed = table.get(id.as_str()).map_err(unavailable)?;
    sealed.map(|sealed| unseal_terminal(key, id.as_str(), sealed.value())).transpose()
}

fn unseal_terminal(key: &StoreKey, id: &str, sealed: &[u8]) -> Result<TerminalRecord, Error> {
    let what = || damaged(&format!("the record of terminal {id}"));
    let text = key.unseal(terminal_place(id), sealed).map_err(|_| what())?;
    let written: WrittenRecord = serde_json::from_slice(&text).map_err(|_| what())?;
    written.read().ok_or_else(what)
}

fn write_terminal(
    key: &StoreKey,
    table: &mut Table<'_, &'static str, &'static [u8]>,
    record: &TerminalRecord,
) -> Result<(), Error> {
    let text = serde_json::to_vec(&WrittenRecord::from(record)).map_err(unavailable)?;
    let id = record.id.as_str();
    let sealed = key.seal(terminal_place(id), &text).map_err(unavailable)?;
    table.insert(id, sealed.as_slice()).map_err(unavailable)?;
    Ok(())
}

fn terminal_place(id: &str) -> Place<'_> {
    Place { table: "terminals", key: id.as_bytes(), clear: b"" }
}

fn count_revocation(transaction: &WriteTransaction) -> Result<(), Error> {
    let so_far = read_number(&transaction.open_table(META).map_err(unavailable)?, REVOCATIONS)?;
    write_number(transaction, REVOCATIONS, so_far.saturating_add(1))
}

/// 0 where it was never written.
fn read_number(meta: &impl ReadableTable<&'static str, u64>, name: &'static str) -> Result<u64, Error> {
    Ok(meta.get(name).map_err(unavailable)?.map_or(0, |number| number.value()))
}

fn write_number(transaction: &WriteTransaction, name: &'static str, number: u64) -> Result<(), Error> {
    let mut meta = transaction.open_table(META).map_err(unavailable)?;
    if read_number(&meta, name)? != number {
        meta.insert(name, number).map_err(unavailable)?;
    }
    Ok(())
}

fn damaged(what: &str) -> Error {
    unavailable(format!("{what} is damaged or was altered; restore the state directory from a backup"))
}

#[cfg(test)]
mod tests;
