//! What the certificate commands do to the store: the same with a running gateway and without one.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::operate::{find, unknown};
use super::{AdminResponse, KeyText};
use crate::crypto::Secret;
use crate::error::Error;
use crate::hex;
use crate::io::store::{Change, Store, StoredCredential};
use crate::signer::Credential;
use crate::tls::Leaf;

/// A certificate that a terminal shall have.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCertificate {
    /// The terminal's name.
    pub id: String,
    /// The certificate's name.
    pub name: String,
    /// DER in hexadecimal, leaf first.
    pub chain: Vec<String>,
    /// PKCS#8, PKCS#1 or SEC 1, DER in hexadecimal. None where the signer process has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<KeyText>,
}

/// A certificate as it is listed. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownCertificate {
    /// The terminal's name.
    pub terminal: String,
    /// The certificate's name.
    pub name: String,
    /// SHA-256 of the leaf, hexadecimal.
    pub id: String,
    /// Whom it names.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// DNS names and addresses.
    pub names: Vec<String>,
    /// The kind of key.
    pub key: String,
    /// Seconds since 1970 at which it starts to be valid.
    pub not_before: i64,
    /// Seconds since 1970 after which it is no longer valid.
    pub not_after: i64,
    /// Certificates in the chain.
    pub certificates: usize,
    /// Who has the private key: `gateway` or `signer`.
    pub private_key: String,
}

impl From<&StoredCredential> for ShownCertificate {
    fn from(stored: &StoredCredential) -> Self {
        let credential = &stored.credential;
        let leaf = Leaf::parse(credential.leaf());
        Self {
            terminal: stored.owner.to_string(),
            name: credential.name.clone(),
            id: credential.id.to_string(),
            subject: leaf.as_ref().map(|leaf| leaf.subject.clone()).unwrap_or_default(),
            issuer: leaf.map(|leaf| leaf.issuer).unwrap_or_default(),
            names: credential.names().to_vec(),
            key: credential.key_kind().to_owned(),
            not_before: credential.not_before(),
            not_after: credential.not_after(),
            certificates: credential.chain.len(),
            private_key: if stored.private_key.is_some() { "gateway" } else { "signer" }.to_owned(),
        }
    }
}

/// Whose and what name; neither the key nor the lengthy chain.
impl fmt::Debug for NewCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewCertificate").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

pub(super) fn add(store: &mut Store, new: &NewCertificate) -> Result<AdminResponse, Error> {
    let Some(terminal) = find(store, &new.id)? else {
        return Ok(unknown(&new.id));
    };
    if terminal.revoked.is_some() {
        return Ok(AdminResponse::Refused(format!("terminal {} is revoked", new.id)));
    }
    let (credential, private_key) = match new.read() {
        Ok(read) => read,
        Err(why) => return Ok(AdminResponse::Refused(why)),
    };
    let stored = StoredCredential { owner: terminal.id, credential: Arc::new(credential), private_key };
    let shown = ShownCertificate::from(&stored);
    store.commit(vec![Change::PutCredential(stored)])?;
    Ok(AdminResponse::Certificate(shown))
}

pub(super) fn list(store: &mut Store, id: &str) -> Result<AdminResponse, Error> {
    let Some(terminal) = find(store, id)? else {
        return Ok(unknown(id));
    };
    let stored = store.credentials_of(&terminal.id)?;
    Ok(AdminResponse::Certificates(stored.iter().map(ShownCertificate::from).collect()))
}

pub(super) fn remove(store: &mut Store, id: &str, name: &str) -> Result<AdminResponse, Error> {
    let Some(terminal) = find(store, id)? else {
        return Ok(unknown(id));
    };
    let stored = store.credentials_of(&terminal.id)?;
    let Some(stored) = stored.iter().find(|stored| stored.credential.name == name) else {
        let what =
            format!("terminal {id} has no certificate {name}; `keyferry terminal certificate list {id}` shows them");
        return Ok(AdminResponse::Refused(what));
    };
    store.commit(vec![Change::RemoveCredential { owner: terminal.id, name: Some(name.to_owned()) }])?;
    Ok(AdminResponse::Certificate(ShownCertificate::from(stored)))
}

impl NewCertificate {
    /// The credential, and its private key where it is here; the key fits the certificate.
    fn read(&self) -> Result<(Credential, Option<Secret>), String> {
        let chain = self.chain.iter().map(|certificate| hex::decode(certificate)).collect::<Option<Vec<_>>>();
        let chain = chain.ok_or("the chain is not in hexadecimal")?;
        let credential = Credential::new(&self.name, chain).map_err(|bad| bad.to_string())?;
        let Some(digits) = &self.private_key else {
            return Ok((credential, None));
        };
        let private_key = zeroize::Zeroizing::new(hex::decode(digits.reveal()).ok_or("the key is not in hexadecimal")?);
        let private_key = Secret::from_slice(&private_key);
        credential.check_private_key(&private_key).map_err(|bad| bad.to_string())?;
        Ok((credential, Some(private_key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_key_is_in_the_request_and_nowhere_else() {
        let new = NewCertificate {
            id: "meter-1".into(),
            name: "default".into(),
            chain: vec!["00".into()],
            private_key: Some(KeyText::new("feedfeed".into())),
        };
        assert!(serde_json::to_string(&new).unwrap().contains("feedfeed"));
        let shown = format!("{:?}", super::super::AdminRequest::CertificateAdd(new));
        assert!(shown.contains("meter-1") && !shown.contains("feedfeed"), "{shown}");
    }
}
