//! The TLS handshake of a connection, and whether plain HTTP is served beside it.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BytesMut};
use tls_config::ServerTls;
use tls_stream::Accepted;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    PeerAddr,
    driver::{ConnectionEnd, Driven, Driver},
    observed_io::ObservedIo,
};

/// Who is served without TLS, where TLS is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlainHttp {
    /// Peers on this machine; others get 403. A token that another machine sent in clear text
    /// should not work, so that the mistake is noticed.
    #[default]
    FromLoopback,
    /// All peers.
    FromAnywhere,
}

impl PlainHttp {
    /// Whether requests of `peer` are refused.
    pub(crate) fn refuses(self, peer: PeerAddr) -> bool {
        self == Self::FromLoopback && !peer.0.ip().is_loopback()
    }
}

/// Accepts the handshake whose beginning `io` has read.
///
/// A handshake counts as the header of a request: it has the same deadline, and an unfinished one
/// is an unauthenticated connection.
pub(crate) async fn accept<Io>(
    driver: &mut Driver,
    io: ObservedIo<Io>,
    tls: &ServerTls,
) -> ConnectionEnd<io::Result<Accepted<Replayed<Io>>>>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    driver.state.on_handshake();
    let (io, ahead) = io.into_parts();
    let tls = tls.clone();
    let accept = async move { tls_stream::accept(&tls, Replayed { io, ahead }).await };
    driver.drive(&mut Handshake(Some(Box::pin(accept)))).await
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// `None` when it is abandoned.
struct Handshake<T>(Option<BoxFuture<io::Result<T>>>);

impl<T> Driven for Handshake<T> {
    type Output = io::Result<T>;

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match &mut self.0 {
            Some(accept) => accept.as_mut().poll(cx),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    }

    /// There is no request yet that could be finished.
    fn finish(&mut self) {
        self.0 = None;
    }
}

/// A socket of which some bytes were read already.
#[derive(Debug)]
pub(crate) struct Replayed<Io> {
    io: Io,
    ahead: BytesMut,
}

impl<Io: AsyncRead + Unpin> AsyncRead for Replayed<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..count).unwrap_or_default());
        self.ahead.advance(count);
        if self.ahead.is_empty() {
            // Free the buffer.
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Replayed<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
