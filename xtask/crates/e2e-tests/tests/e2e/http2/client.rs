//! A client of HTTP/2 that sends any bytes, and judges what comes back.

use std::{
    io::{ErrorKind, Read, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use tls_config::rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use super::frames::{
    ACK, DATA, END_STREAM, GOAWAY, HEADERS, NO_FLAGS, PING, PREFACE, RST_STREAM, SETTINGS, WHOLE,
    frame, get, settings,
};

/// How long the server may take to react.
const SOON: Duration = Duration::from_secs(30);

/// The stream of the request that checks a connection; above those of all cases.
const CHECKED: u32 = 0x7fff_ff01;

/// `:status: 200`, a field of the static table.
const STATUS_200: u8 = 0x88;

/// An error code of RFC 9113, section 7.
pub(super) type Code = u32;

/// What a server does with the bytes of a case.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    /// It takes them, and the connection goes on.
    Served,
    /// It resets this stream with one of these codes, and the connection goes on.
    Reset(u32, &'static [Code]),
    /// It ends the connection with one of these codes.
    GoAway(&'static [Code]),
    /// It closes the connection without a word: this is not HTTP/2.
    Closed,
}

/// A frame that the server sent.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The error code, which RST_STREAM begins with and GOAWAY has behind a stream.
    fn code(&self) -> Result<Code> {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let code = self
            .payload
            .get(at..at + 4)
            .context("a frame without a code")?;
        Ok(u32::from_be_bytes(code.try_into()?))
    }

    fn ends(&self, stream: u32) -> bool {
        self.stream == stream && matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// A connection over TLS on which HTTP/2 was chosen.
pub(super) struct Connection {
    tls: StreamOwned<ClientConnection, TcpStream>,
}

impl Connection {
    /// Only the TLS handshake.
    pub(super) fn begin(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Self> {
        let name = ServerName::try_from("localhost")?;
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(SOON))?;
        tcp.set_write_timeout(Some(SOON))?;
        tcp.set_nodelay(true)?;
        let mut tls = StreamOwned::new(ClientConnection::new(Arc::clone(config), name)?, tcp);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        ensure!(
            tls.conn.alpn_protocol() == Some(b"h2"),
            "HTTP/2 is not offered"
        );
        Ok(Self { tls })
    }

    /// With the preface and the settings of both sides.
    pub(super) fn open(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Self> {
        let mut connection = Self::begin(address, config)?;
        connection.send(&[PREFACE, &settings(&[])].concat());
        let first = connection.next()?.context("closed before the settings")?;
        ensure!(
            first.kind == SETTINGS && first.flags & ACK == 0,
            "{first:?}"
        );
        connection.send(&frame(SETTINGS, ACK, 0, &[]));
        Ok(connection)
    }

    /// Sends what the server may refuse while it is sent.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let _ = self.tls.write_all(bytes).and_then(|()| self.tls.flush());
    }

    /// The next frame; `None` at the end of the connection.
    pub(super) fn next(&mut self) -> Result<Option<Frame>> {
        let mut head = [0; 9];
        if !self.fill(&mut head)? {
            return Ok(None);
        }
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        ensure!(self.fill(&mut payload)?, "a frame is cut");
        let stream = u32::from_be_bytes(head[5..].try_into()?) & 0x7fff_ffff;
        Ok(Some(Frame {
            kind,
            flags,
            stream,
            payload,
        }))
    }

    /// Whether the connection had so many bytes.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool> {
        match self.tls.read_exact(buffer) {
            Ok(()) => Ok(true),
            Err(error) => match error.kind() {
                ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe => Ok(false),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => bail!("the server does not react"),
                _ => Err(error.into()),
            },
        }
    }

    /// Reads until `is_it` holds for a frame, which is returned.
    pub(super) fn until(&mut self, what: &str, is_it: impl Fn(&Frame) -> bool) -> Result<Frame> {
        loop {
            let next = self
                .next()?
                .with_context(|| format!("closed before {what}"))?;
            if is_it(&next) {
                return Ok(next);
            }
            ensure!(next.kind != GOAWAY, "GOAWAY {} before {what}", next.code()?);
        }
    }

    /// Awaits the end of the response on `stream`; returns its body.
    pub(super) fn response(&mut self, stream: u32) -> Result<(Frame, Vec<u8>)> {
        let of_stream = |frame: &Frame| frame.stream == stream && frame.kind == HEADERS;
        let head = self.until("the response", of_stream)?;
        let mut body = Vec::new();
        let mut is_over = head.ends(stream);
        while !is_over {
            let of_stream = |frame: &Frame| frame.stream == stream && frame.kind == DATA;
            let data = self.until("the end of the response", of_stream)?;
            is_over = data.ends(stream);
            body.extend(data.payload);
        }
        Ok((head, body))
    }

    /// Checks that the server does what is expected.
    pub(super) fn judge(mut self, expected: Expected) -> Result<()> {
        match expected {
            Expected::Served => self.is_served(),
            Expected::Reset(stream, codes) => {
                let is_reset = |frame: &Frame| frame.kind == RST_STREAM && frame.stream == stream;
                let code = self.until("the reset", is_reset)?.code()?;
                ensure!(
                    codes.contains(&code),
                    "reset with {code}, and not {codes:?}"
                );
                self.is_served()
            }
            Expected::GoAway(codes) => {
                let code = loop {
                    let next = self.next()?.context("closed without GOAWAY")?;
                    if next.kind == GOAWAY {
                        break next.code()?;
                    }
                };
                ensure!(codes.contains(&code), "GOAWAY {code}, and not {codes:?}");
                self.closes()
            }
            Expected::Closed => self.closes(),
        }
    }

    fn closes(&mut self) -> Result<()> {
        while self.next()?.is_some() {}
        Ok(())
    }

    /// A ping and a new request are answered.
    fn is_served(&mut self) -> Result<()> {
        self.send(&frame(PING, NO_FLAGS, 0, b"is alive"));
        self.until("the answer to a ping", |frame| {
            frame.kind == PING && frame.flags & ACK != 0 && frame.payload == b"is alive"
        })?;
        self.send(&frame(HEADERS, WHOLE, CHECKED, &get()));
        let (head, body) = self.response(CHECKED)?;
        ensure!(head.payload.first() == Some(&STATUS_200), "{head:?}");
        ensure!(!body.is_empty(), "an empty response");
        Ok(())
    }
}
