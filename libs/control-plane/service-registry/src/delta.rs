//! The changes of an event, for logs and readers.

use std::{fmt, sync::Arc, time::Duration};

use pool_registry_types::{HttpUrl, MachineId, NodeId, NodeStatus, PoolId, PoolStatus};

use crate::intent::Target;

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delta {
    /// An unknown node registered.
    Joined {
        /// The node.
        node_id: NodeId,
        /// Its machine.
        machine_id: MachineId,
        /// Its address.
        address: HttpUrl,
        /// Its incarnation.
        incarnation: Option<u64>,
    },
    /// A new incarnation of a known node registered, or another machine with the id of an offline
    /// one.
    Restarted {
        /// The node.
        node_id: NodeId,
        /// Its machine.
        machine_id: MachineId,
        /// Its address.
        address: HttpUrl,
        /// Its incarnation.
        incarnation: Option<u64>,
    },
    /// A known incarnation registered with another address.
    Moved {
        /// The node.
        node_id: NodeId,
        /// The old address.
        from: HttpUrl,
        /// Its address.
        to: HttpUrl,
    },
    /// A heartbeat changed more than free slots and free memory.
    Changed {
        /// The node.
        node_id: NodeId,
        /// All its pools, as reported.
        pools: Vec<Arc<PoolStatus>>,
    },
    /// The status of a node changed.
    StatusChanged {
        /// The node.
        node_id: NodeId,
        /// The old status.
        from: NodeStatus,
        /// The new status.
        to: NodeStatus,
        /// The reason, for people.
        reason: String,
    },
    /// A drain began or ended.
    DrainChanged {
        /// Its target.
        target: Target,
        /// Whether it began.
        draining: bool,
    },
    /// The drain of a pool that its node does not report was dropped, because the node has the most
    /// drains allowed.
    DrainDropped {
        /// The node.
        node_id: NodeId,
        /// The pool.
        pool_id: PoolId,
    },
    /// A node refuses a handoff, or no longer does.
    HandoffRefused {
        /// The node.
        node_id: NodeId,
        /// The file on the node.
        file: String,
        /// Why; `None` when it is not refused any more.
        reason: Option<String>,
    },
    /// A GPU of a node has a problem, or no longer has.
    GpuProblem {
        /// The node.
        node_id: NodeId,
        /// The index of the GPU.
        device_id: u32,
        /// What is wrong; `None` when nothing is wrong any more.
        problem: Option<String>,
    },
    /// A node was removed or forgotten.
    Left {
        /// The node.
        node_id: NodeId,
        /// The reason.
        reason: LeftReason,
    },
    /// This process did not run for a while, and all deadlines moved.
    Stalled {
        /// How long it did not run.
        gap: Duration,
    },
    /// Self-suspicion began or ended: more than half of the nodes fell silent together, so they
    /// stay routable.
    SelfSuspicion {
        /// Whether it began.
        on: bool,
        /// The number of silent nodes.
        silent: usize,
        /// The number of all nodes that count.
        of: usize,
    },
}

/// Why a node was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftReason {
    /// The node or an operator deregistered it.
    Deregistered,
    /// It was offline for [`FORGET_AFTER`](crate::FORGET_AFTER).
    Forgotten,
    /// It was offline, and a new node needed its place in a full registry.
    Displaced,
}

impl fmt::Display for LeftReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deregistered => "deregistered",
            Self::Forgotten => "forgotten after a day offline",
            Self::Displaced => "forgotten while offline, because there were too many nodes",
        })
    }
}

/// Shows pools in a log line: `[pool-0 ready=true draining=false slots=3/4]`.
#[derive(Debug, Clone, Copy)]
pub struct DisplayPools<'a>(pub &'a [Arc<PoolStatus>]);

impl fmt::Display for DisplayPools<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, pool) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(
                f,
                "{comma}{} ready={} draining={} slots={}/{}",
                pool.pool_id,
                pool.ready,
                pool.draining,
                pool.slots_free(),
                pool.slots_total()
            )?;
            if let Some(engine) = &pool.engine {
                write!(f, " engine={engine}")?;
            }
            if let Some(models) = &pool.models_available {
                write!(f, " models={models:?}")?;
            }
            if let Some(error) = &pool.last_error {
                // Quoted, so that a text of an engine cannot forge a log line.
                write!(f, " last_error={error:?}")?;
            }
        }
        f.write_str("]")
    }
}
