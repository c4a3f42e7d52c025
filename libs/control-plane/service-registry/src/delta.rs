//! What an event changed: what a reader would want to know, and a log line says.

use std::{fmt, sync::Arc, time::Duration};

use pool_registry_types::{HttpUrl, MachineId, NodeId, NodeStatus, PoolId, PoolStatus};

use crate::intent::Target;

/// Something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delta {
    /// A node registered that was not known.
    Joined {
        /// Who.
        node_id: NodeId,
        /// On which machine.
        machine_id: MachineId,
        /// Where it listens.
        address: HttpUrl,
        /// Which life of it.
        incarnation: Option<u64>,
    },
    /// A known node registered again as a new life, or on another machine after it was offline.
    Restarted {
        /// Who.
        node_id: NodeId,
        /// On which machine.
        machine_id: MachineId,
        /// Where it listens.
        address: HttpUrl,
        /// Which life of it.
        incarnation: Option<u64>,
    },
    /// The same life of a node registered with another address.
    Moved {
        /// Who.
        node_id: NodeId,
        /// Where it listened.
        from: HttpUrl,
        /// Where it listens.
        to: HttpUrl,
    },
    /// A heartbeat changed more than free slots and free memory.
    Changed {
        /// Who.
        node_id: NodeId,
        /// All its pools, as reported.
        pools: Vec<Arc<PoolStatus>>,
    },
    /// A node's status changed.
    StatusChanged {
        /// Who.
        node_id: NodeId,
        /// What it was.
        from: NodeStatus,
        /// What it is.
        to: NodeStatus,
        /// Why, for people.
        reason: String,
    },
    /// An operator asked for a drain, or took it back.
    DrainChanged {
        /// Of what.
        target: Target,
        /// Whether it drains from now on.
        draining: bool,
    },
    /// A drain of a pool that its node does not report is dropped, because the node has as many
    /// drains as it may have.
    DrainDropped {
        /// Which node.
        node_id: NodeId,
        /// Which pool.
        pool_id: PoolId,
    },
    /// A node is no longer known.
    Left {
        /// Who.
        node_id: NodeId,
        /// Why.
        reason: LeftReason,
    },
    /// This process did not run for a while; every node got the time back.
    Stalled {
        /// How long.
        gap: Duration,
    },
    /// More than half of the nodes fell silent together, so they are held routable; or that is
    /// over.
    SelfSuspicion {
        /// Whether it begins or ends.
        on: bool,
        /// How many nodes are silent.
        silent: usize,
        /// Of how many.
        of: usize,
    },
}

/// Why a node is no longer known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftReason {
    /// It said so, or an operator did.
    Deregistered,
    /// It was offline for [`FORGET_AFTER`](crate::FORGET_AFTER).
    Forgotten,
    /// It was offline, and another node joined when as many were known as may be.
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

/// Pools as a log line shows them: `[pool-0 ready=true draining=false slots=3/4]`.
#[derive(Debug, Clone, Copy)]
pub struct PoolsLine<'a>(pub &'a [Arc<PoolStatus>]);

impl fmt::Display for PoolsLine<'_> {
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
                // Quoted, so that an engine's words cannot forge a log line.
                write!(f, " last_error={error:?}")?;
            }
        }
        f.write_str("]")
    }
}
