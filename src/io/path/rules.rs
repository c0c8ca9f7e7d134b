//! The gateway's own nft table and the policy route behind it. Nothing else of the host is changed: no
//! sysctl, no foreign table. The table fails closed: with the gateway stopped, terminals' packets end here.
//!
//! ```text
//! guard      each packet from a terminal interface: reverse path, then source address bound to the terminal
//! intercept  packets of our connections and the SYNs of new ones go to the gateway's sockets
//! serve      SYNs to what terminals serve go to the gateway's sockets; behind the host's destination NAT
//! untrack    the terminal-side leg stays out of conntrack: both legs have the same addresses and ports
//! forward    nothing is forwarded from or to terminals
//! ```

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use crate::error::{Error, Reason};
use crate::terminals::TerminalRecord;

/// Routes intercepted packets to the local sockets. "kf" in hexadecimal, then 1.
const INTERCEPTED_MARK: u32 = 0x6b66_0001;
/// Marks the sockets towards terminals.
pub(super) const TERMINAL_LEG_MARK: u32 = 0x6b66_0002;

/// What the rules depend on.
///
/// `owned` are the addresses of all terminals: a packet with one of them that is not `bound` to the interface
/// and Ethernet address it came with is somebody else's, even on its way to the channel. ICMP errors about our
/// connections reach them by `socket`, or a narrow link behind us would swallow large segments for ever.
///
/// Two things in `intercept` are easily got wrong. A connection whose handshake is not finished has no full
/// socket yet, and `socket wildcard` never matches it; so the listener is told from connections by a rule of
/// its own. And a SYN must not be matched by `socket`, or one to the listener's port would slip past.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The interfaces terminals are on.
    pub terminal_interfaces: Vec<String>,
    /// The local port that intercepted connections arrive at.
    pub intercept_port: u16,
    /// The local port that connections to terminals arrive at.
    pub service_port: u16,
    /// The number of our own routing table.
    pub routing_table: u32,
    /// The UDP ports of the channel.
    pub channel_ports: Vec<u16>,
}

/// A source address that belongs to one terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The interface its packets arrive on; None: any terminal interface.
    pub interface: Option<String>,
    /// The Ethernet address they carry; None: any.
    pub mac: Option<[u8; 6]>,
    /// The address.
    pub address: IpAddr,
    /// The TCP ports that peers may connect to.
    pub served: Vec<u16>,
}

impl Binding {
    /// The binding of one address of a terminal that serves on `served`.
    pub fn of(record: &TerminalRecord, address: IpAddr, served: Vec<u16>) -> Self {
        Self { interface: record.interface.clone(), mac: record.mac, address, served }
    }
}

impl Rules {
    /// Installs the table in one transaction, in place of an older one of ours, then rule and routes.
    ///
    /// # Errors
    /// `nft` or `ip` is missing or refuses; the older table is still in force then.
    pub fn install(&self, bindings: &[Binding]) -> Result<(), Error> {
        nft(&self.table(bindings))?;
        for family in ["-4", "-6"] {
            let table = self.routing_table.to_string();
            ip(&[family, "route", "replace", "local", "default", "dev", "lo", "table", &table])?;
            if !self.has_rule(family)? {
                ip(&[family, "rule", "add", "fwmark", &mark(), "lookup", &table])?;
            }
        }
        Ok(())
    }

    /// Removes table, rule and routes; what is already gone is no error.
    ///
    /// # Errors
    /// `nft` or `ip` is missing or refuses.
    pub fn uninstall(&self) -> Result<(), Error> {
        nft("add table inet keyferry\ndelete table inet keyferry\n")?;
        let table = self.routing_table.to_string();
        for family in ["-4", "-6"] {
            while self.has_rule(family)? {
                ip(&[family, "rule", "del", "fwmark", &mark(), "lookup", &table])?;
            }
            // An empty table cannot be flushed twice; `ip` reports that as an error without consequence.
            let _ = ip(&[family, "route", "flush", "table", &table]);
        }
        Ok(())
    }

    /// Whether our table is in force. Reloading the host's firewall may have removed it.
    pub fn are_installed(&self) -> bool {
        run(Command::new("nft").args(["list", "chain", "inet", "keyferry", "forward"]), "").is_ok()
    }

    /// From now on packets with this source address are let through to the gateway.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn bind(&self, binding: &Binding) -> Result<(), Error> {
        nft(&self.element("add", binding))
    }

    /// From now on packets with this source address are dropped, also those of open connections.
    ///
    /// # Errors
    /// `nft` refuses. An address that was not bound is no error.
    pub fn unbind(&self, binding: &Binding) -> Result<(), Error> {
        // Adding first makes the deletion of an absent element succeed, in the same transaction.
        nft(&(self.element("add", binding) + &self.element("delete", binding)))
    }

    fn table(&self, bindings: &[Binding]) -> String {
        let interfaces = quoted(&self.terminal_interfaces);
        let (port, service_port) = (self.intercept_port, self.service_port);
        let mut channel_ports = self.channel_ports.iter().map(u16::to_string).collect::<Vec<_>>();
        channel_ports.sort();
        channel_ports.dedup();
        let channel = channel_ports.join(", ");
        let mut text = format!(
            r#"add table inet keyferry
delete table inet keyferry
table inet keyferry {{
  set terminal_interfaces {{ type ifname; elements = {{ {interfaces} }}; }}
  set owned4 {{ type ipv4_addr; }}
  set owned6 {{ type ipv6_addr; }}
  set bound4 {{ type ifname . ipv4_addr; }}
  set bound6 {{ type ifname . ipv6_addr; }}
  set bound4_mac {{ type ifname . ether_addr . ipv4_addr; }}
  set bound6_mac {{ type ifname . ether_addr . ipv6_addr; }}
  set served4 {{ type ipv4_addr . inet_service; }}
  set served6 {{ type ipv6_addr . inet_service; }}
  counter spoofed {{ }}
  counter unbound {{ }}
  counter not_forwarded {{ }}

  chain guard {{
    type filter hook prerouting priority raw; policy accept;
    iifname @terminal_interfaces jump from_terminal
    iifname != @terminal_interfaces iifname != "lo" fib saddr oifname {{ {interfaces} }} counter name spoofed drop
  }}
  chain from_terminal {{
    ip saddr 0.0.0.0 udp dport 67 return
    ip6 saddr :: return
    fib saddr . iif oif missing counter name spoofed drop
    iifname . ip saddr @bound4 goto bound
    iifname . ip6 saddr @bound6 goto bound
    iifname . ether saddr . ip saddr @bound4_mac goto bound
    iifname . ether saddr . ip6 saddr @bound6_mac goto bound
    ip saddr @owned4 counter name spoofed drop
    ip6 saddr @owned6 counter name spoofed drop
    meta l4proto udp fib daddr type local udp dport {{ {channel} }} notrack return
    fib daddr type {{ local, broadcast, multicast }} return
    counter name unbound drop
  }}
  chain bound {{
    meta l4proto tcp fib daddr type != local notrack
    meta l4proto udp fib daddr type local udp dport {{ {channel} }} notrack
  }}
  chain intercept {{
    type filter hook prerouting priority mangle; policy accept;
    iifname @terminal_interfaces fib daddr type != local tcp flags & (fin | syn | rst | ack) == syn goto new_connection
    tcp dport {{ {port}, {service_port} }} socket transparent 1 socket wildcard 1 drop
    meta l4proto tcp socket transparent 1 meta mark set {mark} accept
    meta l4proto {{ icmp, ipv6-icmp }} socket transparent 1 meta mark set {mark} accept
    iifname @terminal_interfaces meta l4proto tcp fib daddr type != local drop
  }}
  chain new_connection {{
    meta nfproto ipv4 meta l4proto tcp tproxy ip to :{port} meta mark set {mark} accept
    meta nfproto ipv6 meta l4proto tcp tproxy ip6 to :{port} meta mark set {mark} accept
    drop
  }}
  chain serve {{
    type filter hook prerouting priority dstnat + 10; policy accept;
    iifname @terminal_interfaces return
    ip daddr . tcp dport @served4 tcp flags & (fin | syn | rst | ack) == syn tproxy ip to :{service_port} meta mark set {mark} accept
    ip6 daddr . tcp dport @served6 tcp flags & (fin | syn | rst | ack) == syn tproxy ip6 to :{service_port} meta mark set {mark} accept
    meta l4proto tcp socket transparent 1 meta mark set {mark} accept
    meta l4proto {{ icmp, ipv6-icmp }} socket transparent 1 meta mark set {mark} accept
  }}
  chain untrack {{
    type filter hook output priority raw; policy accept;
    meta mark {leg} notrack
    oifname @terminal_interfaces udp sport {{ {channel} }} notrack
  }}
  chain local {{
    type filter hook input priority filter; policy accept;
    tcp dport {{ {port}, {service_port} }} meta mark != {mark} drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname @terminal_interfaces counter name not_forwarded drop
    oifname @terminal_interfaces counter name not_forwarded drop
  }}
}}
"#,
            mark = mark(),
            leg = format_args!("{TERMINAL_LEG_MARK:#x}"),
        );
        for binding in bindings {
            text += &self.element("add", binding);
        }
        text
    }

    /// The nft commands that add or delete a binding, one for each interface it holds on.
    fn element(&self, command: &str, binding: &Binding) -> String {
        let family = if binding.address.is_ipv4() { "4" } else { "6" };
        let interfaces = match &binding.interface {
            Some(interface) => std::slice::from_ref(interface),
            None => self.terminal_interfaces.as_slice(),
        };
        let address = binding.address;
        let mut text = format!("{command} element inet keyferry owned{family} {{ {address} }}\n");
        for port in &binding.served {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{command} element inet keyferry served{family} {{ {address} . {port} }}");
        }
        for interface in interfaces {
            let (suffix, mac) = match binding.mac {
                Some(mac) => ("_mac", format!("{} . ", mac_text(mac))),
                None => ("", String::new()),
            };
            let _ = writeln!(
                text,
                "{command} element inet keyferry bound{family}{suffix} {{ \"{interface}\" . {mac}{address} }}"
            );
        }
        text
    }

    fn has_rule(&self, family: &str) -> Result<bool, Error> {
        let rules = ip(&[family, "rule", "show"])?;
        Ok(rules.lines().any(|line| line.contains(&mark())))
    }
}

fn mark() -> String {
    format!("{INTERCEPTED_MARK:#x}")
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn nft(commands: &str) -> Result<(), Error> {
    run(Command::new("nft").args(["-f", "-"]), commands).map(|_| ())
}

fn ip(arguments: &[&str]) -> Result<String, Error> {
    run(Command::new("ip").args(arguments), "")
}

fn run(command: &mut Command, input: &str) -> Result<String, Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |what: String| {
        let remedy = "run the gateway as root or with CAP_NET_ADMIN, with nftables and iproute2 installed";
        Error::new(Reason::INTERNAL, format!("{name}: {what}; {remedy}"))
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            terminal_interfaces: vec!["term0".into(), "term1".into()],
            intercept_port: 4433,
            service_port: 4434,
            routing_table: 27494,
            channel_ports: vec![5683, 5683],
        }
    }

    #[test]
    fn a_binding_names_its_interface_or_all_of_them() {
        let mut binding = Binding { interface: None, mac: None, address: "10.7.1.2".parse().unwrap(), served: vec![] };
        let everywhere = rules().element("add", &binding);
        assert_eq!(everywhere.lines().count(), 3);
        binding.interface = Some("term1".into());
        binding.mac = Some([2, 0, 0, 0, 0, 0x1f]);
        binding.served = vec![443];
        assert_eq!(
            rules().element("delete", &binding),
            "delete element inet keyferry owned4 { 10.7.1.2 }\n\
             delete element inet keyferry served4 { 10.7.1.2 . 443 }\n\
             delete element inet keyferry bound4_mac { \"term1\" . 02:00:00:00:00:1f . 10.7.1.2 }\n"
        );
    }

    #[test]
    fn the_table_replaces_an_older_one_in_the_same_transaction() {
        let text = rules().table(&[Binding {
            interface: None,
            mac: None,
            address: "fd07:1::2".parse().unwrap(),
            served: vec![],
        }]);
        assert!(text.starts_with("add table inet keyferry\ndelete table inet keyferry\ntable inet keyferry {"));
        assert!(text.contains("udp dport { 5683 }"));
        assert!(text.ends_with("bound6 { \"term1\" . fd07:1::2 }\n"));
    }
}
