//! The inline TCP path: terminals' connections are intercepted, the handshake is carried record by record
//! between peer and engine, then the gateway is taken out of the path.
//!
//! ```text
//! rules     what the kernel hands to us and what it drops
//! sockets   listeners and connections with addresses that are not our own
//! flow      one task for each connection: the driver's hands for a gateway flow
//! relay     the way out of the path that always works: copying ciphertext
//! ```

mod flow;
mod relay;
pub mod rules;
mod sockets;

pub use flow::{Command, Flows};
pub use relay::{Handover, Relay};
pub use rules::{Binding, Rules};
pub use sockets::{Connection, Connections};
