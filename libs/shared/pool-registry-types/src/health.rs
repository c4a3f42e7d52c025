//! Who answers: what `GET /health` of a daemon says.

use serde::{Deserialize, Serialize};

use crate::NodeId;

/// The agent of a node, as its `/health` names it.
pub const POOL_MANAGERD: &str = "pool-managerd";

/// The control plane, as its `/health` names it.
pub const ORCHESTRATORD: &str = "orchestratord";

/// The answer of `GET /health`. All but the status is optional: a daemon that does not say who it
/// is is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthAnswer {
    /// `ok`.
    #[serde(default)]
    pub status: String,
    /// Which program answers, `pool-managerd` or `orchestratord`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The node that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
    /// Which start of the node, once it registers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
}

impl HealthAnswer {
    /// That of a program which does not say what it is.
    #[must_use]
    pub fn unnamed() -> Self {
        Self {
            status: "ok".to_owned(),
            ..Self::default()
        }
    }

    /// That of a program that answers at all.
    #[must_use]
    pub fn of(service: &str) -> Self {
        Self {
            service: Some(service.to_owned()),
            ..Self::unnamed()
        }
    }
}
