//! Counts what the handoff directory says.

use handoff_watcher::Event;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Result {
    Accepted,
    Changed,
    Removed,
    Refused,
}

impl EncodeLabelValue for Result {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> std::result::Result<(), std::fmt::Error> {
        let word = match self {
            Self::Accepted => "accepted",
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Refused => "refused",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: Result,
}

/// Handoffs by what became of them; clones share the counters.
#[derive(Debug, Clone)]
pub(crate) struct HandoffCounts(Family<Labels, Counter>);

impl HandoffCounts {
    /// All at zero: an alert on a first refusal needs to see that there was none before.
    pub(crate) fn new() -> Self {
        let counts = Family::<Labels, Counter>::default();
        for result in [
            Result::Accepted,
            Result::Changed,
            Result::Removed,
            Result::Refused,
        ] {
            drop(counts.get_or_create(&Labels { result }));
        }
        Self(counts)
    }

    pub(crate) fn count(&self, event: &Event) {
        let result = match event {
            Event::Appeared(_) => Result::Accepted,
            Event::Changed { .. } => Result::Changed,
            Event::Gone(_) => Result::Removed,
            Event::Refused { .. } => Result::Refused,
            Event::Resolved { .. } | Event::Scanned => return,
        };
        self.0.get_or_create(&Labels { result }).inc();
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "llorch_agent_handoffs",
            "Handoff files, by what became of them: accepted, changed, removed or refused",
            self.0.clone(),
        );
    }
}
