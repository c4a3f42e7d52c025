//! New connections to an upstream.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use local_limits::{is_local_limit, spare_descriptor};
use pool_registry_types::HttpUrl;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpStream, lookup_host};

/// Connects to the first address of `target` that accepts.
///
/// `send` is given each socket at once, before anybody has said that it is connected: on loopback
/// the handshake is over when the system call returns, and a request that goes out right away need
/// not wait for the runtime to learn that. Elsewhere it fails, with [`io::ErrorKind::WouldBlock`],
/// and nothing is lost.
pub(crate) async fn connect(
    target: &HttpUrl,
    mut send: impl FnMut(&Socket) -> io::Result<()>,
) -> io::Result<TcpStream> {
    let (host, port) = (target.host(), target.port());
    if let Ok(ip) = host.parse::<IpAddr>() {
        return open(SocketAddr::new(ip, port), &mut send).await;
    }
    let addresses: Vec<SocketAddr> = if host.eq_ignore_ascii_case("localhost") {
        // Resolved without asking anybody (RFC 6761, section 6.3). IPv4 first: engines bind
        // 127.0.0.1.
        let loopback = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        loopback.map(|ip| SocketAddr::new(ip, port)).to_vec()
    } else {
        match lookup_host((host, port)).await {
            Ok(addresses) => addresses.collect(),
            Err(error) => return Err(spare_descriptor().err().unwrap_or(error)),
        }
    };
    let mut why = None;
    for address in addresses {
        match open(address, &mut send).await {
            Ok(stream) => return Ok(stream),
            Err(error) if ends_the_search(&error) => return Err(error),
            Err(error) => why = Some(graver(why, error)),
        }
    }
    Err(why.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

/// Whether this process cannot try the other addresses either. A local address may be missing for
/// one family only.
fn ends_the_search(error: &io::Error) -> bool {
    is_local_limit(error) && error.kind() != io::ErrorKind::AddrNotAvailable
}

/// The one of two failures that says more about the target: that this machine has no address of a
/// family, as where IPv6 is off, says nothing.
fn graver(earlier: Option<io::Error>, later: io::Error) -> io::Error {
    match earlier {
        Some(earlier) if is_local_limit(&later) => earlier,
        _ => later,
    }
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
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
            return Err(error);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn system(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    // spec: PATH-41
    #[test]
    fn a_missing_family_of_addresses_hides_no_refusal() {
        let why = [Errno::CONNREFUSED, Errno::ADDRNOTAVAIL].map(system);
        let why = why
            .into_iter()
            .fold(None, |why, error| Some(graver(why, error)));
        assert_eq!(why.unwrap().kind(), io::ErrorKind::ConnectionRefused);
        assert!(!ends_the_search(&system(Errno::ADDRNOTAVAIL)));
        assert!(!ends_the_search(&system(Errno::CONNREFUSED)));
        assert!(ends_the_search(&system(Errno::MFILE)));
    }
}
