//! A terminal that serves behind a masquerading uplink: the operator's own destination NAT leads clients to it.

use std::net::SocketAddr;

use anyhow::Result;
use xtask::lab::{Client, ClientOptions, GatewayOptions, Host, LabOptions, Version};

use crate::serving::{self, OPEN, Serving};

/// The operator's own rule, as on any home router.
const FORWARDING: &str = "add table inet port_forwarding; \
    add chain inet port_forwarding uplink { type nat hook prerouting priority dstnat; }; \
    add rule inet port_forwarding uplink iifname uplink tcp dport 443 dnat ip to 10.7.1.2:8443";

#[test]
#[ignore = "needs network namespaces"]
fn forwarded_port_leads_to_the_terminal() -> Result<()> {
    let network = LabOptions { masquerade: true, ..LabOptions::PLAIN };
    serving::with(
        network,
        GatewayOptions { rules: OPEN, limits: serving::OFTEN, ..GatewayOptions::default() },
        |world| {
            world.lab.run(Host::Gateway, "nft", &[FORWARDING])?;
            let serving = Serving::page(world, &[])?;
            let [uplink, _] = Host::Peer.gateway_addresses();
            for client in Client::ALL {
                for version in Version::ALL {
                    let options = serving::asking(world.pki.anchor_file());
                    let options =
                        ClientOptions { target: SocketAddr::new(uplink, 443), version: Some(version), ..options };
                    serving::fetch(world, client, &options)?;
                }
            }
            let clients = serving.clients();
            assert_eq!(clients.len(), 8, "{clients:?}");
            assert!(clients.iter().all(|client| client.ip() == Host::Peer.ipv4()), "{clients:?}");
            Ok(())
        },
    )
}
