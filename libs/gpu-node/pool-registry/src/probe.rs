//! The outcome of a probe, and what it changed.

use pool_registry_types::{
    EngineKind, EngineLoad, HttpUrl, KeyFile, MAX_CONTEXT_LENGTH, PoolId, ReplicaId, Text,
    bounded_models, one_line,
};

/// The longest reason that is kept, in bytes: a line or two for the operator.
const MAX_REASON_BYTES: usize = 1024;

/// A live replica, as a prober needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaTarget {
    /// Its pool.
    pub pool_id: PoolId,
    /// Which of the pool's replicas it is.
    pub replica_id: ReplicaId,
    /// Rises with each start of its engine. An outcome for another generation is ignored.
    pub generation: u64,
    /// Rises when its handoff changes within one generation: the engine may have been restarted.
    pub revision: u64,
    /// Where it listens.
    pub url: HttpUrl,
    /// What kind of engine it is.
    pub engine: EngineKind,
    /// Its handoff declares the models, so that the engine need not be asked.
    pub declares_models: bool,
    /// The file with the key that it demands.
    pub api_key_file: Option<KeyFile>,
    /// Its handoff may be older than its engine, so a probe also checks the kind.
    pub verifies_kind: bool,
}

/// What one probe of a replica found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// The engine reports that it takes requests.
    pub ready: bool,
    /// The models that it names; `None` (not asked, or not reported) changes nothing.
    pub models: Option<Vec<String>>,
    /// Why it is not ready, for the operator; only used when `ready` is false.
    pub reason: Option<String>,
    /// Its version as it reports it; `None` changes nothing.
    pub engine_version: Option<String>,
    /// How many requests it serves at once, as it reports it; `None` changes nothing.
    pub slots: Option<u32>,
    /// The most tokens of one request, as it reports it; `None` changes nothing.
    pub context_length: Option<u32>,
    /// Who owns its models, as it reports it; `None` changes nothing.
    pub owned_by: Option<String>,
    /// Another probe would fail in the same way, so one is enough to make it not ready.
    pub is_definite: bool,
    /// Its load; `None` (not asked) changes nothing.
    pub load: Option<EngineLoad>,
}

/// What a probe changed that an operator should see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaChange {
    /// The replica takes no requests any more.
    NotReady {
        /// Why.
        reason: String,
    },
    /// It takes requests again.
    ReadyAgain,
    /// The first probe of a replica that is not trusted has failed.
    NotVerified {
        /// Why.
        reason: String,
    },
    /// The first probe of a replica that is not trusted has succeeded: it takes requests now.
    Verified,
    /// The engine has fewer slots than its handoff announces. It gets no more requests than it has
    /// slots.
    FewerSlots {
        /// The slots in the handoff.
        announced: u32,
        /// The slots that the engine reports.
        actual: u32,
    },
    /// The engine lists models that are not offered: more than a replica may have, or with invalid
    /// names. When `left_out` is 0, all are offered again.
    ModelsLeftOut {
        /// How many are offered.
        kept: usize,
        /// How many are not.
        left_out: usize,
    },
    /// The engine has as many slots as announced again.
    SlotsAsAnnounced {
        /// The slots in the handoff.
        announced: u32,
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

    /// The engine refuses every request without a change of its configuration or of ours.
    #[must_use]
    pub fn refused(reason: impl Into<String>) -> Self {
        Self {
            is_definite: true,
            ..Self::failed(reason)
        }
    }

    /// The same with the models that the engine names.
    #[must_use]
    pub fn with_models(self, models: Vec<String>) -> Self {
        Self {
            models: Some(models),
            ..self
        }
    }
}

/// `load` within the limits of a heartbeat.
pub(crate) fn usable_load(mut load: EngineLoad) -> EngineLoad {
    load.models_loaded = load.models_loaded.map(|names| bounded_models(names).0);
    load
}

/// `text` within the limits of a heartbeat; `None` where nothing of it is left.
pub(crate) fn usable_version(text: &str) -> Option<Text> {
    Some(Text::cut(text.trim())).filter(|text| !text.is_empty())
}

/// A context that no model has is not believed.
pub(crate) fn usable_context(tokens: u32) -> Option<u32> {
    (1..=MAX_CONTEXT_LENGTH).contains(&tokens).then_some(tokens)
}

/// The same for a reason.
pub(crate) fn usable_reason(text: &str) -> String {
    one_line(text, MAX_REASON_BYTES)
}

#[cfg(test)]
mod tests {
    use pool_registry_types::MAX_TEXT_BYTES;

    use super::*;

    #[test]
    fn values_of_engines_are_bounded_for_a_heartbeat() {
        assert_eq!(usable_version("v1\u{1b}[31m\n").as_deref(), Some("v1 [31m"));
        assert_eq!(usable_version("\n"), None);
        assert_eq!(
            usable_version(&"ü".repeat(200)).unwrap().len(),
            MAX_TEXT_BYTES
        );
        assert_eq!(usable_reason(&"x".repeat(5000)).len(), MAX_REASON_BYTES);
    }
}
