//! A gateway and a peer on the loopback interface, made of this crate's own parts: sockets and keys are real, the TLS
//! handshake is not there.
#![allow(dead_code, reason = "every test uses its own part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use keyferry_parsers::tls::{CipherSuite, ProtocolVersion};
use keyferry_terminal::agent::{Agent, AgentError, AgentStream, Config, ConnectOptions};
use keyferry_terminal::channel::{
    ChannelKey, Code, Endpoint, Event, Id, Input, Instant, Method, Output, RequestId, Settings, State,
};
use keyferry_terminal::messages::{
    Binding, Connect, ConnectAnswer, Failure, Handover, KxAnswer, KxRequest, Limits, Listen, ListenAnswer, ProofMethod,
    ProvedPeer, Reason, Role, Secret, SessionId, SessionPush, Step,
};
use keyferry_terminal::{self as terminal, Session};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

const KEY: [u8; 32] = [0x5a; 32];
const START: Instant = Instant::from_micros(0);

type Heard = mpsc::UnboundedSender<(Vec<u8>, bool)>;

/// What the peer does with a session.
#[derive(Clone, Copy, PartialEq)]
pub enum Peer {
    /// Sends everything back, and close_notify after ours.
    Echo,
    /// The same, in TLS 1.2.
    Tls12,
    /// Behind a handshake of its own: see [`assisted_peer`].
    Assisted,
    /// The same, and the gateway does not know where it is.
    Elsewhere,
    /// Sends "half" and closes TCP without close_notify.
    Truncate,
    /// Fails at the gateway with an expired certificate.
    Expired,
    /// Keys bound to another port.
    WrongKeys,
    /// Sends "bye" and close_notify at once, then takes all that comes: see [`World::heard`].
    ClosesFirst,
    /// Says nothing, in a session that lives for a second: see [`World::heard`].
    Silent,
}

pub struct World {
    pub directory: tempfile::TempDir,
    pub gateway: SocketAddr,
    pub peer: SocketAddr,
    /// What the peer heard, and whether it ended in close_notify.
    pub heard: mpsc::UnboundedReceiver<(Vec<u8>, bool)>,
    push: mpsc::UnboundedSender<Handover>,
    /// Ports that the terminal has announced, and for how long; 0: no longer.
    pub announced: mpsc::UnboundedReceiver<(u16, u32)>,
}

impl World {
    pub async fn new(peer: Peer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        let (push, pushes) = mpsc::unbounded_channel();
        let (announce, announced) = mpsc::unbounded_channel();
        let world = Self {
            heard,
            push,
            announced,
            directory: tempfile::tempdir().unwrap(),
            gateway: socket.local_addr().unwrap(),
            peer: listener.local_addr().unwrap(),
        };
        tokio::spawn(gateway(socket, listener, peer, Wires { heard: tell, pushes, announce }));
        world
    }

    /// The terminal's configuration file.
    pub fn file(&self) -> String {
        format!(
            "id = \"t\"\ngateway = \"{}\"\nsender_id = \"01\"\ngateway_id = \"00\"\nkey = \"{}\"\nstate = \"state\"\n",
            self.gateway,
            "5a".repeat(32)
        )
    }

    pub fn config(&self) -> Config {
        Config::parse(&self.directory.path().join("t.toml"), &self.file()).unwrap()
    }

    pub async fn agent(&self) -> Agent {
        Agent::start(self.config()).await.unwrap()
    }

    pub async fn connect(&self, agent: &Agent) -> Result<AgentStream, AgentError> {
        agent.connect("peer.example", self.peer.port(), &ConnectOptions::default()).await
    }

    /// The gateway sends these keys.
    pub fn push(&self, keys: &Handover) {
        self.push.send(keys.clone()).unwrap();
    }
}

/// What leads from the gateway to the test and back.
struct Wires {
    heard: Heard,
    pushes: mpsc::UnboundedReceiver<Handover>,
    announce: mpsc::UnboundedSender<(u16, u32)>,
}

/// A gateway that consents to everything, accepts the terminal's TCP as if it were the peer's, and pushes keys.
async fn gateway(socket: UdpSocket, listener: TcpListener, peer: Peer, mut wires: Wires) {
    let settings = Settings {
        own: Id::try_from(&[0][..]).unwrap(),
        peer: Id::try_from(&[1][..]).unwrap(),
        handovers_per_epoch: 8,
        epoch_lifetime: Duration::MAX,
    };
    let clock = tokio::time::Instant::now();
    let now = || Instant::from_micros(clock.elapsed().as_micros() as u64);
    let mut endpoint = Endpoint::new(settings, State::new(ChannelKey::from_bytes(KEY)), [3; 32], now());
    let (tell, mut accepted) = mpsc::unbounded_channel();
    let peer_address = listener.local_addr().unwrap();
    let known = (peer != Peer::Elsewhere).then_some(peer_address.ip());
    let mut sessions: BTreeMap<u16, u32> = BTreeMap::new();
    let mut next = 0;
    tokio::spawn(async move {
        while let Ok((tcp, from)) = listener.accept().await {
            let _ = tell.send((tcp, from));
        }
    });
    let mut terminal = None;
    let mut kx = Assistant::default();
    let (promise, mut promised) = mpsc::unbounded_channel();
    let mut datagram = [0; 2048];
    loop {
        let mut deadline = None;
        loop {
            match endpoint.poll_output() {
                Output::Transmit(bytes) => drop(socket.send_to(&bytes, terminal.unwrap()).await),
                Output::Persist(_) => {}
                Output::Event(Event::Request { exchange, path, payload, .. }) => {
                    let payload = match path.as_str() {
                        "/kf/connect" => {
                            next += 1;
                            let connect = Connect::decode(&payload).unwrap();
                            assert_eq!(connect.oldest_version, ProtocolVersion::TLS_1_2, "the default");
                            sessions.insert(connect.source_port, next);
                            ConnectAnswer { session: SessionId(next), address: peer_address.ip(), seconds: 10 }.encode()
                        }
                        "/kf/listen" => {
                            let Listen { port, seconds, .. } = Listen::decode(&payload).unwrap();
                            let _ = wires.announce.send((port, seconds));
                            ListenAnswer { seconds }.encode()
                        }
                        "/kf/kx" => match kx.serve(KxRequest::decode(&payload).unwrap(), known) {
                            Kx::Answer(answer) => answer.encode(),
                            Kx::Failure(failure) => {
                                let (code, payload) = (Code::BAD_GATEWAY, failure.encode());
                                endpoint.handle_input(now(), Input::Respond { exchange, code, payload }).unwrap();
                                continue;
                            }
                            Kx::Keys(handover) => {
                                let _ = promise.send(handover);
                                Zeroizing::default()
                            }
                        },
                        _ => payload,
                    };
                    endpoint.handle_input(now(), Input::Respond { exchange, code: Code::CONTENT, payload }).unwrap();
                }
                Output::Event(_) => {}
                Output::Timeout(at, _) => {
                    deadline = at.or(deadline);
                    break;
                }
            }
        }
        let wait = deadline.map_or(Duration::from_secs(60), |at| at.saturating_duration_since(now()));
        tokio::select! {
            Ok((length, from)) = socket.recv_from(&mut datagram) => {
                terminal = Some(from);
                let _ = endpoint.handle_input(now(), Input::Datagram { bytes: &datagram[..length], path_is_new: false });
            }
            Some((tcp, from)) = accepted.recv() => {
                if matches!(peer, Peer::Assisted | Peer::Elsewhere) {
                    tokio::spawn(assisted_peer(tcp));
                    continue;
                }
                let session = SessionId(sessions[&from.port()]);
                let payload = push(session, &tcp, from, peer);
                endpoint.handle_input(now(), session_push(session, payload)).unwrap();
                tokio::spawn(serve(tcp, session, peer, wires.heard.clone()));
            }
            Some(handover) = async { tokio::select! { keys = promised.recv() => keys, keys = wires.pushes.recv() => keys } } => {
                endpoint.handle_input(now(), session_push(handover.session, handover.encode())).unwrap();
            }
            () = tokio::time::sleep(wait) => drop(endpoint.handle_input(now(), Input::Timeout)),
        }
    }
}

fn session_push(session: SessionId, payload: Zeroizing<Vec<u8>>) -> Input<'static> {
    let id = RequestId(session.0.into());
    Input::Request { id, code: Method::POST, path: &["kf", "session"], payload, handover: true }
}

/// The gateway's side of assisted mode. The handshake: "hello", 3000 bytes from the peer, "finished" back.
#[derive(Default)]
struct Assistant {
    /// Bytes of the peer's stream, by session.
    carried: BTreeMap<u32, usize>,
    servers: BTreeMap<u32, bool>,
}

enum Kx {
    Answer(KxAnswer),
    Failure(Failure),
    Keys(Handover),
}

/// Bytes of the peer's side of the handshake that is none.
pub const HANDSHAKE: usize = 3000;

impl Assistant {
    fn serve(&mut self, request: KxRequest, address: Option<IpAddr>) -> Kx {
        let session = 1000 + self.carried.len() as u32;
        match request {
            KxRequest::Start { role, bytes, .. } => {
                self.carried.insert(session, bytes.len());
                self.servers.insert(session, role == Role::SERVER);
                let mut answer = self.answer(session, bytes.len());
                answer.needed = vec![Step::AUTHENTICATION, Step::KEY_GENERATION];
                if role == Role::CLIENT {
                    answer.send = b"hello".to_vec();
                    answer.address = address;
                }
                Kx::Answer(answer)
            }
            KxRequest::Carry { session, closed: true, .. } => Kx::Failure(Failure {
                session: Some(session),
                reason: Reason::PEER_CLOSED,
                detail: None,
                last_words: b"alert".to_vec(),
            }),
            KxRequest::Carry { session, bytes, .. } => {
                let carried = self.carried.get_mut(&session.0).unwrap();
                *carried += bytes.len();
                let carried = *carried;
                Kx::Answer(self.answer(session.0, carried))
            }
            KxRequest::Key { session, length, binding } => {
                assert_eq!(length as usize, self.carried[&session.0]);
                let mut keys = handover(session, binding.local, binding.remote);
                if self.servers[&session.0] {
                    keys.role = Role::SERVER;
                    std::mem::swap(&mut keys.tx_secret, &mut keys.rx_secret);
                }
                Kx::Keys(keys)
            }
        }
    }

    fn answer(&self, session: u32, carried: usize) -> KxAnswer {
        let done = carried >= HANDSHAKE;
        let send = if done { b"finished".to_vec() } else { vec![] };
        let next = if done { Step::KEY } else { Step::AUTHENTICATION };
        KxAnswer { session: SessionId(session), next, needed: vec![], send, address: None }
    }
}

/// The peer's side of that handshake, as a server; then it is [`Peer::Echo`].
async fn assisted_peer(mut tcp: TcpStream) {
    let mut hello = [0; 5];
    tcp.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
    tcp.write_all(&sample(HANDSHAKE)).await.unwrap();
    let mut finished = [0; 8];
    tcp.read_exact(&mut finished).await.unwrap();
    assert_eq!(&finished, b"finished");
    let (tell, _) = mpsc::unbounded_channel();
    serve(tcp, SessionId(1000), Peer::Assisted, tell).await;
}

/// A peer that connects to the terminal, with the keys that the gateway has for the terminal.
pub struct Client {
    pub tcp: TcpStream,
    pub session: Session,
    pub keys: Handover,
}

impl Client {
    pub async fn connect(number: u32, terminal: SocketAddr) -> Self {
        let tcp = TcpStream::connect(terminal).await.unwrap();
        let ours = handover(SessionId(number), tcp.local_addr().unwrap(), tcp.peer_addr().unwrap());
        let mut keys = handover(SessionId(number), tcp.peer_addr().unwrap(), tcp.local_addr().unwrap());
        std::mem::swap(&mut keys.tx_secret, &mut keys.rx_secret);
        keys.role = Role::SERVER;
        keys.server_name = Some("terminal.example".into());
        keys.peer = ProvedPeer { method: ProofMethod::ANONYMOUS, identity: "127.0.0.1".into() };
        Self { tcp, session: Session::new(ours, START).unwrap(), keys }
    }

    /// Says something and close_notify, and reads to the end.
    pub async fn exchange(mut self, words: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        self.session.seal(START, words, &mut out).unwrap();
        self.session.close(&mut out).unwrap();
        self.tcp.write_all(&out).await.unwrap();
        listen(&mut self.tcp, &mut self.session).await
    }
}

fn push(session: SessionId, tcp: &TcpStream, mut from: SocketAddr, peer: Peer) -> Zeroizing<Vec<u8>> {
    if peer == Peer::Expired {
        let failure = Failure {
            session: Some(session),
            reason: Reason::CERTIFICATE_EXPIRED,
            detail: None,
            last_words: Vec::new(),
        };
        return SessionPush::Failure(failure).encode();
    }
    if peer == Peer::WrongKeys {
        from.set_port(1);
    }
    let mut keys = handover(session, from, tcp.local_addr().unwrap());
    if peer == Peer::Silent {
        keys.limits.seconds = 1;
    }
    if peer == Peer::Tls12 {
        make_tls12(&mut keys);
    }
    keys.encode()
}

fn handover(session: SessionId, local: SocketAddr, remote: SocketAddr) -> Handover {
    let secret = |direction| {
        let mut secret = [direction; 32];
        secret[..4].copy_from_slice(&session.0.to_be_bytes());
        Secret::new(&secret).unwrap()
    };
    Handover {
        session,
        suite: CipherSuite::TLS_AES_128_GCM_SHA256,
        tx_secret: secret(1),
        rx_secret: secret(2),
        tx_sequence: 0,
        rx_sequence: 0,
        binding: Binding { local, remote },
        peer: ProvedPeer { method: ProofMethod::CA_VERIFIED_NAME, identity: "peer.example".into() },
        limits: Limits { records: 50, bytes: 1 << 30, seconds: 60 },
        alpn: None,
        prefix: Vec::new(),
        tls_version: ProtocolVersion::TLS_1_3,
        role: keyferry_parsers::messages::Role::CLIENT,
        server_name: None,
        resumable: false,
    }
}

fn make_tls12(keys: &mut Handover) {
    keys.tls_version = ProtocolVersion::TLS_1_2;
    keys.suite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let cut = |secret: &Secret| Secret::new(&secret.as_bytes()[..28]).unwrap();
    (keys.tx_secret, keys.rx_secret) = (cut(&keys.tx_secret), cut(&keys.rx_secret));
    (keys.tx_sequence, keys.rx_sequence) = (1, 1);
    // No KeyUpdate helps out.
    keys.limits.records = 1 << 24;
}

async fn serve(mut tcp: TcpStream, number: SessionId, peer: Peer, heard: Heard) {
    let mut keys = handover(number, tcp.peer_addr().unwrap(), tcp.local_addr().unwrap());
    if peer == Peer::Tls12 {
        make_tls12(&mut keys);
    }
    std::mem::swap(&mut keys.tx_secret, &mut keys.rx_secret);
    let mut session = Session::new(keys, START).unwrap();
    let (mut out, mut buffer) = (Vec::new(), vec![0; 40_000]);
    if peer == Peer::Truncate {
        session.seal(START, b"half", &mut out).unwrap();
        tcp.write_all(&out).await.unwrap();
        return;
    }
    if peer == Peer::ClosesFirst {
        session.seal(START, b"bye", &mut out).unwrap();
        session.close(&mut out).unwrap();
        tcp.write_all(&out).await.unwrap();
    }
    if matches!(peer, Peer::ClosesFirst | Peer::Silent) {
        let _ = heard.send(listen(&mut tcp, &mut session).await);
        return;
    }
    while !session.is_closed_by_peer() {
        let Ok(length @ 1..) = tcp.read(&mut buffer).await else { return };
        let mut input = &buffer[..length];
        let mut echo = Vec::new();
        while let Some(event) = session.open(START, &mut input).unwrap() {
            if let terminal::Event::Data(data) = event {
                echo.extend_from_slice(data);
            }
        }
        if !echo.is_empty() {
            session.seal(START, &echo, &mut out).unwrap();
        }
        session.drain(&mut out);
        tcp.write_all(&out).await.unwrap();
        out.clear();
    }
    session.close(&mut out).unwrap();
    tcp.write_all(&out).await.unwrap();
}

async fn listen(tcp: &mut TcpStream, session: &mut Session) -> (Vec<u8>, bool) {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 40_000]);
    while let Ok(length @ 1..) = tcp.read(&mut buffer).await {
        let mut input = &buffer[..length];
        while let Some(event) = session.open(START, &mut input).unwrap() {
            match event {
                terminal::Event::Data(data) => all.extend_from_slice(data),
                terminal::Event::Ticket(_) => {}
                terminal::Event::Closed => return (all, true),
            }
        }
    }
    (all, false)
}

pub fn sample(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}
