//! Reads one answer as it arrives, in pieces of any size, without keeping it.

use memchr::memmem;
use sse::EventCounter;
use thiserror::Error;

/// What ends every complete event stream of the OpenAI interface.
const DONE_EVENT: [u8; 14] = *b"data: [DONE]\n\n";
/// A longer head is not one of ours; real ones have a few hundred bytes.
const HEAD_MAX: usize = 16 * 1024;
/// Hexadecimal digits of a chunk's length that can be believed: 4 GiB and more are a fault.
const SIZE_DIGITS_MAX: u32 = 8;

/// What a whole answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// A body of the promised length.
    Whole,
    /// An event stream that ends with `[DONE]`.
    Stream {
        /// The number of events, `[DONE]` included; `None` for any number.
        events: Option<u64>,
    },
}

/// Why an answer does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// It is no 200.
    #[error("status {0}")]
    Status(u16),
    /// It is not the HTTP that this reader knows.
    #[error("malformed answer: {0}")]
    Malformed(&'static str),
    /// The connection ended before the answer did.
    #[error("the answer was cut off")]
    Cut,
    /// It did not end in time.
    #[error("the answer did not end in time")]
    Late,
    /// The stream ended properly, but without its last event.
    #[error("the stream has no [DONE]")]
    NotDone,
    /// Events were lost or doubled.
    #[error("{got} events instead of {expected}")]
    Events {
        /// How many came.
        got: u64,
        /// How many should have.
        expected: u64,
    },
}

/// What a piece brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of the body.
    pub body: u64,
    /// Events that became complete; 0 for an answer that is no stream.
    pub events: u64,
    /// Whether the answer is complete.
    pub done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Fixed { left: u64 },
    ChunkSize { size: u64, digits: u32 },
    ChunkExtension { size: u64 },
    ChunkData { left: u64 },
    ChunkEnd { left: u8 },
    Trailer { line: usize },
    Done,
}

/// The state of one answer.
#[derive(Debug)]
pub struct Parser {
    expected: Expected,
    state: State,
    head: Vec<u8>,
    keep_alive: bool,
    body: u64,
    events: u64,
    counter: EventCounter,
    tail: [u8; DONE_EVENT.len()],
}

impl Parser {
    /// Ready for the first byte of an answer.
    #[must_use]
    pub fn new(expected: Expected) -> Self {
        Self {
            expected,
            state: State::Head,
            head: Vec::new(),
            keep_alive: true,
            body: 0,
            events: 0,
            counter: EventCounter::default(),
            tail: [0; DONE_EVENT.len()],
        }
    }

    /// Ready for the next answer; keeps what memory it has.
    pub fn reset(&mut self) {
        let head = std::mem::take(&mut self.head);
        *self = Self::new(self.expected);
        self.head = head;
        self.head.clear();
    }

    /// Whether the connection can be used again after this answer.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// When the answer cannot count any more; the connection is then of no use either.
    pub fn feed(&mut self, mut input: &[u8]) -> Result<Progress, Fault> {
        let (body, events) = (self.body, self.events);
        while !input.is_empty() {
            input = self.step(input)?;
        }
        let done = self.state == State::Done;
        if done {
            self.check_whole()?;
        }
        Ok(Progress {
            body: self.body - body,
            events: self.events - events,
            done,
        })
    }

    /// Takes some of `input`, which is not empty, and returns the rest.
    fn step<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], Fault> {
        let (&byte, after) = input.split_first().ok_or(Fault::Cut)?;
        match self.state {
            State::Head => return self.read_head(input),
            State::Fixed { left } => {
                let (rest, left) = self.take_body(input, left);
                self.state = if left == 0 {
                    State::Done
                } else {
                    State::Fixed { left }
                };
                return Ok(rest);
            }
            State::ChunkData { left } => {
                let (rest, left) = self.take_body(input, left);
                self.state = if left == 0 {
                    State::ChunkEnd { left: 2 }
                } else {
                    State::ChunkData { left }
                };
                return Ok(rest);
            }
            State::ChunkSize { size, digits } => self.state = chunk_size(byte, size, digits)?,
            State::ChunkExtension { size } if byte == b'\n' => self.state = after_size(size),
            State::ChunkExtension { .. } => {}
            State::ChunkEnd { left: 2 } if byte == b'\r' => {
                self.state = State::ChunkEnd { left: 1 }
            }
            State::ChunkEnd { left: 1 } if byte == b'\n' => {
                self.state = State::ChunkSize { size: 0, digits: 0 };
            }
            State::ChunkEnd { .. } => {
                return Err(Fault::Malformed("a chunk is longer than it says"));
            }
            State::Trailer { line: 0 } if byte == b'\n' => self.state = State::Done,
            State::Trailer { .. } if byte == b'\n' => self.state = State::Trailer { line: 0 },
            State::Trailer { .. } if byte == b'\r' => {}
            State::Trailer { line } => self.state = State::Trailer { line: line + 1 },
            State::Done => return Err(Fault::Malformed("bytes after the end of the answer")),
        }
        Ok(after)
    }

    fn read_head<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], Fault> {
        let known = self.head.len();
        self.head.extend_from_slice(input);
        // The end may have begun in the piece before.
        let from = known.saturating_sub(3);
        let unseen = self.head.get(from..).unwrap_or_default();
        let Some(end) = memmem::find(unseen, b"\r\n\r\n").map(|at| from + at + 4) else {
            return if self.head.len() > HEAD_MAX {
                Err(Fault::Malformed("no end of the head"))
            } else {
                Ok(&[])
            };
        };
        self.head.truncate(end);
        let head = Head::read(&self.head)?;
        self.keep_alive = head.keep_alive;
        self.state = head.body;
        Ok(input.get(end - known..).unwrap_or_default())
    }

    /// Takes up to `left` bytes of the body; returns what follows and how many are still to
    /// come.
    fn take_body<'a>(&mut self, input: &'a [u8], left: u64) -> (&'a [u8], u64) {
        let length = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let (piece, rest) = input.split_at(length);
        if self.expected != Expected::Whole {
            self.events += self.counter.push(piece);
            keep_tail(&mut self.tail, piece);
        }
        self.body += piece.len() as u64;
        (rest, left - piece.len() as u64)
    }

    fn check_whole(&self) -> Result<(), Fault> {
        match self.expected {
            Expected::Whole => Ok(()),
            Expected::Stream { .. } if self.tail != DONE_EVENT => Err(Fault::NotDone),
            Expected::Stream {
                events: Some(expected),
            } if self.events != expected => Err(Fault::Events {
                got: self.events,
                expected,
            }),
            Expected::Stream { .. } => Ok(()),
        }
    }
}

fn chunk_size(byte: u8, size: u64, digits: u32) -> Result<State, Fault> {
    if let Some(digit) = char::from(byte).to_digit(16) {
        return if digits < SIZE_DIGITS_MAX {
            Ok(State::ChunkSize {
                size: size * 16 + u64::from(digit),
                digits: digits + 1,
            })
        } else {
            Err(Fault::Malformed("a chunk of more than 4 GiB"))
        };
    }
    match byte {
        b'\r' | b';' | b' ' if digits > 0 => Ok(State::ChunkExtension { size }),
        _ => Err(Fault::Malformed("no chunk size where one should be")),
    }
}

fn after_size(size: u64) -> State {
    if size == 0 {
        State::Trailer { line: 0 }
    } else {
        State::ChunkData { left: size }
    }
}

/// Appends `piece` to the bytes in `tail` and keeps the last ones.
fn keep_tail<const N: usize>(tail: &mut [u8; N], piece: &[u8]) {
    if let Some(last) = piece.last_chunk::<N>() {
        *tail = *last;
    } else {
        tail.rotate_left(piece.len());
        if let Some(end) = tail.get_mut(N - piece.len()..) {
            end.copy_from_slice(piece);
        }
    }
}

/// What is in a head that matters here.
#[derive(Debug)]
struct Head {
    keep_alive: bool,
    body: State,
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let text =
            std::str::from_utf8(bytes).map_err(|_| Fault::Malformed("a head that is no text"))?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or(Fault::Malformed("no HTTP/1.1 status line"))?;
        if status != 200 {
            return Err(Fault::Status(status));
        }
        let mut keep_alive = true;
        let mut body = None;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let left = value
                    .parse()
                    .map_err(|_| Fault::Malformed("a bad content-length"))?;
                body = Some(if left == 0 {
                    State::Done
                } else {
                    State::Fixed { left }
                });
            } else if name.eq_ignore_ascii_case("transfer-encoding")
                && value.eq_ignore_ascii_case("chunked")
            {
                body = Some(State::ChunkSize { size: 0, digits: 0 });
            } else if name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close")
            {
                keep_alive = false;
            }
        }
        // A body that only the end of the connection ends cannot be told from one that was cut off.
        let body = body.ok_or(Fault::Malformed("neither content-length nor chunked"))?;
        Ok(Self { keep_alive, body })
    }
}

#[cfg(test)]
mod tests;
