//! The Linux agent: sockets, clock, files and tasks around [`client::Terminal`](crate::client::Terminal) and
//! [`tls13::Session`](crate::tls13::Session).
//!
//! [`Agent::start`] takes the state file and the UDP socket; [`Agent::connect`] gives a stream of plaintext. The command
//! `keyferry-terminal` is a thin shell over this module.

mod clock;
mod config;
mod control;
mod driver;
mod error;
mod handle;
mod pipe;
mod state;
mod stream;

pub use config::{Config, ConfigError};
pub use control::{Control, ControlClient};
pub use error::{AgentError, Blame};
pub use handle::{Agent, ConnectOptions, Status};
pub use pipe::pipe;
pub use state::StateFile;
pub use stream::AgentStream;
