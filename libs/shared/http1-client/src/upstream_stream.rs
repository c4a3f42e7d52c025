//! The socket of a connection, with or without TLS.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
};

use socket2::SockRef;
use tls_config::ClientTls;
use tls_stream::ClientStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A socket, or TLS on one.
#[derive(Debug)]
pub(crate) enum UpstreamStream {
    Plain(TcpStream),
    Tls(Box<ClientStream<MovableSocket>>),
}

impl UpstreamStream {
    /// Begins TLS with `host` on `socket`.
    pub(crate) async fn begin_tls(
        tls: &ClientTls,
        host: &str,
        socket: TcpStream,
    ) -> io::Result<Self> {
        let socket = MovableSocket(Some(socket));
        let stream = tls_stream::connect(tls, host, socket).await?;
        Ok(Self::Tls(Box::new(stream)))
    }

    /// Registers the socket with the current runtime.
    pub(crate) fn move_to_current_runtime(self) -> io::Result<Self> {
        match self {
            Self::Plain(socket) => moved(socket).map(Self::Plain),
            Self::Tls(mut stream) => {
                let (socket, _) = stream.get_mut();
                socket.0 = socket.0.take().map(moved).transpose()?;
                Ok(Self::Tls(stream))
            }
        }
    }

    /// Whether the socket has neither a byte nor the end of the connection to read. A byte may be
    /// of TLS itself; the connection is not used then, which costs a new one.
    pub(crate) fn is_silent(&self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        let socket = match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(stream) => stream.get_ref().0.0.as_ref(),
        };
        let peeked = socket.map(|socket| SockRef::from(socket).peek(&mut byte));
        peeked.is_some_and(|peeked| {
            peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        })
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    /// Sends what TLS still holds. A plain socket holds nothing.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
}

fn moved(socket: TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(socket.into_std()?)
}

/// A socket below TLS that can go to another runtime. It is absent only after a failed move.
#[derive(Debug)]
pub(crate) struct MovableSocket(Option<TcpStream>);

impl MovableSocket {
    fn get(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        let socket = self.0.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Pin::new(socket))
    }
}

impl AsyncRead for MovableSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for MovableSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get()?.poll_shutdown(cx)
    }
}
