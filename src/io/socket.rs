//! Unix sockets under a name: made so that nobody finds them before their mode is right.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::files;

/// Binds a socket with this mode; one that nobody answers on is replaced. Its directory is made where there is
/// none.
///
/// # Errors
/// `AddrInUse` where another process answers there.
pub fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        let what = format!("another keyferry answers on {}", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, what));
    }
    if let Some(directory) = path.parent() {
        files::create_private_directory(directory)?;
    }
    // Under its name only once its mode is right.
    let mut unnamed = path.as_os_str().to_owned();
    unnamed.push(".new");
    let unnamed = PathBuf::from(unnamed);
    match fs::remove_file(&unnamed) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unnamed)?;
    fs::set_permissions(&unnamed, fs::Permissions::from_mode(mode))?;
    fs::rename(&unnamed, path)?;
    Ok(listener)
}
