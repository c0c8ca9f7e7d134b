//! Who may talk to whom, and what the other side must prove. An immutable snapshot of the operator's
//! rules: the gateway asks it before any packet leaves, and again with the resolved address
//! ([`AddressGuard`]).

mod addresses;
mod network;
mod rule;

use std::net::SocketAddr;
use std::sync::Arc;

use keyferry_parsers::messages::{PeerName, Reason};

pub use addresses::AddressGuard;
pub use network::{BadNetwork, Network};
pub use rule::{Rule, TerminalPattern, Trust};

use crate::error::Error;

/// All rules, in the operator's order. Replaced whole when the configuration changes.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    revision: u64,
    rules: Vec<Arc<Rule>>,
}

/// The terminal that asks.
#[derive(Clone, Copy, Debug)]
pub struct TerminalRef<'a> {
    /// The operator's name for it.
    pub id: &'a str,
    /// The group the operator put it in.
    pub group: Option<&'a str>,
}

/// What a terminal asks for.
#[derive(Clone, Copy, Debug)]
pub struct PeerQuery<'a> {
    /// Whom to reach; in a name, case and a final dot do not count.
    pub peer: &'a PeerName,
    /// The peer's TCP port.
    pub port: u16,
    /// The name to ask the peer for (SNI), where it differs from `peer`.
    pub server_name: Option<&'a str>,
    /// The application protocols the terminal speaks, best first; empty: it wants no ALPN.
    pub alpn: &'a [String],
}

/// Who opens the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The terminal.
    Outbound,
    /// The peer. No rule allows it yet.
    Inbound,
}

/// A yes, and under which conditions.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The revision of the policy that said so.
    pub revision: u64,
    /// The position of the rule among the `[[peer]]` entries, from 0.
    pub index: usize,
    /// The rule itself: identity to prove, pinned addresses, trust, groups, suites, lifetime.
    pub rule: Arc<Rule>,
    /// The application protocols to offer, best first; empty: none.
    pub alpn: Vec<String>,
}

impl Policy {
    /// A policy of `rules`, the first match wins. `revision` tells snapshots apart.
    pub fn new(revision: u64, rules: Vec<Rule>) -> Self {
        Self { revision, rules: rules.into_iter().map(Arc::new).collect() }
    }

    /// Grows with every replacement of the policy.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The rules in order.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Whether `terminal` may reach the peer it names. The first rule that covers terminal, peer and
    /// port decides. Otherwise `FORBIDDEN_PEER`, `FORBIDDEN_PORT` or `FORBIDDEN_ALPN`, with the line
    /// that the operator would have to add.
    pub fn lookup(
        &self,
        terminal: &TerminalRef<'_>,
        query: &PeerQuery<'_>,
        direction: Direction,
    ) -> Result<Decision, Error> {
        if direction == Direction::Inbound {
            return Err(Error::new(Reason::FORBIDDEN_PEER, "no rule lets a peer open a connection to a terminal"));
        }
        let mut near_miss = NearMiss::default();
        for (index, rule) in self.rules.iter().enumerate() {
            if !rule.names(query) {
                continue;
            }
            if !rule.covers_terminal(terminal) {
                near_miss.terminal.get_or_insert(rule);
            } else if !rule.ports.contains(&query.port) {
                near_miss.port.get_or_insert(rule);
            } else {
                return Ok(self.decision(index, rule, rule.offer_alpn(query.alpn)?));
            }
        }
        Err(near_miss.refusal(terminal, query))
    }

    /// Where a TCP connection that `terminal` opened without a request leads, if a rule with
    /// `without_request` maps that destination to an identity. The rule's own `alpn` is offered.
    pub fn lookup_destination(&self, terminal: &TerminalRef<'_>, destination: SocketAddr) -> Option<Decision> {
        let mut rules = self.rules.iter().enumerate();
        let (index, rule) = rules.find(|(_, rule)| {
            rule.without_request
                && rule.is_at(destination.ip())
                && rule.ports.contains(&destination.port())
                && rule.covers_terminal(terminal)
        })?;
        Some(self.decision(index, rule, rule.alpn.clone()))
    }

    fn decision(&self, index: usize, rule: &Arc<Rule>, alpn: Vec<String>) -> Decision {
        Decision { revision: self.revision, index, rule: Arc::clone(rule), alpn }
    }
}

/// The first rules that all but matched: the refusal names them.
#[derive(Default)]
struct NearMiss<'a> {
    terminal: Option<&'a Rule>,
    port: Option<&'a Rule>,
}

impl NearMiss<'_> {
    fn refusal(&self, terminal: &TerminalRef<'_>, query: &PeerQuery<'_>) -> Error {
        let (peer, port) = (rule::described(query), query.port);
        if let Some(rule) = self.port {
            let add = format!("add {port} to `ports` of the [[peer]] `{}`", rule.name);
            return Error::new(Reason::FORBIDDEN_PORT, format!("port {port} of {peer} is not allowed; {add}"));
        }
        let id = terminal.id;
        let detail = match self.terminal {
            Some(rule) => format!(
                "{peer} is not allowed for terminal {id}; add \"{id}\" to `terminals` of the [[peer]] `{}`",
                rule.name
            ),
            None => format!(
                "no rule allows {peer}; add a [[peer]] with name = \"{peer}\", ports = [{port}], \
                 terminals = [\"{id}\"] and a trust"
            ),
        };
        Error::new(Reason::FORBIDDEN_PEER, detail)
    }
}

#[cfg(test)]
mod tests;
