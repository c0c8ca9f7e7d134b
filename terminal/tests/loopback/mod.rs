//! A gateway and a peer on the loopback interface, made of this crate's own parts: sockets and keys are real, the TLS
//! handshake is not there.
#![allow(dead_code, reason = "every test uses its own part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use keyferry_terminal::agent::{Agent, AgentError, AgentStream, Config, ConnectOptions};
use keyferry_terminal::channel::{
    ChannelKey, Code, Endpoint, Event, Id, Input, Instant, Method, Output, RequestId, Settings, State,
};
use keyferry_terminal::messages::{
    Binding, Connect, ConnectAnswer, Failure, Handover, Limits, ProofMethod, ProvedPeer, Reason, Secret, SessionId,
    SessionPush,
};
use keyferry_terminal::tls13::{self, Session};
use std::collections::BTreeMap;
use std::net::SocketAddr;
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
}

impl World {
    pub async fn new(peer: Peer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        let world = Self {
            heard,
            directory: tempfile::tempdir().unwrap(),
            gateway: socket.local_addr().unwrap(),
            peer: listener.local_addr().unwrap(),
        };
        tokio::spawn(gateway(socket, listener, peer, tell));
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
}

/// A gateway that consents to everything, accepts the terminal's TCP as if it were the peer's, and pushes keys.
async fn gateway(socket: UdpSocket, listener: TcpListener, peer: Peer, heard: Heard) {
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
    let mut sessions: BTreeMap<u16, u32> = BTreeMap::new();
    let mut next = 0;
    tokio::spawn(async move {
        while let Ok((tcp, from)) = listener.accept().await {
            let _ = tell.send((tcp, from));
        }
    });
    let mut terminal = None;
    let mut datagram = [0; 2048];
    loop {
        let mut deadline = None;
        loop {
            match endpoint.poll_output() {
                Output::Transmit(bytes) => drop(socket.send_to(&bytes, terminal.unwrap()).await),
                Output::Persist(_) => {}
                Output::Event(Event::Request { exchange, path, payload, .. }) => {
                    let payload = if path == "/kf/connect" {
                        next += 1;
                        sessions.insert(Connect::decode(&payload).unwrap().source_port, next);
                        ConnectAnswer { session: SessionId(next), address: peer_address.ip(), seconds: 10 }.encode()
                    } else {
                        payload
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
                let session = SessionId(sessions[&from.port()]);
                let payload = push(session, &tcp, from, peer);
                let request = Input::Request { id: RequestId(session.0.into()), code: Method::POST, path: &["kf", "session"], payload, handover: true };
                endpoint.handle_input(now(), request).unwrap();
                tokio::spawn(serve(tcp, session, peer, heard.clone()));
            }
            () = tokio::time::sleep(wait) => drop(endpoint.handle_input(now(), Input::Timeout)),
        }
    }
}

fn push(session: SessionId, tcp: &TcpStream, mut from: SocketAddr, peer: Peer) -> Zeroizing<Vec<u8>> {
    if peer == Peer::Expired {
        let failure = Failure { session: Some(session), reason: Reason::CERTIFICATE_EXPIRED, detail: None };
        return SessionPush::Failure(failure).encode();
    }
    if peer == Peer::WrongKeys {
        from.set_port(1);
    }
    let mut keys = handover(session, from, tcp.local_addr().unwrap());
    if peer == Peer::Silent {
        keys.limits.seconds = 1;
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
        suite: keyferry_parsers::tls::CipherSuite::TLS_AES_128_GCM_SHA256,
        tx_secret: secret(1),
        rx_secret: secret(2),
        tx_sequence: 0,
        rx_sequence: 0,
        binding: Binding { local, remote },
        peer: ProvedPeer { method: ProofMethod::CA_VERIFIED_NAME, identity: "peer.example".into() },
        limits: Limits { records: 50, bytes: 1 << 30, seconds: 60 },
        alpn: None,
        prefix: Vec::new(),
        tls_version: keyferry_parsers::tls::ProtocolVersion::TLS_1_3,
    }
}

async fn serve(mut tcp: TcpStream, number: SessionId, peer: Peer, heard: Heard) {
    let mut keys = handover(number, tcp.peer_addr().unwrap(), tcp.local_addr().unwrap());
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
            if let tls13::Event::Data(data) = event {
                echo.extend_from_slice(data);
            }
        }
        session.seal(START, &echo, &mut out).unwrap();
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
                tls13::Event::Data(data) => all.extend_from_slice(data),
                tls13::Event::Closed => return (all, true),
            }
        }
    }
    (all, false)
}

pub fn sample(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}
