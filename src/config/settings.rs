//! `[gateway]`, `[signer]`, `[network]`, `[channel]` and `[limits]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyferry_channel::Id;

use super::section::{Located, Mistake, Section};
use super::{Channel, Gateway, Host, Limits, Network, Surroundings};
use crate::hex;
use crate::io::host;
use crate::io::signer::Service;
use crate::policy::{self, BadNetwork};

/// Longest name of a Linux network interface (IFNAMSIZ less the final zero).
const LONGEST_INTERFACE_NAME: usize = 15;
/// What is left for the handshake of the 22 s that a terminal waits for its keys, when it takes all of an offer's 10 s to
/// open TCP.
const AWAITED: Duration = Duration::from_secs(12);

pub(super) fn gateway(section: &Section<'_>, surroundings: &Surroundings<'_>) -> Option<Gateway> {
    let path = |key, default: &str| path(section, surroundings, key, default);
    let settings = Gateway {
        id: section.parsed("id", gateway_id).map_or(default_id(), |id| Some(id.value))?,
        state_directory: path("state_directory", "/var/lib/keyferry"),
        key_file: path("key_file", "/etc/keyferry/store.key"),
        admin_socket: path("admin_socket", "/run/keyferry/admin.sock"),
    };
    warn_of_key_in(section, &settings.key_file, &settings.state_directory);
    section.finish();
    Some(settings)
}

/// None where the file has no `[signer]`: then the gateway has the private keys itself.
pub(super) fn signer(section: &Section<'_>, surroundings: &Surroundings<'_>) -> Option<Service> {
    let path = |key, default: &str| path(section, surroundings, key, default);
    let settings = Service {
        socket: path("socket", "/run/keyferry-signer/signer.sock"),
        state_directory: path("state_directory", "/var/lib/keyferry-signer"),
        key_file: path("key_file", "/etc/keyferry-signer/store.key"),
        gateway_user: section.parsed("gateway_user", user).map_or("root".to_owned(), |user| user.value),
    };
    warn_of_key_in(section, &settings.key_file, &settings.state_directory);
    section.finish();
    section.is_present().then_some(settings)
}

fn user(text: &str) -> Result<String, Mistake> {
    let allowed = |c: char| c.is_ascii_graphic() && !":/".contains(c);
    if text.is_empty() || !text.chars().all(allowed) {
        let what = format!("`{text}` cannot be a user");
        return Err(Mistake::new(what, "write the name or the number of the user that the gateway runs as"));
    }
    Ok(text.to_owned())
}

fn warn_of_key_in(section: &Section<'_>, key_file: &Path, state_directory: &Path) {
    if key_file.starts_with(state_directory) {
        section.warning(
            &section.span_of("key_file"),
            "key_file",
            "the key lies in the directory it protects; a copy of the directory can be read by anybody",
            "keep the key elsewhere, such as /etc/keyferry/store.key",
        );
    }
}

fn path(section: &Section<'_>, surroundings: &Surroundings<'_>, key: &str, default: &str) -> PathBuf {
    let written = section.parsed(key, |text| match text {
        "" => Err(Mistake::new("a path cannot be empty", "name a file, or remove the line")),
        text => Ok(PathBuf::from(text)),
    });
    surroundings.directory.join(written.map_or(PathBuf::from(default), |path| path.value))
}

pub(super) fn network(section: &Section<'_>, surroundings: &Surroundings<'_>) -> Option<Network> {
    section.require("terminal_interfaces", "[\"eth1\"]");
    let interfaces = section.parsed_list("terminal_interfaces", interface);
    if let Some(interfaces) = &interfaces {
        check_interfaces(section, interfaces, surroundings);
    }
    let closed = section.parsed_list("closed", network_in_cidr).unwrap_or_default();
    let settings = Network {
        terminal_interfaces: values(interfaces.unwrap_or_default()),
        closed: values(closed),
        intercept_port: section.integer("intercept_port", 1..=u16::MAX, 4433),
        service_port: section.integer("service_port", 1..=u16::MAX, 4434),
        routing_table: section.integer("routing_table", 1..=u32::MAX, 27494),
    };
    if settings.service_port == settings.intercept_port {
        let what = "connections of terminals and to terminals would arrive at one port";
        section.mistake(&section.span_of("service_port"), "service_port", what, "choose another port that is free");
    }
    if let 253..=255 = settings.routing_table {
        section.mistake(
            &section.span_of("routing_table"),
            "routing_table",
            "tables 253, 254 and 255 are the kernel's own (default, main, local)",
            "choose a table nothing else uses, such as 27494",
        );
    }
    section.finish();
    Some(settings)
}

pub(super) fn channel(section: &Section<'_>) -> Option<Channel> {
    section.require("listen", "[\"10.7.1.1:5683\"]");
    let listen = section.parsed_list("listen", listen_address);
    if section.is_empty_list("listen") {
        section.mistake(
            &section.span_of("listen"),
            "listen",
            "no terminal could reach the gateway",
            "name at least one address of the gateway, such as \"10.7.1.1:5683\"",
        );
    }
    no_duplicates(section, "listen", listen.as_deref().unwrap_or_default());
    let settings = Channel {
        listen: values(listen.unwrap_or_default()),
        handovers_per_epoch: section.integer("handovers_per_epoch", 1..=8, 8),
        epoch: Duration::from_secs(section.integer("epoch_seconds", 60..=86_400, 86_400)),
    };
    section.finish();
    Some(settings)
}

pub(super) fn limits(section: &Section<'_>) -> Limits {
    let limits = Limits {
        handshake: Duration::from_secs(section.integer("handshake_seconds", 1..=120, 10)),
        handshakes_per_second: section.integer("handshakes_per_second", 1..=10_000, 10),
        pending_per_terminal: section.integer("pending_per_terminal", 1..=64, 32),
        pending: section.integer("pending", 1..=1_000_000, 4096),
        sessions_per_terminal: section.integer("sessions_per_terminal", 1..=100_000, 1024),
        workers: section.integer("workers", 0..=1024, 0),
    };
    if limits.pending_per_terminal > limits.pending {
        section.warning(
            &section.span_of("pending_per_terminal"),
            "pending_per_terminal",
            format!("one terminal may hold all {} places of `pending`", limits.pending),
            "lower pending_per_terminal or raise pending",
        );
    }
    if limits.handshake > AWAITED {
        let what = "terminals give up 22 s after the gateway's consent, and opening TCP may take 10 s of that: \
                    they would not learn why a handshake failed that took longer";
        let remedy = format!("write {} or less", AWAITED.as_secs());
        section.warning(&section.span_of("handshake_seconds"), "handshake_seconds", what, remedy);
    }
    section.finish();
    limits
}

/// Reports values that stand in a list twice.
pub(super) fn no_duplicates<T: PartialEq + std::fmt::Display>(section: &Section<'_>, key: &str, list: &[Located<T>]) {
    for (position, item) in list.iter().enumerate() {
        if list.iter().take(position).any(|earlier| earlier.value == item.value) {
            section.mistake(&item.span, key, format!("{} stands here twice", item.value), "remove one of them");
        }
    }
}

/// The values without their places.
pub(super) fn values<T>(list: Vec<Located<T>>) -> Vec<T> {
    list.into_iter().map(|item| item.value).collect()
}

fn default_id() -> Option<Id> {
    Id::try_from([0].as_slice()).ok()
}

/// Terminals get numbers from 0100 up, so ids of one byte or with a leading zero are the gateway's to choose from.
fn gateway_id(text: &str) -> Result<Id, Mistake> {
    let remedy = "write two hexadecimal digits such as \"00\"; they must differ from gateway to gateway";
    let Some(bytes) = hex::decode(text) else {
        return Err(Mistake::new(format!("`{text}` is not an even number of hexadecimal digits"), remedy));
    };
    let id = Id::try_from(bytes.as_slice())
        .map_err(|_| Mistake::new(format!("an id has 1 to 7 bytes, this has {}", bytes.len()), remedy))?;
    match bytes.as_slice() {
        [_] | [0, ..] => Ok(id),
        _ => Err(Mistake::new("a terminal could be given the same id", "write one byte, or begin with 00")),
    }
}

fn interface(text: &str) -> Result<String, Mistake> {
    let allowed = |c: char| c.is_ascii_graphic() && !"/:\"".contains(c);
    if text.is_empty() || text.len() > LONGEST_INTERFACE_NAME || !text.chars().all(allowed) {
        let what = format!("`{text}` cannot be a network interface");
        return Err(Mistake::new(what, "`ip link` shows their names; they have at most 15 characters"));
    }
    Ok(text.to_owned())
}

fn check_interfaces(section: &Section<'_>, interfaces: &[Located<String>], surroundings: &Surroundings<'_>) {
    let key = "terminal_interfaces";
    if section.is_empty_list(key) {
        let remedy = "name the interface that the terminals are on; `ip link` shows them";
        section.mistake(&section.span_of(key), key, "without an interface no terminal can be served", remedy);
    }
    no_duplicates(section, key, interfaces);
    for item in interfaces {
        if surroundings.host == Host::This && !host::interface_exists(&item.value) {
            let what = format!("this machine has no interface {} now", item.value);
            section.warning(&item.span, key, what, "`ip link` shows the names; `check --elsewhere` skips this check");
        }
    }
}

/// A network in CIDR notation.
pub(super) fn network_in_cidr(text: &str) -> Result<policy::Network, Mistake> {
    text.parse().map_err(|bad: BadNetwork| {
        let remedy = match &bad {
            BadNetwork::HostBits(network) => format!("write \"{network}\""),
            BadNetwork::NotANetwork(_) => "write ADDRESS/LENGTH".to_owned(),
            BadNetwork::TooLong { longest, .. } => format!("write a length from 0 to {longest}"),
        };
        Mistake::new(bad.to_string(), remedy)
    })
}

fn listen_address(text: &str) -> Result<SocketAddr, Mistake> {
    let remedy = "write ADDRESS:PORT with an address of the gateway that terminals can reach, such as \
                  \"10.7.1.1:5683\" or \"[fd07:1::1]:5683\"";
    let address: SocketAddr =
        text.parse().map_err(|_| Mistake::new(format!("`{text}` is not an address and port"), remedy))?;
    let ip = address.ip();
    let wrong = if ip.is_unspecified() {
        Some("answers from the unspecified address would leave with any of the gateway's addresses")
    } else if ip.is_loopback() {
        Some("no terminal can reach a loopback address")
    } else if ip.is_multicast() {
        Some("a multicast address cannot be listened on")
    } else if address.port() == 0 {
        Some("port 0 is no port")
    } else {
        None
    };
    wrong.map_or(Ok(address), |what| Err(Mistake::new(what, remedy)))
}
