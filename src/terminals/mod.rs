//! The gateway's own devices: who they are, where they are, and the channel to each.

mod link;
mod quota;
mod record;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use keyferry_channel::{Id, Instant};

use crate::signer::Credential;

pub use link::{Link, LinkOutput};
pub use quota::Quota;
pub use record::{BadTerminalId, TerminalId, TerminalRecord};

/// Datagrams kept for a channel that waits for the store; CoAP repeats what is dropped beyond.
pub const ARRIVALS: usize = 64;
/// A learnt address changes this often at most: each change costs the packet rules a transaction.
const MOVE_INTERVAL: Duration = Duration::from_secs(10);
/// A learnt address may be taken over by another terminal after this much silence.
const ADDRESS_LEASE: Duration = Duration::from_secs(600);

/// Where a terminal's channel was last heard: its address and the gateway's own that it spoke to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The terminal's channel address.
    pub remote: SocketAddr,
    /// The gateway's channel address.
    pub local: SocketAddr,
}

/// One admitted terminal.
pub struct Terminal {
    /// What is stored of it.
    pub record: TerminalRecord,
    /// The channel to it.
    pub link: Link,
    /// Where it was last heard.
    pub path: Option<Path>,
    /// Where the datagram in hand came from, until all that it caused is done. Not proved to be the
    /// terminal's address: nothing but the answer goes there.
    pub answering: Option<Path>,
    /// Datagrams that came while the channel waits for the store; at most [`ARRIVALS`].
    pub arrivals: VecDeque<(Path, Vec<u8>)>,
    /// When it was last heard.
    pub heard: Option<Instant>,
    /// When its learnt address last changed.
    pub moved: Option<Instant>,
    /// How much it may still ask for.
    pub quota: Quota,
    /// How much others may still ask of it.
    pub inbound: Quota,
    /// The certificates it can prove itself with.
    pub credentials: Vec<Arc<Credential>>,
}

/// All admitted terminals, found by id, by OSCORE kid and by address. Revoked ones are not here.
#[derive(Default)]
pub struct Terminals {
    by_id: BTreeMap<TerminalId, Terminal>,
    by_kid: BTreeMap<Id, TerminalId>,
    by_address: BTreeMap<IpAddr, Vec<TerminalId>>,
}

impl Terminals {
    /// Admits a terminal, or replaces the one of the same id.
    pub fn insert(&mut self, terminal: Terminal) {
        self.remove(&terminal.record.id);
        let id = terminal.record.id.clone();
        self.by_kid.insert(terminal.record.kid, id.clone());
        for address in &terminal.record.addresses {
            self.by_address.entry(*address).or_default().push(id.clone());
        }
        self.by_id.insert(id, terminal);
    }

    /// Forgets a terminal and the channel to it.
    pub fn remove(&mut self, id: &TerminalId) -> Option<Terminal> {
        let terminal = self.by_id.remove(id)?;
        self.by_kid.remove(&terminal.record.kid);
        for address in terminal.addresses() {
            self.unlist(address, id);
        }
        Some(terminal)
    }

    /// The terminal with this id.
    pub fn get(&self, id: &TerminalId) -> Option<&Terminal> {
        self.by_id.get(id)
    }

    /// The terminal with this id, to be changed.
    pub fn get_mut(&mut self, id: &TerminalId) -> Option<&mut Terminal> {
        self.by_id.get_mut(id)
    }

    /// The terminal that speaks with this OSCORE kid.
    pub fn with_kid(&self, kid: &[u8]) -> Option<&TerminalId> {
        self.by_kid.get(&Id::try_from(kid).ok()?)
    }

    /// The terminals that live at this address; more than one behind a router of their own.
    pub fn at(&self, address: IpAddr) -> &[TerminalId] {
        self.by_address.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Every admitted terminal, in order of id.
    pub fn iter(&self) -> impl Iterator<Item = &Terminal> {
        self.by_id.values()
    }

    /// How many are admitted.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True when none is admitted.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Notes that `id` was heard, authenticated, at `path`. For a terminal without configured addresses
    /// the address is learnt; the answer says which address it left and whether the new one is its own
    /// now. An address another terminal was heard at lately stays that one's.
    pub fn heard(&mut self, id: &TerminalId, path: Path, now: Instant) -> Move {
        let address = path.remote.ip();
        let held_by_other = self.at(address).iter().any(|other| other != id && self.is_recent(other, now));
        let Some(terminal) = self.by_id.get_mut(id) else {
            return Move::Stayed;
        };
        let shared = terminal.record.shared_address;
        let fixed = !terminal.record.addresses.is_empty();
        let flapping = terminal.moved.is_some_and(|at| now.saturating_duration_since(at) < MOVE_INTERVAL);
        let moves = terminal.path.is_some_and(|path| path.remote.ip() != address);
        if !fixed && held_by_other && !shared {
            return Move::Refused;
        }
        if !fixed && moves && flapping {
            return Move::Flapping;
        }
        let old = terminal.path.map(|path| path.remote.ip()).filter(|old| *old != address);
        let first = terminal.path.is_none();
        terminal.path = Some(path);
        terminal.heard = Some(now);
        if fixed || (old.is_none() && !first) {
            return Move::Stayed;
        }
        terminal.moved = old.map(|_| now).or(terminal.moved);
        let mut left = Vec::new();
        if let Some(old) = old {
            self.unlist(old, id);
            left.push((id.clone(), old));
        }
        if !shared {
            left.extend(self.evict(address));
        }
        self.by_address.entry(address).or_default().push(id.clone());
        Move::Moved { left, to: address }
    }

    fn is_recent(&self, id: &TerminalId, now: Instant) -> bool {
        let Some(terminal) = self.by_id.get(id) else {
            return false;
        };
        let fixed = !terminal.record.addresses.is_empty();
        fixed || terminal.heard.is_some_and(|at| now.saturating_duration_since(at) < ADDRESS_LEASE)
    }

    /// Takes a learnt address from those that have not used it for long: they are where they are heard next.
    fn evict(&mut self, address: IpAddr) -> Vec<(TerminalId, IpAddr)> {
        let holders = self.by_address.remove(&address).unwrap_or_default();
        for holder in &holders {
            if let Some(terminal) = self.by_id.get_mut(holder) {
                terminal.path = None;
            }
        }
        holders.into_iter().map(|holder| (holder, address)).collect()
    }

    fn unlist(&mut self, address: IpAddr, id: &TerminalId) {
        if let Some(holders) = self.by_address.get_mut(&address) {
            holders.retain(|holder| holder != id);
            if holders.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }
}

/// What hearing a terminal changed about its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Same address as before, or a configured one.
    Stayed,
    /// A learnt address: packets with it are this terminal's from now on.
    Moved {
        /// Who has lost which address by it: itself its former one, others this one after long silence.
        left: Vec<(TerminalId, IpAddr)>,
        /// The address it has.
        to: IpAddr,
    },
    /// The address belongs to another terminal.
    Refused,
    /// The terminal changes its address too often.
    Flapping,
}

impl Terminal {
    /// The addresses whose packets are this terminal's: configured, else learnt.
    pub fn addresses(&self) -> Vec<IpAddr> {
        match (self.record.addresses.as_slice(), self.path) {
            ([], Some(path)) => vec![path.remote.ip()],
            (configured, _) => configured.to_vec(),
        }
    }

    /// Whether a channel datagram may come from `address`.
    pub fn may_speak_from(&self, address: IpAddr) -> bool {
        self.record.addresses.is_empty() || self.record.addresses.contains(&address)
    }
}
