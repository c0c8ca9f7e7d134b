//! The captured driver: a capture file through the same parsers and key schedules as live traffic, in the capture's own
//! time, into an account of every handshake in it.
//!
//! ```text
//! io::pcap  ->  packet  ->  tls, ike (trackers)  ->  account  ->  text, ladder, JSON
//! ```

pub mod account;
pub mod ike;
pub mod ike_secrets;
pub mod keylog;
pub mod ladder;
pub mod text;
pub mod tls;

use account::Account;
use ike_secrets::IkeSecrets;
use keylog::KeyLog;

use crate::io::pcap::{CaptureError, Item, Reader, SecretsKind};
use crate::packet::{Consumer, Counters, Datagram, Event, Interest, Limits, Stack};

/// Frames between two calls of the progress callback.
const PACE: u64 = 4096;

/// What opens the messages of a capture.
#[derive(Default)]
pub struct Secrets {
    /// Of TLS. Those inside a capture are added to them.
    pub key_log: KeyLog,
    /// Of IKE.
    pub ike: IkeSecrets,
}

/// One replay: captures are read one after the other as if they were one, then it is finished.
pub struct Replay {
    stack: Stack,
    trackers: Trackers,
}

struct Trackers {
    tls: tls::Tracker,
    ike: ike::Tracker,
}

impl Replay {
    /// One that has seen nothing.
    pub fn new(secrets: Secrets) -> Self {
        let tls = tls::Tracker::new(secrets.key_log, tls::Limits::default());
        let ike = ike::Tracker::new(secrets.ike, ike::Limits::default());
        Self { stack: Stack::new(Limits::default()), trackers: Trackers { tls, ike } }
    }

    /// Reads a capture to its end. Accounts go to `done` as soon as nothing more can be added to them; `progress` hears
    /// now and then how many bytes of the file are read.
    ///
    /// # Errors
    /// The capture cannot be read, or not further; what came before it counts.
    pub fn read(
        &mut self,
        capture: &mut Reader,
        progress: &mut dyn FnMut(u64),
        done: &mut dyn FnMut(Account),
    ) -> Result<(), CaptureError> {
        for number in 1_u64.. {
            match capture.next()? {
                Some(Item::Frame(frame)) => {
                    self.stack.frame(&frame, &mut Sink { trackers: &mut self.trackers, done });
                }
                Some(Item::Secrets { kind: SecretsKind::TLS_KEY_LOG, data }) => {
                    // Lines that are no secrets are none; a capture has no way to be told of it.
                    let _ = self.trackers.tls.key_log().add(data);
                }
                Some(Item::Secrets { .. }) => {}
                None => break,
            }
            if number.is_multiple_of(PACE) {
                progress(capture.position());
            }
        }
        Ok(())
    }

    /// No more captures: what is not over is told as it stands.
    pub fn finish(&mut self, done: &mut dyn FnMut(Account)) {
        self.stack.finish(&mut Sink { trackers: &mut self.trackers, done });
        self.trackers.tls.finish(done);
        self.trackers.ike.finish(done);
    }

    /// What became of the frames.
    pub fn counters(&self) -> &Counters {
        self.stack.counters()
    }
}

/// Whatever the stack finds goes to the trackers.
struct Sink<'a> {
    trackers: &'a mut Trackers,
    done: &'a mut dyn FnMut(Account),
}

impl Consumer for Sink<'_> {
    fn datagram(&mut self, datagram: &Datagram<'_>) {
        if !self.trackers.ike.datagram(datagram, self.done) {
            self.trackers.tls.datagram(datagram, self.done);
        }
    }

    fn stream(&mut self, event: &Event<'_>) -> Interest {
        self.trackers.tls.stream(event, self.done)
    }
}
