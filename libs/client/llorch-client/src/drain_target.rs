//! The target of a drain, as an operator writes it.

use std::{fmt, str::FromStr};

use pool_registry_types::{IdError, NodeId, PoolId, ReplicaId};
use thiserror::Error;

/// A node, a pool or a replica to drain: `NODE`, `NODE/POOL` or `NODE/POOL/REPLICA`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainTarget {
    /// The node.
    pub node: NodeId,
    /// One of its pools; `None` for the whole node.
    pub pool: Option<PoolTarget>,
}

/// A pool, or one of its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolTarget {
    /// The pool.
    pub pool: PoolId,
    /// One of its replicas; `None` for the whole pool.
    pub replica: Option<ReplicaId>,
}

/// The text is no [`DrainTarget`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be NODE, NODE/POOL or NODE/POOL/REPLICA: {0}")]
pub struct DrainTargetError(#[from] IdError);

impl FromStr for DrainTarget {
    type Err = DrainTargetError;

    fn from_str(text: &str) -> Result<Self, DrainTargetError> {
        let mut parts = text.splitn(3, '/');
        let node = parts.next().unwrap_or_default().parse()?;
        let pool = parts.next().map(str::parse).transpose()?;
        let replica = parts.next().map(str::parse).transpose()?;
        Ok(Self {
            node,
            pool: pool.map(|pool| PoolTarget { pool, replica }),
        })
    }
}

impl fmt::Display for DrainTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.node)?;
        if let Some(PoolTarget { pool, replica }) = &self.pool {
            write!(f, "/{pool}")?;
            if let Some(replica) = replica {
                write!(f, "/{replica}")?;
            }
        }
        Ok(())
    }
}

impl DrainTarget {
    /// The path of its resource.
    pub(crate) fn path(&self) -> String {
        let node = &self.node;
        match &self.pool {
            None => format!("/v2/nodes/{node}"),
            Some(PoolTarget {
                pool,
                replica: None,
            }) => format!("/v2/pools/{node}/{pool}"),
            Some(PoolTarget {
                pool,
                replica: Some(replica),
            }) => format!("/v2/pools/{node}/{pool}/replicas/{replica}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: CLI-31
    #[test]
    fn a_target_is_a_node_a_pool_or_a_replica() {
        for (text, path) in [
            ("gpu-1", "/v2/nodes/gpu-1"),
            ("gpu-1/pool-0", "/v2/pools/gpu-1/pool-0"),
            ("gpu-1/pool-0/r0", "/v2/pools/gpu-1/pool-0/replicas/r0"),
        ] {
            let target: DrainTarget = text.parse().unwrap();
            assert_eq!(
                (target.path().as_str(), target.to_string().as_str()),
                (path, text)
            );
        }
        for bad in ["", "a/b/c/d", "a/", "/b", "a b", "a/b/", "a//c"] {
            let error = bad.parse::<DrainTarget>().unwrap_err().to_string();
            assert!(
                error.starts_with("must be NODE, NODE/POOL or NODE/POOL/REPLICA"),
                "{error}"
            );
        }
    }
}
