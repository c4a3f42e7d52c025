//! New connections to an upstream.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use address_ranges::AddressRanges;
use local_limits::{is_local_limit, spare_descriptor};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

/// When to ask an upstream again that has not answered the first packet of a handshake, and each
/// time twice as long after that. The system asks again after a second only, because a network may
/// be slow. But a server whose queue of new connections is full for a moment drops the packet, and
/// has room again after milliseconds. Doubling leaves a distant server the time to answer: within
/// the usual second, up to 400 ms.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// The same on this machine, where an answer takes no time: without one the queue is full. Short,
/// so that room is used soon, and long enough that a hundred who ask cost little.
const ASK_AGAIN_ON_LOOPBACK: Duration = Duration::from_millis(10);

/// Where to connect.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// A name or an IP address, without the brackets of an IPv6 literal.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// The only addresses that are connected to; `None` for all. Each address that `host` resolves
    /// to is checked, each time: a name may resolve differently the next time.
    pub allowed: Option<&'a AddressRanges>,
}

impl Destination<'_> {
    fn check(&self, ip: IpAddr) -> io::Result<()> {
        let Some(allowed) = self.allowed else {
            return Ok(());
        };
        allowed.check(ip).map_err(|error| {
            let text = format!("{error}; see ORCHESTRATORD_NODE_RANGES");
            io::Error::other(text)
        })
    }
}

/// Connects to the first address of a host that accepts.
///
/// `send` gets each socket before the runtime knows that it is connected. On loopback the handshake
/// is complete when `connect` returns, so the request need not wait for an event. Otherwise `send`
/// fails with [`io::ErrorKind::WouldBlock`], and the request is sent later.
pub(crate) async fn connect(
    destination: Destination<'_>,
    mut send: impl FnMut(&Socket) -> io::Result<()>,
) -> io::Result<TcpStream> {
    let Destination { host, port, .. } = destination;
    if let Ok(ip) = host.parse::<IpAddr>() {
        destination.check(ip)?;
        return open(SocketAddr::new(ip, port), &mut send).await;
    }
    let addresses: Vec<SocketAddr> = if host.eq_ignore_ascii_case("localhost") {
        // Resolve without a resolver (RFC 6761, section 6.3). IPv4 first: most local servers bind
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
    let mut last_error = None;
    for address in addresses {
        if let Err(error) = destination.check(address.ip()) {
            last_error = Some(more_telling(last_error, error));
            continue;
        }
        match open(address, &mut send).await {
            Ok(stream) => return Ok(stream),
            Err(error) if stops_search(&error) => return Err(error),
            Err(error) => last_error = Some(more_telling(last_error, error)),
        }
    }
    Err(last_error
        .unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

/// Whether this process cannot try the other addresses either. A local address may be missing for
/// one address family only.
fn stops_search(error: &io::Error) -> bool {
    is_local_limit(error) && error.kind() != io::ErrorKind::AddrNotAvailable
}

/// The error that says more about the target. That this machine has no address of a family, for
/// example without IPv6, says nothing.
fn more_telling(earlier: Option<io::Error>, later: io::Error) -> io::Error {
    match earlier {
        Some(earlier) if is_local_limit(&later) => earlier,
        _ => later,
    }
}

async fn open(
    address: SocketAddr,
    send: &mut impl FnMut(&Socket) -> io::Result<()>,
) -> io::Result<TcpStream> {
    let (mut wait, factor) = if address.ip().is_loopback() {
        (ASK_AGAIN_ON_LOOPBACK, 1)
    } else {
        (ASK_AGAIN_AFTER, 2)
    };
    loop {
        let (stream, is_connected) = begin(address, send)?;
        if is_connected {
            return Ok(stream);
        }
        if let Ok(connected) = timeout(wait, connected(&stream)).await {
            return connected.map(|()| stream);
        }
        wait = wait.saturating_mul(factor);
    }
}

/// Begins a handshake; the request leaves at once if that completes it.
fn begin(
    address: SocketAddr,
    send: &mut impl FnMut(&Socket) -> io::Result<()>,
) -> io::Result<(TcpStream, bool)> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    // Send small packets at once.
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
        // Mostly a refused connection.
        Err(error) => return Err(error),
    };
    Ok((TcpStream::from_std(socket.into())?, is_connected))
}

async fn connected(stream: &TcpStream) -> io::Result<()> {
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    // spec: PATH-41
    #[test]
    fn a_missing_address_family_hides_no_refused_connection() {
        let errors = [Errno::CONNREFUSED, Errno::ADDRNOTAVAIL].map(system);
        let error = errors
            .into_iter()
            .fold(None, |earlier, error| Some(more_telling(earlier, error)));
        assert_eq!(error.unwrap().kind(), io::ErrorKind::ConnectionRefused);
        assert!(!stops_search(&system(Errno::ADDRNOTAVAIL)));
        assert!(!stops_search(&system(Errno::CONNREFUSED)));
        assert!(stops_search(&system(Errno::MFILE)));
    }
}
