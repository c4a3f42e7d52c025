//! What becomes of a slot whose request was given up: it counts as taken until the engine has
//! stopped.
//!
//! Closing the connection is the only cancel engines understand, and `llama-server` does not always
//! hear it: it stops a stream within milliseconds, but goes on with an unstreamed request for as
//! long as others run (its wait for results asks about the connection only after a second without
//! any). A slot that were given away before would put two requests on one slot, and the second
//! would wait inside the engine, where nobody can move it.
//!
//! So whoever sends a request to an engine makes a [`TrackedRequest`] of it. When the request is
//! given up the visit takes the slot, and an [`AbandonedRequests`] looks at the engine's own tasks
//! and gives the slot back when the engine is done (`core` decides). Engines that do not tell get
//! the benefit of the doubt at once.

mod core;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use foldhash::fast::RandomState;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{StatusCode, uri::PathAndQuery};
use parking_lot::Mutex;
use pool_registry_types::{EngineKind, HttpUrl};
use serde_json::Value;
use service_runtime::Shutdown;
use stream_proxy::{ForwardError, GetError, get};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use self::core::{Engine, Found, Task, TrackedRequestId};

/// How long a look may take. An engine deep in a long prompt answers late.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it takes at most to hear here of a request that has ended there. A look counts only
/// then: it does not show that request any more, and whoever waited for it must not be counted
/// either.
const HEARSAY: Duration = Duration::from_millis(10);
/// An entry of `/slots` is a few hundred bytes, with its sampling parameters a few thousand.
pub(crate) const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// What is given back by dropping it.
type Slot = Box<dyn Send>;

/// Takes slots whose requests were given up. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct AbandonedRequests(Arc<Shared>);

/// Looks after them, once it is run. When it ends every slot is given back at once.
#[derive(Debug)]
pub struct AbandonedRequestsTask(Arc<Shared>);

struct Shared {
    origin: Instant,
    /// `None`: nobody looks any more.
    engines: Mutex<Option<HashMap<HttpUrl, Arc<Ward>, RandomState>>>,
    /// A look may be due earlier than the task thinks.
    moved: Notify,
}

/// One engine. Each visit to it holds on to it, so that what a request does here needs no look into
/// a table.
struct Ward(
    /// `None`: nobody looks any more.
    Mutex<Option<Engine<Slot>>>,
);

impl Ward {
    /// Tells the engine of something; when nobody looks any more it is no news.
    fn tell<T>(&self, event: impl FnOnce(&mut Engine<Slot>) -> T) -> Option<T> {
        self.0.lock().as_mut().map(event)
    }

    fn is_forgotten(&self) -> bool {
        self.0.lock().as_ref().is_none_or(Engine::is_forgotten)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A request on its way to an engine, or at it. Dropping it says that the engine is done with it,
/// or never had it.
#[derive(Debug)]
#[must_use = "dropping it says that the engine is done with the request"]
pub struct TrackedRequest(Option<Watched>);

/// A visit to an engine that tells what it does.
struct Watched {
    shared: Arc<Shared>,
    ward: Arc<Ward>,
    id: TrackedRequestId,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.id).finish()
    }
}

impl AbandonedRequests {
    /// An aftercare and the task that does it.
    #[must_use]
    pub fn new() -> (Self, AbandonedRequestsTask) {
        let shared = Arc::new(Shared {
            origin: Instant::now(),
            engines: Mutex::new(Some(HashMap::default())),
            moved: Notify::new(),
        });
        (Self(Arc::clone(&shared)), AbandonedRequestsTask(shared))
    }

    /// A request is about to be sent to the engine at `url`.
    pub fn track(&self, engine: &EngineKind, url: &HttpUrl) -> TrackedRequest {
        TrackedRequest(
            tells_its_slots(engine)
                .then(|| self.0.arrive(url))
                .flatten(),
        )
    }
}

impl TrackedRequest {
    /// The engine's answer has begun.
    pub fn answered(&self) {
        if let Some(visit) = &self.0 {
            let now = visit.shared.now();
            visit.ward.tell(|engine| engine.answered(visit.id, now));
        }
    }

    /// Whether the engine tells what it does, so that a slot is kept until it has stopped.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.0.is_some()
    }

    /// Nobody waits for the request any more. `slot` is dropped when the engine is done with it; at
    /// once when nobody can tell, or nobody looks any more.
    pub fn give_up(mut self, slot: Box<dyn Send>) {
        let Some(visit) = self.0.take() else { return };
        let now = visit.shared.now();
        // What does not get there is dropped, and with it the slot given back.
        visit
            .ward
            .tell(|engine| engine.given_up(visit.id, slot, now));
        visit.shared.moved.notify_one();
    }
}

impl Drop for TrackedRequest {
    fn drop(&mut self) {
        if let Some(visit) = self.0.take() {
            visit.ward.tell(|engine| engine.done(visit.id));
        }
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn arrive(self: &Arc<Self>, url: &HttpUrl) -> Option<Watched> {
        let now = self.now();
        let ward = self.ward(url)?;
        let id = ward.tell(|engine| {
            // After a time in which nobody was there, nothing of what was known of it counts.
            if engine.is_forgotten() {
                *engine = Engine::default();
            }
            engine.sent(now)
        })?;
        let shared = Arc::clone(self);
        Some(Watched { shared, ward, id })
    }

    fn ward(&self, url: &HttpUrl) -> Option<Arc<Ward>> {
        let mut engines = self.engines.lock();
        let engines = engines.as_mut()?;
        if let Some(ward) = engines.get(url) {
            return Some(Arc::clone(ward));
        }
        // Engines come and go, each at a port of its own: those that are gone make room for new
        // ones. One that somebody holds may be about to be visited.
        engines.retain(|_, ward| Arc::strong_count(ward) > 1 || !ward.is_forgotten());
        let ward = Arc::new(Ward(Mutex::new(Some(Engine::default()))));
        engines.insert(url.clone(), Arc::clone(&ward));
        Some(ward)
    }

    /// The engines to look at now, and when the next look is due.
    fn begin_looks(&self) -> (Vec<(HttpUrl, Arc<Ward>)>, Option<Instant>) {
        let now = self.now();
        let engines = self.engines.lock();
        let mut due = Vec::new();
        let mut next = None;
        for (url, ward) in engines.iter().flatten() {
            let at = ward.tell(|engine| {
                if engine.next_look().is_some_and(|at| at <= now) {
                    engine.look(now);
                    due.push((url.clone(), Arc::clone(ward)));
                }
                engine.next_look()
            });
            next = next.into_iter().chain(at.flatten()).min();
        }
        (due, next.map(|at| self.origin + at))
    }

    /// Gives every slot back, now and from now on.
    fn close(&self) {
        // Not under a lock: who gets a slot back may come here at once.
        let engines = self.engines.lock().take();
        for ward in engines.into_iter().flat_map(HashMap::into_values) {
            let engine = ward.0.lock().take();
            drop(engine);
        }
    }
}

impl AbandonedRequestsTask {
    /// Looks after abandoned slots until `shutdown` is requested; those that are left are given
    /// back then.
    pub async fn run(self, shutdown: Shutdown) {
        let shared = &self.0;
        let mut looks = FuturesUnordered::new();
        loop {
            let (due, next) = shared.begin_looks();
            looks.extend(due.into_iter().map(look));
            tokio::select! {
                () = shutdown.requested() => return,
                () = shared.moved.notified() => {}
                Some((ward, found)) = looks.next() => {
                    let now = shared.now();
                    drop(ward.tell(|engine| engine.looked(found, now)));
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

/// Whether this kind of engine says which of its slots are busy.
fn tells_its_slots(engine: &EngineKind) -> bool {
    engine.as_str() == "llamacpp"
}

async fn look((url, ward): (HttpUrl, Arc<Ward>)) -> (Arc<Ward>, Found) {
    let path = PathAndQuery::from_static("/slots");
    let found = match get(&url, path, LOOK_TIMEOUT, MAX_ANSWER_BYTES).await {
        Ok((StatusCode::OK, body)) => {
            tokio::time::sleep(HEARSAY).await;
            busy_slots(&body).map_or(Found::Over, Found::Busy)
        }
        // It was told not to tell (`--no-slots`), or is loading and so has nothing running.
        Ok(_) => Found::Over,
        // Nobody listens: the process is gone. Anything else may be a bad moment.
        Err(GetError::Forward(ForwardError::Connect { .. })) => Found::Over,
        Err(error) if error.is_own() => Found::NotAsked,
        Err(_) => Found::Unanswered,
    };
    (ward, found)
}

/// The tasks that an answer of `/slots` shows at work.
fn busy_slots(body: &[u8]) -> Option<BTreeSet<Task>> {
    let slots: Value = serde_json::from_slice(body).ok()?;
    let slots = slots.as_array()?.iter().zip(0_u64..);
    let busy =
        slots.filter(|(slot, _)| slot.get("is_processing").and_then(Value::as_bool) == Some(true));
    // One that does not number its tasks has one per slot, as far as anybody can tell.
    let task = |(slot, place): (&Value, u64)| {
        let number = slot.get("id_task").and_then(Value::as_i64);
        (place, number.unwrap_or_default())
    };
    Some(busy.map(task).collect())
}

#[cfg(test)]
mod tests;
