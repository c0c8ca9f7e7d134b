//! One request to the driver, and the events that come back.

use super::driver::{Command, More};
use super::error::{AgentError, Blame};
use crate::client::Event;
use keyferry_channel::RequestId;
use keyferry_parsers::messages::{ConnectAnswer, Handover};
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How long a reset TCP connection waits for the gateway to say why.
pub(super) const REASON_DEADLINE: Duration = Duration::from_secs(2);

/// One request under way. Dropped early, it is cancelled.
pub(super) struct Request {
    pub(super) id: RequestId,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) stopped: watch::Receiver<Option<String>>,
}

impl Request {
    pub(super) async fn offer(&mut self) -> Result<ConnectAnswer, AgentError> {
        match self.next().await? {
            Event::Offer { answer, .. } => Ok(answer),
            _ => Err(unexpected()),
        }
    }

    /// Assisted mode, client: where the peer is. Last words for a peer that is not there yet are not needed.
    pub(super) async fn assisted(&mut self) -> Result<Option<IpAddr>, AgentError> {
        loop {
            match self.next().await? {
                Event::Assisted { address, .. } => return Ok(address),
                Event::ToPeer { .. } => {}
                _ => return Err(unexpected()),
            }
        }
    }

    pub(super) async fn keys(&mut self) -> Result<Box<Handover>, AgentError> {
        match self.next().await? {
            Event::Session { handover, .. } => Ok(handover),
            _ => Err(unexpected()),
        }
    }

    /// More about it for the gateway.
    pub(super) fn tell(&self, more: More) {
        // A driver that is gone says so where its events are waited for.
        let _ = self.commands.send(Command::Continue { id: self.id, more });
    }

    /// TCP failed: the gateway knows more about it, if it says so soon.
    pub(super) async fn why_not(&mut self, trouble: &str) -> AgentError {
        match tokio::time::timeout(REASON_DEADLINE, self.next()).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => AgentError::new(Blame::Gateway, format!("{trouble}; the gateway gave no reason")),
        }
    }

    pub(super) async fn next(&mut self) -> Result<Event, AgentError> {
        match self.events.recv().await {
            Some(Event::Failed { why, .. }) => Err(why.into()),
            Some(event) => Ok(event),
            None => Err(self.stopped()),
        }
    }

    pub(super) fn stopped(&self) -> AgentError {
        stopped_because(&self.stopped)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.tell(More::Cancel);
    }
}

pub(super) fn stopped_because(stopped: &watch::Receiver<Option<String>>) -> AgentError {
    let why = stopped.borrow().clone();
    AgentError::new(Blame::Terminal, why.unwrap_or_else(|| "the agent has stopped".to_owned()))
}

pub(super) fn unexpected() -> AgentError {
    AgentError::new(Blame::Terminal, "events out of order; please report this")
}
