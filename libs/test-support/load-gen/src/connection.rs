//! One connection: asks, reads the whole answer, asks again.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use crate::answer::{Fault, Parser, Progress};

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

pub(crate) struct Connection {
    target: SocketAddr,
    pub(crate) stream: TcpStream,
    pub(crate) parser: Parser,
    /// When the request was sent whose answer has not ended.
    pub(crate) sent: Option<Instant>,
    body_began: bool,
}

impl Connection {
    pub(crate) fn open(target: SocketAddr, parser: Parser) -> io::Result<Self> {
        Ok(Self {
            target,
            stream: connect(target)?,
            parser,
            sent: None,
            body_began: false,
        })
    }

    /// Leaves the old connection for a new one.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.sent = None;
        self.stream = connect(self.target)?;
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

/// Connects and waits for it: on the way to a loopback address this takes microseconds, and it
/// happens before the clock runs.
fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
