//! The loop: warm up, measure, let the last answers end.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
};
use tls_config::ClientTls;

use crate::{
    answer::{Expected, Fault, Parser},
    connection::{Arrival, Connection, Target},
    fleet::Fleet,
    outcome::{Counters, Outcome},
};

/// Bytes taken from a socket at once; more than a short stream, and still in the second-level
/// cache.
const READ: usize = 64 * 1024;
/// Ready sockets handled between two looks at the clock.
const BATCH: usize = 256;
/// A target that breaks this many answers is no measurement, and trying on is a busy loop.
const ERRORS_MAX: u64 = 10_000;

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to; connections are dealt out in turn.
    pub targets: Vec<SocketAddr>,
    /// The TLS of the connections; `None` for plain HTTP. Servers are called `localhost`.
    pub tls: Option<ClientTls>,
    /// How many connections, each with one request at a time.
    pub connections: usize,
    /// What is asked.
    pub requests: Requests,
    /// What a whole answer looks like.
    pub expected: Expected,
    /// Time before the clock runs.
    pub warm_up: Duration,
    /// The time that is measured.
    pub measure: Duration,
    /// How long the answers that run at the end of the measured time may take to end.
    pub drain: Duration,
}

/// What is asked.
#[derive(Debug, Clone)]
pub enum Requests {
    /// The same JSON to the same path, by POST.
    Post {
        /// The path.
        path: String,
        /// The JSON.
        body: String,
        /// The token of `Authorization: Bearer`.
        token: Option<String>,
    },
    /// A path, by GET.
    Get {
        /// The path.
        path: String,
    },
    /// The messages of simulated nodes, each once.
    Fleet(Fleet),
}

impl Requests {
    /// Writes the next request to `request`; false when there are no more.
    fn next(&mut self, request: &mut Vec<u8>) -> bool {
        let text = match self {
            Self::Fleet(fleet) => return fleet.next(request),
            // The same each time.
            Self::Post { .. } | Self::Get { .. } if !request.is_empty() => return true,
            Self::Post { path, body, token } => {
                let authorization = token
                    .as_ref()
                    .map(|token| format!("authorization: Bearer {token}\r\n"))
                    .unwrap_or_default();
                format!(
                    "POST {path} HTTP/1.1\r\nhost: localhost\r\n{authorization}content-type: \
                     application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
            Self::Get { path } => format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        };
        *request = text.into_bytes();
        true
    }
}

/// Does it.
///
/// All connections are made before the first request is sent; then all send at once.
///
/// # Errors
/// When there is no target, a connection cannot be made, or too many answers fail; failed answers
/// alone are counted in the outcome.
pub fn run(plan: &Plan) -> io::Result<Outcome> {
    Generator::connect(plan)?.run(plan)
}

struct Generator {
    poll: OwnedFd,
    connections: Vec<Connection>,
    requests: Requests,
    /// The one that was sent last.
    request: Vec<u8>,
    /// All requests have been sent.
    is_exhausted: bool,
    counters: Counters,
    phase: Phase,
    /// Connections whose answer has not ended.
    busy: usize,
}

/// The three parts of a run, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measure,
    Drain,
}

impl Generator {
    fn connect(plan: &Plan) -> io::Result<Self> {
        let mut generator = Self {
            poll: epoll::create(CreateFlags::CLOEXEC)?,
            connections: Vec::with_capacity(plan.connections),
            requests: plan.requests.clone(),
            request: Vec::new(),
            is_exhausted: false,
            counters: Counters::default(),
            phase: Phase::WarmUp,
            busy: 0,
        };
        let tls = plan.tls.as_ref().map(ClientTls::config).transpose();
        let tls = tls.map_err(io::Error::other)?;
        for &address in plan.targets.iter().cycle().take(plan.connections) {
            let target = Target {
                address,
                tls: tls.clone(),
            };
            let connection = Connection::open(target, Parser::new(plan.expected))?;
            generator.connections.push(connection);
            generator.watch(generator.connections.len() - 1)?;
        }
        if generator.connections.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no target or no connection",
            ));
        }
        Ok(generator)
    }

    fn watch(&self, index: usize) -> io::Result<()> {
        if let Some(connection) = self.connections.get(index) {
            let data = EventData::new_u64(index as u64);
            epoll::add(&self.poll, &connection.stream, data, EventFlags::IN)?;
        }
        Ok(())
    }

    fn run(mut self, plan: &Plan) -> io::Result<Outcome> {
        let mut buffer = vec![0; READ];
        let mut ready = Vec::with_capacity(BATCH);
        let begin = now();
        let mut phase_end = begin + plan.warm_up;
        let mut window_begin = begin;
        let mut measured = plan.measure;
        for index in 0..self.connections.len() {
            self.ask(index)?;
        }
        loop {
            let time = now();
            if time >= phase_end {
                match self.phase {
                    Phase::WarmUp => {
                        self.begin_measuring();
                        window_begin = time;
                        phase_end = time + plan.measure;
                    }
                    Phase::Measure => {
                        measured = time - window_begin;
                        self.phase = Phase::Drain;
                        phase_end = time + plan.drain;
                    }
                    Phase::Drain => break,
                }
            }
            if self.busy == 0 && (self.phase == Phase::Drain || self.is_exhausted) {
                if self.phase != Phase::Drain {
                    measured = time - window_begin;
                }
                break;
            }
            self.wait(&mut ready, phase_end.saturating_duration_since(time))?;
            for index in ready.drain(..).map(index_of) {
                self.serve(index, &mut buffer)?;
            }
            if self.counters.errors > ERRORS_MAX {
                break;
            }
        }
        self.give_up_on_the_rest();
        Ok(self.counters.outcome(measured))
    }

    fn begin_measuring(&mut self) {
        self.phase = Phase::Measure;
        self.counters.answers = 0;
        self.counters.events = 0;
        self.counters.firsts.clear();
    }

    fn wait(&self, ready: &mut Vec<Event>, most: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(most.subsec_nanos()),
        };
        match epoll::wait(&self.poll, spare_capacity(ready), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what one connection has, and asks again when its answer is complete.
    fn serve(&mut self, index: usize, buffer: &mut [u8]) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(index) else {
            return Ok(());
        };
        let (progress, first) = match connection.receive(buffer) {
            Arrival::Nothing => return Ok(()),
            Arrival::Piece { progress, first } => (progress, first),
            Arrival::Fault(fault) => {
                // Between two answers a server may close the connection; no answer is lost.
                if connection.sent.is_some() {
                    self.counters.fault(&fault);
                    self.busy -= 1;
                }
                return self.begin_anew(index);
            }
        };
        if let (true, Some(sent)) = (first, connection.sent) {
            let micros = now().saturating_duration_since(sent).as_micros();
            self.counters
                .firsts
                .push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
        if self.phase != Phase::Drain {
            self.counters.events += progress.events;
            self.counters.answers += u64::from(progress.done);
        }
        if !progress.done {
            return Ok(());
        }
        connection.sent = None;
        self.counters.all_answers += 1;
        self.busy -= 1;
        if connection.parser.keep_alive() {
            self.ask_again(index)
        } else {
            self.begin_anew(index)
        }
    }

    fn begin_anew(&mut self, index: usize) -> io::Result<()> {
        if let Some(connection) = self.connections.get_mut(index) {
            connection.reopen()?;
        }
        self.watch(index)?;
        self.ask_again(index)
    }

    fn ask_again(&mut self, index: usize) -> io::Result<()> {
        if self.phase == Phase::Drain {
            return Ok(());
        }
        self.ask(index)
    }

    fn ask(&mut self, index: usize) -> io::Result<()> {
        if !self.requests.next(&mut self.request) {
            self.is_exhausted = true;
            return Ok(());
        }
        if let Some(connection) = self.connections.get_mut(index) {
            connection.send(&self.request, now())?;
            self.busy += 1;
        }
        Ok(())
    }

    fn give_up_on_the_rest(&mut self) {
        for connection in &self.connections {
            if connection.sent.is_some() {
                self.counters.fault(&Fault::Late);
            }
        }
    }
}

fn index_of(event: Event) -> usize {
    usize::try_from(event.data.u64()).unwrap_or(usize::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "it measures real time, and there is no async runtime to pause"
)]
fn now() -> Instant {
    Instant::now()
}
