//! The few ways in which keyferry reads and writes whole files, and the private ones among them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Reads a whole file of at most `largest` bytes.
pub fn read(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(largest.saturating_add(1)).read_to_end(&mut bytes)?;
    at_most(largest, bytes.len())?;
    Ok(bytes)
}

/// Reads a secret of at most `largest` bytes, and refuses it where others could have read it, too.
pub fn read_private(path: &Path, largest: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::open(path)?;
    refuse_if_open_to_others(&file)?;
    read_wiped(&mut file, largest)
}

/// Reads a secret of at most `largest` bytes that somebody else made, and whether others can read it, too.
pub fn read_secret(path: &Path, largest: usize) -> io::Result<(Zeroizing<Vec<u8>>, bool)> {
    let mut file = File::open(path)?;
    let is_open_to_others = file.metadata()?.mode() & 0o077 != 0;
    Ok((read_wiped(&mut file, largest)?, is_open_to_others))
}

fn read_wiped(file: &mut File, largest: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Of its final size at once: a growing buffer would leave copies of the secret behind.
    let mut bytes = Zeroizing::new(vec![0; largest.saturating_add(1)]);
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            read => length = length.saturating_add(read),
        }
    }
    at_most(u64::try_from(largest).unwrap_or(u64::MAX), length)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Creates a file that only its owner can read, durably. Fails where the file exists.
pub fn create_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    PrivateFile::create(path)?.write(bytes)
}

/// A new file that only its owner can read, made before it is known what goes into it. Gone again where
/// nothing does: half a secret would be taken for a whole one.
pub struct PrivateFile {
    file: File,
    path: PathBuf,
    is_written: bool,
}

impl PrivateFile {
    /// Creates the file, empty. Fails where there is one.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self { file, path: path.to_owned(), is_written: false })
    }

    /// Writes the whole content, durably.
    pub fn write(mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_all()?;
        sync_directory_of(&self.path)?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        if !self.is_written {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the names in the directory of `path` durable.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Creates a directory, with its parents, that only its owner can enter; one that exists is left as it is.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

fn refuse_if_open_to_others(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o7777;
        let what = format!("its mode is {mode:04o}: others can read it; if none has, make it private with chmod 600");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    Ok(())
}

fn at_most(largest: u64, length: usize) -> io::Result<()> {
    if u64::try_from(length).unwrap_or(u64::MAX) > largest {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {largest} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_private_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        create_private(&path, b"abc").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read_private(&path, 3).unwrap().as_slice(), b"abc");
        assert_eq!(read_private(&path, 2).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(create_private(&path, b"other").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path, 100).unwrap(), b"abc");
    }

    #[test]
    fn a_private_file_without_content_does_not_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let file = PrivateFile::create(&path).unwrap();
        assert!(path.exists());
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_secret_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        create_private(&path, b"abc").unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_private(&path, 100).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{mode:o}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }
}
