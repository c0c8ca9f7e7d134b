//! Who may talk to whom, and what the other side must prove. An immutable snapshot of the operator's
//! rules: the gateway asks it before any packet leaves, and again with the resolved address
//! ([`AddressGuard`]).

mod addresses;
mod network;
mod rule;
mod service;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use keyferry_parsers::messages::{PeerName, Reason};

pub use addresses::AddressGuard;
pub use network::{BadNetwork, Network};
pub use rule::{Revocation, Rule, TerminalPattern, Trust};
pub use service::Service;

use crate::error::Error;

/// All rules, in the operator's order. Replaced whole when the configuration changes.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    revision: u64,
    rules: Vec<Arc<Rule>>,
    services: Vec<Arc<Service>>,
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

/// A yes to a peer that connects to a terminal.
#[derive(Clone, Debug)]
pub struct ServiceDecision {
    /// The revision of the policy that said so.
    pub revision: u64,
    /// The position of the rule among the `[[service]]` entries, from 0.
    pub index: usize,
    /// The rule itself.
    pub service: Arc<Service>,
}

impl Policy {
    /// A policy of `rules` for what terminals ask for, the first match wins. `revision` tells snapshots apart.
    pub fn new(revision: u64, rules: Vec<Rule>) -> Self {
        Self { revision, rules: rules.into_iter().map(Arc::new).collect(), services: Vec::new() }
    }

    /// The same, with rules for connections that peers open to terminals.
    pub fn with_services(self, services: Vec<Service>) -> Self {
        Self { services: services.into_iter().map(Arc::new).collect(), ..self }
    }

    /// The same, with new revocation lists (DER) for the trust of that name. No decision changes by it, only
    /// what a certificate is worth.
    pub fn with_revocation_lists(mut self, trust: &str, lists: &[Vec<u8>]) -> Self {
        let renewed = |old: &Arc<Trust>| Arc::new(Trust { crls: lists.to_vec(), ..Trust::clone(old) });
        for rule in self.rules.iter_mut().filter(|rule| rule.trust.name == trust) {
            let trust = renewed(&rule.trust);
            Arc::make_mut(rule).trust = trust;
        }
        for service in &mut self.services {
            if let Some(clients) = service.clients.clone().filter(|clients| clients.name == trust) {
                Arc::make_mut(service).clients = Some(renewed(&clients));
            }
        }
        self
    }

    /// Grows with every replacement of the policy.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The rules in order.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The rules for connections to terminals, in order.
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// Whether `terminal` may reach the peer it names. The first rule that covers terminal, peer and
    /// port decides. Otherwise `FORBIDDEN_PEER`, `FORBIDDEN_PORT` or `FORBIDDEN_ALPN`, with the line
    /// that the operator would have to add.
    pub fn lookup(&self, terminal: &TerminalRef<'_>, query: &PeerQuery<'_>) -> Result<Decision, Error> {
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

    /// Whether a peer at `peer` may connect to `port` of `terminal`. The first rule that covers terminal and
    /// port decides. Otherwise `FORBIDDEN_PORT` where there is none, or `FORBIDDEN_CLIENT`.
    pub fn lookup_service(
        &self,
        terminal: &TerminalRef<'_>,
        port: u16,
        peer: IpAddr,
    ) -> Result<ServiceDecision, Error> {
        let decision = self.service_of(terminal, port)?;
        if !decision.service.admits(peer) {
            let detail = format!("the [[service]] for port {port} of {} has no `peers` with {peer}", terminal.id);
            return Err(Error::new(Reason::FORBIDDEN_CLIENT, detail));
        }
        Ok(decision)
    }

    /// The TCP ports on which `terminal` may serve.
    pub fn served_ports(&self, terminal: &TerminalRef<'_>) -> Vec<u16> {
        let ports = self.services.iter().flat_map(|service| service.ports.iter().copied());
        let mut ports: Vec<u16> = ports.filter(|port| self.service_of(terminal, *port).is_ok()).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// The rule under which `terminal` serves on `port`, whoever connects.
    pub fn service_of(&self, terminal: &TerminalRef<'_>, port: u16) -> Result<ServiceDecision, Error> {
        let mut services = self.services.iter().enumerate();
        let (index, service) = services.find(|(_, service)| service.is_of(terminal, port)).ok_or_else(|| {
            let id = terminal.id;
            let remedy = format!("add a [[service]] with terminals = [\"{id}\"] and ports = [{port}]");
            Error::new(Reason::FORBIDDEN_PORT, format!("terminal {id} may not serve on port {port}; {remedy}"))
        })?;
        Ok(ServiceDecision { revision: self.revision, index, service: Arc::clone(service) })
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
