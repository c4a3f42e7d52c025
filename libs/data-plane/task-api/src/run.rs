//! Runs a task: sends its request through the gateway like any client's, and tells the task what
//! comes of it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use http_server::{Caller, RequestBody, RequestId};
use inference_gateway::{GatewayBody, QueueTimeout};
use pool_registry_types::{ErrorCode, NodeId, headers};
use sse::Parser;
use tokio::time::Instant;

use crate::{
    answer::{self, Answer},
    api::Shared,
    event::{Failure, Place},
    live::Live,
    request::{Job, Placement},
    task::{Change, millis},
};

const PRIORITY: HeaderName = HeaderName::from_static("x-priority");
const SESSION: HeaderName = HeaderName::from_static("x-session-id");
const PIN_NODE: HeaderName = HeaderName::from_static("x-llorch-pin-node");
const DEADLINE: HeaderName = HeaderName::from_static("x-deadline-ms");

/// The most of an error answer that is read.
pub(crate) const MAX_ERROR_BYTES: usize = 64 * 1024;

/// The longest event. A token is a few hundred bytes; one with all log-probabilities some 10 KiB.
pub(crate) const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// A task on its way. Dropping it lets go of the engine and ends the task.
pub(crate) struct Run {
    answering: Option<BoxFuture<'static, Response<GatewayBody>>>,
    /// Where it may still be sent.
    ways: VecDeque<Way>,
    job: Job,
    deadline: Instant,
    ending: Ending,
}

/// Where a request may go, and how long it may wait for it.
struct Way {
    /// Only this node will do.
    pin: Option<NodeId>,
    patience: Duration,
}

/// How a request ended at once.
pub(crate) struct Refused {
    pub(crate) failure: Failure,
    pub(crate) retry_after: Option<Duration>,
}

impl Run {
    pub(crate) fn new(shared: Arc<Shared>, live: Arc<Live>, job: Job) -> Self {
        let config = &shared.config;
        let way = |pin: Option<&NodeId>, patience| Way {
            pin: pin.cloned(),
            patience,
        };
        let ways = match &job.placement {
            Placement::Auto => [way(None, config.max_wait)].into(),
            Placement::Pin(node) => [way(Some(node), config.max_wait)].into(),
            // It does not wait there: whoever can serve it at once is better.
            Placement::Prefer(node) => {
                [way(Some(node), Duration::ZERO), way(None, config.max_wait)].into()
            }
        };
        let limit = job.deadline.unwrap_or(config.max_duration);
        Self {
            answering: None,
            ways,
            deadline: Instant::now() + limit,
            job,
            ending: Ending { shared, live },
        }
    }

    /// Asks for a slot. The gateway decides at once whether there is one, whether the task waits
    /// its turn, or why there never will be one; the last is told to the client as the answer
    /// to its request.
    pub(crate) async fn begin(&mut self) -> Result<(), Refused> {
        loop {
            let Some(mut answering) = self.next_way() else {
                return Ok(());
            };
            let response = match (&mut answering).now_or_never() {
                None => {
                    self.answering = Some(answering);
                    return Ok(());
                }
                Some(response) => response,
            };
            if response.status().is_success() {
                self.answering = Some(std::future::ready(response).boxed());
                return Ok(());
            }
            let refused = refusal(response).await;
            if self.ways.is_empty() {
                return Err(refused);
            }
        }
    }

    /// Sees the task to its end.
    pub(crate) async fn drive(mut self) {
        let live = Arc::clone(&self.ending.live);
        tokio::select! {
            biased;
            () = live.stopped() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        while let Some(answering) = self.answering.take().or_else(|| self.next_way()) {
            let response = answering.await;
            if response.status().is_success() {
                return self.read(response).await;
            }
            let Refused { failure, .. } = refusal(response).await;
            if self.ways.is_empty() || !failure.retriable {
                self.ending.tell([failure.into()]);
                return;
            }
        }
    }

    fn next_way(&mut self) -> Option<BoxFuture<'static, Response<GatewayBody>>> {
        let way = self.ways.pop_front()?;
        let mut request = request(
            &self.job,
            &self.ending.live,
            way.pin.as_ref(),
            self.deadline,
        );
        request.extensions_mut().insert(QueueTimeout(way.patience));
        let gateway = self.ending.shared.gateway.clone();
        Some(async move { gateway.handle(request).await }.boxed())
    }

    async fn read(&mut self, response: Response<GatewayBody>) {
        let (parts, body) = response.into_parts();
        if !self.ending.tell([Change::Started(place(&parts.headers))]) {
            return;
        }
        let is_events = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if is_events {
            self.read_events(body).await;
        } else {
            self.read_whole(body).await;
        }
    }

    async fn read_events(&mut self, mut body: GatewayBody) {
        let mut parser = Parser::new(MAX_EVENT_BYTES);
        let mut answer = Answer::default();
        let mut changes = Vec::new();
        loop {
            // An error of the body is its end; that it came too early is seen by what is missing.
            let data = match body.frame().await {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(_)) | None => break,
            };
            let is_valid = read_events(&mut parser, &data, &mut answer, &mut changes);
            if !changes.is_empty() && !self.ending.tell(changes.drain(..)) {
                return;
            }
            if !is_valid {
                break;
            }
        }
        answer.end(&mut changes);
        self.ending.tell(changes);
    }

    async fn read_whole(&mut self, body: GatewayBody) {
        let cap = self.ending.shared.config.max_task_bytes;
        let mut changes = Vec::new();
        match Limited::new(body, cap).collect().await {
            Ok(body) => Answer::default().whole(&body.to_bytes(), &mut changes),
            Err(error) => changes.push(self.broken(error.is::<LengthLimitError>(), cap).into()),
        }
        self.ending.tell(changes);
    }

    fn broken(&self, too_long: bool, cap: usize) -> Failure {
        if too_long {
            let message =
                format!("the answer is longer than the {cap} bytes that are kept of a task");
            Failure::new(ErrorCode::PayloadTooLarge, message)
        } else if Instant::now() >= self.deadline {
            let message = "the task's deadline passed in the middle of the answer";
            Failure::new(ErrorCode::DeadlineExceeded, message)
        } else {
            let message = "the engine broke off in the middle of its answer";
            Failure::new(ErrorCode::WorkerReset, message)
        }
    }
}

/// Reads the events that `piece` completes. Returns false when an event is too long.
pub(crate) fn read_events(
    parser: &mut Parser,
    mut piece: &[u8],
    answer: &mut Answer,
    changes: &mut Vec<Change>,
) -> bool {
    loop {
        match parser.next_event(&mut piece) {
            Ok(Some(event)) => answer.event(event.name, event.data, changes),
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// The request as any client would send it.
fn request(
    job: &Job,
    live: &Live,
    pin: Option<&NodeId>,
    deadline: Instant,
) -> Request<RequestBody> {
    // The task's id names the request in every log on the way.
    let id = RequestId::new(live.id.as_str()).unwrap_or_else(RequestId::random);
    let body = RequestBody::from(job.body.clone()).sent_by(Caller { peer: None, id });
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(job.path);
    // At least 1: what is left when nothing is left; the gateway says then that it is over.
    let left = millis(deadline.saturating_duration_since(Instant::now())).max(1);
    let marks = [
        (PRIORITY, Some(job.priority.as_str())),
        (
            SESSION,
            job.session.as_ref().map(|session| session.as_str()),
        ),
        (PIN_NODE, pin.map(NodeId::as_str)),
    ];
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(DEADLINE, HeaderValue::from(left));
    for (name, value) in marks {
        // An id is a header value by its own rules.
        if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
            headers.insert(name, value);
        }
    }
    request
}

/// Who answers, as the gateway says.
fn place(answer: &HeaderMap) -> Place {
    let text = |name: HeaderName| answer.get(name)?.to_str().ok();
    Place {
        node_id: text(headers::NODE).and_then(|id| id.parse().ok()),
        pool_id: text(headers::POOL).and_then(|id| id.parse().ok()),
        replica_id: text(headers::REPLICA).and_then(|id| id.parse().ok()),
        attempts: text(headers::ATTEMPTS).and_then(|count| count.parse().ok()),
    }
}

/// What an answer that is none says.
async fn refusal(response: Response<GatewayBody>) -> Refused {
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
    Refused {
        failure: answer::failure(&body, parts.status),
        retry_after,
    }
}

/// The end of a run, whatever it is: the task has an end too, and counts as ended.
struct Ending {
    shared: Arc<Shared>,
    live: Arc<Live>,
}

impl Ending {
    /// Tells the task what came; false when it wants no more.
    fn tell(&self, changes: impl IntoIterator<Item = Change>) -> bool {
        self.shared.tell(&self.live, changes)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.shared.ended(&self.live);
    }
}
