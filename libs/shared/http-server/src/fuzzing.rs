//! Entry points for the fuzz targets: the JSON reader of control routes, the decoder of bodies, and
//! the reader that tells TLS from HTTP. Not a part of the API.

use std::{
    collections::VecDeque,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::Instant,
};

use crate::{
    ApiError, BodyError, Limits, content_coding, extract,
    observed_io::ObservedIo,
    permits::ConnectionPermits,
    phase::{ConnectionState, Interruption},
};

/// Decodes a body like [`RequestBody::read_decoded`](crate::RequestBody::read_decoded).
///
/// # Errors
/// When it cannot be decoded, or has more than `cap` bytes then.
pub fn decode(headers: &HeaderMap, body: Bytes, cap: usize) -> Result<Bytes, BodyError> {
    let coding = content_coding::coding(headers)?;
    let mut decoding = pin!(content_coding::decode(coding, body, cap));
    // It waits for nothing; it only lets other tasks have their turn.
    loop {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(decoded) = decoding.as_mut().poll(&mut context) {
            return decoded;
        }
    }
}

/// Parses a body like [`ApiJson`](crate::ApiJson).
///
/// # Errors
/// The message for the client.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    extract::read_json(body)
}

/// What the reader of a connection made of its bytes.
#[derive(Debug)]
pub struct Beginning {
    /// A TLS handshake begins.
    pub is_tls: bool,
    /// What HTTP got to read.
    pub by_http: Vec<u8>,
    /// What is kept for the handshake.
    pub for_tls: Vec<u8>,
}

/// Reads `bytes` as a connection on a port with TLS does, to its end or to the beginning of a
/// handshake. They arrive in pieces of `sizes`, and the rest at once.
#[must_use]
pub fn first_bytes(bytes: &[u8], sizes: &[u8], buffer: usize) -> Beginning {
    let mut pieces = VecDeque::new();
    let mut rest = bytes;
    for size in sizes {
        let (piece, behind) = rest.split_at(usize::from(*size).min(rest.len()));
        pieces.push_back(piece.to_vec());
        rest = behind;
    }
    pieces.push_back(rest.to_vec());
    pieces.retain(|piece| !piece.is_empty());
    let mut beginning = Beginning {
        is_tls: false,
        by_http: Vec::new(),
        for_tls: Vec::new(),
    };
    // There is one permit for one connection.
    let Some(acquired) = ConnectionPermits::new(&Limits::DEFAULT).acquire() else {
        return beginning;
    };
    let state = ConnectionState::new(Instant::now(), acquired.permit.shared());
    let state = Arc::new(state);
    let mut io = ObservedIo::new(Pieces(pieces), Arc::clone(&state)).or_tls(true);
    let mut buffer = vec![0; buffer];
    loop {
        let mut read = ReadBuf::new(&mut buffer);
        let mut context = Context::from_waker(Waker::noop());
        let result = Pin::new(&mut io).poll_read(&mut context, &mut read);
        beginning.by_http.extend_from_slice(read.filled());
        beginning.is_tls = state.interruption() == Some(Interruption::TlsBegins);
        if beginning.is_tls || result.is_pending() || read.filled().is_empty() {
            break;
        }
    }
    beginning.for_tls = io.into_parts().1.to_vec();
    beginning
}

/// Bytes that arrive in pieces.
struct Pieces(VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(piece) = self.0.front_mut() {
            let count = piece.len().min(buf.remaining());
            buf.put_slice(piece.drain(..count).as_slice());
            if piece.is_empty() {
                self.0.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}
