//! The tasks there are, and what can be done with them.

use std::{
    fmt,
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use admission::{Admission, Priority, WaitEstimate};
use http_server::ApiError;
use inference_gateway::Gateway;
use parking_lot::Mutex;
use pool_registry_types::{ErrorCode, TaskId};
use service_runtime::Tasks;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    TaskConfig,
    event::{EventId, Failure, Forecast},
    live::{CannotResume, Live, Reader},
    request::{Job, TaskRequest},
    run::{Refused, Run},
    shelf::{Limits, Shelf},
    task::{Change, State, Task, millis},
};

/// What a task takes beside its request and its events: ids, maps, channels, and the run's future.
const TASK_BYTES: usize = 2 * 1024;

/// The task API. Cloning is cheap and shares the state.
#[derive(Clone)]
pub struct TaskApi(Arc<Shared>);

/// What all runs and handlers share.
pub(crate) struct Shared {
    pub(crate) config: TaskConfig,
    pub(crate) gateway: Gateway,
    admission: Admission,
    tasks: Tasks,
    shelf: Mutex<Shelf<Arc<Live>>>,
    origin: Instant,
    closing: AtomicBool,
    /// A task has ended or a reader has left.
    calmer: Arc<Notify>,
    /// There is something to forget later.
    expiry: Notify,
}

impl fmt::Debug for TaskApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskApi")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl TaskApi {
    /// Runs tasks through `gateway`. `admission` is the gateway's: forecasts come from it.
    /// Each run is a task of `tasks` named `task`.
    #[must_use]
    pub fn new(config: TaskConfig, gateway: Gateway, admission: Admission, tasks: Tasks) -> Self {
        let shelf = Mutex::new(Shelf::new(Limits {
            tasks: config.max_tasks,
            bytes: config.max_bytes,
            age: config.max_age,
        }));
        Self(Arc::new(Shared {
            config,
            gateway,
            admission,
            tasks,
            shelf,
            origin: Instant::now(),
            closing: AtomicBool::new(false),
            calmer: Arc::default(),
            expiry: Notify::new(),
        }))
    }

    /// Forgets tasks when their time has come, until `stop`. Without it they go when room is needed
    /// or somebody asks.
    pub async fn sweep(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            let next = self.0.shelf.lock().next_expiry();
            let timer = async {
                match next.and_then(|at| self.0.origin.checked_add(at)) {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = &mut stop => return,
                () = timer => self.0.shelf.lock().expire(self.0.now()),
                () = self.0.expiry.notified() => {}
            }
        }
    }

    /// Takes no new task, and returns when the others have ended. Those that somebody reads may
    /// take up to `limit`; then, and those that nobody reads at once, they end with an error
    /// event `SHUTTING_DOWN`.
    ///
    /// Call it beside the server's drain with a limit a little shorter than the drain's, so that
    /// the last events still reach their readers.
    pub async fn close(&self, limit: Duration) {
        // Under the lock: a submission is either seen below or sees this.
        {
            let _shelf = self.0.shelf.lock();
            self.0.closing.store(true, Ordering::Relaxed);
        }
        let all_over = async {
            loop {
                let calmer = self.0.calmer.notified();
                let mut calmer = pin!(calmer);
                // Listening begins before looking, so that nothing ends in between unheard.
                calmer.as_mut().enable();
                let running = self.0.running();
                if running.is_empty() {
                    return;
                }
                for live in running.iter().filter(|live| live.readers() == 0) {
                    live.end(shutting_down(), self.0.now());
                }
                calmer.await;
            }
        };
        if timeout(limit, all_over).await.is_err() {
            for live in self.0.running() {
                live.end(shutting_down(), self.0.now());
            }
        }
    }

    /// Takes in a task, or finds the one that the same request made before.
    pub(crate) async fn submit(&self, request: TaskRequest) -> Result<Arc<Live>, ApiError> {
        let id = request.task_id.clone();
        let job = request.into_job()?;
        let (live, is_new) = self.0.shelve(id, &job)?;
        if !is_new {
            return Ok(live);
        }
        let estimate = self.0.estimate(&job.model, job.priority);
        live.expect(forecast(estimate, estimate.ahead));
        let mut run = Run::new(Arc::clone(&self.0), Arc::clone(&live), job);
        if let Err(Refused {
            failure,
            retry_after,
        }) = run.begin().await
        {
            let error = ApiError {
                code: failure.code,
                message: failure.message.clone().into(),
                retry_after,
            };
            // Nothing has come of it, so the same id may be tried again. Who came upon the task
            // meanwhile hears why.
            live.end(failure.into(), self.0.now());
            drop(run);
            let mut shelf = self.0.shelf.lock();
            shelf.remove(&live.id, |kept| Arc::ptr_eq(kept, &live));
            return Err(error);
        }
        self.0.tasks.spawn_isolated("task", run.drive());
        Ok(live)
    }

    pub(crate) fn find(&self, id: &TaskId) -> Result<Arc<Live>, ApiError> {
        let now = self.0.now();
        self.0.shelf.lock().get(id, now).cloned().ok_or_else(|| {
            ApiError::new(
                ErrorCode::NotFound,
                format!("there is no task {id}, or it ended too long ago"),
            )
        })
    }

    /// Cancels a task; one that has ended stays as it is.
    pub(crate) fn cancel(&self, id: &TaskId) -> Result<(), ApiError> {
        self.find(id)?.end(Change::Cancelled, self.0.now());
        Ok(())
    }

    pub(crate) fn read(
        &self,
        id: &TaskId,
        last: Option<EventId>,
    ) -> Result<Result<Reader, CannotResume>, ApiError> {
        let live = self.find(id)?;
        Ok(Reader::new(live, last, Arc::clone(&self.0.calmer)))
    }

    pub(crate) fn now(&self) -> Duration {
        self.0.now()
    }

    /// The place in the line of a task that waits, as it is now: never further back than it was,
    /// because who comes later stands behind it.
    pub(crate) fn forecast(&self, live: &Live) -> Option<Forecast> {
        let was = live.look(|task| (task.state() == State::Queued).then(|| task.forecast()))?;
        let estimate = self.0.estimate(&live.model, live.priority);
        // The task itself is one of those before a newcomer.
        let position = was.queue_position.min(estimate.ahead.saturating_sub(1));
        Some(forecast(estimate, position))
    }
}

impl Shared {
    fn estimate(&self, model: &str, priority: Priority) -> WaitEstimate {
        self.admission
            .estimate_wait(self.gateway.model_of(model), priority)
    }

    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Tells a task what came of it; false when it wants no more.
    pub(crate) fn tell(&self, live: &Live, changes: impl IntoIterator<Item = Change>) -> bool {
        let effect = live.apply(changes, self.now());
        if self.shelf.lock().grow(&live.id, effect.bytes).is_ok() {
            return effect.goes_on;
        }
        let message = "the memory for tasks is full; read and finish fewer at a time";
        live.apply(
            [Failure::new(ErrorCode::QueueFull, message).into()],
            self.now(),
        );
        false
    }

    /// A run is over.
    pub(crate) fn ended(&self, live: &Live) {
        let now = self.now();
        // Usually too late to change anything. It is not when the run was dropped: at the end of
        // the process, or by a panic.
        let failure = if self.closing.load(Ordering::Relaxed) {
            shutting_down()
        } else {
            Failure::new(ErrorCode::Internal, "the task was lost").into()
        };
        live.apply([failure], now);
        let (state, tokens, bytes, age) = live.look(|task| {
            (
                task.state(),
                task.tokens(),
                task.log().bytes(),
                task.age(now),
            )
        });
        tracing::debug!(task = %live.id, ?state, tokens, ms = millis(age), "a task ended");
        self.shelf.lock().end(&live.id, TASK_BYTES + bytes, now);
        self.expiry.notify_one();
        self.calmer.notify_waiters();
    }

    fn running(&self) -> Vec<Arc<Live>> {
        self.shelf.lock().running().cloned().collect()
    }

    /// Finds the task of this id, or makes one; true when it is new.
    fn shelve(&self, id: Option<TaskId>, job: &Job) -> Result<(Arc<Live>, bool), ApiError> {
        let fingerprint = job.fingerprint();
        let now = self.now();
        let mut shelf = self.shelf.lock();
        let known = id.as_ref().and_then(|id| shelf.get(id, now)).cloned();
        if let Some(known) = known {
            return if known.fingerprint == fingerprint {
                Ok((known, false))
            } else {
                let message = format!(
                    "the task {} is another request; choose another task_id",
                    known.id
                );
                Err(ApiError::new(ErrorCode::TaskIdConflict, message))
            };
        }
        if self.closing.load(Ordering::Relaxed) {
            let message = "this control plane is stopping and takes no new tasks";
            return Err(ApiError::new(ErrorCode::ShuttingDown, message));
        }
        let id = id.map_or_else(random_id, Ok)?;
        let task = Task::new(self.config.max_task_bytes, now);
        let live = Arc::new(Live::new(id.clone(), fingerprint, job, task));
        shelf
            .put(id, Arc::clone(&live), TASK_BYTES + job.body.len(), now)
            .map_err(|full| ApiError::new(ErrorCode::QueueFull, full.to_string()))?;
        Ok((live, true))
    }
}

fn forecast(estimate: WaitEstimate, position: usize) -> Forecast {
    Forecast {
        queue_position: position,
        predicted_start_ms: estimate.starts_in(position).map(millis),
    }
}

fn shutting_down() -> Change {
    Failure::new(ErrorCode::ShuttingDown, "this control plane is stopping").into()
}

/// An id nobody has chosen: unique for all practical purposes.
fn random_id() -> Result<TaskId, ApiError> {
    TaskId::new(&format!("task-{:032x}", fastrand::u128(..)))
        .map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))
}
