//! The response of a daemon to `GET /health`.

use serde::{Deserialize, Serialize};

use crate::NodeId;

/// The agent of a node, as its `/health` names it.
pub const POOL_MANAGERD: &str = "pool-managerd";

/// The control plane, as its `/health` names it.
pub const ORCHESTRATORD: &str = "orchestratord";

/// The response to `GET /health`. All but the status is optional: a daemon that does not identify
/// itself is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct HealthAnswer {
    /// `ok`.
    #[serde(default)]
    pub status: String,
    /// The program that responds, `pool-managerd` or `orchestratord`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The node that responds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
    /// The incarnation of the node, once it registers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
}

impl HealthAnswer {
    /// The response of a program that does not identify itself.
    #[must_use]
    pub fn unnamed() -> Self {
        Self {
            status: "ok".to_owned(),
            ..Self::default()
        }
    }

    /// The response of `service`.
    #[must_use]
    pub fn of(service: &str) -> Self {
        Self {
            service: Some(service.to_owned()),
            ..Self::unnamed()
        }
    }
}
