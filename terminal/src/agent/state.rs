//! The channel's state on disk: what must survive a restart, so that no key and no sequence number is used twice.
//!
//! One process at a time: an advisory lock on `<state>.lock` is held for as long as the [`StateFile`] lives.

use super::config::Config;
use keyferry_channel::State;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The state file, locked.
pub struct StateFile {
    path: PathBuf,
    _lock: File,
}

impl StateFile {
    /// Locks the state for this process. [`io::ErrorKind::WouldBlock`]: another process uses it.
    pub fn lock(path: &Path) -> io::Result<Self> {
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(beside(path, ".lock"))
            .map_err(|error| named(path, error, "the directory of `state` must exist and be writable"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(named(
                path,
                io::ErrorKind::WouldBlock.into(),
                "another process uses this state: stop it, or reach it by its control socket",
            )),
            Err(TryLockError::Error(error)) => Err(named(path, error, "the file system must support locks")),
        }
    }

    /// The state as last saved or, on first use, the one that the configured key begins. A key in a file of its own is
    /// erased: who reads it later could follow every key that comes after.
    pub fn load_or_begin(&self, config: &Config) -> io::Result<State> {
        let refused = |problem: &str, remedy| named(&self.path, io::Error::other(problem), remedy);
        let state = match (self.load()?, &config.key, &config.key_file) {
            (Some(state), Some(key), Some(_)) if state.epoch != 0 || state.key.as_bytes() != key.as_bytes() => {
                let remedy = "to use the new key, remove the state; to go on with the state, remove the key file";
                return Err(refused("there is a key file with another key too", remedy));
            }
            (Some(state), _, _) => state,
            (None, Some(key), _) => {
                let state = State::new(key.clone());
                self.save(&state.encode())?;
                state
            }
            (None, None, _) => {
                let remedy = "have the gateway's operator enrol this terminal (`keyferry terminal add`)";
                return Err(refused("it does not exist, and the configuration holds no key to begin with", remedy));
            }
        };
        if let Some(key_file) = &config.key_file {
            erase(key_file)?;
        }
        Ok(state)
    }

    /// The state as last saved; `None` on first use.
    pub fn load(&self) -> io::Result<Option<State>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(named(&self.path, error, "check its permissions")),
        };
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            let remedy = format!("it holds a key and is open to other users: chmod 600 {}", self.path.display());
            return Err(named(&self.path, io::ErrorKind::PermissionDenied.into(), &remedy));
        }
        let mut bytes = Zeroizing::new(Vec::new());
        file.read_to_end(&mut bytes)?;
        State::decode(&bytes).map(Some).map_err(|_| {
            let remedy = "it is damaged; have the gateway's operator issue a new key (`keyferry terminal add`), \
                          then remove it. Do not restore an old copy";
            named(&self.path, io::ErrorKind::InvalidData.into(), remedy)
        })
    }

    /// Replaces the state by its encoding; durable when this returns.
    pub fn save(&self, encoded: &[u8]) -> io::Result<()> {
        let new = beside(&self.path, ".new");
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(encoded)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        sync_directory(&self.path)
    }
}

/// Overwrites a key file with zeros and removes it. One of the two must succeed; an interruption between them leaves
/// zeros, which count as no key. Absent is fine.
fn erase(path: &Path) -> io::Result<()> {
    if !path.try_exists()? {
        return Ok(());
    }
    let overwritten = overwrite(path);
    match std::fs::remove_file(path).and_then(|()| sync_directory(path)) {
        Err(error) if overwritten.is_err() && path.exists() => {
            let message = format!(
                "key file {}: it cannot be erased: {error}; who reads it later could decrypt what was recorded: \
                 remove it, or let this user write its directory",
                path.display()
            );
            Err(io::Error::new(error.kind(), message))
        }
        _ => Ok(()),
    }
}

/// Best effort: a file system that copies on write, or flash, may keep the old blocks.
fn overwrite(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.sync_all()
}

/// A new or removed name in a directory is durable only after this.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn named(path: &Path, error: io::Error, remedy: &str) -> io::Error {
    io::Error::new(error.kind(), format!("state file {}: {error}; {remedy}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyferry_channel::ChannelKey;

    #[test]
    fn keeps_what_was_saved_and_only_for_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let file = StateFile::lock(&path).unwrap();
        assert!(file.load().unwrap().is_none());
        let state = State::new(ChannelKey::from_bytes([7; 32]));
        file.save(&state.encode()).unwrap();
        assert_eq!(file.load().unwrap().unwrap().encode(), state.encode());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    fn configured(directory: &Path) -> Config {
        let text = "id = \"t\"\ngateway = \"[::1]:5683\"\nsender_id = \"01\"\ngateway_id = \"00\"\n\
                    key_file = \"key\"\nstate = \"state\"\n";
        Config::parse(&directory.join("t.toml"), text).unwrap()
    }

    fn write_key(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn key_file_is_overwritten_and_removed_and_not_needed_again() {
        let directory = tempfile::tempdir().unwrap();
        let (key, witness) = (directory.path().join("key"), directory.path().join("witness"));
        write_key(&key, &"5a".repeat(32));
        // A second name of the same file shows what became of its content.
        std::fs::hard_link(&key, &witness).unwrap();
        let file = StateFile::lock(&directory.path().join("state")).unwrap();
        let begun = file.load_or_begin(&configured(directory.path())).unwrap();
        assert_eq!(begun.key.as_bytes(), &[0x5a; 32]);
        assert!(!key.exists());
        assert_eq!(std::fs::read(&witness).unwrap(), vec![0; 64]);
        let again = file.load_or_begin(&configured(directory.path())).unwrap();
        assert_eq!(again.encode(), begun.encode());
    }

    #[test]
    fn interrupted_erasure_is_completed() {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        let file = StateFile::lock(&directory.path().join("state")).unwrap();
        let state = State::new(ChannelKey::from_bytes([0x5a; 32]));
        file.save(&state.encode()).unwrap();
        // Stopped before the overwriting, before the removal, and with a file system that lost the zeros.
        for left in ["5a".repeat(32), "\0".repeat(64), String::new()] {
            write_key(&key, &left);
            assert_eq!(file.load_or_begin(&configured(directory.path())).unwrap().encode(), state.encode());
            assert!(!key.exists());
        }
    }

    #[test]
    fn key_file_that_cannot_be_erased_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let config = configured(directory.path());
        // A directory can be neither overwritten nor unlinked, not even by root.
        std::fs::create_dir(directory.path().join("key")).unwrap();
        let file = StateFile::lock(&config.state).unwrap();
        file.save(&State::new(ChannelKey::from_bytes([0x5a; 32])).encode()).unwrap();
        let error = file.load_or_begin(&config).err().unwrap();
        assert!(error.to_string().contains("cannot be erased"), "{error}");
    }

    #[test]
    fn zeros_are_no_key_to_begin_with() {
        let directory = tempfile::tempdir().unwrap();
        write_key(&directory.path().join("key"), &"\0".repeat(64));
        let file = StateFile::lock(&directory.path().join("state")).unwrap();
        let error = file.load_or_begin(&configured(directory.path())).err().unwrap();
        assert!(error.to_string().contains("holds no key"), "{error}");
    }

    #[test]
    fn second_user_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let first = StateFile::lock(&path).unwrap();
        let error = StateFile::lock(&path).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        assert!(StateFile::lock(&path).is_ok());
    }

    #[test]
    fn damaged_or_public_state_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let file = StateFile::lock(&path).unwrap();
        file.save(&State::new(ChannelKey::from_bytes([7; 32])).encode()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(file.load().err().unwrap().kind(), io::ErrorKind::PermissionDenied);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for length in 0..std::fs::metadata(&path).unwrap().len() {
            OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
            if length > 0 || file.load().is_err() {
                assert_eq!(file.load().err().unwrap().kind(), io::ErrorKind::InvalidData, "{length}");
            }
        }
    }
}
