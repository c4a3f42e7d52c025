//! The API over a real registry task, called without a socket.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by several tests; each uses a part of it, and none is an interface"
)]

use std::sync::Arc;

use axum::{Router, body::Body};
use control_api::{ControlApi, DataPathSource, DataPathView, QuarantineView};
use event_log::EventLog;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use http_server::Principal;
use pool_registry_types::RegisterRequest;
use registry_runtime::{Config, RegistryHandle, build};
use registry_store::{MemoryStore, RegistryStore};
use routing_table::{EndpointKey, RouteChange, RouteSink};
use serde_json::{Value, json};
use service_runtime::{Shutdown, Tasks};
use tower::ServiceExt as _;

/// What nodes are told that may not join.
pub const JOIN_HINT: &str = "change the profile";

/// A data path that routes nothing.
#[derive(Debug)]
struct NoRoutes;

impl RouteSink for NoRoutes {
    fn apply(&self, _: &[RouteChange]) {}
}

/// What a fake data path says of an endpoint.
type Lookup<T> = Box<dyn Fn(&EndpointKey) -> Option<T> + Send + Sync>;

/// A data path that answers as a test sets it up.
#[derive(Default)]
pub struct FakeDataPath {
    quarantine: Option<Lookup<QuarantineView>>,
    running: Option<Lookup<u64>>,
    view: DataPathView,
}

impl FakeDataPath {
    pub fn with_quarantine(
        mut self,
        lookup: impl Fn(&EndpointKey) -> Option<QuarantineView> + Send + Sync + 'static,
    ) -> Self {
        self.quarantine = Some(Box::new(lookup));
        self
    }

    pub fn with_running(
        mut self,
        lookup: impl Fn(&EndpointKey) -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        self.running = Some(Box::new(lookup));
        self
    }

    pub fn with_view(mut self, view: DataPathView) -> Self {
        self.view = view;
        self
    }
}

impl DataPathSource for FakeDataPath {
    fn quarantine(&self, endpoint: &EndpointKey) -> Option<QuarantineView> {
        self.quarantine.as_ref()?(endpoint)
    }

    fn requests_running(&self, endpoint: &EndpointKey) -> Option<u64> {
        self.running.as_ref()?(endpoint)
    }

    fn view(&self) -> DataPathView {
        self.view.clone()
    }
}

pub struct Api {
    pub router: Router,
    pub registry: RegistryHandle,
    pub events: EventLog,
    shutdown: Shutdown,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

fn unguarded(api: ControlApi) -> Router {
    http_server::unguarded_router(http_server::with_fallbacks(api.router()))
}

impl Api {
    /// CLOUD, without a prober, because no process listens at the addresses.
    pub fn cloud() -> Self {
        Self::with(|api| api)
    }

    /// HOME, with this machine as the node `home`.
    pub fn home() -> Self {
        let api = Self::with(|api| api.with_registrations(false).with_join_hint(JOIN_HINT));
        let own: RegisterRequest = serde_json::from_value(registration("home")).unwrap();
        api.registry.register(own).unwrap();
        let beat = serde_json::from_value(heartbeat(1)).unwrap();
        api.registry
            .heartbeat(&"home".parse().unwrap(), beat)
            .unwrap();
        api
    }

    /// As the binary wires it.
    pub fn with(wire: impl FnOnce(ControlApi) -> ControlApi) -> Self {
        Self::with_store(Arc::new(MemoryStore::default()), wire)
    }

    /// With a store of the test.
    pub fn with_store(
        store: Arc<dyn RegistryStore>,
        wire: impl FnOnce(ControlApi) -> ControlApi,
    ) -> Self {
        let shutdown = Shutdown::new();
        let config = Config {
            prober: None,
            ..Config::default()
        };
        let events = EventLog::new();
        let parts = build(config, store, Arc::new(NoRoutes), events.clone()).unwrap();
        let tasks = Tasks::new(shutdown.clone());
        tasks.spawn("registry", parts.timer.run(shutdown.clone()));
        tasks.spawn("registry-writer", parts.writer.run());
        let api = ControlApi::new(parts.handle.clone()).with_events(events.clone());
        Self {
            router: unguarded(wire(api)),
            registry: parts.handle,
            events,
            shutdown,
        }
    }

    /// The same nodes, with another wiring.
    pub fn rewired(&self, wire: impl FnOnce(ControlApi) -> ControlApi) -> Router {
        let api = ControlApi::new(self.registry.clone()).with_events(self.events.clone());
        unguarded(wire(api))
    }

    /// The same nodes, as this caller sees them.
    pub fn seen_by(&self, caller: Principal) -> Router {
        let router = ControlApi::new(self.registry.clone()).router();
        let router = router.layer(axum::Extension(caller));
        http_server::unguarded_router(http_server::with_fallbacks(router))
    }

    /// Every route.
    pub fn mounted() -> Vec<(Method, &'static str)> {
        let config = Config::default();
        let store = Arc::new(MemoryStore::default());
        let parts = build(config, store, Arc::new(NoRoutes), EventLog::new()).unwrap();
        ControlApi::new(parts.handle).routes().mounted().to_vec()
    }

    pub async fn raw(&self, method: Method, path: &str, body: impl Into<Body>) -> Response<Body> {
        raw(&self.router, method, path, body).await
    }

    /// Status and JSON of the answer; every answer of the API is JSON.
    pub async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> (u16, Value) {
        call(&self.router, method, path, body).await
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
        let mut nodes = self.get("/v2/nodes").await;
        // A list for people of what was refused, and no state of a node.
        nodes["refused_nodes"] = Value::Null;
        [
            nodes,
            self.get("/v2/pools").await,
            self.get("/v2/catalog/availability").await,
        ]
    }
}

async fn raw(router: &Router, method: Method, path: &str, body: impl Into<Body>) -> Response<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(body.into()).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

/// Status and JSON of an answer.
pub async fn call(
    router: &Router,
    method: Method,
    path: &str,
    body: impl Into<Body>,
) -> (u16, Value) {
    let response = raw(router, method, path, body).await;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

pub fn registration(node: &str) -> Value {
    json!({
        "node_id": node, "machine_id": "machine-alpha", "address": "http://192.168.1.100:9200",
            "pools": ["pool-0"],
        "capabilities": {
            "gpus": [{"device_id": 0, "name": "RTX 3090", "vram_total_bytes": 24_000_000_000_u64,
                "compute_capability": "8.6"}],
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

/// A pool of two replicas, of which the second is not ready.
pub fn pool_of_two() -> Value {
    json!({
        "pool_id": "pool-0", "ready": true, "draining": false, "slots_free": 3, "slots_total": 4,
            "engine": "llamacpp",
        "models_available": ["tiny"], "replicas": [
            {"replica_id": "r0", "ready": true, "slots_free": 3, "slots_total": 4,
                "models": ["tiny"]},
            {"replica_id": "r1", "ready": false, "slots_free": 0, "slots_total": 2,
                "models": ["large"],
             "last_error": "connection refused"},
        ],
    })
}

impl Api {
    /// A node whose replicas are endpoints, with [`pool_of_two`].
    pub async fn join_with_replicas(&self, node: &str) {
        let mut registration = registration(node);
        registration["takes_replica_hint"] = json!(true);
        assert_eq!(self.post("/v2/nodes/register", registration).await.0, 200);
        self.report(node, json!([pool_of_two()])).await;
    }

    /// A heartbeat with these pools.
    pub async fn report(&self, node: &str, pools: Value) {
        let beat = json!({"timestamp": "t", "pools": pools});
        let (status, answer) = self
            .post(&format!("/v2/nodes/{node}/heartbeat"), beat)
            .await;
        assert_eq!(status, 200, "{answer}");
    }
}
