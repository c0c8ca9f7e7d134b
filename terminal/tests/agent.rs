//! The agent on the loopback interface, against a gateway and a peer made of this crate's own parts: sockets, files,
//! half-close, truncation, errors and the control socket are real, the TLS handshake is not there.
#![cfg(feature = "std")]

use keyferry_terminal::agent::{Agent, AgentError, Blame, Config, ConnectOptions, Control, ControlClient, pipe};
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
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

const KEY: [u8; 32] = [0x5a; 32];
const START: Instant = Instant::from_micros(0);

/// What the peer does with a session.
#[derive(Clone, Copy, PartialEq)]
enum Peer {
    /// Sends everything back, and close_notify after ours.
    Echo,
    /// Sends "half" and closes TCP without close_notify.
    Truncate,
    /// Fails at the gateway with an expired certificate.
    Expired,
    /// Keys bound to another port.
    WrongKeys,
}

struct World {
    directory: tempfile::TempDir,
    gateway: SocketAddr,
    peer: SocketAddr,
}

impl World {
    async fn new(peer: Peer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let world = Self {
            directory: tempfile::tempdir().unwrap(),
            gateway: socket.local_addr().unwrap(),
            peer: listener.local_addr().unwrap(),
        };
        tokio::spawn(gateway(socket, listener, peer));
        world
    }

    fn config(&self) -> Config {
        let text = format!(
            "id = \"t\"\ngateway = \"{}\"\nsender_id = \"01\"\ngateway_id = \"00\"\nkey = \"{}\"\nstate = \"state\"\n",
            self.gateway,
            "5a".repeat(32)
        );
        Config::parse(&self.directory.path().join("t.toml"), &text).unwrap()
    }

    async fn agent(&self) -> Agent {
        Agent::start(self.config()).await.unwrap()
    }

    async fn connect(&self, agent: &Agent) -> Result<keyferry_terminal::agent::AgentStream, AgentError> {
        agent.connect("peer.example", self.peer.port(), &ConnectOptions::default()).await
    }
}

/// A gateway that consents to everything, accepts the terminal's TCP as if it were the peer's, and pushes keys.
async fn gateway(socket: UdpSocket, listener: TcpListener, peer: Peer) {
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
                tokio::spawn(serve(tcp, session, peer));
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
    handover(session, from, tcp.local_addr().unwrap()).encode()
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

async fn serve(mut tcp: TcpStream, number: SessionId, peer: Peer) {
    let mut keys = handover(number, tcp.peer_addr().unwrap(), tcp.local_addr().unwrap());
    std::mem::swap(&mut keys.tx_secret, &mut keys.rx_secret);
    let mut session = Session::new(keys, START).unwrap();
    let (mut out, mut buffer) = (Vec::new(), vec![0; 40_000]);
    if peer == Peer::Truncate {
        session.seal(START, b"half", &mut out).unwrap();
        tcp.write_all(&out).await.unwrap();
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

fn sample(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[tokio::test]
async fn bytes_come_back_and_the_stream_ends_cleanly() {
    let world = World::new(Peer::Echo).await;
    let agent = world.agent().await;
    let stream = world.connect(&agent).await.unwrap();
    assert_eq!(stream.peer().identity, "peer.example");
    // Far more than the limit of fifty records a key: KeyUpdates both ways happen on the way.
    let sent = sample(3_000_000);
    let mut received = Vec::new();
    pipe(stream, &sent[..], &mut received).await.unwrap();
    assert!(received == sent);
    let status = agent.status().await;
    assert!(status.round_trip_ms.is_some(), "{:?}", status.trouble);
    assert_eq!((status.sessions_open, status.sessions_total), (0, 1));
    assert_eq!((status.bytes_sent, status.bytes_received), (3_000_000, 3_000_000));
}

#[tokio::test]
async fn many_sessions_at_once_each_with_its_own_keys() {
    let world = World::new(Peer::Echo).await;
    let agent = world.agent().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..60usize {
        let (agent, port) = (agent.clone(), world.peer.port());
        tasks.spawn(async move {
            let stream = agent.connect("peer.example", port, &ConnectOptions::default()).await.unwrap();
            let sent = sample(1000 + number);
            let mut received = Vec::new();
            pipe(stream, &sent[..], &mut received).await.unwrap();
            assert!(received == sent);
        });
    }
    assert_eq!(tasks.join_all().await.len(), 60);
    assert!(agent.status().await.epoch >= 7, "the key advanced every eight hand-overs");
}

#[tokio::test]
async fn a_restarted_agent_goes_on_where_it_was() {
    let world = World::new(Peer::Echo).await;
    for _ in 0..3 {
        let agent = world.agent().await;
        let mut stream = world.connect(&agent).await.unwrap();
        stream.write_all(b"again").await.unwrap();
        let mut received = [0; 5];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"again");
        drop((stream, agent));
        // The lock is free once the agent's task has seen that nobody holds it.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_truncated_stream_is_an_error() {
    let world = World::new(Peer::Truncate).await;
    let agent = world.agent().await;
    let mut stream = world.connect(&agent).await.unwrap();
    let mut received = Vec::new();
    let error = stream.read_to_end(&mut received).await.map_err(AgentError::from_stream).unwrap_err();
    assert_eq!((received.as_slice(), error.blame), (&b"half"[..], Blame::Truncated));
    assert_eq!(error.blame.exit_code(), 5);
}

#[tokio::test]
async fn a_failed_handshake_is_named() {
    let world = World::new(Peer::Expired).await;
    let agent = world.agent().await;
    let error = world.connect(&agent).await.err().unwrap();
    assert_eq!((error.blame, error.reason()), (Blame::Peer, Some(Reason::CERTIFICATE_EXPIRED)));
}

#[tokio::test]
async fn keys_for_another_connection_are_not_used() {
    let world = World::new(Peer::WrongKeys).await;
    let agent = world.agent().await;
    let error = world.connect(&agent).await.err().unwrap();
    assert_eq!(error.blame, Blame::Gateway);
}

#[tokio::test]
async fn a_silent_gateway_is_reported_in_time() {
    let world = World::new(Peer::Echo).await;
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let config = Config { gateway: nobody.local_addr().unwrap(), ..world.config() };
    let agent = Agent::start(config).await.unwrap();
    let asked = tokio::time::Instant::now();
    let error = world.connect(&agent).await.err().unwrap();
    assert_eq!(error.blame.exit_code(), 4);
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_second_agent_is_refused_and_the_control_socket_serves_instead() {
    let world = World::new(Peer::Echo).await;
    let config = world.config();
    let agent = world.agent().await;
    let second = Agent::start(world.config()).await.err().unwrap();
    assert!(second.message.contains("another process"), "{}", second.message);

    assert!(ControlClient::reach(&config.control).await.is_none());
    let control = Control::bind(&config.control).unwrap();
    assert_eq!(mode(&config.control), 0o600);
    tokio::spawn(control.run(agent));
    let mut client = ControlClient::reach(&config.control).await.unwrap();
    let peer = client.connect("peer.example", world.peer.port(), &ConnectOptions::default()).await.unwrap();
    assert_eq!(peer, "peer.example");
    let sent = sample(500_000);
    let mut received = Vec::new();
    client.pipe(&sent[..], &mut received).await.unwrap();
    assert!(received == sent);
    let status = ControlClient::reach(&config.control).await.unwrap().status().await.unwrap();
    assert_eq!(status.bytes_received, 500_000);
}

#[tokio::test]
async fn errors_pass_through_the_control_socket() {
    let world = World::new(Peer::Truncate).await;
    let config = world.config();
    tokio::spawn(Control::bind(&config.control).unwrap().run(world.agent().await));
    let mut client = ControlClient::reach(&config.control).await.unwrap();
    client.connect("peer.example", world.peer.port(), &ConnectOptions::default()).await.unwrap();
    let mut received = Vec::new();
    let error = client.pipe(tokio::io::empty(), &mut received).await.unwrap_err();
    assert_eq!((received.as_slice(), error.blame), (&b"half"[..], Blame::Truncated));
}

#[tokio::test]
async fn a_key_file_is_erased_after_first_use() {
    let world = World::new(Peer::Echo).await;
    let key_file = world.directory.path().join("key");
    std::fs::write(&key_file, "5a".repeat(32)).unwrap();
    std::fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = || {
        let text = format!(
            "id = \"t\"\ngateway = \"{}\"\nsender_id = \"01\"\ngateway_id = \"00\"\nkey_file = \"key\"\nstate = \"state\"\n",
            world.gateway
        );
        Config::parse(&world.directory.path().join("t.toml"), &text).unwrap()
    };
    let agent = Agent::start(config()).await.unwrap();
    assert!(!key_file.exists());
    assert!(world.connect(&agent).await.is_ok());
    drop(agent);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(Agent::start(config()).await.is_ok(), "the state file has taken over");
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777
}
