//! Sockets, bound the way the gateway must see them.

use super::error::{AgentError, Blame};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpSocket, UdpSocket};

/// The unspecified address of `like`'s family.
pub(super) fn any(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

pub(super) async fn udp_to(gateway: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((any(gateway.ip()), 0)).await?;
    socket.connect(gateway).await?;
    Ok(socket)
}

pub(super) fn bind(address: IpAddr, port: u16) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(address, port))?;
    Ok(socket)
}

/// The bound socket, or one of the answer's family on the same port.
pub(super) fn socket_for(socket: TcpSocket, port: u16, remote: SocketAddr) -> Result<TcpSocket, AgentError> {
    let bound = socket.local_addr().map_err(no_socket)?;
    if bound.is_ipv4() == remote.is_ipv4() {
        return Ok(socket);
    }
    drop(socket);
    bind(any(remote.ip()), port).map_err(no_socket)
}

pub(super) fn no_socket(error: std::io::Error) -> AgentError {
    AgentError::new(
        Blame::Terminal,
        format!("no TCP socket: {error}; wait for connections to end, or raise the limits"),
    )
}
