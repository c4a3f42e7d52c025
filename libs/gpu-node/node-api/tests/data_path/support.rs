//! A node over engines, and a client.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fake_engine::FakeEngine;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use http_body_util::BodyExt;
use http_server::{Limits, Unguarded};
use node_api::{DataPath, DataPathConfig, Dispatcher, NodeMetrics};
use pool_registry::PoolRegistry;
use pool_registry_types::{Handoff, HttpUrl};
use service_runtime::{Shutdown, Tasks};
use stream_proxy::{Outbound, ProxyBody, StreamProxy, Timeouts};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A test that reaches this limit has failed. No test waits for it otherwise.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) const CHAT: &str = "/v2/pools/pool-0/engine/v1/chat/completions";

pub(crate) struct Node {
    url: HttpUrl,
    pub(crate) registry: PoolRegistry,
    /// The same node for a gateway in this process.
    pub(crate) dispatcher: Dispatcher,
    client: StreamProxy,
    _tasks: Tasks,
}

pub(crate) fn handoff(engine: &FakeEngine, replica: &str) -> Handoff {
    let script = engine.script();
    handoff_of(&engine.url(), replica, script.slots)
}

pub(crate) fn handoff_of(url: &str, replica: &str, slots: u32) -> Handoff {
    let json = serde_json::json!({
        "pool_id": "pool-0", "replica_id": replica, "engine": "llamacpp", "url": url,
        "slots": slots, "models": ["tiny"],
    });
    serde_json::from_value(json).unwrap()
}

/// An engine that responds to everything with `raw` and closes the connection.
pub(crate) async fn raw_engine(raw: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let tasks = Tasks::new(Shutdown::new());
    tasks.spawn("engine", async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(raw.as_bytes()).await;
        }
    });
    url
}

impl Node {
    pub(crate) fn over(engines: &[&FakeEngine]) -> Self {
        let config = DataPathConfig {
            max_body_bytes: 10_000,
            ..DataPathConfig::default()
        };
        Self::with(config, engines)
    }

    pub(crate) fn with(config: DataPathConfig, engines: &[&FakeEngine]) -> Self {
        let registry = PoolRegistry::new(Vec::new());
        for (number, engine) in engines.iter().enumerate() {
            registry
                .upsert(handoff(engine, &format!("r{number}")))
                .unwrap();
        }
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let gpus = tokio::sync::watch::channel(Arc::default()).1;
        let routes = node_api::routes(registry.clone(), gpus, Arc::default(), None);
        let control = http_server::with_fallbacks(routes.into_router());
        let dispatcher = Dispatcher::new(
            registry.clone(),
            StreamProxy::new(),
            config,
            None,
            NodeMetrics::default(),
        );
        let service = Unguarded::new(DataPath::new(dispatcher.clone(), control));
        let bound = http_server::bind("127.0.0.1:0".parse().unwrap(), Limits::default()).unwrap();
        let url = HttpUrl::new(&format!("http://{}", bound.local_addr())).unwrap();
        bound.serve(service, &tasks, shutdown).unwrap();
        Self {
            url,
            registry,
            dispatcher,
            client: StreamProxy::new(),
            _tasks: tasks,
        }
    }

    /// A connection that sends these bytes, valid or not.
    pub(crate) async fn raw(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.url.authority().as_str())
            .await
            .unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<ProxyBody> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        let request = Outbound::new(
            method,
            path.parse().unwrap(),
            headers,
            Bytes::from(body.to_owned()),
        );
        self.client
            .forward(&self.url, &request, Timeouts::default())
            .await
            .unwrap()
    }

    pub(crate) async fn chat(&self, x_fake: &str) -> Response<ProxyBody> {
        self.send(
            Method::POST,
            CHAT,
            &[("x-fake", x_fake)],
            r#"{"model":"tiny","stream":true,"messages":[]}"#,
        )
        .await
    }
}

pub(crate) fn header<'a>(answer: &'a Response<ProxyBody>, name: &str) -> &'a str {
    answer
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

pub(crate) fn slots(answer: &Response<ProxyBody>) -> (&str, &str) {
    (
        header(answer, "x-llorch-slots-free"),
        header(answer, "x-llorch-slots-total"),
    )
}

pub(crate) async fn json(answer: Response<ProxyBody>) -> serde_json::Value {
    serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
}
