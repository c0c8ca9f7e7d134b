//! Certificates of terminals, with their private keys unless a signer process has them. Like channel states,
//! each record is sealed under the key file and a slot key of its own: what is removed or replaced cannot be
//! unsealed any more once [`Store::commit`] has returned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redb::{ReadableDatabase, ReadableTable, WriteTransaction};
use zeroize::Zeroizing;

use super::schema::CREDENTIALS;
use super::seal::Place;
use super::{Open, Store, StoreKey, damaged, unavailable};
use crate::crypto::Secret;
use crate::error::Error;
use crate::io::slots::{Half, Slots};
use crate::signer::Credential;
use crate::terminals::TerminalId;

/// Between owner and name in the key of a record; neither may contain it.
const SEPARATOR: char = '/';

/// A credential as it is stored.
pub struct StoredCredential {
    /// Whose it is.
    pub owner: TerminalId,
    /// The certificates, under their name.
    pub credential: Arc<Credential>,
    /// The private key: PKCS#8, PKCS#1 or SEC 1, DER. None where a signer process has it.
    pub private_key: Option<Secret>,
}

/// What one commit does to credentials: the record's key, and what it shall be.
#[derive(Default)]
pub(super) struct Changes(BTreeMap<String, Option<StoredCredential>>);

/// What a commit wrote: the slots of the new records, and those that nothing refers to any more.
#[derive(Default)]
pub(super) struct Written {
    fresh: Vec<(String, Half)>,
    gone: Vec<(String, Half)>,
}

impl Store {
    /// Every credential of every terminal, in order of terminal and name.
    pub fn credentials(&mut self) -> Result<Vec<StoredCredential>, Error> {
        self.read_credentials("")
    }

    /// The credentials of one terminal, in order of name.
    pub fn credentials_of(&mut self, owner: &TerminalId) -> Result<Vec<StoredCredential>, Error> {
        self.read_credentials(&record_key(owner, ""))
    }

    fn read_credentials(&mut self, prefix: &str) -> Result<Vec<StoredCredential>, Error> {
        let (open, key) = self.opened()?;
        let transaction = open.database.begin_read().map_err(unavailable)?;
        let table = transaction.open_table(CREDENTIALS).map_err(unavailable)?;
        let mut found = Vec::new();
        for entry in table.range(prefix..).map_err(unavailable)? {
            let (record, stored) = entry.map_err(unavailable)?;
            if !record.value().starts_with(prefix) {
                break;
            }
            found.push(unseal(key, &open.slots, record.value(), stored.value())?);
        }
        Ok(found)
    }
}

impl Changes {
    pub(super) fn put(&mut self, stored: StoredCredential) {
        self.0.insert(record_key(&stored.owner, &stored.credential.name), Some(stored));
    }

    pub(super) fn remove(&mut self, owner: &TerminalId, name: &str) {
        self.0.insert(record_key(owner, name), None);
    }

    /// Removes all of `owner`: what is stored (`present`) and what this commit has put so far.
    pub(super) fn remove_all(&mut self, owner: &TerminalId, present: &BTreeMap<String, Half>) {
        let prefix = record_key(owner, "");
        let stored = present.keys().filter(|key| key.starts_with(&prefix)).cloned();
        let put: Vec<String> = self.0.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
        self.0.extend(stored.chain(put).map(|key| (key, None)));
    }
}

impl Open {
    /// Puts the changes into the transaction. Fresh slot keys are durable on return.
    pub(super) fn write_credentials(
        &mut self,
        transaction: &WriteTransaction,
        key: &StoreKey,
        changes: &Changes,
    ) -> Result<Written, Error> {
        let mut written = Written::default();
        if changes.0.is_empty() {
            return Ok(written);
        }
        let mut table = transaction.open_table(CREDENTIALS).map_err(unavailable)?;
        for (record, change) in &changes.0 {
            written.gone.extend(self.credentials.get(record).map(|half| (record.clone(), *half)));
            let Some(stored) = change else {
                table.remove(record.as_str()).map_err(unavailable)?;
                continue;
            };
            let half = self.slots.prepare(None).map_err(unavailable)?;
            let sealed = seal(key, &self.slots, half, record, stored)?;
            table.insert(record.as_str(), sealed.as_slice()).map_err(unavailable)?;
            written.fresh.push((record.clone(), half));
        }
        if !written.fresh.is_empty() {
            self.slots.sync().map_err(unavailable)?;
        }
        Ok(written)
    }

    /// After the transaction: erases the slot keys of what was replaced or removed.
    pub(super) fn forget_credentials(&mut self, written: Written) -> Result<(), Error> {
        for (record, half) in &written.gone {
            self.credentials.remove(record);
            self.slots.release(half.slot).map_err(unavailable)?;
        }
        if !written.gone.is_empty() {
            self.slots.sync().map_err(unavailable)?;
        }
        self.credentials.extend(written.fresh);
        Ok(())
    }
}

/// The slot keys that the records need.
pub(super) fn read_halves(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<BTreeMap<String, Half>, Error> {
    let mut halves = BTreeMap::new();
    for entry in table.iter().map_err(unavailable)? {
        let (record, stored) = entry.map_err(unavailable)?;
        let (half, ..) = split(stored.value()).ok_or_else(|| damaged("a certificate's record"))?;
        halves.insert(record.value().to_owned(), half);
    }
    let distinct: BTreeSet<u32> = halves.values().map(|half| half.slot).collect();
    if distinct.len() < halves.len() {
        return Err(damaged("a certificate's record"));
    }
    Ok(halves)
}

fn record_key(owner: &TerminalId, name: &str) -> String {
    format!("{owner}{SEPARATOR}{name}")
}

fn seal(key: &StoreKey, slots: &Slots, half: Half, record: &str, stored: &StoredCredential) -> Result<Vec<u8>, Error> {
    let clear = head(half);
    let slot_key = slots.key(half).map_err(unavailable)?;
    let place = Place { table: "credentials", key: record.as_bytes(), clear: &clear };
    let sealed = key.seal_erasable(&slot_key, place, &encode(stored)?).map_err(unavailable)?;
    Ok([clear.as_slice(), &sealed].concat())
}

fn unseal(key: &StoreKey, slots: &Slots, record: &str, stored: &[u8]) -> Result<StoredCredential, Error> {
    let what = || damaged(&format!("the certificate record {record}"));
    let (half, clear, sealed) = split(stored).ok_or_else(what)?;
    let slot_key = slots.key(half).map_err(unavailable)?;
    let place = Place { table: "credentials", key: record.as_bytes(), clear };
    let text = key.unseal_erasable(&slot_key, place, sealed).map_err(|_| what())?;
    decode(record, &text).ok_or_else(what)
}

const HEAD_LENGTH: usize = 5;

/// What stands in clear before the sealed record: where its slot key is.
fn head(half: Half) -> [u8; HEAD_LENGTH] {
    let [s0, s1, s2, s3] = half.slot.to_be_bytes();
    [s0, s1, s2, s3, half.second.into()]
}

fn split(stored: &[u8]) -> Option<(Half, &[u8], &[u8])> {
    let (clear, sealed) = stored.split_at_checked(HEAD_LENGTH)?;
    let &[s0, s1, s2, s3, second @ 0..=1] = clear.first_chunk()? else {
        return None;
    };
    Some((Half { slot: u32::from_be_bytes([s0, s1, s2, s3]), second: second == 1 }, clear, sealed))
}

/// The private key (empty: none), then the chain; each part after its length in four bytes.
fn encode(stored: &StoredCredential) -> Result<Zeroizing<Vec<u8>>, Error> {
    let private_key = stored.private_key.as_ref().map_or(&[][..], Secret::as_bytes);
    let parts = || std::iter::once(private_key).chain(stored.credential.chain.iter().map(Vec::as_slice));
    // Of its final size at once: growing would leave copies of the key behind.
    let length: usize = parts().map(|part| part.len().saturating_add(4)).sum();
    let mut text = Zeroizing::new(Vec::with_capacity(length));
    for part in parts() {
        let length = u32::try_from(part.len()).map_err(unavailable)?;
        text.extend_from_slice(&length.to_be_bytes());
        text.extend_from_slice(part);
    }
    Ok(text)
}

fn decode(record: &str, text: &[u8]) -> Option<StoredCredential> {
    let (owner, name) = record.split_once(SEPARATOR)?;
    let (private_key, mut rest) = part(text)?;
    let mut chain = Vec::new();
    while !rest.is_empty() {
        let (certificate, after) = part(rest)?;
        chain.push(certificate.to_vec());
        rest = after;
    }
    Some(StoredCredential {
        owner: TerminalId::try_from(owner).ok()?,
        credential: Arc::new(Credential::new(name, chain).ok()?),
        private_key: (!private_key.is_empty()).then(|| Secret::from_slice(private_key)),
    })
}

fn part(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = text.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}
