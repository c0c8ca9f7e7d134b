//! What the host's interfaces are configured with now: the addresses no terminal may be led to.

use std::net::IpAddr;

use pnet_datalink::interfaces;

use crate::policy::Network;

/// The host's own addresses, and the networks of some interfaces.
pub struct Host {
    /// Every address of every interface.
    pub addresses: Vec<IpAddr>,
    /// The networks of the terminal interfaces.
    pub terminal_networks: Vec<Network>,
}

/// Looks at the interfaces; `terminal_interfaces` by name.
pub fn look(terminal_interfaces: &[String]) -> Host {
    let mut host = Host { addresses: Vec::new(), terminal_networks: Vec::new() };
    for interface in interfaces() {
        let for_terminals = terminal_interfaces.contains(&interface.name);
        for network in &interface.ips {
            host.addresses.push(network.ip());
            if for_terminals {
                host.terminal_networks.extend(Network::containing(network.ip(), network.prefix()).ok());
            }
        }
    }
    host
}

/// Whether this network namespace has an interface of that name now.
pub fn interface_exists(name: &str) -> bool {
    interfaces().iter().any(|interface| interface.name == name)
}
