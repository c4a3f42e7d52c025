//! Compares the OpenAPI document with the mounted routes.

use std::{collections::BTreeSet, sync::Arc};

use admission::Admission;
use bearer_auth::AuthPolicy;
use dashboard::{Live, LiveConfig, SessionApi};
use event_log::EventLog;
use http_server::service_routes;
use inference_gateway::{Gateway, GatewayConfig, GatewayMetrics, explain_routes};
use join_api::{JoinApi, JoinConfig};
use key_api::KeyApi;
use node_transport::TcpTransport;
use registry_store::MemoryStore;
use service_runtime::{Readiness, Shutdown, Tasks};
use state_export::{LiveState, Profile};
use stream_proxy::StreamProxy;
use task_api::{TaskApi, TaskConfig};
use usage_log::UsageLog;

use super::*;

/// Everything that [`routes`] mounts, over parts in which nothing happens.
fn mounted() -> BTreeSet<(String, String)> {
    let admission = Admission::new(admission::AdmissionConfig::default());
    let gateway = Gateway::new(
        GatewayConfig::default(),
        admission.clone(),
        Arc::new(TcpTransport::new(StreamProxy::default(), None)),
        GatewayMetrics::default(),
    );
    let store = Arc::new(MemoryStore::default());
    let sink = Arc::new(admission.clone());
    let registry =
        registry_runtime::build(Default::default(), store, sink, EventLog::new()).unwrap();
    let explain = explain_routes(admission.clone(), &GatewayConfig::default());
    let tasks = TaskApi::new(
        TaskConfig::default(),
        gateway,
        admission,
        Tasks::new(Shutdown::new()),
    );
    let service = service_routes(Readiness::new(), Arc::new(String::new));
    let live = Live::new(LiveConfig::default(), Shutdown::new());
    let keys = KeyApi::load(Arc::new(MemoryStore::default()), AuthPolicy::default()).unwrap();
    let store = Arc::new(MemoryStore::default());
    let config = JoinConfig::default();
    let joins = JoinApi::load(store, AuthPolicy::default(), keys.clone(), config).unwrap();
    let others = [
        explain
            .merge(tasks.routes())
            .merge(keys.routes())
            .merge(usage_api::routes(UsageLog::in_memory()))
            .merge(state_api::routes(LiveState {
                store: Arc::new(MemoryStore::default()),
                usage: UsageLog::in_memory(),
                directory: None,
                profile: Profile::Cloud,
                ca_sha256: None,
                made_by: "",
            }))
            .merge(joins.routes()),
        live.routes()
            .merge(SessionApi::new(AuthPolicy::default()).routes()),
        service,
    ];
    routes(ControlApi::new(registry.handle), others)
        .mounted()
        .iter()
        .map(|(method, path)| (method.as_str().to_lowercase(), (*path).to_owned()))
        .collect()
}

// spec: WIRE-9
#[tokio::test]
async fn the_document_has_every_route_and_no_other() {
    let document: serde_json::Value = serde_json::from_str(reference().json()).unwrap();
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            // What the gateway and the page serve passes no router; the gateway describes itself
            // from the table it routes by.
            if !Gateway::serves(path) && !dashboard::is_of_page(path) {
                described.insert((method.clone(), path.clone()));
            }
        }
    }
    assert_eq!(described, mounted());
}

// spec: AUTH-1
#[test]
fn what_is_open_is_known() {
    let document: serde_json::Value = serde_json::from_str(reference().json()).unwrap();
    let open: Vec<&String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, item)| {
            let mut operations = item.as_object().unwrap().values();
            operations.any(|operation| operation.get("security").is_some())
        })
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        open,
        [
            "/",
            "/assets/{version}/{file}",
            "/docs/api",
            "/docs/api.css",
            "/health",
            "/openapi.json",
            "/v2/join"
        ]
    );
}

// spec: WIRE-9
#[test]
fn every_error_is_told_by_codes_of_the_one_table() {
    let document: serde_json::Value = serde_json::from_str(reference().json()).unwrap();
    let known = |code: &str, status: &str| {
        let mut all = pool_registry_types::ErrorCode::ALL.iter();
        all.any(|known| known.as_str() == code && known.status().to_string() == status)
    };
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let is_error = status.starts_with(['4', '5']) && path != "/ready";
                let codes = response["description"].as_str().unwrap().split(", ");
                for code in codes.filter(|_| is_error) {
                    assert!(known(code, status), "{method} {path} {status}: {code:?}");
                }
            }
        }
    }
}
