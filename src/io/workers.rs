//! The threads that do public-key work, so that the IO thread never waits for arithmetic. A step travels
//! there and comes back as an input of the gateway. What terminals asked for goes before what strangers began.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::clock::{stopwatch, unix_now};
use crate::gateway::{Input, Step};

/// Steps of terminals' own handshakes that may wait at once; more are refused, because they would only wait past
/// their deadline.
const QUEUE: usize = 1024;
/// The same of strangers' handshakes with terminals.
const STRANGERS: usize = 512;

/// A pool of worker threads. Dropping it lets them finish and end.
pub struct Workers {
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    own: VecDeque<(Step, Instant)>,
    strangers: VecDeque<(Step, Instant)>,
    closed: bool,
}

impl Workers {
    /// Starts `count` threads (0: one for each core) that report to `inputs`.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn start(count: usize, inputs: &mpsc::Sender<Input>) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let count = match count {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        for number in 0..count {
            let (queue, inputs) = (Arc::clone(&queue), inputs.clone());
            std::thread::Builder::new().name(format!("worker {number}")).spawn(move || work(&queue, &inputs))?;
        }
        Ok(Self { queue })
    }

    /// Queues a step. When the queue is full, the failure of its session comes back.
    ///
    /// # Errors
    /// The input that tells the gateway that this session cannot go on.
    pub fn submit(&self, step: Step) -> Result<(), Input> {
        self.queue.push(step)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.waiting().closed = true;
        self.queue.more.notify_all();
    }
}

impl Queue {
    fn push(&self, step: Step) -> Result<(), Input> {
        let mut waiting = self.waiting();
        let (queue, limit) =
            if step.is_strangers() { (&mut waiting.strangers, STRANGERS) } else { (&mut waiting.own, QUEUE) };
        if queue.len() >= limit {
            return Err(step.overloaded());
        }
        queue.push_back((step, stopwatch()));
        drop(waiting);
        self.more.notify_one();
        Ok(())
    }

    /// The next step; `None` when the pool is gone and nothing waits.
    fn pop(&self) -> Option<(Step, Instant)> {
        let mut waiting = self.waiting();
        loop {
            if let Some(next) = waiting.own.pop_front() {
                return Some(next);
            }
            if let Some(next) = waiting.strangers.pop_front() {
                return Some(next);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(queue: &Queue, inputs: &mpsc::Sender<Input>) {
    while let Some((step, queued)) = queue.pop() {
        let started = stopwatch();
        let stepped = Box::new(step.run(unix_now()));
        let input =
            Input::Stepped { stepped, queue_time: started.duration_since(queued), crypto_time: started.elapsed() };
        if inputs.blocking_send(input).is_err() {
            return;
        }
    }
}
