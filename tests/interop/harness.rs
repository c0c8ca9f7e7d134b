//! A lab with a gateway and enrolled terminals, in one call.

use anyhow::Result;
use xtask::lab::{Agent, Binaries, Gateway, GatewayOptions, Host, Lab, LabOptions, Leaf, Pki, SERVER_NAME};

/// What a test runs in. Its fields end in this order: programs before the network under them.
pub struct World {
    pub agent: Agent,
    pub gateway: Gateway,
    pub pki: Pki,
    pub lab: Lab,
}

/// Where the default rules let a terminal go.
pub const TARGET: &str = "server.example:443";

impl World {
    /// One terminal and a gateway with the lab's default rules.
    pub fn new() -> Result<Self> {
        Self::with(LabOptions::PLAIN, GatewayOptions::default())
    }

    /// A terminal `sensor-1` behind a gateway, as asked for.
    pub fn with(network: LabOptions, options: GatewayOptions<'_>) -> Result<Self> {
        let lab = Lab::new(network)?;
        let pki = Pki::new(lab.directory())?;
        let binaries = Binaries::beside_this_program()?;
        let gateway = Gateway::start(&lab, &pki, &binaries, options)?;
        let agent = gateway.add_terminal(&lab, "sensor-1", Host::Terminal)?;
        Ok(Self { agent, gateway, pki, lab })
    }

    /// A good certificate for the server's name.
    pub fn leaf(&self) -> Result<Leaf> {
        self.pki.good_leaf(SERVER_NAME)
    }
}
