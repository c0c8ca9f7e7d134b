//! The thread that makes channel states durable. Whatever waits when it comes round is written in one
//! transaction, so that a thousand terminals cost no more syncs than one.

use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};

use keyferry_channel::Id;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::store::{Change, Store};
use crate::gateway::{Input, Ticket};

/// Writes in one transaction at most.
const BATCH: usize = 1024;

/// A channel state on its way to the store.
pub struct Write {
    /// Named in the answer.
    pub ticket: Ticket,
    /// The OSCORE id of the terminal whose state it is.
    pub kid: Id,
    /// The state, encoded.
    pub state: Zeroizing<Vec<u8>>,
}

/// The queue to the writing thread. Dropping it ends the thread after its last batch.
pub struct Persister {
    queue: blocking::Sender<Write>,
}

impl Persister {
    /// Starts the thread; it reports to `inputs`.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn start(store: Arc<Mutex<Store>>, inputs: mpsc::Sender<Input>) -> std::io::Result<Self> {
        let (queue, writes) = blocking::channel();
        std::thread::Builder::new().name("store".into()).spawn(move || write_all(&store, &writes, &inputs))?;
        Ok(Self { queue })
    }

    /// Queues a state. Each channel has one write under way at most, which bounds the queue.
    pub fn write(&self, write: Write) {
        // The thread ends only with this queue.
        let _ = self.queue.send(write);
    }
}

fn write_all(store: &Mutex<Store>, writes: &blocking::Receiver<Write>, inputs: &mpsc::Sender<Input>) {
    while let Ok(first) = writes.recv() {
        let mut batch = vec![first];
        batch.extend(writes.try_iter().take(BATCH - 1));
        let (tickets, changes): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|Write { ticket, kid, state }| (ticket, Change::PutChannel { kid, state })).unzip();
        let committed = store.lock().unwrap_or_else(PoisonError::into_inner).commit(changes);
        if let Err(error) = &committed {
            tracing::error!(%error, "the store takes no channel states; terminals wait until it does");
        }
        for ticket in tickets {
            let answer = Input::Persisted { ticket, durable: committed.is_ok() };
            if inputs.blocking_send(answer).is_err() {
                return;
            }
        }
    }
}
