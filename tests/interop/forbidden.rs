//! What policy forbids is refused before a packet leaves, whatever a name resolves to.

use std::time::Duration;

use anyhow::Result;
use xtask::lab::{GatewayOptions, Host, LabOptions};

use crate::harness::{self, TARGET, World};

/// Exit code of the agent when policy says no.
const POLICY: i32 = 2;

/// A resolver that leads where no terminal may go.
const HOSTS: &str = "
127.0.0.1 loopback.example
::1 loopback.example
10.7.1.1 gateway.example
10.7.2.1 uplink.example
10.7.3.2 terminal.example
10.7.1.77 neighbour.example
192.168.77.9 closed.example
169.254.1.1 link-local.example
224.0.0.251 multicast.example
::ffff:127.0.0.1 mapped.example
";

const NAMES: [&str; 9] = [
    "loopback.example",
    "gateway.example",
    "uplink.example",
    "terminal.example",
    "neighbour.example",
    "closed.example",
    "link-local.example",
    "multicast.example",
    "mapped.example",
];

const AT_ONCE: Duration = Duration::from_secs(1);

#[test]
#[ignore = "needs network namespaces"]
fn address_is_refused_before_a_packet_leaves() -> Result<()> {
    let rules = NAMES.map(|name| rule(name, ""));
    run(&rules.concat(), |world| {
        for name in NAMES {
            let target = format!("{name}:443");
            world.attempt(&[&target])?.assert_refused(POLICY, "forbidden-address", AT_ONCE);
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs network namespaces"]
fn peer_and_port_are_refused_before_a_packet_leaves() -> Result<()> {
    run("", |world| {
        let cases: [(&[&str], &str); 5] = [
            (&["server.example:444"], "forbidden-port"),
            (&["other.example:443"], "forbidden-peer"),
            (&["10.7.2.1:443"], "forbidden-peer"),
            (&["127.0.0.1:443"], "forbidden-peer"),
            (&[TARGET, "--sni", "other.example"], "forbidden-peer"),
        ];
        for (arguments, reason) in cases {
            world.attempt(arguments)?.assert_refused(POLICY, reason, AT_ONCE);
        }
        Ok(())
    })
}

/// Runs a case while the gateway's links towards peer and second terminal are watched: nothing may pass.
fn run(rules: &str, case: impl FnOnce(&World) -> Result<()>) -> Result<()> {
    let server = rule("server.example", "addresses = [\"10.7.2.2\"]");
    let rules = format!("[trust.lab]\nanchors = [\"pki/root.pem\"]\n{server}{rules}");
    let closed = "[\"192.168.77.0/24\"]";
    let options = GatewayOptions { rules: &rules, hosts: HOSTS, closed, ..GatewayOptions::default() };
    let network = LabOptions { second_terminal: true, ..LabOptions::PLAIN };
    harness::with(network, options, |world| {
        let watched = ["uplink", "term1", "lo"];
        let watch = |name: &str| -> Result<Vec<_>> {
            let one = |interface: &&str| {
                world.lab.capture(
                    Host::Gateway,
                    interface,
                    &format!("{name}-{interface}"),
                    "tcp or icmp or icmp6[0] < 10",
                )
            };
            watched.iter().map(one).collect()
        };
        let captures = watch("forbidden")?;
        case(world)?;
        for capture in captures {
            let packets = xtask::lab::describe(&capture.finish()?)?;
            assert_eq!(packets, "", "packets left");
        }
        assert_eq!(world.figure("/offers")?, 0);
        assert_eq!(world.gateway.stats(&world.lab)?["handshakes"], serde_json::json!([]));

        // The same watch does see what is allowed.
        let captures = watch("allowed")?;
        world.attempt(&[TARGET])?.assert_refused(3, "peer-refused", AT_ONCE);
        let mut seen = String::new();
        for capture in captures {
            seen += &xtask::lab::describe(&capture.finish()?)?;
        }
        assert!(seen.contains("10.7.2.2.443"), "{seen}");
        Ok(())
    })
}

fn rule(name: &str, addresses: &str) -> String {
    format!("[[peer]]\nname = \"{name}\"\n{addresses}\nports = [443]\nterminals = [\"*\"]\ntrust = \"lab\"\n")
}
