//! The gateway's side of the channel: one UDP socket for each listen address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::gateway::Input;
use crate::terminals::Path;

/// No channel datagram is longer: blocks are 512 bytes, and hand-overs fit beside them.
const LONGEST_DATAGRAM: usize = 2048;

/// The sockets of the channel.
pub struct Channel {
    sockets: Vec<(SocketAddr, Arc<UdpSocket>)>,
}

impl Channel {
    /// Binds every listen address and reports each datagram to `inputs`.
    ///
    /// # Errors
    /// An address is taken or not the host's; the address is named.
    pub async fn open(listen: &[SocketAddr], inputs: &mpsc::Sender<Input>) -> io::Result<Self> {
        let mut sockets = Vec::with_capacity(listen.len());
        for address in listen {
            let socket = UdpSocket::bind(address)
                .await
                .map_err(|error| io::Error::new(error.kind(), format!("channel address {address}: {error}")))?;
            let socket = Arc::new(socket);
            tokio::spawn(receive(Arc::clone(&socket), *address, inputs.clone()));
            sockets.push((*address, socket));
        }
        Ok(Self { sockets })
    }

    /// Sends a datagram. One that cannot be sent now is lost, as on any network; CoAP repeats it.
    pub fn send(&self, path: Path, bytes: &[u8]) {
        let socket = self.sockets.iter().find(|(address, _)| *address == path.local);
        if let Some((_, socket)) = socket
            && let Err(error) = socket.try_send_to(bytes, path.remote)
        {
            tracing::debug!(%error, "channel datagram not sent");
        }
    }
}

async fn receive(socket: Arc<UdpSocket>, local: SocketAddr, inputs: mpsc::Sender<Input>) {
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, remote)) => {
                let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                if inputs.send(Input::Datagram { path: Path { remote, local }, bytes }).await.is_err() {
                    return;
                }
            }
            // An ICMP error of an earlier send shows up here and says nothing about the socket.
            Err(error) => tracing::trace!(%error, "channel receive"),
        }
    }
}
