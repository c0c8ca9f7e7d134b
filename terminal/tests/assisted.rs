//! Assisted mode on the loopback interface: the handshake's bytes go over the channel, the session's do not.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod loopback;

use keyferry_terminal::agent::{Blame, ConnectOptions, Incoming, ListenOptions, pipe};
use keyferry_terminal::messages::{Reason, Role};
use loopback::{Client, HANDSHAKE, Peer, World, sample};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn options() -> ConnectOptions {
    ConnectOptions { assisted: true, ..ConnectOptions::default() }
}

#[tokio::test]
async fn a_client_carries_the_handshake_and_then_speaks_for_itself() {
    let world = World::new(Peer::Assisted).await;
    let agent = world.agent().await;
    let stream = agent.connect("peer.example", world.peer.port(), &options()).await.unwrap();
    assert_eq!((stream.role(), &*stream.peer().identity), (Role::CLIENT, "peer.example"));
    let (sent, mut received) = (sample(500_000), Vec::new());
    pipe(stream, &sent[..], &mut received).await.unwrap();
    assert!(received == sent);
}

#[tokio::test]
async fn a_server_does_too_and_loses_nothing_behind_the_handshake() {
    let world = World::new(Peer::Echo).await;
    let agent = world.agent().await;
    let options = ListenOptions { assisted: true, ..ListenOptions::default() };
    let mut listener = agent.listen(0, &options).await.unwrap();
    let mut client = Client::connect(1000, listener.addresses()[0]).await;
    client.tcp.write_all(&sample(HANDSHAKE)).await.unwrap();
    let mut finished = [0; 8];
    client.tcp.read_exact(&mut finished).await.unwrap();
    assert_eq!(&finished, b"finished");
    let peer = tokio::spawn(client.exchange(b"early"));
    let mut stream = listener.accept().await.unwrap();
    assert_eq!(stream.role(), Role::SERVER);
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    stream.write_all(b"late").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!((heard, peer.await.unwrap()), (b"early".to_vec(), (b"late".to_vec(), true)));
}

#[tokio::test]
async fn a_peer_that_closes_early_is_named_and_hears_the_last_words() {
    let world = World::new(Peer::Echo).await;
    let agent = world.agent().await;
    let options = ListenOptions { assisted: true, ..ListenOptions::default() };
    let mut listener = agent.listen(0, &options).await.unwrap();
    let mut tcp = TcpStream::connect(listener.addresses()[0]).await.unwrap();
    tcp.write_all(b"half a hello").await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut heard = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), tcp.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard, b"alert");
    let Incoming::Failed { client, error } = listener.incoming().await.unwrap() else { panic!("it was served") };
    assert_eq!(client, tcp.local_addr().unwrap());
    assert_eq!((error.blame, error.reason()), (Blame::Peer, Some(Reason::PEER_CLOSED)));
}

#[tokio::test]
async fn a_server_that_goes_away_is_the_peers_fault() {
    let world = World::new(Peer::Echo).await;
    let agent = world.agent().await;
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    tokio::spawn(async move { drop(server.accept().await) });
    let error = agent.connect("peer.example", port, &options()).await.err().unwrap();
    assert_eq!((error.blame, error.reason()), (Blame::Peer, Some(Reason::PEER_CLOSED)));
    let error = agent.connect("peer.example", 1, &options()).await.err().unwrap();
    assert_eq!(error.blame, Blame::Peer, "nobody there: {error}");
}

#[tokio::test]
async fn where_the_peer_is_the_gateway_need_not_know() {
    let world = World::new(Peer::Elsewhere).await;
    let agent = world.agent().await;
    let told = ConnectOptions { address: Some(world.peer.ip()), ..options() };
    let mut stream = agent.connect("peer.example", world.peer.port(), &told).await.unwrap();
    stream.write_all(b"found").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"found");
    let error = agent.connect("peer.example", world.peer.port(), &options()).await.err().unwrap();
    assert_eq!(error.blame, Blame::Terminal);
    assert!(error.message.contains("peer.example") && error.message.contains("--address"), "{error}");
}
