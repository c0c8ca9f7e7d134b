//! `[[service]]`: the rules for connections that peers open to terminals, none hidden behind another.

use std::net::IpAddr;

use super::algorithms::{self, Algorithms};
use super::peers::{LONGEST_SESSION, alpn_protocol, dns_name, filled, find_trust, terminal_pattern};
use super::section::{Mistake, Section};
use super::settings::{network_in_cidr, no_duplicates, values};
use super::trust::NamedTrust;
use crate::policy::{Service, TerminalPattern};

pub(super) fn read_all(document: &Section<'_>, trusts: &[NamedTrust]) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    for section in &document.children("service") {
        let Some(service) = read(section, trusts) else {
            continue;
        };
        for (position, earlier) in services.iter().enumerate() {
            check_pair(section, position, earlier, &service);
        }
        services.push(service);
    }
    services
}

/// All keys are read, even after a mistake, so that every mistake is reported.
fn read(section: &Section<'_>, trusts: &[NamedTrust]) -> Option<Service> {
    let terminals = filled(section, "terminals", "[\"meter-1\"]", section.parsed_list("terminals", terminal_pattern));
    let ports = filled(section, "ports", "[443]", section.integer_list("ports", 1..=u16::MAX));
    no_duplicates(section, "ports", &ports);
    let peers = section.parsed_list("peers", network_in_cidr).unwrap_or_default();
    let names = section.parsed_list("names", dns_name).unwrap_or_default();
    no_duplicates(section, "names", &names);
    let clients = section.parsed("clients", |text| find_trust(text, trusts));
    let client_names = section.parsed_list("client_names", client_name).unwrap_or_default();
    no_duplicates(section, "client_names", &client_names);
    if clients.is_none() && section.items("client_names") > 0 {
        let what = "names prove nothing without a trust that judges the clients' certificates";
        section.mistake(
            &section.span_of("client_names"),
            "client_names",
            what,
            "add clients = \"...\", a [trust.NAME]",
        );
    }
    let alpn = section.parsed_list("alpn", alpn_protocol).unwrap_or_default();
    no_duplicates(section, "alpn", &alpn);
    let without_request = section.boolean("without_request", false);
    let Algorithms { key_exchange, cipher_suites } = algorithms::read(section);
    let session_seconds = section.integer("session_seconds", 60..=LONGEST_SESSION, 86_400);
    section.finish();
    let clients = match clients {
        Some(trust) => Some(trust.value?),
        None => None,
    };
    Some(Service {
        terminals: values(terminals),
        ports: values(ports),
        peers: values(peers),
        names: values(names),
        clients,
        client_names: values(client_names),
        alpn: values(alpn),
        without_request,
        key_exchange,
        cipher_suites,
        session_seconds,
    })
}

/// A later service that an earlier one hides is a mistake.
fn check_pair(section: &Section<'_>, position: usize, earlier: &Service, later: &Service) {
    let covered = |pattern| earlier.terminals.contains(&TerminalPattern::Any) || earlier.terminals.contains(pattern);
    if !later.ports.is_empty()
        && later.ports.iter().all(|port| earlier.ports.contains(port))
        && later.terminals.iter().all(covered)
    {
        let what = format!("[[service]] number {} already decides all of this; the first match wins", position + 1);
        section.mistake(&section.span(), "ports", what, "remove this one, or move the narrower one up");
    }
}

/// A name as certificates have it: an address, a mail address, a URI, or else a DNS name.
fn client_name(text: &str) -> Result<String, Mistake> {
    let remedy =
        "write a DNS name, an address, a mail address or a URI from the subjectAltName of the client's certificate";
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    if text.contains(':') || text.contains('/') {
        return Ok(text.to_owned());
    }
    match text.rsplit_once('@') {
        // Which case the local part is written in counts; nobody but its domain knows what it means.
        Some((local, domain)) if !local.is_empty() => Ok(format!("{local}@{}", dns_name(domain)?)),
        Some(_) => Err(Mistake::new(format!("`{text}` is not a name that a certificate could have"), remedy)),
        None => dns_name(text).map_err(|mistake| Mistake::new(mistake.what, remedy)),
    }
}
