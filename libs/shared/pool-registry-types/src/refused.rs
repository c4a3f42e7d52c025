//! Handoffs that a node refuses, as it reports them to people.

use serde::{Deserialize, Serialize};

use crate::{
    limits::MAX_REFUSAL_BYTES,
    text::{Text, one_line},
};

/// A handoff file that a node refuses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(from = "UnvalidatedRefusedHandoff")]
#[non_exhaustive]
pub struct RefusedHandoff {
    /// Its path on the node.
    file: Text,
    /// What is wrong with it.
    reason: String,
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
        Self {
            file: Text::cut_start(file),
            reason: one_line(reason, MAX_REFUSAL_BYTES),
        }
    }

    /// Its path on the node; of a long one, the end.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What is wrong with it.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_TEXT_BYTES;

    // spec: WIRE-46, WIRE-14
    #[test]
    fn texts_are_cut_and_cannot_forge_a_line() {
        let long = format!("/a/{}/pool-0_r0.json", "ü".repeat(300));
        let json = serde_json::json!({"file": long, "reason": "x\ny".repeat(1000), "later": 1});
        let refused: RefusedHandoff = serde_json::from_value(json).unwrap();
        assert!(
            refused.file().len() <= MAX_TEXT_BYTES && refused.file().ends_with("/pool-0_r0.json")
        );
        assert!(refused.reason().len() <= MAX_REFUSAL_BYTES && !refused.reason().contains('\n'));
        assert_eq!(RefusedHandoff::new("a", "b").file(), "a");
    }
}
