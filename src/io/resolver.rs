//! Names to addresses, by the system's resolver.

use tokio::sync::mpsc;

use crate::gateway::{Input, LookupId};

/// Looks a name up and reports to `inputs`. However long the system takes, the gateway has its own deadline.
pub fn resolve(inputs: mpsc::Sender<Input>, lookup: LookupId, name: String) {
    tokio::spawn(async move {
        let found = tokio::net::lookup_host((name, 0)).await;
        let addresses = found.map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default();
        // When the loop has ended nobody waits for names.
        let _ = inputs.send(Input::Resolved { lookup, addresses }).await;
    });
}
