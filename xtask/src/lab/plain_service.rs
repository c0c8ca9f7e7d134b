//! A plain TCP service on a host, in threads of this process: what a terminal has behind its TLS.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Host, Lab};

/// A running service; it stops accepting when dropped.
#[derive(Debug)]
pub struct PlainService {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

/// What a connection is answered with.
#[derive(Clone, Copy)]
enum Behaviour {
    Page(&'static str),
    Echo,
}

impl PlainService {
    /// A web server on 127.0.0.1 of the host whose every page is this one.
    pub fn page(lab: &Lab, host: Host, page: &'static str) -> Result<Self> {
        Self::start(lab, host, Behaviour::Page(page))
    }

    /// Gives every byte back, until the other end closes.
    pub fn echo(lab: &Lab, host: Host) -> Result<Self> {
        Self::start(lab, host, Behaviour::Echo)
    }

    /// Where it listens, on a port of its own.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn start(lab: &Lab, host: Host, behaviour: Behaviour) -> Result<Self> {
        let listener = lab.enter(host, || TcpListener::bind("127.0.0.1:0"))?.context("listening on 127.0.0.1")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let acceptor = thread::spawn({
            let stop = Arc::clone(&stop);
            move || accept(&listener, behaviour, &stop)
        });
        Ok(Self { address, stop, acceptor: Some(acceptor) })
    }
}

impl Drop for PlainService {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, behaviour: Behaviour, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            // How a connection ends is the test's to judge, at the other end.
            Ok((stream, _)) => drop(thread::spawn(move || serve(stream, behaviour))),
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn serve(mut stream: TcpStream, behaviour: Behaviour) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    match behaviour {
        Behaviour::Page(page) => {
            let mut request: Vec<u8> = Vec::new();
            let mut piece = [0; 1024];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let length = stream.read(&mut piece)?;
                if length == 0 {
                    return Ok(());
                }
                request.extend(piece.iter().take(length));
            }
            let length = page.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all(format!("{head}{page}").as_bytes())?;
        }
        Behaviour::Echo => {
            let mut from = stream.try_clone()?;
            std::io::copy(&mut from, &mut stream)?;
        }
    }
    stream.shutdown(Shutdown::Write)?;
    // What still comes is read: a close before it would be a reset.
    std::io::copy(&mut stream, &mut std::io::sink())?;
    Ok(())
}
