//! The store as files: who may read them, what happens when one is missing, foreign, newer or full.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests are tests")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use keyferry::error::Error;
use keyferry::io::store::enrol::{Enrolled, NewTerminal, enrol};
use keyferry::io::store::{Change, Store};
use keyferry_channel::{Previous, State};
use keyferry_parsers::messages::Reason;
use redb::TableDefinition;
use tempfile::TempDir;

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("etc")).unwrap();
        Self { directory }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("etc").join("store.key")
    }

    fn open(&self) -> Result<Store, Error> {
        Store::open(&self.state(), &self.key())
    }

    #[track_caller]
    fn refused(&self, why: &str) {
        let error = self.open().err().unwrap();
        assert_eq!(error.reason, Reason::STORE_UNAVAILABLE);
        assert!(error.detail.contains(why), "{error}");
    }

    fn database(&self) -> PathBuf {
        self.state().join("store.redb")
    }
}

fn add(store: &mut Store, id: &str) -> Enrolled {
    enrol(store, &NewTerminal { id: id.into(), ..NewTerminal::default() }, 1).unwrap()
}

#[test]
fn the_first_start_makes_private_files_and_the_next_finds_them() {
    let place = Place::new();
    let enrolled = add(&mut place.open().unwrap(), "meter-1");
    for file in [place.key(), place.database(), place.state().join("channel.slots")] {
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600, "{}", file.display());
    }
    assert_eq!(fs::metadata(place.state()).unwrap().mode() & 0o777, 0o700);
    let mut store = place.open().unwrap();
    assert_eq!(store.terminals().unwrap(), std::slice::from_ref(&enrolled.record));
    let state = store.channel(enrolled.record.kid).unwrap().unwrap();
    assert!(state.key.as_bytes() == enrolled.key.as_bytes());
}

#[test]
fn nothing_readable_is_on_the_disk() {
    let place = Place::new();
    let enrolled = add(&mut place.open().unwrap(), "meter-1");
    let files = [place.database(), place.state().join("channel.slots")].map(|file| fs::read(file).unwrap());
    let holds = |needle: &[u8]| files.iter().any(|file| file.windows(needle.len()).any(|window| window == needle));
    assert!(holds(b"meter-1"), "the id is the key of its record and stands in clear");
    assert!(!holds(enrolled.key.as_bytes()));
    assert!(!holds(b"\"created\""));
}

#[test]
fn a_key_file_others_can_read_is_refused() {
    let place = Place::new();
    drop(place.open().unwrap());
    fs::set_permissions(place.key(), fs::Permissions::from_mode(0o640)).unwrap();
    place.refused("chmod 600");
}

#[test]
fn a_missing_or_foreign_key_file_is_never_replaced() {
    let place = Place::new();
    drop(place.open().unwrap());
    let aside = place.key().with_extension("aside");
    fs::rename(place.key(), &aside).unwrap();
    place.refused("store.key");
    assert!(!place.key().exists());
    let other = Place::new();
    drop(other.open().unwrap());
    fs::copy(other.key(), place.key()).unwrap();
    place.refused("not the one it was sealed under");
    fs::rename(aside, place.key()).unwrap();
    assert!(place.open().is_ok());
}

#[test]
fn only_one_process_has_the_store() {
    let place = Place::new();
    let store = place.open().unwrap();
    place.refused("another keyferry has it open");
    drop(store);
    assert!(place.open().is_ok());
}

#[test]
fn a_newer_schema_is_refused_untouched() {
    let place = Place::new();
    add(&mut place.open().unwrap(), "meter-1");
    let meta: TableDefinition<&str, u64> = TableDefinition::new("meta");
    let database = redb::Database::open(place.database()).unwrap();
    let transaction = database.begin_write().unwrap();
    assert_eq!(transaction.open_table(meta).unwrap().insert("schema", 3).unwrap().unwrap().value(), 2);
    transaction.commit().unwrap();
    drop(database);
    let before = [place.database(), place.state().join("channel.slots")].map(|file| fs::read(file).unwrap());
    place.refused("schema 3");
    let after = [place.database(), place.state().join("channel.slots")].map(|file| fs::read(file).unwrap());
    assert!(before == after);
}

/// Schema 1 had no certificates.
#[test]
fn a_store_of_the_first_schema_is_upgraded_and_keeps_its_terminals() {
    let place = Place::new();
    let enrolled = add(&mut place.open().unwrap(), "meter-1");
    let database = redb::Database::open(place.database()).unwrap();
    let transaction = database.begin_write().unwrap();
    let credentials: TableDefinition<&str, &[u8]> = TableDefinition::new("credentials");
    assert!(transaction.delete_table(credentials).unwrap());
    let meta: TableDefinition<&str, u64> = TableDefinition::new("meta");
    transaction.open_table(meta).unwrap().insert("schema", 1).unwrap();
    transaction.commit().unwrap();
    drop(database);

    let mut store = place.open().unwrap();
    assert_eq!(store.terminals().unwrap(), std::slice::from_ref(&enrolled.record));
    assert!(store.channel(enrolled.record.kid).unwrap().is_some());
    assert!(store.credentials().unwrap().is_empty());
    drop(store);
    let database = redb::Database::open(place.database()).unwrap();
    let read = redb::ReadableDatabase::begin_read(&database).unwrap();
    assert_eq!(read.open_table(meta).unwrap().get("schema").unwrap().unwrap().value(), 2);
}

#[test]
fn lost_or_foreign_slots_are_told() {
    let place = Place::new();
    add(&mut place.open().unwrap(), "meter-1");
    let slots = place.state().join("channel.slots");
    fs::remove_file(&slots).unwrap();
    place.refused("channel.slots: it is shorter than the store says");
    fs::write(&slots, vec![7; 4096]).unwrap();
    place.refused("not a slot file");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let place = Place::new();
    drop(place.open().unwrap());
    fs::write(place.database(), vec![0x55; 8192]).unwrap();
    place.refused("the store:");
    assert_eq!(fs::read(place.database()).unwrap(), vec![0x55; 8192]);
}

/// The real file system's turn: sixty advances of each of forty terminals, reopened in between.
#[test]
fn advances_survive_reopening() {
    let place = Place::new();
    let mut store = place.open().unwrap();
    let kids: Vec<_> = (0..40).map(|number| add(&mut store, &format!("meter-{number}")).record.kid).collect();
    for epoch in 1..=60 {
        let changes = kids.iter().map(|kid| {
            let state = store.channel(*kid).unwrap().unwrap();
            let previous = Previous { epoch: state.epoch, key: state.key.clone() };
            let next = State {
                epoch,
                key: state.key.next(),
                confirmed: epoch % 2 == 0,
                previous: (epoch % 2 == 1).then_some(previous),
                reserved: state.reserved + 256,
                handovers: 0,
            };
            Change::PutChannel { kid: *kid, state: next.encode() }
        });
        let changes = changes.collect();
        store.commit(changes).unwrap();
        if epoch % 20 == 0 {
            drop(store);
            store = place.open().unwrap();
        }
    }
    assert!(kids.iter().all(|kid| store.channel(*kid).unwrap().unwrap().epoch == 60));
    let slots = fs::read(place.state().join("channel.slots")).unwrap();
    let kept = slots[64..].chunks_exact(32).filter(|half| half.iter().any(|byte| *byte != 0)).count();
    assert_eq!(kept, kids.len(), "one slot key for each terminal, all older ones erased");
}
