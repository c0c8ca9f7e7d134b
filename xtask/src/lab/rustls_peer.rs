//! A TLS server of the lab's own, on rustls, in threads of this process with sockets in the peer's
//! namespace: for what stock servers cannot be told to do.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Host, Lab, Leaf};

/// How the server behaves. It gives every byte back until the client closes.
#[derive(Clone, Debug)]
pub struct RustlsOptions {
    /// Where it listens.
    pub address: IpAddr,
    /// The TCP port.
    pub port: u16,
    /// Sent before everything else, in the same flight as the server's Finished.
    pub greeting: Vec<u8>,
    /// Updates its sending key after this many bytes given back.
    pub key_update_every: Option<usize>,
    /// ALPN protocols it accepts; empty for none.
    pub alpn: Vec<Vec<u8>>,
    /// Cipher suites it accepts, by code point; empty for all that rustls has, of TLS 1.3 and 1.2.
    pub cipher_suites: Vec<u16>,
}

/// A running server; it stops accepting when dropped.
#[derive(Debug)]
pub struct RustlsPeer {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the server noticed.
#[derive(Clone, Debug, Default)]
struct Seen {
    clients: Vec<SocketAddr>,
    failures: Vec<String>,
}

impl Default for RustlsOptions {
    fn default() -> Self {
        Self {
            address: Host::Peer.ipv4().into(),
            port: 443,
            greeting: Vec::new(),
            key_update_every: None,
            alpn: Vec::new(),
            cipher_suites: Vec::new(),
        }
    }
}

impl RustlsPeer {
    /// Starts the server on the peer.
    pub fn start(lab: &Lab, leaf: &Leaf, options: RustlsOptions) -> Result<Self> {
        let config = Arc::new(server_config(leaf, &options)?);
        let address = SocketAddr::new(options.address, options.port);
        let listener =
            lab.enter(Host::Peer, || TcpListener::bind(address))?.with_context(|| format!("listening on {address}"))?;
        listener.set_nonblocking(true)?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let acceptor = thread::spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || accept(&listener, &config, &Arc::new(options), &seen, &stop)
        });
        Ok(Self { seen, stop, acceptor: Some(acceptor) })
    }

    /// The addresses and ports that connections came from.
    pub fn clients(&self) -> Vec<SocketAddr> {
        self.look(|seen| seen.clients.clone())
    }

    /// How connections failed, the client's alerts among them.
    pub fn failures(&self) -> Vec<String> {
        self.look(|seen| seen.failures.clone())
    }

    fn look<T>(&self, question: impl FnOnce(&Seen) -> T) -> T {
        question(&self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

impl Drop for RustlsPeer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn server_config(leaf: &Leaf, options: &RustlsOptions) -> Result<ServerConfig> {
    let mut provider = rustls::crypto::ring::default_provider();
    if !options.cipher_suites.is_empty() {
        let wanted = &options.cipher_suites;
        provider.cipher_suites.retain(|suite| wanted.contains(&suite.suite().into()));
    }
    let chain = CertificateDer::pem_file_iter(&leaf.chain_file)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&leaf.key_file)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(rustls::ALL_VERSIONS)?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols.clone_from(&options.alpn);
    config.send_half_rtt_data = true;
    Ok(config)
}

fn accept(
    listener: &TcpListener,
    config: &Arc<ServerConfig>,
    options: &Arc<RustlsOptions>,
    seen: &Arc<Mutex<Seen>>,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Relaxed) {
        let Ok((stream, client)) = listener.accept() else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let (config, options, seen) = (Arc::clone(config), Arc::clone(options), Arc::clone(seen));
        if let Ok(mut seen) = seen.lock() {
            seen.clients.push(client);
        }
        thread::spawn(move || {
            if let Err(failure) = serve(stream, config, &options)
                && let Ok(mut seen) = seen.lock()
            {
                seen.failures.push(format!("{failure:#}"));
            }
        });
    }
}

/// One connection: the greeting, then an echo until close_notify.
fn serve(mut stream: TcpStream, config: Arc<ServerConfig>, options: &RustlsOptions) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut tls = rustls::ServerConnection::new(config)?;
    // Held back by rustls until it may send, which is right after its Finished.
    tls.writer().write_all(&options.greeting)?;
    let mut since_update = 0_usize;
    loop {
        while tls.wants_write() {
            tls.write_tls(&mut stream)?;
        }
        if tls.read_tls(&mut stream)? == 0 {
            anyhow::bail!("the client closed without close_notify");
        }
        let processed = tls.process_new_packets();
        if let Err(failure) = processed {
            // The alert is the client's to see; that it cannot be sent changes nothing.
            let _ = tls.write_tls(&mut stream);
            return Err(failure.into());
        }
        let (text, closed) = received(&mut tls)?;
        tls.writer().write_all(&text)?;
        since_update = since_update.saturating_add(text.len());
        if options.key_update_every.is_some_and(|limit| since_update >= limit) {
            since_update = 0;
            tls.refresh_traffic_keys()?;
        }
        if closed {
            tls.send_close_notify();
            while tls.wants_write() {
                tls.write_tls(&mut stream)?;
            }
            return Ok(());
        }
    }
}

/// The plaintext at hand, and whether close_notify came behind it.
fn received(tls: &mut rustls::ServerConnection) -> Result<(Vec<u8>, bool)> {
    let mut text = Vec::new();
    match tls.reader().read_to_end(&mut text) {
        Ok(_) => Ok((text, true)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok((text, false)),
        Err(error) => Err(error.into()),
    }
}
