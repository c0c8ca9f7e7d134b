//! SSLKEYLOGFILE: session secrets in the clear, for debugging with Wireshark. Whoever reads the file reads
//! the sessions; it exists behind an explicit flag that says so.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::tls::KeyLog;

/// A file that takes one line for each secret.
pub struct KeyLogFile(Mutex<File>);

impl KeyLogFile {
    /// Opens the file for appending; a new one is readable for its owner alone.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(Self(Mutex::new(file)))
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = Zeroizing::new(String::with_capacity(256));
        line.push_str(label);
        for part in [client_random, secret] {
            line.push(' ');
            for byte in part {
                // Writing to a String cannot fail.
                let _ = write!(*line, "{byte:02x}");
            }
        }
        line.push('\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::warn!(%error, "the key log takes no more lines");
        }
    }
}
