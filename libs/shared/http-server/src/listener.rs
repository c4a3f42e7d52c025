//! Sources of connections.

use std::{
    io,
    net::SocketAddr,
    task::{Context, Poll, ready},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// The backlog of connections in the kernel. A burst of clients that reconnect after a restart
/// fits; the kernel reduces it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A source of connections: TCP, or anything with the same shape in tests.
pub trait Listener: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection and its peer.
    ///
    /// # Errors
    /// As `accept(2)`: an error concerns one connection, or a temporary lack of resources. The
    /// server continues.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Io, SocketAddr)>>;
}

/// A TCP listener whose connections send each token at once.
#[derive(Debug)]
pub struct TcpListener(tokio::net::TcpListener);

impl TcpListener {
    /// Takes a listening, non-blocking socket.
    ///
    /// # Errors
    /// When the runtime cannot register it.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O driver enabled.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        tokio::net::TcpListener::from_std(listener).map(Self)
    }
}

impl Listener for TcpListener {
    type Io = TcpStream;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let (stream, peer) = ready!(self.0.poll_accept(cx))?;
        // Nagle's algorithm would delay a token until the last one is acknowledged.
        stream.set_nodelay(true)?;
        Poll::Ready(Ok((stream, peer)))
    }
}

/// Listens on `addr`; port 0 lets the system choose.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // So that a restart need not wait for old connections to time out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
