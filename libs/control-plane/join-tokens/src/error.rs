//! Why a join token is refused.

use pool_registry_types::NodeId;

use crate::limits::{MAX_JOIN_TOKENS, MAX_LIFETIME, MAX_USES};

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
