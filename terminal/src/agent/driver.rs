//! The task that owns the UDP socket, the state file and the [`Terminal`]. Everybody else sends it commands.

use super::clock::Clock;
use super::state::StateFile;
use crate::client::{Event, Input, Output, Start, Terminal};
use keyferry_channel::RequestId;
use keyferry_parsers::messages::{Binding, Connect, Echo, Listen, SessionId};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// More than any datagram of the channel.
const DATAGRAM: usize = 4096;

/// What one part of the program asks of the driver.
pub(super) enum Command {
    /// A request; events about it go to `events`.
    Begin { id: RequestId, request: Box<Begin>, events: mpsc::UnboundedSender<Event> },
    /// More about it.
    Continue { id: RequestId, more: More },
    /// A ticket for the gateway.
    Ticket { session: SessionId, body: Vec<u8> },
}

/// The requests that there are, as in [`Input`].
pub(super) enum Begin {
    Connect(Connect),
    Expect { local: SocketAddr, remote: SocketAddr },
    Listen(Listen),
    Assist(Start),
    Echo(Echo),
}

/// What can follow on them, as in [`Input`].
pub(super) enum More {
    PeerOpened(Binding),
    PeerBytes(Vec<u8>),
    PeerClosed,
    Cancel,
}

/// Numbers for `status`.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) epoch: AtomicU32,
    pub(super) refused_datagrams: AtomicU64,
    pub(super) sessions_open: AtomicU64,
    pub(super) sessions_total: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
    pub(super) bytes_received: AtomicU64,
}

pub(super) struct Driver {
    pub(super) terminal: Terminal,
    pub(super) socket: UdpSocket,
    pub(super) state: StateFile,
    pub(super) clock: Clock,
    pub(super) counters: Arc<Counters>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) listeners: BTreeMap<RequestId, mpsc::UnboundedSender<Event>>,
}

impl Driver {
    /// Runs until every [`Agent`](super::Agent) is gone (`Ok`) or the state cannot be saved: then nothing more may
    /// be sent, because a sequence number could be used twice after a restart.
    pub(super) async fn run(mut self) -> std::io::Result<()> {
        let mut datagram = [0; DATAGRAM];
        loop {
            let next = self.drain().await?;
            let sleep = async {
                match next {
                    Some(moment) => tokio::time::sleep_until(self.clock.at(moment)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                received = self.socket.recv(&mut datagram) => match received {
                    Ok(length) => {
                        let bytes = datagram.get(..length).unwrap_or_default();
                        if self.terminal.handle_input(self.clock.now(), Input::Datagram(bytes)).is_err() {
                            self.counters.refused_datagrams.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    // An ICMP answer to what we sent: the gateway is away. The deadlines take care of it.
                    Err(_) => tokio::task::yield_now().await,
                },
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return Ok(()),
                },
                () = sleep => {
                    let _ = self.terminal.handle_input(self.clock.now(), Input::Timeout);
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        let bytes;
        let input = match command {
            Command::Begin { id, request, events } => {
                self.listeners.insert(id, events);
                match *request {
                    Begin::Connect(request) => Input::Connect { id, request },
                    Begin::Expect { local, remote } => Input::Expect { id, local, remote },
                    Begin::Listen(listen) => Input::Listen { id, listen },
                    Begin::Assist(start) => Input::Assist { id, start },
                    Begin::Echo(echo) => Input::Echo { id, echo },
                }
            }
            Command::Continue { id, more: More::PeerOpened(binding) } => Input::PeerOpened { id, binding },
            Command::Continue { id, more: More::PeerBytes(more) } => {
                bytes = more;
                Input::PeerBytes { id, bytes: &bytes }
            }
            Command::Continue { id, more: More::PeerClosed } => Input::PeerClosed { id },
            Command::Continue { id, more: More::Cancel } => {
                self.listeners.remove(&id);
                Input::Cancel { id }
            }
            Command::Ticket { session, body } => Input::Ticket { session, body },
        };
        // Only a datagram can be refused; the rest is answered by an event.
        let _ = self.terminal.handle_input(self.clock.now(), input);
    }

    /// Acts on everything the terminal has to say, in order: state is on disk before what follows it leaves.
    async fn drain(&mut self) -> std::io::Result<Option<crate::Instant>> {
        loop {
            match self.terminal.poll_output() {
                Output::Persist(state) => self.state.save(&state)?,
                Output::Transmit(bytes) => {
                    // A datagram that cannot be sent is a lost one: it is repeated.
                    let _ = self.socket.send(&bytes).await;
                }
                Output::Event(event) => self.tell(event),
                Output::Timeout(next, _) => {
                    self.counters.epoch.store(self.terminal.epoch(), Ordering::Relaxed);
                    return Ok(next);
                }
            }
        }
    }

    fn tell(&mut self, event: Event) {
        let (id, last) = match &event {
            Event::Offer { id, .. }
            | Event::Listening { id, .. }
            | Event::Incoming { id, .. }
            | Event::Assisted { id, .. }
            | Event::ToPeer { id, .. }
            | Event::Needs { id, .. } => (*id, false),
            Event::Session { id, .. } | Event::Echoed { id } | Event::Failed { id, .. } => (*id, true),
            Event::Advanced { .. } => return,
        };
        if let Some(listener) = self.listeners.get(&id) {
            // Whoever no longer listens has given up: the keys are erased with the event.
            let _ = listener.send(event);
        }
        if last {
            self.listeners.remove(&id);
        }
    }
}
