//! An engine whose every byte the test decides.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use anyhow::{Result, ensure};
use parking_lot::Mutex;

/// What the engine does when it has sent an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Closes,
    /// Waits for another request on the connection.
    Waits,
    /// Goes on with this, again and again, until the daemon closes or takes [`FLOOD_BYTES`].
    Floods(&'static [u8]),
    /// It has answered before it read the body, and reads the rest.
    WasEarly,
}

/// A gibibyte.
const FLOOD_BYTES: usize = 1 << 30;
/// What is written of a flood at once.
const FLOOD_PIECES: usize = 4096;

/// What every proper request is answered with.
pub(crate) const GOOD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"good\":[]}";
/// Its body.
pub(crate) const GOOD_BODY: &str = "{\"good\":[]}";

/// A request as the engine saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: String,
}

#[derive(Debug)]
struct State {
    answer: Vec<u8>,
    then: Then,
    seen: Vec<Seen>,
}

/// The engine. Its threads end with their connections, and the last one with the test's process.
pub(crate) struct ScriptedEngine {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl ScriptedEngine {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            answer: GOOD.into(),
            then: Then::Waits,
            seen: Vec::new(),
        }));
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&serving);
                // A daemon that closes first is no fault.
                thread::spawn(move || serve(stream, &state).unwrap_or_default());
            }
        });
        Ok(Self { address, state })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on each request is answered so.
    pub(crate) fn answer(&self, answer: impl Into<Vec<u8>>, then: Then) {
        let mut state = self.state.lock();
        state.answer = answer.into();
        state.then = then;
    }

    pub(crate) fn answer_well(&self) {
        self.answer(GOOD, Then::Waits);
    }

    /// The requests since the last call, without those of probes.
    pub(crate) fn take_seen(&self) -> Vec<Seen> {
        let mut state = self.state.lock();
        std::mem::take(&mut state.seen)
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some(head) = read_head(&mut reader)? {
        let is_probe = head.starts_with("GET /v1/models ");
        if !is_probe && state.lock().then == Then::WasEarly {
            let answer = state.lock().answer.clone();
            stream.write_all(&answer)?;
            // No more than this body: the daemon may send another request after it.
            read_body(&mut reader, &head)?;
            continue;
        }
        let body = read_body(&mut reader, &head)?;
        let seen = Seen { head, body };
        if seen.head.starts_with("GET /v1/models ") {
            let models = r#"{"object":"list","data":[{"id":"tiny","object":"model"}]}"#;
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{models}",
                models.len()
            )?;
            continue;
        }
        let (answer, then) = {
            let mut state = state.lock();
            state.seen.push(seen);
            (state.answer.clone(), state.then)
        };
        stream.write_all(&answer)?;
        match then {
            Then::Waits => {}
            Then::Floods(piece) => {
                let pieces = piece.repeat(FLOOD_PIECES);
                for _ in 0..FLOOD_BYTES / pieces.len() {
                    stream.write_all(&pieces)?;
                }
                break;
            }
            Then::Closes | Then::WasEarly => break,
        }
    }
    Ok(())
}

/// Reads the head of a request; `None` when the connection ends before one.
fn read_head(reader: &mut impl BufRead) -> Result<Option<String>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            ensure!(head.is_empty(), "half a request: {head:?}");
            return Ok(None);
        }
    }
    Ok(Some(head))
}

/// Reads the body of a request strictly.
fn read_body(reader: &mut impl Read, head: &str) -> Result<String> {
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(Ok(0), str::parse)?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(String::from_utf8(body)?)
}
