//! `POST /v2/nodes/{id}/heartbeat`.
//!
//! Input: a body.
//!
//! * What is accepted obeys every bound of the wire contract, names each pool once, and is the same
//!   after it has been written and read.
//! * A refusal is short, on one line.
//! * The registry takes it as bytes only when it is one, and then knows of its node what it says:
//!   the first time, when it is taken apart, and the second, when it is compared.

use std::{collections::BTreeSet, sync::Arc};

use event_log::EventLog;
use http_server::fuzzing::read_json;
use pool_registry_types::{HeartbeatRequest, MAX_GPUS, MAX_POOLS, RegisterRequest};
use registry_runtime::{Config, RegistryHandle, build};
use registry_store::MemoryStore;
use routing_table::{RouteChange, RouteSink};

use crate::bounds;

/// A node without an incarnation, so that none is refused for that.
const REGISTRATION: &str =
    r#"{"node_id":"n","machine_id":"m","address":"http://h:1","takes_replica_hint":true}"#;

/// See the top of this file.
pub fn heartbeat_message(input: &[u8]) {
    match read_json::<HeartbeatRequest>(input) {
        Ok(request) => {
            bounds::text(Some(&request.timestamp));
            assert!(request.pools.len() <= MAX_POOLS);
            request.pools.iter().for_each(bounds::pool);
            let names: BTreeSet<_> = request.pools.iter().map(|pool| &pool.pool_id).collect();
            assert_eq!(names.len(), request.pools.len(), "a pool is named twice");
            let gpus = request.gpus.as_deref().unwrap_or_default();
            assert!(gpus.len() <= MAX_GPUS);
            gpus.iter().for_each(bounds::gpu_status);
            bounds::survives_writing(&request);
        }
        Err(refusal) => bounds::refusal(&refusal.message),
    }
    as_bytes(input);
}

#[derive(Debug)]
struct NoDataPath;

impl RouteSink for NoDataPath {
    fn apply(&self, _: &[RouteChange]) {}
}

fn registry() -> RegistryHandle {
    let config = Config {
        prober: None,
        ..Config::default()
    };
    let store = Arc::new(MemoryStore::default());
    build(config, store, Arc::new(NoDataPath), EventLog::new())
        .expect("an empty store")
        .handle
}

fn as_bytes(input: &[u8]) {
    let registry = registry();
    let registration: RegisterRequest = serde_json::from_str(REGISTRATION).expect("a registration");
    let node_id = registration.node_id.clone();
    registry.register(registration).expect("room for one node");
    for _ in 0..2 {
        if registry.heartbeat_bytes(&node_id, input).is_err() {
            return;
        }
        let said =
            read_json::<HeartbeatRequest>(input).expect("what the registry takes is a heartbeat");
        let node = registry.node(&node_id).expect("it is registered");
        let known = node.pools.iter().map(|pool| &*pool.status);
        assert!(
            known.eq(&said.pools),
            "the registry knows something else than was said"
        );
        assert_eq!(node.gpus.as_deref(), said.gpus.as_deref());
    }
}
