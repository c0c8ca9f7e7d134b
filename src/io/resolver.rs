//! Names to addresses, by the system's resolver.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use crate::gateway::{Input, LookupId};

/// Lookups under way at once. Each may hold a thread for as long as the system's resolver likes.
const PLACES: usize = 64;

/// Asks the system.
pub struct Resolver {
    inputs: mpsc::Sender<Input>,
    places: Arc<Semaphore>,
}

impl Resolver {
    /// Answers go to `inputs`.
    pub fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { inputs, places: Arc::new(Semaphore::new(PLACES)) }
    }

    /// Looks a name up. However long the system takes, the gateway has its own deadline; where too many
    /// names hang, it lets that deadline pass.
    pub fn resolve(&self, lookup: LookupId, name: String) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::warn!("too many name lookups hang; is the host's resolver reachable?");
            return;
        };
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let found = tokio::net::lookup_host((name, 0)).await;
            drop(place);
            let addresses = found.map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default();
            // When the loop has ended nobody waits for names.
            let _ = inputs.send(Input::Resolved { lookup, addresses }).await;
        });
    }
}
