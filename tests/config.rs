//! The configuration: the example is sound and tells the true defaults, and every mistake is explained
//! with its line and a remedy.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests are tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use keyferry::config::{Checked, Finding, Host, Severity, check, load, load_signer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

const EXAMPLE: &str = include_str!("../keyferry.example.toml");
/// 2026-01-01.
const NOW: u64 = 1_767_225_600;

const MINIMAL: &str = r#"
[network]
terminal_interfaces = ["term0"]
[channel]
listen = ["10.7.1.1:5683"]
[trust.plant]
anchors = ["plant-ca.pem"]
[[peer]]
name = "server.example"
ports = [443]
terminals = ["*"]
trust = "plant"
"#;

/// A directory with the certificates that configurations name.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("plant-ca.pem", &certificate(true, 2020, 2040));
    write("old-ca.pem", &certificate(true, 2010, 2020));
    write("future-ca.pem", &certificate(true, 2030, 2040));
    write("server.pem", &certificate(false, 2020, 2040));
    write("key.pem", &KeyPair::generate().unwrap().serialize_pem());
    write("empty.pem", "");
    directory
}

fn certificate(is_ca: bool, from: i32, until: i32) -> String {
    let mut params = CertificateParams::new(vec!["server.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn checked(directory: &TempDir, source: &str) -> Checked {
    check(&directory.path().join("keyferry.toml"), source, NOW, Host::Other)
}

/// The findings for `source`, of which none may be without text.
fn findings(source: &str) -> Vec<Finding> {
    let checked = checked(&directory(), source);
    let has_mistakes = checked.findings.iter().any(|finding| finding.severity == Severity::Mistake);
    assert_eq!(checked.config.is_none(), has_mistakes);
    assert!(checked.findings.iter().all(|finding| !finding.what.is_empty() && !finding.remedy.is_empty()));
    checked.findings
}

/// Replaces a line of the minimal file, which must give exactly one mistake, and returns it.
fn mistake(line: &str, replacement: &str) -> Finding {
    assert!(MINIMAL.contains(line), "{line}");
    let found: Vec<_> = findings(&MINIMAL.replace(line, replacement))
        .into_iter()
        .filter(|finding| finding.severity == Severity::Mistake)
        .collect();
    assert_eq!(found.len(), 1, "{replacement}: {found:#?}");
    found.into_iter().next().unwrap()
}

#[track_caller]
fn expect(finding: &Finding, key: &str, what: &str, remedy: &str) {
    assert_eq!(finding.key, key, "{finding}");
    assert!(finding.what.contains(what), "{finding}");
    assert!(finding.remedy.contains(remedy), "{finding}");
}

#[test]
fn the_example_is_sound() {
    let checked = checked(&directory(), EXAMPLE);
    assert!(checked.findings.is_empty(), "{:?}", checked.findings);
    let config = checked.config.unwrap();
    assert_eq!(config.channel.listen, ["10.7.1.1:5683".parse().unwrap()]);
    assert_eq!(config.channel.epoch, Duration::from_secs(86_400));
    assert_eq!(config.gateway.state_directory, Path::new("/var/lib/keyferry"));
    let rule = &config.policy.rules()[0];
    assert_eq!((rule.name.as_str(), rule.ports.as_slice()), ("server.example", [443].as_slice()));
    assert_eq!(rule.trust.anchors.len(), 1);
    assert_eq!(rule.key_exchange.len(), 4);
    assert_eq!(rule.cipher_suites.len(), 9);
    assert_eq!(config.policy.services()[0].ports, [443]);
}

#[test]
fn every_default_the_example_shows_is_the_default() {
    let directory = directory();
    let is_setting = |line: &str| line.starts_with('#') && line.as_bytes().get(1).is_some_and(u8::is_ascii_lowercase);
    let (mut shown, mut written) = (0, String::new());
    for line in EXAMPLE.lines() {
        shown += usize::from(is_setting(line));
        written.push_str(if is_setting(line) { &line[1..] } else { line });
        written.push('\n');
    }
    assert!(shown > 20, "{shown}");
    let (left_out, written) = (checked(&directory, EXAMPLE).config, checked(&directory, &written));
    assert!(written.findings.is_empty(), "{:?}", written.findings);
    assert_eq!(format!("{left_out:?}"), format!("{:?}", written.config));
}

#[test]
fn all_mistakes_are_found_at_once_with_their_lines() {
    let source = r#"[gateway]
id = "xyz"
key_fil = "k"
[network]
terminal_interfaces = []
closed = ["192.168.77.1/24"]
[channel]
listen = ["127.0.0.1:5683", "nonsense"]
handovers_per_epoch = 9
[trust.plant]
pins = ["sha256:00"]
[[peer]]
name = "server.example"
ports = [0]
terminals = ["*"]
trust = "plannt"
"#;
    let mistakes: Vec<_> =
        findings(source).into_iter().filter(|finding| finding.severity == Severity::Mistake).collect();
    let places: Vec<_> = mistakes.iter().map(|finding| (finding.line, finding.key.as_str())).collect();
    assert_eq!(
        places,
        [
            (2, "gateway.id"),
            (3, "gateway.key_fil"),
            (5, "network.terminal_interfaces"),
            (6, "network.closed"),
            (8, "channel.listen"),
            (8, "channel.listen"),
            (9, "channel.handovers_per_epoch"),
            (11, "trust.plant.pins"),
            (14, "peer.ports"),
            (16, "peer.trust"),
        ]
    );
    expect(&mistakes[1], "gateway.key_fil", "knows no `key_fil`", "did you mean `key_file`?");
    expect(&mistakes[3], "network.closed", "bits behind the prefix", "write \"192.168.77.0/24\"");
    expect(&mistakes[6], "channel.handovers_per_epoch", "9 is out of range", "from 1 to 8");
    expect(&mistakes[9], "peer.trust", "there is no [trust.plannt]", "did you mean \"plant\"?");
}

#[test]
fn text_that_is_no_toml_is_reported_with_its_line() {
    let found = findings("[gateway]\nid = \"00\"\nkey_file = \n[network\n");
    assert!(found.iter().any(|finding| finding.line == 3), "{found:?}");
    assert!(found.iter().any(|finding| finding.line == 4), "{found:?}");
}

#[test]
fn what_is_missing_is_named_with_an_example() {
    let found = findings("");
    let keys: Vec<_> = found.iter().map(|finding| (finding.key.as_str(), finding.severity)).collect();
    assert_eq!(
        keys,
        [
            ("network.terminal_interfaces", Severity::Mistake),
            ("channel.listen", Severity::Mistake),
            ("peer", Severity::Warning),
        ]
    );
    let found = mistake("trust = \"plant\"", "");
    expect(&found, "peer.trust", "`trust` is missing in this [[peer]]", "trust = \"plant\"");
    expect(&mistake("ports = [443]", "ports = []"), "peer.ports", "allows nothing", "ports = [443]");
}

#[test]
fn listen_addresses_must_be_reachable_for_terminals() {
    let line = r#"listen = ["10.7.1.1:5683"]"#;
    for (written, what) in [
        ("0.0.0.0:5683", "unspecified"),
        ("[::]:5683", "unspecified"),
        ("127.0.0.1:5683", "loopback"),
        ("[::1]:5683", "loopback"),
        ("224.0.1.187:5683", "multicast"),
        ("10.7.1.1:0", "port 0"),
        ("10.7.1.1", "not an address and port"),
    ] {
        expect(&mistake(line, &format!("listen = [\"{written}\"]")), "channel.listen", what, "10.7.1.1:5683");
    }
    expect(
        &mistake(line, r#"listen = ["10.7.1.1:5683", "10.7.1.1:5683"]"#),
        "channel.listen",
        "stands here twice",
        "remove one",
    );
}

#[test]
fn values_of_a_wrong_type_are_told() {
    expect(&mistake("ports = [443]", "ports = \"443\""), "peer.ports", "of type string", "such as [443]");
    expect(&mistake("ports = [443]", "ports = [\"443\"]"), "peer.ports", "of type string", "such as [443]");
    expect(
        &mistake("trust = \"plant\"", "trust = \"plant\"\nwithout_request = \"no\""),
        "peer.without_request",
        "of type string",
        "true or false",
    );
    expect(&mistake("ports = [443]", "ports = [70000]"), "peer.ports", "70000 is out of range", "1 to 65535");
}

#[test]
fn anchors_that_cannot_anchor_anything_are_refused() {
    let line = r#"anchors = ["plant-ca.pem"]"#;
    for (file, what, remedy) in [
        ("absent.pem", "cannot be read", "put the CA certificate"),
        ("empty.pem", "holds no certificate", "BEGIN CERTIFICATE"),
        ("key.pem", "holds a private key", "keep the CA's private key away"),
        ("server.pem", "is not a CA's", "sha256:"),
        ("old-ca.pem", "expired on", "current certificate"),
        ("future-ca.pem", "is not valid before", "clock"),
    ] {
        let found = mistake(line, &format!("anchors = [\"{file}\"]"));
        expect(&found, "trust.plant.anchors", what, remedy);
        assert!(found.what.contains(file), "{found}");
    }
    expect(&mistake(line, ""), "trust.plant.anchors", "neither anchors nor pins", "anchors = ");
    expect(&mistake(line, r#"pins = ["sha256:0011"]"#), "trust.plant.pins", "this has 2", "64 hexadecimal digits");
    expect(&mistake(line, r#"pins = ["0011"]"#), "trust.plant.pins", "sha256:", "64 hexadecimal digits");
}

#[test]
fn damaged_certificates_are_refused() {
    let directory = directory();
    let sound = std::fs::read_to_string(directory.path().join("plant-ca.pem")).unwrap();
    let (head, _) = sound.split_at(sound.len() / 2);
    std::fs::write(directory.path().join("plant-ca.pem"), head).unwrap();
    let found = checked(&directory, MINIMAL).findings;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, "trust.plant.anchors");
}

#[test]
fn peers_must_be_names_or_addresses_that_may_be_reached() {
    let line = r#"name = "server.example""#;
    for bad in ["", "-a.example", "a..b", "http://server.example", "*.example", "1.2.3.999", "a b"] {
        let found = mistake(line, &format!("name = \"{bad}\""));
        assert_eq!(found.key, "peer.name", "{found}");
    }
    expect(&mistake(line, r#"name = "127.0.0.1""#), "peer.name", "loopback", "may reach");
    let found = mistake(line, "name = \"server.example\"\naddresses = [\"10.7.2.2:443\"]");
    expect(&found, "peer.addresses", "not an IP address", "the port goes into `ports`");
}

#[test]
fn an_address_in_a_closed_network_is_refused() {
    let source = MINIMAL
        .replace("[channel]", "closed = [\"10.7.2.0/24\"]\n[channel]")
        .replace("ports = [443]", "ports = [443]\naddresses = [\"10.7.2.2\"]");
    let found = findings(&source);
    assert_eq!(found.len(), 1, "{found:?}");
    expect(&found[0], "peer.addresses", "closed network 10.7.2.0/24", "open the closed network");
    let gateway = mistake("ports = [443]", "ports = [443]\naddresses = [\"10.7.1.1\"]");
    expect(&gateway, "peer.addresses", "the gateway's own address", "may reach");
}

#[test]
fn rules_that_contradict_each_other_are_refused() {
    let second = |text: &str| {
        let found = findings(&format!("{MINIMAL}\n[[peer]]\ntrust = \"plant\"\n{text}\n"));
        found.into_iter().filter(|finding| finding.severity == Severity::Mistake).collect::<Vec<_>>()
    };
    let hidden = second("name = \"SERVER.example.\"\nports = [443]\nterminals = [\"meter-1\"]");
    assert_eq!(hidden.len(), 1);
    expect(&hidden[0], "peer.name", "number 1, `server.example`, already decides", "move the narrower one up");
    assert!(second("name = \"server.example\"\nports = [443, 8443]\nterminals = [\"*\"]").is_empty());
    assert!(second("name = \"other.example\"\nports = [443]\nterminals = [\"group:sensors\"]").is_empty());

    let mapped =
        MINIMAL.replace("trust = \"plant\"", "trust = \"plant\"\naddresses = [\"10.7.2.2\"]\nwithout_request = true");
    let other = "[[peer]]\nname = \"other.example\"\naddresses = [\"10.7.2.2\"]\nports = [443]\nterminals = [\"*\"]\n\
                 trust = \"plant\"\nwithout_request = true\n";
    let found = findings(&format!("{mapped}{other}"));
    assert_eq!(found.len(), 1, "{found:?}");
    expect(&found[0], "peer.without_request", "already mapped to `server.example`", "by name");
}

#[test]
fn a_destination_without_address_cannot_be_mapped() {
    let found = mistake("trust = \"plant\"", "trust = \"plant\"\nwithout_request = true");
    expect(&found, "peer.without_request", "has none", "addresses");
}

#[test]
fn algorithms_are_named_as_the_registries_do() {
    let with = |line: &str| mistake("trust = \"plant\"", &format!("trust = \"plant\"\n{line}"));
    expect(&with(r#"key_exchange = ["X25519MLKEM76"]"#), "peer.key_exchange", "is unknown", "X25519MLKEM768");
    expect(&with(r#"key_exchange = ["ffdhe2048"]"#), "peer.key_exchange", "is not supported", "choose from");
    expect(&with("key_exchange = []"), "peer.key_exchange", "nothing could be offered", "remove the line");
    expect(
        &with(r#"cipher_suites = ["TLS_RSA_WITH_AES_128_CBC_SHA"]"#),
        "peer.cipher_suites",
        "is not supported",
        "TLS_AES_128_GCM_SHA256",
    );
    expect(&with(r#"tls_versions = ["1.1"]"#), "peer.tls_versions", "not spoken here", "1.2");
    expect(&with("tls_versions = []"), "peer.tls_versions", "nothing could be spoken", "remove the line");
    let left_out = "tls_versions = [\"1.3\"]\ncipher_suites = [\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]";
    expect(&with(left_out), "peer.cipher_suites", "leaves out", "TLS_AES");
}

#[test]
fn a_rule_for_one_version_offers_no_suite_of_the_other() {
    for (version, suites) in [("1.3", 3), ("1.2", 6)] {
        let source =
            MINIMAL.replace("trust = \"plant\"", &format!("trust = \"plant\"\ntls_versions = [\"{version}\"]"));
        let config = checked(&directory(), &source).config.unwrap();
        assert_eq!(config.policy.rules()[0].cipher_suites.len(), suites, "{version}");
    }
}

const SERVICE: &str = "\n[[service]]\nterminals = [\"meter-1\"]\nports = [443]\nclients = \"plant\"\n";

/// The one mistake in a service with another line in place of `line`.
fn service_mistake(line: &str, replacement: &str) -> Finding {
    assert!(SERVICE.contains(line), "{line}");
    let mut found = findings(&(MINIMAL.to_owned() + &SERVICE.replacen(line, replacement, 1)));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn a_service_without_mistakes_is_taken_whole() {
    let source = MINIMAL.to_owned()
        + SERVICE
        + "client_names = [\"Scada.example\", \"Ops@Plant.Example\", \"urn:Plant:1\", \"FD07::1\"]\npeers = [\"10.7.2.0/24\"]\nnames = [\"Meter.example.\"]\nalpn = [\"h2\"]\n";
    let config = checked(&directory(), &source).config.unwrap();
    let service = &config.policy.services()[0];
    assert_eq!(service.client_names, ["scada.example", "Ops@plant.example", "urn:Plant:1", "fd07::1"]);
    assert_eq!(service.names, ["meter.example"]);
    assert!(service.admits("10.7.2.9".parse().unwrap()) && !service.admits("10.7.3.9".parse().unwrap()));
    assert_eq!(service.clients.as_ref().unwrap().name, "plant");
    assert_eq!(service.cipher_suites.len(), 9);
}

#[test]
fn mistakes_in_a_service_are_explained() {
    let plant = "clients = \"plant\"";
    expect(&service_mistake("ports = [443]", "ports = []"), "service.ports", "allows nothing", "ports = [443]");
    expect(&service_mistake("terminals = [\"meter-1\"]\n", ""), "service.terminals", "is missing", "meter-1");
    expect(&service_mistake(plant, "clients = \"plan\""), "service.clients", "no [trust.plan]", "did you mean");
    expect(&service_mistake(plant, "client_names = [\"x\"]"), "service.client_names", "prove nothing", "clients = ");
    let wildcard = "clients = \"plant\"\nclient_names = [\"*.example\"]";
    expect(&service_mistake(plant, wildcard), "service.client_names", "wildcards", "subjectAltName");
    expect(&service_mistake(plant, "client = \"plant\""), "service.client", "knows no `client`", "`clients`");
    expect(&service_mistake(plant, "peers = [\"10.7.2.1/24\"]"), "service.peers", "bits behind", "10.7.2.0/24");
    let hidden = format!("{plant}\n[[service]]\nterminals = [\"meter-1\"]\nports = [443]\n");
    expect(&service_mistake(plant, &hidden), "service.ports", "already decides", "move the narrower");
}

#[test]
fn revocation_lists_that_say_nothing_are_refused() {
    let anchors = r#"anchors = ["plant-ca.pem"]"#;
    let with = |line: &str| mistake(anchors, &format!("{anchors}\n{line}"));
    expect(&with("crls = [\"absent.crl\"]"), "trust.plant.crls", "cannot be read", "revocation list");
    expect(&with("crls = [\"plant-ca.pem\"]"), "trust.plant.crls", "no -----BEGIN X509 CRL", "revocation list");
    expect(&with("revocation = \"none\""), "trust.plant.revocation", "not a way", "end-entity");
}

#[test]
fn gateway_ids_that_a_terminal_could_get_are_refused() {
    let id = |text: &str| findings(&format!("[gateway]\nid = \"{text}\"\n{MINIMAL}"));
    for good in ["00", "ff", "0001", "00112233445566"] {
        assert!(id(good).is_empty(), "{good}");
    }
    for (bad, what) in [("", "has 0"), ("0", "hexadecimal"), ("0011223344556677", "has 8"), ("0100", "terminal")] {
        let found = id(bad);
        assert_eq!(found.len(), 1, "{bad}");
        expect(&found[0], "gateway.id", what, "");
    }
}

#[test]
fn doubtful_settings_are_warned_about_and_allowed() {
    let source = format!(
        "{MINIMAL}\n[trust.spare]\nanchors = [\"plant-ca.pem\"]\n[gateway]\nkey_file = \"/var/lib/keyferry/key\"\n"
    );
    let found = findings(&source);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|finding| finding.severity == Severity::Warning));
    expect(&found[0], "trust.spare", "no [[peer]] or [[service]] uses", "remove it");
    expect(&found[1], "gateway.key_file", "the directory it protects", "elsewhere");
}

#[test]
fn a_handshake_that_may_outlast_the_terminals_patience_is_warned_about() {
    let with = |seconds: u8| findings(&format!("{MINIMAL}\n[limits]\nhandshake_seconds = {seconds}\n"));
    assert!(with(12).is_empty());
    let found = with(13);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].severity, Severity::Warning);
    expect(&found[0], "limits.handshake_seconds", "terminals give up 22 s after", "write 12 or less");
}

#[test]
fn a_signer_is_there_only_where_the_file_says_so() {
    let directory = directory();
    assert!(checked(&directory, MINIMAL).config.unwrap().signer.is_none());
    let config = checked(&directory, &format!("[signer]\n{MINIMAL}")).config.unwrap();
    assert_eq!(config.plan().signer.unwrap(), Path::new("/run/keyferry-signer/signer.sock"));
    let signer = config.signer.unwrap();
    assert_eq!(signer.state_directory, Path::new("/var/lib/keyferry-signer"));
    assert_eq!(signer.key_file, Path::new("/etc/keyferry-signer/store.key"));
    assert_eq!(signer.gateway_user, "root");
}

#[test]
fn mistakes_in_the_signers_section_are_explained() {
    let of = |lines: &str| {
        let mut found = findings(&format!("[signer]\n{lines}\n{MINIMAL}"));
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    };
    expect(&of("sockets = \"x\""), "signer.sockets", "knows no", "did you mean `socket`");
    expect(&of("gateway_user = \"a b\""), "signer.gateway_user", "cannot be a user", "the name or the number");
    expect(&of("socket = \"\""), "signer.socket", "cannot be empty", "name a file");
    let doubtful = of("state_directory = \"/var/lib/s\"\nkey_file = \"/var/lib/s/key\"");
    assert_eq!(doubtful.severity, Severity::Warning);
    assert_eq!(doubtful.key, "signer.key_file");
}

/// `keyferry signer` reads its own section alone: the rest may be missing, or for the gateway.
#[test]
fn the_signer_reads_its_own_section_alone() {
    let directory = directory();
    let read = |source: &str| {
        let path = directory.path().join("signer.toml");
        std::fs::write(&path, source).unwrap();
        load_signer(&path).unwrap()
    };
    let service = read("[signer]\nsocket = \"run/s.sock\"\ngateway_user = \"990\"\n").signer.unwrap();
    assert_eq!(service.socket, directory.path().join("run/s.sock"));
    assert_eq!(service.gateway_user, "990");
    assert!(read(&format!("[signer]\n{MINIMAL}\nnonsense = 1")).signer.is_some());
    let missing = read(MINIMAL);
    assert!(missing.signer.is_none());
    expect(&missing.findings[0], "signer", "there is no [signer]", "[signer]");
    assert!(read("[signer]\ngateway_user = 7").signer.is_none());
    assert!(read("[signer").signer.is_none());
}

#[test]
fn an_interface_that_is_not_here_is_a_warning_only_here() {
    let directory = directory();
    let source = MINIMAL.replace("term0", "kf-no-such-if0");
    let file = directory.path().join("keyferry.toml");
    std::fs::write(&file, &source).unwrap();
    let here = load(&file, NOW, Host::This).unwrap();
    assert!(here.config.is_some());
    assert_eq!(here.findings.len(), 1);
    expect(&here.findings[0], "network.terminal_interfaces", "no interface kf-no-such-if0", "ip link");
    assert!(load(&file, NOW, Host::Other).unwrap().findings.is_empty());
    assert!(load(&PathBuf::from("/nonexistent/keyferry.toml"), NOW, Host::This).is_err());
}
