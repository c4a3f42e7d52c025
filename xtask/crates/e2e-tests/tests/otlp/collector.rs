//! A stand-in for a collector: says yes to everything, keeps it, and reads spans out of it.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread,
};

use anyhow::{Context as _, Result, ensure};

/// Listens until the test's process ends.
pub(crate) struct Collector {
    address: SocketAddr,
    received: Receiver<Sent>,
}

/// A request that was received.
pub(crate) struct Sent {
    /// In small letters.
    pub(crate) head: String,
    body: Vec<u8>,
}

/// A span, as far as a test looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: u128,
    pub(crate) id: u64,
    /// 0 when it has none.
    pub(crate) parent: u64,
    /// Those whose values are texts.
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Collector {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (tell, received) = channel();
        thread::spawn(move || {
            // A request that is not understood gets no answer, and its spans are missed by the
            // test.
            for sent in listener
                .incoming()
                .map_while(Result::ok)
                .filter_map(|stream| take(stream).ok())
            {
                if tell.send(sent).is_err() {
                    return;
                }
            }
        });
        Ok(Self { address, received })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether nothing has been sent so far.
    pub(crate) fn is_idle(&self) -> bool {
        self.received.try_recv().is_err()
    }

    /// All that was sent.
    pub(crate) fn received(&self) -> Vec<Sent> {
        self.received.try_iter().collect()
    }
}

/// Reads a request. The answer is sent last, so the request is recorded when the client has it.
fn take(stream: TcpStream) -> Result<Sent> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        ensure!(reader.read_line(&mut head)? > 0, "half a head: {head}");
    }
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1).context("no length")?;
    let length = length.split("\r\n").next().unwrap_or_default().parse()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    reader.get_mut().write_all(answer)?;
    Ok(Sent { head, body })
}

impl Sent {
    /// Whether this text is anywhere in it.
    pub(crate) fn has(&self, text: &str) -> bool {
        self.body
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    }

    /// `ExportTraceServiceRequest` of opentelemetry-proto: of its many fields those that are asked
    /// for here.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for of_resource in all(&self.body, 1) {
            let resource = all(of_resource, 1).next().unwrap_or_default();
            let service = attributes(resource, 1)
                .remove("service.name")
                .unwrap_or_default();
            for span in all(of_resource, 2).flat_map(|of_scope| all(of_scope, 2)) {
                spans.push(Span {
                    service: service.clone(),
                    name: text(span, 5),
                    trace: number(span, 1),
                    id: u64::try_from(number(span, 2)).unwrap_or(0),
                    parent: u64::try_from(number(span, 4)).unwrap_or(0),
                    attributes: attributes(span, 9),
                });
            }
        }
        spans
    }
}

/// The texts, byte strings and messages of a protobuf message that have this field's number.
fn all(message: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    let mut rest = message;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let key = varint(&mut rest)?;
            let (number, wire_type) = (key >> 3, key & 7);
            let length = match wire_type {
                0 => {
                    varint(&mut rest)?;
                    0
                }
                1 => 8,
                2 => usize::try_from(varint(&mut rest)?).ok()?,
                5 => 4,
                _ => return None,
            };
            let value;
            (value, rest) = rest.split_at_checked(length)?;
            if (number, wire_type) == (wanted, 2) {
                return Some(value);
            }
        }
        None
    })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte;
        (byte, *rest) = rest.split_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn text(message: &[u8], field: u64) -> String {
    let bytes = all(message, field).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

/// The `KeyValue`s with texts.
fn attributes(message: &[u8], field: u64) -> BTreeMap<String, String> {
    all(message, field)
        .filter_map(|attribute| Some((text(attribute, 1), text(all(attribute, 2).next()?, 1))))
        .collect()
}

/// A name made of bytes, the first of them the most significant; 0 when there is none.
fn number(message: &[u8], field: u64) -> u128 {
    let bytes = all(message, field).next().unwrap_or_default();
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u128::from(*byte))
}
