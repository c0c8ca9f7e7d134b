//! The command `keyferry-terminal`: what it prints and how it exits.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod loopback;

use loopback::{Client, Peer, World, sample};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

fn start(config: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_keyferry-terminal"))
        .arg("--config")
        .arg(config)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts")
}

/// Runs the command to its end beside the gateway's task.
async fn run(config: &Path, arguments: &[&str], input: Vec<u8>) -> Output {
    let mut child = start(config, arguments);
    let mut stdin = child.stdin.take().expect("piped");
    // A command that ends early closes its standard input.
    std::thread::spawn(move || drop(stdin.write_all(&input)));
    tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn write_private(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

fn configured(world: &World) -> (PathBuf, String) {
    let path = world.directory.path().join("t.toml");
    write_private(&path, &world.file());
    (path, format!("peer.example:{}", world.peer.port()))
}

#[tokio::test]
async fn connect_is_a_pipe() {
    let world = World::new(Peer::Echo).await;
    let (config, target) = configured(&world);
    let output = run(&config, &["connect", &target], sample(300_000)).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stdout == sample(300_000));
    assert!(text(&output.stderr).contains("which proved to be peer.example"));
    let output = run(&config, &["connect", "--quiet", &target], b"x".to_vec()).await;
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[tokio::test]
async fn connect_assisted_is_one_too() {
    let world = World::new(Peer::Assisted).await;
    let (config, target) = configured(&world);
    let output = run(&config, &["connect", "--assisted", &target], sample(100_000)).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stdout == sample(100_000));
}

/// The command `listen`, and where it listens.
async fn start_listen(config: &Path, arguments: &[&str]) -> (Child, BufReader<ChildStderr>, SocketAddr) {
    let mut child = start(config, &[&["listen", "0"], arguments].concat());
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (line, stderr) = next_line(stderr).await;
    let at = line.trim_end().rsplit_once(' ').unwrap().1.parse().expect("an address at the end of the line");
    (child, stderr, at)
}

/// A line of standard error, read beside the gateway's task.
async fn next_line(mut stderr: BufReader<ChildStderr>) -> (String, BufReader<ChildStderr>) {
    let read = move || {
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        (line, stderr)
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test]
async fn listen_is_a_pipe_for_the_first_peer() {
    let world = World::new(Peer::Echo).await;
    let (config, _) = configured(&world);
    let (mut child, stderr, at) = start_listen(&config, &[]).await;
    child.stdin.take().unwrap().write_all(b"from the terminal").unwrap();
    let client = Client::connect(1, at).await;
    world.push(&client.keys);
    let (line, _stderr) = next_line(stderr).await;
    assert!(line.contains("which proved nothing and asked for terminal.example; TLS 1.3"), "{line}");
    assert_eq!(client.exchange(b"from the peer").await, (b"from the terminal".to_vec(), true));
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "from the peer".into()));
}

#[tokio::test]
async fn listen_forwards_to_a_service() {
    let world = World::new(Peer::Echo).await;
    let (config, _) = configured(&world);
    let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = service.local_addr().unwrap().to_string();
    let (mut child, _stderr, at) = start_listen(&config, &["--forward", &target]).await;
    for number in 1..=2 {
        let client = Client::connect(number, at).await;
        world.push(&client.keys);
        let peer = tokio::spawn(client.exchange(b"question"));
        let (mut tcp, _) = service.accept().await.unwrap();
        let mut heard = Vec::new();
        tcp.read_to_end(&mut heard).await.unwrap();
        tcp.write_all(b"answer").await.unwrap();
        drop(tcp);
        assert_eq!((heard, peer.await.unwrap()), (b"question".to_vec(), (b"answer".to_vec(), true)));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_running_agent_serves_connect_and_status() {
    let world = World::new(Peer::Echo).await;
    let (config, target) = configured(&world);
    let mut daemon = start(&config, &["run"]);
    while !world.config().control.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let output = run(&config, &["connect", &target], sample(100_000)).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stdout == sample(100_000));
    let output = run(&config, &["status", "--json"], Vec::new()).await;
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(status["round_trip_ms"].is_f64(), "{status}");
    assert_eq!((&status["sessions_total"], &status["bytes_sent"]), (&1.into(), &100_000.into()));
    let output = run(&config, &["status"], Vec::new()).await;
    assert!(text(&output.stdout).contains("answers in"), "{}", text(&output.stdout));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[tokio::test]
async fn exit_codes_say_whose_fault_it_was() {
    for (peer, code, message) in [
        (Peer::Truncate, 5, "close_notify"),
        (Peer::Expired, 3, "certificate-expired"),
        (Peer::WrongKeys, 4, "gateway's fault"),
    ] {
        let world = World::new(peer).await;
        let (config, target) = configured(&world);
        let output = run(&config, &["connect", &target], Vec::new()).await;
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
    }
}

#[tokio::test]
async fn a_silent_gateway_is_exit_code_4() {
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut world = World::new(Peer::Echo).await;
    world.gateway = nobody.local_addr().unwrap();
    let (config, target) = configured(&world);
    let output = run(&config, &["connect", &target], Vec::new()).await;
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("the gateway does not answer"), "{}", text(&output.stderr));
    let output = run(&config, &["status"], Vec::new()).await;
    assert_eq!(output.status.code(), Some(4));
}

#[tokio::test]
async fn mistakes_are_explained() {
    let world = World::new(Peer::Echo).await;
    let (config, _) = configured(&world);
    let output = run(&config, &["connect", "peer.example"], Vec::new()).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("HOST:PORT"));
    write_private(&config, &world.file().replace("gateway = ", "gatway = "));
    let output = run(&config, &["status"], Vec::new()).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("t.toml:2: unknown field"), "{}", text(&output.stderr));
    let output = run(Path::new("/nonexistent.toml"), &["status"], Vec::new()).await;
    assert!(text(&output.stderr).contains("--config"), "{}", text(&output.stderr));
    let output = run(&config, &["-h"], Vec::new()).await;
    assert!(text(&output.stdout).contains("EXAMPLE"));
}
