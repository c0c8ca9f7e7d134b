//! Adding a terminal: its id, its kid and its first channel key come into being together. One way in for
//! `keyferry terminal add`, with and without a running gateway.

use std::net::IpAddr;

use keyferry_channel::{ChannelKey, State};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::seal::fill_random;
use super::{Change, Store, read_mac, unavailable, write_mac};
use crate::error::Error;
use crate::terminals::{TerminalId, TerminalRecord};

/// What the operator asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewTerminal {
    /// Its name.
    pub id: String,
    /// The policy group.
    pub group: Option<String>,
    /// Addresses it may use; empty: learnt from its channel.
    pub addresses: Vec<IpAddr>,
    /// The interface it is on.
    pub interface: Option<String>,
    /// Its Ethernet address, as 02:00:00:00:00:01.
    pub mac: Option<String>,
    /// Other terminals may have the same addresses, if they say so as well.
    pub shared_address: bool,
    /// The id was revoked, and shall be given to this terminal.
    pub again: bool,
}

/// A terminal that is in the store, and the key it does not know yet.
pub struct Enrolled {
    /// What is stored of it.
    pub record: TerminalRecord,
    /// The first channel key.
    pub key: ChannelKey,
}

/// Why a terminal was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEnrolled {
    /// The request makes no sense by itself, or contradicts a terminal that exists.
    #[error("{0}")]
    Refused(String),
    /// The store failed; nothing was added.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Adds a terminal with a fresh kid and a fresh random key; durable on return. `now` is in seconds since
/// 1970. The running gateway passes the result on to its core.
///
/// # Errors
/// `Refused` where the id is taken or was revoked, or another live terminal has the address or the Ethernet
/// address.
pub fn enrol(store: &mut Store, request: &NewTerminal, now: u64) -> Result<Enrolled, NotEnrolled> {
    let id = TerminalId::try_from(request.id.as_str()).map_err(|bad| NotEnrolled::Refused(bad.to_string()))?;
    let mac = request.mac.as_deref().map(|text| read_mac(text).ok_or(text)).transpose().map_err(|text| {
        NotEnrolled::Refused(format!("`{text}` is no Ethernet address; write it as 02:00:00:00:00:01"))
    })?;
    let mut record = TerminalRecord {
        id,
        kid: store.next_kid()?,
        group: request.group.clone(),
        addresses: request.addresses.clone(),
        interface: request.interface.clone(),
        mac,
        shared_address: request.shared_address,
        created: now,
        revoked: None,
    };
    record.addresses.sort_unstable();
    record.addresses.dedup();
    check_form(&record)?;
    check_conflicts(&record, request.again, &store.terminals()?)?;
    let mut bytes = Zeroizing::new([0; 32]);
    fill_random(bytes.as_mut()).map_err(unavailable)?;
    let key = ChannelKey::from_bytes(*bytes);
    let state = State::new(ChannelKey::from_bytes(*bytes)).encode();
    let changes = vec![Change::PutTerminal(record.clone()), Change::PutChannel { kid: record.kid, state }];
    store.commit(changes)?;
    Ok(Enrolled { record, key })
}

fn check_form(record: &TerminalRecord) -> Result<(), NotEnrolled> {
    let unusable = |address: &&IpAddr| address.is_unspecified() || address.is_loopback() || address.is_multicast();
    if let Some(address) = record.addresses.iter().find(unusable) {
        return Err(NotEnrolled::Refused(format!("{address} cannot be a terminal's address")));
    }
    if let Some(group) = &record.group
        && TerminalId::try_from(group.as_str()).is_err()
    {
        let rule = "1 to 64 letters, digits or any of . _ - : @";
        return Err(NotEnrolled::Refused(format!("`{group}` cannot be a group: a group is named by {rule}")));
    }
    match &record.interface {
        Some(name) if name.is_empty() || name.len() > 15 || name.contains(['/', ' ', '"']) => {
            Err(NotEnrolled::Refused(format!("`{name}` cannot be a network interface; `ip link` shows them")))
        }
        _ => Ok(()),
    }
}

fn check_conflicts(new: &TerminalRecord, again: bool, existing: &[TerminalRecord]) -> Result<(), NotEnrolled> {
    let id = &new.id;
    let namesake = existing.iter().find(|other| other.id == *id);
    let conflict = match namesake.map(|other| other.revoked.is_some()) {
        Some(false) => Some(format!("there is a terminal {id}; choose another id, or revoke it first")),
        Some(true) if !again => Some(format!("terminal {id} was revoked; add it with --again if that is meant")),
        _ => existing.iter().filter(|other| other.revoked.is_none()).find_map(|other| conflict(new, other)),
    };
    conflict.map_or(Ok(()), |what| Err(NotEnrolled::Refused(what)))
}

/// What of the new terminal's the other one holds. An interface may hold many terminals.
fn conflict(new: &TerminalRecord, other: &TerminalRecord) -> Option<String> {
    let id = &other.id;
    // A router in front of several terminals shows its own Ethernet address for all of them.
    if new.shared_address && other.shared_address {
        return None;
    }
    if let Some(mac) = new.mac.filter(|_| new.mac == other.mac) {
        return Some(format!("terminal {id} has the Ethernet address {}", write_mac(mac)));
    }
    let address = new.addresses.iter().find(|address| other.addresses.contains(address))?;
    let remedy = "terminals behind one address are each added with --shared-address";
    Some(format!("terminal {id} has the address {address}; {remedy}"))
}
