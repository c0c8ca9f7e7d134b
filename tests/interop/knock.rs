//! Plain sockets of a host, with a source address of one's choice: what a terminal may not send, and what may
//! not come to it.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;
use socket2::{Domain, Protocol, Socket, Type};
use xtask::lab::{Host, Lab};

/// How long a connection may take that is expected to fail.
pub const SILENCE: Duration = Duration::from_millis(1500);

/// Opens TCP and says something.
pub fn tcp(lab: &Lab, host: Host, from: IpAddr, to: SocketAddr) -> Result<io::Result<TcpStream>> {
    lab.enter(host, || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect_timeout(&to.into(), SILENCE)?;
        let mut stream = TcpStream::from(socket);
        stream.write_all(b"knock")?;
        Ok(stream)
    })
}

/// Sends a datagram.
pub fn udp(lab: &Lab, host: Host, from: IpAddr, to: SocketAddr) -> Result<()> {
    let sent = lab.enter(host, || {
        let socket = std::net::UdpSocket::bind(SocketAddr::new(from, 0))?;
        socket.send_to(b"knock", to)
    })?;
    sent?;
    Ok(())
}

/// Sends an ICMP echo request.
pub fn ping(lab: &Lab, host: Host, from: IpAddr, to: IpAddr) -> Result<()> {
    // Type, code, checksum, identifier, number; the kernel writes the checksum of ICMPv6.
    let (protocol, request) = match to {
        IpAddr::V4(_) => (Protocol::ICMPV4, [8, 0, 0xf7, 0xfd, 0, 1, 0, 1]),
        IpAddr::V6(_) => (Protocol::ICMPV6, [128, 0, 0, 0, 0, 1, 0, 1]),
    };
    let to = SocketAddr::new(to, 0);
    let sent = lab.enter(host, || {
        let socket = Socket::new(Domain::for_address(to), Type::RAW, Some(protocol))?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.send_to(&request, &to.into())
    })?;
    sent?;
    Ok(())
}
