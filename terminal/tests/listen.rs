//! A terminal as server, on the loopback interface: TCP and keys find each other, in either order, and nobody else comes in.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod loopback;

use keyferry_parsers::tls::ProtocolVersion;
use keyferry_terminal::Instant;
use keyferry_terminal::agent::{
    Agent, AgentListener, AgentStream, Control, ControlClient, ListenOptions, forward_to, pipe,
};
use keyferry_terminal::messages::Role;
use loopback::{Client, Peer, World, sample};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn listening(world: &World) -> (Agent, AgentListener, SocketAddr) {
    let agent = world.agent().await;
    let listener = agent.listen(0, &ListenOptions::default()).await.unwrap();
    let at = listener.addresses()[0];
    (agent, listener, at)
}

/// Sends back what the peer says, until it closes.
async fn echo(mut stream: AgentStream) {
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    stream.write_all(&heard).await.unwrap();
    stream.shutdown().await.unwrap();
    // Until the peer has gone: a socket closed with bytes in it would be reset.
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut [0])).await;
}

#[tokio::test]
async fn tcp_first_and_keys_first_both_work() {
    let mut world = World::new(Peer::Echo).await;
    let (_agent, mut listener, at) = listening(&world).await;
    assert_eq!(world.announced.recv().await.unwrap(), (at.port(), 60));
    for (number, keys_first) in [(1, true), (2, false)] {
        let client = Client::connect(number, at).await;
        if !keys_first {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        world.push(&client.keys);
        let stream = listener.accept().await.unwrap();
        assert_eq!((stream.role(), stream.version()), (Role::SERVER, ProtocolVersion::TLS_1_3));
        assert_eq!(stream.server_name(), Some("terminal.example"));
        assert!(stream.describe().contains("which proved nothing and asked for terminal.example"));
        let served = tokio::spawn(echo(stream));
        assert_eq!(client.exchange(b"hello").await, (b"hello".to_vec(), true));
        drop(served);
    }
}

#[tokio::test]
async fn keys_can_wait_for_their_connection() {
    let world = World::new(Peer::Echo).await;
    let (_agent, mut listener, at) = listening(&world).await;
    // A port that nobody has connected from yet.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut keys = Client::connect(1, at).await.keys;
    keys.binding.remote = socket.local_addr().unwrap();
    world.push(&keys);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let tcp = socket.connect(at).await.unwrap();
    let stream = listener.accept().await.unwrap();
    assert_eq!(stream.addresses().unwrap().1, tcp.local_addr().unwrap());
}

#[tokio::test]
async fn all_that_the_gateway_had_read_already_is_there() {
    let world = World::new(Peer::Echo).await;
    let (_agent, mut listener, at) = listening(&world).await;
    let mut client = Client::connect(1, at).await;
    for words in [&b"one "[..], b"two ", b"three"] {
        client.session.seal(Instant::from_micros(0), words, &mut client.keys.prefix).unwrap();
    }
    client.session.close(&mut client.keys.prefix).unwrap();
    world.push(&client.keys);
    let mut heard = Vec::new();
    let mut stream = listener.accept().await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut heard)).await;
    read.expect("nothing more comes over TCP").unwrap();
    assert_eq!(heard, b"one two three");
}

#[tokio::test]
async fn each_connection_gets_its_own_keys() {
    let world = World::new(Peer::Echo).await;
    let (_agent, mut listener, at) = listening(&world).await;
    let mut clients = Vec::new();
    for number in 1..=20 {
        clients.push(Client::connect(number, at).await);
    }
    clients.iter().rev().for_each(|client| world.push(&client.keys));
    tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    for (number, client) in clients.into_iter().enumerate() {
        let words = sample(1000 + number);
        assert!(client.exchange(&words).await == (words, true), "{number}");
    }
}

#[tokio::test]
async fn a_connection_without_keys_is_closed() {
    let world = World::new(Peer::Echo).await;
    let (_agent, _listener, at) = listening(&world).await;
    let mut stranger = TcpStream::connect(at).await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(stranger.read(&mut [0]).await.unwrap_or(0), 0);
    assert!((9..=12).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn more_strangers_than_it_holds_push_out_the_oldest() {
    let world = World::new(Peer::Echo).await;
    let (_agent, mut listener, at) = listening(&world).await;
    let mut oldest = TcpStream::connect(at).await.unwrap();
    let mut strangers = Vec::new();
    for _ in 0..64 {
        strangers.push(TcpStream::connect(at).await.unwrap());
    }
    let closed = tokio::time::timeout(Duration::from_secs(5), oldest.read(&mut [0])).await;
    assert_eq!(closed.unwrap().unwrap_or(0), 0);
    let client = Client::connect(1, at).await;
    world.push(&client.keys);
    listener.accept().await.unwrap();
}

#[tokio::test]
async fn a_listener_that_is_dropped_tells_the_gateway() {
    let mut world = World::new(Peer::Echo).await;
    let (_agent, listener, at) = listening(&world).await;
    drop(listener);
    assert_eq!(world.announced.recv().await.unwrap(), (at.port(), 60));
    assert_eq!(world.announced.recv().await.unwrap(), (at.port(), 0));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(at).await.is_err());
}

#[tokio::test]
async fn peers_are_joined_with_a_service() {
    let world = World::new(Peer::Echo).await;
    let (_agent, mut listener, at) = listening(&world).await;
    let service = shouting_service().await;
    let client = Client::connect(1, at).await;
    world.push(&client.keys);
    let stream = listener.accept().await.unwrap();
    tokio::spawn(forward_to(service.to_string(), stream));
    assert_eq!(client.exchange(b"quiet").await, (b"QUIET".to_vec(), true));
}

#[tokio::test]
async fn the_control_socket_listens_too() {
    let world = World::new(Peer::Echo).await;
    let config = world.config();
    tokio::spawn(Control::bind(&config.control).unwrap().run(world.agent().await));
    let service = shouting_service().await;
    let mut control = ControlClient::reach(&config.control).await.unwrap();
    let at = control.listen(0, &ListenOptions::default(), Some(service.to_string())).await.unwrap()[0];
    for number in 1..=2 {
        let client = Client::connect(number, at).await;
        world.push(&client.keys);
        assert!(control.accepted(|_, _| ()).await.unwrap().contains("which proved nothing"));
        assert_eq!(client.exchange(b"quiet").await, (b"QUIET".to_vec(), true));
    }

    let mut control = ControlClient::reach(&config.control).await.unwrap();
    let at = control.listen(0, &ListenOptions::default(), None).await.unwrap()[0];
    let client = Client::connect(3, at).await;
    world.push(&client.keys);
    control.accepted(|_, _| ()).await.unwrap();
    let peer = tokio::spawn(client.exchange(b"to standard output"));
    let mut received = Vec::new();
    control.pipe(&b"from standard input"[..], &mut received).await.unwrap();
    assert_eq!(received, b"to standard output");
    assert_eq!(peer.await.unwrap(), (b"from standard input".to_vec(), true));
}

#[tokio::test]
async fn a_pipe_for_the_first_peer() {
    let world = World::new(Peer::Echo).await;
    let (_agent, mut listener, at) = listening(&world).await;
    let client = Client::connect(1, at).await;
    world.push(&client.keys);
    let stream = listener.accept().await.unwrap();
    let peer = tokio::spawn(client.exchange(b"up"));
    let mut received = Vec::new();
    pipe(stream, &b"down"[..], &mut received).await.unwrap();
    assert_eq!((received, peer.await.unwrap()), (b"up".to_vec(), (b"down".to_vec(), true)));
}

/// Answers with capital letters once its client has closed its direction.
async fn shouting_service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut heard = Vec::new();
            tcp.read_to_end(&mut heard).await.unwrap();
            tcp.write_all(&heard.to_ascii_uppercase()).await.unwrap();
        }
    });
    at
}
