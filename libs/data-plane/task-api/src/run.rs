//! Runs a task: sends its request through the gateway like a client's, and applies the response to
//! the task.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use http_server::{Caller, Principal, RequestBody, RequestId};
use inference_gateway::{GatewayBody, QueueTimeout};
use pool_registry_types::{ErrorCode, NodeId, headers, millis};
use sse::Parser;
use tokio::time::Instant;

use crate::{
    event::{ServedBy, TaskError},
    handle::TaskHandle,
    request::{EngineRequest, Placement},
    response::{self, ResponseReader},
    shared::Shared,
    task::TaskChange,
};

const PRIORITY: HeaderName = HeaderName::from_static("x-priority");
const SESSION: HeaderName = HeaderName::from_static("x-session-id");
const PIN_NODE: HeaderName = HeaderName::from_static("x-llorch-pin-node");
const DEADLINE: HeaderName = HeaderName::from_static("x-deadline-ms");

/// The largest part of an error response that is read.
pub(crate) const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The largest event. A token has a few hundred bytes, and about 10 KiB with log-probabilities.
pub(crate) const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// A running task. Dropping it releases the engine and ends the task.
pub(crate) struct TaskRun {
    /// The response that is awaited.
    response: Option<BoxFuture<'static, Response<GatewayBody>>>,
    /// The targets that were not tried yet.
    targets: VecDeque<Target>,
    request: EngineRequest,
    /// Who has submitted the task.
    owner: Principal,
    deadline: Instant,
    guard: RunGuard,
}

/// Where the request may go, and how long it may wait for a slot there.
struct Target {
    /// The only node that may serve it, if it is pinned.
    pin: Option<NodeId>,
    queue_timeout: Duration,
}

/// The gateway refused the request at once.
pub(crate) struct StartRefused {
    pub(crate) error: TaskError,
    pub(crate) retry_after: Option<Duration>,
}

impl TaskRun {
    pub(crate) fn new(
        shared: Arc<Shared>,
        task: Arc<TaskHandle>,
        request: EngineRequest,
        owner: Principal,
    ) -> Self {
        let config = &shared.config;
        let target = |pin: Option<&NodeId>, queue_timeout| Target {
            pin: pin.cloned(),
            queue_timeout,
        };
        let targets = match &request.placement {
            Placement::Auto => [target(None, config.max_wait)].into(),
            Placement::Pin(node) => [target(Some(node), config.max_wait)].into(),
            // The task does not wait for the preferred node: any node with a free slot is better.
            Placement::Prefer(node) => [
                target(Some(node), Duration::ZERO),
                target(None, config.max_wait),
            ]
            .into(),
        };
        let limit = request.deadline.unwrap_or(config.max_duration);
        Self {
            response: None,
            targets,
            deadline: Instant::now() + limit,
            request,
            owner,
            guard: RunGuard { shared, task },
        }
    }

    /// Requests a slot. The gateway decides at once whether the task runs, waits or is refused. A
    /// refusal becomes the response to the client's submission.
    pub(crate) async fn start(&mut self) -> Result<(), StartRefused> {
        loop {
            let Some(mut pending) = self.send_to_next_target() else {
                return Ok(());
            };
            let response = match (&mut pending).now_or_never() {
                None => {
                    self.response = Some(pending);
                    return Ok(());
                }
                Some(response) => response,
            };
            if response.status().is_success() {
                self.response = Some(std::future::ready(response).boxed());
                return Ok(());
            }
            let refused = read_refusal(response).await;
            if self.targets.is_empty() {
                return Err(refused);
            }
        }
    }

    /// Runs the task until it ends, by itself or from outside.
    pub(crate) async fn run_to_end(mut self) {
        let task = Arc::clone(&self.guard.task);
        tokio::select! {
            biased;
            () = task.stopped() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        while let Some(pending) = self.response.take().or_else(|| self.send_to_next_target()) {
            let response = pending.await;
            if response.status().is_success() {
                return self.read(response).await;
            }
            let StartRefused { error, .. } = read_refusal(response).await;
            if self.targets.is_empty() || !error.retriable {
                self.guard.apply([error.into()]);
                return;
            }
        }
    }

    fn send_to_next_target(&mut self) -> Option<BoxFuture<'static, Response<GatewayBody>>> {
        let target = self.targets.pop_front()?;
        let pin = target.pin.as_ref();
        let mut request = http_request(&self.request, &self.guard.task, pin, self.deadline);
        request.body_mut().set_principal(self.owner.clone());
        request
            .extensions_mut()
            .insert(QueueTimeout(target.queue_timeout));
        let gateway = self.guard.shared.gateway.clone();
        Some(async move { gateway.handle(request).await }.boxed())
    }

    async fn read(&mut self, response: Response<GatewayBody>) {
        let (parts, body) = response.into_parts();
        let started = TaskChange::Started(served_by(&parts.headers));
        if !self.guard.apply([started]) {
            return;
        }
        let is_event_stream = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if is_event_stream {
            self.read_events(body).await;
        } else {
            self.read_whole(body).await;
        }
    }

    async fn read_events(&mut self, mut body: GatewayBody) {
        let mut parser = Parser::new(MAX_EVENT_BYTES);
        let mut reader = ResponseReader::default();
        let mut changes = Vec::new();
        loop {
            // An error of the body ends it. The reader notices that the end is missing.
            let data = match body.frame().await {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(_)) | None => break,
            };
            let is_valid = read_events(&mut parser, &data, &mut reader, &mut changes);
            if !changes.is_empty() && !self.guard.apply(changes.drain(..)) {
                return;
            }
            if !is_valid {
                let message = format!(
                    "an event of the answer is longer than the {MAX_EVENT_BYTES} bytes that a \
                     task reads"
                );
                let error = TaskError::new(ErrorCode::PayloadTooLarge, message);
                self.guard.apply([error.into()]);
                return;
            }
        }
        reader.end(&mut changes);
        self.guard.apply(changes);
    }

    async fn read_whole(&mut self, body: GatewayBody) {
        let limit = self.guard.shared.config.max_task_bytes;
        let mut changes = Vec::new();
        match Limited::new(body, limit).collect().await {
            Ok(body) => ResponseReader::default().whole(&body.to_bytes(), &mut changes),
            Err(error) => {
                let is_too_long = error.is::<LengthLimitError>();
                changes.push(self.incomplete(is_too_long, limit).into());
            }
        }
        self.guard.apply(changes);
    }

    /// Why a whole response could not be read.
    fn incomplete(&self, is_too_long: bool, limit: usize) -> TaskError {
        if is_too_long {
            let message =
                format!("the answer is longer than the {limit} bytes that are kept of a task");
            TaskError::new(ErrorCode::PayloadTooLarge, message)
        } else if Instant::now() >= self.deadline {
            let message = "the task's deadline passed in the middle of the answer";
            TaskError::new(ErrorCode::DeadlineExceeded, message)
        } else {
            let message = "the engine broke off in the middle of its answer";
            TaskError::new(ErrorCode::WorkerReset, message)
        }
    }
}

/// Reads the events that `piece` completes. Returns false when an event is too long.
pub(crate) fn read_events(
    parser: &mut Parser,
    mut piece: &[u8],
    reader: &mut ResponseReader,
    changes: &mut Vec<TaskChange>,
) -> bool {
    loop {
        match parser.next_event(&mut piece) {
            Ok(Some(event)) => reader.event(event.name, event.data, changes),
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// The request as a client would send it.
fn http_request(
    request: &EngineRequest,
    task: &TaskHandle,
    pin: Option<&NodeId>,
    deadline: Instant,
) -> Request<RequestBody> {
    // The task's id identifies the request in all logs.
    let id = RequestId::new(task.id.as_str()).unwrap_or_else(RequestId::random);
    let body = RequestBody::from(request.body.clone()).sent_by(Caller { peer: None, id });
    let mut http = Request::new(body);
    *http.method_mut() = Method::POST;
    *http.uri_mut() = http::Uri::from_static(request.path);
    // At least 1 ms: the gateway then reports that the deadline has passed.
    let left = millis(deadline.saturating_duration_since(Instant::now())).max(1);
    let session = request.session.as_ref();
    let optional = [
        (PRIORITY, Some(request.priority.as_str())),
        (SESSION, session.map(|session| session.as_str())),
        (PIN_NODE, pin.map(NodeId::as_str)),
    ];
    let headers = http.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(DEADLINE, HeaderValue::from(left));
    for (name, value) in optional {
        // Ids are valid header values by construction.
        if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
            headers.insert(name, value);
        }
    }
    http
}

/// Which engine responds, from the gateway's headers.
fn served_by(response: &HeaderMap) -> ServedBy {
    let text = |name: HeaderName| response.get(name)?.to_str().ok();
    ServedBy {
        node_id: text(headers::NODE).and_then(|id| id.parse().ok()),
        pool_id: text(headers::POOL).and_then(|id| id.parse().ok()),
        replica_id: text(headers::REPLICA).and_then(|id| id.parse().ok()),
        attempts: text(headers::ATTEMPTS).and_then(|count| count.parse().ok()),
    }
}

/// Reads an error response.
async fn read_refusal(response: Response<GatewayBody>) -> StartRefused {
    let (parts, body) = response.into_parts();
    let retry_after = parts
        .headers
        .get(headers::BACKOFF_MS)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_millis);
    let body = Limited::new(body, MAX_ERROR_BYTES)
        .collect()
        .await
        .map_or_else(|_| Bytes::new(), |body| body.to_bytes());
    StartRefused {
        error: response::read_error(&body, parts.status),
        retry_after,
    }
}

/// Ends the task when its run ends, for whatever reason.
struct RunGuard {
    shared: Arc<Shared>,
    task: Arc<TaskHandle>,
}

impl RunGuard {
    /// Applies changes to the task. Returns whether the task has not ended.
    fn apply(&self, changes: impl IntoIterator<Item = TaskChange>) -> bool {
        self.shared.apply(&self.task, changes)
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        self.shared.run_ended(&self.task);
    }
}
