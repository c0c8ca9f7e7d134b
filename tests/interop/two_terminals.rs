//! Two terminals with many sessions to one peer at once: each gets its own bytes and nobody else's keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keyferry_terminal::agent::{self, ConnectOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;
use xtask::lab::{Agent, GatewayOptions, Host, Lab, LabOptions, RustlsOptions, RustlsPeer, SERVER_NAME};

use crate::harness;

/// Of each terminal, all open at the same time.
const SESSIONS: usize = 500;

/// Handshakes of one terminal at the same time: half of what its channel takes.
const AT_ONCE: usize = 32;
const LIMITS: &str = "handshake_seconds = 30\nhandshakes_per_second = 10000\npending_per_terminal = 64";

#[test]
#[ignore = "needs network namespaces"]
fn each_session_carries_its_own_bytes() -> Result<()> {
    let network = LabOptions { second_terminal: true, ..LabOptions::PLAIN };
    let options = GatewayOptions { limits: LIMITS, ..GatewayOptions::default() };
    harness::with(network, options, |world| {
        let server = RustlsPeer::start(&world.lab, &world.leaf()?, RustlsOptions::default())?;
        let other = world.gateway.add_terminal(&world.lab, "sensor-2", Host::SecondTerminal)?;
        let all_open = Arc::new(Barrier::new(2 * SESSIONS));
        let (mine, others) = std::thread::scope(|scope| {
            let others = scope.spawn(|| many_sessions(&world.lab, &other, &all_open));
            (many_sessions(&world.lab, &world.agent, &all_open), others.join())
        });
        let mut opened = [mine?, others.ok().context("the second terminal panicked")??].concat();
        let mut seen = server.clients();
        opened.sort();
        seen.sort();
        assert!(opened == seen, "the peer saw other connections than the terminals opened");
        assert_eq!(server.failures(), [""; 0]);

        let stats = world.gateway.stats(&world.lab)?;
        assert_eq!(stats["sessions"]["delivered"], 2 * SESSIONS, "{stats}");
        assert_eq!(stats["handshakes"].as_array().map(Vec::len), Some(1), "some failed: {stats}");
        Ok(())
    })
}

/// Opens all sessions of one terminal, waits for those of the other, then uses them all. Answers their near ends.
fn many_sessions(lab: &Lab, terminal: &Agent, all_open: &Arc<Barrier>) -> Result<Vec<SocketAddr>> {
    harness::drive(lab, terminal.host(), || async {
        let agent = harness::start_agent(terminal).await?;
        let (mut sessions, turns) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
        for _ in 0..SESSIONS {
            sessions.spawn(session(agent.clone(), Arc::clone(&turns), Arc::clone(all_open)));
        }
        let mut ends = Vec::new();
        while let Some(session) = sessions.join_next().await {
            let end = session.context("a session panicked")?;
            ends.push(end.with_context(|| terminal.id().to_owned())?);
        }
        Ok(ends)
    })
}

/// Sends what no other session sends, and must get it back.
async fn session(agent: agent::Agent, turns: Arc<Semaphore>, all_open: Arc<Barrier>) -> Result<SocketAddr> {
    let turn = turns.acquire().await?;
    let mut stream = agent.connect(SERVER_NAME, 443, &ConnectOptions::default()).await?;
    drop(turn);
    let (own, _) = stream.addresses()?;
    tokio::time::timeout(Duration::from_secs(60), all_open.wait()).await.context("others do not open")?;
    let message = format!("{own}, ").repeat(200).into_bytes();
    stream.write_all(&message).await?;
    stream.flush().await?;
    let mut echo = vec![0; message.len()];
    stream.read_exact(&mut echo).await?;
    ensure!(echo == message, "another session's bytes: {}", String::from_utf8_lossy(&echo));
    stream.shutdown().await?;
    ensure!(stream.read(&mut [0]).await? == 0, "bytes beyond the echo");
    Ok(own)
}
