//! The state of a drain: a pure function of what the control plane says about the node.

use std::time::Duration;

use llorch_client::{DrainTarget, Node, NodeStatus, PoolTarget, Replica};

/// A report counts when it is this much younger than the drain. By then, requests in flight to the
/// node have arrived.
const SETTLED: Duration = Duration::from_millis(250);

/// The state of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DrainState {
    /// Requests run there: as counted by the control plane, else as reported by the node.
    Busy { requests: u64 },
    /// The last report may be older than the drain, or than the end of the last request.
    Unknown,
    /// No request runs.
    Empty,
    /// Requests run, and the deadline has passed.
    PastDeadline { requests: u64 },
    /// The drain was undone.
    Undrained,
    /// The node is offline, so its requests are unknown.
    Offline,
    /// The pool or the replica does not exist any more.
    Removed,
}

/// What the node has reported about the drain of a replica. The node owns that drain.
#[derive(Debug, Default)]
pub(super) struct ReplicaReports {
    /// A report has shown the drain.
    pub(super) reported: bool,
    /// A report with the drain is overdue.
    pub(super) overdue: bool,
    /// The deadline has passed.
    pub(super) past_deadline: bool,
}

/// Reads the state of a drain from the state of the node.
pub(super) fn drain_state(
    node: &Node,
    target: &DrainTarget,
    reports: &mut ReplicaReports,
) -> DrainState {
    let drain = match &target.pool {
        None => node.drain,
        Some(PoolTarget { pool, replica }) => {
            let pool = node.pools.iter().find(|has| has.status.pool_id == *pool);
            match (pool, replica) {
                (None, _) => return DrainState::Removed,
                (Some(pool), None) => pool.drain,
                (Some(pool), Some(id)) => {
                    let replica = pool
                        .replicas
                        .iter()
                        .find(|has| has.status.replica_id == *id);
                    return replica.map_or(DrainState::Removed, |replica| {
                        replica_drain_state(node, replica, reports)
                    });
                }
            }
        }
    };
    let Some(drain) = drain else {
        return DrainState::Undrained;
    };
    if node.status == NodeStatus::Offline {
        return DrainState::Offline;
    }
    let reported = u64::from(drain.slots_busy);
    // Requests of other control planes, and those an engine has not finished yet, are in the node's
    // report only.
    let running = drain
        .requests_running
        .filter(|&ours| ours > 0)
        .unwrap_or(reported);
    let reported_after = drain.for_ms.saturating_sub(node.last_heartbeat_age_ms);
    let settled = Duration::from_millis(reported_after) >= SETTLED;
    match (running, settled) {
        (0, true) => DrainState::Empty,
        (requests, true) if drain.deadline_ms == Some(0) => DrainState::PastDeadline {
            requests: requests.max(reported),
        },
        // No request of ours runs, and the report is from before its end.
        _ if drain.requests_running == Some(0) => DrainState::Unknown,
        (0, false) => DrainState::Unknown,
        (requests, _) => DrainState::Busy { requests },
    }
}

/// The state of a replica's drain. Its node reports the drain, so a report that shows the drain is
/// younger than it.
fn replica_drain_state(node: &Node, replica: &Replica, reports: &mut ReplicaReports) -> DrainState {
    if node.status == NodeStatus::Offline {
        return DrainState::Offline;
    }
    let status = &replica.status;
    if !status.draining {
        return if reports.reported || reports.overdue {
            DrainState::Undrained
        } else {
            DrainState::Unknown
        };
    }
    reports.reported = true;
    // A draining replica reports no free slot, so its slots do not count running requests.
    let of_engine = status.load.running.map(u64::from);
    let busy = || u64::from(status.slots_total().saturating_sub(status.slots_free()));
    match replica.requests_running.max(of_engine).unwrap_or_else(busy) {
        0 => DrainState::Empty,
        requests if reports.past_deadline => DrainState::PastDeadline { requests },
        requests => DrainState::Busy { requests },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(status: &str, heard_ms: u64, drain: &serde_json::Value) -> Node {
        serde_json::from_value(json!({
            "node_id":"gpu-1","address":"http://h:1","status":status,"drain":drain,
            "last_heartbeat_age_ms":heard_ms,
            "pools":[{
                "pool_id":"p","ready":true,"draining":true,"slots_free":1,"slots_total":4,
                "drain":drain,
            }],
        }))
        .unwrap()
    }

    // spec: CLI-7
    #[test]
    fn a_report_from_before_the_drain_proves_nothing() {
        let drain =
            |for_ms: u64, busy: u32| json!({"for_ms":for_ms,"deadline_ms":null,"slots_busy":busy});
        let past_deadline = |busy: u32| json!({"for_ms":9000,"deadline_ms":0,"slots_busy":busy});
        let live = |for_ms: u64, reported: u32, ours: u64| {
            let mut drain = drain(for_ms, reported);
            drain["requests_running"] = ours.into();
            drain
        };
        for (status, heard, drain, expected) in [
            ("draining", 5000, drain(1000, 0), DrainState::Unknown),
            ("draining", 900, drain(1000, 0), DrainState::Unknown),
            // The count of the control plane has precedence, but does not end the drain.
            (
                "draining",
                5000,
                live(1000, 0, 1),
                DrainState::Busy { requests: 1 },
            ),
            (
                "draining",
                100,
                live(1000, 0, 1),
                DrainState::Busy { requests: 1 },
            ),
            (
                "draining",
                100,
                live(1000, 3, 1),
                DrainState::Busy { requests: 1 },
            ),
            ("draining", 5000, live(1000, 3, 0), DrainState::Unknown),
            ("draining", 100, live(1000, 3, 0), DrainState::Unknown),
            ("draining", 5000, live(1000, 0, 0), DrainState::Unknown),
            ("draining", 100, live(1000, 0, 0), DrainState::Empty),
            ("draining", 700, drain(1000, 0), DrainState::Empty),
            (
                "draining",
                5000,
                drain(1000, 2),
                DrainState::Busy { requests: 2 },
            ),
            (
                "draining",
                100,
                drain(1000, 2),
                DrainState::Busy { requests: 2 },
            ),
            (
                "draining",
                100,
                past_deadline(2),
                DrainState::PastDeadline { requests: 2 },
            ),
            ("draining", 100, past_deadline(0), DrainState::Empty),
            ("offline", 60_000, drain(1000, 0), DrainState::Offline),
            ("online", 100, json!(null), DrainState::Undrained),
        ] {
            for target in ["gpu-1", "gpu-1/p"] {
                let node = node(status, heard, &drain);
                let state = drain_state(
                    &node,
                    &target.parse().unwrap(),
                    &mut ReplicaReports::default(),
                );
                assert_eq!(state, expected, "{status} {heard} {drain} {target}");
            }
        }
        for gone in ["gpu-1/q", "gpu-1/p/r9"] {
            let node = node("draining", 1, &drain(1000, 0));
            let state = drain_state(
                &node,
                &gone.parse().unwrap(),
                &mut ReplicaReports::default(),
            );
            assert_eq!(state, DrainState::Removed, "{gone}");
        }
    }

    // spec: CLI-31
    #[test]
    fn a_replica_drains_by_the_report_of_its_node() {
        let state = |status: &str,
                     draining: bool,
                     free: u32,
                     ours: Option<u64>,
                     reports: &mut ReplicaReports| {
            let node = serde_json::from_value(json!({
                "node_id":"gpu-1","address":"http://h:1","status":status,
                "last_heartbeat_age_ms":9000,
                "pools":[{
                    "pool_id":"p","ready":true,"draining":false,"slots_free":1,"slots_total":4,
                    "replicas":[{
                        "replica_id":"r0","ready":true,"slots_free":free,"slots_total":4,
                        "draining":draining,"requests_running":ours,
                    }],
                }],
            }));
            drain_state(&node.unwrap(), &"gpu-1/p/r0".parse().unwrap(), reports)
        };
        let mut reports = ReplicaReports::default();
        // A report is expected, and later overdue.
        assert_eq!(
            state("online", false, 4, None, &mut reports),
            DrainState::Unknown
        );
        reports.overdue = true;
        assert_eq!(
            state("online", false, 4, None, &mut reports),
            DrainState::Undrained
        );
        for (free, ours, expected) in [
            (1, None, DrainState::Busy { requests: 3 }),
            (4, Some(2), DrainState::Busy { requests: 2 }),
            (0, Some(0), DrainState::Empty),
            (4, Some(0), DrainState::Empty),
            (4, None, DrainState::Empty),
        ] {
            assert_eq!(
                state("online", true, free, ours, &mut ReplicaReports::default()),
                expected
            );
        }
        reports = ReplicaReports {
            past_deadline: true,
            ..ReplicaReports::default()
        };
        assert_eq!(
            state("online", true, 3, None, &mut reports),
            DrainState::PastDeadline { requests: 1 }
        );
        // The drain was undone.
        assert_eq!(
            state("online", false, 4, None, &mut reports),
            DrainState::Undrained
        );
        assert_eq!(
            state("offline", true, 3, None, &mut reports),
            DrainState::Offline
        );
    }
}
