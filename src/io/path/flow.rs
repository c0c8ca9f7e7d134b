//! One task for each intercepted connection: the driver's hands for a gateway flow. It does what it is told
//! by [`Command`], one thing at a time, and reports as [`Input`].

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use keyferry_parsers::tls::RecordHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::relay::{Handover, Legs};
use super::sockets::{Connection, abort_on_close, connect_as, has_spoken};
use crate::error::{Error, Reason};
use crate::gateway::{FlowId, Input};

/// What a flow's task is told.
pub enum Command {
    /// Connect to the peer as the terminal.
    ConnectPeer,
    /// Read exactly one record of the peer.
    ReadPeer,
    /// Send to the peer.
    WritePeer(Vec<u8>),
    /// Leave the path; what the terminal sends waits.
    HandOver,
    /// The terminal has its keys: what it sends may pass.
    Open,
    /// Send last words to the peer, reset the terminal, end.
    Reset(Vec<u8>),
}

/// The tasks of all open flows.
pub struct Flows<H> {
    handover: std::sync::Arc<H>,
    inputs: mpsc::Sender<Input>,
    commands: BTreeMap<FlowId, mpsc::UnboundedSender<Command>>,
    next: u64,
}

impl<H: Handover + Send + Sync + 'static> Flows<H> {
    /// No flows yet. What happens on them is reported to `inputs`.
    pub fn new(handover: H, inputs: mpsc::Sender<Input>) -> Self {
        Self { handover: handover.into(), inputs, commands: BTreeMap::new(), next: 0 }
    }

    /// Starts the task of an accepted connection and says what the gateway has to know of it.
    ///
    /// # Errors
    /// The connection is gone already.
    pub fn open(&mut self, Connection(stream): Connection) -> io::Result<Input> {
        let (terminal, peer) = (canonical(stream.peer_addr()?), canonical(stream.local_addr()?));
        stream.set_nodelay(true)?;
        self.next = self.next.wrapping_add(1);
        let id = FlowId(self.next);
        let (sender, commands) = mpsc::unbounded_channel();
        self.commands.insert(id, sender);
        let task = Task {
            id,
            terminal: stream,
            addresses: (terminal, peer),
            commands,
            queued: VecDeque::new(),
            inputs: self.inputs.clone(),
        };
        tokio::spawn(task.run(std::sync::Arc::clone(&self.handover)));
        Ok(Input::FlowOpened { flow: id, terminal, peer })
    }

    /// Tells a flow's task what to do; one that has ended hears nothing.
    pub fn tell(&mut self, id: FlowId, command: Command) {
        let last = matches!(command, Command::Reset(_));
        if let Some(sender) = self.commands.get(&id) {
            // An ended task has reported its end, which is on its way to the gateway.
            let _ = sender.send(command);
        }
        if last {
            self.commands.remove(&id);
        }
    }

    /// Forgets a flow that reported its end.
    pub fn forget(&mut self, id: FlowId) {
        self.commands.remove(&id);
    }
}

struct Task {
    id: FlowId,
    terminal: TcpStream,
    /// The terminal's end and the peer's.
    addresses: (SocketAddr, SocketAddr),
    commands: mpsc::UnboundedReceiver<Command>,
    /// Commands that came while another was carried out.
    queued: VecDeque<Command>,
    inputs: mpsc::Sender<Input>,
}

/// Why a task stops before its hand-over.
enum Stop {
    /// The gateway said so; with last words for the peer.
    Reset(Vec<u8>),
    /// The connection failed.
    Failed(Error),
}

impl Task {
    async fn run<H: Handover>(mut self, handover: std::sync::Arc<H>) {
        let mut peer = None;
        let stop = match self.handshake(&mut peer).await {
            Ok(()) => match peer.take() {
                Some(peer) => return self.hand_over(peer, handover.as_ref()).await,
                None => Stop::Failed(Error::new(Reason::INTERNAL, "hand-over without a peer")),
            },
            Err(stop) => stop,
        };
        if let Stop::Failed(error) = stop {
            self.report(Input::FlowFailed { flow: self.id, error }).await;
            // The gateway answers a failure with the reset that ends this task.
            while let Some(command) = self.commands.recv().await {
                if matches!(command, Command::Reset(_)) {
                    break;
                }
            }
        } else if let (Stop::Reset(last_words), Some(mut peer)) = (stop, peer) {
            // The peer may be gone; then nobody is left to be told.
            let _ = peer.write_all(&last_words).await;
            let _ = peer.shutdown().await;
        }
        abort_on_close(&self.terminal, true);
    }

    /// Follows commands until the hand-over (Ok) or the end.
    async fn handshake(&mut self, peer: &mut Option<TcpStream>) -> Result<(), Stop> {
        loop {
            match (self.next().await?, peer.as_mut()) {
                (Command::Reset(last_words), _) => return Err(Stop::Reset(last_words)),
                (Command::HandOver, Some(_)) => return Ok(()),
                (Command::ConnectPeer, None) => *peer = Some(self.connect().await?),
                (Command::ReadPeer, Some(peer)) => self.read(peer).await?,
                (Command::WritePeer(bytes), Some(peer)) => self.write(peer, &bytes).await?,
                (_, _) => return Err(Stop::Failed(Error::new(Reason::INTERNAL, "flow command out of turn"))),
            }
        }
    }

    async fn connect(&mut self) -> Result<TcpStream, Stop> {
        let (terminal, peer) = self.addresses;
        let connected = self.done(connect_as(terminal, peer)).await?;
        let stream = connected.map_err(|error| Stop::Failed(unreachable(&error)))?;
        self.report(Input::PeerConnected(self.id)).await;
        Ok(stream)
    }

    async fn read(&mut self, peer: &mut TcpStream) -> Result<(), Stop> {
        match self.done(read_record(peer)).await? {
            Ok(record) => self.report(Input::PeerRecord { flow: self.id, record }).await,
            // The gateway answers with the reset.
            Err(error) => {
                tracing::debug!(%error, "peer lost in the handshake");
                self.report(Input::PeerClosed(self.id)).await;
            }
        }
        Ok(())
    }

    async fn write(&mut self, peer: &mut TcpStream, bytes: &[u8]) -> Result<(), Stop> {
        let written = self.done(peer.write_all(bytes)).await?;
        written.map_err(|error| Stop::Failed(peer_lost(&error)))
    }

    async fn hand_over<H: Handover>(self, peer: TcpStream, handover: &H) {
        let Self { id, terminal, mut commands, inputs, .. } = self;
        let (open, opened) = oneshot::channel();
        let opened = async {
            // Never opened is never copied: the flow ends by a reset.
            if opened.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let carried = match check_silent(&terminal).and_then(|()| {
            let handed = handover.hand_over(Legs { terminal, peer }, opened);
            handed.map_err(|error| Error::new(Reason::INTERNAL, format!("the flow could not be handed over: {error}")))
        }) {
            Ok(carried) => carried,
            Err(error) => {
                // The connections are gone already, without a word that could pass for an orderly end.
                let _ = inputs.send(Input::FlowFailed { flow: id, error }).await;
                return;
            }
        };
        // The gateway outlives its flows; when it stops nobody counts any more.
        let _ = inputs.send(Input::HandedOver { flow: id, kind: carried.kind, prefix: carried.prefix }).await;
        let (mut open, mut end) = (Some(open), pin!(carried.end));
        let end = loop {
            tokio::select! {
                end = &mut end => break end,
                command = commands.recv() => match command {
                    Some(Command::Open) => {
                        if let Some(open) = open.take() {
                            // Gone only together with the carrier.
                            let _ = open.send(());
                        }
                    }
                    // A reset, or the gateway stops: dropping the carrier resets both connections.
                    _ => return,
                },
            }
        };
        let _ = inputs.send(Input::FlowEnded { flow: id, end }).await;
    }

    /// The next command, or the terminal's giving up.
    async fn next(&mut self) -> Result<Command, Stop> {
        if let Some(command) = self.queued.pop_front() {
            return Ok(command);
        }
        tokio::select! {
            command = self.commands.recv() => Ok(command.unwrap_or(Command::Reset(Vec::new()))),
            () = closed(&self.terminal) => Err(Stop::Failed(closed_by_terminal())),
        }
    }

    /// Waits for `work`, unless a reset comes first or the terminal gives up. Other commands wait their turn.
    async fn done<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                command = self.commands.recv() => match command {
                    Some(Command::Reset(last_words)) => return Err(Stop::Reset(last_words)),
                    Some(command) => self.queued.push_back(command),
                    None => return Err(Stop::Reset(Vec::new())),
                },
                () = closed(&self.terminal) => return Err(Stop::Failed(closed_by_terminal())),
            }
        }
    }

    async fn report(&self, input: Input) {
        // When the gateway has stopped, its command channel ends this task next.
        let _ = self.inputs.send(input).await;
    }
}

/// Resolves when the terminal closes. Bytes it sends before it has keys stay where they are.
async fn closed(terminal: &TcpStream) {
    match terminal.peek(&mut [0]).await {
        Ok(0) | Err(_) => {}
        Ok(_) => std::future::pending().await,
    }
}

/// Reads one record and not a byte more. Of one that cannot be, the header alone: the engine has the words
/// for the peer.
async fn read_record(peer: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut header = [0; RecordHeader::LENGTH];
    peer.read_exact(&mut header).await?;
    let mut record = header.to_vec();
    if let Ok(parsed) = RecordHeader::parse(&header) {
        record.resize(parsed.record_length(), 0);
        let (_, body) = record.split_at_mut(header.len());
        peer.read_exact(body).await?;
    }
    Ok(record)
}

/// A terminal that speaks before it has keys speaks in the clear. Its words go nowhere, and no key leaves.
fn check_silent(terminal: &TcpStream) -> Result<(), Error> {
    if !has_spoken(terminal) {
        return Ok(());
    }
    abort_on_close(terminal, true);
    Err(Error::new(Reason::EARLY_DATA, "the terminal sent data before it had keys; it must wait for them"))
}

fn closed_by_terminal() -> Error {
    Error::new(Reason::CLOSED_BY_TERMINAL, "the terminal closed the connection before the handshake was done")
}

fn unreachable(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            Error::new(Reason::PEER_REFUSED, "the peer refuses connections on this port; check port and service")
        }
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => {
            Error::new(Reason::SOURCE_PORT_IN_USE, "connect from another source port")
        }
        _ => Error::new(
            Reason::PEER_UNREACHABLE,
            format!("the peer cannot be reached: {error}; check its address and route"),
        ),
    }
}

fn peer_lost(error: &io::Error) -> Error {
    Error::new(Reason::PEER_CLOSED, format!("the peer ended the connection in the handshake: {error}"))
}

/// An IPv4 address is an IPv4 address, also on an IPv6 socket.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
