//! `[[peer]]`: the rules of the policy, each sound by itself and none hidden behind another.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use super::algorithms::{self, Algorithms};
use super::finding::nearest;
use super::section::{Located, Mistake, Section};
use super::settings::{no_duplicates, values};
use super::trust::NamedTrust;
use crate::policy::{AddressGuard, Rule, Service, TerminalPattern, Trust};
use crate::terminals::TerminalId;

/// Thirty days: a device that never reconnects would outlive any revocation.
pub(super) const LONGEST_SESSION: u32 = 30 * 86_400;

pub(super) fn read_all(
    document: &Section<'_>,
    trusts: &[NamedTrust],
    services: &[Service],
    guard: &AddressGuard,
) -> Vec<Rule> {
    let sections = document.children("peer");
    let mut rules: Vec<(Rule, Range<usize>)> = Vec::new();
    for section in &sections {
        let Some(rule) = read(section, trusts, guard) else {
            continue;
        };
        for (position, (earlier, _)) in rules.iter().enumerate() {
            check_pair(section, position, earlier, &rule);
        }
        rules.push((rule, section.span()));
    }
    if sections.is_empty() && services.is_empty() {
        let what = "there is no [[peer]], so every request of every terminal will be refused";
        document.warning(&(0..0), "peer", what, "add a [[peer]] with name, ports, terminals and trust");
    }
    report_unused(document, trusts, &sections, services);
    rules.into_iter().map(|(rule, _)| rule).collect()
}

/// All keys are read, even after a mistake, so that every mistake is reported.
fn read(section: &Section<'_>, trusts: &[NamedTrust], guard: &AddressGuard) -> Option<Rule> {
    let name = section.required("name", "\"server.example\"", |text| peer_name(text, guard));
    let addresses = section.parsed_list("addresses", |text| peer_address(text, guard)).unwrap_or_default();
    no_duplicates(section, "addresses", &addresses);
    let ports = filled(section, "ports", "[443]", section.integer_list("ports", 1..=u16::MAX));
    no_duplicates(section, "ports", &ports);
    let terminals = filled(section, "terminals", "[\"*\"]", section.parsed_list("terminals", terminal_pattern));
    let trust = section.required("trust", "\"plant\"", |text| find_trust(text, trusts));
    let alpn = section.parsed_list("alpn", alpn_protocol).unwrap_or_default();
    no_duplicates(section, "alpn", &alpn);
    let without_request = section.boolean("without_request", false);
    let Algorithms { key_exchange, cipher_suites } = algorithms::read(section);
    let client_certificate = section.boolean("client_certificate", true);
    let resumption = section.boolean("resumption", false);
    let session_seconds = section.integer("session_seconds", 60..=LONGEST_SESSION, 86_400);
    section.finish();
    let rule = Rule {
        name: name?.value,
        addresses: values(addresses),
        ports: values(ports),
        terminals: values(terminals),
        trust: trust?.value?,
        alpn: values(alpn),
        without_request,
        key_exchange,
        cipher_suites,
        session_seconds,
        client_certificate,
        resumption,
    };
    if without_request && rule.pinned_addresses().is_empty() {
        let what = "a connection without a request shows only an address, and this peer has none";
        section.mistake(&section.span_of("without_request"), "without_request", what, "add addresses = [\"...\"]");
    }
    Some(rule)
}

/// A later rule that an earlier one hides, or two identities for one destination, are mistakes.
fn check_pair(section: &Section<'_>, position: usize, earlier: &Rule, later: &Rule) {
    let shared_ports: Vec<u16> = later.ports.iter().copied().filter(|port| earlier.ports.contains(port)).collect();
    let which = position + 1;
    if earlier.name == later.name
        && !later.ports.is_empty()
        && shared_ports.len() == later.ports.len()
        && covers_all(&earlier.terminals, &later.terminals)
    {
        let what =
            format!("[[peer]] number {which}, `{}`, already decides all of this; the first match wins", earlier.name);
        section.mistake(&section.span(), "name", what, "remove this one, or move the narrower one up");
        return;
    }
    let same_terminals =
        covers_all(&earlier.terminals, &later.terminals) || covers_all(&later.terminals, &earlier.terminals);
    let places = later.pinned_addresses();
    let shared = earlier.pinned_addresses().into_iter().find(|address| places.contains(address));
    if earlier.without_request
        && later.without_request
        && earlier.name != later.name
        && same_terminals
        && let (Some(address), Some(port)) = (shared, shared_ports.first())
    {
        let what = format!("{address} port {port} is already mapped to `{}` by [[peer]] number {which}", earlier.name);
        let remedy = "leave without_request to one of them; the terminals ask for the other by name";
        section.mistake(&section.span_of("without_request"), "without_request", what, remedy);
    }
}

/// Whether every terminal that `narrow` means is surely among those that `wide` means.
fn covers_all(wide: &[TerminalPattern], narrow: &[TerminalPattern]) -> bool {
    wide.contains(&TerminalPattern::Any) || narrow.iter().all(|pattern| wide.contains(pattern))
}

fn report_unused(document: &Section<'_>, trusts: &[NamedTrust], peers: &[Section<'_>], services: &[Service]) {
    let by_peers = peers.iter().filter_map(|peer| peer.parsed("trust", |text| Ok(text.to_owned()))).map(|t| t.value);
    let by_services = services.iter().filter_map(|service| service.clients.as_ref()).map(|trust| trust.name.clone());
    let used: Vec<String> = by_peers.chain(by_services).collect();
    for trust in trusts.iter().filter(|trust| !used.contains(&trust.name.value)) {
        let name = &trust.name.value;
        let remedy = format!("write trust = \"{name}\" in a [[peer]], or remove it");
        document.warning(
            &trust.name.span,
            &format!("trust.{name}"),
            "no [[peer]] or [[service]] uses this trust",
            remedy,
        );
    }
}

/// A list that must be there and not be empty.
pub(super) fn filled<T>(
    section: &Section<'_>,
    key: &str,
    example: &str,
    list: Option<Vec<Located<T>>>,
) -> Vec<Located<T>> {
    section.require(key, example);
    if section.is_empty_list(key) {
        let what = format!("an empty `{key}` allows nothing");
        section.mistake(&section.span_of(key), key, what, format!("write, for example, {key} = {example}"));
    }
    list.unwrap_or_default()
}

/// A DNS name in lower case without final dot, or an IP address.
fn peer_name(text: &str, guard: &AddressGuard) -> Result<String, Mistake> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return allowed(address, guard).map(|address| address.to_string());
    }
    dns_name(text)
}

/// A DNS name in lower case without final dot.
pub(super) fn dns_name(text: &str) -> Result<String, Mistake> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let remedy = "write a DNS name such as \"server.example\", or an IP address";
    if name.contains('*') {
        return Err(Mistake::new("a rule names one peer; wildcards are not understood", remedy));
    }
    let digits_only = name.rsplit('.').next().is_some_and(|label| label.chars().all(|c| c.is_ascii_digit()));
    let sound = !name.is_empty() && name.len() <= 253 && name.split('.').all(is_label) && !digits_only;
    if !sound {
        return Err(Mistake::new(format!("`{text}` is neither a DNS name nor an IP address"), remedy));
    }
    Ok(name.to_ascii_lowercase())
}

fn is_label(label: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=63).contains(&label.len()) && label.chars().all(allowed) && !label.starts_with('-') && !label.ends_with('-')
}

fn peer_address(text: &str, guard: &AddressGuard) -> Result<IpAddr, Mistake> {
    match text.parse() {
        Ok(address) => allowed(address, guard),
        Err(_) => {
            let what = format!("`{text}` is not an IP address");
            Err(Mistake::new(what, "write addresses here, such as \"10.7.2.2\"; the port goes into `ports`"))
        }
    }
}

fn allowed(address: IpAddr, guard: &AddressGuard) -> Result<IpAddr, Mistake> {
    match guard.check(address, |_| false) {
        Ok(()) => Ok(address),
        Err(error) => {
            Err(Mistake::new(error.detail, "name an address that terminals may reach, or open the closed network"))
        }
    }
}

pub(super) fn terminal_pattern(text: &str) -> Result<TerminalPattern, Mistake> {
    let remedy = "write a terminal's id, \"group:NAME\", or \"*\" for every terminal";
    if text == "*" {
        return Ok(TerminalPattern::Any);
    }
    let (is_group, name) = match text.strip_prefix("group:") {
        Some(group) => (true, group),
        None => (false, text),
    };
    let id = TerminalId::try_from(name).map_err(|bad| Mistake::new(format!("`{text}`: {bad}"), remedy))?;
    let name = id.to_string();
    Ok(if is_group { TerminalPattern::Group(name) } else { TerminalPattern::Id(name) })
}

pub(super) fn find_trust(text: &str, trusts: &[NamedTrust]) -> Result<Option<Arc<Trust>>, Mistake> {
    if let Some(found) = trusts.iter().find(|trust| trust.name.value == text) {
        return Ok(found.trust.clone());
    }
    let names = trusts.iter().map(|trust| trust.name.value.as_str());
    let remedy = match nearest(text, names) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => format!("add a section [trust.{text}] with anchors or pins"),
    };
    Err(Mistake::new(format!("there is no [trust.{text}]"), remedy))
}

pub(super) fn alpn_protocol(text: &str) -> Result<String, Mistake> {
    if (1..=255).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new("a protocol name has 1 to 255 bytes", "write a registered name such as \"http/1.1\" or \"h2\""))
}
