//! The agent as a library on the loopback interface: sockets, files, half-close, truncation, errors, control socket.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod loopback;

use keyferry_parsers::tls::ProtocolVersion;
use keyferry_terminal::agent::{Agent, AgentError, Blame, Config, ConnectOptions, Control, ControlClient, pipe};
use keyferry_terminal::messages::{Reason, Role};
use loopback::{Peer, World, sample};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

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
async fn a_peer_with_tls_1_2_only_will_do() {
    let world = World::new(Peer::Tls12).await;
    let agent = world.agent().await;
    let mut stream = world.connect(&agent).await.unwrap();
    assert_eq!((stream.version(), stream.role()), (ProtocolVersion::TLS_1_2, Role::CLIENT));
    assert!(!stream.key_update().unwrap(), "TLS 1.2 has none");
    let sent = sample(1_000_000);
    let mut received = vec![0; sent.len()];
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let (written, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut received));
    written.and(read.map(drop)).unwrap();
    assert!(received == sent);
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "a clean end");
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
async fn what_is_still_to_be_sent_is_sent_after_the_peer_has_closed() {
    let mut world = World::new(Peer::ClosesFirst).await;
    let agent = world.agent().await;
    let stream = world.connect(&agent).await.unwrap();
    let (sent, mut received) = (sample(3_000_000), Vec::new());
    pipe(stream, &sent[..], &mut received).await.unwrap();
    assert_eq!(received, b"bye");
    assert!(world.heard.recv().await.unwrap() == (sent, true), "all of it, and close_notify");
}

#[tokio::test]
async fn waiting_input_does_not_keep_what_the_peer_has_closed() {
    let mut world = World::new(Peer::ClosesFirst).await;
    let agent = world.agent().await;
    let stream = world.connect(&agent).await.unwrap();
    let (waiting, mut terminal) = tokio::io::duplex(100);
    terminal.write_all(b"typed").await.unwrap();
    let began = tokio::time::Instant::now();
    pipe(stream, waiting, &mut Vec::new()).await.unwrap();
    assert!((1..3).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(world.heard.recv().await.unwrap(), (b"typed".to_vec(), true));
}

#[tokio::test]
async fn a_local_end_that_breaks_still_says_close_notify() {
    let mut world = World::new(Peer::ClosesFirst).await;
    let agent = world.agent().await;
    let stream = world.connect(&agent).await.unwrap();
    let (broken, gone) = tokio::io::duplex(100);
    drop(gone);
    let error = pipe(stream, tokio::io::repeat(7), broken).await.unwrap_err();
    assert_eq!(error.blame, Blame::Terminal);
    assert!(world.heard.recv().await.unwrap().1);
}

#[tokio::test]
async fn a_dropped_stream_says_close_notify() {
    let mut world = World::new(Peer::ClosesFirst).await;
    let agent = world.agent().await;
    let mut stream = world.connect(&agent).await.unwrap();
    stream.write_all(b"last").await.unwrap();
    drop(stream);
    assert_eq!(world.heard.recv().await.unwrap(), (b"last".to_vec(), true));
}

#[tokio::test]
async fn a_silent_session_ends_with_its_lifetime() {
    let mut world = World::new(Peer::Silent).await;
    let agent = world.agent().await;
    let mut stream = world.connect(&agent).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(3), stream.read(&mut [0])).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    // Said at the end of the lifetime, not when the stream is dropped.
    assert_eq!(world.heard.recv().await.unwrap(), (vec![], true));
}

#[tokio::test]
async fn the_control_socket_passes_on_what_comes_after_the_peers_close() {
    let mut world = World::new(Peer::ClosesFirst).await;
    let config = world.config();
    tokio::spawn(Control::bind(&config.control).unwrap().run(world.agent().await));
    let mut client = ControlClient::reach(&config.control).await.unwrap();
    client.connect("peer.example", world.peer.port(), &ConnectOptions::default()).await.unwrap();
    let (sent, mut received) = (sample(1_000_000), Vec::new());
    client.pipe(&sent[..], &mut received).await.unwrap();
    assert_eq!(received, b"bye");
    assert!(world.heard.recv().await.unwrap() == (sent, true), "all of it, and close_notify");
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
