//! What the terminal commands do to the store: the same with a running gateway, which then tells its core,
//! and without one.

use std::net::{IpAddr, SocketAddr};

use keyferry_channel::Id;

use super::{AdminRequest, AdminResponse, EnrolledTerminal, KeyText, ShownTerminal, certificate};
use crate::error::Error;
use crate::hex;
use crate::io::store::enrol::{Enrolled, NewTerminal, NotEnrolled, enrol};
use crate::io::store::{Change, Store, WrittenRecord};
use crate::terminals::{TerminalId, TerminalRecord};

/// What a terminal has to know of the gateway.
#[derive(Clone, Debug)]
pub struct Contact {
    /// The gateway's channel id.
    pub gateway_id: Id,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
}

/// Carries out a terminal command; None for a request that is not about terminals. `now` is in seconds
/// since 1970. Blocks for the disk.
pub fn operate(store: &mut Store, contact: &Contact, request: &AdminRequest, now: u64) -> Option<AdminResponse> {
    let result = match request {
        AdminRequest::Stats | AdminRequest::Prometheus => return None,
        AdminRequest::TerminalAdd(new) => add(store, contact, new, now),
        AdminRequest::TerminalList => list(store),
        AdminRequest::TerminalShow { id } => show(store, id),
        AdminRequest::TerminalRevoke { id } => revoke(store, id, now),
        AdminRequest::CertificateAdd(new) => certificate::add(store, new),
        AdminRequest::CertificateList { id } => certificate::list(store, id),
        AdminRequest::CertificateRemove { id, name } => certificate::remove(store, id, name),
    };
    Some(result.unwrap_or_else(|error| AdminResponse::Failed(error.to_string())))
}

fn add(store: &mut Store, contact: &Contact, new: &NewTerminal, now: u64) -> Result<AdminResponse, Error> {
    let Enrolled { record, key } = match enrol(store, new, now) {
        Ok(enrolled) => enrolled,
        Err(NotEnrolled::Refused(why)) => return Ok(AdminResponse::Refused(why)),
        Err(NotEnrolled::Store(error)) => return Err(error),
    };
    let Some(gateway) = contact.for_terminal_at(record.addresses.first()) else {
        return Ok(AdminResponse::Refused("the configuration has no [channel] listen".into()));
    };
    Ok(AdminResponse::Enrolled(EnrolledTerminal {
        terminal: WrittenRecord::from(&record),
        key: KeyText::new(hex::encode(key.as_bytes())),
        gateway_id: hex::encode(contact.gateway_id.as_bytes()),
        gateway,
    }))
}

fn list(store: &mut Store) -> Result<AdminResponse, Error> {
    let records = store.terminals()?;
    Ok(AdminResponse::Terminals(records.iter().map(stored).collect()))
}

fn show(store: &mut Store, id: &str) -> Result<AdminResponse, Error> {
    Ok(match find(store, id)? {
        Some(record) => AdminResponse::Terminal(Box::new(stored(&record))),
        None => unknown(id),
    })
}

fn revoke(store: &mut Store, id: &str, now: u64) -> Result<AdminResponse, Error> {
    let Some(record) = find(store, id)? else {
        return Ok(unknown(id));
    };
    if record.revoked.is_some() {
        return Ok(AdminResponse::Refused(format!("terminal {id} is revoked already")));
    }
    store.commit(vec![Change::Revoke { id: record.id.clone(), at: now }])?;
    Ok(AdminResponse::Terminal(Box::new(stored(&TerminalRecord { revoked: Some(now), ..record }))))
}

pub(super) fn find(store: &mut Store, id: &str) -> Result<Option<TerminalRecord>, Error> {
    match TerminalId::try_from(id) {
        Ok(id) => store.terminal(&id),
        Err(_) => Ok(None),
    }
}

fn stored(record: &TerminalRecord) -> ShownTerminal {
    ShownTerminal { record: WrittenRecord::from(record), live: None }
}

pub(super) fn unknown(id: &str) -> AdminResponse {
    AdminResponse::Refused(format!("there is no terminal {id}; `keyferry terminal list` shows them"))
}

impl Contact {
    /// The gateway's address of the family the terminal has, else the first.
    fn for_terminal_at(&self, terminal: Option<&IpAddr>) -> Option<SocketAddr> {
        let same_family = |listen: &&SocketAddr| terminal.is_none_or(|ip| ip.is_ipv4() == listen.is_ipv4());
        self.listen.iter().find(same_family).or(self.listen.first()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_the_gateways_address_of_its_own_family() {
        let contact = Contact {
            gateway_id: Id::try_from([0].as_slice()).unwrap(),
            listen: vec!["10.7.1.1:5683".parse().unwrap(), "[fd07:1::1]:5683".parse().unwrap()],
        };
        let at = |ip: &str| contact.for_terminal_at(Some(&ip.parse().unwrap())).unwrap().to_string();
        assert_eq!(at("10.7.1.9"), "10.7.1.1:5683");
        assert_eq!(at("fd07:1::9"), "[fd07:1::1]:5683");
        assert_eq!(contact.for_terminal_at(None).unwrap().to_string(), "10.7.1.1:5683");
    }
}
