//! Handoffs that a node refuses, as it reports them to people.

use serde::{Deserialize, Serialize};

use crate::{
    limits::{MAX_REFUSAL_BYTES, MAX_TEXT_BYTES},
    text::one_line,
};

/// A handoff file that a node refuses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(from = "UnvalidatedRefusedHandoff")]
#[non_exhaustive]
pub struct RefusedHandoff {
    /// Its path on the node.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::schema::Text))]
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Deserialize)]
struct UnvalidatedRefusedHandoff {
    file: String,
    reason: String,
}

impl From<UnvalidatedRefusedHandoff> for RefusedHandoff {
    fn from(raw: UnvalidatedRefusedHandoff) -> Self {
        Self::new(&raw.file, &raw.reason)
    }
}

impl RefusedHandoff {
    /// A path and a reason, each in one line of limited length. Of a long path the end is kept,
    /// because it names the file.
    #[must_use]
    pub fn new(file: &str, reason: &str) -> Self {
        let from = file.ceil_char_boundary(file.len().saturating_sub(MAX_TEXT_BYTES));
        Self {
            file: one_line(&file[from..], MAX_TEXT_BYTES),
            reason: one_line(reason, MAX_REFUSAL_BYTES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: WIRE-46, WIRE-14
    #[test]
    fn texts_are_cut_and_cannot_forge_a_line() {
        let long = format!("/a/{}/pool-0_r0.json", "ü".repeat(300));
        let json = serde_json::json!({"file": long, "reason": "x\ny".repeat(1000), "later": 1});
        let refused: RefusedHandoff = serde_json::from_value(json).unwrap();
        assert!(refused.file.len() <= MAX_TEXT_BYTES && refused.file.ends_with("/pool-0_r0.json"));
        assert!(refused.reason.len() <= MAX_REFUSAL_BYTES && !refused.reason.contains('\n'));
        assert_eq!(RefusedHandoff::new("a", "b").file, "a");
    }
}
