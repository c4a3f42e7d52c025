//! One connection: asks, reads the whole answer, asks again.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Instant,
};

use tls_config::rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use crate::answer::{Fault, Parser, Progress};

/// The name that certificates of servers must have.
const SERVER_NAME: &str = "localhost";

/// What there was to read.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// Nothing yet.
    Nothing,
    /// A piece of the answer; `first` when the body begins in it.
    Piece { progress: Progress, first: bool },
    /// Something that makes the connection useless.
    Fault(Fault),
}

/// Where connections go, and how.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// `None` for plain HTTP.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

pub(crate) struct Connection {
    target: Target,
    pub(crate) stream: Stream,
    pub(crate) parser: Parser,
    /// When the request was sent whose answer has not ended.
    pub(crate) sent: Option<Instant>,
    body_began: bool,
}

impl Connection {
    pub(crate) fn open(target: Target, parser: Parser) -> io::Result<Self> {
        Ok(Self {
            stream: Stream::connect(&target)?,
            target,
            parser,
            sent: None,
            body_began: false,
        })
    }

    /// Leaves the old connection for a new one.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.sent = None;
        self.stream = Stream::connect(&self.target)?;
        Ok(())
    }

    /// Asks. Requests are small and the last one has been answered, so the send buffer takes it at
    /// once.
    pub(crate) fn send(&mut self, request: &[u8], now: Instant) -> io::Result<()> {
        self.parser.reset();
        self.body_began = false;
        self.sent = Some(now);
        let written = self.stream.write(request)?;
        if written == request.len() {
            Ok(())
        } else {
            Err(io::Error::other("the request did not fit the send buffer"))
        }
    }

    /// Reads once. A connection with more data is ready again in the next poll.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Arrival {
        let piece = match self.stream.read(buffer) {
            Ok(0) => return Arrival::Fault(Fault::Cut),
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return Arrival::Nothing;
            }
            Err(_) => return Arrival::Fault(Fault::Cut),
        };
        match self.parser.feed(piece) {
            Ok(progress) => {
                let first = progress.body > 0 && !self.body_began;
                self.body_began |= first;
                Arrival::Piece { progress, first }
            }
            Err(fault) => Arrival::Fault(fault),
        }
    }
}

impl Stream {
    /// Connects and waits for it, and for the handshake: on the way to a loopback address this
    /// takes microseconds, and it happens before the clock runs.
    fn connect(target: &Target) -> io::Result<Self> {
        let mut stream = TcpStream::connect(target.address)?;
        stream.set_nodelay(true)?;
        let Some(config) = &target.tls else {
            stream.set_nonblocking(true)?;
            return Ok(Self::Plain(stream));
        };
        let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
        let mut session =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        stream.set_nonblocking(true)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(session, stream))))
    }

    /// Takes all that has arrived if `buffer` has room for a record: nothing stays behind in a
    /// TLS session, where no poll would tell of it.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => {
                let written = stream.write(bytes)?;
                stream.flush()?;
                Ok(written)
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.sock.as_fd(),
        }
    }
}
