//! Certificate revocation lists in files. The operator, or a timer of his, replaces them; the running gateway
//! takes the new ones without a restart.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use x509_parser::pem::Pem;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::files;

/// Larger than any list of a CA that a plant has.
const LARGEST_FILE: u64 = 16 << 20;

/// Where the revocation lists of one trust are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationFiles {
    /// The trust's name in the configuration.
    pub trust: String,
    /// PEM or DER files.
    pub files: Vec<PathBuf>,
}

impl RevocationFiles {
    /// The lists, DER. An error names the file and what is wrong with it.
    pub fn read(&self) -> Result<Vec<Vec<u8>>, String> {
        let mut lists = Vec::new();
        for file in &self.files {
            lists.extend(read_lists(file).map_err(|error| format!("{}: {error}", file.display()))?);
        }
        Ok(lists)
    }
}

/// The lists of one file.
pub fn read_lists(file: &Path) -> Result<Vec<Vec<u8>>, String> {
    let bytes = files::read(file, LARGEST_FILE).map_err(|error| format!("cannot be read: {error}"))?;
    let lists = if bytes.first() == Some(&0x30) { vec![bytes] } else { from_pem(&bytes)? };
    for list in &lists {
        if !matches!(CertificateRevocationList::from_der(list), Ok(([], _))) {
            return Err("this is not a certificate revocation list".into());
        }
    }
    Ok(lists)
}

fn from_pem(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let blocks: Vec<Pem> =
        Pem::iter_from_buffer(bytes).collect::<Result<_, _>>().map_err(|error| format!("not sound PEM: {error}"))?;
    let lists: Vec<Vec<u8>> =
        blocks.into_iter().filter(|block| block.label == "X509 CRL").map(|block| block.contents).collect();
    if lists.is_empty() { Err("it holds no -----BEGIN X509 CRL----- block".into()) } else { Ok(lists) }
}

/// Notices files that were replaced.
pub struct RevocationWatch {
    watched: Vec<(RevocationFiles, Vec<Option<Version>>)>,
}

/// What tells a file from the one before it.
type Version = (SystemTime, u64, u64, i64);

impl RevocationWatch {
    /// Watches files. The first look reads them: they may have changed since the configuration was read.
    pub fn new(files: Vec<RevocationFiles>) -> Self {
        Self { watched: files.into_iter().map(|files| (files, Vec::new())).collect() }
    }

    /// The trusts whose lists changed, with the new ones. Lists that cannot be read leave the old ones in force,
    /// which expire in their time; the log says so, at every new attempt of the operator.
    pub fn changed(&mut self) -> Vec<(String, Vec<Vec<u8>>)> {
        let mut changed = Vec::new();
        for (files, known) in &mut self.watched {
            let now = versions(files);
            if *known == now {
                continue;
            }
            *known = now;
            match files.read() {
                Ok(lists) => changed.push((files.trust.clone(), lists)),
                Err(error) => {
                    tracing::error!(trust = files.trust, %error, "the new revocation list is unusable; the old one stays");
                }
            }
        }
        changed
    }
}

fn versions(files: &RevocationFiles) -> Vec<Option<Version>> {
    let version = |file: &PathBuf| {
        let data = std::fs::metadata(file).ok()?;
        // A copy may keep size and time of its original; inode and change time are its own.
        Some((data.modified().ok()?, data.len(), data.ino(), data.ctime()))
    };
    files.files.iter().map(version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: &[u8] = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

    #[test]
    fn what_is_not_a_list_is_refused_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("plant.crl");
        let files = RevocationFiles { trust: "plant".into(), files: vec![file.clone()] };
        assert!(files.read().unwrap_err().contains("plant.crl: cannot be read"));
        std::fs::write(&file, OTHER).unwrap();
        assert!(files.read().unwrap_err().contains("no -----BEGIN X509 CRL-----"));
        std::fs::write(&file, [0x30, 0]).unwrap();
        assert!(files.read().unwrap_err().contains("not a certificate revocation list"));
    }

    #[test]
    fn a_list_that_became_unusable_is_reported_once_and_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("plant.crl");
        std::fs::write(&file, OTHER).unwrap();
        let mut watch =
            RevocationWatch::new(vec![RevocationFiles { trust: "plant".into(), files: vec![file.clone()] }]);
        assert!(watch.changed().is_empty());
        std::fs::write(&file, b"something else altogether").unwrap();
        assert!(watch.changed().is_empty());
    }
}
