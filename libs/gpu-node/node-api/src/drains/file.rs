//! The file of the drains.

use std::{collections::BTreeMap, path::Path};

use pool_registry_types::{PoolId, ReplicaId};
use serde::{Deserialize, Serialize};
use state_file::StateFileError;

/// All drains of a node.
pub(super) type DrainTable = BTreeMap<(PoolId, Option<ReplicaId>), DrainTimes>;

/// The file's name in the state directory.
pub(super) const FILE: &str = "drained-pools.json";

/// The consequence of a damaged file, as the end of a sentence after "so ".
const CONSEQUENCE: &str =
    "pools and replicas that were drained on this node take requests again; drain them again";

/// The content of the file. Unknown fields are ignored, so that an older agent can replace a newer
/// one.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    /// Drained pools, for agents that know no other drains.
    #[serde(default)]
    pools: Vec<PoolId>,
    #[serde(default)]
    drains: Vec<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    pool_id: PoolId,
    /// Absent when the whole pool is drained.
    #[serde(skip_serializing_if = "Option::is_none")]
    replica_id: Option<ReplicaId>,
    #[serde(flatten)]
    times: DrainTimes,
}

/// Wall-clock times in milliseconds since 1970, which mean the same after a restart.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct DrainTimes {
    pub(super) since_unix_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deadline_unix_ms: Option<u64>,
}

/// Loads the file at `path`. Pools without a time have been drained since `now`.
pub(super) fn load(path: &Path, now: u64) -> Result<DrainTable, StateFileError> {
    let parse = |bytes: &[u8]| serde_json::from_slice::<Content>(bytes);
    let content = state_file::recover(path, parse, CONSEQUENCE)?.unwrap_or_default();
    let since_now = DrainTimes {
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
pub(super) fn encode(table: &DrainTable) -> serde_json::Result<Vec<u8>> {
    let pools = table.keys().filter(|(_, replica)| replica.is_none());
    serde_json::to_vec(&Content {
        pools: pools.map(|(pool, _)| pool.clone()).collect(),
        drains: (table.iter())
            .map(|((pool_id, replica_id), times)| Entry {
                pool_id: pool_id.clone(),
                replica_id: replica_id.clone(),
                times: *times,
            })
            .collect(),
    })
}
