//! `[trust.NAME]`: reads the certificates a peer is judged by, and judges them first.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use super::Surroundings;
use super::section::{Located, Mistake, Section};
use super::settings::values;
use crate::hex;
use crate::io::files;
use crate::io::revocation::{self, RevocationFiles};
use crate::policy::{Revocation, Trust};
use crate::tls::next_update;

/// Larger than any bundle of trusted CAs.
const LARGEST_ANCHOR_FILE: u64 = 4 << 20;

/// A `[trust.NAME]` of the file.
pub(super) struct NamedTrust {
    pub name: Located<String>,
    /// None after a mistake in it: rules that name it are not to be blamed.
    pub trust: Option<Arc<Trust>>,
    /// The files of its revocation lists.
    crl_files: Vec<PathBuf>,
}

impl NamedTrust {
    /// What is watched while the gateway runs.
    pub(super) fn revocation_lists(&self) -> Option<RevocationFiles> {
        let files = self.crl_files.clone();
        (!files.is_empty()).then(|| RevocationFiles { trust: self.name.value.clone(), files })
    }
}

pub(super) fn read_all(section: &Section<'_>, surroundings: &Surroundings<'_>) -> Vec<NamedTrust> {
    let names = section.names();
    let read_one = |name: Located<String>| {
        let child = section.child(&name.value);
        let crl_files = child.parsed_list("crls", |text| Ok(surroundings.directory.join(text))).unwrap_or_default();
        NamedTrust { trust: read(&child, &name.value, surroundings), crl_files: values(crl_files), name }
    };
    names.into_iter().map(read_one).collect()
}

fn read(section: &Section<'_>, name: &str, surroundings: &Surroundings<'_>) -> Option<Arc<Trust>> {
    let files = section.parsed_list("anchors", |text| read_anchors(text, surroundings));
    let pins = section.parsed_list("pins", pin);
    let crls = section.parsed_list("crls", |text| read_crls(text, surroundings));
    let revocation = section.parsed("revocation", revocation).map_or(Revocation::Chain, |located| located.value);
    section.finish();
    check_crls(section, crls.as_deref().unwrap_or_default(), surroundings.now);
    let written = section.items("anchors") + section.items("pins");
    if written == 0 {
        let what = "it holds neither anchors nor pins, so no peer could prove anything";
        let remedy = "add anchors = [\"ca.pem\"], or pins = [\"sha256:...\"]";
        section.mistake(&section.span(), "anchors", what, remedy);
    }
    let anchors: Vec<Vec<u8>> = values(files.unwrap_or_default()).into_iter().flatten().collect();
    let pins = values(pins.unwrap_or_default());
    let crls = values(crls.unwrap_or_default()).into_iter().flatten().collect();
    (!anchors.is_empty() || !pins.is_empty())
        .then(|| Arc::new(Trust { name: name.to_owned(), anchors, pins, crls, revocation }))
}

/// The revocation lists of a PEM file, or the one of a DER file.
fn read_crls(file: &str, surroundings: &Surroundings<'_>) -> Result<Vec<Vec<u8>>, Mistake> {
    let path = surroundings.directory.join(file);
    revocation::read_lists(&path).map_err(|error| {
        let remedy = format!("put the CA's revocation list (PEM or DER) at {}, or correct the path", path.display());
        Mistake::new(format!("{}: {error}", path.display()), remedy)
    })
}

fn check_crls(section: &Section<'_>, crls: &[Located<Vec<Vec<u8>>>], now: u64) {
    if section.items("crls") > 0 && section.items("anchors") == 0 {
        let what = "a revocation list says nothing about a pinned key: nobody issued it";
        section.mistake(&section.span_of("crls"), "crls", what, "add anchors, or remove the pin instead");
    }
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    for file in crls {
        if file.value.iter().any(|list| next_update(list).is_some_and(|next| next < now)) {
            let what = "this revocation list is out of date, so every certificate it speaks for will be refused";
            section.warning(
                &file.span,
                "crls",
                what,
                "fetch the CA's current list; a running gateway takes it by itself",
            );
        }
    }
}

fn revocation(text: &str) -> Result<Revocation, Mistake> {
    match text {
        "chain" => Ok(Revocation::Chain),
        "end-entity" => Ok(Revocation::EndEntity),
        other => Err(Mistake::new(
            format!("`{other}` is not a way to check revocation"),
            "write \"chain\" (every certificate below the anchor) or \"end-entity\" (the peer's own alone)",
        )),
    }
}

/// The certificates of a PEM file, or the one of a DER file.
fn read_anchors(file: &str, surroundings: &Surroundings<'_>) -> Result<Vec<Vec<u8>>, Mistake> {
    let path = surroundings.directory.join(file);
    let bytes = files::read(&path, LARGEST_ANCHOR_FILE).map_err(|error| {
        let remedy = format!("put the CA certificate (PEM) at {}, or correct the path", path.display());
        Mistake::new(format!("{} cannot be read: {error}", path.display()), remedy)
    })?;
    let certificates = certificates(&path, &bytes)?;
    for (position, der) in certificates.iter().enumerate() {
        check_anchor(&path, position, der, surroundings.now)?;
    }
    Ok(certificates)
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Mistake> {
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.to_vec()]);
    }
    let blocks: Vec<Pem> = Pem::iter_from_buffer(bytes).collect::<Result<_, _>>().map_err(|error| {
        let what = format!("{} is not sound PEM: {error}", path.display());
        Mistake::new(what, "it should hold -----BEGIN CERTIFICATE----- blocks; export the CA certificate again")
    })?;
    if blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY")) {
        let what = format!("{} holds a private key", path.display());
        return Err(Mistake::new(what, "keep the CA's private key away from the gateway; name its certificate only"));
    }
    let found: Vec<_> = blocks.into_iter().filter(|block| block.label == "CERTIFICATE").map(|b| b.contents).collect();
    if found.is_empty() {
        let what = format!("{} holds no certificate", path.display());
        return Err(Mistake::new(what, "it should hold -----BEGIN CERTIFICATE----- blocks"));
    }
    Ok(found)
}

fn check_anchor(path: &Path, position: usize, der: &[u8], now: u64) -> Result<(), Mistake> {
    let place = format!("certificate {} of {}", position + 1, path.display());
    let Ok(([], certificate)) = X509Certificate::from_der(der) else {
        return Err(Mistake::new(
            format!("{place} is not a sound X.509 certificate"),
            "export the CA certificate again",
        ));
    };
    let subject = certificate.subject();
    if !certificate.is_ca() {
        let what = format!("{place} ({subject}) is not a CA's: it may not sign certificates");
        let remedy = "name the certificate of the CA that issued it, or pin its key: openssl x509 -in FILE -pubkey \
                      -noout | openssl pkey -pubin -outform der | sha256sum gives pins = [\"sha256:...\"]";
        return Err(Mistake::new(what, remedy));
    }
    if let Ok(Some(usage)) = certificate.key_usage()
        && !usage.value.key_cert_sign()
    {
        let what = format!("{place} ({subject}) has a key usage without certificate signing");
        return Err(Mistake::new(what, "name the certificate of the CA that issues the peers' certificates"));
    }
    let (from, until) = (certificate.validity().not_before, certificate.validity().not_after);
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    if until.timestamp() < now {
        let what = format!("{place} ({subject}) expired on {until}");
        return Err(Mistake::new(what, "replace it by the CA's current certificate"));
    }
    if from.timestamp() > now {
        let what = format!("{place} ({subject}) is not valid before {from}");
        return Err(Mistake::new(what, "check this machine's clock, or use the CA's current certificate"));
    }
    Ok(())
}

fn pin(text: &str) -> Result<[u8; 32], Mistake> {
    let remedy = "write sha256: and 64 hexadecimal digits: the SHA-256 of the key's SubjectPublicKeyInfo";
    let Some(digits) = text.strip_prefix("sha256:") else {
        return Err(Mistake::new(format!("`{text}` does not begin with sha256:"), remedy));
    };
    let bytes = hex::decode(digits).ok_or_else(|| Mistake::new("this is not hexadecimal", remedy))?;
    let length = bytes.len();
    bytes.try_into().map_err(|_| Mistake::new(format!("a pin has 32 bytes, this has {length}"), remedy))
}
