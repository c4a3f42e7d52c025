//! The file of the drains: its form, and how it is read.

use std::path::Path;

use pool_registry_types::{PoolId, ReplicaId};
use serde::{Deserialize, Serialize};
use state_file::StateFileError;

use super::Remembered;

/// The file's name in the state directory.
pub(super) const FILE: &str = "drained-pools.json";

/// What a damaged file means. It goes on after "so ".
const CONSEQUENCE: &str =
    "pools and replicas that were drained on this node take requests again; drain them anew";

/// The content of the file. Unknown fields are ignored, so that an older agent can follow a newer
/// one.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    /// Drained pools, for agents that know nothing else.
    #[serde(default)]
    pools: Vec<PoolId>,
    #[serde(default)]
    drains: Vec<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    pool_id: PoolId,
    /// Without it the whole pool is drained.
    #[serde(skip_serializing_if = "Option::is_none")]
    replica_id: Option<ReplicaId>,
    #[serde(flatten)]
    times: Times,
}

/// By the calendar, so that they mean the same after a restart, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Times {
    pub(super) since_unix_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deadline_unix_ms: Option<u64>,
}

/// What the file at `path` remembers. Pools without a time have been drained since `now`.
pub(super) fn load(path: &Path, now: u64) -> Result<Remembered, StateFileError> {
    let parse = |bytes: &[u8]| serde_json::from_slice::<Content>(bytes);
    let content = state_file::recover(path, parse, CONSEQUENCE)?.unwrap_or_default();
    let since_now = Times {
        since_unix_ms: now,
        deadline_unix_ms: None,
    };
    let pools = content
        .pools
        .into_iter()
        .map(|pool| ((pool, None), since_now));
    let drains =
        (content.drains.into_iter()).map(|entry| ((entry.pool_id, entry.replica_id), entry.times));
    Ok(pools.chain(drains).collect())
}

/// The content of the file.
pub(super) fn encode(remembered: &Remembered) -> serde_json::Result<Vec<u8>> {
    let pools = remembered.keys().filter(|(_, replica)| replica.is_none());
    serde_json::to_vec(&Content {
        pools: pools.map(|(pool, _)| pool.clone()).collect(),
        drains: (remembered.iter())
            .map(|((pool_id, replica_id), times)| Entry {
                pool_id: pool_id.clone(),
                replica_id: replica_id.clone(),
                times: *times,
            })
            .collect(),
    })
}
