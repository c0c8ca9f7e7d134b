//! The tables of the database and their version. A newer one is refused untouched; an older one is
//! migrated in one transaction.

use redb::{Builder, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, TableDefinition, TableError};
use redb::{Database, DatabaseError, WriteTransaction};

use super::medium::Medium;
use crate::error::Error;
use crate::io::store::unavailable;

/// Version of the tables below.
pub(super) const SCHEMA: u64 = 2;

/// `schema`, `next_kid` and `revocations`, which only grow.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// One sealed record, by which a wrong key file is told from damage.
pub(super) const KEY_CHECK: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("key_check");
/// Terminal id to sealed record.
pub(super) const TERMINALS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("terminals");
/// Kid to head and sealed channel state.
pub(super) const CHANNELS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("channels");
/// Terminal id, a slash and the certificate's name to head and sealed record. Since schema 2.
pub(super) const CREDENTIALS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("credentials");

pub(super) const NEXT_KID: &str = "next_kid";
pub(super) const REVOCATIONS: &str = "revocations";
const SCHEMA_KEY: &str = "schema";

/// What a migration step does to the tables; the schema number is raised for it.
type Migration = fn(&WriteTransaction) -> Result<(), redb::Error>;

/// The step at position N leads from schema N+1 to N+2.
const MIGRATIONS: &[Migration] = &[add_credentials];

/// Opens the database of `medium`, created or migrated as needed.
pub(super) fn open(medium: &dyn Medium) -> Result<Database, Error> {
    let mut builder = Builder::new();
    // The whole store of 100,000 terminals is 50 MB and read once; redb would cache a gigabyte.
    builder.set_cache_size(16 << 20);
    match medium.read_only(&builder) {
        Ok(Some(database)) => refuse_newer(read_schema_of(&database)?)?,
        // After a power failure redb must write before it can read; what it repairs is of any schema.
        Ok(None) | Err(DatabaseError::RepairAborted) => {}
        Err(error) => return Err(not_opened(error)),
    }
    let database = medium.database(&builder).map_err(not_opened)?;
    upgrade(&database, MIGRATIONS)?;
    Ok(database)
}

/// Brings every table to the newest schema, or leaves all as they were.
fn upgrade(database: &Database, migrations: &[Migration]) -> Result<(), Error> {
    let newest = 1 + migrations.len() as u64;
    let present = read_schema(&database.begin_read().map_err(unavailable)?)?;
    refuse_newer_than(newest, present)?;
    if present == Some(newest) {
        return Ok(());
    }
    let transaction = database.begin_write().map_err(unavailable)?;
    let steps = migrations.iter().enumerate();
    for (_, step) in steps.filter(|(position, _)| present.is_some_and(|present| *position as u64 + 1 >= present)) {
        step(&transaction).map_err(unavailable)?;
    }
    create_tables(&transaction, newest).map_err(unavailable)?;
    transaction.commit().map_err(unavailable)
}

fn create_tables(transaction: &WriteTransaction, schema: u64) -> Result<(), redb::Error> {
    transaction.open_table(KEY_CHECK)?;
    transaction.open_table(TERMINALS)?;
    transaction.open_table(CHANNELS)?;
    add_credentials(transaction)?;
    transaction.open_table(META)?.insert(SCHEMA_KEY, schema)?;
    Ok(())
}

fn add_credentials(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(CREDENTIALS)?;
    Ok(())
}

fn read_schema_of(database: &ReadOnlyDatabase) -> Result<Option<u64>, Error> {
    read_schema(&database.begin_read().map_err(unavailable)?)
}

/// None where the database is empty.
fn read_schema(transaction: &ReadTransaction) -> Result<Option<u64>, Error> {
    match transaction.open_table(META) {
        Ok(meta) => Ok(meta.get(SCHEMA_KEY).map_err(unavailable)?.map(|schema| schema.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(unavailable(error)),
    }
}

fn refuse_newer(present: Option<u64>) -> Result<(), Error> {
    refuse_newer_than(SCHEMA, present)
}

fn refuse_newer_than(newest: u64, present: Option<u64>) -> Result<(), Error> {
    match present {
        Some(present) if present > newest => Err(unavailable(format!(
            "it has schema {present} and this program knows {newest} at most; run the newer keyferry that wrote it"
        ))),
        _ => Ok(()),
    }
}

fn not_opened(error: DatabaseError) -> Error {
    match error {
        DatabaseError::DatabaseAlreadyOpen => {
            unavailable("another keyferry has it open; if it does not answer on its admin socket, stop it first")
        }
        error => unavailable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    fn fresh() -> Database {
        Builder::new().create_with_backend(InMemoryBackend::new()).unwrap()
    }

    fn schema(database: &Database) -> Option<u64> {
        read_schema(&database.begin_read().unwrap()).unwrap()
    }

    fn add_note(transaction: &WriteTransaction) -> Result<(), redb::Error> {
        transaction.open_table(META)?.insert("note", 7)?;
        Ok(())
    }

    fn fail(transaction: &WriteTransaction) -> Result<(), redb::Error> {
        transaction.open_table(META)?.insert("half", 1)?;
        Err(redb::Error::Corrupted("on purpose".into()))
    }

    #[test]
    fn the_schema_constant_counts_the_migrations() {
        assert_eq!(SCHEMA, 1 + MIGRATIONS.len() as u64);
    }

    #[test]
    fn an_older_store_is_migrated_once_and_a_new_one_begins_at_the_newest() {
        let database = fresh();
        upgrade(&database, &[]).unwrap();
        assert_eq!(schema(&database), Some(1));
        upgrade(&database, &[add_note]).unwrap();
        assert_eq!(schema(&database), Some(2));
        let note = |database: &Database| {
            let meta = database.begin_read().unwrap().open_table(META).unwrap();
            meta.get("note").unwrap().map(|note| note.value())
        };
        assert_eq!(note(&database), Some(7));

        let new = fresh();
        upgrade(&new, &[add_note]).unwrap();
        assert_eq!((schema(&new), note(&new)), (Some(2), None));
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let database = fresh();
        upgrade(&database, &[]).unwrap();
        assert!(upgrade(&database, &[add_note, fail]).is_err());
        assert_eq!(schema(&database), Some(1));
        let meta = database.begin_read().unwrap().open_table(META).unwrap();
        assert!(meta.get("note").unwrap().is_none() && meta.get("half").unwrap().is_none());
    }

    #[test]
    fn a_newer_store_is_refused() {
        let database = fresh();
        upgrade(&database, &[add_note]).unwrap();
        let error = upgrade(&database, &[]).unwrap_err();
        assert!(error.detail.contains("schema 2"), "{error}");
    }
}
