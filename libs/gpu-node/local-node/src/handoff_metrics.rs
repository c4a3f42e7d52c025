//! Metrics of handoff files.

use handoff_watcher::HandoffEvent;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum HandoffResult {
    Accepted,
    Changed,
    Removed,
    Refused,
}

impl EncodeLabelValue for HandoffResult {
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
    result: HandoffResult,
}

/// Counts handoff files by result. Clones share the counters.
#[derive(Debug, Clone)]
pub(crate) struct HandoffMetrics(Family<Labels, Counter>);

impl HandoffMetrics {
    /// Creates all counters at zero, so that an alert sees the first refusal as an increase.
    pub(crate) fn new() -> Self {
        let counts = Family::<Labels, Counter>::default();
        for result in [
            HandoffResult::Accepted,
            HandoffResult::Changed,
            HandoffResult::Removed,
            HandoffResult::Refused,
        ] {
            drop(counts.get_or_create(&Labels { result }));
        }
        Self(counts)
    }

    pub(crate) fn count(&self, event: &HandoffEvent) {
        let result = match event {
            HandoffEvent::Appeared { .. } => HandoffResult::Accepted,
            HandoffEvent::Changed { .. } => HandoffResult::Changed,
            HandoffEvent::Gone { .. } => HandoffResult::Removed,
            HandoffEvent::Refused { .. } => HandoffResult::Refused,
            _ => return,
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
