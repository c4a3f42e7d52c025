//! What all runs and handlers of tasks share.

use std::{
    fmt,
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
use pool_registry_types::{ErrorCode, TaskId, millis};
use tokio::{sync::Notify, time::Instant};

use crate::{
    config::TaskConfig,
    event::TaskError,
    handle::TaskHandle,
    request::EngineRequest,
    store::{StoreLimits, TaskStore},
    task::{Task, TaskChange},
};

/// The memory of a task besides its request and its events: ids, maps, channels and the future of
/// its run.
const TASK_BYTES: usize = 2 * 1024;

pub(crate) struct Shared {
    pub(crate) config: TaskConfig,
    pub(crate) gateway: Gateway,
    admission: Admission,
    pub(crate) store: Mutex<TaskStore<Arc<TaskHandle>>>,
    pub(crate) origin: Instant,
    closing: AtomicBool,
    /// A task has ended or a reader has left.
    pub(crate) activity_ended: Arc<Notify>,
    /// A task has ended, so there is a task to forget later.
    pub(crate) expiry_changed: Notify,
}

impl Shared {
    pub(crate) fn new(config: TaskConfig, gateway: Gateway, admission: Admission) -> Self {
        let limits = StoreLimits {
            tasks: config.max_tasks,
            bytes: config.max_bytes,
            age: config.max_age,
        };
        Self {
            config,
            gateway,
            admission,
            store: Mutex::new(TaskStore::new(limits)),
            origin: Instant::now(),
            closing: AtomicBool::new(false),
            activity_ended: Arc::default(),
            expiry_changed: Notify::new(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    pub(crate) fn estimate_wait(&self, model: &str, priority: Priority) -> WaitEstimate {
        let model = self.gateway.model_of(model);
        self.admission.estimate_wait(model, priority)
    }

    /// Refuses new tasks from now on.
    pub(crate) fn start_closing(&self) {
        // Set under the lock: a submission is either in the store already, or it sees the flag.
        let _store = self.store.lock();
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn running(&self) -> Vec<Arc<TaskHandle>> {
        self.store.lock().running().cloned().collect()
    }

    /// Applies changes to a task. Returns whether the task has not ended.
    pub(crate) fn apply(
        &self,
        task: &TaskHandle,
        changes: impl IntoIterator<Item = TaskChange>,
    ) -> bool {
        let effect = task.apply(changes, self.now());
        if self.store.lock().grow(&task.id, effect.bytes).is_ok() {
            return effect.is_active;
        }
        let message = "the memory for tasks is full; read and finish fewer at a time";
        let error = TaskError::new(ErrorCode::QueueFull, message);
        task.apply([error.into()], self.now());
        false
    }

    /// The run of a task is over.
    pub(crate) fn run_ended(&self, task: &TaskHandle) {
        let now = self.now();
        // This changes only a task that has not ended: its run was dropped when the process ended,
        // or by a panic.
        let error = if self.closing.load(Ordering::Relaxed) {
            shutting_down()
        } else {
            TaskError::new(ErrorCode::Internal, "the task was lost").into()
        };
        task.apply([error], now);
        let (state, tokens, bytes, age) = task.with_task(|task| {
            (
                task.state(),
                task.tokens(),
                task.log().bytes(),
                task.age(now),
            )
        });
        tracing::debug!(task = %task.id, ?state, tokens, ms = millis(age), "a task ended");
        self.store.lock().end(&task.id, TASK_BYTES + bytes, now);
        self.expiry_changed.notify_one();
        self.activity_ended.notify_waiters();
    }

    /// Finds the task with this id, or creates one. Returns whether it is new.
    pub(crate) fn find_or_create(
        &self,
        id: Option<TaskId>,
        request: &EngineRequest,
    ) -> Result<(Arc<TaskHandle>, bool), ApiError> {
        let fingerprint = request.fingerprint();
        let now = self.now();
        let mut store = self.store.lock();
        let known = id.as_ref().and_then(|id| store.get(id, now)).cloned();
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
        let task = Arc::new(TaskHandle::new(id.clone(), fingerprint, request, task));
        let bytes = TASK_BYTES + request.body.len();
        store
            .insert(id, Arc::clone(&task), bytes, now)
            .map_err(|full| ApiError::new(ErrorCode::QueueFull, full.to_string()))?;
        Ok((task, true))
    }
}

/// The change that ends a task when the process stops.
pub(crate) fn shutting_down() -> TaskChange {
    TaskError::new(ErrorCode::ShuttingDown, "this control plane is stopping").into()
}

/// A random id. Who knows the id of a task may read it, so the system makes it: a generator that is
/// only fast can be guessed from its earlier numbers.
fn random_id() -> Result<TaskId, ApiError> {
    let internal = |error: &dyn fmt::Display| ApiError::new(ErrorCode::Internal, error.to_string());
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| internal(&error))?;
    TaskId::new(&format!("task-{:032x}", u128::from_be_bytes(random)))
        .map_err(|error| internal(&error))
}
