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

/// Runs a case with one terminal and a gateway with the lab's default rules.
pub fn plain(case: impl FnOnce(&mut World) -> Result<()>) -> Result<()> {
    with(LabOptions::PLAIN, GatewayOptions::default(), case)
}

/// Runs a case with a terminal `sensor-1` behind a gateway, as asked for. A failure shows what every
/// program of the lab logged.
pub fn with(
    network: LabOptions,
    options: GatewayOptions<'_>,
    case: impl FnOnce(&mut World) -> Result<()>,
) -> Result<()> {
    let lab = Lab::new(network)?;
    let pki = Pki::new(lab.directory())?;
    let gateway = Gateway::start(&lab, &pki, &Binaries::beside_this_program()?, options)?;
    let agent = gateway.add_terminal(&lab, "sensor-1", Host::Terminal)?;
    let mut world = World { agent, gateway, pki, lab };
    case(&mut world).inspect_err(|_| eprintln!("{}", world.lab.log_tails(30)))
}

impl World {
    /// A good certificate for the server's name.
    pub fn leaf(&self) -> Result<Leaf> {
        self.pki.good_leaf(SERVER_NAME)
    }
}
