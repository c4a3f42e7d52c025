//! `POST /v2/nodes/{id}/heartbeat`.
//!
//! Input: a body.
//!
//! * What is accepted obeys every bound of the wire contract, names each pool once, and is the same after it has been
//!   written and read.
//! * A refusal is short, on one line.

use std::collections::BTreeSet;

use http_server::fuzzing::read_json;
use pool_registry_types::{HeartbeatRequest, MAX_GPUS, MAX_POOLS};

use crate::bounds;

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
}
