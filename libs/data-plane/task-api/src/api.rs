//! The task API: submit, find, read and cancel tasks.

use std::{fmt, future::pending, pin::pin, sync::Arc, time::Duration};

use admission::{Admission, WaitEstimate};
use http_server::{ApiError, Principal};
use inference_gateway::Gateway;
use pool_registry_types::{ErrorCode, TaskId, millis};
use service_runtime::Tasks;
use tokio::time::{sleep_until, timeout};

use crate::{
    config::TaskConfig,
    event::{EventId, Forecast},
    handle::TaskHandle,
    reader::{EventReader, ResumeError},
    request::TaskRequest,
    run::{StartRefused, TaskRun},
    shared::{Shared, shutting_down},
    task::{TaskChange, TaskState},
};

/// The task API. Clones are cheap and share the state.
#[derive(Clone)]
pub struct TaskApi {
    shared: Arc<Shared>,
    tasks: Tasks,
}

impl fmt::Debug for TaskApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskApi")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

impl TaskApi {
    /// Runs tasks through `gateway`. `admission` must be the gateway's; it estimates waiting times.
    /// Each run is spawned on `tasks` under the name `task`.
    #[must_use]
    pub fn new(config: TaskConfig, gateway: Gateway, admission: Admission, tasks: Tasks) -> Self {
        Self {
            shared: Arc::new(Shared::new(config, gateway, admission)),
            tasks,
        }
    }

    /// Forgets expired tasks in time, until `stop`. Without this task they are forgotten when room
    /// is needed or the store is accessed.
    pub async fn sweep(self, stop: impl Future<Output = ()>) {
        let shared = self.shared;
        let mut stop = pin!(stop);
        loop {
            let next = shared.store.lock().next_expiry();
            let timer = async {
                match next.and_then(|at| shared.origin.checked_add(at)) {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = &mut stop => return,
                () = timer => shared.store.lock().expire(shared.now()),
                () = shared.expiry_changed.notified() => {}
            }
        }
    }

    /// Refuses new tasks, and returns when all others have ended.
    ///
    /// A task with a reader may run on until `limit`; a task without one is ended at once. Tasks
    /// that are ended get an `error` event with the code `SHUTTING_DOWN`.
    ///
    /// Call it beside the server's drain with a limit slightly shorter than the drain's, so that
    /// readers still get the last events.
    pub async fn close(&self, limit: Duration) {
        self.shared.start_closing();
        let all_ended = async {
            loop {
                let activity_ended = self.shared.activity_ended.notified();
                let mut activity_ended = pin!(activity_ended);
                // Enabled before the check, so that no end in between is missed.
                activity_ended.as_mut().enable();
                let running = self.shared.running();
                if running.is_empty() {
                    return;
                }
                for task in running.iter().filter(|task| task.readers() == 0) {
                    task.end(shutting_down(), self.shared.now());
                }
                activity_ended.await;
            }
        };
        if timeout(limit, all_ended).await.is_err() {
            for task in self.shared.running() {
                task.end(shutting_down(), self.shared.now());
            }
        }
    }

    /// Starts a task of `owner`, or finds the one that an equal request created before.
    pub(crate) async fn submit(
        &self,
        request: TaskRequest,
        owner: Principal,
    ) -> Result<Arc<TaskHandle>, ApiError> {
        let id = request.task_id.clone();
        let request = request.into_engine_request()?;
        let (task, is_new) = self.shared.find_or_create(id, &request)?;
        if !is_new {
            return Ok(task);
        }
        let estimate = self.shared.estimate_wait(&request.model, request.priority);
        task.set_forecast(forecast(estimate, estimate.ahead));
        let mut run = TaskRun::new(Arc::clone(&self.shared), Arc::clone(&task), request, owner);
        if let Err(StartRefused { error, retry_after }) = run.start().await {
            let api_error = ApiError {
                code: error.code,
                message: error.message.clone().into(),
                retry_after,
            };
            // The id is free again. Readers that found the task meanwhile get the error.
            task.end(error.into(), self.shared.now());
            drop(run);
            let mut store = self.shared.store.lock();
            store.remove(&task.id, |stored| Arc::ptr_eq(stored, &task));
            return Err(api_error);
        }
        self.tasks.spawn_isolated("task", run.run_to_end());
        Ok(task)
    }

    pub(crate) fn find(&self, id: &TaskId) -> Result<Arc<TaskHandle>, ApiError> {
        let now = self.shared.now();
        let mut store = self.shared.store.lock();
        store.get(id, now).cloned().ok_or_else(|| {
            ApiError::new(
                ErrorCode::NotFound,
                format!("there is no task {id}, or it ended too long ago"),
            )
        })
    }

    /// Cancels a task. A task that has ended is not changed.
    pub(crate) fn cancel(&self, id: &TaskId) -> Result<(), ApiError> {
        self.find(id)?.end(TaskChange::Cancelled, self.shared.now());
        Ok(())
    }

    pub(crate) fn read(
        &self,
        id: &TaskId,
        last: Option<EventId>,
    ) -> Result<Result<EventReader, ResumeError>, ApiError> {
        let task = self.find(id)?;
        let left = Arc::clone(&self.shared.activity_ended);
        Ok(EventReader::new(task, last, left))
    }

    pub(crate) fn now(&self) -> Duration {
        self.shared.now()
    }

    /// The present position of a waiting task in the queue. It never moves back, because later
    /// requests queue behind it.
    pub(crate) fn forecast(&self, task: &TaskHandle) -> Option<Forecast> {
        let initial =
            task.with_task(|task| (task.state() == TaskState::Queued).then(|| task.forecast()))?;
        let estimate = self.shared.estimate_wait(&task.model, task.priority);
        // The task itself is one of the requests ahead of a new one.
        let position = initial.queue_position.min(estimate.ahead.saturating_sub(1));
        Some(forecast(estimate, position))
    }
}

fn forecast(estimate: WaitEstimate, position: usize) -> Forecast {
    Forecast {
        queue_position: position,
        predicted_start_ms: estimate.starts_in(position).map(millis),
    }
}
