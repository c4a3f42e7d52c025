//! `GET /v2/live`: the state of the fleet as server-sent events, once a second.

use std::{fmt, sync::Arc, time::Duration};

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http_server::{Access, ApiError, EventSource, Routes, endless_event_stream};
use pool_registry_types::ErrorCode;
use serde_json::Value;
use service_runtime::Shutdown;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::history::History;

/// The interval of states.
const PERIOD: Duration = Duration::from_secs(1);

/// The interval of samples for the charts, in periods.
const PERIODS_PER_SAMPLE: u32 = 5;

/// The time to retry after a refusal, when other pages may be closed.
const COME_AGAIN: Duration = Duration::from_secs(10);

/// The field of a node that changes by itself. It alone is no change, or the whole fleet would be
/// sent every second.
const AGE: &str = "last_heartbeat_age_ms";

/// The sources of the stream; each returns the body of an answer.
pub struct Sources {
    /// The body of `GET /v2/status`.
    pub status: Box<dyn Fn() -> Value + Send + Sync>,
    /// The body of `GET /v2/nodes` with at most this many nodes, those that are not online first.
    pub nodes: Box<dyn Fn(usize) -> Value + Send + Sync>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// The limits of the stream.
#[derive(Debug, Clone, Copy)]
pub struct LiveConfig {
    /// The most clients; one more gets 503.
    pub max_clients: usize,
    /// The most nodes that are sent. The status counts all nodes.
    pub max_nodes: usize,
}

impl LiveConfig {
    /// The default.
    ///
    /// 64 clients are more than a team needs. 500 nodes are more than a person reads one by one,
    /// and 400 KB when all of them change. Together they are at most 25 MB/s.
    pub const DEFAULT: Self = Self {
        max_clients: 64,
        max_nodes: 500,
    };
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The stream: one task that reads the sources, and any number of clients. Clones share it.
///
/// A client holds only the latest state. A slow client misses states, and keeps none in memory.
#[derive(Debug, Clone)]
pub struct Live {
    frames: watch::Sender<Arc<Frame>>,
    /// A new client needs a state before the next second.
    wanted: Arc<Notify>,
    room: Arc<Semaphore>,
    max_nodes: usize,
    stop: Shutdown,
}

/// The events of one second, as they go over the wire.
#[derive(Debug, Default)]
struct Frame {
    /// When it was made; `None` before the first.
    at: Option<Instant>,
    history: Bytes,
    status: Bytes,
    nodes: Bytes,
    /// Rises when `nodes` changes.
    nodes_version: u64,
}

impl Frame {
    fn is_fresh(&self) -> bool {
        self.at.is_some_and(|at| at.elapsed() < PERIOD)
    }
}

impl Live {
    /// A stream that ends for all clients when `stop` is requested.
    #[must_use]
    pub fn new(config: LiveConfig, stop: Shutdown) -> Self {
        Self {
            frames: watch::Sender::default(),
            wanted: Arc::new(Notify::new()),
            room: Arc::new(Semaphore::new(config.max_clients)),
            max_nodes: config.max_nodes,
            stop,
        }
    }

    /// The route.
    #[must_use]
    pub fn routes(self) -> Routes {
        Routes::new()
            .get("/v2/live", Access::OBSERVER, live)
            .with_state(self)
    }

    /// Reads the sources: once a second with clients, and at the interval of samples without.
    /// Returns when `stop` is requested.
    pub async fn run(self, sources: Sources) {
        let mut observer = Observer::new(sources, self.max_nodes);
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut periods = 0_u32;
        loop {
            let sample = tokio::select! {
                biased;
                () = self.stop.requested() => return,
                _ = ticks.tick() => {
                    periods = periods.wrapping_add(1);
                    periods.is_multiple_of(PERIODS_PER_SAMPLE)
                }
                () = self.wanted.notified() => {
                    if self.frames.borrow().is_fresh() {
                        continue;
                    }
                    false
                }
            };
            let has_clients = self.frames.receiver_count() > 0;
            if sample || has_clients {
                let status = observer.status(sample);
                if has_clients {
                    self.frames.send_replace(Arc::new(observer.frame(&status)));
                }
            }
        }
    }
}

/// Reads the sources, and remembers the last nodes.
struct Observer {
    sources: Sources,
    max_nodes: usize,
    history: History,
    /// The history as an event; empty when it has moved on since.
    history_event: Bytes,
    /// What the nodes were like but for what moves by itself.
    last_nodes: Value,
    nodes: Bytes,
    nodes_version: u64,
}

impl Observer {
    fn new(sources: Sources, max_nodes: usize) -> Self {
        Self {
            sources,
            max_nodes,
            history: History::default(),
            history_event: Bytes::new(),
            last_nodes: Value::Null,
            nodes: Bytes::new(),
            nodes_version: 0,
        }
    }

    fn status(&mut self, sample: bool) -> Value {
        let status = (self.sources.status)();
        if sample {
            self.history.keep(&status);
            self.history_event.clear();
        }
        status
    }

    fn frame(&mut self, status: &Value) -> Frame {
        if self.history_event.is_empty() {
            self.history_event = event("history", &self.history.to_json());
        }
        let mut nodes = (self.sources.nodes)(self.max_nodes);
        let nodes_event = event("nodes", &nodes);
        forget_ages(&mut nodes);
        if self.last_nodes != nodes {
            self.last_nodes = nodes;
            self.nodes = nodes_event;
            self.nodes_version += 1;
        }
        Frame {
            at: Some(Instant::now()),
            history: self.history_event.clone(),
            status: event("status", status),
            nodes: self.nodes.clone(),
            nodes_version: self.nodes_version,
        }
    }
}

fn forget_ages(nodes: &mut Value) {
    let nodes = nodes.get_mut("nodes").and_then(Value::as_array_mut);
    for node in nodes.into_iter().flatten() {
        if let Some(node) = node.as_object_mut() {
            node.remove(AGE);
        }
    }
}

/// One event as it goes over the wire. JSON has no line ends of its own.
fn event(name: &str, data: &Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// The data of the page, as it changes.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/live", tag = "watching",
    responses((status = 200, description = "Server-sent events.",
        body = pool_registry_types::schema::EventStream, content_type = "text/event-stream"))
))]
async fn live(State(live): State<Live>) -> Result<Response, ApiError> {
    let Ok(room) = live.room.clone().try_acquire_owned() else {
        let message = "as many pages as may listen do so already; close one";
        return Err(ApiError::new(ErrorCode::TooManyConnections, message).retry_after(COME_AGAIN));
    };
    Ok(endless_event_stream(Client::new(&live, room)))
}

/// A connected client.
struct Client {
    frames: watch::Receiver<Arc<Frame>>,
    stop: Shutdown,
    /// Whether it has got the history.
    begun: bool,
    nodes_version: u64,
    /// Its place; free again when it is dropped.
    _room: OwnedSemaphorePermit,
}

impl Client {
    fn new(live: &Live, room: OwnedSemaphorePermit) -> Self {
        let mut frames = live.frames.subscribe();
        if frames.borrow().is_fresh() {
            frames.mark_changed();
        } else {
            live.wanted.notify_one();
        }
        Self {
            frames,
            stop: live.stop.clone(),
            begun: false,
            nodes_version: 0,
            _room: room,
        }
    }
}

impl EventSource for Client {
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            () = self.stop.requested() => return None,
            changed = self.frames.changed() => changed.ok()?,
        }
        let frame = self.frames.borrow_and_update().clone();
        let mut events = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            events.extend_from_slice(&frame.history);
        }
        events.extend_from_slice(&frame.status);
        if std::mem::replace(&mut self.nodes_version, frame.nodes_version) != frame.nodes_version {
            events.extend_from_slice(&frame.nodes);
        }
        Some(events.into())
    }
}

#[cfg(test)]
mod tests;
