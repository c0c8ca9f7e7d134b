//! The threads that do public-key work, so that the IO thread never waits for arithmetic. A step travels
//! there and comes back as an input of the gateway.

use std::sync::{Arc, Mutex, PoisonError, mpsc as blocking};
use std::time::Instant;

use tokio::sync::mpsc;

use super::clock::{stopwatch, unix_now};
use crate::error::{Error, Reason};
use crate::gateway::{Input, Step};

/// Steps that may wait at once; more are refused, because they would only wait past their deadline.
const QUEUE: usize = 1024;

/// A pool of worker threads. Dropping it lets them finish and end.
pub struct Workers {
    queue: blocking::SyncSender<(Step, Instant)>,
}

impl Workers {
    /// Starts `count` threads (0: one for each core) that report to `inputs`.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn start(count: usize, inputs: &mpsc::Sender<Input>) -> std::io::Result<Self> {
        let (queue, steps) = blocking::sync_channel(QUEUE);
        let steps = Arc::new(Mutex::new(steps));
        let count = match count {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        for number in 0..count {
            let (steps, inputs) = (Arc::clone(&steps), inputs.clone());
            std::thread::Builder::new().name(format!("worker {number}")).spawn(move || work(&steps, &inputs))?;
        }
        Ok(Self { queue })
    }

    /// Queues a step. When the queue is full, the failure of its flow comes back.
    ///
    /// # Errors
    /// The input that tells the gateway that this flow cannot go on.
    pub fn submit(&self, step: Step) -> Result<(), Input> {
        let flow = step.flow();
        self.queue.try_send((step, stopwatch())).map_err(|_| {
            let error = Error::new(Reason::OVERLOADED, "too many handshakes wait for the gateway's processors");
            Input::FlowFailed { flow, error }
        })
    }
}

fn work(steps: &Mutex<blocking::Receiver<(Step, Instant)>>, inputs: &mpsc::Sender<Input>) {
    loop {
        let next = steps.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((step, queued)) = next else { return };
        let started = stopwatch();
        let stepped = Box::new(step.run(unix_now()));
        let input =
            Input::Stepped { stepped, queue_time: started.duration_since(queued), crypto_time: started.elapsed() };
        if inputs.blocking_send(input).is_err() {
            return;
        }
    }
}
