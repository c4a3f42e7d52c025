//! New connections to an upstream.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use pool_registry_types::HttpUrl;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpStream, lookup_host};

/// Connects to the first address of `target` that accepts.
///
/// `send` is given each socket at once, before anybody has said that it is connected: on loopback the handshake is over
/// when the system call returns, and a request that goes out right away need not wait for the runtime to learn that.
/// Elsewhere it fails, with [`io::ErrorKind::WouldBlock`], and nothing is lost.
pub(crate) async fn connect(
    target: &HttpUrl,
    mut send: impl FnMut(&Socket) -> io::Result<()>,
) -> io::Result<TcpStream> {
    let (host, port) = (target.host(), target.port());
    if let Ok(ip) = host.parse::<IpAddr>() {
        return open(SocketAddr::new(ip, port), &mut send).await;
    }
    let addresses: Vec<SocketAddr> = if host.eq_ignore_ascii_case("localhost") {
        // Resolved without asking anybody (RFC 6761, section 6.3). IPv4 first: engines bind 127.0.0.1.
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        loopback.map(|ip| SocketAddr::new(ip, port)).to_vec()
    } else {
        lookup_host((host, port)).await?.collect()
    };
    let mut why = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match open(address, &mut send).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why = error,
        }
    }
    Err(why)
}

async fn open(
    address: SocketAddr,
    send: &mut impl FnMut(&Socket) -> io::Result<()>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    // A token is a small packet, and waiting to fill it is the opposite of what anybody wants.
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => return Err(error),
        _ => {}
    }
    let is_connected = match send(&socket) {
        Ok(()) => true,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
            ) =>
        {
            false
        }
        // Mostly that nobody listens there.
        Err(error) => return Err(error),
    };
    let stream = TcpStream::from_std(socket.into())?;
    if !is_connected {
        stream.writable().await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
    }
    Ok(stream)
}
