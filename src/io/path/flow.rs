//! One task for each intercepted connection: the driver's hands for a gateway flow. It does what it is told
//! by [`Command`], one thing at a time, and reports as [`Input`]. Who opened it makes no difference but for which
//! of its two legs is there first.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use keyferry_parsers::tls::RecordHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::relay::{Handover, Legs};
use super::sockets::{Connection, abort_on_close, connect_to_peer, connect_to_terminal, has_spoken};
use crate::error::{Error, Reason};
use crate::gateway::{Direction, FlowId, Input};

/// How long a peer may take to read our last words.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a flow's task is told.
pub enum Command {
    /// Connect to the peer as the terminal.
    ConnectPeer,
    /// Connect to the terminal as the peer.
    ConnectTerminal,
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
    pub fn open(&mut self, Connection { stream, direction }: Connection) -> io::Result<Input> {
        let (caller, called) = (canonical(stream.peer_addr()?), canonical(stream.local_addr()?));
        stream.set_nodelay(true)?;
        let (terminal, peer, terminal_leg, peer_leg) = match direction {
            Direction::Outbound => (caller, called, Some(stream), None),
            Direction::Inbound => (called, caller, None, Some(stream)),
        };
        self.next = self.next.wrapping_add(1);
        let id = FlowId(self.next);
        let (sender, commands) = mpsc::unbounded_channel();
        self.commands.insert(id, sender);
        let task = Task {
            id,
            terminal: terminal_leg,
            addresses: (terminal, peer),
            commands,
            queued: VecDeque::new(),
            inputs: self.inputs.clone(),
        };
        tokio::spawn(task.run(peer_leg, std::sync::Arc::clone(&self.handover)));
        Ok(Input::FlowOpened { flow: id, terminal, peer, direction })
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
    /// The leg towards the terminal, if it is there already.
    terminal: Option<TcpStream>,
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
    async fn run<H: Handover>(mut self, mut peer: Option<TcpStream>, handover: std::sync::Arc<H>) {
        let stop = match self.handshake(&mut peer).await {
            Ok(()) => match (self.terminal.take(), peer.take()) {
                (Some(terminal), Some(peer)) => {
                    return self.hand_over(Legs { terminal, peer }, handover.as_ref()).await;
                }
                _ => Stop::Failed(Error::new(Reason::INTERNAL, "hand-over without both legs")),
            },
            Err(stop) => stop,
        };
        let last_words = match stop {
            Stop::Reset(last_words) => last_words,
            Stop::Failed(error) => {
                self.report(Input::FlowFailed { flow: self.id, error }).await;
                self.last_words().await
            }
        };
        if let Some(terminal) = self.terminal {
            abort_on_close(&terminal, true);
        }
        if let Some(peer) = peer {
            farewell(peer, &last_words).await;
        }
    }

    /// The gateway answers a failure with the reset that ends this task.
    async fn last_words(&mut self) -> Vec<u8> {
        loop {
            match self.commands.recv().await {
                Some(Command::Reset(last_words)) => return last_words,
                Some(_) => {}
                None => return Vec::new(),
            }
        }
    }

    /// Follows commands until the hand-over (Ok) or the end.
    async fn handshake(&mut self, peer: &mut Option<TcpStream>) -> Result<(), Stop> {
        loop {
            match (self.next().await?, peer.as_mut()) {
                (Command::Reset(last_words), _) => return Err(Stop::Reset(last_words)),
                (Command::HandOver, Some(_)) => return Ok(()),
                (Command::ConnectPeer, None) => *peer = Some(self.connect().await?),
                (Command::ConnectTerminal, Some(_)) => self.connect_terminal().await?,
                (Command::ReadPeer, Some(peer)) => self.read(peer).await?,
                (Command::WritePeer(bytes), Some(peer)) => self.write(peer, &bytes).await?,
                (_, _) => return Err(Stop::Failed(Error::new(Reason::INTERNAL, "flow command out of turn"))),
            }
        }
    }

    async fn connect(&mut self) -> Result<TcpStream, Stop> {
        let (terminal, peer) = self.addresses;
        let connected = self.done(connect_to_peer(terminal, peer)).await?;
        let stream = connected.map_err(|error| Stop::Failed(unreachable(&error)))?;
        self.report(Input::PeerConnected(self.id)).await;
        Ok(stream)
    }

    async fn connect_terminal(&mut self) -> Result<(), Stop> {
        let (terminal, peer) = self.addresses;
        let connected = self.done(connect_to_terminal(peer, terminal)).await?;
        self.terminal = Some(connected.map_err(|error| Stop::Failed(not_listening(&error)))?);
        self.report(Input::TerminalConnected(self.id)).await;
        Ok(())
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

    async fn hand_over<H: Handover>(self, legs: Legs, handover: &H) {
        let Self { id, mut commands, inputs, .. } = self;
        let (open, opened) = oneshot::channel();
        let opened = async {
            // Never opened is never copied: the flow ends by a reset.
            if opened.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let carried = match check_silent(&legs.terminal).and_then(|()| {
            let handed = handover.hand_over(legs, opened);
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
            () = closed(self.terminal.as_ref()) => Err(Stop::Failed(closed_by_terminal())),
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
                () = closed(self.terminal.as_ref()) => return Err(Stop::Failed(closed_by_terminal())),
            }
        }
    }

    async fn report(&self, input: Input) {
        // When the gateway has stopped, its command channel ends this task next.
        let _ = self.inputs.send(input).await;
    }
}

/// Resolves when the terminal closes. Bytes it sends before it has keys stay where they are.
async fn closed(terminal: Option<&TcpStream>) {
    match terminal {
        Some(terminal) if matches!(terminal.peek(&mut [0]).await, Ok(0) | Err(_)) => {}
        _ => std::future::pending().await,
    }
}

/// Ends the leg towards the peer: by a reset where there is nothing to say. What it still sends is read and
/// dropped for a moment, because a close with bytes unread is a reset, which overtakes what was said before.
async fn farewell(mut peer: TcpStream, last_words: &[u8]) {
    if last_words.is_empty() {
        return abort_on_close(&peer, true);
    }
    let said = async {
        // The peer may be gone; then nobody is left to be told.
        peer.write_all(last_words).await?;
        peer.shutdown().await?;
        let mut dropped = [0; 1024];
        while peer.read(&mut dropped).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(FAREWELL, said).await;
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

fn not_listening(error: &io::Error) -> Error {
    let detail = match error.kind() {
        io::ErrorKind::ConnectionRefused => "the terminal accepts no connection on this port".to_owned(),
        _ => format!("no connection to the terminal: {error}"),
    };
    Error::new(Reason::NOT_LISTENING, detail)
}

fn peer_lost(error: &io::Error) -> Error {
    Error::new(Reason::PEER_CLOSED, format!("the peer ended the connection in the handshake: {error}"))
}

/// An IPv4 address is an IPv4 address, also on an IPv6 socket.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
