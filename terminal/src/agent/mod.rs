//! The Linux agent: sockets, clock, files and tasks around [`client::Terminal`](crate::client::Terminal) and
//! [`Session`](crate::Session).
//!
//! [`Agent::start`] takes the state file and the UDP socket; [`Agent::connect`] gives a stream of plaintext, and
//! [`Agent::listen`] gives them as peers come. The command
//! `keyferry-terminal` is a thin shell over this module.

mod assisted;
mod clock;
mod config;
mod control;
mod driver;
mod error;
mod handle;
mod listener;
mod options;
mod pipe;
mod request;
mod socket;
mod state;
mod stream;

pub use config::{Config, ConfigError};
pub use control::{Control, ControlClient, forward_to};
pub use error::{AgentError, Blame};
pub use handle::{Agent, Status};
pub use listener::{AgentListener, Incoming};
pub use options::{ConnectOptions, ListenOptions};
pub use pipe::{forward, pipe};
pub use state::StateFile;
pub use stream::AgentStream;
