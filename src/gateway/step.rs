//! The costly part of a session: one step of its handshake, run on a worker thread. The session travels
//! there and comes back with what it has to say.

use std::sync::Arc;
use std::time::Duration;

use super::Input;
use super::session::Carrier;
use crate::error::{Error, Reason};
use crate::tls::{Client, Handshake, Offer, Progress, Serve, Service};

/// Work for a worker thread.
pub struct Step {
    pub(super) carrier: Carrier,
    /// A peer began it, and has proved nothing yet.
    pub(super) strangers: bool,
    pub(super) work: Work,
}

pub(super) enum Work {
    /// Make key shares and the hello.
    Start { client: Arc<Client>, offer: Offer },
    /// Be ready for a client's hello.
    Serve { service: Arc<Service>, serve: Serve },
    /// Feed one record of the peer.
    Feed { handshake: Box<dyn Handshake>, record: Vec<u8> },
}

/// What a step produced.
pub struct Stepped {
    pub(super) carrier: Carrier,
    /// None when the handshake could not begin.
    pub(super) handshake: Option<Box<dyn Handshake>>,
    /// Records for the peer; after a failure the alert.
    pub(super) to_peer: Vec<u8>,
    pub(super) outcome: Result<Progress, Error>,
}

impl Step {
    /// Whether a peer began this handshake, and not the terminal: then it can wait.
    pub fn is_strangers(&self) -> bool {
        self.strangers
    }

    /// Computes. `unix_now` judges certificates.
    pub fn run(self, unix_now: Duration) -> Stepped {
        let Self { carrier, work, .. } = self;
        let begun = match work {
            Work::Start { client, offer } => {
                client.start(unix_now, &offer).map(|handshake| (handshake, Ok(Progress::Handshaking)))
            }
            Work::Serve { service, serve } => {
                service.start(&serve).map(|handshake| (handshake, Ok(Progress::Handshaking)))
            }
            Work::Feed { mut handshake, record } => {
                let outcome = handshake.feed(unix_now, &record);
                Ok((handshake, outcome))
            }
        };
        match begun {
            Ok((mut handshake, outcome)) => {
                let mut to_peer = Vec::new();
                handshake.drain(&mut to_peer);
                Stepped { carrier, handshake: Some(handshake), to_peer, outcome }
            }
            Err(error) => Stepped { carrier, handshake: None, to_peer: Vec::new(), outcome: Err(error) },
        }
    }

    /// What the gateway hears of a step that found no worker.
    pub fn overloaded(self) -> Input {
        let error = Error::new(Reason::OVERLOADED, "too many handshakes wait for the gateway's processors");
        let stepped = Stepped { carrier: self.carrier, handshake: None, to_peer: Vec::new(), outcome: Err(error) };
        Input::Stepped { stepped: Box::new(stepped), queue_time: Duration::ZERO, crypto_time: Duration::ZERO }
    }
}
