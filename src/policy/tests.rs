use super::*;
use std::net::IpAddr;

use keyferry_parsers::tls::{CipherSuite, NamedGroup};

fn trust() -> Arc<Trust> {
    Arc::new(Trust {
        name: "plant".into(),
        anchors: vec![vec![0x30]],
        pins: vec![],
        crls: vec![],
        revocation: Revocation::Chain,
    })
}

fn rule(name: &str, ports: &[u16], terminals: &[TerminalPattern]) -> Rule {
    Rule {
        name: name.into(),
        addresses: vec![],
        ports: ports.to_vec(),
        terminals: terminals.to_vec(),
        trust: trust(),
        alpn: vec![],
        without_request: false,
        key_exchange: vec![NamedGroup::X25519],
        cipher_suites: vec![CipherSuite::TLS_AES_128_GCM_SHA256],
        session_seconds: 86_400,
        client_certificate: true,
        resumption: false,
    }
}

fn name(text: &str) -> PeerName {
    PeerName::Name(text.into())
}

fn ask(peer: &PeerName, port: u16) -> PeerQuery<'_> {
    PeerQuery { peer, port, server_name: None, alpn: &[] }
}

const METER: TerminalRef<'static> = TerminalRef { id: "meter-1", group: Some("sensors") };

fn reason(result: Result<Decision, Error>) -> Reason {
    result.unwrap_err().reason
}

#[test]
fn the_first_rule_that_covers_terminal_peer_and_port_decides() {
    let policy = Policy::new(
        7,
        vec![
            rule("other.example", &[443], &[TerminalPattern::Any]),
            rule("server.example", &[443], &[TerminalPattern::Id("meter-2".into())]),
            rule("server.example", &[8443], &[TerminalPattern::Any]),
            rule("server.example", &[443], &[TerminalPattern::Group("sensors".into())]),
            rule("server.example", &[443], &[TerminalPattern::Any]),
        ],
    );
    let decision = policy.lookup(&METER, &ask(&name("Server.Example."), 443)).unwrap();
    assert_eq!((decision.index, decision.revision), (3, 7));
    assert_eq!(decision.rule.name, "server.example");
}

#[test]
fn a_refusal_tells_what_was_missing_and_which_line_to_add() {
    let policy = Policy::new(
        1,
        vec![
            rule("server.example", &[443], &[TerminalPattern::Id("meter-1".into())]),
            rule("private.example", &[443], &[TerminalPattern::Id("meter-2".into())]),
        ],
    );
    let refused = |to, port| policy.lookup(&METER, &ask(&name(to), port)).unwrap_err();

    let port = refused("server.example", 8443);
    assert_eq!(port.reason, Reason::FORBIDDEN_PORT);
    assert!(port.detail.contains("add 8443 to `ports`"), "{port}");

    let terminal = refused("private.example", 443);
    assert_eq!(terminal.reason, Reason::FORBIDDEN_PEER);
    assert!(terminal.detail.contains("add \"meter-1\" to `terminals`"), "{terminal}");

    let peer = refused("elsewhere.example", 443);
    assert_eq!(peer.reason, Reason::FORBIDDEN_PEER);
    assert!(peer.detail.contains("name = \"elsewhere.example\", ports = [443]"), "{peer}");
}

fn service(terminals: &[TerminalPattern], ports: &[u16], peers: &[&str]) -> Service {
    Service {
        terminals: terminals.to_vec(),
        ports: ports.to_vec(),
        peers: peers.iter().map(|network| network.parse().unwrap()).collect(),
        names: vec![],
        clients: None,
        client_names: vec![],
        alpn: vec![],
        without_request: false,
        key_exchange: vec![NamedGroup::X25519],
        cipher_suites: vec![CipherSuite::TLS_AES_128_GCM_SHA256],
        session_seconds: 86_400,
    }
}

#[test]
fn only_what_a_service_names_may_be_connected_to() {
    let policy = Policy::new(7, vec![rule("server.example", &[443], &[TerminalPattern::Any])]).with_services(vec![
        service(&[TerminalPattern::Id("meter-2".into())], &[443], &[]),
        service(&[TerminalPattern::Group("sensors".into())], &[443, 8443], &["10.7.2.0/24"]),
    ]);
    let connect = |port, peer: &str| policy.lookup_service(&METER, port, peer.parse().unwrap());
    let decision = connect(8443, "10.7.2.9").unwrap();
    assert_eq!((decision.index, decision.revision), (1, 7));

    let stranger = connect(443, "10.7.3.9").unwrap_err();
    assert_eq!(stranger.reason, Reason::FORBIDDEN_CLIENT);
    assert!(stranger.detail.contains("10.7.3.9"), "{stranger}");

    let port = connect(22, "10.7.2.9").unwrap_err();
    assert_eq!(port.reason, Reason::FORBIDDEN_PORT);
    assert!(port.detail.contains("ports = [22]"), "{port}");
}

#[test]
fn new_revocation_lists_reach_every_rule_of_their_trust_and_no_other() {
    let mut other = rule("other.example", &[443], &[TerminalPattern::Any]);
    other.trust = Arc::new(Trust { name: "elsewhere".into(), ..Trust::clone(&trust()) });
    let mut served = service(&[TerminalPattern::Any], &[443], &[]);
    served.clients = Some(trust());
    let policy = Policy::new(3, vec![rule("server.example", &[443], &[TerminalPattern::Any]), other])
        .with_services(vec![served])
        .with_revocation_lists("plant", &[vec![1, 2, 3]]);
    assert_eq!(policy.rules()[0].trust.crls, [vec![1, 2, 3]]);
    assert!(policy.rules()[1].trust.crls.is_empty());
    assert_eq!(policy.services()[0].clients.as_ref().unwrap().crls.len(), 1);
    assert_eq!(policy.revision(), 3, "offers made before stay good");
}

#[test]
fn an_address_leads_to_the_rule_that_pins_it() {
    let mut pinned = rule("server.example", &[443], &[TerminalPattern::Any]);
    pinned.addresses = vec!["10.7.2.2".parse().unwrap()];
    let policy = Policy::new(1, vec![pinned, rule("10.7.2.3", &[443], &[TerminalPattern::Any])]);
    let at = |text: &str| {
        let address = PeerName::Address(text.parse().unwrap());
        policy.lookup(&METER, &ask(&address, 443)).map(|decision| decision.rule.name.clone())
    };
    assert_eq!(at("10.7.2.2").unwrap(), "server.example");
    assert_eq!(at("10.7.2.3").unwrap(), "10.7.2.3");
    assert_eq!(at("10.7.2.4").unwrap_err().reason, Reason::FORBIDDEN_PEER);
    assert_eq!(policy.rules()[1].pinned_addresses(), ["10.7.2.3".parse::<IpAddr>().unwrap()]);
}

#[test]
fn a_server_name_other_than_the_rules_is_forbidden() {
    let policy = Policy::new(1, vec![rule("server.example", &[443], &[TerminalPattern::Any])]);
    let peer = name("server.example");
    let with = |server_name| PeerQuery { server_name: Some(server_name), ..ask(&peer, 443) };
    assert!(policy.lookup(&METER, &with("SERVER.example")).is_ok());
    assert_eq!(reason(policy.lookup(&METER, &with("admin.example"))), Reason::FORBIDDEN_PEER);
}

#[test]
fn alpn_is_limited_to_what_the_rule_lists() {
    let mut limited = rule("server.example", &[443], &[TerminalPattern::Any]);
    limited.alpn = vec!["http/1.1".into(), "h2".into()];
    let policy = Policy::new(1, vec![limited, rule("free.example", &[443], &[TerminalPattern::Any])]);
    let offer = |to, alpn: &[&str]| {
        let alpn: Vec<String> = alpn.iter().map(|p| (*p).to_owned()).collect();
        let peer = name(to);
        let query = PeerQuery { alpn: &alpn, ..ask(&peer, 443) };
        policy.lookup(&METER, &query).map(|decision| decision.alpn)
    };
    assert_eq!(offer("server.example", &["mqtt", "h2", "http/1.1"]).unwrap(), ["h2", "http/1.1"]);
    assert!(offer("server.example", &[]).unwrap().is_empty(), "nothing is offered unasked");
    assert_eq!(offer("server.example", &["mqtt"]).unwrap_err().reason, Reason::FORBIDDEN_ALPN);
    assert_eq!(offer("free.example", &["mqtt"]).unwrap(), ["mqtt"]);
    assert!(offer("free.example", &[]).unwrap().is_empty());
}

#[test]
fn without_a_request_only_an_explicitly_mapped_destination_is_served() {
    let address: IpAddr = "10.7.2.2".parse().unwrap();
    let mut asked_only = rule("server.example", &[443], &[TerminalPattern::Any]);
    asked_only.addresses = vec![address];
    let mut mapped = rule("mapped.example", &[8443], &[TerminalPattern::Group("sensors".into())]);
    mapped.addresses = vec![address];
    mapped.without_request = true;
    let policy = Policy::new(1, vec![asked_only, mapped]);
    let to = |terminal: &TerminalRef<'_>, port| policy.lookup_destination(terminal, SocketAddr::new(address, port));

    assert!(to(&METER, 443).is_none());
    assert_eq!(to(&METER, 8443).map(|decision| decision.index), Some(1));
    assert!(to(&TerminalRef { id: "meter-9", group: None }, 8443).is_none());
    assert!(policy.lookup_destination(&METER, "10.7.2.3:8443".parse().unwrap()).is_none());
}
