//! One connection to an upstream, driven by whoever holds it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use pool_registry_types::HttpUrl;
use tokio::net::TcpStream;

/// The most bytes hyper buffers of an upstream's answer; also bounds what one read can gather.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

type Io = TokioIo<TcpStream>;

/// A connection and its request side, kept together so that no task is needed between them.
#[derive(Debug)]
pub(crate) struct Link {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended; what it had decoded may still be read.
    connection: Option<Connection<Io, Full<Bytes>>>,
}

impl Link {
    /// Connects to the first address of `target` that accepts.
    pub(crate) async fn connect(target: &HttpUrl) -> io::Result<Self> {
        let stream = connect(target.host(), target.port()).await?;
        // A token is a small packet, and waiting to fill it is the opposite of what anybody wants.
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        Ok(Self {
            sender,
            connection: Some(connection),
        })
    }

    /// Sends a request. The answer arrives only while [`Link::drive`] is polled.
    pub(crate) fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        self.sender.send_request(request)
    }

    /// Lets the connection read and write what it can; ready with the reason once it has ended.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Ok(()));
        };
        let ended = std::pin::pin!(connection).poll(cx);
        if ended.is_ready() {
            self.connection = None;
        }
        ended
    }

    /// Whether another request can be sent on it now. Nobody polls an idle connection, so a close by the other
    /// side is noticed here.
    pub(crate) fn is_reusable(&mut self) -> bool {
        let mut unwatched = Context::from_waker(std::task::Waker::noop());
        self.drive(&mut unwatched).is_pending() && self.sender.is_ready()
    }
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return TcpStream::connect(SocketAddr::new(ip, port)).await;
    }
    if host.eq_ignore_ascii_case("localhost") {
        // Resolved without asking anybody (RFC 6761, section 6.3). IPv4 first: engines bind 127.0.0.1.
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return TcpStream::connect(loopback.map(|ip| SocketAddr::new(ip, port)).as_slice()).await;
    }
    TcpStream::connect((host, port)).await
}
