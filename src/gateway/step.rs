//! The costly part of a session: one step of its handshake, run on a worker thread. The session travels
//! there and comes back with what it has to say.

use std::sync::Arc;
use std::time::Duration;

use super::FlowId;
use crate::error::Error;
use crate::tls::{Client, Handshake, Offer, Progress};

/// Work for a worker thread.
pub struct Step {
    pub(super) flow: FlowId,
    pub(super) work: Work,
}

pub(super) enum Work {
    /// Make key shares and the hello.
    Start { client: Arc<Client>, offer: Offer },
    /// Feed one record of the peer.
    Feed { handshake: Box<dyn Handshake>, record: Vec<u8> },
}

/// What a step produced.
pub struct Stepped {
    pub(super) flow: FlowId,
    /// None when the handshake could not begin.
    pub(super) handshake: Option<Box<dyn Handshake>>,
    /// Records for the peer; after a failure the alert.
    pub(super) to_peer: Vec<u8>,
    pub(super) outcome: Result<Progress, Error>,
}

impl Step {
    /// The flow this step belongs to.
    pub fn flow(&self) -> FlowId {
        self.flow
    }

    /// Computes. `unix_now` judges certificates.
    pub fn run(self, unix_now: Duration) -> Stepped {
        let Self { flow, work } = self;
        let (mut handshake, outcome) = match work {
            Work::Start { client, offer } => match client.start(&offer) {
                Ok(handshake) => (handshake, Ok(Progress::Handshaking)),
                Err(error) => return Stepped { flow, handshake: None, to_peer: Vec::new(), outcome: Err(error) },
            },
            Work::Feed { mut handshake, record } => {
                let outcome = handshake.feed(unix_now, &record);
                (handshake, outcome)
            }
        };
        let mut to_peer = Vec::new();
        handshake.drain(&mut to_peer);
        Stepped { flow, handshake: Some(handshake), to_peer, outcome }
    }
}
