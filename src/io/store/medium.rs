//! Where the store's two files are: a directory, or in tests a disk that loses power.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadOnlyDatabase, StorageError};

use crate::io::files;
use crate::io::slots::Overwritable;

/// Opens the files of a store; asked again after a failure.
pub trait Medium: Send {
    /// Opens the database for reading, None where there is none yet.
    fn read_only(&self, builder: &Builder) -> Result<Option<ReadOnlyDatabase>, DatabaseError>;
    /// Opens the database, or creates it.
    fn database(&self, builder: &Builder) -> Result<Database, DatabaseError>;
    /// Opens the slot file, or creates it empty.
    fn slots(&self) -> io::Result<Box<dyn Overwritable>>;
}

/// A directory with store.redb and channel.slots.
pub struct Directory(PathBuf);

impl Directory {
    /// The directory of the store, created where it is absent.
    pub fn new(path: &Path) -> io::Result<Self> {
        files::create_private_directory(path)?;
        Ok(Self(path.to_owned()))
    }

    /// Whether there is a store already.
    pub fn has_store(&self) -> bool {
        self.database_file().exists()
    }

    fn database_file(&self) -> PathBuf {
        self.0.join("store.redb")
    }

    /// Opens or durably creates a file that only its owner can read.
    fn private(&self, path: &Path) -> io::Result<File> {
        let existed = path.exists();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if !existed {
            files::sync_directory_of(path)?;
        }
        Ok(file)
    }
}

impl Medium for Directory {
    fn read_only(&self, builder: &Builder) -> Result<Option<ReadOnlyDatabase>, DatabaseError> {
        let file = self.database_file();
        // An empty file is left behind by a power failure at the very first start.
        match file.metadata() {
            Ok(metadata) if metadata.len() > 0 => builder.open_read_only(file).map(Some),
            _ => Ok(None),
        }
    }

    fn database(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        let file = self.private(&self.database_file()).map_err(StorageError::Io)?;
        builder.create_with_backend(FileBackend::new(file)?)
    }

    fn slots(&self) -> io::Result<Box<dyn Overwritable>> {
        Ok(Box::new(self.private(&self.0.join("channel.slots"))?))
    }
}
