//! Errors of the registry. A refused event changes nothing.

use pool_registry_types::{HttpUrl, MachineId, NodeId, PoolId};
use thiserror::Error;

/// Why an event was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Unknown node id, or the node restarted without registering.
    #[error("node {node_id} is not registered; register it first")]
    UnknownNode {
        /// The id.
        node_id: NodeId,
    },
    /// The node has no such pool.
    #[error("node {node_id} has no pool {pool_id}")]
    UnknownPool {
        /// The node.
        node_id: NodeId,
        /// The pool.
        pool_id: PoolId,
    },
    /// The message is from an earlier incarnation of the node.
    #[error(
        "incarnation {got} of node {node_id} is older than the registered {known}; a later start \
         of the agent has taken over (if the machine's clock went back, run `llorch nodes forget \
         {node_id}`)"
    )]
    StaleIncarnation {
        /// The node.
        node_id: NodeId,
        /// The incarnation that is registered.
        known: u64,
        /// The incarnation of the message.
        got: u64,
    },
    /// Another machine uses the id and is alive.
    #[error(
        "node id {node_id} is in use by machine {holder}, which is alive; give this node another \
         id, or stop the other one or wait until it is offline"
    )]
    NodeIdConflict {
        /// The id.
        node_id: NodeId,
        /// The machine that has it.
        holder: MachineId,
    },
    /// Another machine with the same node id has registered, and still answers at its address.
    #[error(
        "node id {node_id} is in use: the machine that has registered it still answers at \
         {address}, and this is another machine or another start of one; give each machine a \
         node id of its own, because machines with the same hostname get the same one"
    )]
    HolderAnswers {
        /// The id.
        node_id: NodeId,
        /// The address of the machine that has it.
        address: HttpUrl,
    },
    /// The registry is full, and no node can be forgotten.
    #[error(
        "node {node_id} cannot join: {most} nodes are known, each of them alive or drained; \
         remove those that are gone"
    )]
    TooManyNodes {
        /// The node that tries to join.
        node_id: NodeId,
        /// The most nodes.
        most: usize,
    },
    /// The address is too long for URLs of the node's pools.
    #[error(
        "address of node {node_id} is too long: the paths of its pools would exceed 1024 bytes"
    )]
    AddressTooLong {
        /// The node.
        node_id: NodeId,
    },
}
