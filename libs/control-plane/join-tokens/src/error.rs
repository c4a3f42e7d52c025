//! Why a join token is refused.

use pool_registry_types::NodeId;

use crate::limits::{MAX_JOIN_TOKENS, MAX_JOINED_NODES, MAX_LIFETIME, MAX_USES};

const SECS_PER_DAY: u64 = 24 * 60 * 60;

/// A node that may not join with its token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// There is no such token.
    #[error("token: no join token of this control plane; an operator can create one")]
    Unknown,
    /// Its time is over.
    #[error("token: the join token has expired; an operator can create another one")]
    Expired,
    /// It was revoked.
    #[error("token: the join token was revoked")]
    Revoked,
    /// Others have used it.
    #[error("token: the join token is used up; an operator can create another one")]
    UsedUp,
    /// It is for another node.
    #[error("node_id: this join token is for the node {0} only")]
    OtherNode(NodeId),
    /// The node has joined, and the token was not made for it.
    #[error(
        "node_id: the node {0} has joined already; use a token that was made for it (`llorch \
         join-token create --node {0}`), or revoke its credentials first (`llorch nodes revoke \
         {0}`)"
    )]
    HasCredentials(NodeId),
    /// Another node is at this host, and the token was not made for the node.
    #[error(
        "address: {host} is the host of the node {other}; use another address, or a token that was \
         made for this node (`llorch join-token create --node ID`), or revoke the credentials of \
         {other} first (`llorch nodes revoke {other}`)"
    )]
    HostOfOther {
        /// The host.
        host: String,
        /// The node that has it.
        other: NodeId,
    },
    /// There are too many nodes with certificates.
    #[error("node_id: {MAX_JOINED_NODES} nodes have certificates, which is the most; revoke some")]
    TooManyNodes,
}

/// A change of join tokens that is refused. Each message names the field and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinTokenError {
    /// No use, or too many.
    #[error("uses: must be from 1 to {MAX_USES}")]
    BadUses,
    /// The end is now, or too far away.
    #[error(
        "expires_in_ms: must be from 1 to {} ({} days)",
        MAX_LIFETIME.as_millis(),
        MAX_LIFETIME.as_secs() / SECS_PER_DAY
    )]
    BadLifetime,
    /// There is no such token.
    #[error("there is no join token {0:?}")]
    Unknown(String),
    /// Another token has the id of this one.
    #[error("the new token would have the id of another one; try again")]
    IdTaken,
    /// There are too many tokens.
    #[error(
        "there are {MAX_JOIN_TOKENS} join tokens, which is the most; ended ones count for 30 days"
    )]
    TooMany,
    /// A node may not join.
    #[error(transparent)]
    Join(#[from] JoinError),
}
