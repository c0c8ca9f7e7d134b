//! The channel to one terminal: an OSCORE endpoint that is woken when needed, and the rule that nothing
//! leaves before the state it relies on is durable.

use std::time::Duration;

use keyferry_channel::{Endpoint, Event, Input, Instant, Output, Refused, Settings, State};
use zeroize::Zeroizing;

/// A store that failed is asked again after this long.
const PERSIST_RETRY: Duration = Duration::from_secs(1);

/// The channel to one terminal.
pub struct Link {
    endpoint: Endpoint,
    persistence: Persistence,
}

enum Persistence {
    /// All that was emitted may be acted upon.
    Durable,
    /// Outputs wait in the endpoint until the store confirms.
    Writing,
    /// The store failed; the state is to be written again at this time.
    Failed(Instant),
}

/// What the gateway has to do for the channel.
pub enum LinkOutput {
    /// Make this encoded state durable, then call [`Link::persisted`]. Nothing follows until then.
    Persist(Zeroizing<Vec<u8>>),
    /// Send a datagram to the terminal.
    Transmit(Vec<u8>),
    /// Something the terminal said.
    Event(Event),
    /// Nothing more until then.
    Timeout(Option<Instant>),
}

impl Link {
    /// A channel that goes on from `state`. `seed` must be fresh at every start.
    pub fn new(settings: Settings, state: State, seed: [u8; 32], now: Instant) -> Self {
        Self { endpoint: Endpoint::new(settings, state, seed, now), persistence: Persistence::Durable }
    }

    /// Passes an event on to the endpoint.
    ///
    /// # Errors
    /// Why a datagram or request was not taken; nothing changed then.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) -> Result<(), Refused> {
        self.endpoint.handle_input(now, input)
    }

    /// The next thing to do, until `Timeout`.
    pub fn poll_output(&mut self, now: Instant) -> LinkOutput {
        match self.persistence {
            Persistence::Writing => return LinkOutput::Timeout(None),
            Persistence::Failed(retry) if now < retry => return LinkOutput::Timeout(Some(retry)),
            Persistence::Failed(_) => {
                self.persistence = Persistence::Writing;
                return LinkOutput::Persist(self.endpoint.state().encode());
            }
            Persistence::Durable => {}
        }
        match self.endpoint.poll_output() {
            Output::Persist(state) => {
                self.persistence = Persistence::Writing;
                LinkOutput::Persist(state)
            }
            Output::Transmit(bytes) => LinkOutput::Transmit(bytes),
            Output::Event(event) => LinkOutput::Event(event),
            Output::Timeout(at, _) => LinkOutput::Timeout(at),
        }
    }

    /// Whether outputs wait for the store: what arrives now has to wait, too.
    pub fn is_waiting(&self) -> bool {
        !matches!(self.persistence, Persistence::Durable)
    }

    /// The store's answer to [`LinkOutput::Persist`].
    pub fn persisted(&mut self, now: Instant, durable: bool) {
        self.persistence = if durable { Persistence::Durable } else { Persistence::Failed(now + PERSIST_RETRY) };
    }

    /// Whether the channel key has served its time and advances with the next request.
    pub fn is_epoch_due(&self, now: Instant) -> bool {
        self.endpoint.is_epoch_due(now)
    }

    /// The durable part of the channel, for the operator's eyes: no key leaves with it.
    pub fn epoch(&self) -> u32 {
        self.endpoint.state().epoch
    }
}
