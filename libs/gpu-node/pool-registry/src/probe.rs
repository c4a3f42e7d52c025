//! What a probe found out, cut down to what a heartbeat may say.

use pool_registry_types::{EngineLoad, MAX_TEXT_BYTES, one_line, usable_models};

/// The longest reason kept, in bytes: a line or two for the operator.
const MAX_REASON_BYTES: usize = 1024;

/// What one probe of a replica found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// The engine says that it takes requests.
    pub ready: bool,
    /// The models it names; `None` when it was not asked or did not say, which changes nothing.
    pub models: Option<Vec<String>>,
    /// Why it is not ready, for the operator; only looked at when `ready` is false.
    pub reason: Option<String>,
    /// Its version in its own words; `None` changes nothing.
    pub engine_version: Option<String>,
    /// How many requests it serves at once, in its own words; `None` changes nothing.
    pub slots: Option<u32>,
    /// What it does; `None` when it was not asked, which changes nothing.
    pub load: Option<EngineLoad>,
}

/// What a probe changed that an operator wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The replica takes no requests any more.
    NotReady {
        /// Why.
        reason: String,
    },
    /// It takes requests again.
    ReadyAgain,
    /// The engine has fewer slots than its handoff promises, and gets no more requests than it has.
    FewerSlots {
        /// What the handoff says.
        promised: u32,
        /// What the engine says.
        has: u32,
    },
    /// The engine lists models that are not offered: more than a replica may have, or with
    /// impossible names. None are left out any more when `left_out` is 0.
    ModelsLeftOut {
        /// How many are offered.
        kept: usize,
        /// How many are not.
        left_out: usize,
    },
    /// The engine has as many slots as promised again.
    SlotsAsPromised {
        /// What the handoff says.
        promised: u32,
    },
}

impl ProbeOutcome {
    /// The engine takes requests.
    #[must_use]
    pub fn ready() -> Self {
        Self {
            ready: true,
            ..Self::default()
        }
    }

    /// The engine does not take requests, or did not answer.
    #[must_use]
    pub fn failed(reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::default()
        }
    }

    /// The same with the models the engine names.
    #[must_use]
    pub fn with_models(self, models: Vec<String>) -> Self {
        Self {
            models: Some(models),
            ..self
        }
    }
}

/// A load that says nothing that a heartbeat may not carry.
pub(crate) fn usable_load(mut load: EngineLoad) -> EngineLoad {
    load.models_loaded = load.models_loaded.map(|names| usable_models(names).0);
    load
}

/// `text` as a heartbeat carries it.
pub(crate) fn usable_version(text: &str) -> Option<String> {
    Some(one_line(text, MAX_TEXT_BYTES)).filter(|text| !text.is_empty())
}

/// The same for a reason.
pub(crate) fn usable_reason(text: &str) -> String {
    one_line(text, MAX_REASON_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_cannot_spoil_a_heartbeat() {
        assert_eq!(usable_version("v1\u{1b}[31m\n").as_deref(), Some("v1 [31m"));
        assert_eq!(usable_version("\n"), None);
        assert_eq!(
            usable_version(&"ü".repeat(200)).unwrap().len(),
            MAX_TEXT_BYTES
        );
        assert_eq!(usable_reason(&"x".repeat(5000)).len(), MAX_REASON_BYTES);
    }
}
