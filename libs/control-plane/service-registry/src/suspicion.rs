//! The states of self-suspicion.

use std::time::Duration;

use crate::MIN_FLEET;

/// Whether this process suspects itself when nodes fall silent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// It does not: a silent node is lost.
    #[default]
    None,
    /// More than half of the nodes fell silent together. They, and those lost from now on, stay
    /// routable until `until`.
    Holding { until: Duration },
    /// Half of the nodes report again. The others stay routable for one more window, because nodes
    /// report at different times. A node that falls silent now is lost.
    Releasing { until: Duration },
}

impl Suspicion {
    /// When held nodes stop to be routable.
    pub(crate) fn ends(self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Holding { until } | Self::Releasing { until } => Some(until),
        }
    }
}

/// The number of nodes that fell silent together, and of those that report. Nodes lost earlier do
/// not count.
pub(crate) struct SilenceCount {
    pub(crate) silent: usize,
    pub(crate) reachable: usize,
}

impl SilenceCount {
    pub(crate) fn total(&self) -> usize {
        self.silent + self.reachable
    }

    pub(crate) fn silent_majority(&self) -> bool {
        self.total() >= MIN_FLEET && self.silent * 2 > self.total()
    }
}
