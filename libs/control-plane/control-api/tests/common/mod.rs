//! The API over a real registry task, called without a socket.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by several tests; each uses a part of it, and none is an interface"
)]

use axum::{Router, body::Body};
use control_api::ControlApi;
use event_log::EventLog;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use registry_runtime::{Config, RegistryHandle, build};
use registry_store::MemoryStore;
use serde_json::{Value, json};
use service_runtime::{Shutdown, Tasks};
use tower::ServiceExt as _;

pub struct Api {
    pub router: Router,
    pub registry: Option<RegistryHandle>,
    pub events: EventLog,
    shutdown: Shutdown,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

impl Api {
    /// CLOUD, without a prober: nobody listens at the addresses.
    pub fn cloud() -> Self {
        let shutdown = Shutdown::new();
        let parts = build(
            Config {
                prober: None,
                ..Config::default()
            },
            std::sync::Arc::new(MemoryStore::default()),
        )
        .unwrap();
        let events = EventLog::new();
        let task = parts.task.telling(events.clone());
        Tasks::new(shutdown.clone()).spawn("registry", task.run(shutdown.clone()));
        let api =
            ControlApi::new(Some(parts.handle.clone()), parts.handle.table()).with_events(events.clone());
        Self {
            router: http_server::with_fallbacks(api.router()),
            registry: Some(parts.handle),
            events,
            shutdown,
        }
    }

    /// HOME, with a table of its own.
    pub fn home(table: routing_table::RoutingTable) -> Self {
        let (_, table) = tokio::sync::watch::channel(std::sync::Arc::new(table));
        Self {
            router: http_server::with_fallbacks(ControlApi::new(None, table).router()),
            registry: None,
            events: EventLog::new(),
            shutdown: Shutdown::new(),
        }
    }

    /// Every route.
    pub fn mounted() -> Vec<(Method, &'static str)> {
        let (_, table) = tokio::sync::watch::channel(std::sync::Arc::default());
        ControlApi::new(None, table).routes().mounted().to_vec()
    }

    pub async fn raw(&self, method: Method, path: &str, body: impl Into<Body>) -> Response<Body> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(body.into())
            .unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Status and JSON of the answer; every answer of the API is JSON.
    pub async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> (u16, Value) {
        let response = self.raw(method, path, body).await;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, value) = self.call(Method::GET, path, Body::empty()).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, body.to_string()).await
    }

    /// A node that registered and reported one ready pool.
    pub async fn join(&self, node: &str) {
        let (status, answer) = self.post("/v2/nodes/register", registration(node)).await;
        assert_eq!(status, 200, "{answer}");
        let (status, answer) = self
            .post(&format!("/v2/nodes/{node}/heartbeat"), heartbeat(1))
            .await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Everything that can be seen.
    pub async fn state(&self) -> [Value; 3] {
        [
            self.get("/v2/nodes").await,
            self.get("/v2/pools").await,
            self.get("/v2/catalog/availability").await,
        ]
    }
}

pub fn registration(node: &str) -> Value {
    json!({
        "node_id": node, "machine_id": "machine-alpha", "address": "http://192.168.1.100:9200", "pools": ["pool-0"],
        "capabilities": {
            "gpus": [{"device_id": 0, "name": "RTX 3090", "vram_total_bytes": 24_000_000_000_u64, "compute_capability": "8.6"}],
            "cpu_cores": 16, "ram_total_bytes": 64_000_000_000_u64,
        },
        "version": "0.1.0", "incarnation": 1_763_884_800_123_u64,
    })
}

pub fn heartbeat(seq: u64) -> Value {
    json!({
        "timestamp": "2025-09-30T22:00:00Z",
        "pools": [pool()],
        "incarnation": 1_763_884_800_123_u64, "seq": seq,
    })
}

pub fn pool() -> Value {
    json!({
        "pool_id": "pool-0", "ready": true, "draining": false, "slots_free": 3, "slots_total": 4,
        "vram_free_bytes": 18_000_000_000_u64, "engine": "llamacpp", "models_available": ["tiny"],
    })
}

pub fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap()
}

pub fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap()
}
