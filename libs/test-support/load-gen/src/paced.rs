//! Simulated nodes that send their heartbeats when the server says, as agents do.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::fleet::{heartbeat, name};

/// The interval before the first answer: that of an agent without settings.
const FIRST_INTERVAL: Duration = Duration::from_secs(10);
/// How much earlier or later than told a heartbeat is sent, as agents do it.
const JITTER: f64 = 0.1;
/// The longest answer that is read.
const MAX_ANSWER: usize = 16 * 1024;
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How many slots of a simulated node are free in its steady state.
const SLOTS_FREE: u64 = 4;

/// What to do.
#[derive(Debug, Clone)]
pub struct Pacing {
    /// The control plane.
    pub target: SocketAddr,
    /// How many nodes; they must be registered.
    pub nodes: u64,
    /// How many connections they share.
    pub connections: u64,
    /// The number of the first heartbeat.
    pub first_number: u64,
    /// For how long.
    pub time: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Heartbeats that were answered by 200.
    pub heartbeats: u64,
    /// Those that were not.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
    /// The longest time to an answer, in milliseconds.
    pub slowest_ms: f64,
    /// The interval and the timeout that the server told last, in milliseconds; 0 where it told
    /// none.
    pub next_heartbeat_ms: u64,
    /// See [`next_heartbeat_ms`](Self::next_heartbeat_ms).
    pub timeout_ms: u64,
}

#[derive(Deserialize)]
struct Answer {
    next_heartbeat_ms: u64,
    #[serde(default)]
    timeout_ms: u64,
}

/// Does it, with a thread for each connection.
///
/// # Errors
/// When a connection cannot be made or breaks.
pub fn run(pacing: &Pacing) -> io::Result<Tally> {
    let shares = (0..pacing.connections.clamp(1, pacing.nodes.max(1))).map(|share| {
        let pacing = pacing.clone();
        thread::spawn(move || run_share(&pacing, share))
    });
    // All are started before the first is waited for.
    let shares: Vec<_> = shares.collect();
    let mut all = Tally::default();
    for share in shares {
        let tally = share
            .join()
            .map_err(|_| io::Error::other("a thread of the generator panicked"))??;
        all.add(tally);
    }
    Ok(all)
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.heartbeats += other.heartbeats;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
        self.next_heartbeat_ms = self.next_heartbeat_ms.max(other.next_heartbeat_ms);
        self.timeout_ms = self.timeout_ms.max(other.timeout_ms);
    }
}

/// The nodes of one connection: those whose number has the remainder `share`.
fn run_share(pacing: &Pacing, share: u64) -> io::Result<Tally> {
    let mut stream = TcpStream::connect(pacing.target)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let nodes =
        (share..pacing.nodes).step_by(usize::try_from(pacing.connections).unwrap_or(usize::MAX));
    let begin = now();
    let end = begin + pacing.time;
    // Agents start at different moments, so they do not report together.
    let spread = |node: u64| FIRST_INTERVAL.mul_f64(node as f64 / pacing.nodes.max(1) as f64);
    let mut due: BinaryHeap<_> = nodes
        .map(|node| Reverse((begin + spread(node), node)))
        .collect();
    let mut tally = Tally::default();
    let mut number = pacing.first_number;
    let mut buffer = Vec::with_capacity(MAX_ANSWER);
    while let Some(Reverse((at, node))) = due.pop() {
        if at >= end {
            break;
        }
        pause(at.saturating_duration_since(now()));
        let sent = now();
        let (status, body) = exchange(&mut stream, &request(node, number), &mut buffer)?;
        number += 1;
        let took = sent.elapsed().as_secs_f64() * 1000.0;
        tally.slowest_ms = tally.slowest_ms.max(took);
        let mut interval = FIRST_INTERVAL;
        match (status, serde_json::from_slice::<Answer>(body)) {
            (200, Ok(answer)) => {
                tally.heartbeats += 1;
                tally.next_heartbeat_ms = answer.next_heartbeat_ms;
                tally.timeout_ms = answer.timeout_ms;
                interval = Duration::from_millis(answer.next_heartbeat_ms);
            }
            _ => {
                tally.errors += 1;
                let text = String::from_utf8_lossy(body).into_owned();
                tally
                    .first_error
                    .get_or_insert_with(|| format!("status {status}: {text}"));
            }
        }
        // As good as random, and the same in every run.
        let drift = (node.wrapping_mul(7919) % 1000) as f64 / 500.0 - 1.0;
        due.push(Reverse((
            sent + interval.mul_f64(1.0 + JITTER * drift),
            node,
        )));
    }
    Ok(tally)
}

fn request(node: u64, number: u64) -> Vec<u8> {
    let body = heartbeat(node, number, SLOTS_FREE, true);
    format!(
        "POST /v2/nodes/{}/heartbeat HTTP/1.1\r\nhost: localhost\r\ncontent-type: \
         application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        name(node),
        body.len()
    )
    .into_bytes()
}

/// Sends a request and reads its answer, which must have a content length.
fn exchange<'a>(
    stream: &mut TcpStream,
    request: &[u8],
    buffer: &'a mut Vec<u8>,
) -> io::Result<(u16, &'a [u8])> {
    stream.write_all(request)?;
    buffer.clear();
    let mut piece = [0; 4096];
    loop {
        if let Some((status, from, length)) = head_of(buffer)?
            && buffer.len() >= from + length
        {
            return Ok((status, buffer.get(from..from + length).unwrap_or_default()));
        }
        if buffer.len() > MAX_ANSWER {
            return Err(io::Error::other("the answer is too long"));
        }
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => buffer.extend_from_slice(piece.get(..read).unwrap_or_default()),
        }
    }
}

/// Status, where the body begins, and its length; `None` while the head is not whole.
fn head_of(buffer: &[u8]) -> io::Result<Option<(u16, usize, usize)>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = buffer.windows(END.len()).position(|window| window == END) else {
        return Ok(None);
    };
    let wrong = || io::Error::other("not an answer with a content length");
    let head = std::str::from_utf8(buffer.get(..end).unwrap_or_default()).map_err(|_| wrong())?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().ok())?
    });
    match (status, length) {
        (Some(status), Some(length)) => Ok(Some((status, end + END.len(), length))),
        _ => Err(wrong()),
    }
}

#[expect(clippy::disallowed_methods, reason = "its nodes wait as real ones do")]
fn pause(time: Duration) {
    thread::sleep(time);
}

#[expect(
    clippy::disallowed_methods,
    reason = "it keeps real time, in threads of its own"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::{io::BufRead as _, io::BufReader, net::TcpListener};

    use super::*;

    #[test]
    fn the_server_sets_the_pace() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut heartbeats = 0;
            loop {
                let (mut line, mut length) = (String::new(), 0);
                while reader.read_line(&mut line).unwrap() > 2 {
                    if let Some(value) = line.strip_prefix("content-length: ") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                if line.is_empty() {
                    return heartbeats;
                }
                reader.read_exact(&mut vec![0; length]).unwrap();
                heartbeats += 1;
                let body = r#"{"success":true,"next_heartbeat_ms":20,"timeout_ms":60}"#;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        let tally = run(&Pacing {
            target,
            nodes: 1,
            connections: 4,
            first_number: 1,
            time: Duration::from_millis(300),
        })
        .unwrap();
        assert_eq!(
            (tally.next_heartbeat_ms, tally.timeout_ms, tally.errors),
            (20, 60, 0)
        );
        // At the interval of the first answer there would be only one.
        assert!(tally.heartbeats > 1, "{tally:?}");
        assert_eq!(server.join().unwrap(), tally.heartbeats);
    }

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        assert_eq!(head_of(b"HTTP/1.1 200 OK\r\n").unwrap(), None);
        let whole = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(head_of(whole).unwrap(), Some((404, whole.len() - 2, 2)));
        assert!(head_of(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
