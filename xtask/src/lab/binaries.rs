//! Where the programs under test are.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The two programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The gateway.
    pub keyferry: PathBuf,
    /// The terminal's agent.
    pub terminal: PathBuf,
}

impl Binaries {
    /// The programs of one build directory, for example `target/release`.
    pub fn in_directory(directory: &Path) -> Result<Self> {
        let found = Self { keyferry: directory.join("keyferry"), terminal: directory.join("keyferry-terminal") };
        ensure!(
            found.keyferry.exists() && found.terminal.exists(),
            "{} lacks keyferry or keyferry-terminal: build them with \
             cargo build -p keyferry -p keyferry-terminal --features keyferry-terminal/std",
            directory.display()
        );
        Ok(found)
    }

    /// The programs beside the running test (`target/debug/deps/..` or `target/debug/..`).
    pub fn beside_this_program() -> Result<Self> {
        let own = std::env::current_exe()?;
        let mut directory = own.parent().unwrap_or(Path::new("."));
        if directory.ends_with("deps") {
            directory = directory.parent().unwrap_or(directory);
        }
        Self::in_directory(directory)
    }
}

/// The workspace this program was built from.
pub fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}
