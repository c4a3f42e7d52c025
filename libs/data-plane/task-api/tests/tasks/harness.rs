//! A listening task API, engines behind it, and a client that may lose its connection.

use std::{sync::Arc, time::Duration};

use admission::Admission;
use bytes::Bytes;
use fake_engine::{FakeEngine, Script};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::BodyExt as _;
use http_server::{Limits, Principal};
use inference_gateway::{Gateway, GatewayConfig, GatewayMetrics};
use node_transport::{NodeReport, NodeRequest, NodeResponse, NodeTransport, TransportError};
use pool_registry_types::HttpUrl;
use routing_table::{RouteChange, RouteSink as _};
use serde_json::{Value, json};
use service_runtime::{Shutdown, Tasks};
use stream_proxy::{Outbound, ProxyBody, StreamProxy, Timeouts};
use task_api::{TaskApi, TaskConfig};
use test_fixtures::TestEndpoint;

/// The time limit of every condition. Tests never wait for it to pass.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Service {
    pub(crate) url: HttpUrl,
    pub(crate) api: TaskApi,
    pub(crate) admission: Admission,
    pub(crate) tasks: Tasks,
    pub(crate) gateway: Gateway,
    client: StreamProxy,
}

/// The settings of a test.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) tasks: TaskConfig,
    pub(crate) admission: admission::AdmissionConfig,
    /// Whose tasks they are.
    pub(crate) owner: Option<Principal>,
}

/// One engine per script, on the nodes `n0`, `n1`, ….
pub(crate) fn engines<const N: usize>(scripts: [Script; N]) -> [FakeEngine; N] {
    scripts.map(|script| FakeEngine::start(script).unwrap())
}

/// A script with one slot.
pub(crate) fn single() -> Script {
    Script {
        slots: 1,
        ..Script::default()
    }
}

/// A script whose answer does not end within a test.
pub(crate) fn endless() -> Script {
    Script {
        tokens: 1_000_000,
        token_delay: Duration::from_millis(2),
        ..single()
    }
}

/// Timeouts for a loaded machine, on which a connection may take long.
fn long_timeouts() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(60),
        ..Timeouts::default()
    }
}

fn endpoint(number: usize, engine: &FakeEngine) -> RouteChange {
    let script = engine.script();
    let endpoint = TestEndpoint {
        target: HttpUrl::new(&engine.url()).unwrap(),
        models: Some(script.models),
        ..TestEndpoint::of_pool(&format!("n{number}"), script.slots)
    };
    endpoint.set()
}

/// Sends requests directly to the engines.
#[derive(Debug)]
struct Engines(StreamProxy);

impl NodeTransport for Engines {
    fn send<'a>(
        &'a self,
        request: NodeRequest<'a>,
    ) -> BoxFuture<'a, Result<NodeResponse, TransportError>> {
        Box::pin(async move {
            let target = request.endpoint.target();
            let sent = self.0.forward(target, request.outbound, request.timeouts);
            Ok(NodeResponse {
                response: sent.await.map_err(TransportError::failed)?,
                report: NodeReport::default(),
            })
        })
    }
}

impl Service {
    pub(crate) async fn over(engines: &[FakeEngine]) -> Self {
        Self::with(engines, Settings::default()).await
    }

    pub(crate) async fn with(engines: &[FakeEngine], settings: Settings) -> Self {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let admission = Admission::new(settings.admission);
        let endpoints = engines.iter().enumerate();
        let endpoints: Vec<_> = endpoints
            .map(|(number, engine)| endpoint(number, engine))
            .collect();
        admission.apply(&endpoints);
        tasks.spawn_unjoined("admission", admission.clone().run());
        let gateway = Gateway::new(
            GatewayConfig {
                timeouts: long_timeouts(),
                ..GatewayConfig::default()
            },
            admission.clone(),
            Arc::new(Engines(StreamProxy::new())),
            GatewayMetrics::default(),
        );
        let api = TaskApi::new(
            settings.tasks,
            gateway.clone(),
            admission.clone(),
            tasks.clone(),
        );
        let stop = shutdown.clone();
        tasks.spawn(
            "old-tasks",
            api.clone().sweep(async move { stop.requested().await }),
        );
        let bound = http_server::bind("127.0.0.1:0".parse().unwrap(), Limits::default()).unwrap();
        let url = HttpUrl::new(&format!("http://{}", bound.local_addr())).unwrap();
        let routes = match settings.owner {
            Some(owner) => api.clone().router().layer(axum::Extension(owner)),
            None => api.clone().router(),
        };
        let router = http_server::unguarded_router(http_server::with_fallbacks(routes));
        bound.serve(router, &tasks, shutdown).unwrap();
        Self {
            url,
            api,
            admission,
            tasks,
            gateway,
            client: StreamProxy::new(),
        }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        last_event_id: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Response<ProxyBody> {
        let headers = last_event_id.map(|id| (http::HeaderName::from_static("last-event-id"), id));
        let headers: HeaderMap = headers
            .into_iter()
            .map(|(name, id)| (name, HeaderValue::from_str(id).unwrap()))
            .collect();
        let request = Outbound::new(method, path.parse().unwrap(), headers, body.into());
        self.client
            .forward(&self.url, &request, long_timeouts())
            .await
            .unwrap()
    }

    /// Status and JSON of an answer; `null` for an empty one.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> (u16, Value) {
        let answer = self.send(method, path, None, body).await;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        if bytes.is_empty() {
            return (status, Value::Null);
        }
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    /// Submits a task; the answer is 202.
    pub(crate) async fn submit(&self, task: &Value) -> Value {
        let (status, answer) = self.call(Method::POST, "/v2/tasks", task.to_string()).await;
        assert_eq!(status, 202, "{answer}");
        answer
    }

    /// Submits a task that is refused. Returns the status and the code.
    pub(crate) async fn refused(&self, task: &Value) -> (u16, String) {
        let (status, answer) = self.call(Method::POST, "/v2/tasks", task.to_string()).await;
        (status, answer["error"]["code"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn show(&self, id: &str) -> Value {
        let (status, answer) = self.call(Method::GET, &format!("/v2/tasks/{id}"), "").await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    pub(crate) async fn cancel(&self, id: &str) {
        let (status, answer) = self
            .call(Method::POST, &format!("/v2/tasks/{id}/cancel"), "")
            .await;
        assert_eq!((status, answer), (204, Value::Null));
    }

    /// Waits until the task is in `state`.
    pub(crate) async fn until_state(&self, id: &str, state: &str) {
        let waited = tokio::time::timeout(LIMIT, async {
            while self.show(id).await["state"] != state {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(waited.await.is_ok(), "{id} never was {state}");
    }

    /// Opens a task's events after `last`.
    pub(crate) async fn open(&self, id: &str, last: Option<&str>) -> Events {
        let answer = self
            .send(Method::GET, &format!("/v2/tasks/{id}/events"), last, "")
            .await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Events {
            body: answer.into_body(),
            held: String::new(),
        }
    }

    /// A task's events from the first to the last.
    pub(crate) async fn events(&self, id: &str) -> Vec<Event> {
        self.open(id, None).await.rest().await
    }
}

/// One event as it came over the wire.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// An open stream of events. Dropping it cuts the connection.
pub(crate) struct Events {
    body: ProxyBody,
    held: String,
}

impl Events {
    /// The next event; `None` after the proper end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.held.split_once("\n\n") {
                let event = parse(event);
                self.held = rest.to_owned();
                if event.is_some() {
                    return event;
                }
                continue;
            }
            let frame = tokio::time::timeout(LIMIT, self.body.frame())
                .await
                .expect("an event in time");
            let Some(frame) = frame else {
                assert_eq!(self.held, "", "the stream ended in the middle of an event");
                return None;
            };
            let data = frame.unwrap().into_data().unwrap();
            self.held.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    pub(crate) async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// Parses the three lines of an event. Returns `None` for a comment.
fn parse(text: &str) -> Option<Event> {
    if text.starts_with(':') {
        return None;
    }
    let mut lines = text.lines();
    let mut value = |field: &str| {
        lines
            .next()
            .unwrap()
            .strip_prefix(field)
            .unwrap()
            .to_owned()
    };
    Some(Event {
        id: value("id: "),
        name: value("event: "),
        data: serde_json::from_str(&value("data: ")).unwrap(),
    })
}

pub(crate) fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

/// The numbers of the tokens.
pub(crate) fn tokens(events: &[Event]) -> Vec<u64> {
    events
        .iter()
        .filter(|event| event.name == "token")
        .map(|event| event.data["i"].as_u64().unwrap())
        .collect()
}

/// The code of the error that the events end with.
pub(crate) fn code(events: &[Event]) -> &str {
    let last = events.last().unwrap();
    assert_eq!(last.name, "error", "{last:?}");
    last.data["code"].as_str().unwrap()
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(LIMIT, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "timed out waiting until {what}");
}

/// A chat with an id of its own.
pub(crate) fn chat(id: &str) -> Value {
    let messages = json!([{"role": "user", "content": "hi"}]);
    json!({"task_id": id, "workload": "chat", "model_ref": "tiny", "messages": messages})
}

pub(crate) fn with(mut task: Value, field: &str, value: Value) -> Value {
    task[field] = value;
    task
}
