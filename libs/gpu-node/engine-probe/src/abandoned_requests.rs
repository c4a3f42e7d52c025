//! The slot of an abandoned request counts as taken until the engine has stopped working on it.
//!
//! Closing the connection is the only way to cancel a request, and `llama-server` does not always
//! notice. It stops a stream within milliseconds, but continues an unstreamed request for as long
//! as others run: it checks the connection only after a second without results. If the slot were
//! released before, two requests would share one slot, and the second would wait inside the
//! engine, where it cannot be moved to another engine.
//!
//! Each request to an engine is therefore a [`TrackedRequest`]. When it is abandoned, it takes the
//! slot along. [`AbandonedRequests`] polls the engine's own tasks and releases the slot when the
//! engine is done (`core` decides). The slots of engines that do not report tasks are released at
//! once.

mod core;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use foldhash::fast::RandomState;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{HeaderValue, StatusCode, uri::PathAndQuery};
use parking_lot::Mutex;
use pool_registry::EngineKey;
use pool_registry_types::{EngineKind, HttpUrl};
use serde_json::Value;
use service_runtime::Shutdown;
use stream_proxy::{ForwardError, GetError, get_authorized};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use self::core::{EngineTracker, PollResult, Task, TrackedRequestId};
use crate::kinds::dialect;

/// How long a poll may take. An engine that processes a long prompt answers late.
const POLL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it takes at most until this process knows that a request has ended at the engine. A
/// poll counts only after that: it no longer shows the request, so the request must no longer be
/// counted as wanted.
const COMPLETION_DELAY: Duration = Duration::from_millis(10);
/// An entry of `/slots` is a few hundred bytes, with its sampling parameters a few thousand.
pub(crate) const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Dropping it releases the slot.
type Slot = Box<dyn Send>;

/// Keeps the slots of abandoned requests. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct AbandonedRequests(Arc<Shared>);

/// The task that polls engines and releases slots. When it ends it releases every slot.
#[derive(Debug)]
pub struct AbandonedRequestsTask(Arc<Shared>);

struct Shared {
    origin: Instant,
    /// `None` after the task has ended.
    engines: Mutex<Option<HashMap<HttpUrl, Arc<SharedTracker>, RandomState>>>,
    /// A poll may be due earlier than the task assumes.
    rescheduled: Notify,
}

/// The load state of one engine. Each tracked request holds it, so that the request path needs no
/// lookup.
struct SharedTracker {
    /// `None` after the task has ended.
    engine: Mutex<Option<EngineTracker<Slot>>>,
    /// The key of the latest request, for polls.
    key: Mutex<Option<EngineKey>>,
}

impl SharedTracker {
    /// Changes the state; does nothing after the task has ended.
    fn update<T>(&self, change: impl FnOnce(&mut EngineTracker<Slot>) -> T) -> Option<T> {
        self.engine.lock().as_mut().map(change)
    }

    /// Polls carry the key of the latest request.
    fn set_key(&self, key: Option<&EngineKey>) {
        if let Some(key) = key {
            *self.key.lock() = Some(key.clone());
        }
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.key.lock().as_ref().map(EngineKey::header)
    }

    fn is_unused(&self) -> bool {
        (self.engine.lock().as_ref()).is_none_or(EngineTracker::is_unused)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A request on its way to an engine, or at it. Dropping it means that the engine has finished it,
/// or never got it.
#[derive(Debug)]
#[must_use = "dropping it means that the engine is done with the request"]
pub struct TrackedRequest(Option<Tracking>);

/// A request to an engine that reports its tasks.
struct Tracking {
    shared: Arc<Shared>,
    tracker: Arc<SharedTracker>,
    id: TrackedRequestId,
}

impl fmt::Debug for Tracking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracking").field(&self.id).finish()
    }
}

impl AbandonedRequests {
    /// A tracker of abandoned requests, and the task that it needs.
    #[must_use]
    pub fn new() -> (Self, AbandonedRequestsTask) {
        let shared = Arc::new(Shared {
            origin: Instant::now(),
            engines: Mutex::new(Some(HashMap::default())),
            rescheduled: Notify::new(),
        });
        (Self(Arc::clone(&shared)), AbandonedRequestsTask(shared))
    }

    /// Tracks a request. Call it before the request is sent to the engine at `url`, which demands
    /// `key`.
    pub fn track(
        &self,
        engine: &EngineKind,
        url: &HttpUrl,
        key: Option<&EngineKey>,
    ) -> TrackedRequest {
        let reports_tasks = dialect(engine).profile().reports_tasks;
        TrackedRequest(reports_tasks.then(|| self.0.track(url, key)).flatten())
    }
}

impl TrackedRequest {
    /// The engine's answer has begun.
    pub fn answered(&self) {
        if let Some(request) = &self.0 {
            let now = request.shared.now();
            (request.tracker).update(|engine| engine.answered(request.id, now));
        }
    }

    /// Whether the engine reports its tasks, so that a slot is kept until it has stopped.
    #[must_use]
    pub fn is_tracked(&self) -> bool {
        self.0.is_some()
    }

    /// The client has left. `slot` is dropped when the engine has stopped working on the request;
    /// at once when the engine does not report its tasks, or the task has ended.
    pub fn abandon(mut self, slot: Box<dyn Send>) {
        let Some(request) = self.0.take() else { return };
        let now = request.shared.now();
        // When the task has ended, the closure is dropped, and the slot with it.
        request
            .tracker
            .update(|engine| engine.abandon(request.id, slot, now));
        request.shared.rescheduled.notify_one();
    }
}

impl Drop for TrackedRequest {
    fn drop(&mut self) {
        if let Some(request) = self.0.take() {
            request.tracker.update(|engine| engine.done(request.id));
        }
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn track(self: &Arc<Self>, url: &HttpUrl, key: Option<&EngineKey>) -> Option<Tracking> {
        let now = self.now();
        let tracker = self.tracker(url)?;
        tracker.set_key(key);
        let id = tracker.update(|engine| {
            // Earlier observations are outdated when the engine was unused meanwhile.
            if engine.is_unused() {
                *engine = EngineTracker::default();
            }
            engine.sent(now)
        })?;
        let shared = Arc::clone(self);
        Some(Tracking {
            shared,
            tracker,
            id,
        })
    }

    fn tracker(&self, url: &HttpUrl) -> Option<Arc<SharedTracker>> {
        let mut engines = self.engines.lock();
        let engines = engines.as_mut()?;
        if let Some(tracker) = engines.get(url) {
            return Some(Arc::clone(tracker));
        }
        // Remove engines that are gone. A tracker that is held elsewhere may be about to get a
        // request.
        engines.retain(|_, tracker| Arc::strong_count(tracker) > 1 || !tracker.is_unused());
        let tracker = Arc::new(SharedTracker {
            engine: Mutex::new(Some(EngineTracker::default())),
            key: Mutex::new(None),
        });
        engines.insert(url.clone(), Arc::clone(&tracker));
        Some(tracker)
    }

    /// The engines to poll now, and when the next poll is due.
    fn begin_polls(&self) -> (Vec<(HttpUrl, Arc<SharedTracker>)>, Option<Instant>) {
        let now = self.now();
        let engines = self.engines.lock();
        let mut due = Vec::new();
        let mut next = None;
        for (url, tracker) in engines.iter().flatten() {
            let at = tracker.update(|engine| {
                if engine.next_poll().is_some_and(|at| at <= now) {
                    engine.begin_poll(now);
                    due.push((url.clone(), Arc::clone(tracker)));
                }
                engine.next_poll()
            });
            next = next.into_iter().chain(at.flatten()).min();
        }
        (due, next.map(|at| self.origin + at))
    }

    /// Releases every slot, now and from now on.
    fn close(&self) {
        // Drop slots outside the lock: their owner may track a new request at once.
        let engines = self.engines.lock().take();
        for tracker in engines.into_iter().flat_map(HashMap::into_values) {
            let engine = tracker.engine.lock().take();
            drop(engine);
        }
    }
}

impl AbandonedRequestsTask {
    /// Polls engines until `shutdown` is requested, then releases the remaining slots.
    pub async fn run(self, shutdown: Shutdown) {
        let shared = &self.0;
        let mut polls = FuturesUnordered::new();
        loop {
            let (due, next) = shared.begin_polls();
            polls.extend(due.into_iter().map(poll));
            tokio::select! {
                () = shutdown.requested() => return,
                () = shared.rescheduled.notified() => {}
                Some((tracker, result)) = polls.next() => {
                    let now = shared.now();
                    drop(tracker.update(|engine| engine.poll_finished(result, now)));
                }
                () = sleep_until(next.unwrap_or(shared.origin)), if next.is_some() => {}
            }
        }
    }
}

impl Drop for AbandonedRequestsTask {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn poll((url, tracker): (HttpUrl, Arc<SharedTracker>)) -> (Arc<SharedTracker>, PollResult) {
    let path = PathAndQuery::from_static("/slots");
    let key = tracker.authorization();
    let answer = get_authorized(&url, path, key, POLL_TIMEOUT, MAX_ANSWER_BYTES).await;
    let result = match answer {
        Ok((StatusCode::OK, body)) => {
            tokio::time::sleep(COMPLETION_DELAY).await;
            busy_slots(&body).map_or(PollResult::Idle, PollResult::Busy)
        }
        // It was started with `--no-slots`, or it is loading and runs nothing.
        Ok(_) => PollResult::Idle,
        // Nothing listens there: the process is gone. Other errors may be temporary.
        Err(GetError::Forward(ForwardError::Connect { .. })) => PollResult::Idle,
        Err(error) if error.is_own() => PollResult::NotAsked,
        Err(_) => PollResult::Unanswered,
    };
    (tracker, result)
}

/// The tasks that an answer of `/slots` shows as running.
fn busy_slots(body: &[u8]) -> Option<BTreeSet<Task>> {
    let slots: Value = serde_json::from_slice(body).ok()?;
    let slots = slots.as_array()?.iter().zip(0_u64..);
    let busy =
        slots.filter(|(slot, _)| slot.get("is_processing").and_then(Value::as_bool) == Some(true));
    // Without task numbers, each slot counts as one task.
    let task = |(slot, index): (&Value, u64)| {
        let number = slot.get("id_task").and_then(Value::as_i64);
        (index, number.unwrap_or_default())
    };
    Some(busy.map(task).collect())
}

#[cfg(test)]
mod tests;
